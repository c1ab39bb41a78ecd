r"""Radial part of a density expansion: one Gaussian, projected on an orthonormal radial basis.

The density of a neighbour at distance r is a Gaussian of width :math:`\sigma`,
:math:`e^{-|\mathbf x - \mathbf r|^2 / 2\sigma^2}`. Its coefficients for the basis functions
:math:`g_{nl}(x)\,Y_{lm}(\hat{\mathbf x})` are :math:`I_{nl}(r)\,Y_{lm}(\hat{\mathbf r})`, with
:math:`\eta = 1/2\sigma^2` and the modified spherical Bessel function :math:`i_l`,

.. math:: I_{nl}(r) = 4\pi \int_0^\infty x^2 g_{nl}(x)\, e^{-\eta(x^2 + r^2)}\, i_l(2\eta x r)\, dx

They are interpolated: :math:`F_{nl}(r) = I_{nl}(r)\,(R/r)^l`, an even and smooth function, is a
polynomial of degree five on each of many intervals, with exact values and first and second
derivatives at their ends (as featomic does with cubic ones). R is the radius of the basis.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import sqrtm
from scipy.special import gamma, ive

BasisName = Literal["gto", "polynomial", "featomic"]
BASES: tuple[str, ...] = get_args(BasisName)
"""The names of the radial bases."""

DECAY = 1e-3
"""Value to which each orbital of the basis ``"gto"`` has decayed at its radius, as in DScribe."""

INTERVALS_PER_SIGMA = 24
"""Intervals of the interpolation per width of the Gaussian: an error below 1e-11."""

NODES_PER_SIGMA = 16
"""Nodes of Gauss-Legendre quadrature per width of the Gaussian."""


class Basis(NamedTuple):
    """A radial basis and the width of the density.

    Attributes:
        name: ``"gto"``, Gaussian-type orbitals as in DScribe, with exponents for each degree;
            ``"polynomial"``, polynomials that end at the radius, as in DScribe; or ``"featomic"``,
            Gaussian-type orbitals as in featomic and librascal, the same for all degrees.
        n_max: number of radial functions.
        l_max: largest degree of the spherical harmonics.
        radius: radius of the basis in Angstrom.
        sigma: width of the Gaussians in Angstrom.
        reach: largest distance of a neighbour in Angstrom.
    """

    name: str
    n_max: int
    l_max: int
    radius: float
    sigma: float
    reach: float


def radial_integrals(basis: Basis, r: Float[Array, "..."]) -> Float[Array, "n l ..."]:
    r"""Compute :math:`F_{nl}(r) = I_{nl}(r)\,(R/r)^l`, to be multiplied by solid harmonics of r/R.

    Args:
        basis: the basis.
        r: distances in Angstrom, at most ``basis.reach``.

    Returns:
        The integrals in Angstrom^(3/2).
    """
    coefficients, width = _interpolation(basis)
    table = jnp.asarray(coefficients, r.dtype)
    position = r * (1.0 / width)
    interval = jnp.clip(jnp.floor(position).astype(int), 0, len(table) - 1)
    fraction = (position - interval.astype(r.dtype))[..., None, None]
    # Horner's scheme in the place within the interval.
    pieces = table[interval]
    value = pieces[..., 5, :, :]
    for power in range(4, -1, -1):
        value = value * fraction + pieces[..., power, :, :]
    return jnp.moveaxis(value, (-2, -1), (0, 1))


def orbitals(basis: Basis, l: int, x: Float[np.ndarray, " k"]) -> Float[np.ndarray, "n k"]:
    """Compute the orthonormal radial functions of degree l.

    Args:
        basis: the basis.
        l: the degree.
        x: distances in Angstrom.

    Returns:
        The functions in Angstrom^(-3/2).
    """
    primitives, overlap = _PRIMITIVES[basis.name](basis, l, x)
    # Orthonormalise symmetrically (Löwdin), by the inverse square root of the overlaps.
    return np.asarray(sqrtm(np.linalg.inv(overlap))).real @ primitives


def _gto(basis: Basis, l: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Primitives x^l exp(-alpha x^2) that decay at radii from 1 Angstrom to that of the basis."""
    ends = np.linspace(1.0, basis.radius, basis.n_max)
    alpha = -np.log(DECAY / ends**l) / ends**2
    overlap = 0.5 * gamma(l + 1.5) * (alpha[:, None] + alpha[None, :]) ** (-l - 1.5)
    return x**l * np.exp(-alpha[:, None] * x**2), overlap


