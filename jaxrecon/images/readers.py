"""Atoms from basis images: the brightest voxels, or least squares with their number included."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage

from jaxrecon.images.encode import flat_size, sites_on_host
from jaxrecon.images.fit import Peaks, components, fit_peaks
from jaxrecon.images.gaussians import Sites, basis_images, edges, window
from jaxrecon.images.image import ROUND_OFF
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.images.peaks import SAME, distinct, local_maxima, parabolas

ROUNDS, UNCHANGED = 12, 2
"""Largest number of fits, and of those after which the number of atoms stays the same."""

BANDS = (0.15, 0.03, 0.006)
"""Part of the radius of an atom in which voxels are left out, by the number of fits since the
number of atoms has changed."""

EDGE = 1e-4
"""Half width, in units of the radius of an atom, of where a threshold may cut voxels off or not."""

HALF = 0.5
"""Part of an atom: the sum of squares is less with an atom than without it from there on."""

BESIDE = (0.10, 0.06, 0.03)
"""Displacement of an additional atom, in distances of two voxels, that puts it on no other one."""

LEAST_HEIGHT, MOST_HEIGHT = 0.1, 2.0
"""Heights of Gaussians in images that no crystal has."""

LEAST_SIGMA, MOST_SIGMA = 0.5, 3.0
"""Standard deviations of Gaussians in such images, in units of that of the parameters."""


class Reading(NamedTuple):
    """The atoms in a batch of crystals.

    Attributes:
        peaks: the atoms; their images are numbered crystal by crystal.
        heights: height of the peak of each atom, without a unit.
        errors: standard error of its position in Angstrom; not a number where it is not known.
        residual: for each crystal the largest absolute difference of its images and those of its
            atoms, without a unit.
    """

    peaks: Peaks
    heights: Float[np.ndarray, " k"]
    errors: Float[np.ndarray, " k"]
    residual: Float[np.ndarray, " batch"]


def read_brightest(
    basis: Float[np.ndarray, "batch channels n n n"], level: float, parameters: ImageParameters
) -> Reading:
    """Read atoms as Noh et al., Matter 1, 1370 (2019): each is at the brightest voxel of its peak.

    Args:
        basis: finite basis images of crystals.
        level: value of a voxel up to which it is no peak.
        parameters: parameters of the images.

    Returns:
        The atoms.
    """
    images = _flat(basis)
    peaks, heights, _ = _peaks(images, level, parameters)
    brightest = peaks._replace(offset=np.zeros_like(peaks.offset))
    residual = _compared(images, brightest, parameters)[1]
    errors = np.full(len(heights), np.nan)
    return Reading(brightest, heights, errors, _largest(residual, basis))


def read_fitted(
    basis: Float[np.ndarray, "batch channels n n n"], level: float, parameters: ImageParameters
) -> Reading:
    """Read atoms by least squares.

    All atoms have Gaussians of height 1 and the standard deviation of the parameters at first.
    Images that no atoms of this kind explain are read again with the median height and width of
    their peaks, and the reading with the smaller sum of squares counts.

    Args:
        basis: finite basis images of crystals.
        level: value of a voxel up to which it is no peak.
        parameters: parameters of the images.

    Returns:
        The atoms.
    """
    images = _flat(basis)
    count = len(images)
    start, heights, sigmas = _peaks(images, level, parameters)
    known = np.ones(count), np.full(count, parameters.sigma)
    peaks, errors, squared, residual = _settled(images, start, level, parameters, *known)
    inexact = residual > ROUND_OFF[images.dtype.name]
    if inexact.any() and len(start.which):
        several = range(count)
        middle = (ndimage.median(each, start.which, several) for each in (heights, sigmas))
        tall, wide = (np.nan_to_num(each, nan=1.0) for each in middle)
        tall = np.clip(tall, LEAST_HEIGHT, MOST_HEIGHT)
        wide = np.clip(wide / parameters.sigma, LEAST_SIGMA, MOST_SIGMA) * parameters.sigma
        some = start.select(inexact[start.which])
        again = _settled(images, some, level, parameters, tall, wide)
        better = inexact & (again[2] < squared)
        old, new = ~better[peaks.which], better[again[0].which]
        errors = np.concatenate([errors[old], again[1][new]])
        peaks = peaks.select(old).joined(again[0].select(new))
        residual = np.where(better, _compared(images, peaks, parameters)[1], residual)
    heights = parabolas(images, peaks.which, peaks.voxel, parameters)[1]
    return Reading(peaks, heights, errors, _largest(residual, basis))


def _flat(basis: Float[np.ndarray, "batch channels n n n"]) -> Float[np.ndarray, "which n n n"]:
    """All images after each other, with empty ones, so that few programs are compiled."""
    images = basis.reshape(-1, *basis.shape[2:])
    more = flat_size(*basis.shape[:2]) - len(images)
    return np.concatenate([images, np.zeros((more, *images.shape[1:]), images.dtype)])


def _largest(
    residual: Float[np.ndarray, " which"], basis: Float[np.ndarray, "batch channels n n n"]
) -> Float[np.ndarray, " batch"]:
    """The largest residual of the images of each crystal."""
    largest: np.ndarray = residual[: basis.shape[0] * basis.shape[1]].reshape(basis.shape[:2])
    return largest.max(axis=1)


def _peaks(
    images: Float[np.ndarray, "which n n n"], level: float, parameters: ImageParameters
) -> tuple[Peaks, Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Local maxima with their positions between voxels, heights and standard deviations."""
    which, index = local_maxima(images, level)
    offset, height, sigma = parabolas(images, which, index, parameters)
    peaks = Peaks(which, index, offset)
    # Of voxels that are equally near to one atom each is a maximum.
    kept = distinct(which, peaks.points(parameters), height, SAME * parameters.spacing)
    return peaks.select(kept), height[kept], sigma[kept]


