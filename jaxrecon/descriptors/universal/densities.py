r"""Sums over neighbours in weighted channels, and the numbers of a row that are made of them.

With the weight :math:`w_s(j)` of neighbour j in channel s,

.. math::
    G^s_n = \sum_j w_s(j)\, e^{-\eta (r_j - r_n)^2} f_c(r_j), \qquad
    c^s_{elm} = \sum_j w_s(j)\, e^{-\eta_e r_j^2} f_c(r_j)\,
    S_{lm}\!\left(\mathbf r_j / \sqrt{r_j^2 + a^2}\right)

are a symmetry function G2 (Behler, J. Chem. Phys. 134, 074106, 2011) and the coefficients of the
weighted density in real solid harmonics S. Their products that rotations do not change,

.. math::
    P^{st}_{el} = d^{l-1} \frac{4\pi}{2l + 1} \sum_m c^s_{elm} c^t_{elm}
    \approx d^{l-1} \sum_{jk} w_s(j) w_t(k)\, u_e(r_j) u_e(r_k)\, P_l(\cos\theta_{jk}) ,

are sums over pairs of neighbours, j = k included, of Legendre polynomials (Bartók et al., Phys.
Rev. B 87, 184115, 2013), of which functions G5 of whole exponents zeta are combinations. The cost
is proportional to the number of neighbours, not of their pairs. With the length a = 0.5 Angstrom
everything is smooth where an atom is at no distance; d is a factor between degrees.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.cutoffs import cosine
from jaxrecon.descriptors.environment import first_axis, gaussian
from jaxrecon.descriptors.harmonics import gradients, solid_harmonics
from jaxrecon.numerics import einsum, safe_divide, safe_norm

SOFT = 0.5
"""Length a in Angstrom below which the direction of a neighbour counts less."""


class Basis(NamedTuple):
    """The functions of one neighbour.

    Attributes:
        eta: exponent of all G2 in 1/Angstrom^2.
        r_s: their centres in Angstrom.
        widths: exponents of the radial factors of the harmonics in 1/Angstrom^2.
        l_max: largest degree of the harmonics; those of degree 0 are left out.
        r_cut: cutoff in Angstrom.
        decay: factor of P of each degree relative to the one below.
    """

    eta: float
    r_s: tuple[float, ...]
    widths: tuple[float, ...]
    l_max: int
    r_cut: float
    decay: float

    @property
    def harmonics(self) -> int:
        """The number of harmonics."""
        return (self.l_max + 1) ** 2 - 1

    @property
    def size(self) -> int:
        """The number of functions."""
        return len(self.r_s) + len(self.widths) * self.harmonics


def functions(
    basis: Basis, vectors: Float[Array, "m 3"]
) -> tuple[Float[Array, "k m"], Float[Array, "k m 3"]]:
    """Compute the functions of each neighbour and their derivatives by its vector.

    Those of G2 come first, then the harmonics of each width.

    Args:
        basis: the functions.
        vectors: vectors to the neighbours in Angstrom.

    Returns:
        The values, without a unit, and the derivatives in 1/Angstrom.
    """
    r = safe_norm(vectors)
    direction = vectors * safe_divide(jnp.ones_like(r), r)[:, None]
    radial, widths, radial_slope, widths_slope = _radial(basis, r)
    # The softened direction v / sqrt(r^2 + a^2) has the derivative (1 - d d^T) / sqrt(r^2 + a^2).
    inverse = 1.0 / jnp.sqrt(r**2 + SOFT**2)
    soft = vectors * inverse[:, None]
    harmonics = solid_harmonics(soft.T, basis.l_max)[1:]
    by_soft = jnp.moveaxis(gradients(soft.T, basis.l_max)[:, 1:], 0, -1)
    along = jnp.sum(by_soft * soft[None], axis=-1)
    turned = (by_soft - along[..., None] * soft[None]) * inverse[None, :, None]
    values = (widths[:, None] * harmonics[None]).reshape(-1, len(r))
    stretched = widths_slope[:, None] * harmonics[None]
    by_vector = stretched[..., None] * direction[None, None] + (
        widths[:, None, :, None] * turned[None]
    )
    return (
        jnp.concatenate([radial, values]),
        jnp.concatenate(
            [radial_slope[..., None] * direction[None], by_vector.reshape(-1, len(r), 3)]
        ),
    )


def _radial(basis: Basis, r: Array) -> tuple[Array, Array, Array, Array]:
    """Values of the functions of G2 and of the radial factors, and the derivatives of both."""
    cutoff, slope = (part[None] for part in cosine(r, basis.r_cut))
    r_s = first_axis(basis.r_s, r, 2)
    widths = first_axis(basis.widths, r, 2)
    radial, by_r = gaussian(jnp.full_like(r_s, basis.eta), r_s, r[None], cutoff, slope)
    factors, of_factors = gaussian(widths, jnp.zeros_like(widths), r[None], cutoff, slope)
    return radial, factors, by_r, of_factors


def numbers(
    basis: Basis, sums: Float[Array, "s k"], center: Float[Array, " s"], centered: bool
) -> Float[Array, " f"]:
    """The numbers of a row that depend on the neighbours.

    Args:
        basis: the functions.
        sums: the functions, summed over all neighbours in each channel.
        center: weights of the central atom in the channels.
        centered: whether to add G2 times the weights of the central atom.

    Returns:
        G2 of each channel; those times the other weights of the centre; P of each pair of channels.
    """
    radial, coefficients = _split(basis, sums)
    blocks = [radial.ravel()]
    if centered:
        first, second = _pairs(len(center), start=1)
        both = center[first, None] * radial[second] + center[second, None] * radial[first]
        blocks.append(0.5 * both.ravel())
    first, second = _pairs(len(center))
    # One product for each degree; the axes are those of pairs, widths and degrees.
    degrees = [
        factor * einsum("pek,pek->pe", coefficients[first, :, own], coefficients[second, :, own])
        for factor, own in _degrees(basis)
    ]
    blocks.append(jnp.stack(degrees, axis=-1).ravel())
    return jnp.concatenate(blocks)


def numbers_jacobian(
    basis: Basis,
    sums: Float[Array, "s k"],
    by: Float[Array, "s k x 3"],
    center: Float[Array, " s"],
    centered: bool,
) -> Float[Array, "f x 3"]:
    """The derivatives of :func:`numbers`.

    Args:
        basis: as for :func:`numbers`.
        sums: as for :func:`numbers`.
        by: derivatives of the sums by any vectors.
        center: as for :func:`numbers`.
        centered: as for :func:`numbers`.

    Returns:
        The derivatives by these vectors.
    """
    rest = by.shape[2:]
    _, coefficients = _split(basis, sums)
    radial, by_coefficients = _split(basis, by)
    blocks = [radial.reshape(-1, *rest)]
    if centered:
        first, second = _pairs(len(center), start=1)
        weight = center[:, None, None, None]
        both = weight[first] * radial[second] + weight[second] * radial[first]
        blocks.append(0.5 * both.reshape(-1, *rest))
    first, second = _pairs(len(center))
    degrees = []
    for factor, own in _degrees(basis):
        halves = factor * einsum(
            "sek,tekxd->stexd", coefficients[:, :, own], by_coefficients[:, :, own]
        )
        degrees.append(halves[first, second] + halves[second, first])
    blocks.append(jnp.stack(degrees, axis=2).reshape(-1, *rest))
    return jnp.concatenate(blocks)


def _split(basis: Basis, sums: Array) -> tuple[Array, Array]:
    """Sums of G2, and those of the harmonics with an axis of widths."""
    count = len(basis.r_s)
    shape = (len(sums), len(basis.widths), basis.harmonics, *sums.shape[2:])
    return sums[:, :count], sums[:, count:].reshape(shape)


def _pairs(channels: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The unordered pairs of channels from one on."""
    first, second = np.triu_indices(channels - start)
    return first + start, second + start


def _degrees(basis: Basis) -> list[tuple[float, slice]]:
    """The factor of each degree from 1 on, and the place of its harmonics."""
    return [
        (basis.decay ** (l - 1) * 4.0 * np.pi / (2 * l + 1), slice(l**2 - 1, (l + 1) ** 2 - 1))
        for l in range(1, basis.l_max + 1)
    ]
