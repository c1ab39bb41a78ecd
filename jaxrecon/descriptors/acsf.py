r"""Atom-centred symmetry functions G2 and G5 (Behler, J. Chem. Phys. 134, 074106, 2011).

.. math::

    G^2_i = \sum_{j \ne i} e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij})

    G^5_i = 2^{1-\zeta} \sum_{j < k;\ j, k \ne i} (1 + \lambda \cos\theta_{jik})^\zeta
            e^{-\eta (r_{ij}^2 + r_{ik}^2)} f_c(r_{ij}) f_c(r_{ik})

With several elements the sums split into channels: one for each neighbour element (G2) and one for
each unordered pair of neighbour elements (G5), elements sorted by atomic number.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.cutoffs import cosine
from jaxrecon.numerics import safe_divide, safe_norm
from jaxrecon.space import Neighbors

FEW_NEIGHBORS = 32
"""Up to this many neighbours of one element the sum over pairs j < k beats the full matrix."""


@dataclass(frozen=True)
class ACSF:
    """Parameters of a set of G2 and G5 functions: hashable, so static under ``jit``.

    Features are ordered G2 before G5; G2 by channel, ``g2_eta``, ``g2_r_s``; G5 by channel,
    ``g5_zeta``, ``g5_lam``, ``g5_eta``.

    Attributes:
        elements: chemical symbols, in any order; stored sorted by atomic number.
        r_cut: cutoff in Angstrom.
        g2_eta: Gaussian exponents in 1/Angstrom^2.
        g2_r_s: Gaussian centres in Angstrom.
        g5_zeta: exponents of the angular part, at least 1, without a unit.
        g5_lam: signs of the cosine, between -1 and 1, without a unit.
        g5_eta: radial exponents in 1/Angstrom^2.

    Raises:
        ValueError: if a parameter is outside its range, named with what was expected and got.

    >>> ACSF(elements=("O", "H")).elements
    ('H', 'O')
    """

    elements: tuple[str, ...]
    r_cut: float = 20.0
    g2_eta: tuple[float, ...] = (0.01, 0.06, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 3.5, 5.0)
    g2_r_s: tuple[float, ...] = (0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10)
    g5_zeta: tuple[float, ...] = (1, 2, 4, 16, 64)
    g5_lam: tuple[float, ...] = (-1, 1)
    g5_eta: tuple[float, ...] = (0.06, 0.1, 0.2, 0.4, 1.0)

    def __post_init__(self) -> None:
        unknown = [symbol for symbol in self.elements if atomic_numbers.get(symbol, 0) == 0]
        if unknown or not self.elements:
            raise ValueError(f"expected elements as chemical symbols, got {self.elements!r}")
        ordered = tuple(sorted(set(self.elements), key=lambda symbol: atomic_numbers[symbol]))
        object.__setattr__(self, "elements", ordered)
        if not self.r_cut > 0:
            raise ValueError(f"expected r_cut > 0 Angstrom, got {self.r_cut}")
        object.__setattr__(self, "r_cut", float(self.r_cut))
        limits = {
            "g2_eta": (0.0, np.inf),
            "g2_r_s": (0.0, np.inf),
            "g5_zeta": (1.0, np.inf),
            "g5_lam": (-1.0, 1.0),
            "g5_eta": (0.0, np.inf),
        }
        for name, (low, high) in limits.items():
            values = tuple(float(value) for value in getattr(self, name))
            if not all(low <= value <= high for value in values):
                raise ValueError(f"expected {name} between {low} and {high}, got {values}")
            object.__setattr__(self, name, values)
        if not self.names:
            raise ValueError("expected parameters of at least one G2 or G5 function, got none")

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the elements, ascending."""
        return tuple(atomic_numbers[symbol] for symbol in self.elements)

    @property
    def names(self) -> tuple[str, ...]:
        """What each feature is, in order, like ``'G5[Cl,Na] zeta=4 lam=1 eta=0.1'``."""
        radial = [
            f"G2[{symbol}] eta={eta:g} r_s={r_s:g}"
            for symbol in self.elements
            for eta in self.g2_eta
            for r_s in self.g2_r_s
        ]
        angular = [
            f"G5[{first},{second}] zeta={zeta:g} lam={lam:g} eta={eta:g}"
            for first, second in combinations_with_replacement(self.elements, 2)
            for zeta in self.g5_zeta
            for lam in self.g5_lam
            for eta in self.g5_eta
        ]
        return (*radial, *angular)

    def __call__(self, neighbors: Neighbors) -> Float[Array, "n f"]:
        """Descriptor rows, one for each central atom; see :func:`rows`."""
        return rows(self, neighbors)

    def with_jacobian(
        self, neighbors: Neighbors
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
        """Rows and their derivatives; see :func:`rows_and_jacobian`."""
        return rows_and_jacobian(self, neighbors)


def rows(config: ACSF, neighbors: Neighbors) -> Float[Array, "n f"]:
    """G2 and G5 of every central atom, one row an atom, without a unit."""

    def one(vectors: Array, species: Array, mask: Array) -> Array:
        surroundings = _Surroundings.of(config, vectors, species, mask)
        return jnp.concatenate([_g2(config, surroundings), _g5(config, surroundings)])

    return jax.vmap(one)(neighbors.vectors, neighbors.species, neighbors.mask)


def rows_and_jacobian(
    config: ACSF, neighbors: Neighbors
) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
    """The rows and their derivatives with respect to the neighbour vectors, in 1/Angstrom.

    The closed form costs about as much as one reverse pass, where forward-mode differentiation
    needs ``3 m`` passes. Both G5 sums over k are matrix products.
    """

    def one(vectors: Array, species: Array, mask: Array) -> tuple[Array, Array]:
        surroundings = _Surroundings.of(config, vectors, species, mask)
        radial, radial_jacobian = _g2_and_jacobian(config, surroundings)
        angular, angular_jacobian = _g5_and_jacobian(config, surroundings)
        return (
            jnp.concatenate([radial, angular]),
            jnp.concatenate([radial_jacobian, angular_jacobian]),
        )

    return jax.vmap(one)(neighbors.vectors, neighbors.species, neighbors.mask)


class _Surroundings(NamedTuple):
    """One central atom's neighbours in the quantities that the formulas are written in."""

    r: Float[Array, " m"]
    direction: Float[Array, "m 3"]
    inverse_r: Float[Array, " m"]
    cutoff: Float[Array, " m"]
    cutoff_slope: Float[Array, " m"]
    channel: Float[Array, "m s"]

    @classmethod
    def of(
        cls,
        config: ACSF,
        vectors: Float[Array, "m 3"],
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
    ) -> "_Surroundings":
        r = safe_norm(vectors)
        inverse_r = safe_divide(jnp.ones_like(r), r)
        cutoff, slope = cosine(r, config.r_cut)
        elements = jnp.asarray(config.species)
        channel = species[:, None] == elements[None, :]
        mask = mask & channel.any(axis=-1)
        return cls(
            r=r,
            direction=vectors * inverse_r[:, None],
            inverse_r=inverse_r,
            cutoff=jnp.where(mask, cutoff, 0.0),
            cutoff_slope=jnp.where(mask, slope, 0.0),
            channel=channel.astype(r.dtype),
        )


def _einsum(subscripts: str, *operands: Array) -> Array:
    """Sum of products at full precision: accelerators round float32 products to 10 bits else."""
    return jnp.einsum(subscripts, *operands, precision=Precision.HIGHEST)


def _column(values: tuple[float, ...], like: Array, ndim: int) -> Array:
    """Parameters along the first of ``ndim`` axes, in the dtype of ``like``."""
    return jnp.asarray(values, like.dtype).reshape((-1,) + (1,) * (ndim - 1))


def _gaussians(config: ACSF, s: _Surroundings) -> tuple[Array, Array, Array]:
    """Exponents ``(e, 1, 1)``, offsets ``r - r_s`` ``(1, r_s, m)``, Gaussians ``(e, r_s, m)``."""
    eta = _column(config.g2_eta, s.r, 3)
    offset = (s.r[None, :] - _column(config.g2_r_s, s.r, 2))[None]
    return eta, offset, jnp.exp(-eta * offset**2)


def _g2(config: ACSF, s: _Surroundings) -> Float[Array, " f"]:
    _, _, gaussian = _gaussians(config, s)
    terms = gaussian * s.cutoff[None, None, :]
    if len(config.elements) == 1:
        return terms.sum(-1).ravel()
    return _einsum("erm,ms->ser", terms, s.channel).ravel()


def _g2_and_jacobian(
    config: ACSF, s: _Surroundings
) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
    eta, offset, gaussian = _gaussians(config, s)
    slope = gaussian * (s.cutoff_slope[None, None, :] - 2 * eta * offset * s.cutoff[None, None, :])
    by_channel = s.channel.T[:, None, None, :] * slope[None]
    jacobian = by_channel.reshape(-1, len(s.r))[:, :, None] * s.direction[None]
    return _g2(config, s), jacobian


def _angular(config: ACSF, cosine_angle: Array) -> tuple[Array, Array]:
    r"""Stacked :math:`2^{1-\zeta} (1 + \lambda c)^\zeta`, zeta-major then lambda, and d/dc.

    Written as :math:`2 [(1 + \lambda c)/2]^\zeta`, which can't overflow at zeta = 64.
    """
    values, slopes = [], []
    for zeta in config.g5_zeta:
        for lam in config.g5_lam:
            base = jnp.maximum(0.5 * (1.0 + lam * cosine_angle), 0.0)
            lower = _power(base, zeta - 1)
            values.append(2.0 * lower * base)
            slopes.append(zeta * lam * lower)
    if not values:
        return (jnp.zeros((0, *cosine_angle.shape), cosine_angle.dtype),) * 2
    return jnp.stack(values), jnp.stack(slopes)


def _power(base: Array, exponent: float) -> Array:
    """``base**exponent`` for exponent >= 0, by repeated squaring where it is an integer."""
    if exponent == int(exponent):
        return jax.lax.integer_pow(base, int(exponent))
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0)


