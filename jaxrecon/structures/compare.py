"""Whether a structure that was found is the structure behind its target.

Free structures match if :func:`jaxrecon.structures.matching.rmsd` is at most 0.05 Angstrom, which
allows for rotations, reflections and permutations.

Crystals are compared by pymatgen's StructureMatcher, which reduces both to primitive cells.

- They match *tightly* if lengths of the cells agree to 2 % and angles to 2 degrees, the volume of
  an atom to 2 %, and the atoms to stol = 0.02, in units of (V/N)^(1/3). Nothing is scaled.
- They match *loosely* with ltol 0.3, angle_tol 10 degrees and stol 0.5, after both are scaled to
  one volume: the convention of CDVAE (arXiv 2110.06197) and its successors. This says little about
  small cells: many structures of four random atoms in the right cell meet it.

Slabs and wires are compared as crystals with vacuum along the other axes, without scaling, and
match if the deviation is at most 0.05 Angstrom. Fingerprints can't tell a structure from its mirror
image, and neither can these comparisons, as StructureMatcher also maps lattices by improper
operations.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon.runtime.messages import shortened
from jaxrecon.structures import matching
from jaxrecon.structures.inputs import Structures, as_pymatgen, as_structures
from jaxrecon.structures.structure import completed_cell

FREE_RMSD = 0.05
"""Largest deviation of two free structures, slabs or wires that match, in Angstrom."""

LOOSE_LENGTHS, LOOSE_ANGLES, LOOSE_SITES = 0.3, 10.0, 0.5
"""StructureMatcher's tolerances of a loose match: relative, in degrees, in (V/N)^(1/3)."""

TIGHT_LENGTHS, TIGHT_ANGLES, TIGHT_SITES = 0.02, 2.0, 0.02
"""The same of a tight match."""

TIGHT_VOLUME = 0.02
"""Largest relative difference of the volumes of an atom in a tight match."""

VACUUM = 15.0
"""Angstrom of vacuum beside slabs and wires, which keeps StructureMatcher from crossing it."""

WIDEST_FORMULA = 40
"""Largest number of characters of a formula in a table."""

TINY = 1e-6
"""Volume in cubic Angstrom below which a cell counts as singular."""


class Match(NamedTuple):
    """How near two structures are.

    Attributes:
        rmsd: deviation in Angstrom, with both cells as they are; infinite if there is none.
        rms: deviation that StructureMatcher finds for a loose match, in (V/N)^(1/3); None without
            one, and for structures that are not crystals.
        loose: whether they match, crystals after scaling to one volume.
        tight: whether they match with the small tolerances, nothing scaled; for free structures the
            same as ``loose``.
        volume: relative difference of the volumes of an atom, found minus true; None without cells.
        lengths: largest relative difference of the lengths of the reduced primitive cells; None
            without cells.
        reason: why they can't be compared; None if they can.
    """

    rmsd: float
    rms: float | None
    loose: bool
    tight: bool
    volume: float | None = None
    lengths: float | None = None
    reason: str | None = None


def match(truth: Atoms, found: Atoms) -> Match:
    """Compare a structure with the truth.

    Args:
        truth: the true structure; positions and cell in Angstrom.
        found: the structure to compare with it.

    Returns:
        How near they are, or the reason why this can't be said.
    """
    if reason := _obstacle(truth, found):
        return Match(math.inf, None, False, False, reason=reason)
    if not truth.pbc.any():
        deviation = matching.rmsd(truth, found)
        near = bool(deviation <= FREE_RMSD)
        return Match(deviation, None, near, near)
    if not truth.pbc.all():
        deviation = _slab_rmsd(truth, found)
        near = bool(deviation <= FREE_RMSD)
        return Match(deviation, None, near, near)
    volume = float((found.get_volume() / len(found)) / (truth.get_volume() / len(truth)) - 1.0)
    loose = _rms(truth, found, LOOSE_LENGTHS, LOOSE_SITES, LOOSE_ANGLES, scale=True)
    tight = _rms(truth, found, TIGHT_LENGTHS, TIGHT_SITES, TIGHT_ANGLES, scale=False)
    size = float(np.cbrt(truth.get_volume() / len(truth)))
    # With one number of atoms both cells are compared as they are; else StructureMatcher's
    # primitive cells are, which it maps onto each other only where they are near.
    deviation = matching.rmsd(truth, found) if len(truth) == len(found) else math.inf
    if tight is not None:
        deviation = min(deviation, tight * size)
    return Match(
        rmsd=deviation,
        rms=loose,
        loose=loose is not None,
        tight=tight is not None and bool(abs(volume) <= TIGHT_VOLUME),
        volume=volume,
        lengths=_difference_of_lengths(truth, found),
    )


