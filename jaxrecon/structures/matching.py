"""Least distance of two structures over permutations, rotations, reflections and translations.

    d(a, b)^2 = min over Q, t, P of (1/N) sum_i |a_i - Q b_P(i) - t|^2

P is a permutation within each element and t a translation. For free structures Q is any rotation
or reflection, for crystals one that maps the lattice of b onto that of a. Given P the best Q and t
are known in closed form (Kabsch, Acta Cryst. A 32, 922 (1976)); given Q and t the best P solves an
assignment problem. The two alternate from many starts. The result is exact when the structures are
the same up to these operations. Otherwise it is the lowest minimum found: an upper bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from jaxrecon.structures.inputs import as_atoms, as_pymatgen

Points = Float[np.ndarray, "n 3"]
Squares = Float[np.ndarray, "k n n"]
Basis = Float[np.ndarray, "3 3"]
Shift = Float[np.ndarray, " 3"]
Rotations = Float[np.ndarray, "k 3 3"]
Order = Int[np.ndarray, " n"]
Orders = Int[np.ndarray, "k n"]

FRAME_PAIRS = 400
"""Number of pairs of atoms that are tried as a frame; more only if they fit exactly."""

REFINED_STARTS = 256
"""Number of starts from which partners and rotation alternate."""

ROUNDS = 50
"""Largest number of alternations.

Two or three are usual; the limit only stops two equally good assignments from taking turns.
"""

COLLINEAR = 1e-6
"""Distance from a line, relative to the size of a cluster, below which atoms define no frame."""

BATCH = 2_000_000
"""Numbers in one batch of distance matrices: 16 MB."""

LENGTH_TOLERANCE = 0.01
"""Relative difference of a length at which two cells no longer match."""

ANGLE_TOLERANCE = 1.0
"""Difference of an angle, in degrees, at which two cells no longer match."""

SITE_TOLERANCE = 1e3
"""StructureMatcher's tolerance for sites, in (V/N)^(1/3): larger than any deviation."""


class _Match(NamedTuple):
    """A permutation and the moved positions of b that put it onto a.

    Attributes:
        rmsd: root mean square deviation in Angstrom.
        order: for each atom of a, its partner in b.
        positions: positions of the partners on the atoms of a, in Angstrom.
    """

    rmsd: float
    order: Order
    positions: Points


def rmsd(a: Atoms, b: Atoms) -> float:
    """Least root mean square deviation of two structures: d(a, b) of the module's equation.

    The minimum is over permutations within each element, translations, rotations and reflections.
    For crystals it is over permutations, translations and the isometries of the lattice: both cells
    are taken as they are, and distances are measured in their mean.

    Args:
        a: a structure, free or periodic along all three axes; positions in Angstrom.
        b: a structure of the same composition and periodicity.

    Returns:
        The deviation in Angstrom; infinity for crystals whose cells differ by more than 1 % or
        1 degree.

    Raises:
        ValueError: if compositions or periodic axes differ, or if only some axes are periodic.

    >>> water = Atoms("OH2", [(0, 0, 0), (0.76, 0.59, 0), (-0.76, 0.59, 0)])
    >>> moved = Atoms("HOH", [(1.76, -0.59, 2), (1, 0, 2), (0.24, -0.59, 2)])
    >>> round(rmsd(water, moved), 9)
    0.0
    """
    match = _match(as_atoms(a), as_atoms(b))
    return float("inf") if match is None else match.rmsd


def align(a: Atoms, b: Atoms) -> Atoms:
    """Move a structure onto another one, with the deviation of :func:`rmsd`.

    The copy of ``b`` is permuted, rotated or reflected, and translated. A crystal also gets the
    cell of ``a``, and each of its atoms is the periodic image nearest to its partner.

    Args:
        a: the structure that stays, free or periodic along all three axes; positions in Angstrom.
        b: a structure of the same composition and periodicity.

    Returns:
        The copy of ``b``: its atom i is the partner of atom i of ``a``. Both arguments stay as they
        are.

    Raises:
        ValueError: as :func:`rmsd`, and if the cells of two crystals do not match.

    >>> a = Atoms("CO", [(0, 0, 0), (0, 0, 1.1)])
    >>> b = Atoms("OC", [(3, 0, 0), (4.1, 0, 0)])
    >>> bool(np.allclose(align(a, b).positions, a.positions))
    True
    """
    a, b = as_atoms(a), as_atoms(b)
    match = _match(a, b)
    if match is None:
        cells = [atoms.cell.cellpar().round(4).tolist() for atoms in (a, b)]
        raise ValueError(f"expected two cells that match, got {cells[0]} and {cells[1]}")
    aligned = b[match.order]
    if a.pbc.all():
        aligned.set_cell(a.cell)
    aligned.set_positions(match.positions, apply_constraint=False)
    return aligned