def _pairs(config: ACSF) -> list[tuple[int, int]]:
    """Channels of G5: unordered pairs of element indices."""
    return list(combinations_with_replacement(range(len(config.elements)), 2))


def _g5(config: ACSF, s: _Surroundings) -> Float[Array, " f"]:
    if len(config.elements) == 1 and len(s.r) <= FEW_NEIGHBORS:
        return _g5_by_pairs(config, s)
    return _pair_channels(config, s, _sums_over_k(config, s)[0]).ravel()


def _g5_by_pairs(config: ACSF, s: _Surroundings) -> Float[Array, " f"]:
    """G5 of one element, each pair j < k once: half the angular factors, but gathered."""
    first, second = np.triu_indices(len(s.r), 1)
    angular, _ = _angular(config, jnp.sum(s.direction[first] * s.direction[second], axis=-1))
    radial = jnp.exp(-_column(config.g5_eta, s.r, 2) * (s.r**2)[None, :]) * s.cutoff[None, :]
    return _einsum("at,et->ae", angular, radial[:, first] * radial[:, second]).ravel()


def _sums_over_k(
    config: ACSF, s: _Surroundings
) -> tuple[Float[Array, "a m e s"], Float[Array, "a m m"], Float[Array, "e s m"]]:
    r"""Sums :math:`\sum_{k \ne j} A_{jk} u_k` for each element of k, dA/dc, and u by element."""
    distinct = 1.0 - jnp.eye(len(s.r), dtype=s.r.dtype)
    angular, angular_slope = _angular(config, _einsum("jx,kx->jk", s.direction, s.direction))
    radial = jnp.exp(-_column(config.g5_eta, s.r, 2) * (s.r**2)[None, :]) * s.cutoff[None, :]
    by_element = radial[:, None, :] * s.channel.T[None]
    sums = _einsum("ajk,esk->ajes", angular * distinct[None], by_element)
    return sums, angular_slope * distinct[None], by_element


