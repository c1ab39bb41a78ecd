"""Contacts: atoms that come closer than they may are pushed apart."""

import jax.numpy as jnp
from jax import nn
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.descriptors.pooling import by_positions
from jaxrecon.numerics import safe_norm
from jaxrecon.search.levenberg_marquardt import NormalEquations
from jaxrecon.structures.neighbors import Neighbors


def repelled(
    equations: NormalEquations,
    neighbors: Neighbors,
    radii: Float[Array, " n"],
    strain_length: float | None = None,
) -> NormalEquations:
    r"""A model to which one more equation is added for every pair of neighbours.

    .. math:: \max(0,\ \rho_i + \rho_j - r_{ij}) = 0

    Its left-hand side adds to the residual as well: what is certified keeps its distances.

    Args:
        equations: the model.
        neighbors: what each atom sees.
        radii: :math:`\rho`, half of what two such atoms keep as a distance, in Angstrom.
        strain_length: as for :func:`jaxrecon.search.gauss_newton.normal_equations`.
    """
    n, m, _ = neighbors.vectors.shape
    source = neighbors.source
    other = radii[None, :] if source is None else radii[source]
    lengths = safe_norm(neighbors.vectors)
    missing = jnp.where(neighbors.mask, radii[:, None] + other - lengths, 0.0)
    missing = jnp.maximum(missing, 0.0)
    away = neighbors.vectors / jnp.maximum(lengths, 1e-6)[:, :, None]
    push = jnp.where(missing[:, :, None] > 0.0, -away, 0.0)
    # Entry (i, m) depends on vector m of atom i alone.
    alone = push[:, :, None, :] * nn.one_hot(jnp.arange(m), m, dtype=push.dtype)[None, :, :, None]
    centre = jnp.repeat(jnp.arange(n), m)
    strain = strain_length is not None
    derivatives = by_positions(alone.reshape(n * m, m, 3), centre, neighbors, strain=strain)
    if strain_length is not None:
        derivatives = derivatives.at[:, -3:].divide(strain_length)
    flat, wrong = derivatives.reshape(n * m, -1), missing.ravel()

    def product(left: Array, right: Array) -> Array:
        return jnp.matmul(left, right, precision=Precision.HIGHEST)

    return NormalEquations(
        gram=equations.gram + product(flat.T, flat),
        gradient=equations.gradient + product(wrong, flat),
        squared=equations.squared + jnp.sum(wrong**2),
        residual=equations.residual + jnp.sum(wrong),
    )
