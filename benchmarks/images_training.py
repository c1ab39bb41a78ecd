"""Vanadium oxides to learn from, and autoencoders and a generator that have learned from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from jaxrecon.images import ImageParameters
from jaxrecon.images.config import ImageConfig
from jaxrecon.images.encode import frame_of
from jaxrecon.images.folder import load_images, save_images
from jaxrecon.images.materials import Materials, train_materials
from jaxrecon.images.materials_network import MaterialsNetwork
from jaxrecon.images.substitution import candidates, variants
from jaxrecon.images.training import ImageModel, train_images
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore

ELEMENTS = ("V", "O")

COPIES, UNSEEN = 12, 2
"""Strained copies of each prototype, and those of them that are kept out of the training."""

PART = 10
"""One prototype in so many is kept out."""

SETTINGS = ImageConfig(
    parameters=ImageParameters(cell_grid=16, basis_grid=24, box=16.0, sigma=0.5),
    cell_batch=64,
    basis_batch=64,
    cell_rate=2e-3,
    basis_rate=2e-3,
    cell_epochs=30,
)
"""The smallest grids that serve, with wider Gaussians for them."""


NETWORK = MaterialsNetwork(channels=len(ELEMENTS) + 1, latent=200, width=32, inner=50, hidden=100)
"""A generator of fewer channels than the published one, which a CPU trains in minutes."""


def known_oxides(data: Path) -> list[Atoms]:
    """The vanadium oxides of the Materials Project in the data."""
    names = ("mp_200", "mp_3000")
    every = [atoms for name in names for atoms in ase.io.read(data / f"{name}.extxyz", ":")]
    return [atoms for atoms in every if {*atoms.symbols} == {*ELEMENTS} and fits(atoms)]


def fits(atoms: Atoms) -> bool:
    """Whether the images of a crystal can be made."""
    try:
        frame_of(atoms, ELEMENTS, SETTINGS.parameters)
    except ValueError:
        return False
    return True


def made(path: Path, make: Callable[[], Sequence[Atoms]]) -> list[Atoms]:
    """Crystals of a file, which is written if it does not exist."""
    if not path.exists():
        draft = path.with_name(f"draft-{path.name}")
        ase.io.write(draft, list(make()))
        draft.replace(path)
    return ase.io.read(path, ":")


def labelled(frames: Sequence[Atoms], folder: Path, calculator: str) -> list[Atoms]:
    """Crystals with formation energies."""
    store = LabelStore(str(folder / "energies.db"), resume=True)
    found = judge(list(frames), calculator, store=store, progress=True)
    kept = ("prototype", "trajectory", "variant", "e_form")
    return [
        Atoms(one, info={name: one.info[name] for name in kept if name in one.info})
        for one in found
    ]


def binaries(data: Path) -> list[Atoms]:
    """The crystals of two elements of the Materials Project in the data: more prototypes."""
    names = ("mp_200", "mp_3000")
    every = [atoms for name in names for atoms in ase.io.read(data / f"{name}.extxyz", ":")]
    return [atoms for atoms in every if len({*atoms.symbols}) == 2]


def is_labelled(atoms: Atoms, labels: int) -> bool:
    """Whether a copy gets an energy: the first ones, and those that are kept out."""
    variant = atoms.info["variant"]
    return variant <= labels or variant > COPIES - UNSEEN


def oxides(known: Sequence[Atoms], folder: Path, calculator: str, labels: int) -> list[Atoms]:
    """Prototypes and strained copies, so many of each with formation energies."""

    def make() -> list[Atoms]:
        frames = []
        for number, atoms in enumerate(candidates(ELEMENTS, known=list(known))):
            atoms.info["variant"] = 0
            frames += [atoms, *variants(atoms, COPIES, seed=number)]
        some = [number for number, atoms in enumerate(frames) if is_labelled(atoms, labels)]
        energies = labelled([frames[number] for number in some], folder, calculator)
        for number, atoms in zip(some, energies, strict=True):
            frames[number] = atoms
        return frames

    return made(folder / "oxides.extxyz", make)


def split(frames: Sequence[Atoms], seed: int) -> dict[str, list[Atoms]]:
    """Training examples, strains that they lack, and prototypes that they lack."""
    numbers = sorted({atoms.info["trajectory"] for atoms in frames})
    order = np.random.default_rng(seed).permutation(numbers)
    kept_out = {*order[: len(order) // PART].tolist()}
    sets: dict[str, list[Atoms]] = {"training": [], "strains": [], "prototypes": []}
    for atoms in filter(fits, frames):
        unseen = atoms.info["variant"] > COPIES - UNSEEN
        name = "strains" if unseen else "training"
        sets["prototypes" if atoms.info["trajectory"] in kept_out else name].append(atoms)
    return sets


def coded(
    sets: dict[str, list[Atoms]],
    more: Sequence[Atoms],
    copies: int,
    folder: Path,
    config: ImageConfig,
) -> tuple[ImageModel, list[Atoms]]:
    """The autoencoders, and the crystals that they have learned from."""

    def make() -> list[Atoms]:
        found = []
        first = [atoms for atoms in sets["training"] if atoms.info["variant"] == 0]
        for number, atoms in enumerate([*first, *more], 10_000):
            found += filter(fits, variants(atoms, copies, seed=number, settings=True))
        return [Atoms(atoms) for atoms in found]

    frames = [*sets["training"], *made(folder / "settings.extxyz", make)]
    return train_images(frames, ELEMENTS, config, folder=folder / "training", progress=True), frames


def trained(
    sets: dict[str, list[Atoms]],
    more: Sequence[Atoms],
    copies: int,
    folder: Path,
    epochs: int,
    config: ImageConfig,
) -> Materials:
    """The autoencoders and the generator, from the folder if they are there.

    They learn from the training set, and from copies of its prototypes and of more crystals in
    other settings of their lattice vectors.
    """
    if not (folder / "model").is_dir():
        model, frames = coded(sets, more, copies, folder, config)
        energies = np.array([atoms.info.get("e_form", np.nan) for atoms in frames])
        generator = train_materials(
            model,
            model.codes(frames),
            energies,
            network=NETWORK,
            epochs=epochs,
            batch=64,
            learning_rate=2e-3,
            seed=config.seed,
            folder=folder / "training" / "generator",
        )
        save_images(generator, folder / "model")
    found = load_images(folder / "model")
    assert isinstance(found, Materials), "a model with its generator"
    return found
