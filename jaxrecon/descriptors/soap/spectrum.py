r"""Power spectrum: invariant products of the coefficients of a density.

.. math:: p^{ab}_l = f_l \sum_m c^a_{lm} c^b_{lm}

where a and b stand for a channel and a radial function each. Programs differ in which of the equal
numbers :math:`p^{ab}_l = p^{ba}_l` they keep, in their order, and in the prefactor :math:`f_l`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.numerics import einsum

Convention = Literal["dscribe", "featomic", "quippy"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)
"""The names of the conventions."""

Compression = Literal["none", "mu2", "mu1nu1", "crossover"]
COMPRESSIONS: tuple[str, ...] = get_args(Compression)
"""The names of the compressions, those of DScribe."""


Summed = Callable[[Float[Array, "k b"]], Float[Array, "l b n jx"]]
"""Derivatives of the coefficients, times factors that are summed over each degree."""


class Entries(NamedTuple):
    """Which products make up a power spectrum, one entry each in every array.

    Attributes:
        first: index of the channel of the first factor.
        second: index of the channel of the second factor, not below :attr:`first`; 0 where the
            second factor is the sum of all channels.
        n: index of the radial function of the first factor.
        other_n: index of the radial function of the second factor.
        l: the degree.
        factor: what the sum over m is multiplied by.
    """

    first: Int[np.ndarray, " f"]
    second: Int[np.ndarray, " f"]
    n: Int[np.ndarray, " f"]
    other_n: Int[np.ndarray, " f"]
    l: Int[np.ndarray, " f"]
    factor: Float[np.ndarray, " f"]


@lru_cache(maxsize=256)
def entries(convention: str, compression: str, channels: int, n_max: int, l_max: int) -> Entries:
    r"""List the products of a power spectrum, in their order.

    - ``"dscribe"``: pairs of channels, then l, n and n'; each product once;
      :math:`f_l = \pi \sqrt{8/(2l+1)}`.
    - ``"featomic"``: pairs of channels, then l, n and n'; within one channel both (n, n') and
      (n', n); products of two channels times :math:`\sqrt 2`; :math:`f_l = (-1)^l/\sqrt{2l+1}`.
    - ``"quippy"``: pairs of a channel and a radial function, the first not below the second, then
      l; each product once, those of different factors times :math:`\sqrt 2`;
      :math:`f_l = 1/\sqrt{2l+1}`.

    Args:
        convention: one of :data:`CONVENTIONS`.
        compression: one of :data:`COMPRESSIONS`. ``"mu1nu1"`` multiplies each channel by the sum of
            all, ``"crossover"`` by itself alone; with ``"mu2"`` channels are no elements.
        channels: number of channels.
        n_max: number of radial functions.
        l_max: largest degree.

    Returns:
        The products.
    """
    mixed = compression == "mu1nu1"
    found = []
    for first in range(channels):
        for second in range(first, channels):
            if second != first and compression in ("mu1nu1", "crossover"):
                continue
            for n in range(n_max):
                # Within a channel the products with n and n' exchanged are equal.
                both = second != first or mixed or convention == "featomic"
                for other_n in range(0 if both else n, n_max):
                    for l in range(l_max + 1):
                        found.append((first, 0 if mixed else second, n, other_n, l))
    first, second, n, other_n, l = np.asarray(found).T
    if convention == "dscribe":
        factor = np.pi * np.sqrt(8.0 / (2 * l + 1))
    else:
        twice = first != second
        if convention == "quippy":
            twice |= n != other_n
        factor = np.sqrt(np.where(twice & (not mixed), 2.0, 1.0) / (2 * l + 1))
        if convention == "featomic":
            factor *= (-1.0) ** l
    # Bring them into the order of the convention; the last key is the most important one.
    quippy = (l, n, first, other_n, second)
    order = np.lexsort(quippy if convention == "quippy" else (other_n, n, l, second, first))
    return Entries(*(array[order] for array in (first, second, n, other_n, l, factor)))


def spectrum(
    chosen: Entries, coefficients: Float[Array, "k s n"], other: Float[Array, "k t n"]
) -> Float[Array, " f"]:
    """Compute a power spectrum.

    Args:
        chosen: its entries.
        coefficients: coefficients of the first factors, the harmonics along the first axis.
        other: coefficients of the second factors.

    Returns:
        One number for each entry.
    """
    count = _count(coefficients)
    products = [
        einsum("ma,mb->ab", _degree(coefficients, l), _degree(other, l)) for l in range(count)
    ]
    places = np.ravel_multi_index(_places(chosen, coefficients), (count, *products[0].shape))
    return jnp.stack(products).ravel()[jnp.asarray(places, int)] * _factor(chosen, coefficients)


def spectrum_jacobian(
    chosen: Entries,
    coefficients: Float[Array, "k s n"],
    other: Float[Array, "k t n"],
    summed: Summed,
    channel: Float[Array, "m s"],
    other_channel: Float[Array, "m t"],
) -> Float[Array, "f m 3"]:
    """Compute the derivatives of a power spectrum by vectors that change the coefficients.

    Args:
        chosen: its entries.
        coefficients: as for :func:`spectrum`.
        other: as for :func:`spectrum`.
        summed: the derivatives of the coefficients of a channel in which the weight of a vector is
            1, times factors that are summed over the harmonics of each degree.
        channel: weight of each vector in the channels of the first factors.
        other_channel: the same for the second factors.

    Returns:
        The derivatives.
    """
    # A vector changes the coefficients of its own channels alone: sum over m before the weights of
    # channels come in. The coordinates of all vectors are contiguous in what follows.
    count, n_max = _count(coefficients), coefficients.shape[2]
    ends = channel.shape[0]
    channel, other_channel = (
        jnp.repeat(weights.T, 3, axis=1) for weights in (channel, other_channel)
    )
    shape = (count, -1, n_max, n_max, 3 * ends)
    by_first = summed(coefficients.reshape(len(coefficients), -1)).reshape(shape)
    by_second = by_first
    if other is not coefficients:
        by_second = summed(other.reshape(len(other), -1)).reshape(shape)

    def of_pair(pair: tuple[Array, ...]) -> Float[Array, "l n n jx"]:
        first, second, factor = pair
        one = jnp.swapaxes(by_second[:, second], 1, 2) * channel[first][None, None, None]
        two = by_first[:, first] * other_channel[second][None, None, None]
        return factor[..., None] * (one + two)

    # Compute all products of each pair of channels, then choose among them where it is necessary.
    pairs, place = np.unique(np.stack([chosen.first, chosen.second]), axis=1, return_inverse=True)
    table = np.zeros((pairs.shape[1], count, n_max, n_max))
    entries = (place, chosen.l, chosen.n, chosen.other_n)
    table[entries] = chosen.factor
    first, second = (jnp.asarray(channel, int) for channel in pairs)
    factors = jnp.asarray(table, coefficients.dtype)
    products = jax.lax.map(of_pair, (first, second, factors)).reshape(table.size, -1)
    order = np.ravel_multi_index(entries, table.shape)
    if not np.array_equal(order, np.arange(table.size)):
        products = products[jnp.asarray(order, int)]
    return products.reshape(-1, ends, 3)


def summed(
    derivatives: Float[Array, "n k jx"], factors: Float[Array, "k b"]
) -> Float[Array, "l b n jx"]:
    """Multiply derivatives of coefficients by factors, and sum over the harmonics of each degree.

    Args:
        derivatives: by each coordinate.
        factors: one for each harmonic and column.

    Returns:
        The sums.
    """
    parts = [slice(l**2, (l + 1) ** 2) for l in range(_count(factors))]
    return jnp.stack([einsum("mb,nmj->bnj", factors[part], derivatives[:, part]) for part in parts])


def _count(coefficients: Array) -> int:
    """The number of degrees, from the number of harmonics."""
    return round(len(coefficients) ** 0.5)


def _degree(coefficients: Array, l: int) -> Array:
    """The coefficients of one degree, channels and radial functions along one axis."""
    return coefficients[l**2 : (l + 1) ** 2].reshape(2 * l + 1, -1)


def _places(chosen: Entries, coefficients: Array) -> tuple[np.ndarray, ...]:
    """Where the entries stand among the products of all pairs."""
    n_max = coefficients.shape[2]
    return chosen.l, chosen.first * n_max + chosen.n, chosen.second * n_max + chosen.other_n


def _factor(chosen: Entries, like: Array) -> Array:
    """The factors in the data type of an array."""
    return jnp.asarray(chosen.factor, like.dtype)
