"""Whether what was found is the structure behind the target.

Free structures: the deviation of `jaxrecon.matching.rmsd` is at most 0.05 Angstrom, over rotations,
reflections and permutations. Crystals: pymatgen's StructureMatcher with ltol 0.3 and angle_tol 10
degrees maps one onto the other, *loosely* with stol 0.5, the setting usual for generated crystals,
or *tightly* with stol 0.02, in units of (V/N)^(1/3). Of four random atoms in the right cell many
match loosely. Fingerprints can't tell a structure from its mirror image: both ways to compare take
one for the other, as StructureMatcher maps lattices by improper operations too.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon.structures import matching

FREE_RMSD = 0.05
"""Angstrom."""

LENGTHS, ANGLES = 0.3, 10.0
LOOSE, TIGHT = 0.5, 0.02
TINY = 1e-6
"""Cubic Angstrom: less is no volume of a cell."""


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


def compare(found: Sequence[Atoms], truth: Sequence[Atoms]) -> list[Match]:
    """Compare structures one by one.

    Args:
        found: positions and cells in Angstrom.
        truth: as many, of the same compositions.

    Raises:
        ValueError: if there are more of one than of the other, or a pair has other elements, other
            axes along which it repeats, or positions that are not finite.
    """
    if len(found) != len(truth):
        raise ValueError(f"expected as many structures, got {len(found)} and {len(truth)}")
    for number, (one, other) in enumerate(zip(found, truth, strict=True)):
        _check_alike(number, one, other)
    return [match(other, one) for one, other in zip(found, truth, strict=True)]


def text(matches: Sequence[Match], truth: Sequence[Atoms]) -> str:
    """A line for each pair, and one for all.

    Args:
        matches: of :func:`compare`.
        truth: the structures that were compared with.
    """
    lines = [f"{'pair':>6}  {'formula':<12}  {'RMSD/A':>8}  {'rms':>7}  match"]
    for number, (each, atoms) in enumerate(zip(matches, truth, strict=True)):
        rms = "-" if each.rms is None else f"{each.rms:.4f}"
        how = "tight" if each.tight else "loose" if each.loose else "none"
        formula = atoms.get_chemical_formula()
        lines.append(f"{number:>6}  {formula:<12}  {each.rmsd:>8.1e}  {rms:>7}  {how}")
    told = summary(matches)
    middle = told["median_rmsd"]
    median = "" if middle is None else f"; RMSD {middle:.1e} A in the median"
    lines.append(
        f"{told['tight']} of {len(matches)} match tightly, {told['loose']} loosely{median}"
    )
    return "\n".join(lines)


def summary(matches: Sequence[Match]) -> dict[str, Any]:
    """How many match, and the median deviation in Angstrom of those that have one."""
    finite = [each.rmsd for each in matches if math.isfinite(each.rmsd)]
    return {
        "pairs": len(matches),
        "tight": sum(each.tight for each in matches),
        "loose": sum(each.loose for each in matches),
        "median_rmsd": float(np.median(finite)) if finite else None,
    }


def _check_alike(number: int, one: Atoms, other: Atoms) -> None:
    if sorted(one.numbers) != sorted(other.numbers):
        formulas = [atoms.get_chemical_formula() for atoms in (one, other)]
        raise ValueError(
            f"expected structures of one composition in pair {number}, got {' and '.join(formulas)}"
        )
    axes = [atoms.pbc.tolist() for atoms in (one, other)]
    if axes[0] != axes[1] or len(set(axes[0])) != 1:
        raise ValueError(
            f"expected both free or both periodic in 3D in pair {number}, "
            f"got pbc {axes[0]} and {axes[1]}"
        )
    for atoms in (one, other):
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise ValueError(f"expected finite positions and cells in pair {number}, got others")
        if atoms.pbc.all() and abs(atoms.cell.volume) < TINY:
            raise ValueError(f"expected cells with a volume in pair {number}, got a singular one")
