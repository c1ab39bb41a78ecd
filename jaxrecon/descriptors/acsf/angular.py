r"""Three-body symmetry functions: sums over pairs of neighbours of two elements.

.. math::

    G^5_i = 2^{1-\zeta} \sum_{j < k} (1 + \lambda \cos\theta_{jik})^\zeta
            e^{-\eta [(r_{ij} - r_s)^2 + (r_{ik} - r_s)^2]} f_c(r_{ij}) f_c(r_{ik})

:math:`G^4` has the same and a third side, :math:`e^{-\eta (r_{jk} - r_s)^2} f_c(r_{jk})`, in every
term. Source: Behler, J. Chem. Phys. 134, 074106 (2011), equations 9 and 10, where r_s = 0.

With :math:`u = e^{-\eta (r - r_s)^2} f_c`, :math:`A` the angular factor, :math:`B` that of the
third side and :math:`\hat d` directions, the derivative by the vector to a neighbour is

.. math::

    \frac{\partial G}{\partial d_j} = \frac{u_j}{r_j} (1 - \hat d_j \hat d_j^T)
    \sum_k A'_{jk} B_{jk} u_k \hat d_k + u'_j \hat d_j \sum_k A_{jk} B_{jk} u_k
    + u_j \sum_k A_{jk} B'_{jk} u_k \frac{d_j - d_k}{r_{jk}} ,

in which every sum over k is a matrix product.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.environment import Environment, einsum, first_axis, gaussian
from jaxrecon.numerics import safe_divide, safe_norm


class Angular(NamedTuple):
    """Parameters of the functions of one channel, in their order: zeta, lambda, eta, r_s.

    Attributes:
        kind: ``"G4"``, with the third side, or ``"G5"``.
        zeta: exponents of the angular factor, without a unit.
        lam: signs of the cosine, without a unit.
        eta: exponents of the radial factor in 1/Angstrom^2.
        r_s: its centres in Angstrom.
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
        """What each function of a channel is; r_s only where it is not always 0."""
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
        """Zeta and lambda of every angular factor, in order."""
        return [(zeta, lam) for zeta in self.zeta for lam in self.lam]

    @property
    def size(self) -> int:
        """How many functions there are in a channel."""
        return len(self.zeta) * len(self.lam) * len(self.eta) * len(self.r_s)


def pairs_of(channels: int) -> list[tuple[int, int]]:
    """The unordered pairs of channels, in the order of the features."""
    return list(combinations_with_replacement(range(channels), 2))


def values(functions: Angular, s: Environment) -> Float[Array, "c f"]:
    """Every function for every unordered pair of channels."""
    radial, _ = radial_terms(functions, s)
    terms = radial[:, None, :] * s.channel.T[None]
    kernel, _, _ = _kernel(functions, s)
    return _close(_sums(kernel, terms), terms)


def values_and_jacobian(
    functions: Angular, s: Environment
) -> tuple[Float[Array, "c f"], Float[Array, "c f m 3"]]:
    """Also the derivatives by the vectors to the neighbours, in 1/Angstrom."""
    radial, radial_slope = radial_terms(functions, s)
    terms = radial[:, None, :] * s.channel.T[None]
    kernel, by_cosine, by_third = _kernel(functions, s)
    sums = _sums(kernel, terms)
    directed = terms[..., None] * s.direction[None, None]
    across = _sums(by_cosine, directed)
    along = einsum("ajesx,jx->ajes", across, s.direction)
    across_weight = (radial * s.inverse_r[None]).T[None, :, :, None]
    along_weight = radial_slope.T[None, :, :, None] * sums - across_weight * along
    derivatives = (
        across_weight[..., None] * across
        + along_weight[..., None] * s.direction[None, :, None, None, :]
    )
    if by_third is not None:
        weights = _sums(by_third, terms)
        ends = _sums(by_third, terms[..., None] * s.vectors[None, None])
        starts = weights[..., None] * s.vectors[None, :, None, None, :]
        derivatives += radial.T[None, :, :, None, None] * (starts - ends)
    first, second = np.asarray(pairs_of(s.channel.shape[1])).T
    weight = s.channel.T[:, None, :, None, None]
    derivatives = jnp.moveaxis(derivatives, 3, 0)
    # A pair of one channel counts once.
    other = weight[second] * jnp.asarray(first != second, s.r.dtype).reshape(-1, 1, 1, 1, 1)
    jacobian = weight[first] * derivatives[second] + other * derivatives[first]
    jacobian = jnp.swapaxes(jacobian, 2, 3).reshape(len(first), -1, len(s.r), 3)
    return _close(sums, terms), jacobian


