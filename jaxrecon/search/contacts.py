"""Contacts: additional equations that push atoms apart which are too close."""

import jax.numpy as jnp
from jax import nn
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.descriptors.derivatives import by_positions
from jaxrecon.numerics import safe_norm
from jaxrecon.search.levenberg_marquardt import NormalEquations
from jaxrecon.structures.neighbors import Neighbors


def with_contacts(
    equations: NormalEquations,
    neighbors: Neighbors,
    radii: Float[Array, " n"],
    strain_length: float | None = None,
) -> NormalEquations:
    r"""Add one equation to a Gauss-Newton model for every pair of neighbours.

    .. math:: \max(0,\ \rho_i + \rho_j - r_{ij}) = 0

    The left-hand side is added to the residual too, so that no certified structure has atoms that
    are too close.

    Args:
        equations: the model.
        neighbors: the neighbours of each atom.
        radii: the radii :math:`\rho` in Angstrom: half the smallest distance of two such atoms.
        strain_length: as for :func:`jaxrecon.search.gauss_newton.normal_equations`.

    Returns:
        The model with these equations.
    """
    # The overlap of each atom with each of its neighbours, and its derivatives by their vectors.
    n, m, _ = neighbors.vectors.shape
    source = neighbors.source
    other = radii[None, :] if source is None else radii[source]
    lengths = safe_norm(neighbors.vectors)
    overlap = jnp.where(neighbors.mask, radii[:, None] + other - lengths, 0.0)
    overlap = jnp.maximum(overlap, 0.0)
    direction = neighbors.vectors / jnp.maximum(lengths, 1e-6)[:, :, None]
    by_vector = jnp.where(overlap[:, :, None] > 0.0, -direction, 0.0)
    # The overlap (i, m) depends on vector m of atom i alone: its other derivatives are zero.
    single = by_vector[:, :, None, :]
    by_vectors = single * nn.one_hot(jnp.arange(m), m, dtype=by_vector.dtype)[None, :, :, None]
    # Turn these into derivatives by positions and strain, and add the squares to the model.
    center = jnp.repeat(jnp.arange(n), m)
    strain = strain_length is not None
    derivatives = by_positions(by_vectors.reshape(n * m, m, 3), center, neighbors, strain=strain)
    if strain_length is not None:
        derivatives = derivatives.at[:, -3:].divide(strain_length)
    flat, flat_overlap = derivatives.reshape(n * m, -1), overlap.ravel()

    def product(left: Array, right: Array) -> Array:
        # Accelerators would round float32 factors to 10 bits otherwise.
        return jnp.matmul(left, right, precision=Precision.HIGHEST)

    return equations._replace(
        gram=equations.gram + product(flat.T, flat),
        gradient=equations.gradient + product(flat_overlap, flat),
        squared=equations.squared + jnp.sum(flat_overlap**2),
        residual=equations.residual + jnp.sum(flat_overlap),
    )