def _match(a: Atoms, b: Atoms) -> _Match | None:
    """The best match; None if the cells of two crystals differ too much."""
    if len(a) == 0 or sorted(a.numbers) != sorted(b.numbers):
        formulas = [atoms.get_chemical_formula() or "no atoms" for atoms in (a, b)]
        raise ValueError(f"expected structures of one composition, got {' and '.join(formulas)}")
    first, second = a.pbc.tolist(), b.pbc.tolist()
    if first != second or len(set(first)) != 1:
        raise ValueError(f"expected both free or both periodic in 3D, got pbc {first} and {second}")
    return _match_crystals(a, b) if a.pbc.all() else _match_clusters(a, b)


def _match_clusters(a: Atoms, b: Atoms) -> _Match:
    """The best match of two free structures."""
    # Sort atoms by element and centre both structures: the best translation joins the centres.
    order_a, order_b = (np.argsort(atoms.numbers, kind="stable") for atoms in (a, b))
    kinds = np.unique(a.numbers[order_a], return_inverse=True)[1]
    centre = a.positions.mean(axis=0)
    x = a.positions[order_a] - centre
    y = b.positions[order_b] - b.positions.mean(axis=0)
    # Frames of a are tried on b and frames of b on a, so that the result is symmetric in a and b.
    ahead, back = _frame_rotations(x, y, kinds), _frame_rotations(y, x, kinds)
    starts = np.concatenate([np.eye(3)[None], ahead, back.transpose(0, 2, 1)])
    # A cheap lower bound of the cost chooses the starts that are refined.
    promising = np.argsort(_nearest_costs(x, y, kinds, starts), kind="stable")[:REFINED_STARTS]
    partners, rotations = _alternate(x, y, kinds, starts[promising])
    # Take the best one, and undo the sorting.
    moved = y[partners] @ rotations
    costs = np.mean(np.sum((moved - x) ** 2, axis=-1), axis=-1)
    best = int(np.argmin(costs))
    to_a = np.argsort(order_a)
    order = order_b[partners[best]][to_a]
    return _Match(float(np.sqrt(costs[best])), order, moved[best][to_a] + centre)


def _frame_rotations(x: Points, y: Points, kinds: Order) -> Rotations:
    """The rotations Q, with y @ Q on x, that take pairs of atoms of y to one pair of atoms of x."""
    i, j = _anchor_pair(x, kinds)
    distinct = ~np.eye(len(y), dtype=bool)
    first, second = np.nonzero((kinds[:, None] == kinds[i]) & (kinds == kinds[j]) & distinct)
    u, v = y[first], y[second]
    sides = ((u, x[i]), (v, x[j]), (u - v, x[i] - x[j]))
    gaps = [np.linalg.norm(p, axis=-1) - np.linalg.norm(q) for p, q in sides]
    mismatch = np.sum(np.square(gaps), axis=0)
    # Select all pairs that fit exactly, as any of them may be the one that makes a and b equal.
    count = max(FRAME_PAIRS, int(np.sum(mismatch < 1e-6)))
    selected = np.argsort(mismatch, kind="stable")[:count]
    frames = _frames(u[selected], v[selected]).transpose(0, 2, 1)
    target = _frames(x[[i]], x[[j]])[0]
    return np.concatenate([frames @ target, frames @ np.diag([1.0, 1.0, -1.0]) @ target])


def _anchor_pair(x: Points, kinds: Order) -> tuple[int, int]:
    """Two atoms that span a large triangle with the centre, of elements with few atoms."""
    lengths = np.linalg.norm(x, axis=-1)
    quality = np.linalg.norm(np.cross(x[:, None], x), axis=-1)
    # Where all atoms lie on a line there is no triangle: take the longest side.
    if quality.max() <= COLLINEAR * lengths.max() ** 2:
        quality = lengths[:, None] * ~np.eye(len(x), dtype=bool)
    counts = np.bincount(kinds)[kinds]
    pairs = np.where(quality >= 0.5 * quality.max(), counts[:, None] * counts, np.inf)
    preference = pairs - quality / (2.0 * quality.max() + np.finfo(float).tiny)
    i, j = np.unravel_index(np.argmin(preference), preference.shape)
    return int(i), int(j)


