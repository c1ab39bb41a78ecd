r"""Functions G5 by the cheaper of two ways: pairs of neighbours, or moments of their density.

With :math:`L_{jk} = 2^{1-\zeta} (1 + \lambda \cos\theta_{jk})^{\zeta - 1}`, and the other symbols
of :mod:`~jaxrecon.descriptors.acsf.angular`, all sums over k that values and derivatives need
follow from four, as :math:`\cos\theta_{jk} = \hat d_j \cdot \hat d_k`:

.. math::
    \sum_k A_{jk} u_k = \sum_k L_{jk} u_k + \lambda \hat d_j \cdot \sum_k L_{jk} u_k \hat d_k ,
    \qquad
    \sum_k A'_{jk} u_k \hat d_k = \zeta \lambda \sum_k L_{jk} u_k \hat d_k .
"""

import math
from functools import partial
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.acsf import angular, density
from jaxrecon.descriptors.acsf.angular import (
    Angular,
    lower_power,
    pair_totals,
    radial_factors,
)
from jaxrecon.descriptors.environment import Environment
from jaxrecon.numerics import einsum

FEWEST = 32
"""Smallest number of neighbours, padding included, for which this pays in gradients."""

NEIGHBORS = 2.0
"""Smallest number of neighbours for each moment for which moments are faster than pairs."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def values(functions: Angular, env: Environment) -> Float[Array, "c f"]:
    """Compute every function for every unordered pair of channels, without a unit.

    Its derivatives by the vectors, forwards and backwards, are in closed form.

    Args:
        functions: functions G5.
        env: the environment.

    Returns:
        The values.
    """
    found = [
        (density if by_moments else angular).values(part, env)
        for by_moments, part in parts(functions, len(env.r))
    ]
    return jnp.concatenate(found, axis=1)


@values.defjvp
def _(
    functions: Angular, primals: tuple[Environment], tangents: tuple[Environment]
) -> tuple[Array, Array]:
    """The functions, and their derivatives as the vectors move in one direction."""
    [env], [direction] = primals, tangents
    found, slopes = values_and_slopes(functions, env)
    moved = einsum("ajesx,jx,jt->aest", slopes, direction.vectors, env.channel)
    # A pair of two channels changes with the neighbours of both.
    first, second = np.asarray(angular.pairs_of(env.channel.shape[1])).T
    other = jnp.asarray(first != second, moved.dtype)[None, None]
    change = moved[..., second, first] + other * moved[..., first, second]
    return found, change.reshape(-1, len(first)).T


def values_and_slopes(
    functions: Angular, env: Environment
) -> tuple[Float[Array, "c f"], Float[Array, "a m e s 3"]]:
    """Compute every function, and the derivatives by the vectors of the sums that it is made of.

    Args:
        functions: functions G5.
        env: the environment.

    Returns:
        The values, without a unit; and for each angular factor, radial factor and channel s the
        derivatives in 1/Angstrom by the vector to each neighbour, as if it were of one channel and
        the neighbours in s the other ones.
    """
    radial, slope = radial_factors(functions, env)
    terms = radial[:, None, :] * env.channel.T[None]
    # The four columns of each radial factor and channel of neighbours k.
    basis = jnp.concatenate([jnp.ones_like(env.r)[None], env.direction.T])
    columns = jnp.moveaxis(terms[:, :, None] * basis[None, None], -1, 0)
    flat = columns.reshape(len(env.r), -1)
    found = [
        (density.sums if by_moments else _sums)(part, env, flat)
        for by_moments, part in parts(functions, len(env.r))
    ]
    sums = jnp.concatenate(found).reshape(-1, *columns.shape)
    zeta, lam = jnp.asarray(functions.angles, env.r.dtype).T[..., None, None, None]
    projected = jnp.sum(sums[..., 1:] * env.direction[None, :, None, None], axis=-1)
    total = sums[..., 0] + lam * projected
    # Turn the vector to each neighbour j, and stretch it.
    turning = zeta * lam * (radial * env.inverse_r[None]).T[None, :, :, None]
    stretching = slope.T[None, :, :, None] * total - turning * projected
    slopes = (
        turning[..., None] * sums[..., 1:]
        + stretching[..., None] * env.direction[None, :, None, None]
    )
    # Where a channel has a single neighbour, round-off must not make its pairs negative.
    values = jnp.maximum(pair_totals(einsum("ajes,etj->aest", total, terms)), 0.0)
    return values, slopes


def parts(functions: Angular, neighbors: int) -> list[tuple[bool, Angular]]:
    """Split functions, in their order, into those computed by moments and those by pairs.

    Args:
        functions: functions G5.
        neighbors: number of neighbours, padding included.

    Returns:
        Whether moments are faster, and consecutive functions.
    """

    def by_moments(zeta: float) -> bool:
        moments = math.comb(int(zeta) + 2, 3)
        return zeta == int(zeta) and neighbors >= max(FEWEST, NEIGHBORS * moments)

    return [
        (way, functions._replace(zeta=tuple(zeta)))
        for way, zeta in groupby(functions.zeta, by_moments)
    ]


def _sums(
    functions: Angular, env: Environment, columns: Float[Array, "m y"]
) -> Float[Array, "a m y"]:
    """Compute what :func:`jaxrecon.descriptors.acsf.density.sums` does, from pairs."""
    cosine = einsum("jx,kx->jk", env.direction, env.direction)
    distinct = 1.0 - jnp.eye(len(env.r), dtype=env.r.dtype)
    lower = [lower_power(zeta, lam, cosine) * distinct for zeta, lam in functions.angles]
    return einsum("ajk,ky->ajy", jnp.stack(lower), columns)
