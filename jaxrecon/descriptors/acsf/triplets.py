r"""Three-body functions of a single channel, in a loop over the second neighbour of a pair.

The formulas are those of :mod:`~jaxrecon.descriptors.acsf.angular`. A single channel leaves so few
sums for each pair of neighbours that writing its angular factors to memory and reading them again,
as matrix products do, costs more than computing them. Here step k of a loop computes the pairs
(j, k) of all j in all lanes, in a few arrays ``(m, lanes)`` that stay in the cache, and adds them
up.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.acsf.angular import Angular, angular_factor, radial_factors, third_side
from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.environment import Environment, gaussian, unrolled_sum
from jaxrecon.numerics import safe_divide, safe_norm


class _Pairs(NamedTuple):
    """The pairs (j, k) of one neighbour k with all j.

    Attributes:
        cosine: cosine of the angle between the two vectors.
        distinct: 0 where j is k, and 1 elsewhere.
        distance: distance of the two neighbours in Angstrom; None for G5, which ignores it.
    """

    cosine: Float[Array, "m ..."]
    distinct: Float[Array, "m ..."]
    distance: Float[Array, "m ..."] | None


class _Derivatives(NamedTuple):
    """Derivatives of the terms of pairs (j, k), or of their sum over functions.

    Attributes:
        cosine: derivatives by the cosine.
        distance: derivatives by the distance of j, in 1/Angstrom.
        third: derivatives by the distance of j and k, in 1/Angstrom; 0 for G5.
    """

    cosine: Float[Array, "m ..."]
    distance: Float[Array, "m ..."]
    third: Float[Array, "m ..."]


def values(functions: Angular, env: Environment) -> Float[Array, "f lanes"]:
    """Compute every function, without a unit."""
    terms = radial_factors(functions, env)[0] * env.channel[None, :, 0]

    def add(total: Array, k: Array) -> tuple[Array, None]:
        pairs = _pairs(functions, env, k)
        factors = [
            angular_factor(zeta, lam, pairs.cosine)[0] * pairs.distinct
            for zeta, lam in functions.angles
        ]
        weights = terms
        if pairs.distance is not None:
            weights = terms * third_side(functions, pairs.distance)[0]
        # Sum over j for every angular factor and every radial factor.
        sums = unrolled_sum(jnp.stack(factors)[:, None] * weights[None], axis=2)
        return total + sums * terms[None, :, k], None

    shape = (len(functions.angles), len(terms), *env.r.shape[1:])
    total, _ = jax.lax.scan(add, jnp.zeros(shape, env.r.dtype), jnp.arange(len(env.r)))
    # The loop counts every pair twice, as (j, k) and as (k, j).
    return 0.5 * total.reshape(-1, *env.r.shape[1:])


def pullback(
    functions: Angular, env: Environment, weights: Float[Array, "f lanes"]
) -> Float[Array, "m 3 lanes"]:
    """Compute the derivatives of a weighted sum of the functions.

    Args:
        functions: the functions.
        env: the environments.
        weights: weight of each function in the sum.

    Returns:
        The derivatives by the vectors to the neighbours in 1/Angstrom.
    """
    terms, derivatives = (part * env.channel[None, :, 0] for part in radial_factors(functions, env))
    weights = weights.reshape(len(functions.angles), len(terms), *weights.shape[1:])

    def differentiate(k: Array, pairs: _Pairs) -> _Derivatives:
        third, by_third = None, None
        if pairs.distance is not None:
            third, by_third = third_side(functions, pairs.distance)
        weights_k = weights * terms[None, :, k]
        cosine_total = distance_total = third_total = jnp.zeros_like(env.r)
        # The loops over functions are unrolled, so that XLA makes one pass over the pairs with all
        # intermediate results in registers. Sums over stacked arrays take four times as long.
        for a, (zeta, lam) in enumerate(functions.angles):
            factor, by_cosine = angular_factor(zeta, lam, pairs.cosine)
            # Sum over the radial factors first: they have this angular factor in common.
            value_sum, distance_sum, third_sum = (jnp.zeros_like(env.r),) * 3
            for e in range(len(terms)):
                weight = weights_k[a, e][None]
                radial, by_distance = weight * terms[e], weight * derivatives[e]
                if third is not None and by_third is not None:
                    third_sum += radial * by_third[e]
                    radial, by_distance = radial * third[e], by_distance * third[e]
                value_sum += radial
                distance_sum += by_distance
            cosine_total += by_cosine * value_sum
            distance_total += factor * distance_sum
            third_total += factor * third_sum
        return _Derivatives(cosine_total, distance_total, third_total)

    return _by_vectors(functions, env, differentiate)


def selected_derivatives(
    functions: Angular,
    env: Environment,
    first: Float[Array, "m lanes"],
    second: Float[Array, "m lanes"],
) -> Float[Array, "m 3 f lanes"]:
    """Compute the derivatives of each function in its own lanes.

    Args:
        functions: the functions.
        env: the environments, with two axes of lanes ``(f, lanes)``: for each function those of the
            atoms that are selected for it. Their weights in channels are ignored.
        first: weight of each neighbour in the first channel of the pair.
        second: weight of each neighbour in the second channel. The weight of a pair (j, k) of
            neighbours is ``first[j] * second[k] + second[j] * first[k]``.

    Returns:
        The derivatives by the vectors to the neighbours in 1/Angstrom.
    """
    # Take one zeta after the other: the powers of all at once would be written to memory.
    blocks = zip(*(jnp.split(part, len(functions.zeta), axis=-2) for part in env), strict=True)
    derivatives = [
        _derivatives_of_zeta(functions, zeta, Environment(*block), first[:, None], second[:, None])
        for zeta, block in zip(functions.zeta, blocks, strict=True)
    ]
    return jnp.concatenate(derivatives, axis=2)


def _derivatives_of_zeta(
    functions: Angular, zeta: float, env: Environment, first: Array, second: Array
) -> Array:
    """Compute the derivatives of the functions with one zeta, each in its own lanes."""
    parameters = list(product(functions.lam, functions.eta, functions.r_s))
    lam, eta, r_s = jnp.asarray(parameters, env.r.dtype).T[:, None, :, None]
    terms, derivatives = gaussian(eta, r_s, env.r, env.cutoff, env.cutoff_derivative)

    def differentiate(k: Array, pairs: _Pairs) -> _Derivatives:
        factor, by_cosine = angular_factor(zeta, lam, pairs.cosine)
        weights_k = terms[k][None] * (first * second[k][None] + second * first[k][None])
        value, by_distance = terms * weights_k, derivatives * weights_k
        third_total = jnp.zeros_like(value)
        if pairs.distance is not None:
            cutoff = CUTOFFS[functions.cutoff](pairs.distance, functions.r_cut)
            third, by_third = gaussian(eta, r_s, pairs.distance, *cutoff)
            third_total = factor * value * by_third
            value, by_distance = value * third, by_distance * third
        return _Derivatives(by_cosine * value, factor * by_distance, third_total)

    return _by_vectors(functions, env, differentiate)


def _pairs(functions: Angular, env: Environment, k: Int[Array, ""]) -> _Pairs:
    """Compute what a neighbour k and all neighbours j have in common."""
    x, y, z = (env.direction[:, i] * env.direction[k, i][None] for i in range(3))
    cosine = x + y + z
    others = (jnp.arange(len(env.r)) != k).astype(env.r.dtype)
    distinct = others.reshape(-1, *(1,) * (env.r.ndim - 1))
    if functions.kind == "G5":
        return _Pairs(cosine, distinct, None)
    return _Pairs(cosine, distinct, safe_norm(env.vectors - env.vectors[k][None], axis=1))


def _by_vectors(
    functions: Angular, env: Environment, differentiate: Callable[[Array, _Pairs], _Derivatives]
) -> Float[Array, "m 3 ..."]:
    """Turn derivatives of pairs into derivatives by the vectors to all j, summed over all k.

    As every pair occurs as (j, k) and as (k, j), the derivatives by j alone give the whole.
    """

    def of_k(total: Array, k: Array) -> tuple[Array, tuple[Array, Array | None]]:
        pairs = _pairs(functions, env, k)
        part = jax.tree.map(lambda array: array * pairs.distinct, differentiate(k, pairs))
        third = None if pairs.distance is None else safe_divide(part.third, pairs.distance)
        return total + part.distance, (part.cosine, third)

    # Compute the derivatives of pairs in a loop of their own: used directly in the sums below, XLA
    # would compute them three times, once for each coordinate.
    by_distance, (by_cosine, by_third) = jax.lax.scan(
        of_k, jnp.zeros_like(env.r), jnp.arange(len(env.r))
    )
    # A cosine changes with the part of the direction to k that is perpendicular to the vector to j.
    turning = _weighted_sum(env.direction, by_cosine)
    along = unrolled_sum(turning * env.direction, axis=1)
    turning = (turning - along[:, None] * env.direction) * env.inverse_r[:, None]
    total = turning + by_distance[:, None] * env.direction
    # A third side changes along the vector from k to j.
    if by_third is not None:
        starts = unrolled_sum(by_third, axis=0)[:, None] * env.vectors
        total += starts - _weighted_sum(env.vectors, by_third)
    return total


def _weighted_sum(vectors: Float[Array, "m 3 ..."], weights: Float[Array, "k j ..."]) -> Array:
    """Compute for each j the weighted sum of the vectors to all k."""

    def add(total: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
        vector, weight = term
        return total + weight[:, None] * vector[None], None

    return jax.lax.scan(add, jnp.zeros_like(vectors), (vectors, weights))[0]
