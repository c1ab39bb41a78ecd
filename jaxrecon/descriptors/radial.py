r"""Two-body symmetry functions: sums over the neighbours of one element.

.. math::

    G^1_i = \sum_j f_c(r_{ij}), \qquad
    G^2_i = \sum_j e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij}), \qquad
    G^3_i = \sum_j \cos(\kappa r_{ij}) f_c(r_{ij})

Source: Behler, J. Chem. Phys. 134, 074106 (2011), equations 6 to 8.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.descriptors.surroundings import Surroundings, column


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

    def names(self, channel: str) -> list[str]:
        """What each function of a channel is."""
        return [
            *([f"G1[{channel}]"] if self.g1 else []),
            *(f"G2[{channel}] eta={eta:g} r_s={r_s:g}" for eta in self.eta for r_s in self.r_s),
            *(f"G3[{channel}] kappa={kappa:g}" for kappa in self.kappa),
        ]

    @property
    def size(self) -> int:
        """How many functions there are in a channel."""
        return int(self.g1) + len(self.eta) * len(self.r_s) + len(self.kappa)


def values(functions: Radial, s: Surroundings) -> Float[Array, "s f"]:
    """Every function in every channel."""
    return _summed(_terms(functions, s)[0], s)


def values_and_jacobian(
    functions: Radial, s: Surroundings
) -> tuple[Float[Array, "s f"], Float[Array, "s f m 3"]]:
    """Also the derivatives by the vectors to the neighbours, in 1/Angstrom."""
    terms, slopes = _terms(functions, s)
    along = s.channel.T[:, None, :] * slopes[None, :, :]
    return _summed(terms, s), along[..., None] * s.direction[None, None]


def _terms(functions: Radial, s: Surroundings) -> tuple[Float[Array, "f m"], Float[Array, "f m"]]:
    """What each neighbour adds to each function, and its derivative by the distance."""
    r, cutoff, cutoff_slope = s.r[None, :], s.cutoff[None, :], s.cutoff_slope[None, :]
    terms, slopes = [], []
    if functions.g1:
        terms, slopes = [cutoff], [cutoff_slope]
    if functions.eta and functions.r_s:
        eta = column(functions.eta, s.r, 3)
        offset = (r - column(functions.r_s, s.r, 2))[None]
        gaussian = jnp.exp(-eta * offset**2)
        slope = gaussian * (cutoff_slope[None] - 2.0 * eta * offset * cutoff[None])
        terms.append((gaussian * cutoff[None]).reshape(-1, len(s.r)))
        slopes.append(slope.reshape(-1, len(s.r)))
    if functions.kappa:
        kappa = column(functions.kappa, s.r, 2)
        wave, wave_slope = jnp.cos(kappa * r), -kappa * jnp.sin(kappa * r)
        terms.append(wave * cutoff)
        slopes.append(wave * cutoff_slope + wave_slope * cutoff)
    if not terms:
        nothing = jnp.zeros((0, len(s.r)), s.r.dtype)
        return nothing, nothing
    return jnp.concatenate(terms), jnp.concatenate(slopes)


def _summed(terms: Float[Array, "f m"], s: Surroundings) -> Float[Array, "s f"]:
    # As a product and a sum, which fuse; a matrix product this small takes twice the time.
    return jnp.sum(s.channel.T[:, None, :] * terms[None], axis=-1)
