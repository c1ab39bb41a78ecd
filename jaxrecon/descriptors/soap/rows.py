"""Rows of the power spectrum and their derivatives, from the environments of atoms."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.blocks import in_blocks
from jaxrecon.descriptors.soap import spectrum
from jaxrecon.descriptors.soap.expansion import (
    Density,
    coefficients,
    coefficients_with_jacobian,
)
from jaxrecon.descriptors.soap.spectrum import Entries, Summed
from jaxrecon.numerics import einsum, safe_norm
from jaxrecon.structures.neighbors import Neighbors

Channels = Callable[[Int[Array, " m"], Bool[Array, " m"]], Float[Array, "m s"]]
"""The weights in channels of atoms, from their atomic numbers and whether they are present."""


class Recipe(NamedTuple):
    """What a row is computed from.

    Attributes:
        density: how the density is made and expanded.
        convention: name of the convention of the power spectrum.
        compression: name of the compression.
        normalize: whether a row is divided by its length.
    """

    density: Density
    convention: str
    compression: str
    normalize: bool

    def entries(self, channels: int) -> Entries:
        """The products for a number of channels."""
        basis = self.density.basis
        return spectrum.entries(
            self.convention, self.compression, channels, basis.n_max, basis.l_max
        )

    def second(self, first: Float[Array, "a s ..."]) -> Float[Array, "a t ..."]:
        """The channels of the second factors: the sum of all, or those of the first factors."""
        return first.sum(axis=1, keepdims=True) if self.compression == "mu1nu1" else first


def row(
    recipe: Recipe, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
) -> Float[Array, " f"]:
    """Compute the row of one central atom.

    Args:
        recipe: what the row is computed from.
        vectors: vectors to the neighbours in Angstrom, the central atom at the vector zero.
        channel: weight of each neighbour in each channel; 0 in all of them for padding.

    Returns:
        The power spectrum.
    """
    return of_coefficients(recipe, coefficients(recipe.density, vectors, channel))


def of_coefficients(recipe: Recipe, expanded: Float[Array, "k s n"]) -> Float[Array, " f"]:
    """Compute the row of a density.

    Args:
        recipe: what the row is computed from.
        expanded: the coefficients of the density.

    Returns:
        The power spectrum.
    """
    products = recipe.entries(expanded.shape[1])
    return _normalized(recipe, spectrum.spectrum(products, expanded, recipe.second(expanded)))


def row_with_jacobian(
    recipe: Recipe, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
    """Compute the row of one central atom and its derivatives by the vectors.

    Args:
        recipe: as for :func:`row`.
        vectors: as for :func:`row`.
        channel: as for :func:`row`.

    Returns:
        The row and its derivatives in 1/Angstrom.
    """
    expanded, contributions = coefficients_with_jacobian(recipe.density, vectors, channel)
    return _from_coefficients(recipe, expanded, contributions.summed, channel)


def with_derivatives(
    recipe: Recipe,
    neighbors: Neighbors,
    source: Int[Array, "n k"] | None,
    channels: Channels,
    *,
    strain: bool,
) -> tuple[Float[Array, "n f"], Float[Array, "n f x 3"]]:
    """Compute the rows of all atoms and their derivatives by the positions.

    Args:
        recipe: what the rows are computed from.
        neighbors: the environments, the central atom last in each.
        source: index of the atom of which each other neighbour is an image; None where neighbour m
            is atom m.
        channels: weights of atoms in channels.
        strain: whether to add the derivatives by the strain of space.

    Returns:
        The rows; and their derivatives in 1/Angstrom, with those by the strain below them.
    """
    n, dtype = len(neighbors.vectors), neighbors.vectors.dtype
    if source is None:
        source = jnp.broadcast_to(jnp.arange(n)[None], (n, n))
    # The central atom is a neighbour that does not move.
    source = jnp.concatenate([source, jnp.full((n, 1), -1)], axis=1)
    moved = channels(neighbors.species[:, -1], neighbors.mask[:, -1])
    # A strain moves all neighbours: those of a channel like one atom, in six directions.
    count = moved.shape[1]
    directions = jnp.repeat(jnp.eye(count, dtype=dtype), 2, axis=0) if strain else moved[:0]
    moved = jnp.concatenate([moved, directions])

    def of_atom(atom: tuple[Array, ...]) -> tuple[Array, Array]:
        vectors, species, mask, source, center = atom
        channel = channels(species, mask)
        expanded, contributions = coefficients_with_jacobian(recipe.density, vectors, channel)
        present = jnp.where(mask[:, None], vectors, 0.0)
        images = nn.one_hot(source, n, dtype=dtype) * mask[:, None].astype(dtype)

        def of_radial(one: tuple[Array, Array]) -> Array:
            # Sum over the images of each atom, before the coefficients multiply.
            turned = contributions.of_radial(*one)
            ends = einsum("ja,kjx->kax", images, turned)
            if not strain:
                return ends
            sheared = einsum("js,jx,kjy->ksxy", channel, present, turned)
            symmetric = (sheared + jnp.swapaxes(sheared, 2, 3)) / 2.0
            six = symmetric[..., (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]
            return jnp.concatenate([ends, six.reshape(len(six), 2 * count, 3)], axis=1)

        by_radial = (contributions.along, contributions.radial)
        ends = jax.lax.map(of_radial, tuple(jnp.swapaxes(each, 0, 1) for each in by_radial))
        summed = partial(spectrum.summed, ends.reshape(*ends.shape[:2], -1))
        values, jacobian = _from_coefficients(recipe, expanded, summed, moved)
        # The vectors to all neighbours start at the central atom.
        whole = jacobian[:, :n].sum(axis=1, keepdims=True)
        start = nn.one_hot(center, n, dtype=dtype)[None, :, None]
        derivatives = jacobian[:, :n] - start * whole
        if strain:
            six = jacobian[:, n:].reshape(-1, count, 6).sum(axis=1)
            by_strain = six[:, ((0, 3, 4), (3, 1, 5), (4, 5, 2))]
            derivatives = jnp.concatenate([derivatives, by_strain], axis=1)
        return values, derivatives

    arrays = (neighbors.vectors, neighbors.species, neighbors.mask, source, jnp.arange(n))
    features = len(recipe.entries(count).l)
    return in_blocks(of_atom, arrays, 3 * features * (n + 3 * strain))


def _from_coefficients(
    recipe: Recipe,
    expanded: Float[Array, "k s n"],
    summed: Summed,
    channel: Float[Array, "m s"],
) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
    """The row, and its derivatives by vectors that change the coefficients of some channels."""
    products, second = recipe.entries(channel.shape[1]), recipe.second(expanded)
    values = spectrum.spectrum(products, expanded, second)
    jacobian = spectrum.spectrum_jacobian(
        products, expanded, second, summed, channel, recipe.second(channel)
    )
    if recipe.normalize:
        length = safe_norm(values)
        jacobian = jacobian / jnp.where(length > 0, length, 1.0)
        values = _normalized(recipe, values)
        along = jnp.sum(values[:, None, None] * jacobian, axis=0, keepdims=True)
        jacobian -= values[:, None, None] * along
    return values, jacobian


def _normalized(recipe: Recipe, values: Float[Array, " f"]) -> Float[Array, " f"]:
    """The row divided by its length, if the recipe says so; a row of zeros stays."""
    if not recipe.normalize:
        return values
    length = safe_norm(values)
    return values / jnp.where(length > 0, length, 1.0)
