r"""Positions of overlapping atoms by least squares on basis images.

Atoms of one image whose Gaussians overlap are one problem: all voxels around them are compared with
the sum of their Gaussians,

.. math:: \min_x \sum_v (p_v - \sum_b A \exp(-|v - x_b|^2 / 2 \sigma^2))^2,

by the method of Levenberg and Marquardt. Which atoms contribute to a voxel is that of the start:
voxels at whose distance the threshold may cut an atom off are left out.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from jaxrecon.images.gaussians import window
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.numerics import product
from jaxrecon.search.levenberg_marquardt import NormalEquations, levenberg_marquardt, refine

STEPS = 16
"""Steps of Levenberg-Marquardt for a problem of several atoms; one atom takes half of them."""

TOGETHER = 32
"""Number of atoms in a batch of problems, padding included: one program for each size of these."""


class Peaks(NamedTuple):
    """Atoms in several basis images, as arrays of NumPy.

    Attributes:
        which: the image of each atom.
        voxel: the voxel nearest to it.
        offset: its position relative to that voxel in Angstrom.
    """

    which: Int[np.ndarray, " k"]
    voxel: Int[np.ndarray, "k 3"]
    offset: Float[np.ndarray, "k 3"]

    def points(self, parameters: ImageParameters) -> Float[np.ndarray, "k 3"]:
        """Positions in the box in Angstrom."""
        return self.voxel * parameters.spacing + self.offset

    def select(self, kept: np.ndarray) -> "Peaks":
        """Select some of the atoms by a mask or by indices."""
        return Peaks(self.which[kept], self.voxel[kept], self.offset[kept])

    def joined(self, other: "Peaks") -> "Peaks":
        """All atoms of both."""
        return Peaks(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def centred(self, parameters: ImageParameters) -> "Peaks":
        """The same atoms, each relative to the voxel that is nearest to it now."""
        steps = np.round(self.offset / parameters.spacing)
        inner = np.clip(self.voxel + steps.astype(np.int64), 1, parameters.basis_grid - 2)
        moved = (inner - self.voxel) * parameters.spacing
        return Peaks(self.which, inner, self.offset - moved)


def components(peaks: Peaks, parameters: ImageParameters) -> Int[np.ndarray, " k"]:
    """Number the groups of atoms of one image whose Gaussians overlap.

    Args:
        peaks: the atoms.
        parameters: parameters of the images.

    Returns:
        The number of the group of each atom, from 0.
    """
    # Images far from each other along a fourth axis have no pairs.
    apart = 4.0 * (parameters.box + parameters.radius)
    points = np.column_stack([peaks.points(parameters), peaks.which * apart])
    near = 2.0 * parameters.radius + parameters.spacing
    first, second = cKDTree(points).query_pairs(near, output_type="ndarray").T
    count = len(peaks.which)
    linked = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    groups: np.ndarray = connected_components(linked, directed=False)[1]
    return groups


def fit_peaks(
    images: Float[np.ndarray, "which n n n"],
    peaks: Peaks,
    parameters: ImageParameters,
    heights: Float[np.ndarray, " k"],
    sigmas: Float[np.ndarray, " k"],
    bands: Float[np.ndarray, " k"],
) -> tuple[Peaks, Float[np.ndarray, " k"]]:
    """Move atoms to where their Gaussians make the images.

    Args:
        images: the basis images.
        peaks: the atoms, near to where they belong.
        parameters: parameters of the images.
        heights: height of the Gaussian of each atom, without a unit.
        sigmas: its standard deviation in Angstrom.
        bands: part of the radius of an atom, on both sides of it, in which voxels are left out.

    Returns:
        The moved atoms, and the standard errors of their positions in Angstrom.
    """
    group = components(peaks, parameters)
    sizes = np.bincount(group)
    offset, error = peaks.offset.copy(), np.zeros(len(group))
    # Problems of as many atoms, rounded up to a power of two, are solved together.
    rounded = 1 << np.ceil(np.log2(sizes)).astype(int)
    near = window(parameters, 0.5 * parameters.spacing)
    for size in np.unique(rounded):
        numbers = np.flatnonzero(rounded == size)
        batch = max(1, TOGETHER // int(size))
        for start in range(0, len(numbers), batch):
            some = numbers[start : start + batch]
            places = _padded(group, some, int(size), batch)
            given = _gathered(images, peaks, places, near, (heights, sigmas, bands))
            solved = _program(parameters, int(size))(*given)
            moved, gram, squared, voxels = (np.asarray(each, np.float64) for each in solved)
            real = places >= 0
            count = int(real.any(axis=1).sum())
            deviation = _errors(gram[:count], squared[:count], voxels[:count], real[:count])
            offset[places[real]] = moved[real]
            error[places[:count][real[:count]]] = deviation[real[:count]]
    return Peaks(peaks.which, peaks.voxel, offset), error


def _padded(
    group: np.ndarray, some: np.ndarray, size: int, batch: int
) -> Int[np.ndarray, "batch size"]:
    """The atoms of each problem of a batch, -1 for padding."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], some)
    counts = np.searchsorted(group[order], some, side="right") - starts
    columns = np.arange(size)
    places = order[np.minimum(starts[:, None] + columns, len(order) - 1)]
    places = np.where(columns < counts[:, None], places, -1)
    return np.pad(places, ((0, batch - len(some)), (0, 0)), constant_values=-1)


