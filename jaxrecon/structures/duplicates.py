r"""Which of many free structures are the same: two bounds rule out nearly all before a match.

Let :math:`e_i` be what is left between partners when b lies on a as well as it can, so that
:math:`\sum_i |e_i|^2 = N d(a, b)^2` (see :mod:`jaxrecon.structures.matching`). A distance in a
differs from that of the partners in b by at most :math:`|e_i - e_j|`, and over all ordered pairs

.. math:: \sum_{ij} (a_{ij} - b_{P(i)P(j)})^2 \le \sum_{ij} |e_i - e_j|^2 \le 2 N^2 d(a, b)^2

No order of the distances makes the left side smaller than that in which both ascend. So the
distances of all atoms, sorted, give one lower bound of the deviation, and those of each atom,
sorted, with the best assignment of atoms, a higher one.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jaxrecon.structures.matching import rmsd

TOLERANCE = 0.1
"""Least root mean square deviation, in Angstrom, up to which structures are the same."""

ROUND_OFF = 1e-9
"""Angstrom by which a bound may come out too high."""


class Library:
    """Free structures of one composition, among which the same ones are found.

    Args:
        structures: positions in Angstrom.

    Raises:
        ValueError: if compositions differ, or one is periodic.
    """

    def __init__(self, structures: Sequence[Atoms] = ()) -> None:
        self._structures: list[Atoms] = []
        self._rows: list[np.ndarray] = []
        self._sorted = np.zeros((0, 0))
        sorted_distances = [self._append(atoms) for atoms in structures]
        if sorted_distances:
            self._sorted = np.array(sorted_distances)

    def __len__(self) -> int:
        return len(self._structures)

    def add(self, atoms: Atoms) -> None:
        """Put one more structure at the end.

        Raises:
            ValueError: if it has another composition than the first one, or is periodic.
        """
        row = self._append(atoms)[None]
        self._sorted = row if len(self) == 1 else np.concatenate([self._sorted, row])

    def find(self, atoms: Atoms, tolerance: float = TOLERANCE) -> int | None:
        """The number of a structure that is the same, the most similar one as a rule.

        Mirror images are the same, and atoms of an element are alike. Two structures are the same
        if :func:`jaxrecon.matching.rmsd` is at most the tolerance, in Angstrom.

        Raises:
            ValueError: if the structure has another composition, or is periodic.
        """
        if not len(self):
            return None
        _check(atoms, self._structures[0])
        rows, flat = _distances(atoms)
        scale = np.sqrt(2.0) * len(atoms)
        limit = tolerance + ROUND_OFF
        near = np.flatnonzero(np.linalg.norm(self._sorted - flat, axis=1) <= limit * scale)
        bounds = {int(i): _assigned(rows, self._rows[i]) / scale for i in near}
        for number in sorted(bounds, key=bounds.__getitem__):
            if bounds[number] > limit:
                break
            if rmsd(atoms, self._structures[number]) <= tolerance:
                return number
        return None

    def _append(self, atoms: Atoms) -> Float[np.ndarray, " m"]:
        _check(atoms, self._structures[0] if self._structures else atoms)
        rows, flat = _distances(atoms)
        self._structures.append(atoms)
        self._rows.append(rows)
        return flat


def duplicates(structures: Sequence[Atoms], tolerance: float = TOLERANCE) -> list[int | None]:
    """For each structure the number of one before it that is the same; None if it is new.

    Args:
        structures: free, of one composition; positions in Angstrom.
        tolerance: in Angstrom, as for :meth:`Library.find`.

    Raises:
        ValueError: if compositions differ, or one is periodic.

    >>> pair, longer = (Atoms("Pt2", [(0, 0, 0), (0, 0, z)]) for z in (2.5, 3.0))
    >>> duplicates([pair, longer, pair.copy()])
    [None, None, 0]
    """
    library = Library()
    numbers: list[int] = []
    found: list[int | None] = []
    for number, atoms in enumerate(structures):
        same = library.find(atoms, tolerance)
        found.append(None if same is None else numbers[same])
        if same is None:
            library.add(atoms)
            numbers.append(number)
    return found


def _check(atoms: Atoms, first: Atoms) -> None:
    if atoms.pbc.any():
        raise ValueError(f"expected free structures, got pbc {atoms.pbc.tolist()}")
    if sorted(atoms.numbers) != sorted(first.numbers):
        names = [each.get_chemical_formula() for each in (first, atoms)]
        raise ValueError(f"expected structures of one composition, got {' and '.join(names)}")


def _distances(
    atoms: Atoms,
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " m"]]:
    """Of each atom, by atomic number, to those of each element, ascending; and all of each pair."""
    order = np.argsort(atoms.numbers, kind="stable")
    positions, numbers = atoms.positions[order], atoms.numbers[order]
    distances = cdist(positions, positions)
    blocks = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    rows = np.concatenate([np.sort(distances[:, block], axis=1) for block in blocks], axis=1)
    pairs = [
        np.sort(distances[np.ix_(one, other)], axis=None) for one in blocks for other in blocks
    ]
    return rows, np.concatenate(pairs)


def _assigned(rows: Float[np.ndarray, "n n"], others: Float[np.ndarray, "n n"]) -> float:
    """Root of the least sum of squares between rows and their partners."""
    squares = cdist(rows, others, "sqeuclidean")
    first, second = linear_sum_assignment(squares)
    return float(np.sqrt(squares[first, second].sum()))
