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

from jaxrecon.descriptors.cutoffs import CUTOFFS
from jaxrecon.descriptors.environment import Environment, first_axis, gaussian, unrolled_sum
from jaxrecon.descriptors.feature import Feature


@dataclass(frozen=True)
class RadialGaussian:
    r"""The function :math:`e^{-\eta (r - r_s)^2} f_c(r)`, which G2 sums over neighbours.

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
        """Compute the function at distances in Angstrom."""
        cutoff = np.asarray(CUTOFFS[self.cutoff](jnp.asarray(r), self.r_cut)[0])
        return np.exp(-self.eta * (r - self.r_s) ** 2) * cutoff


class Radial(NamedTuple):
    """The two-body functions of one channel, in this order: G1, G2, G3.

    Attributes:
        g1: whether G1 is one of them.
        eta: exponents of G2 in 1/Angstrom^2.
        r_s: centres of G2 in Angstrom; all of them for the first eta come first.
        kappa: wave numbers of G3 in 1/Angstrom.
    """

    g1: bool
    eta: tuple[float, ...]
    r_s: tuple[float, ...]
    kappa: tuple[float, ...]

    def features(
        self, channel: str, neighbors: tuple[str, ...], cutoff: str, r_cut: float
    ) -> list[Feature]:
        """Describe the functions of a channel.

        Args:
            channel: name of the channel.
            neighbors: chemical symbol of the channel's element; empty for a weighted channel.
            cutoff: name of the cutoff function.
            r_cut: cutoff in Angstrom.

        Returns:
            One description for each function, in their order.
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
        # G1 is a Gaussian with exponent 0.
        first = RadialGaussian(0.0, 0.0, cutoff, r_cut) if neighbors else None
        return [
            *([Feature(f"G1[{channel}]", neighbors, True, first)] if self.g1 else []),
            *gaussians,
            *(Feature(f"G3[{channel}] kappa={kappa:g}", neighbors) for kappa in self.kappa),
        ]

    @property
    def size(self) -> int:
        """The number of functions of a channel."""
        return int(self.g1) + len(self.eta) * len(self.r_s) + len(self.kappa)


def values(functions: Radial, env: Environment) -> Float[Array, "s f ..."]:
    """Compute every function in every channel, without a unit."""
    return _summed(_terms(functions, env)[0], env)


def values_and_jacobian(
    functions: Radial, env: Environment
) -> tuple[Float[Array, "s f"], Float[Array, "s f m 3"]]:
    """Compute every function in every channel, and its derivatives in 1/Angstrom by the vectors."""
    terms, derivatives = _terms(functions, env)
    by_distance = env.channel.T[:, None, :] * derivatives[None, :, :]
    return _summed(terms, env), by_distance[..., None] * env.direction[None, None]


def values_and_slopes(
    functions: Radial, env: Environment
) -> tuple[Float[Array, "s f"], Float[Array, "f m"]]:
    """Compute every function in every channel, and derivatives of terms by distances.

    Args:
        functions: the functions.
        env: the environment.

    Returns:
        The functions, without a unit; and the derivative by its distance of what each neighbour of
        weight 1 adds to each function, in 1/Angstrom.
    """
    terms, slopes = _terms(functions, env)
    return _summed(terms, env), slopes


def values_over_lanes(functions: Radial, env: Environment) -> Float[Array, "f lanes"]:
    """Compute every function of a single channel, without a unit.

    A loop over the neighbours makes XLA sum over lanes side by side, whatever layout the result is
    needed in afterwards.
    """
    # G1 and G3 are few: sum them at once.
    others, _ = _terms(functions._replace(eta=()), env)
    others = unrolled_sum(others * env.channel[None, :, 0], axis=1)
    if not functions.eta or not functions.r_s:
        return others
    eta = first_axis(functions.eta, env.r, 3)
    r_s = first_axis(functions.r_s, env.r, 2)[None]

    def add(total: Array, neighbor: tuple[Array, ...]) -> tuple[Array, None]:
        *parts, weight = (part[None, None] for part in neighbor)
        return total + weight * gaussian(eta, r_s, *parts)[0], None

    shape = (len(functions.eta), len(functions.r_s), *env.r.shape[1:])
    neighbors = (env.r, env.cutoff, env.cutoff_derivative, env.channel[:, 0])
    gaussians, _ = jax.lax.scan(add, jnp.zeros(shape, env.r.dtype), neighbors)
    gaussians = gaussians.reshape(-1, *env.r.shape[1:])
    return jnp.concatenate([others[: functions.g1], gaussians, others[functions.g1 :]])