def _settled(
    images: Float[np.ndarray, "which n n n"],
    peaks: Peaks,
    level: float,
    parameters: ImageParameters,
    heights: Float[np.ndarray, " which"],
    sigmas: Float[np.ndarray, " which"],
) -> tuple[
    Peaks, Float[np.ndarray, " k"], Float[np.ndarray, " which"], Float[np.ndarray, " which"]
]:
    """Fit, add and remove atoms until the images are explained or no change explains more of them.

    Returns:
        The atoms, their standard errors, and of each image the sum of squares and the residual.
    """
    errors = np.zeros(len(peaks.which))
    active = np.ones(len(images), bool)
    unchanged = np.zeros(len(images), int)
    for number in range(ROUNDS):
        # Fit the atoms of images that are not explained yet.
        here = active[peaks.which]
        if here.any():
            some = peaks.select(here)
            # The nearer the atoms are, the fewer voxels the threshold may cut off or not.
            bands = np.array(BANDS)[np.minimum(unchanged, UNCHANGED)]
            own = heights[some.which], sigmas[some.which], bands[some.which]
            moved, error = fit_peaks(images, some, parameters, *own)
            moved = moved.centred(parameters)
            peaks = peaks.select(~here).joined(moved)
            errors = np.concatenate([errors[~here], error])
        rest, residual, squared = _compared(images, peaks, parameters, heights, sigmas)
        active &= (residual > ROUND_OFF[images.dtype.name]) & (unchanged < UNCHANGED)
        if not active.any() or number == ROUNDS - 1:
            break
        # Remove the atom of each group that explains least, if images are nearer without it.
        gone = _superfluous(rest, peaks, parameters, heights, sigmas) & active[peaks.which]
        extra = _missing(rest, active, level, parameters, heights, sigmas)
        changed = np.zeros(len(images), bool)
        changed[peaks.which[gone]] = True
        changed[extra.which] = True
        unchanged = np.where(changed, 0, unchanged + 1)
        peaks = peaks.select(~gone).joined(extra)
        errors = np.concatenate([errors[~gone], np.zeros(len(extra.which))])
    return peaks, errors, squared, residual


def _superfluous(
    rest: Float[np.ndarray, "which n n n"],
    peaks: Peaks,
    parameters: ImageParameters,
    heights: Float[np.ndarray, " which"],
    sigmas: Float[np.ndarray, " which"],
) -> Bool[np.ndarray, " k"]:
    """Which atom of each group of overlapping ones increases the sum of squares, if any does."""
    if not len(peaks.which):
        return np.zeros(0, bool)
    part = _explained(rest, peaks, parameters, heights, sigmas)
    group = components(peaks, parameters)
    worst = ndimage.minimum(part, group, np.arange(group.max() + 1))
    gone: np.ndarray = (part < -HALF) & (part == worst[group])
    return gone