def compare(found: Structures, truth: Structures) -> list[Match]:
    """Compare structures pair by pair.

    Args:
        found: structures as for :func:`jaxrecon.featurize`; positions and cells in Angstrom.
        truth: as many structures, in the same order.

    Returns:
        How near the structures of each pair are, or the reason why this can't be said.

    Raises:
        ValueError: if the numbers of structures differ.
    """
    pairs = as_structures(found), as_structures(truth)
    counts = [len(structures) for structures in pairs]
    if counts[0] != counts[1]:
        raise ValueError(f"expected as many structures, got {counts[0]} and {counts[1]}")
    return [match(second, first) for first, second in zip(*pairs, strict=True)]


def text(matches: Sequence[Match], truth: Sequence[Atoms]) -> str:
    """A table with a line for each pair and one for the whole.

    Args:
        matches: as :func:`compare` returns them.
        truth: the true structures, in the same order.

    Returns:
        The lines, with RMSD in Angstrom and differences of volumes and lengths in percent.
    """
    lines = [
        f"{'pair':>6}  {'formula':<12}  {'RMSD/A':>8}  {'rms':>7}  {'volume/%':>8}  "
        f"{'cell/%':>7}  match"
    ]
    for number, (pair, atoms) in enumerate(zip(matches, truth, strict=True)):
        rmsd = f"{pair.rmsd:.1e}" if math.isfinite(pair.rmsd) else "-"
        rms = "-" if pair.rms is None else f"{pair.rms:.4f}"
        volume = "-" if pair.volume is None else f"{100.0 * pair.volume:+z.2f}"
        lengths = "-" if pair.lengths is None else f"{100.0 * pair.lengths:.2f}"
        how = "tight" if pair.tight else "loose" if pair.loose else "none"
        if pair.reason is not None:
            how = f"- ({shortened(pair.reason)})"
        formula = shortened(atoms.get_chemical_formula(), WIDEST_FORMULA)
        lines.append(
            f"{number:>6}  {formula:<12}  {rmsd:>8}  {rms:>7}  {volume:>8}  {lengths:>7}  {how}"
        )
    total = summary(matches)
    middle = total["median_rmsd"]
    median = "" if middle is None else f"; median RMSD {middle:.1e} A"
    lines.append(
        f"{total['tight']} of {len(matches)} match tightly (nothing scaled), {total['loose']} "
        f"loosely (crystals scaled to one volume){median}"
    )
    return "\n".join(lines)


def summary(matches: Sequence[Match]) -> dict[str, Any]:
    """Numbers of pairs and of matches, and the median of the finite deviations in Angstrom."""
    finite = [pair.rmsd for pair in matches if math.isfinite(pair.rmsd)]
    return {
        "pairs": len(matches),
        "tight": sum(pair.tight for pair in matches),
        "loose": sum(pair.loose for pair in matches),
        "not_compared": sum(pair.reason is not None for pair in matches),
        "median_rmsd": float(np.median(finite)) if finite else None,
        "corrected_rms": corrected_rms(matches),
    }


