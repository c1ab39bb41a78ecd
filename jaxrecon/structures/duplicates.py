r"""Duplicates among many free structures: two lower bounds rule out nearly all pairs cheaply.

Let :math:`e_i` be the vector between atom i of a and its partner when b lies on a as well as
possible, so that :math:`\sum_i |e_i|^2 = N d(a, b)^2` (see :mod:`jaxrecon.structures.matching`). A
distance in a differs from that of the partners in b by at most :math:`|e_i - e_j|`. The sum over
all ordered pairs is

.. math:: \sum_{ij} (a_{ij} - b_{P(i)P(j)})^2 \le \sum_{ij} |e_i - e_j|^2 \le 2 N^2 d(a, b)^2

The left side is smallest when the distances of both structures are sorted. So the sorted distances
of all pairs give one lower bound of the deviation d. The sorted distances of each atom, with the
best assignment of atoms, give a tighter one.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jaxrecon.structures.matching import rmsd

TOLERANCE = 0.1
"""Largest root mean square deviation, in Angstrom, at which two structures are the same."""

ROUND_OFF = 1e-9
"""Amount in Angstrom by which round-off may raise a lower bound."""


class Library:
    """Free structures of one composition, in which duplicates of a structure are found.

    Args:
        structures: the first structures; positions in Angstrom.

    Raises:
        ValueError: if compositions differ, or a structure is periodic.
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
        """Append a structure.

        Args:
            atoms: the structure; positions in Angstrom.

        Raises:
            ValueError: if its composition is not that of the first structure, or it is periodic.
        """
        row = self._append(atoms)[None]
        self._sorted = row if len(self) == 1 else np.concatenate([self._sorted, row])

    def find(self, atoms: Atoms, tolerance: float = TOLERANCE) -> int | None:
        """Find a structure that is the same, usually the most similar one.

        Two structures are the same if :func:`jaxrecon.structures.matching.rmsd` is at most the
        tolerance. Mirror images are the same, and atoms of one element are interchangeable.

        Args:
            atoms: the structure to look for; positions in Angstrom.
            tolerance: largest deviation in Angstrom.

        Returns:
            The index of that structure in this library; None if there is none.

        Raises:
            ValueError: if the structure has another composition, or is periodic.
        """
        if not len(self):
            return None
        _check(atoms, self._structures[0])
        rows, flat = _distances(atoms)
        scale = np.sqrt(2.0) * len(atoms)
        limit = tolerance + ROUND_OFF
        # The cheap bound of all structures leaves few; only for these is the tighter one computed.
        near = np.flatnonzero(np.linalg.norm(self._sorted - flat, axis=1) <= limit * scale)
        bounds = {int(i): _assigned(rows, self._rows[i]) / scale for i in near}
        # In ascending order of the bounds the first match ends the loop, and so does a bound that
        # exceeds the limit.
        for number in sorted(bounds, key=bounds.__getitem__):
            if bounds[number] > limit:
                break
            if rmsd(atoms, self._structures[number]) <= tolerance:
                return number
        return None

    def _append(self, atoms: Atoms) -> Float[np.ndarray, " m"]:
        """Store a structure with the sorted distances of each atom; return those of all pairs."""
        _check(atoms, self._structures[0] if self._structures else atoms)
        rows, flat = _distances(atoms)
        self._structures.append(atoms)
        self._rows.append(rows)
        return flat


def _check(atoms: Atoms, first: Atoms) -> None:
    """Raise unless a structure is free and has the composition of the first one."""
    if atoms.pbc.any():
        raise ValueError(f"expected free structures, got pbc {atoms.pbc.tolist()}")
    if sorted(atoms.numbers) != sorted(first.numbers):
        names = [structure.get_chemical_formula() for structure in (first, atoms)]
        raise ValueError(f"expected structures of one composition, got {' and '.join(names)}")


def _distances(
    atoms: Atoms,
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " m"]]:
    """Sorted distances: a row for each atom, and those of all pairs of atoms, flat.

    Rows are ordered by atomic number; within a row the distances to each element are sorted by
    themselves, and so are those of each pair of elements in the flat array.
    """
    order = np.argsort(atoms.numbers, kind="stable")
    positions, numbers = atoms.positions[order], atoms.numbers[order]
    distances = cdist(positions, positions)
    blocks = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    rows = np.concatenate([np.sort(distances[:, block], axis=1) for block in blocks], axis=1)
    pairs = [
        np.sort(distances[np.ix_(first, second)], axis=None)
        for first in blocks
        for second in blocks
    ]
    return rows, np.concatenate(pairs)


def _assigned(rows: Float[np.ndarray, "n n"], others: Float[np.ndarray, "n n"]) -> float:
    """Root of the sum of squared differences between rows under the best assignment."""
    squares = cdist(rows, others, "sqeuclidean")
    first, second = linear_sum_assignment(squares)
    return float(np.sqrt(squares[first, second].sum()))
