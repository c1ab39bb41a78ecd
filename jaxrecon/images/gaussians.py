r"""The two images of a crystal as pure functions of its cell and atoms.

The cell image is one Gaussian in the middle of a grid of fractional coordinates f that the cell A,
with its vectors as rows, distorts; the lattice repeats it:

.. math:: p(f) = \max_n \exp(-|(f - f_0 + n) A|^2 / 2 \sigma^2), \quad f_0 = (1/2, 1/2, 1/2)

A basis image is a grid of a cubic box with one Gaussian for each atom of an element. What an atom
adds to a voxel is 0 where it would be under the threshold.

Source: Noh et al., Matter 1, 1370 (2019). An atom is known by the voxel nearest to it and by its
offset from there, so that float32 keeps nine digits of it after the point of an Angstrom.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.images.parameters import ImageParameters
from jaxrecon.numerics import inverse_3x3, product

NEIGHBOURING = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:13]
"""Half of the cells around one, the others being opposite to these: the nearest image of a point in
a reduced cell is in it or in one of those around it."""


class Sites(NamedTuple):
    """Atoms in the basis images.

    Attributes:
        voxel: indices of the voxel nearest to each atom.
        offset: position of the atom minus that of this voxel, in Angstrom.
        channel: the image that the atom is in.
        mask: whether there is an atom; false for padding.
    """

    voxel: Int[Array | np.ndarray, "*batch k 3"]
    offset: Float[Array | np.ndarray, "*batch k 3"]
    channel: Int[Array | np.ndarray, "*batch k"]
    mask: Bool[Array | np.ndarray, "*batch k"]


@lru_cache
def window(parameters: ImageParameters, margin: float = 0.0) -> Int[np.ndarray, "w 3"]:
    """Voxels around an atom that it contributes to, relative to the voxel nearest to it.

    Args:
        parameters: parameters of the images.
        margin: additional distance in Angstrom up to which voxels are listed.

    Returns:
        The differences of indices.
    """
    far = (parameters.radius + margin) / parameters.spacing
    most = int(np.floor(far + 0.5))
    every = np.stack(np.meshgrid(*[np.arange(-most, most + 1)] * 3, indexing="ij"), axis=-1)
    every = every.reshape(-1, 3).astype(np.int32)
    # An atom is anywhere in the cube around its voxel.
    nearest = np.maximum(np.abs(every) - 0.5, 0.0)
    return every[np.sum(nearest**2, axis=1) <= far**2]


def smallest_displacements(
    cell: Float[Array, "3 3"], transform: Float[Array, "3 3"], grid: int
) -> Float[Array, "voxels 3"]:
    """Displacement of each voxel of a cell image from the nearest image of the middle.

    Args:
        cell: lattice vectors as rows in Angstrom.
        transform: whole numbers that make the lattice vectors of the reduced ones.
        grid: number of voxels along each lattice vector.

    Returns:
        The displacements in Angstrom.
    """
    axis = (np.arange(grid) / grid - 0.5).astype(cell.dtype)
    fractions = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    # In a reduced cell the nearest image is in this cell or in one of those around it.
    reduced = product(jnp.round(inverse_3x3(transform)), cell)
    within = product(jnp.asarray(fractions), transform)
    within = within - jnp.round(within)
    shifts = product(jnp.asarray(NEIGHBOURING, cell.dtype), reduced)
    points = product(within, reduced)
    least, nearest = jnp.zeros(len(points), cell.dtype), points
    for shift in shifts:
        # Of s and -s the better one changes |p|^2 by |s|^2 - 2 |p s|.
        along = jnp.sum(points * shift[None], axis=1)
        change = jnp.sum(shift**2) - 2.0 * jnp.abs(along)
        moved = points - jnp.sign(along)[:, None] * shift[None]
        nearest = jnp.where((change < least)[:, None], moved, nearest)
        least = jnp.minimum(least, change)
    return nearest


def cell_image(
    cell: Float[Array, "3 3"], transform: Float[Array, "3 3"], parameters: ImageParameters
) -> Float[Array, "m m m"]:
    """The cell image: the first equation of the module.

    Args:
        cell: lattice vectors as rows in Angstrom.
        transform: whole numbers that make the lattice vectors of the reduced ones.
        parameters: parameters of the images.

    Returns:
        The image, without a unit.
    """
    grid = parameters.cell_grid
    squares = jnp.sum(smallest_displacements(cell, transform, grid) ** 2, axis=1)
    return jnp.exp(squares * (-0.5 / parameters.sigma**2)).reshape(grid, grid, grid)


def sites_of(
    positions: Float[Array, "k 3"],
    channel: Int[Array, " k"],
    mask: Bool[Array, " k"],
    parameters: ImageParameters,
) -> Sites:
    """Find the voxels that atoms are nearest to, with derivatives by the positions.

    Args:
        positions: positions relative to the middle of the box, in Angstrom.
        channel: the basis image of each atom.
        mask: whether there is an atom.
        parameters: parameters of the images.

    Returns:
        The atoms in the basis images.
    """
    steps = jax.lax.stop_gradient(jnp.round(positions / parameters.spacing))
    index = steps.astype(int) + parameters.basis_grid // 2
    return Sites(index, positions - steps * parameters.spacing, channel, mask)


def basis_images(
    sites: Sites,
    channels: int,
    parameters: ImageParameters,
    heights: Float[Array, " k"] | None = None,
    sigmas: Float[Array, " k"] | None = None,
) -> Float[Array, "channels n n n"]:
    """The basis images, one for each element.

    Only voxels around the atoms are computed.

    Args:
        sites: the atoms.
        channels: number of images.
        parameters: parameters of the images.
        heights: height of the Gaussian of each atom, without a unit; None for 1.
        sigmas: its standard deviation in Angstrom; None for that of the parameters.

    Returns:
        The images, without a unit.
    """
    grid, dtype = parameters.basis_grid, sites.offset.dtype
    which, voxels, squares, counted = _around(sites, parameters)
    width = jnp.asarray(parameters.sigma, dtype) if sigmas is None else sigmas[:, None]
    values = jnp.exp(-0.5 * squares / width**2)
    if heights is not None:
        values = values * heights[:, None]
    within = counted & (squares <= parameters.radius**2)
    x, y, z = jnp.moveaxis(voxels, -1, 0)
    empty = jnp.zeros((channels, grid, grid, grid), dtype)
    return empty.at[which, x, y, z].add(jnp.where(within, values, 0.0))


def edges(
    sites: Sites, channels: int, parameters: ImageParameters, part: float
) -> Bool[Array, "channels n n n"]:
    """Find the voxels that the threshold may cut off or not, as the last digits of atoms decide.

    Args:
        sites: the atoms.
        channels: number of images.
        parameters: parameters of the images.
        part: half of the width of this range in units of the radius of an atom.

    Returns:
        Whether a voxel is one of them.
    """
    grid = parameters.basis_grid
    which, voxels, squares, counted = _around(sites, parameters)
    low, high = ((parameters.radius * (1.0 + sign * part)) ** 2 for sign in (-1, 1))
    x, y, z = jnp.moveaxis(voxels, -1, 0)
    empty = jnp.zeros((channels, grid, grid, grid), bool)
    return empty.at[which, x, y, z].max(counted & (squares > low) & (squares < high))


def _around(sites: Sites, parameters: ImageParameters) -> tuple[Array, Array, Array, Array]:
    """Image, indices and squared distances of the voxels around atoms, and which of them count."""
    near, grid = window(parameters), parameters.basis_grid
    steps = jnp.asarray(near * parameters.spacing, sites.offset.dtype)
    squares = jnp.sum((steps[None] - sites.offset[:, None]) ** 2, axis=-1)
    voxels = sites.voxel[:, None] + jnp.asarray(near, sites.voxel.dtype)[None]
    inside = jnp.all((voxels >= 0) & (voxels < grid), axis=-1)
    which = jnp.broadcast_to(sites.channel[:, None], squares.shape)
    # Indices outside are replaced, as negative ones would count from the end.
    counted = jnp.asarray(sites.mask)[:, None] & inside
    return which, jnp.clip(voxels, 0, grid - 1), squares, counted
