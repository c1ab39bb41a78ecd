"""Whether a structure that was found is the structure behind its target.

Free structures match if :func:`jaxrecon.structures.matching.rmsd` is at most 0.05 Angstrom, which
allows for rotations, reflections and permutations. Crystals match if pymatgen's StructureMatcher
with ltol 0.3 and angle_tol 10 degrees maps one onto the other: *loosely* with stol 0.5, the setting
usual for generated crystals, and *tightly* with stol 0.02, in units of (V/N)^(1/3). The loose
criterion says little about small cells: many structures of four random atoms in the right cell meet
it. Fingerprints can't tell a structure from its mirror image, and neither can these comparisons, as
StructureMatcher also maps lattices by improper operations.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon.structures import matching

FREE_RMSD = 0.05
"""Largest deviation of two free structures that match, in Angstrom."""

LENGTHS, ANGLES = 0.3, 10.0
"""StructureMatcher's tolerances for cells: relative for lengths, in degrees for angles."""

LOOSE, TIGHT = 0.5, 0.02
"""StructureMatcher's tolerances for sites, in units of (V/N)^(1/3)."""

TINY = 1e-6
"""Volume in cubic Angstrom below which a cell counts as singular."""


class Match(NamedTuple):
    """How near two structures are.

    Attributes:
        rmsd: deviation in Angstrom; for crystals, with both cells as they are.
        rms: deviation that StructureMatcher finds, in (V/N)^(1/3); None if it finds no match, and
            for free structures.
        loose: whether they match.
        tight: whether they match with the small tolerance; for free structures the same as
            ``loose``.
    """

    rmsd: float
    rms: float | None
    loose: bool
    tight: bool


NONE = Match(math.inf, None, False, False)
"""The result for structures that can't be mapped onto each other at all."""


def match(truth: Atoms, found: Atoms) -> Match:
    """Compare a structure with the truth.

    Args:
        truth: the true structure; positions and cell in Angstrom.
        found: the structure to compare with it.

    Returns:
        How near they are; no match if the elements differ or positions are not finite.
    """
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
    """The deviation that StructureMatcher finds, None if it is above the tolerance."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core.structure import Structure

    matcher = StructureMatcher(ltol=LENGTHS, stol=tolerance, angle_tol=ANGLES)
    structures = [Structure(x.cell.array, x.symbols, x.get_scaled_positions()) for x in (a, b)]
    distances = matcher.get_rms_dist(*structures)
    return None if distances is None else float(distances[0])


def compare(found: Sequence[Atoms], truth: Sequence[Atoms]) -> list[Match]:
    """Compare structures pair by pair.

    Args:
        found: structures; positions and cells in Angstrom.
        truth: as many structures, of the same compositions and in the same order.

    Returns:
        How near the structures of each pair are.

    Raises:
        ValueError: if the numbers of structures differ, or if the structures of a pair differ in
            their elements or periodic axes, or have positions that are not finite.
    """
    if len(found) != len(truth):
        raise ValueError(f"expected as many structures, got {len(found)} and {len(truth)}")
    for number, (first, second) in enumerate(zip(found, truth, strict=True)):
        _check_alike(number, first, second)
    return [match(second, first) for first, second in zip(found, truth, strict=True)]


def text(matches: Sequence[Match], truth: Sequence[Atoms]) -> str:
    """A table with a line for each pair and one for the whole.

    Args:
        matches: as :func:`compare` returns them.
        truth: the true structures, in the same order.

    Returns:
        The lines, with RMSD in Angstrom.
    """
    lines = [f"{'pair':>6}  {'formula':<12}  {'RMSD/A':>8}  {'rms':>7}  match"]
    for number, (pair, atoms) in enumerate(zip(matches, truth, strict=True)):
        rms = "-" if pair.rms is None else f"{pair.rms:.4f}"
        how = "tight" if pair.tight else "loose" if pair.loose else "none"
        formula = atoms.get_chemical_formula()
        lines.append(f"{number:>6}  {formula:<12}  {pair.rmsd:>8.1e}  {rms:>7}  {how}")
    total = summary(matches)
    middle = total["median_rmsd"]
    median = "" if middle is None else f"; median RMSD {middle:.1e} A"
    lines.append(
        f"{total['tight']} of {len(matches)} match tightly, {total['loose']} loosely{median}"
    )
    return "\n".join(lines)


def summary(matches: Sequence[Match]) -> dict[str, Any]:
    """Numbers of pairs and of matches, and the median of the finite deviations in Angstrom."""
    finite = [pair.rmsd for pair in matches if math.isfinite(pair.rmsd)]
    return {
        "pairs": len(matches),
        "tight": sum(pair.tight for pair in matches),
        "loose": sum(pair.loose for pair in matches),
        "median_rmsd": float(np.median(finite)) if finite else None,
    }


def _check_alike(number: int, first: Atoms, second: Atoms) -> None:
    """Raise unless both structures of a pair can be compared."""
    if sorted(first.numbers) != sorted(second.numbers):
        formulas = [atoms.get_chemical_formula() for atoms in (first, second)]
        raise ValueError(
            f"expected structures of one composition in pair {number}, got {' and '.join(formulas)}"
        )
    axes = [atoms.pbc.tolist() for atoms in (first, second)]
    if axes[0] != axes[1] or len(set(axes[0])) != 1:
        raise ValueError(
            f"expected both free or both periodic in 3D in pair {number}, "
            f"got pbc {axes[0]} and {axes[1]}"
        )
    for atoms in (first, second):
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise ValueError(f"expected finite positions and cells in pair {number}, got others")
        if atoms.pbc.all() and abs(atoms.cell.volume) < TINY:
            raise ValueError(f"expected cells with a volume in pair {number}, got a singular one")