def _polynomial(basis: Basis, l: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Primitives (R - x)^(n + 2) up to the radius R, for n from 1."""
    power = np.arange(1, basis.n_max + 1) + 2
    total = power[:, None] + power[None, :]
    overlap = 2.0 * basis.radius ** (3.0 + total) / ((1 + total) * (2 + total) * (3 + total))
    return np.maximum(basis.radius - x, 0.0) ** power[:, None], overlap


def _featomic(basis: Basis, l: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Primitives x^n exp(-x^2 / 2 s^2) for n from 0, with a width s that grows as sqrt(n)."""
    n = np.arange(basis.n_max)
    width = basis.radius * np.maximum(np.sqrt(n), 1.0) / basis.n_max
    alpha = 0.5 / width**2
    # The integral of x^(2 + n + n') exp(-(alpha + alpha') x^2).
    half = 0.5 * (3.0 + n[:, None] + n[None, :])
    overlap = 0.5 * gamma(half) * (alpha[:, None] + alpha[None, :]) ** -half
    size = 1.0 / np.sqrt(np.diag(overlap))
    primitives = size[:, None] * x ** n[:, None] * np.exp(-alpha[:, None] * x**2)
    return primitives, size[:, None] * overlap * size[None, :]


_PRIMITIVES: dict[str, Callable[[Basis, int, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "gto": _gto,
    "polynomial": _polynomial,
    "featomic": _featomic,
}


@lru_cache(maxsize=64)
def _interpolation(basis: Basis) -> tuple[Float[np.ndarray, "k 6 n l"], float]:
    """Coefficients of the polynomials of degree five on all intervals, and the width of these."""
    count = math.ceil(basis.reach / basis.sigma * INTERVALS_PER_SIGMA)
    width = basis.reach / count
    knots = np.linspace(0.0, basis.reach, count + 1)
    value, slope, curvature = _integrals_with_derivatives(basis, knots)
    slope, curvature = slope * width, curvature * width**2 / 2.0
    a, b = value[:-1], value[1:]
    rest = b - a - slope[:-1] - curvature[:-1]
    slope_rest = slope[1:] - slope[:-1] - 2.0 * curvature[:-1]
    curvature_rest = curvature[1:] - curvature[:-1]
    # The value, slope and half the curvature at the right end give the three higher coefficients.
    third = 10.0 * rest - 4.0 * slope_rest + curvature_rest
    fourth = -15.0 * rest + 7.0 * slope_rest - 2.0 * curvature_rest
    fifth = 6.0 * rest - 3.0 * slope_rest + curvature_rest
    coefficients = np.stack([a, slope[:-1], curvature[:-1], third, fourth, fifth], axis=1)
    return coefficients, width


def _integrals_with_derivatives(
    basis: Basis, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""The integrals F and their first two derivatives by r, each ``(len(r), n, l + 1)``.

    With :math:`M_{kl} = 4\pi \int x^{2+k} g\, e^{-\eta(x^2+r^2)}\, i_l(2\eta x r)\, r^{-l} dx`, the
    integral is :math:`F = R^l M_{0l}` and
    :math:`M_{kl}' = 2\eta r\,(M_{k+1,l+1} - M_{kl})`.
    """
    eta = 0.5 / basis.sigma**2
    # Beyond both the basis and the furthest Gaussian nothing contributes.
    end = basis.radius if basis.name == "polynomial" else basis.radius + basis.reach
    nodes, weights = np.polynomial.legendre.leggauss(
        min(2000, 64 + math.ceil(end / basis.sigma * NODES_PER_SIGMA))
    )
    x, weights = 0.5 * end * (nodes + 1.0), 0.5 * end * weights
    product = 2.0 * eta * x[None, :] * r[:, None]
    gaussian = 4.0 * np.pi * np.exp(-eta * (x[None, :] - r[:, None]) ** 2) * weights
    values, slopes, curvatures = [], [], []
    for l in range(basis.l_max + 1):
        g = orbitals(basis, l, x) * basis.radius**l

        def moment(k: int, order: int, g: np.ndarray = g, l: int = l) -> np.ndarray:
            # Bessel function i_(l+k) over r^(l+k), both powers of r taken out of the argument.
            bessel = _scaled_bessel(order, product) * (2.0 * eta * x) ** order
            return (gaussian * bessel * x ** (2 + k)) @ g.T

        zeroth, first, second = (moment(k, l + k) for k in range(3))
        rate = 2.0 * eta * r[:, None]
        values.append(zeroth)
        slopes.append(rate * (first - zeroth))
        curvatures.append(2.0 * eta * (first - zeroth) + rate**2 * (second - 2.0 * first + zeroth))
    return np.stack(values, -1), np.stack(slopes, -1), np.stack(curvatures, -1)


def _scaled_bessel(l: int, x: np.ndarray) -> np.ndarray:
    """The modified spherical Bessel function of the first kind, times exp(-x) / x^l."""
    large = np.maximum(x, 1.0)
    upwards = np.sqrt(np.pi / (2.0 * large)) * ive(l + 0.5, large) / large**l
    # A power series near 0, where the quotient of two small numbers would be inaccurate.
    small = np.minimum(x, 1.0)
    term = np.full_like(x, 1.0 / math.prod(range(1, 2 * l + 2, 2)))
    series = term.copy()
    for k in range(1, 20):
        term = term * small**2 / (2.0 * k * (2 * l + 1 + 2 * k))
        series += term
    return np.where(x < 1.0, np.exp(-small) * series, upwards)
