r"""Three-body symmetry functions: sums over the pairs of neighbours of two elements.

.. math::

    G^5_i = 2^{1-\zeta} \sum_{j < k} (1 + \lambda \cos\theta_{jik})^\zeta
            e^{-\eta [(r_{ij} - r_s)^2 + (r_{ik} - r_s)^2]} f_c(r_{ij}) f_c(r_{ik})

:math:`G^4` has one factor more in every term, :math:`e^{-\eta (r_{jk} - r_s)^2} f_c(r_{jk})`, for
the third side of the triangle. Source: Behler, J. Chem. Phys. 134, 074106 (2011), equations 9 and
10, where :math:`r_s = 0`.

With the radial factor :math:`u = e^{-\eta (r - r_s)^2} f_c`, the angular factor :math:`A`, the
factor :math:`B` of the third side (1 for :math:`G^5`) and directions :math:`\hat d`, the derivative
by the vector to a neighbour is

.. math::

    \frac{\partial G}{\partial d_j} = \frac{u_j}{r_j} (1 - \hat d_j \hat d_j^T)
    \sum_k A'_{jk} B_{jk} u_k \hat d_k + u'_j \hat d_j \sum_k A_{jk} B_{jk} u_k
    + u_j \sum_k A_{jk} B'_{jk} u_k \frac{d_j - d_k}{r_{jk}} ,

where a prime is the derivative by the cosine, the distance or the third side. Every sum over k is
a matrix product.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.environment import Environment, first_axis, gaussian
from jaxrecon.numerics import einsum, safe_divide, safe_norm


class Angular(NamedTuple):
    """The three-body functions of one pair of channels.

    Every combination of the parameters is a function; zeta changes slowest, then lambda, eta and
    r_s.

    Attributes:
        kind: ``"G4"``, with the factor of the third side, or ``"G5"``.
        zeta: exponents of the angular factor, without a unit.
        lam: signs of the cosine, without a unit.
        eta: exponents of the radial factor in 1/Angstrom^2.
        r_s: centres of the radial factor in Angstrom.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.
    """

    kind: str
    zeta: tuple[float, ...]
    lam: tuple[float, ...]
    eta: tuple[float, ...]
    r_s: tuple[float, ...]
    cutoff: str
    r_cut: float

    def names(self, channel: str) -> list[str]:
        """Name the functions of a pair of channels.

        Args:
            channel: name of the pair.

        Returns:
            The names, in the order of the functions; r_s is left out if it is 0 in all of them.
        """
        return [
            f"{self.kind}[{channel}] zeta={zeta:g} lam={lam:g} eta={eta:g}"
            + (f" r_s={r_s:g}" if any(self.r_s) else "")
            for zeta in self.zeta
            for lam in self.lam
            for eta in self.eta
            for r_s in self.r_s
        ]

    @property
    def angles(self) -> list[tuple[float, float]]:
        """Zeta and lambda of all angular factors, in their order."""
        return [(zeta, lam) for zeta in self.zeta for lam in self.lam]

    @property
    def size(self) -> int:
        """The number of functions of a pair of channels."""
        return len(self.zeta) * len(self.lam) * len(self.eta) * len(self.r_s)


def pairs_of(channels: int) -> list[tuple[int, int]]:
    """List the unordered pairs of channels, in the order of the features."""
    return list(combinations_with_replacement(range(channels), 2))


def values(functions: Angular, env: Environment) -> Float[Array, "c f"]:
    """Compute every function for every unordered pair of channels, without a unit."""
    radial, _ = radial_factors(functions, env)
    terms = radial[:, None, :] * env.channel.T[None]
    factors, _, _ = _pair_factors(functions, env)
    return pair_totals(einsum("ajes,etj->aest", _sums_over_k(factors, terms), terms))


def values_and_jacobian(
    functions: Angular, env: Environment
) -> tuple[Float[Array, "c f"], Float[Array, "c f m 3"]]:
    """Compute every function, and its derivatives by the vectors to the neighbours in 1/Angstrom.

    The equation is in the docstring of the module. The axes of its sums over k are those of angular
    factors, neighbours j, radial factors, and channels that the neighbours k are in.
    """
    radial, radial_derivative = radial_factors(functions, env)
    terms = radial[:, None, :] * env.channel.T[None]
    factors, by_cosine, by_third = _pair_factors(functions, env)
    sums = _sums_over_k(factors, terms)
    # The first term turns the vector to j: its direction towards those of all k, without the part
    # along the vector itself. The second term stretches the vector.
    directed = terms[..., None] * env.direction[None, None]
    turning = _sums_over_k(by_cosine, directed)
    along = einsum("ajesx,jx->ajes", turning, env.direction)
    turning_weight = (radial * env.inverse_r[None]).T[None, :, :, None]
    stretching_weight = radial_derivative.T[None, :, :, None] * sums - turning_weight * along
    derivatives = (
        turning_weight[..., None] * turning
        + stretching_weight[..., None] * env.direction[None, :, None, None, :]
    )
    # The third term changes the distances between j and all k.
    if by_third is not None:
        weights = _sums_over_k(by_third, terms)
        ends = _sums_over_k(by_third, terms[..., None] * env.vectors[None, None])
        starts = weights[..., None] * env.vectors[None, :, None, None, :]
        derivatives += radial.T[None, :, :, None, None] * (starts - ends)
    # For each pair of channels add the neighbours j of the first with the k of the second, and the
    # other way round. In a pair of equal channels both are the same: add them once.
    first, second = np.asarray(pairs_of(env.channel.shape[1])).T
    weight = env.channel.T[:, None, :, None, None]
    derivatives = jnp.moveaxis(derivatives, 3, 0)
    other = weight[second] * jnp.asarray(first != second, env.r.dtype).reshape(-1, 1, 1, 1, 1)
    jacobian = weight[first] * derivatives[second] + other * derivatives[first]
    jacobian = jnp.swapaxes(jacobian, 2, 3).reshape(len(first), -1, len(env.r), 3)
    return pair_totals(einsum("ajes,etj->aest", sums, terms)), jacobian


def radial_factors(
    functions: Angular, env: Environment
) -> tuple[Float[Array, "e m ..."], Float[Array, "e m ..."]]:
    """Compute the radial factors of the neighbours, and their derivatives by the distance.

    Args:
        functions: the functions.
        env: the environments.

    Returns:
        The factors, without a unit, and their derivatives in 1/Angstrom, for every combination of
        eta and r_s.
    """
    return _with_cutoff(functions, env.r, env.cutoff, env.cutoff_derivative)


def third_side(
    functions: Angular, distance: Float[Array, "..."]
) -> tuple[Float[Array, "e ..."], Float[Array, "e ..."]]:
    """Compute the factors of the third side of G4, and their derivatives by its length.

    Args:
        functions: the functions.
        distance: distances between two neighbours in Angstrom.

    Returns:
        The factors, without a unit, and their derivatives in 1/Angstrom, for every combination of
        eta and r_s.
    """
    return _with_cutoff(functions, distance, *CUTOFFS[functions.cutoff](distance, functions.r_cut))


def _with_cutoff(
    functions: Angular, r: Array, cutoff: Array, cutoff_derivative: Array
) -> tuple[Array, Array]:
    """Compute Gaussians times the cutoff function for every combination of eta and r_s."""
    eta = first_axis(functions.eta, r, r.ndim + 2)
    r_s = first_axis(functions.r_s, r, r.ndim + 1)[None]
    parts = (part[None, None] for part in (r, cutoff, cutoff_derivative))
    value, derivative = gaussian(eta, r_s, *parts)
    shape = (-1, *r.shape)
    return value.reshape(shape), derivative.reshape(shape)


def angular_factor(zeta: float, lam: float | Array, cosine: Array) -> tuple[Array, Array]:
    r"""Compute :math:`2^{1-\zeta} (1 + \lambda c)^\zeta` and its derivative by the cosine c.

    It is written as :math:`2 [(1 + \lambda c)/2]^\zeta`, which can't overflow at large zeta.

    Args:
        zeta: the exponent, at least 1.
        lam: the sign of the cosine.
        cosine: cosines of angles.

    Returns:
        The factors and their derivatives, without a unit.
    """
    base = jnp.maximum(0.5 * (1.0 + lam * cosine), 0.0)
    lower = _power(base, zeta - 1)
    return 2.0 * lower * base, zeta * lam * lower


def lower_power(zeta: float, lam: float, cosine: Array) -> Array:
    r"""Compute :math:`2^{1-\zeta} (1 + \lambda c)^{\zeta - 1}` for a cosine c.

    Args:
        zeta: as for :func:`angular_factor`.
        lam: as for :func:`angular_factor`.
        cosine: as for :func:`angular_factor`.

    Returns:
        The powers, without a unit.
    """
    return _power(jnp.maximum(0.5 * (1.0 + lam * cosine), 0.0), zeta - 1)


def _power(base: Array, exponent: float) -> Array:
    """Compute ``base**exponent`` for an exponent >= 0, with finite derivatives at ``base = 0``."""
    if exponent == int(exponent):
        return jax.lax.integer_pow(base, int(exponent))
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0)


def _pair_factors(
    functions: Angular, env: Environment
) -> tuple[Float[Array, "a *e m m"], Float[Array, "a *e m m"], Float[Array, "a e m m"] | None]:
    """Compute the factors that depend on both neighbours of a pair, A times B, and derivatives.

    The factors of a neighbour with itself are 0.

    Returns:
        The factors; their derivatives by the cosine; and their derivatives by the third side,
        divided by its length, or None for G5. The factors of G5 don't depend on eta and r_s, and
        have no axis for them.
    """
    distinct = 1.0 - jnp.eye(len(env.r), dtype=env.r.dtype)
    cosine = einsum("jx,kx->jk", env.direction, env.direction)
    factors = [angular_factor(zeta, lam, cosine) for zeta, lam in functions.angles]
    angular = jnp.stack([factor for factor, _ in factors]) * distinct[None]
    by_cosine = jnp.stack([derivative for _, derivative in factors]) * distinct[None]
    if functions.kind == "G5":
        return angular, by_cosine, None
    distance = safe_norm(env.vectors[:, None, :] - env.vectors[None, :, :])
    third, derivative = third_side(functions, distance)
    by_third = safe_divide(derivative, jnp.broadcast_to(distance[None], third.shape))
    angular, by_cosine = angular[:, None], by_cosine[:, None]
    return angular * third[None], by_cosine * third[None], angular * by_third[None]


def _sums_over_k(factors: Float[Array, "a *e j k"], terms: Float[Array, "e s k *x"]) -> Array:
    """Sum over k for each j, as matrix products; the result has shape ``(a, j, e, s, *x)``."""
    e = "e" if factors.ndim == 4 else ""
    x = "x" if terms.ndim == 4 else ""
    return einsum(f"a{e}jk,esk{x}->ajes{x}", factors, terms)


def pair_totals(
    totals: Float[Array, "a e s t"], own: Float[Array, "a e s"] | None = None
) -> Float[Array, "c f"]:
    """Turn sums over two neighbours j and k into the functions of every unordered pair of channels.

    Args:
        totals: the sums over all j in channel s and k in channel t.
        own: those over j = k in channel s, if the first ones have them.

    Returns:
        The functions, without a unit.
    """
    # The sum over j and k counts every pair of neighbours in the same channel twice.
    first, second = np.asarray(pairs_of(totals.shape[-1])).T
    same = jnp.asarray(first == second, totals.dtype)[None, None]
    chosen = totals[..., second, first]
    if own is not None:
        chosen -= same * own[..., first]
    return ((1.0 - 0.5 * same) * chosen).reshape(-1, len(first)).T