def radial_terms(
    functions: Angular, s: Environment
) -> tuple[Float[Array, "e m ..."], Float[Array, "e m ..."]]:
    """What each neighbour brings to a pair, and its derivative; eta-major, then r_s."""
    return _with_cutoff(functions, s.r, s.cutoff, s.cutoff_derivative)


def third_side(
    functions: Angular, distance: Float[Array, "..."]
) -> tuple[Float[Array, "e ..."], Float[Array, "e ..."]]:
    """The factor of the side between the two neighbours, and its derivative by its length."""
    return _with_cutoff(functions, distance, *CUTOFFS[functions.cutoff](distance, functions.r_cut))


def _with_cutoff(
    functions: Angular, r: Array, cutoff: Array, cutoff_derivative: Array
) -> tuple[Array, Array]:
    eta = first_axis(functions.eta, r, r.ndim + 2)
    r_s = first_axis(functions.r_s, r, r.ndim + 1)[None]
    value, slope = gaussian(
        eta, r_s, r[None, None], cutoff[None, None], cutoff_derivative[None, None]
    )
    shape = (-1, *r.shape)
    return value.reshape(shape), slope.reshape(shape)


def angular_factor(zeta: float, lam: float | Array, cosine: Array) -> tuple[Array, Array]:
    r""":math:`2^{1-\zeta} (1 + \lambda c)^\zeta` and its derivative by the cosine c.

    Written as :math:`2 [(1 + \lambda c)/2]^\zeta`, which can't overflow at zeta = 64.
    """
    base = jnp.maximum(0.5 * (1.0 + lam * cosine), 0.0)
    lower = _power(base, zeta - 1)
    return 2.0 * lower * base, zeta * lam * lower


def _power(base: Array, exponent: float) -> Array:
    """``base**exponent`` for exponent >= 0, by repeated squaring where it is an integer."""
    if exponent == int(exponent):
        return jax.lax.integer_pow(base, int(exponent))
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0)


def _kernel(
    functions: Angular, s: Environment
) -> tuple[Float[Array, "a *e m m"], Float[Array, "a *e m m"], Float[Array, "a e m m"] | None]:
    """All that depends on both neighbours, and its derivatives by cosine and by third side.

    Zero for a neighbour with itself. G5 has no axis of eta and r_s, and None for the third side;
    the derivative by that comes divided by its length.
    """
    distinct = 1.0 - jnp.eye(len(s.r), dtype=s.r.dtype)
    cosine = einsum("jx,kx->jk", s.direction, s.direction)
    factors = [angular_factor(zeta, lam, cosine) for zeta, lam in functions.angles]
    angular = jnp.stack([factor for factor, _ in factors]) * distinct[None]
    slope = jnp.stack([slope for _, slope in factors]) * distinct[None]
    if functions.kind == "G5":
        return angular, slope, None
    distance = safe_norm(s.vectors[:, None, :] - s.vectors[None, :, :])
    third, third_slope = third_side(functions, distance)
    by_third = safe_divide(third_slope, jnp.broadcast_to(distance[None], third.shape))
    angular, slope = angular[:, None], slope[:, None]
    return angular * third[None], slope * third[None], angular * by_third[None]


def _sums(kernel: Float[Array, "a *e j k"], terms: Float[Array, "e s k *x"]) -> Array:
    """Sums over k for each j, shape ``(a, j, e, s, *x)``: matrix products."""
    e = "e" if kernel.ndim == 4 else ""
    x = "x" if terms.ndim == 4 else ""
    return einsum(f"a{e}jk,esk{x}->ajes{x}", kernel, terms)


def _close(sums: Float[Array, "a m e s"], terms: Float[Array, "e s m"]) -> Float[Array, "c f"]:
    """Close the sum over j: one value for each unordered pair of channels, each pair once."""
    totals = einsum("ajes,etj->aest", sums, terms)
    first, second = np.asarray(pairs_of(terms.shape[1])).T
    once = jnp.where(first == second, 0.5, 1.0).astype(totals.dtype)
    return (totals[..., second, first] * once[None, None]).reshape(-1, len(first)).T