def _gathered(
    images: np.ndarray,
    peaks: Peaks,
    places: np.ndarray,
    near: np.ndarray,
    common: tuple[np.ndarray, ...],
) -> tuple[np.ndarray, ...]:
    """What the program of the problems takes: atoms, and the voxels around them."""
    dtype = images.dtype
    index, which = peaks.voxel[places], peaks.which[places]
    voxels = index[:, :, None] + near
    inside = ((voxels >= 0) & (voxels < images.shape[-1])).all(axis=-1)
    x, y, z = np.moveaxis(np.clip(voxels, 0, images.shape[-1] - 1), -1, 0)
    values = images[which[:, :, None], x, y, z]
    real = places >= 0
    # All atoms of a problem have the same height, width and band.
    height, sigma, band = (each[places[:, 0]].astype(dtype) for each in common)
    offset = peaks.offset[places].astype(dtype)
    return index.astype(np.int32), offset, real, values, inside, height, sigma, band


@lru_cache
def _program(parameters: ImageParameters, size: int) -> Any:
    """The compiled solution of a batch of problems of so many atoms."""
    near = window(parameters, 0.5 * parameters.spacing)
    steps = STEPS if size > 1 else STEPS // 2
    return jax.jit(jax.vmap(lambda *problem: _solve(problem, near, parameters, steps)))


def _solve(
    problem: tuple[Array, ...],
    near: Int[np.ndarray, "w 3"],
    parameters: ImageParameters,
    steps: int,
) -> tuple[Float[Array, "k 3"], Float[Array, "d d"], Float[Array, ""], Float[Array, ""]]:
    """Solve one problem; returns offsets, J^T J, the sum of squares and the number of voxels."""
    index, start, real, data, inside, height, sigma, band = problem
    dtype, spacing = start.dtype, parameters.spacing
    # Displacements from the voxel of atom b to the voxels around atom a: whole numbers of steps.
    whole = (index[:, None, None] - index[None, None]) + near[None, :, None]
    away = whole.astype(dtype) * spacing
    distances = jnp.sqrt(jnp.sum((away - start[None, None]) ** 2, axis=-1))
    member = (distances <= parameters.radius) & real[None, None]
    edge = jnp.any(
        (jnp.abs(distances * (1.0 / parameters.radius) - 1.0) < band) & real[None, None], axis=-1
    )
    # Each voxel counts once: around the atom that it is nearest to.
    owner = jnp.argmin(jnp.where(real[None, None], distances, jnp.inf), axis=-1)
    own = owner == jnp.arange(len(index))[:, None]
    counted = own & inside & real[:, None] & ~edge & jnp.any(member, axis=-1)
    weight = counted.astype(dtype)

    def model(offset: Float[Array, "k 3"]) -> NormalEquations:
        shift = away - offset[None, None]
        values = jnp.exp(jnp.sum(shift**2, axis=-1) * (-0.5 / sigma**2)) * height
        values = values * member.astype(dtype) * weight[..., None]
        rest = jnp.sum(values, axis=-1) - data * weight
        slopes = (values / sigma**2)[..., None] * shift
        slopes = slopes.reshape(-1, offset.size)
        squared = jnp.sum(rest**2)
        gram, gradient = product(slopes.T, slopes), product(slopes.T, rest.ravel())
        return NormalEquations(gram, gradient, squared, squared)

    method = levenberg_marquardt(model, max_step=0.5 * parameters.sigma)
    offset, squared = refine(method, start, steps=steps)
    return offset, model(offset).gram, squared, jnp.sum(weight)


def _errors(
    gram: Float[np.ndarray, "p d d"],
    squared: Float[np.ndarray, " p"],
    voxels: Float[np.ndarray, " p"],
    real: Bool[np.ndarray, "p k"],
) -> Float[np.ndarray, "p k"]:
    """Standard errors of positions: the variance of a voxel times the trace of (J^T J)^-1."""
    unknowns = 3 * real.sum(axis=1)
    variance = squared / np.maximum(voxels - unknowns, 1.0)
    padding = np.repeat(~real, 3, axis=1).astype(float)
    diagonal = np.diagonal(gram, axis1=1, axis2=2).max(axis=1)[:, None]
    # Padding has no curvature, and coincident atoms have none along some directions.
    shift = padding + (1e-7 * diagonal + np.finfo(np.float32).tiny) * (1.0 - padding)
    identity = np.eye(gram.shape[-1])
    inverse = np.linalg.inv(gram + shift[:, :, None] * identity)
    blocks = np.diagonal(inverse, axis1=1, axis2=2).reshape(len(gram), -1, 3).sum(axis=2)
    deviation: np.ndarray = np.sqrt(np.maximum(blocks, 0.0) * variance[:, None])
    return deviation
