"""Autoencoders of images and the generator on top of them, for vanadium oxides.

    python benchmarks/images_generator.py --data DIR --calculator nequix:FILE.nqx -o results

Training: V and O in the binary prototypes of the AFLOW encyclopedia, each with 12 strained copies
whose energies the calculator gives, and with further copies in other settings of their lattice
vectors, without energies; with --more also copies of the binary crystals of mp_200 and mp_3000, V
and O in their places. The vanadium oxides of mp_200 and mp_3000 (extended XYZ in DIR) and all
prototypes that match one loosely are kept out, and so are one prototype in ten with all its copies,
and two of the strained copies of every other one.

autoencoder  the share of crystals with the right number of atoms of each element after encoding and
             decoding, the mean distance of their atoms in the box in Angstrom, and the mean errors
             of edges and angles: strains not seen, prototypes not seen, and the known oxides; after
             the generator too.
classifier   area under the curve of receiver operation (scikit-learn) for formation energies up to
             0.5 eV/atom, strains and prototypes not seen.
chain        which known oxides are the same (StructureMatcher of pymatgen) after images alone, the
             autoencoder of cells, that of atoms, both, the generator, and the generator with latent
             vectors fitted to the images.
rediscovery  known oxides that are the same among 30 vectors at a distance of 0.001 around each,
             from the encoder and fitted.
oxidation    crystals with V from +2 to +5 among those that can be read: on great circles between
             known oxides, and drawn from the normal distribution with their mean and deviation.
stability    the most promising new crystals of the great circles, relaxed with their cells by the
             calculator, and how far they are above the hull of V, O2 and the known oxides (with
             V2O5, which the data lack), relaxed by the same calculator.

Source: Noh et al., Matter 1, 1370 (2019). Bars: 0.19 Angstrom and 80 % for strains not seen, cells
0.1 Angstrom and 2 degrees, classifier 0.8, rediscovery 60 %, slerp above random; others stated.

Output: images_generator.json, and a folder images_generator of what was made, from which an
interrupted run continues.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from images_relaxation import Hull, relaxed, vanadium_pentoxide
from images_training import (
    COPIES,
    ELEMENTS,
    SETTINGS,
    binaries,
    known_oxides,
    made,
    oxides,
    split,
    trained,
)
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor
from recovery_sets import spread
from sklearn.metrics import roc_auc_score
from timing import device_name

from jaxrecon.images import Image, decode, encode
from jaxrecon.images.evaluation import evaluate_images, summary
from jaxrecon.images.generation import generate_images
from jaxrecon.images.latent import fitted_latent
from jaxrecon.images.materials import STABLE, Materials
from jaxrecon.images.sampling import BETWEEN, has_valid_oxidation
from jaxrecon.images.substitution import candidates
from jaxrecon.images.training import ImageModel
from jaxrecon.potentials.energies import bulk_energy
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.devices import enable_compilation_cache
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions

DISTANCES = {"V-O": 1.2, "V-V": 1.6, "O-O": 1.3}
"""Smallest distances in Angstrom of Noh et al."""

FITTED = 300
"""Steps in which latent vectors are fitted to images."""

PARTS = ("chain", "rediscovery", "stability", "autoencoder", "classifier", "oxidation")
"""What is measured, in this order."""

NEAR_HULL = 0.08
"""Energy above the hull in eV/atom of a crystal that may exist, as published."""


def further(data: Path, known: Sequence[Atoms], sets: dict[str, list[Atoms]]) -> list[Atoms]:
    """Prototypes of the Materials Project, without all that were kept out."""
    unseen = [atoms for atoms in sets["prototypes"] if atoms.info["variant"] == 0]
    return candidates(ELEMENTS, known=[*known, *unseen], prototypes=binaries(data))


def of_autoencoder(generator: Materials, some: Sequence[Atoms]) -> dict[str, Any]:
    """Scores after the autoencoder alone, and after the generator too."""
    alone = evaluate_images(generator.model, some, min_distances=DISTANCES)
    both = evaluate_images(Through(generator), some, min_distances=DISTANCES)
    return {**summary(alone), "after the generator": summary(both)}


class Through(ImageModel):
    """Autoencoders whose codes the generator has made again.

    Args:
        generator: the generator.
    """

    def __init__(self, generator: Materials) -> None:
        model = generator.model
        super().__init__(model.elements, model.config, model.weights, model.losses)
        object.__setattr__(self, "generator", generator)

    def decode(self, codes: np.ndarray) -> list[Image]:
        """The images of codes after the generator."""
        generator: Materials = vars(self)["generator"]
        return generator.images(generator.latent(codes))


def of_classifier(generator: Materials, some: Sequence[Atoms]) -> dict[str, Any]:
    """Area under the curve."""
    known = [atoms for atoms in some if np.isfinite(atoms.info.get("e_form", np.nan))]
    chance = generator.stability(generator.latent(generator.model.codes(known)))
    stable = np.array([atoms.info["e_form"] <= STABLE for atoms in known])
    return {
        "crystals": len(known),
        "stable": int(stable.sum()),
        "area": float(roc_auc_score(stable, chance)),
    }


def of_chain(generator: Materials, known: Sequence[Atoms]) -> dict[str, Any]:
    """Where known oxides get lost: in the codes of cells or of atoms, or in latent vectors."""
    model = generator.model
    images = encode(list(known), model.config.parameters, elements=list(model.elements))
    codes = model.encode(images)
    latent = generator.latent(codes)
    fitted = fitted_latent(generator, images, latent, steps=FITTED)
    coded = model.decode(codes)
    pairs = [*zip(images, coded, strict=True)]
    stages = {
        "images": images,
        "codes of cells": [replace(true, cell=one.cell) for true, one in pairs],
        "codes of atoms": [replace(true, basis=one.basis) for true, one in pairs],
        "codes": coded,
        "latent vectors": generator.images(latent),
        "fitted latent vectors": generator.images(fitted),
    }
    found = {}
    for stage, some in stages.items():
        both = [*zip(known, decode(some, min_distances=DISTANCES), strict=True)]
        right = [sorted(one.numbers) == sorted(truth.numbers) for truth, one in both]
        found[stage] = {
            "right number of atoms": sum(right),
            "same": [named(truth, n) for n, (truth, one) in enumerate(both) if same(truth, one)],
        }
    return found


def of_rediscovery(
    generator: Materials, known: Sequence[Atoms], seed: int, steps: int
) -> dict[str, Any]:
    """Which of the known oxides are among the vectors around them."""
    drawn = generate_images(
        generator, list(known), way="around", steps=steps, seed=seed, min_distances=DISTANCES
    )
    each = len(drawn) // len(known)
    found = {
        named(truth, number): sum(
            same(truth, atoms) for atoms in drawn[number * each : (number + 1) * each]
        )
        for number, truth in enumerate(known)
    }
    return {"known": len(known), "found": sum(map(bool, found.values())), "vectors": found}


def named(atoms: Atoms, number: int) -> str:
    """Formula and identifier of a known oxide."""
    return f"{atoms.get_chemical_formula()} {atoms.info.get('material_id', number)}"


def same(one: Atoms, other: Atoms) -> bool:
    """Whether StructureMatcher takes two crystals as one, with its own tolerances."""
    if not (len(one) and len(other)):
        return False
    first, second = (AseAtomsAdaptor.get_structure(atoms) for atoms in (one, other))
    return bool(StructureMatcher().fit(first, second))


def evenly(some: Sequence[Atoms], count: int | None) -> list[Atoms]:
    """Evenly spaced ones of a set."""
    return [some[place] for place in spread(len(some), min(count or len(some), len(some)))]


def of_oxidation(drawn: Sequence[Atoms]) -> dict[str, Any]:
    """Crystals with a possible oxidation state of vanadium."""
    read = [atoms for atoms in drawn if {*atoms.symbols} == {*ELEMENTS}]
    valid = sum(has_valid_oxidation(list(atoms.symbols)) for atoms in read)
    return {
        "vectors": len(drawn),
        "both elements": len(read),
        "valid": valid,
        "share": valid / max(1, len(read)),
    }


def distinct(drawn: Sequence[Atoms], known: Sequence[Atoms]) -> list[Atoms]:
    """Crystals that are not alike, nor like the known ones, in order."""
    kept: list[Atoms] = []
    for atoms in drawn:
        alike = [
            one
            for one in (*known, *kept)
            if one.symbols.formula.reduce()[0] == atoms.symbols.formula.reduce()[0]
        ]
        if not any(same(one, atoms) for one in alike):
            kept.append(atoms)
    return kept


def of_stability(
    drawn: Sequence[Atoms],
    known: Sequence[Atoms],
    calculator: str,
    count: int,
    largest: int,
    steps: int,
    folder: Path,
) -> dict[str, Any]:
    """Relax the most promising new crystals, and compare them with the hull."""
    phases = relaxed([*known, vanadium_pentoxide()], calculator, steps, folder / "phases.extxyz")
    reference = reference_calculator(calculator)
    hull = Hull(phases, {symbol: bulk_energy(symbol, reference) for symbol in ELEMENTS})

    def make() -> list[Atoms]:
        valid = [
            atoms
            for atoms in drawn
            if {*atoms.symbols} == {*ELEMENTS}
            and len(atoms) <= largest
            and has_valid_oxidation(list(atoms.symbols))
        ]
        # The calculator's energy before any relaxation chooses among those that are not alike.
        likely = sorted(valid, key=lambda atoms: -atoms.info["stability"])
        some = distinct(likely[: 20 * count], known)[: 5 * count]
        energies = [atoms.info.get("e_form", np.inf) for atoms in judge(some, calculator)]
        order = np.argsort(energies)[:count]
        return [some[number] for number in order]

    chosen = made(folder / "chosen.extxyz", make)
    found = relaxed(chosen, calculator, steps, folder / "new.extxyz")
    finite = [atoms for atoms in found if np.isfinite(atoms.info["energy_per_atom"])]
    new = distinct(sorted(finite, key=hull.above), phases)
    rows = [
        {
            "formula": atoms.get_chemical_formula(),
            "above the hull": hull.above(atoms),
            "formation energy": hull.formation(atoms),
            "relaxed": bool(atoms.info["relaxed"]),
        }
        for atoms in new
    ]
    near = [row for row in rows if row["above the hull"] <= NEAR_HULL]
    return {
        "relaxed": len(found),
        "new after relaxation": len(new),
        "near the hull": len(near),
        "compositions": sorted({row["formula"] for row in near}),
        "phases": {
            one.get_chemical_formula(): [hull.formation(one), hull.above(one)] for one in phases
        },
        "crystals": rows,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--calculator", required=True, help="as for jaxrecon judge")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--labels", type=int, default=COPIES, help="strained copies with energies")
    parser.add_argument(
        "--more", action="store_true", help="the binary crystals of DIR as prototypes too"
    )
    parser.add_argument("--copies", type=int, default=20, help="further copies of a prototype")
    parser.add_argument("--epochs", type=int, default=24, help="of the autoencoder of atoms")
    parser.add_argument("--generator-epochs", type=int, default=100)
    parser.add_argument("--scored", type=int, help="crystals of a set to score; all if not given")
    parser.add_argument("--between", type=int, default=BETWEEN, help="vectors between known oxides")
    parser.add_argument("--relaxations", type=int, default=30, help="new crystals to relax")
    parser.add_argument("--largest", type=int, default=20, help="atoms of a crystal to relax")
    parser.add_argument("--steps", type=int, default=150, help="largest number in a relaxation")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = arguments.output / "images_generator"
    folder.mkdir(parents=True, exist_ok=True)
    enable_compilation_cache()
    known = known_oxides(arguments.data)

    every = oxides(known, folder, arguments.calculator, arguments.labels)
    sets = split(every, arguments.seed)
    more: list[Atoms] = []
    if arguments.more:
        more = made(folder / "more.extxyz", lambda: further(arguments.data, known, sets))
    config = SETTINGS.replace(basis_epochs=arguments.epochs, seed=arguments.seed)
    generator = trained(sets, more, arguments.copies, folder, arguments.generator_epochs, config)
    report: dict[str, Any] = {"versions": versions(), "device": device_name()}
    report |= {"crystals": {name: len(some) for name, some in sets.items()}, "known": len(known)}

    def note(name: str, value: Any) -> None:
        report[name] = value
        print(f"{name}: {value}", flush=True)
        write_json(arguments.output / "images_generator.json", report)

    names = ("strains", "prototypes")
    unseen = {name: evenly(sets[name], arguments.scored) for name in names}
    if "chain" in arguments.only:
        note("chain", of_chain(generator, known))
    if "rediscovery" in arguments.only:
        for name, steps in (("encoder", 0), ("fitted", FITTED)):
            note(f"rediscovery, {name}", of_rediscovery(generator, known, arguments.seed, steps))
    drawn = Drawn(generator, known, arguments.between, arguments.seed)
    if "stability" in arguments.only:
        size, steps = (arguments.relaxations, arguments.largest), arguments.steps
        note(
            "stability",
            of_stability(drawn.slerp, known, arguments.calculator, *size, steps, folder),
        )
    if "autoencoder" in arguments.only:
        for name, some in {**unseen, "known": known}.items():
            note(f"autoencoder, {name}", of_autoencoder(generator, some))
    if "classifier" in arguments.only:
        for name in names:
            note(f"classifier, {name}", of_classifier(generator, sets[name]))
    if "oxidation" in arguments.only:
        for way in ("slerp", "random"):
            note(f"oxidation, {way}", of_oxidation(getattr(drawn, way)))


class Drawn:
    """Crystals between known oxides and random ones, made when they are needed."""

    def __init__(
        self, generator: Materials, known: Sequence[Atoms], between: int, seed: int
    ) -> None:
        self._given = generator, known
        self._between, self._seed = between, seed

    @cached_property
    def slerp(self) -> list[Atoms]:
        """Those on great circles."""
        return generate_images(
            *self._given, count=self._between, steps=FITTED, min_distances=DISTANCES
        )

    @cached_property
    def random(self) -> list[Atoms]:
        """As many from a normal distribution."""
        count = len(self.slerp)
        return generate_images(
            *self._given, way="gaussian", count=count, seed=self._seed, min_distances=DISTANCES
        )


if __name__ == "__main__":
    main()
