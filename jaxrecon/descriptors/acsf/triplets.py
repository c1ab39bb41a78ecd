r"""Three-body functions of one channel over lanes: one neighbour k after the other, all j at once.

The formulas are those of :mod:`~jaxrecon.descriptors.acsf.angular`. With one channel there is so
little to sum for a pair of neighbours that its angular factors cost more to write and read than to
compute. Step k of a scan holds what belongs to the pairs (j, k) of all j and all lanes, a few
arrays ``(m, lanes)`` that stay in the cache, and adds it up.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.acsf.angular import Angular, angular_factor, radial_terms, third_side
from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.environment import Environment, gaussian, unrolled_sum
from jaxrecon.numerics import safe_divide, safe_norm


def values(functions: Angular, s: Environment) -> Float[Array, "f lanes"]:
    """Every function."""
    terms = radial_terms(functions, s)[0] * s.channel[None, :, 0]

    def add(total: Array, k: Array) -> tuple[Array, None]:
        pairs = _pairs(functions, s, k)
        factors = [
            angular_factor(zeta, lam, pairs.cosine)[0] * pairs.distinct
            for zeta, lam in functions.angles
        ]
        weights = terms
        if pairs.distance is not None:
            weights = terms * third_side(functions, pairs.distance)[0]
        sums = unrolled_sum(jnp.stack(factors)[:, None] * weights[None], axis=2)
        return total + sums * terms[None, :, k], None

    shape = (len(functions.angles), len(terms), *s.r.shape[1:])
    total, _ = jax.lax.scan(add, jnp.zeros(shape, s.r.dtype), jnp.arange(len(s.r)))
    return 0.5 * total.reshape(-1, *s.r.shape[1:])


def pullback(
    functions: Angular, s: Environment, share: Float[Array, "f lanes"]
) -> Float[Array, "m 3 lanes"]:
    """Derivatives by the vectors to the neighbours, 1/Angstrom, of the functions' weighted sum.

    Args:
        functions: as for :func:`values`.
        s: what the atoms see.
        share: the weights.
    """
    terms, derivatives = (part * s.channel[None, :, 0] for part in radial_terms(functions, s))
    share = share.reshape(len(functions.angles), len(terms), *share.shape[1:])

    def weights(k: Array, pairs: _Pairs) -> _Weights:
        third, third_slope = None, None
        if pairs.distance is not None:
            third, third_slope = third_side(functions, pairs.distance)
        shares = share * terms[None, :, k]
        across = along = beyond = jnp.zeros_like(s.r)
        # Unrolled: one pass over the pairs, all in registers. Sums over stacked arrays take four
        # times as long.
        for a, (zeta, lam) in enumerate(functions.angles):
            factor, factor_slope = angular_factor(zeta, lam, pairs.cosine)
            value, slope, third_sum = (jnp.zeros_like(s.r),) * 3
            for e in range(len(terms)):
                weight = shares[a, e][None]
                by_value, by_slope = weight * terms[e], weight * derivatives[e]
                if third is not None and third_slope is not None:
                    third_sum += by_value * third_slope[e]
                    by_value, by_slope = by_value * third[e], by_slope * third[e]
                value += by_value
                slope += by_slope
            across += factor_slope * value
            along += factor * slope
            beyond += factor * third_sum
        return _Weights(across, along, beyond)

    return _moves(functions, s, weights)


def derivatives_each(
    functions: Angular,
    s: Environment,
    first: Float[Array, "m lanes"],
    second: Float[Array, "m lanes"],
) -> Float[Array, "m 3 f lanes"]:
    """Derivatives by the vectors to the neighbours, 1/Angstrom, of one function in each lane.

    Args:
        functions: as for :func:`values`.
        s: what the atoms see, lanes ``(f, lanes)``: function f in those at f; channels aside.
        first: how much each neighbour counts in the first channel of the pair,
        second: and in the second; a pair (j, k) counts as first j times second k and turned.
    """
    # One zeta after the other: in one go the powers would have to be written and joined.
    blocks = zip(*(jnp.split(part, len(functions.zeta), axis=-2) for part in s), strict=True)
    derivatives = [
        _derivatives_of_zeta(functions, zeta, Environment(*block), first[:, None], second[:, None])
        for zeta, block in zip(functions.zeta, blocks, strict=True)
    ]
    return jnp.concatenate(derivatives, axis=2)


def _derivatives_of_zeta(
    functions: Angular, zeta: float, s: Environment, first: Array, second: Array
) -> Array:
    each = list(product(functions.lam, functions.eta, functions.r_s))
    lam, eta, r_s = jnp.asarray(each, s.r.dtype).T[:, None, :, None]
    terms, derivatives = gaussian(eta, r_s, s.r, s.cutoff, s.cutoff_derivative)

    def weights(k: Array, pairs: _Pairs) -> _Weights:
        factor, factor_slope = angular_factor(zeta, lam, pairs.cosine)
        other = terms[k][None] * (first * second[k][None] + second * first[k][None])
        value, slope = terms * other, derivatives * other
        beyond = jnp.zeros_like(value)
        if pairs.distance is not None:
            cutoff = CUTOFFS[functions.cutoff](pairs.distance, functions.r_cut)
            third, third_slope = gaussian(eta, r_s, pairs.distance, *cutoff)
            beyond = factor * value * third_slope
            value, slope = value * third, slope * third
        return _Weights(factor_slope * value, factor * slope, beyond)

    return _moves(functions, s, weights)


class _Pairs(NamedTuple):
    """The pairs (j, k) of one neighbour k with all j.

    Attributes:
        cosine: of the angle between them.
        distinct: 0 where j is k, else 1.
        distance: between them in Angstrom; None for G5.
    """

    cosine: Float[Array, "m ..."]
    distinct: Float[Array, "m ..."]
    distance: Float[Array, "m ..."] | None


class _Weights(NamedTuple):
    """Derivatives of the pairs by the cosine, by the distance to j, and by the third side."""

    cosine: Float[Array, "m ..."]
    distance: Float[Array, "m ..."]
    third: Float[Array, "m ..."]


def _pairs(functions: Angular, s: Environment, k: Int[Array, ""]) -> _Pairs:
    x, y, z = (s.direction[:, i] * s.direction[k, i][None] for i in range(3))
    cosine = x + y + z
    others = (jnp.arange(len(s.r)) != k).astype(s.r.dtype)
    distinct = others.reshape(-1, *(1,) * (s.r.ndim - 1))
    if functions.kind == "G5":
        return _Pairs(cosine, distinct, None)
    return _Pairs(cosine, distinct, safe_norm(s.vectors - s.vectors[k][None], axis=1))


def _moves(
    functions: Angular, s: Environment, weights: Callable[[Array, _Pairs], _Weights]
) -> Float[Array, "m 3 ..."]:
    """Derivatives by the vectors to all j: the sum over all k of what the pairs weigh."""

    def weigh(total: Array, k: Array) -> tuple[Array, tuple[Array, Array | None]]:
        pairs = _pairs(functions, s, k)
        weight = jax.tree.map(lambda part: part * pairs.distinct, weights(k, pairs))
        third = None if pairs.distance is None else safe_divide(weight.third, pairs.distance)
        return total + weight.distance, (weight.cosine, third)

    # The weights in a loop of their own: where they are used they would be computed three times,
    # once for each coordinate.
    along, (cosine, third) = jax.lax.scan(weigh, jnp.zeros_like(s.r), jnp.arange(len(s.r)))
    across = _weighed(s.direction, cosine)
    outwards = unrolled_sum(across * s.direction, axis=1)
    across = (across - outwards[:, None] * s.direction) * s.inverse_r[:, None]
    moved = across + along[:, None] * s.direction
    if third is not None:
        moved += unrolled_sum(third, axis=0)[:, None] * s.vectors - _weighed(s.vectors, third)
    return moved


def _weighed(vectors: Float[Array, "m 3 ..."], weights: Float[Array, "k j ..."]) -> Array:
    """For each j the sum over k of the vectors to k, weighed."""

    def add(total: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
        vector, weight = given
        return total + weight[:, None] * vector[None], None

    return jax.lax.scan(add, jnp.zeros_like(vectors), (vectors, weights))[0]
