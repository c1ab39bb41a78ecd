"""Derivatives of rows by the positions, from those by the vectors between atoms."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import nn
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from jaxrecon.structures.neighbors import Neighbors


class ByVectors(NamedTuple):
    """Derivatives by the vectors to the neighbours, turned into those by positions where needed.

    Attributes:
        by_vectors: the derivatives of all entries in 1/Angstrom.
        neighbors: the environments of the atoms.
        strain: whether to add the derivatives by the strain.
    """

    by_vectors: Float[Array, "n f m 3"]
    neighbors: Neighbors
    strain: bool

    def entries(self) -> Float[Array, "n f x 3"]:
        """The derivatives of all entries in 1/Angstrom."""
        return entries_by_positions(self.by_vectors, self.neighbors, strain=self.strain)

    def selected(self, atom: Int[Array, " r"], feature: Int[Array, " r"]) -> Float[Array, "r x 3"]:
        """The derivatives of entries with these central atoms and features in 1/Angstrom."""
        return by_positions(
            self.by_vectors[atom, feature], atom, self.neighbors, strain=self.strain
        )


class ByPositions(NamedTuple):
    """Derivatives that a family has computed by the positions.

    Attributes:
        values: the derivatives of all entries in 1/Angstrom.
    """

    values: Float[Array, "n f x 3"]

    def entries(self) -> Float[Array, "n f x 3"]:
        """The derivatives of all entries in 1/Angstrom."""
        return self.values

    def selected(self, atom: Int[Array, " r"], feature: Int[Array, " r"]) -> Float[Array, "r x 3"]:
        """The derivatives of entries with these central atoms and features in 1/Angstrom."""
        return self.values[atom, feature]


RowDerivatives = ByVectors | ByPositions
"""The derivatives of the entries of all rows by the positions, in a form of a family's choice."""


def entries_by_positions(
    by_vectors: Float[Array, "n f m 3"], neighbors: Neighbors, *, strain: bool = False
) -> Float[Array, "n f x 3"]:
    """Compute the derivatives of all entries of the rows by the positions.

    Args:
        by_vectors: derivatives of the rows by the vectors to the neighbours in 1/Angstrom.
        neighbors: the environments of the atoms.
        strain: whether to add the derivatives by the strain, as :func:`by_positions` does.

    Returns:
        The derivatives of each feature of each atom in 1/Angstrom, shape ``(n, f, n, 3)``, or
        ``(n, f, n + 3, 3)`` with those by the strain.
    """
    n, f, m, _ = by_vectors.shape
    centre = jnp.repeat(jnp.arange(n), f)
    derivatives = by_positions(by_vectors.reshape(n * f, m, 3), centre, neighbors, strain=strain)
    return derivatives.reshape(n, f, *derivatives.shape[1:])


def by_positions(
    jacobian: Float[Array, "r m 3"],
    centre: Int[Array, " r"],
    neighbors: Neighbors,
    *,
    strain: bool = False,
) -> Float[Array, "r x 3"]:
    r"""Turn derivatives by the vectors to neighbours into derivatives by the positions.

    A strain :math:`\epsilon` changes every vector v to :math:`v (1 + \epsilon)`. The derivative of
    an entry G by it is the symmetric part of
    :math:`\sum_m v_m \otimes \partial G/\partial v_m`.

    Args:
        jacobian: derivatives of some entries of the rows by the vectors from the central atom to
            its neighbours in 1/Angstrom.
        centre: the central atom of each entry.
        neighbors: the environments of the atoms.
        strain: whether to add the derivatives by the strain of space: three rows of three numbers
            without a unit, below those of the n atoms.

    Returns:
        The derivatives in 1/Angstrom, shape ``(r, n, 3)``, or ``(r, n + 3, 3)`` with those by the
        strain.
    """
    # Move the end of each vector: the atom that the neighbour is, or is an image of.
    source = neighbors.source
    n = jacobian.shape[1] if source is None else source.shape[0]
    ends = jacobian
    if source is not None:
        hot = nn.one_hot(source[centre], n, dtype=jacobian.dtype)
        ends = jnp.einsum("rmx,rmn->rnx", jacobian, hot, precision=Precision.HIGHEST)
    # Move the start of each vector, the central atom: the vector changes with the opposite sign.
    start = nn.one_hot(centre, n, dtype=jacobian.dtype)
    derivatives = ends - start[:, :, None] * jacobian.sum(1)[:, None, :]
    if not strain:
        return derivatives
    # Padding may hold any vector: it must not contribute to the derivatives by the strain.
    vectors = jnp.where(neighbors.mask[:, :, None], neighbors.vectors, 0.0)
    by_strain = jnp.einsum("rmx,rmy->rxy", vectors[centre], jacobian, precision=Precision.HIGHEST)
    return jnp.concatenate([derivatives, (by_strain + by_strain.transpose(0, 2, 1)) / 2.0], axis=1)
