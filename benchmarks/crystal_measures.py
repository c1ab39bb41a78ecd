"""The measures of CDVAE (arXiv 2110.06197) for generated crystals.

    pip install matminer smact
    python benchmarks/crystal_measures.py MADE.extxyz TRUE.extxyz --scale mp_3000.extxyz

It needs neither jaxrecon nor JAX. Printed, in percent:

structure    crystals whose atoms are all at least 0.5 Angstrom apart.
composition  crystals of neutral compositions: SMACT's test of charges and electronegativities,
             which metals and their alloys pass.
COV-R        true crystals that have a generated one nearby, in structure (mean of matminer's
             CrystalNN fingerprints, cut --lengths) and in composition (Magpie's properties in units
             of their deviations in a set, cut --compositions).
COV-P        generated crystals that have a true one nearby.
density      Wasserstein distances of densities (g/cm^3) and of numbers of elements.

As published, only crystals that are valid in both ways count for COV and the distances. The cuts
are 0.2 and 4 for perovskites, 0.4 and 10 for crystals of all kinds. The published deviations are
those of a set of all kinds of compositions, which --scale names here. True crystals in place of the
generated ones, as many, show what can be reached.
"""

import argparse
import warnings
from collections import Counter
from functools import reduce
from math import gcd
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from matminer.featurizers.composition import ElementProperty
from matminer.featurizers.site import CrystalNNFingerprint
from pymatgen.core import Composition
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from smact.screening import smact_validity

SHORTEST = 0.5
"""Smallest distance of two atoms of a valid crystal, in Angstrom."""

SITES, MAGPIE = CrystalNNFingerprint.from_preset("ops"), ElementProperty.from_preset("magpie")
"""What makes the fingerprints."""


def valid_structure(atoms: Atoms) -> bool:
    """Whether no two atoms are too close."""
    distances = AseAtomsAdaptor.get_structure(atoms).distance_matrix
    np.fill_diagonal(distances, np.inf)
    return bool(distances.min() > SHORTEST and atoms.get_volume() >= 0.1)


def valid_composition(atoms: Atoms) -> bool:
    """Whether charges can balance, by SMACT."""
    counts = Counter(atoms.symbols)
    divisor = reduce(gcd, counts.values())
    formula = "".join(f"{symbol}{count // divisor}" for symbol, count in counts.items())
    return bool(smact_validity(Composition(formula)))


def features(atoms: Atoms) -> tuple[np.ndarray, np.ndarray] | None:
    """Fingerprints of structure and composition; None where matminer finds none."""
    structure = AseAtomsAdaptor.get_structure(atoms)
    try:
        order = np.mean([SITES.featurize(structure, site) for site in range(len(atoms))], axis=0)
        return order, of_composition(atoms)
    except Exception:  # matminer raises errors of many kinds for odd crystals
        return None


def of_composition(atoms: Atoms) -> np.ndarray:
    """Magpie's properties of the composition."""
    return np.asarray(MAGPIE.featurize(Composition(str(atoms.symbols))))


def density(atoms: Atoms) -> float:
    """The density in g/cm^3."""
    return float(atoms.get_masses().sum() / atoms.get_volume() * 1.66054)


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("made", type=Path)
    parser.add_argument("true", type=Path)
    parser.add_argument("--lengths", type=float, default=0.2, help="cut of structures")
    parser.add_argument("--compositions", type=float, default=4.0, help="cut of compositions")
    parser.add_argument("--scale", type=Path, required=True, help="set of the deviations")
    parser.add_argument("--accepted", action="store_true", help="only structures marked accepted")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    made, true = read(args.made, ":"), read(args.true, ":")
    if args.accepted:
        made = [atoms for atoms in made if atoms.info["accepted"]]
    structure = np.array([valid_structure(atoms) for atoms in made])
    composition = np.array([valid_composition(atoms) for atoms in made])
    print(f"{len(made)} generated, {len(true)} true")
    print(f"structure    {structure.mean():.1%}\ncomposition  {composition.mean():.1%}")
    print(f"composition of the true ones {np.mean([valid_composition(a) for a in true]):.1%}")
    valid = [
        atoms for atoms, one, two in zip(made, structure, composition, strict=True) if one & two
    ]
    found, known = (
        [each for each in map(features, some) if each is not None] for some in (valid, true)
    )
    width = np.std([of_composition(atoms) for atoms in read(args.scale, ":")], axis=0)
    (found_order, found_properties), (order, properties) = (
        [np.array(part) for part in zip(*some, strict=True)] for some in (found, known)
    )
    width[width == 0.0] = 1.0
    distances = cdist(order, found_order)
    others = cdist(properties / width, found_properties / width)
    for name, axis, whole in (("COV-R", 1, len(true)), ("COV-P", 0, len(valid))):
        near = (distances.min(axis=axis) <= args.lengths) & (
            others.min(axis=axis) <= args.compositions
        )
        print(f"{name}        {near.sum() / whole:.1%}")
    for name, of in (("density", density), ("elements", lambda atoms: len(set(atoms.symbols)))):
        both = ([float(of(atoms)) for atoms in some] for some in (valid, true))
        print(f"{name:12} {wasserstein_distance(*both):.3f}")


if __name__ == "__main__":
    main()