def _pair_channels(
    config: ACSF, s: _Surroundings, sums: Float[Array, "a m e s"]
) -> Float[Array, "c a e"]:
    """Close the sum over j: one value for each unordered pair of elements, each pair once."""
    radial = jnp.exp(-_column(config.g5_eta, s.r, 2) * (s.r**2)[None, :]) * s.cutoff[None, :]
    totals = _einsum("ajes,ej,jt->aest", sums, radial, s.channel)
    return jnp.stack([totals[..., b, a] * (0.5 if a == b else 1.0) for a, b in _pairs(config)])


def _g5_and_jacobian(
    config: ACSF, s: _Surroundings
) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
    r"""G5 from the full matrix over (j, k), so that the sums over k are matrix products.

    With :math:`u = e^{-\eta r^2} f_c`, :math:`A` the angular factor and :math:`\hat d` directions,

    .. math::

        \frac{\partial G^5}{\partial d_j} = \frac{u_j}{r_j} (1 - \hat d_j \hat d_j^T)
        \sum_k A'_{jk} u_k \hat d_k + u'_j \hat d_j \sum_k A_{jk} u_k .
    """
    m = len(s.r)
    eta = _column(config.g5_eta, s.r, 2)
    gaussian = jnp.exp(-eta * (s.r**2)[None, :])
    radial_slope = gaussian * (s.cutoff_slope[None, :] - 2.0 * eta * (s.r * s.cutoff)[None, :])
    sums, angular_slope, by_element = _sums_over_k(config, s)
    vector_sums = _einsum(
        "ajk,eskx->ajesx", angular_slope, by_element[..., None] * s.direction[None, None]
    )
    along = _einsum("ajesx,jx->ajes", vector_sums, s.direction)
    across_weight = (gaussian * (s.cutoff * s.inverse_r)[None, :]).T[None, :, :, None]
    along_weight = radial_slope.T[None, :, :, None] * sums - across_weight * along
    slopes = (
        across_weight[..., None] * vector_sums
        + along_weight[..., None] * s.direction[None, :, None, None, :]
    )
    jacobians = []
    for a, b in _pairs(config):
        jacobian = s.channel[None, :, a, None, None] * slopes[..., b, :]
        if a != b:
            jacobian += s.channel[None, :, b, None, None] * slopes[..., a, :]
        jacobians.append(jnp.swapaxes(jacobian, 1, 2))
    values = _pair_channels(config, s, sums)
    return values.ravel(), jnp.stack(jacobians).reshape(-1, m, 3)
