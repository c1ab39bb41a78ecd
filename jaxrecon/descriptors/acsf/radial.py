r"""Two-body symmetry functions: sums over the neighbours of one element.

.. math::

    G^1_i = \sum_j f_c(r_{ij}), \qquad
    G^2_i = \sum_j e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij}), \qquad
    G^3_i = \sum_j \cos(\kappa r_{ij}) f_c(r_{ij})

Source: Behler, J. Chem. Phys. 134, 074106 (2011), equations 6 to 8.
"""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.base import Feature
from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.environment import Environment, first_axis, gaussian, unrolled_sum


@dataclass(frozen=True)
class RadialGaussian:
    r"""The function :math:`e^{-\eta (r - r_s)^2} f_c(r)` that G2 sums.

    Attributes:
        eta: exponent in 1/Angstrom^2.
        r_s: centre in Angstrom.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.
    """

    eta: float
    r_s: float
    cutoff: str
    r_cut: float

    def __call__(self, r: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """Its values at some distances in Angstrom."""
        smooth = np.asarray(CUTOFFS[self.cutoff](jnp.asarray(r), self.r_cut)[0])
        return np.exp(-self.eta * (r - self.r_s) ** 2) * smooth


class Radial(NamedTuple):
    """Parameters of the functions of one channel, in their order: G1, then G2, then G3.

    Attributes:
        g1: whether G1 is there.
        eta: exponents of G2 in 1/Angstrom^2.
        r_s: centres of G2 in Angstrom; every eta goes with every centre, eta-major.
        kappa: wave numbers of G3 in 1/Angstrom.
    """

    g1: bool
    eta: tuple[float, ...]
    r_s: tuple[float, ...]
    kappa: tuple[float, ...]

    def features(
        self, channel: str, neighbors: tuple[str, ...], cutoff: str, r_cut: float
    ) -> list[Feature]:
        """What each function of a channel is.

        Args:
            channel: its name.
            neighbors: the element that it counts; none for a weighted channel.
            cutoff: name of the cutoff function.
            r_cut: cutoff in Angstrom.
        """
        gaussians = [
            Feature(
                f"G2[{channel}] eta={eta:g} r_s={r_s:g}",
                neighbors,
                nonnegative=True,
                radial=RadialGaussian(eta, r_s, cutoff, r_cut) if neighbors else None,
                peak=r_s,
            )
            for eta in self.eta
            for r_s in self.r_s
        ]
        # G1 is a Gaussian without a width: its exponent is 0.
        first = RadialGaussian(0.0, 0.0, cutoff, r_cut) if neighbors else None
        return [
            *([Feature(f"G1[{channel}]", neighbors, True, first)] if self.g1 else []),
            *gaussians,
            *(Feature(f"G3[{channel}] kappa={kappa:g}", neighbors) for kappa in self.kappa),
        ]

    @property
    def size(self) -> int:
        """How many functions there are in a channel."""
        return int(self.g1) + len(self.eta) * len(self.r_s) + len(self.kappa)


def values(functions: Radial, s: Environment) -> Float[Array, "s f ..."]:
    """Every function in every channel."""
    return _summed(_terms(functions, s)[0], s)


def values_and_jacobian(
    functions: Radial, s: Environment
) -> tuple[Float[Array, "s f"], Float[Array, "s f m 3"]]:
    """Also the derivatives by the vectors to the neighbours, in 1/Angstrom."""
    terms, derivatives = _terms(functions, s)
    along = s.channel.T[:, None, :] * derivatives[None, :, :]
    return _summed(terms, s), along[..., None] * s.direction[None, None]


def values_by_lanes(functions: Radial, s: Environment) -> Float[Array, "f lanes"]:
    """Every function of one channel, one neighbour after the other.

    A loop, so that the sums are made over lanes whatever layout the rows are wanted in afterwards.
    """
    others, _ = _terms(functions._replace(eta=()), s)
    others = unrolled_sum(others * s.channel[None, :, 0], axis=1)
    if not functions.eta or not functions.r_s:
        return others
    eta, r_s = first_axis(functions.eta, s.r, 3), first_axis(functions.r_s, s.r, 2)[None]

    def add(total: Array, neighbor: tuple[Array, ...]) -> tuple[Array, None]:
        *parts, weight = (part[None, None] for part in neighbor)
        return total + weight * gaussian(eta, r_s, *parts)[0], None

    shape = (len(functions.eta), len(functions.r_s), *s.r.shape[1:])
    neighbors = (s.r, s.cutoff, s.cutoff_derivative, s.channel[:, 0])
    gaussians, _ = jax.lax.scan(add, jnp.zeros(shape, s.r.dtype), neighbors)
    gaussians = gaussians.reshape(-1, *s.r.shape[1:])
    return jnp.concatenate([others[: functions.g1], gaussians, others[functions.g1 :]])


def pullback(
    functions: Radial, s: Environment, share: Float[Array, "f lanes"]
) -> Float[Array, "m lanes"]:
    """Derivative by the distances, in 1/Angstrom, of the weighted sum of one channel's functions.

    Args:
        functions: as for :func:`values`.
        s: what the atoms see.
        share: the weights.
    """
    total = jnp.zeros_like(s.r)
    number = len(functions.eta) * len(functions.r_s)
    first, gaussians, waves = jnp.split(share, [functions.g1, functions.g1 + number])
    if functions.g1:
        total += first[0][None] * s.cutoff_derivative
    for kappa, weight in zip(functions.kappa, waves, strict=True):
        total += weight[None] * _wave(kappa, s.r, s.cutoff, s.cutoff_derivative)[1]
    if number:
        # One function after the other: the sum over all in one go takes ten times as long.
        each = jnp.asarray(list(product(functions.eta, functions.r_s)), s.r.dtype)

        def add(total: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
            (eta, r_s), weight = given
            _, slope = gaussian(eta, r_s, s.r, s.cutoff, s.cutoff_derivative)
            return total + weight[None] * slope, None

        total, _ = jax.lax.scan(add, total, (each, gaussians))
    return total * s.channel[:, 0]


def derivatives_each(functions: Radial, s: Environment) -> Float[Array, "m f lanes"]:
    """Derivative by the distances, in 1/Angstrom, of one function in each lane, channels aside.

    Args:
        functions: as for :func:`values`.
        s: what the atoms see, lanes ``(f, lanes)``: function f in those at f.
    """
    number, per_eta = len(functions.eta) * len(functions.r_s), len(functions.r_s)
    ends = [int(functions.g1), functions.g1 + number]
    parts = (jnp.split(part, ends, axis=1) for part in (s.r, s.cutoff, s.cutoff_derivative))
    first, second, third = zip(*parts, strict=True)
    r_s, kappa = first_axis(functions.r_s, s.r, 2), first_axis(functions.kappa, s.r, 2)
    derivatives = [first[2], _wave(kappa[None], *third)[1]]
    if number:
        # One exponent after the other: what a loop takes is computed once, not for every use.
        def of(given: tuple[Array, tuple[Array, ...]]) -> Array:
            eta, block = given
            return gaussian(eta, r_s[None], *block)[1]

        blocks = tuple(
            jnp.moveaxis(part.reshape(len(part), -1, per_eta, *part.shape[2:]), 1, 0)
            for part in second
        )
        gaussians = jax.lax.map(of, (jnp.asarray(functions.eta, s.r.dtype), blocks))
        derivatives.insert(1, jnp.moveaxis(gaussians, 0, 1).reshape(second[0].shape))
    return jnp.concatenate(derivatives, axis=1)


def _terms(
    functions: Radial, s: Environment
) -> tuple[Float[Array, "f m ..."], Float[Array, "f m ..."]]:
    """What each neighbour adds to each function, and its derivative by the distance."""
    parts = (s.r, s.cutoff, s.cutoff_derivative)
    one, two = (tuple(part[(None,) * axes] for part in parts) for axes in (1, 2))
    terms, derivatives = [], []
    if functions.g1:
        terms, derivatives = [one[1]], [one[2]]
    if functions.eta and functions.r_s:
        eta = first_axis(functions.eta, s.r, s.r.ndim + 2)
        r_s = first_axis(functions.r_s, s.r, s.r.ndim + 1)[None]
        for kept, new in zip((terms, derivatives), gaussian(eta, r_s, *two), strict=True):
            kept.append(new.reshape(-1, *s.r.shape))
    if functions.kappa:
        kappa = first_axis(functions.kappa, s.r, s.r.ndim + 1)
        for kept, new in zip((terms, derivatives), _wave(kappa, *one), strict=True):
            kept.append(new)
    if not terms:
        nothing = jnp.zeros((0, *s.r.shape), s.r.dtype)
        return nothing, nothing
    return jnp.concatenate(terms), jnp.concatenate(derivatives)


def _wave(
    kappa: float | Array, r: Array, cutoff: Array, cutoff_derivative: Array
) -> tuple[Array, Array]:
    wave = jnp.cos(kappa * r)
    return wave * cutoff, wave * cutoff_derivative - kappa * jnp.sin(kappa * r) * cutoff


def _summed(terms: Float[Array, "f m ..."], s: Environment) -> Float[Array, "s f ..."]:
    # As a product and a sum, which fuse; a matrix product this small takes twice the time.
    channel = jnp.moveaxis(s.channel, 1, 0)
    return jnp.sum(channel[:, None] * terms[None], axis=2)
