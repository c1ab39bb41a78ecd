"""Amorphous silicon and carbon for `rigidity.py`, and models that are linear in their features."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxrecon import Fingerprint
from jaxrecon.datasets.io import read_labelled, write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.datasets.quench import Quenching, quench
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.local.base import Features
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.sparse_kernel import SparseKernel
from jaxrecon.models.rigidity import Rigidity
from jaxrecon.potentials.single_points import single_points
from jaxrecon.potentials.tersoff import Tersoff

SETTINGS = {
    "Si": Quenching((2.1, 2.5), 5000.0, 300.0, (800.0, 1500.0), interval=200, stages=(1, 4, 10)),
    "C": Quenching((1.5, 3.5), 9000.0, 300.0, (1500.0, 4000.0), interval=200, stages=(1, 4, 10)),
}
"""How the structures are made, for `jaxrecon dataset build --recipe quench`."""

DESCRIPTORS = {"Si": "chong2023_si", "C": "chong2023_c"}
"""The published settings of SOAP."""

GAP = 8.0
"""Width in Angstrom of the gap at a surface."""

ATOMS, POINTS = 64, 500
"""Atoms of a structure, and representative points."""

NOISES = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Noises of energies per atom in eV, of which validation structures choose one."""


def structures(element: str, folder: Path, count: int) -> LabelledSet:
    """The set of an element: made in some minutes, and kept in the folder."""
    path = folder / f"amorphous_{element}_{count}.npz"
    if not path.exists():
        made = quench(f"{element}{ATOMS}", count, settings=SETTINGS[element], seed=0)
        write_labelled(path, made)
    return read_labelled(path)


@lru_cache(maxsize=1)
def known(element: str, folder: Path, count: int) -> Environments:
    """The environments of the set of an element, computed once for all sections."""
    return environments(structures(element, folder, count), descriptor_of(element))


def joined(first: Environments, second: Environments) -> Environments:
    """The environments of two sets as one, without their structures."""
    parts = (first, second)

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    shift = len(first.trajectories)
    return Environments(
        first.descriptor,
        together("rows"),
        together("species"),
        np.concatenate([first.owner, second.owner + shift]),
        together("energies"),
        together("totals"),
        None,
        np.arange(shift + len(second.trajectories)),
    )


def descriptor_of(element: str) -> Descriptor:
    """The published settings of SOAP for an element."""
    return Fingerprint.preset(DESCRIPTORS[element], [element]).descriptor


def environments(labelled: LabelledSet, descriptor: Descriptor) -> Environments:
    """The rows of all atoms, with energies of structures and of atoms."""
    assert labelled.structures is not None
    assert labelled.local_energies is not None
    return Environments.of(
        labelled.structures,
        descriptor,
        energies=labelled.local_energies,
        totals=labelled.energies,
        trajectories=labelled.trajectories,
    )


def surfaces(labelled: LabelledSet, descriptor: Descriptor) -> Environments:
    """Every second structure cut open along c, a gap of 8 Angstrom between the unrelaxed halves."""
    assert labelled.structures is not None
    chosen = np.arange(0, len(labelled.structures), 2)
    made = []
    for number in chosen:
        atoms = labelled.structures[number].copy()
        atoms.wrap()
        cell = atoms.cell.array.copy()
        cell[2, 2] += GAP
        atoms.set_cell(cell)
        made.append(atoms)
    labels = single_points(made, Tersoff().restricted(["C"]))
    return Environments.of(
        made,
        descriptor,
        energies=[label.energies for label in labels],
        trajectories=labelled.trajectories[chosen],
    )


@dataclass(frozen=True, eq=False)
class Part:
    """Some structures as a model sees them, relative to a mean energy of an atom.

    Attributes:
        atoms: features of all atoms.
        means: their means over each structure.
        energies: energy per atom of each structure in eV.
        local: energy of each atom in eV.
    """

    atoms: Float[np.ndarray, "n m"]
    means: Float[np.ndarray, "s m"]
    energies: Float[np.ndarray, " s"]
    local: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, features: Features, known: Environments, mean: float) -> "Part":
        """Compute the features of all atoms."""
        assert known.totals is not None
        assert known.energies is not None
        blocks = []
        with jax.enable_x64(True):
            evaluate = jax.jit(lambda rows, kinds: features(rows, kinds))
            for part, *block in known.blocks():
                blocks.append(np.asarray(evaluate(*block))[: part.stop - part.start])
        atoms, sizes = np.concatenate(blocks), known.counts.sum(axis=1)
        means = np.zeros((len(sizes), atoms.shape[1]))
        np.add.at(means, known.owner, atoms)
        energies = known.totals / sizes - mean
        return cls(atoms, means / sizes[:, None], energies, known.energies - mean)


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights of a linear model, and the rigidity of its predictions.

    Attributes:
        weights: the weights, with independent priors.
        rigidity: the factorised matrix.
    """

    weights: Float[np.ndarray, " m"]
    rigidity: Rigidity

    @classmethod
    def fit(
        cls,
        means: Float[np.ndarray, "s m"],
        energies: Float[np.ndarray, " s"],
        noise: float,
    ) -> "Linear":
        """Fit to energies per atom of structures."""
        rigidity = Rigidity.of(means, noise**2)
        root = np.asarray(rigidity.root)
        return cls(root.T @ (root @ (means.T @ energies)), rigidity)

    def local(self, atoms: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
        """The local prediction rigidity of atoms."""
        return 1.0 / np.sum((atoms @ np.asarray(self.rigidity.root).T) ** 2, axis=1)


def rms(values: Float[np.ndarray, "..."]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def committee(
    means: Float[np.ndarray, "s m"],
    energies: Float[np.ndarray, " s"],
    noise: float,
    members: int,
    seed: int,
) -> Float[np.ndarray, "k m"]:
    """Weights of members that have learned from structures drawn with replacement."""
    random = np.random.default_rng(seed)
    chosen = random.integers(len(means), size=(members, len(means)))
    return np.stack([Linear.fit(means[own], energies[own], noise).weights for own in chosen])


def split(
    trajectories: Int[np.ndarray, " s"], train: int, seed: int = 0
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " v"], Int[np.ndarray, " u"]]:
    """Training structures, and whole trajectories for validation and tests."""
    order = np.random.default_rng(seed).permutation(np.unique(trajectories))
    place = np.argsort(order)[np.searchsorted(np.unique(trajectories), trajectories)]
    ranked = np.argsort(place, kind="stable")
    left = ranked[train:]
    half = len(left) // 2
    return np.sort(ranked[:train]), np.sort(left[:half]), np.sort(left[half:])


def kernel_features(known: Environments, points: int = POINTS) -> Features:
    """Whitened kernels (zeta 2) with representative points among some atoms."""
    config = LocalConfig(targets="total", points=points, zeta=2, sigma_total=1e-2)
    return SparseKernel.fit(known, config).last_features()


def choose_noise(train: Part, validation: Part, noises: Sequence[float] = NOISES) -> float:
    """The noise with the smallest error of validation structures."""
    errors = [
        rms(
            validation.means @ Linear.fit(train.means, train.energies, noise).weights
            - validation.energies
        )
        for noise in noises
    ]
    return noises[int(np.argmin(errors))]
