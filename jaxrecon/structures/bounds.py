"""Static sizes of neighbour lists, found from structures before anything compiles."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from jaxrecon.structures.structure import Bounds, completed_cell, spanning_cell

MANY = 64
"""Largest number of atoms for which every pair is examined.

Beyond it a cell list is used where that is less work.
"""

CROWDING = 1.5
"""Capacity for the neighbours of moving atoms, in units of their mean number within the cutoff."""

BINS_PER_ATOM = 1.0
"""Largest number of bins of a cell list per atom: further bins would mostly be empty."""

ASIDE = 1.2345e-4
"""Shift of all bins, in units of the cell.

Crystals have whole planes of atoms at simple fractions, which round-off would move from bin to bin.
The shift puts the edges of the bins where atoms are only by chance.
"""


def bounds_of(
    structures: Sequence[Atoms],
    r_cut: float,
    *,
    size: int | None = None,
    elements: int | None = None,
    most: int | None = None,
) -> Bounds:
    """Bounds that hold every neighbour within the cutoff of each of these structures.

    Args:
        structures: free ones, or periodic along some axes.
        r_cut: cutoff in Angstrom.
        size: padded number of atoms; None for that of the largest structure.
        elements: as in :class:`~jaxrecon.structures.structure.Bounds`.
        most: largest number of neighbours of an atom, if it is known; see :func:`most_neighbors`.

    Returns:
        Bounds for all pairs of atoms, or for a cell list where that is less work.

    >>> from ase.build import bulk
    >>> bounds_of([bulk("Pt", a=4.0)], 3.0)
    Bounds(capacity=16, counts=(1, 1, 1), bins=None, bin_capacity=0, elements=None)
    """
    # Capacities are multiples of eight, so that similar structures share a compiled program.
    size = size or max(len(atoms) for atoms in structures)
    if most is None:
        most = max(most_neighbors(atoms, r_cut) for atoms in structures)
    capacity = 8 * math.ceil(max(most, 1) / 8)
    images = [_image_counts(completed_cell(atoms), atoms.pbc, r_cut) for atoms in structures]
    among_pairs = Bounds(capacity, _three(np.max(images, axis=0)), elements=elements)
    if size <= MANY:
        return among_pairs
    # One grid of bins serves all structures: the bins must hold the fullest bin of any of them and
    # reach as far as the smallest cell needs.
    cells = list(map(spanning_cell, structures))
    bins = _three(np.min([_bins(cell, r_cut, size) for cell in cells], axis=0))
    crowded, counts = 0, []
    for atoms, cell in zip(structures, cells, strict=True):
        padding = math.ceil((size - len(atoms)) / math.prod(bins))
        crowded = max(crowded, _most_in_bin(atoms.positions, cell, atoms.pbc, bins) + padding)
        counts.append(_bin_counts(cell, atoms.pbc, bins, r_cut))
    reach = _three(np.max(counts, axis=0))
    # One more than needed, as round-off may move an atom at an edge into the next bin.
    in_bin = 2 * math.ceil((crowded + 1) / 2)
    among_bins = Bounds(capacity, reach, bins, in_bin, elements)
    if any(not atoms.pbc.any() for atoms in structures):
        return among_bins
    return _less_work(among_pairs, among_bins, size)


def bounds_within(
    cell: Float[np.ndarray, "3 3"],
    r_cut: float,
    atoms: int,
    *,
    pbc: Sequence[bool] = (True, True, True),
    elements: int | None = None,
) -> Bounds:
    """Bounds for atoms that move within a cell, with spare capacity for uneven densities.

    Args:
        cell: lattice vectors as rows in Angstrom.
        r_cut: cutoff in Angstrom.
        atoms: number of atoms in the cell.
        pbc: whether the cell repeats along each lattice vector.
        elements: as in :class:`~jaxrecon.structures.structure.Bounds`.

    Returns:
        Bounds for all pairs of atoms, or for a cell list where that is less work.

    >>> import numpy as np
    >>> bounds_within(4.0 * np.eye(3), 6.0, 1).capacity
    32
    """
    # The mean density gives the capacity; no atom has more neighbours than there are images.
    density = atoms / abs(np.linalg.det(cell))
    mean = density * 4.0 / 3.0 * math.pi * r_cut**3
    capacity = 8 * math.ceil((CROWDING * mean + 8) / 8)
    periodic = np.asarray(pbc, dtype=bool)
    counts = _image_counts(cell, periodic, r_cut)
    all_images = atoms * math.prod(2 * count + 1 for count in counts)
    among_pairs = Bounds(min(all_images, capacity), counts, elements=elements)
    if atoms <= MANY:
        return among_pairs
    bins = _bins(cell, r_cut, atoms)
    reach = _bin_counts(cell, periodic, bins, r_cut)
    in_bin = math.ceil(CROWDING * atoms / math.prod(bins)) + 8
    return _less_work(among_pairs, Bounds(capacity, reach, bins, in_bin, elements), atoms)


def most_neighbors(atoms: Atoms, r_cut: float) -> int:
    """Largest number of neighbours of an atom, images included, within a cutoff in Angstrom.

    >>> from ase.build import bulk
    >>> most_neighbors(bulk("Pt", a=4.0), 3.0)
    12
    """
    points = inside = atoms.positions
    if atoms.pbc.any():
        # Add the images of all atoms that lie within the cutoff of the cell.
        cell = completed_cell(atoms)
        inverse = np.linalg.inv(cell)
        margin = np.where(atoms.pbc, r_cut * np.sqrt((inverse**2).sum(axis=0)) + 1e-9, np.inf)
        fractional = points @ inverse
        fractional -= np.where(atoms.pbc, np.floor(fractional), 0.0)
        reach = tuple(0 if m == np.inf else math.ceil(m) for m in margin.tolist())
        images = (fractional[:, None, :] + offsets(reach)[None]).reshape(-1, 3)
        near = ((images >= -margin) & (images <= 1.0 + margin)).all(axis=1)
        points, inside = images[near] @ cell, fractional @ cell
    found = cKDTree(points).query_ball_point(inside, r_cut * (1.0 + 1e-9), return_length=True)
    return int(found.max()) - 1


def _less_work(among_pairs: Bounds, among_bins: Bounds, atoms: int) -> Bounds:
    """The bounds with which fewer candidates are examined around each atom."""
    images, bins = (
        math.prod(2 * n + 1 for n in bounds.counts) for bounds in (among_pairs, among_bins)
    )
    return among_pairs if atoms * images <= among_bins.bin_capacity * bins else among_bins


@lru_cache(maxsize=256)
def offsets(counts: tuple[int, int, int]) -> Int[np.ndarray, "o 3"]:
    """Whole-number coordinates of the cells or bins to examine, ``counts`` to either side.

    >>> offsets((1, 0, 0)).tolist()
    [[-1, 0, 0], [0, 0, 0], [1, 0, 0]]
    """
    ranges = [np.arange(-count, count + 1, dtype=np.int32) for count in counts]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def is_wide(cell: Float[np.ndarray, "3 3"], pbc: np.ndarray, r_cut: float) -> bool:
    """Whether no atom has two images within the cutoff in Angstrom: all are minimum images."""
    return bool(np.all(_heights(cell)[pbc] >= 2.0 * r_cut))


def _heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell, in Angstrom."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def _image_counts(cell: np.ndarray, pbc: np.ndarray, r_cut: float) -> tuple[int, int, int]:
    """Images to either side, for vectors that are within half a cell before they are shifted."""
    counts = np.floor(r_cut / _heights(cell) + 0.5 + 1e-9)
    return _three(np.where(pbc, counts, 0))


def _bins(cell: np.ndarray, r_cut: float, atoms: int) -> tuple[int, int, int]:
    """Numbers of bins at least as wide as the cutoff, but at least 3 per axis, as jax-md asks."""
    bins = np.maximum(np.floor(_heights(cell) / r_cut), 3)
    while bins.prod() > max(27, BINS_PER_ATOM * atoms):
        bins[np.argmax(bins)] -= 1
    return _three(bins)


def _bin_counts(
    cell: np.ndarray, pbc: np.ndarray, bins: tuple[int, int, int], r_cut: float
) -> tuple[int, int, int]:
    """Bins to either side that the cutoff reaches; without images, no more than there are."""
    reach = np.ceil(r_cut * np.asarray(bins) / _heights(cell) - 1e-9)
    return _three(np.where(pbc, reach, np.minimum(reach, np.asarray(bins) - 1)))


def _most_in_bin(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, bins: tuple[int, int, int]
) -> int:
    """Number of atoms in the fullest bin."""
    fractional = positions @ np.linalg.inv(cell) + ASIDE
    fractional -= np.where(pbc, np.floor(fractional), fractional.min(axis=0) - ASIDE)
    place = np.minimum((fractional * bins).astype(int), np.asarray(bins) - 1)
    return int(np.bincount(np.ravel_multi_index(place.T, bins)).max())


def _three(values: np.ndarray) -> tuple[int, int, int]:
    """The same numbers as a tuple of Python's integers."""
    a, b, c = (int(value) for value in values)
    return a, b, c
