"""Displacements of atoms and cell that are no rigid motion: the unknowns of a structure."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Bool, Float


class Unknowns(NamedTuple):
    """An orthonormal basis of the displacements that a fingerprint may tell apart.

    Attributes:
        atoms: the structure.
        basis: displacements of the atoms, in Angstrom, and below them three rows for a symmetric
            strain, times ``length``, where the cell is unknown.
        length: length in Angstrom that a strain of 1 counts as; 0 where the cell is known.
    """

    atoms: Atoms
    basis: Float[np.ndarray, "u x 3"]
    length: float

    @classmethod
    def of(
        cls, atoms: Atoms, *, strained: bool, fixed: Bool[np.ndarray, " n"] | None = None
    ) -> "Unknowns":
        """Find the unknowns of a structure.

        Args:
            atoms: the structure: a free one, or a crystal.
            strained: whether the cell is unknown; one of a free structure is not.
            fixed: whether each atom is known to be where it is; None if no atom is.
        """
        inner = _internal(atoms, np.zeros(len(atoms), bool) if fixed is None else fixed)
        if not strained or not atoms.pbc.all():
            return cls(atoms, inner, 0.0)
        symmetric = np.zeros((6, 3, 3))
        for number, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]):
            symmetric[number, i, j] = symmetric[number, j, i] = 1.0 if i == j else 0.5**0.5
        basis = np.zeros((len(inner) + 6, len(atoms) + 3, 3))
        basis[: len(inner), : len(atoms)] = inner
        basis[len(inner) :, len(atoms) :] = symmetric
        return cls(atoms, basis, atoms.get_volume() ** (1 / 3))

    def moved(self, motion: Float[np.ndarray, "x 3"]) -> Atoms:
        """The structure after a displacement: the atoms first, then the cell with them."""
        moved = self.atoms.copy()
        moved.positions += motion[: len(moved)]
        if self.length:
            moved.set_cell(moved.cell.array @ self._strain(motion), True)
        return moved

    def along(
        self,
        jacobian: Float[np.ndarray, "q y 3"],
        motions: Float[np.ndarray, "k x 3"],
        after: Float[np.ndarray, "x 3"] | None = None,
    ) -> Float[np.ndarray, "q k"]:
        """Derivatives along displacements, in 1/Angstrom.

        Args:
            jacobian: derivatives by the positions, and by a strain below them, of the structure
                after a displacement. Rows of a strain that is not among the unknowns are not used.
            motions: the displacements along which to differentiate.
            after: the displacement before them; None for none.
        """
        count = len(self.atoms)
        if not self.length:
            return np.einsum("qxk,uxk->qu", jacobian[:, :count], motions[:, :count])
        # Displacements and strains at the structure as it is after the displacement.
        before = np.eye(3) if after is None else self._strain(after)
        shifts = motions[:, :count] @ before
        strains = np.linalg.solve(before, motions[:, count:] / self.length)
        own = np.concatenate([shifts, strains], axis=1)
        return np.einsum("qxk,uxk->qu", np.delete(jacobian, np.s_[count:-3], axis=1), own)

    def _strain(self, motion: Float[np.ndarray, "x 3"]) -> Float[np.ndarray, "3 3"]:
        """The linear map of a displacement's strain."""
        return np.eye(3) + motion[-3:] / self.length


def largest(motion: Float[np.ndarray, "*k x 3"]) -> Float[np.ndarray, "*k"]:
    """The largest displacement of an atom, or of the cell, in Angstrom."""
    return np.asarray(np.linalg.norm(motion, axis=-1).max(axis=-1))


def _internal(atoms: Atoms, fixed: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "u n 3"]:
    """An orthonormal basis of the displacements of free atoms that are no rigid motion."""
    count = len(atoms)
    rigid = [np.tile(axis, (count, 1)) for axis in np.eye(3)]
    if not atoms.pbc.any():
        centred = atoms.positions - atoms.positions.mean(axis=0)
        rigid += [np.cross(axis, centred) for axis in np.eye(3)]
    motions = np.reshape(rigid, (len(rigid), -1))
    held = np.repeat(fixed, 3)
    if fixed.any():
        # Only those that leave the fixed atoms in place are rigid: turns about an axis of them.
        motions = _null_space(motions[:, held].T) @ motions
    free = np.zeros((count - int(fixed.sum()), 3, count, 3))
    free[np.arange(len(free))[:, None], np.arange(3), np.flatnonzero(~fixed)[:, None]] = np.eye(3)
    flat = free.reshape(-1, 3 * count)
    # The null space of the rigid motions, of which a line of atoms has one less.
    return (_null_space(motions @ flat.T) @ flat).reshape(-1, count, 3)


def _null_space(matrix: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "z k"]:
    """An orthonormal basis of the vectors that a matrix takes to zero, one in each row."""
    if not matrix.size:
        return np.eye(matrix.shape[1])
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    return right[int((sizes > 1e-6 * max(sizes[0], 1e-300)).sum()) :]
