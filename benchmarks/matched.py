"""Whether what was found is the structure behind the target.

Free structures: the deviation of `jaxrecon.matching.rmsd` is at most 0.05 Angstrom, over rotations,
reflections and permutations. Crystals: pymatgen's StructureMatcher with ltol 0.3 and angle_tol 10
degrees maps one onto the other, *loosely* with stol 0.5, the setting usual for generated crystals,
or *tightly* with stol 0.02, in units of (V/N)^(1/3). Of four random atoms in the right cell many
match loosely. Fingerprints can't tell a structure from its mirror image: both ways to compare take
one for the other, as StructureMatcher maps lattices by improper operations too.
"""

import math
from typing import NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon import matching

FREE_RMSD = 0.05
"""Angstrom."""

LENGTHS, ANGLES = 0.3, 10.0
LOOSE, TIGHT = 0.5, 0.02


class Match(NamedTuple):
    """How near two structures are.

    Attributes:
        rmsd: deviation in Angstrom; of crystals, with both cells as they are.
        rms: deviation that StructureMatcher finds, in (V/N)^(1/3); None if it finds no match, and
            for free structures.
        loose: whether they match.
        tight: whether they match with the small tolerance; the same for free structures.
    """

    rmsd: float
    rms: float | None
    loose: bool
    tight: bool


NONE = Match(math.inf, None, False, False)


def match(truth: Atoms, found: Atoms) -> Match:
    """Compare what was found with the truth; different elements or no positions are no match."""
    same = sorted(truth.numbers) == sorted(found.numbers)
    if not same or not np.isfinite(found.positions).all():
        return NONE
    deviation = matching.rmsd(truth, found)
    if not truth.pbc.all():
        near = deviation <= FREE_RMSD
        return Match(deviation, None, near, near)
    rms, close = (_rms(truth, found, tolerance) for tolerance in (LOOSE, TIGHT))
    return Match(deviation, rms, rms is not None, close is not None)


def _rms(a: Atoms, b: Atoms, tolerance: float) -> float | None:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core.structure import Structure

    matcher = StructureMatcher(ltol=LENGTHS, stol=tolerance, angle_tol=ANGLES)
    structures = [Structure(x.cell.array, x.symbols, x.get_scaled_positions()) for x in (a, b)]
    distances = matcher.get_rms_dist(*structures)
    return None if distances is None else float(distances[0])