def _frames(u: Points, v: Points) -> Rotations:
    """Orthonormal rows along u, towards v and normal to both; where v is along u, any normal."""
    length = np.linalg.norm(u, axis=-1, keepdims=True)
    along = np.where(length > 0.0, u, [1.0, 0.0, 0.0]) / np.where(length > 0.0, length, 1.0)
    spare = np.eye(3)[np.argmin(np.abs(along), axis=-1)]
    defined = np.linalg.norm(np.cross(along, v), axis=-1, keepdims=True) > COLLINEAR * length
    across = np.where(defined, v, spare)
    across = across - np.sum(across * along, axis=-1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    return np.stack([along, across, np.cross(along, across)], axis=1)


def _squares(x: Points, y: Points, rotations: Rotations) -> Squares:
    """Squared distances between the atoms of x and those of y, for each rotation of y."""
    norms = np.sum(x**2, axis=-1)[:, None] + np.sum(y**2, axis=-1)
    squares: Squares = norms - 2.0 * x @ (y @ rotations).transpose(0, 2, 1)
    return squares


def _nearest_costs(x: Points, y: Points, kinds: Order, q: Rotations) -> Float[np.ndarray, " k"]:
    """Lower bounds of the assignment costs, zero only for a match: sums over nearest neighbours."""
    costs = np.zeros(len(q))
    for part in np.array_split(np.arange(len(q)), 1 + len(q) * len(x) ** 2 // BATCH):
        for block in (np.flatnonzero(kinds == kind) for kind in set(kinds)):
            squares = _squares(x[block], y[block], q[part])
            costs[part] += np.maximum(*(squares.min(axis=side).sum(axis=-1) for side in (1, 2)))
    return costs


def _alternate(x: Points, y: Points, kinds: Order, q: Rotations) -> tuple[Orders, Rotations]:
    """Alternate between partners for rotations and rotations for partners until both stay."""
    partners = np.full((len(q), len(x)), -1)
    for _ in range(ROUNDS):
        previous = partners.copy()
        for block in (np.flatnonzero(kinds == kind) for kind in set(kinds)):
            squares = _squares(x[block], y[block], q)
            partners[:, block] = [block[linear_sum_assignment(square)[1]] for square in squares]
        if np.array_equal(partners, previous):
            break
        # The determinant may have either sign, as a reflection is as good as a rotation.
        left, _, right = np.linalg.svd(y[partners].transpose(0, 2, 1) @ x)
        q = left @ right
    return partners, q


def _match_crystals(a: Atoms, b: Atoms) -> _Match | None:
    """Refine the best matches that StructureMatcher finds of b on a and of a on b."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(
        LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE, primitive_cell=False, scale=False
    )
    structures = [as_pymatgen(crystal) for crystal in (a, b)]
    matches = []
    if ahead := matcher.get_transformation(*structures):
        matches.append(_settle(a, b, np.linalg.inv(ahead[0]), ahead[1]))
    if back := matcher.get_transformation(*structures[::-1]):
        matches.append(_settle(a, b, 1.0 * back[0], -back[1] @ back[0]))
    return min(matches, key=lambda match: match.rmsd, default=None)


def _settle(a: Atoms, b: Atoms, basis: Basis, shift: Shift) -> _Match:
    """Alternate between partners and translation, with b at its fractions @ basis + shift.

    StructureMatcher's own deviation is not used: it centres once, without assigning partners again,
    and its cache takes structures 1e-5 Angstrom apart for the same.
    """
    from pymatgen.core.lattice import Lattice
    from pymatgen.util.coord import pbc_shortest_vectors

    own, other = a.cell.array, np.linalg.inv(basis) @ b.cell.array
    # Distances are measured in the mean of both metric tensors.
    lattice = Lattice(np.linalg.cholesky((own @ own.T + other @ other.T) / 2.0))
    target = a.get_scaled_positions(wrap=False)
    moved = b.get_scaled_positions(wrap=False) @ basis + shift
    best = _Match(float("inf"), np.arange(len(a)), a.positions)
    for _ in range(ROUNDS):
        vectors, squares = pbc_shortest_vectors(lattice, target, moved, return_d2=True)
        squares[a.numbers[:, None] != b.numbers] = np.inf
        rows, order = linear_sum_assignment(squares)
        residual = vectors[rows, order]
        value = float(np.sqrt(np.mean(np.sum(residual**2, axis=-1))))
        if value > best.rmsd - 1e-12:
            break
        best = _Match(value, order, a.positions + lattice.get_fractional_coords(residual) @ own)
        moved = moved - lattice.get_fractional_coords(residual.mean(axis=0))
    return best
