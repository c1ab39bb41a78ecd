r"""What a fingerprint is around one structure: to first order, and to second where that is needed.

For displacements d the numbers are :math:`c(x + d) = c(x) + J d + \tfrac12 H[d, d] + \dots`; the
singular values of J part the directions into firm ones, which the first order describes, and soft
ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from ase import Atoms
from jaxtyping import Float
from threadpoolctl import ThreadpoolController

from jaxrecon.search.unknowns import Unknowns, largest

Jacobians = Callable[[Sequence[Atoms]], Sequence[Float[np.ndarray, "q y 3"]]]
"""Function of structures of the same atoms, of their derivatives by positions and strain."""

SOFT = 1e-3
"""Directions with singular values below this part of the largest one, or of the length of the
fingerprint, are looked at to second order."""

MOST_SOFT, MOST_TERMS = 48, 10**7
"""Largest numbers of soft directions, the softest ones, of which all combinations are looked at,
and of second derivatives along them."""

STEP = 1e-3
"""Displacement of an atom in Angstrom for second derivatives by differences."""

RESOLVED = 1e-13
"""Directions with larger singular values, as a part of the largest one or of the length of the
fingerprint, change the numbers by more than round-off."""

ROUND_OFF = 1e-14
"""Smallest difference of two numbers in float64, as a part of the length of all numbers."""


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """Control of the threads of NumPy's libraries, which takes a while to find them."""
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Do linear algebra in one thread.

    The matrices of one structure are so small that several threads gain nothing, and where other
    processes use the processor too, threads that wait for each other take a hundred times longer.
    """
    with _threads().limit(limits=1, user_api="blas"):
        yield


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A fingerprint around a structure, by the singular values of its derivatives.

    Attributes:
        unknowns: the unknowns of the structure.
        residual: the wanted numbers less its own, without a unit.
        jacobians: function to evaluate displaced structures with.
        length: length of the vector of all its numbers.
        left: singular vectors in the space of the numbers, one in each column.
        singular: singular values in 1/Angstrom, descending, one for each unknown.
        motions: the displacements that belong to them, orthonormal.
    """

    unknowns: Unknowns
    residual: Float[np.ndarray, " q"]
    jacobians: Jacobians
    length: float
    left: Float[np.ndarray, "q m"]
    singular: Float[np.ndarray, " u"]
    motions: Float[np.ndarray, "u x 3"]

    @classmethod
    @one_thread()
    def of(
        cls,
        unknowns: Unknowns,
        residual: Float[np.ndarray, " q"],
        jacobian: Float[np.ndarray, "q y 3"],
        jacobians: Jacobians,
        length: float,
    ) -> "LocalModel":
        """Decompose the derivatives by positions, and by a strain below them."""
        flat = unknowns.along(jacobian, unknowns.basis)
        # All right singular vectors are needed: those without a singular value are null vectors.
        left, present, right = np.linalg.svd(flat, full_matrices=flat.shape[0] < flat.shape[1])
        singular = np.zeros(len(right))
        singular[: len(present)] = present
        motions = np.tensordot(right, unknowns.basis, axes=1)
        return cls(unknowns, residual, jacobians, length, left[:, : len(right)], singular, motions)

    @property
    def scale(self) -> float:
        """Largest singular value, or length of all numbers."""
        return max(float(self.singular[0]), self.length)

    @cached_property
    def firm(self) -> int:
        """Number of firm directions; the others are soft."""
        return int((self.singular > SOFT * self.scale).sum())

    @property
    def span(self) -> Float[np.ndarray, "q f"]:
        """An orthonormal basis of the changes of the numbers by firm directions."""
        return self.left[:, : self.firm]

    @property
    def soft(self) -> Float[np.ndarray, "k x 3"]:
        """The soft directions, or the softest of very many; the softest is the last."""
        most = min(MOST_SOFT, int((MOST_TERMS / len(self.residual)) ** 0.5))
        return self.motions[self.firm :][-most:]

    def firm_step(self, residual: Float[np.ndarray, " q"]) -> Float[np.ndarray, "x 3"]:
        """The displacement along firm directions that takes a residual away, to first order."""
        return self._step(residual, self.firm)

    def newton_step(self) -> Float[np.ndarray, "x 3"]:
        """The displacement that takes the residual away to first order, along all directions.

        Those that change the numbers by no more than round-off are left out.
        """
        resolved = int((self.singular > RESOLVED * self.scale).sum())
        return self._step(self.residual, resolved)

    def _step(self, residual: Float[np.ndarray, " q"], count: int) -> Float[np.ndarray, "x 3"]:
        """The step along the first directions."""
        parts = self.left[:, :count].T @ residual / self.singular[:count]
        return np.tensordot(parts, self.motions[:count], axes=1)

    @one_thread()
    def change(
        self, motion: Float[np.ndarray, "x 3"]
    ) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, "q k"]]:
        """How far a displacement changes the numbers, and their derivatives after it.

        Args:
            motion: the displacement d in Angstrom.

        Returns:
            The change by Simpson's rule from Jacobians before, half way and after, up to terms of
            the order :math:`d^5`, without a unit; the derivatives along the soft directions in
            1/Angstrom.
        """
        parts = np.tensordot(self.motions, motion, axes=2)[: self.left.shape[1]]
        before = self.left @ (self.singular[: len(parts)] * parts)
        half, after = self.jacobians([self.unknowns.moved(motion * t) for t in (0.5, 1.0)])
        middle = self.unknowns.along(half, motion[None], motion / 2.0)[:, 0]
        end = self.unknowns.along(after, np.concatenate([motion[None], self.soft]), motion)
        return (before + 4.0 * middle + end[:, 0]) / 6.0, end[:, 1:]

    @cached_property
    @one_thread()
    def second_derivatives(self) -> tuple[Float[np.ndarray, "k k q"], float]:
        """Second derivatives along pairs of soft directions, in 1/Angstrom^2, and their error.

        They are differences of Jacobians on both sides along each of them. The error is a bound of
        what round-off adds to their lengths.
        """
        soft = self.soft
        steps = STEP / largest(soft)
        shifts = [sign * step * v for v, step in zip(soft, steps, strict=True) for sign in (1, -1)]
        found = self.jacobians([self.unknowns.moved(shift) for shift in shifts])
        along = [
            self.unknowns.along(jacobian, soft, shift)
            for jacobian, shift in zip(found, shifts, strict=True)
        ]
        pairs = zip(along[::2], along[1::2], steps, strict=True)
        bent = np.stack([(ahead - behind).T / (2.0 * step) for ahead, behind, step in pairs])
        # Differences along either direction of a pair give the same up to their errors.
        bent = (bent + bent.transpose(1, 0, 2)) / 2.0
        return bent, 4.0 * ROUND_OFF * self.scale / float(steps.min())

    @cached_property
    def terms(self) -> Float[np.ndarray, "m q"]:
        """The residual, and first and second derivatives along soft directions, in one array."""
        count = len(self.soft)
        bent, _ = self.second_derivatives
        # The last singular values are 0 where there are fewer numbers than unknowns.
        slopes = np.zeros((count, len(self.residual)))
        if self.left.shape[1] == len(self.singular):
            slopes = self.singular[-count:, None] * self.left[:, -count:].T
        return np.concatenate([self.residual[None], slopes, bent.reshape(count**2, -1)])

    @cached_property
    @one_thread()
    def quadratic(
        self,
    ) -> tuple[Float[np.ndarray, " j"], Float[np.ndarray, "j k"], Float[np.ndarray, "j k k"]]:
        """The terms without what firm displacements make up for; fewer numbers of the same lengths.

        Residual, first and second derivatives, one after the other.
        """
        terms, firm, count = self.terms, self.span, len(self.soft)
        few = np.linalg.qr((terms - terms @ firm @ firm.T).T)[1]
        few = np.concatenate([few, np.zeros((max(0, count - len(few)), few.shape[1]))])
        return few[:, 0], few[:, 1 : 1 + count], few[:, 1 + count :].reshape(-1, count, count)