def pullback(
    functions: Radial, env: Environment, weights: Float[Array, "f lanes"]
) -> Float[Array, "m lanes"]:
    """Compute the derivatives of a weighted sum of the functions of a single channel.

    Args:
        functions: the functions.
        env: the environments.
        weights: weight of each function in the sum.

    Returns:
        The derivatives by the distances in 1/Angstrom.
    """
    total = jnp.zeros_like(env.r)
    number = len(functions.eta) * len(functions.r_s)
    first, gaussians, waves = jnp.split(weights, [functions.g1, functions.g1 + number])
    if functions.g1:
        total += first[0][None] * env.cutoff_derivative
    for kappa, weight in zip(functions.kappa, waves, strict=True):
        total += weight[None] * _wave(kappa, env.r, env.cutoff, env.cutoff_derivative)[1]
    if number:
        # Add one Gaussian after the other: a sum over all at once takes ten times as long.
        parameters = jnp.asarray(list(product(functions.eta, functions.r_s)), env.r.dtype)

        def add(total: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
            (eta, r_s), weight = term
            _, derivative = gaussian(eta, r_s, env.r, env.cutoff, env.cutoff_derivative)
            return total + weight[None] * derivative, None

        total, _ = jax.lax.scan(add, total, (parameters, gaussians))
    return total * env.channel[:, 0]


def selected_derivatives(functions: Radial, env: Environment) -> Float[Array, "m f lanes"]:
    """Compute the derivatives of each function in its own lanes, without weights of channels.

    Args:
        functions: the functions.
        env: the environments, with two axes of lanes ``(f, lanes)``: for each function those of the
            atoms that are selected for it.

    Returns:
        The derivatives by the distances in 1/Angstrom.
    """
    # Split the lanes by the kind of their function.
    number, per_eta = len(functions.eta) * len(functions.r_s), len(functions.r_s)
    ends = [int(functions.g1), functions.g1 + number]
    parts = (jnp.split(part, ends, axis=1) for part in (env.r, env.cutoff, env.cutoff_derivative))
    first, second, third = zip(*parts, strict=True)
    r_s, kappa = first_axis(functions.r_s, env.r, 2), first_axis(functions.kappa, env.r, 2)
    derivatives = [first[2], _wave(kappa[None], *third)[1]]
    if number:
        # Loop over the exponents: XLA computes the input of a loop once, and not for every use.
        def of_eta(block: tuple[Array, tuple[Array, ...]]) -> Array:
            eta, parts = block
            return gaussian(eta, r_s[None], *parts)[1]

        blocks = tuple(
            jnp.moveaxis(part.reshape(len(part), -1, per_eta, *part.shape[2:]), 1, 0)
            for part in second
        )
        gaussians = jax.lax.map(of_eta, (jnp.asarray(functions.eta, env.r.dtype), blocks))
        derivatives.insert(1, jnp.moveaxis(gaussians, 0, 1).reshape(second[0].shape))
    return jnp.concatenate(derivatives, axis=1)


def _terms(
    functions: Radial, env: Environment
) -> tuple[Float[Array, "f m ..."], Float[Array, "f m ..."]]:
    """Compute what each neighbour adds to each function, and its derivative by the distance."""
    # The parameters are leading axes: one for G1 and G3, two for G2.
    parts = (env.r, env.cutoff, env.cutoff_derivative)
    single, double = (tuple(part[(None,) * axes] for part in parts) for axes in (1, 2))
    terms, derivatives = [], []
    if functions.g1:
        terms, derivatives = [single[1]], [single[2]]
    if functions.eta and functions.r_s:
        eta = first_axis(functions.eta, env.r, env.r.ndim + 2)
        r_s = first_axis(functions.r_s, env.r, env.r.ndim + 1)[None]
        value, derivative = gaussian(eta, r_s, *double)
        terms.append(value.reshape(-1, *env.r.shape))
        derivatives.append(derivative.reshape(-1, *env.r.shape))
    if functions.kappa:
        kappa = first_axis(functions.kappa, env.r, env.r.ndim + 1)
        value, derivative = _wave(kappa, *single)
        terms.append(value)
        derivatives.append(derivative)
    if not terms:
        nothing = jnp.zeros((0, *env.r.shape), env.r.dtype)
        return nothing, nothing
    return jnp.concatenate(terms), jnp.concatenate(derivatives)


def _wave(
    kappa: float | Array, r: Array, cutoff: Array, cutoff_derivative: Array
) -> tuple[Array, Array]:
    """Compute the cosine times the cutoff function that G3 sums, and its derivative."""
    wave = jnp.cos(kappa * r)
    return wave * cutoff, wave * cutoff_derivative - kappa * jnp.sin(kappa * r) * cutoff


def _summed(terms: Float[Array, "f m ..."], env: Environment) -> Float[Array, "s f ..."]:
    """Sum the terms of all neighbours in every channel."""
    # A product and a sum, which XLA fuses: a matrix product this small takes twice as long.
    channel = jnp.moveaxis(env.channel, 1, 0)
    return jnp.sum(channel[:, None] * terms[None], axis=2)