def _missing(
    rest: Float[np.ndarray, "which n n n"],
    active: Bool[np.ndarray, " which"],
    level: float,
    parameters: ImageParameters,
    heights: Float[np.ndarray, " which"],
    sigmas: Float[np.ndarray, " which"],
) -> Peaks:
    """Additional atoms at peaks of what is not explained, if they decrease the sum of squares."""
    which, index = local_maxima(rest, 0.5 * level)
    which, index = which[active[which]], index[active[which]]
    beside = np.broadcast_to(np.multiply(BESIDE, parameters.spacing), index.shape)
    extra = Peaks(which, index, beside.copy())
    part = _explained(rest, extra, parameters, heights, sigmas)
    # Of those that are near to each other only one is added at a time.
    extra, part = extra.select(part > HALF), part[part > HALF]
    return extra.select(distinct(extra.which, extra.points(parameters), part, parameters.radius))


def _explained(
    rest: Float[np.ndarray, "which n n n"],
    peaks: Peaks,
    parameters: ImageParameters,
    heights: Float[np.ndarray, " which"],
    sigmas: Float[np.ndarray, " which"],
) -> Float[np.ndarray, " k"]:
    """The part of each atom that the rest of the images has, by least squares: 1 for all of it."""
    near, grid = window(parameters), parameters.basis_grid
    squares = np.sum((near * parameters.spacing - peaks.offset[:, None]) ** 2, axis=-1)
    values = np.exp(-0.5 * squares / sigmas[peaks.which][:, None] ** 2)
    values *= heights[peaks.which][:, None] * (squares <= parameters.radius**2)
    voxels = peaks.voxel[:, None] + near
    values *= ((voxels >= 0) & (voxels < grid)).all(axis=-1)
    x, y, z = np.moveaxis(np.clip(voxels, 0, grid - 1), -1, 0)
    found = rest[peaks.which[:, None], x, y, z]
    part: np.ndarray = np.sum(found * values, axis=1) / np.maximum(np.sum(values**2, axis=1), 1e-12)
    return part


def _compared(
    images: Float[np.ndarray, "which n n n"],
    peaks: Peaks,
    parameters: ImageParameters,
    heights: Float[np.ndarray, " which"] | None = None,
    sigmas: Float[np.ndarray, " which"] | None = None,
) -> tuple[
    Float[np.ndarray, "which n n n"], Float[np.ndarray, " which"], Float[np.ndarray, " which"]
]:
    """The rest of images without atoms, its largest absolute value and its sum of squares."""
    points = peaks.points(parameters) - 0.5 * parameters.box
    sites = sites_on_host(points, peaks.which, parameters, images.dtype)
    more = len(sites.mask) - len(peaks.which)
    own = [
        np.ones(len(sites.mask)) * kind
        if each is None
        else np.pad(each[peaks.which], (0, more), constant_values=1.0)
        for each, kind in ((heights, 1.0), (sigmas, parameters.sigma))
    ]
    given = (each.astype(images.dtype) for each in own)
    rest, residual, squared = _comparison(parameters)(images, sites, *given)
    return np.asarray(rest), _float64(residual), _float64(squared)


@lru_cache
def _comparison(parameters: ImageParameters) -> Any:
    """The compiled difference of images and those of atoms."""

    def compare(
        images: Array, sites: Sites, heights: Array, sigmas: Array
    ) -> tuple[Array, Array, Array]:
        rest = images - basis_images(sites, len(images), parameters, heights, sigmas)
        either = edges(sites, len(images), parameters, EDGE)
        residual = jnp.max(jnp.where(either, 0.0, jnp.abs(rest)), axis=(1, 2, 3))
        return rest, residual, jnp.sum(rest**2, axis=(1, 2, 3))

    return jax.jit(compare)


def _float64(array: Array) -> np.ndarray:
    """An array of JAX as one of NumPy in float64."""
    return np.asarray(array, dtype=np.float64)