def corrected_rms(matches: Sequence[Match]) -> float | None:
    """The cRMSE of Martirossyan et al., arXiv 2509.12178, in units of (V/N)^(1/3).

    It is the mean of the deviations that StructureMatcher finds with the tolerances of a loose
    match, in which a pair without a match counts with the tolerance, 0.5. So a method can't improve
    it by missing the difficult structures.

    Args:
        matches: of crystals.

    Returns:
        The mean; None if no pair has cells.
    """
    crystals = [pair for pair in matches if pair.volume is not None or pair.reason is not None]
    if not any(pair.volume is not None for pair in crystals):
        return None
    return float(np.mean([LOOSE_SITES if pair.rms is None else pair.rms for pair in crystals]))


def matched_by_any(truth: Sequence[Atoms], found: Sequence[Atoms]) -> list[bool]:
    """Which true structures any of the found ones matches loosely.

    The fraction of true values is METRe ("match everyone to reference") of Martirossyan et al.,
    arXiv 2509.12178.

    Args:
        truth: the true structures.
        found: the found structures, in any number and order.
    """
    return [any(match(true, one).loose for one in found) for true in truth]


def _rms(
    a: Atoms, b: Atoms, lengths: float, sites: float, angles: float, *, scale: bool
) -> float | None:
    """The deviation that StructureMatcher finds, None if it is above the tolerances."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(ltol=lengths, stol=sites, angle_tol=angles, scale=scale)
    distances = matcher.get_rms_dist(as_pymatgen(a), as_pymatgen(b))
    return None if distances is None else float(distances[0])


def _slab_rmsd(truth: Atoms, found: Atoms) -> float:
    """The deviation in Angstrom of slabs or wires; infinite if it is above 0.5 Angstrom."""
    cells = [completed_cell(atoms) for atoms in (truth, found)]
    # Both get vacuum of one thickness along the axes that do not repeat.
    extents = [
        np.ptp(np.linalg.solve(cell.T, atoms.positions.T), axis=1) * np.linalg.norm(cell, axis=1)
        for cell, atoms in zip(cells, (truth, found), strict=True)
    ]
    thickness = float(max(extent.max() for extent in extents)) + VACUUM
    boxed = []
    for cell, atoms in zip(cells, (truth, found), strict=True):
        vectors = cell / np.linalg.norm(cell, axis=1)[:, None] * thickness
        crystal = atoms.copy()
        crystal.set_cell(np.where(atoms.pbc[:, None], cell, vectors))
        crystal.pbc = True
        boxed.append(crystal)
    # StructureMatcher's unit depends on the vacuum.
    unit = float(np.mean([np.cbrt(atoms.get_volume() / len(atoms)) for atoms in boxed]))
    true, other = boxed
    rms = _rms(true, other, TIGHT_LENGTHS, 0.5 / unit, TIGHT_ANGLES, scale=False)
    return math.inf if rms is None else rms * unit


def _difference_of_lengths(truth: Atoms, found: Atoms) -> float:
    """The largest relative difference of the sorted lengths of the reduced primitive cells."""
    lengths = [
        sorted(
            as_pymatgen(atoms)
            .get_reduced_structure()
            .get_primitive_structure()
            .lattice.get_niggli_reduced_lattice()
            .abc
        )
        for atoms in (truth, found)
    ]
    return float(np.max(np.abs(np.divide(lengths[1], lengths[0]) - 1.0)))


def _obstacle(truth: Atoms, found: Atoms) -> str | None:
    """Why two structures can't be compared, in a few words; None if they can."""
    axes = [int(atoms.pbc.sum()) for atoms in (found, truth)]
    if axes[0] != axes[1]:
        return f"{axes[0]} and {axes[1]} periodic axes"
    formulas = [
        (atoms.symbols.formula.reduce()[0] if axes[0] else atoms.symbols.formula).format("metal")
        for atoms in (found, truth)
    ]
    if formulas[0] != formulas[1]:
        return f"{formulas[0]} and {formulas[1]}"
    for atoms in (found, truth):
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            return "positions or cells that are not finite"
        if atoms.pbc.any():
            try:
                volume = np.linalg.det(completed_cell(atoms))
            except ValueError:
                volume = 0.0
            if abs(volume) < TINY:
                return "a singular cell"
    return None
