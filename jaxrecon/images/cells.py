r"""Cells from their images: six directions, then least squares on all voxels.

Along a lattice vector or the sum of two, a voxel of value p has the distance
:math:`r = \sigma \sqrt{-2 \ln p}` from the middle (Noh et al., Matter 1, 1370 (2019)). The squares
of six such distances are the metric tensor by the cosine law. A symmetric strain of this cell then
minimises the squared difference of the whole image by the method of Levenberg and Marquardt.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxrecon.images.encode import transform_of
from jaxrecon.images.gaussians import cell_image, smallest_displacements
from jaxrecon.images.image import ROUND_OFF
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.numerics import product
from jaxrecon.search.levenberg_marquardt import NormalEquations, levenberg_marquardt, refine

DIRECTIONS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
"""The lattice vectors and their sums by twos."""

FEW, STEPS = 2, 12
"""Steps of Levenberg-Marquardt for a cell, and further ones if its image is not exactly this."""

MOST_STRAIN = 0.2
"""Largest strain in one of these steps."""

SHORTEST = 0.1
"""Edge in Angstrom under which a cell is none."""

CENTRAL = 0.2
"""Value from which on a voxel belongs to the Gaussian in the middle, if it is not exact."""

FLATTEST = 1e-3
"""Smallest volume of a cell in units of the product of its edges."""


class Cells(NamedTuple):
    """What images of cells say.

    Attributes:
        cells: lattice vectors in Angstrom, the first along x and the second in the plane of x and
            y; the unit cube where the image is that of no cell.
        found: whether the image is that of a cell.
        residual: largest absolute difference of the image and that of the cell, without a unit.
        errors: standard error of the longest edge in Angstrom, from all voxels.
    """

    cells: Float[np.ndarray, "batch 3 3"]
    found: Bool[np.ndarray, " batch"]
    residual: Float[np.ndarray, " batch"]
    errors: Float[np.ndarray, " batch"]


def cells_of_directions(
    images: Float[np.ndarray, "batch m m m"], parameters: ImageParameters
) -> tuple[Float[np.ndarray, "batch 3 3"], Bool[np.ndarray, " batch"]]:
    """Read cells from six directions of their images.

    In each direction the voxel is taken that is nearest to one standard deviation from the middle,
    where a Gaussian is steepest, and the one opposite to it.

    Args:
        images: finite images of cells.
        parameters: parameters of the images.

    Returns:
        The cells as in :class:`Cells`, and whether there is one.
    """
    middle = parameters.cell_grid // 2
    steps = np.arange(1, middle)
    voxels = (
        middle + steps[:, None] * DIRECTIONS[:, None],
        middle - steps[:, None] * DIRECTIONS[:, None],
    )
    one, other = (images[:, each[..., 0], each[..., 1], each[..., 2]] for each in voxels)
    values = np.clip(0.5 * (one.astype(np.float64) + other), np.finfo(np.float32).tiny, 1.0)
    best = np.argmin(np.abs(values - np.exp(-0.5)), axis=-1)[..., None]
    value = np.take_along_axis(values, best, axis=-1)[..., 0]
    squares = -2.0 * parameters.sigma**2 * np.log(value)
    squares *= (parameters.cell_grid / steps[best[..., 0]]) ** 2
    return _cells_of_metrics(_metrics(squares))


def fit_cells(images: Float[np.ndarray, "batch m m m"], parameters: ImageParameters) -> Cells:
    """Read cells from all voxels of their images.

    Args:
        images: finite images of cells.
        parameters: parameters of the images.

    Returns:
        The cells, their residuals and errors.
    """
    cells, found = cells_of_directions(images, parameters)
    for number in np.flatnonzero(~found):
        # The directions of an image of a network may contradict each other: all voxels vote.
        cells[number], found[number] = _cell_of_voxels(images[number], parameters)
    read = _refined(cells, found, images, parameters, FEW)
    # The directions of an image that no noise has disturbed are almost exact.
    inexact = np.flatnonzero(read.found & (read.residual > ROUND_OFF[images.dtype.name]))
    if len(inexact):
        # As many as before, some of them repeated: one program for any number of them.
        some = np.resize(inexact, len(images))
        again = _refined(read.cells[some], read.found[some], images[some], parameters, STEPS)
        for old, new in zip(read, again, strict=True):
            old[inexact] = new[: len(inexact)]
    return read


def _cell_of_voxels(
    image: Float[np.ndarray, "m m m"], parameters: ImageParameters
) -> tuple[Float[np.ndarray, "3 3"], bool]:
    """The cell whose squared distances -2 s^2 ln p = f G f fit best to all central voxels."""
    central = np.argwhere(image > CENTRAL)
    values = np.minimum(image[tuple(central.T)].astype(np.float64), 1.0)
    x, y, z = (central / parameters.cell_grid - 0.5).T
    columns = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * y * z, 2 * x * z], axis=1)
    squares = -2.0 * parameters.sigma**2 * np.log(values)
    # An error of p is one of ln p divided by p.
    solution = np.linalg.lstsq(columns * values[:, None], squares * values, rcond=None)[0]
    xx, yy, zz, xy, yz, xz = solution
    metric = np.array([[[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]])
    cells, found = _cells_of_metrics(metric)
    return cells[0], bool(found[0])


def _refined(
    cells: Float[np.ndarray, "batch 3 3"],
    found: Bool[np.ndarray, " batch"],
    images: Float[np.ndarray, "batch m m m"],
    parameters: ImageParameters,
    steps: int,
) -> Cells:
    """Fit cells to their images from a start."""
    starts = cells.astype(images.dtype).astype(np.float64)
    transforms = np.stack([transform_of(cell) for cell in starts])
    given = (each.astype(images.dtype) for each in (starts, transforms))
    solved = _program(parameters, steps)(*given, images)
    strains, gram, squared, residual = (np.array(each, np.float64) for each in solved)
    strained = starts @ (np.eye(3) + strains)
    refined, still = _cells_of_metrics(strained @ np.swapaxes(strained, 1, 2))
    # Standard errors: (J^T J)^-1 times the mean squared difference of a voxel.
    variance = squared / (images[0].size - len(DIRECTIONS))
    trace = np.trace(np.linalg.pinv(gram), axis1=1, axis2=2)
    longest = np.linalg.norm(refined, axis=2).max(axis=1)
    return Cells(refined, found & still, residual, np.sqrt(trace * variance) * longest)


def residuals(
    cells: Float[np.ndarray, "batch 3 3"],
    images: Float[np.ndarray, "batch m m m"],
    parameters: ImageParameters,
) -> Float[np.ndarray, " batch"]:
    """Compare images with those of cells.

    Args:
        cells: lattice vectors as rows in Angstrom.
        images: images of cells.
        parameters: parameters of the images.

    Returns:
        The largest absolute difference of a voxel, without a unit.
    """
    transforms = np.stack([transform_of(cell) for cell in cells])
    given = (each.astype(images.dtype) for each in (cells, transforms))
    return np.asarray(_comparison(parameters)(*given, images), dtype=np.float64)


@lru_cache
def _program(parameters: ImageParameters, steps: int) -> Any:
    """The compiled refinement of a batch of cells."""

    def one(cell: Array, transform: Array, image: Array) -> tuple[Array, Array, Array, Array]:
        away = smallest_displacements(cell, transform, parameters.cell_grid)

        def values_of(strain: Float[Array, "2 3"]) -> tuple[Array, Array]:
            moved = product(away, jnp.eye(3, dtype=away.dtype) + _symmetric(strain))
            return moved, jnp.exp(jnp.sum(moved**2, axis=1) * (-0.5 / parameters.sigma**2))

        def model(strain: Float[Array, "2 3"]) -> NormalEquations:
            moved, values = values_of(strain)
            rest = values - image.ravel()
            # Derivatives of the squared distance by the six components of the strain.
            crossed = jnp.stack(
                [
                    moved[:, j] * away[:, k] + (moved[:, k] * away[:, j] if j != k else 0.0)
                    for j, k in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
                ],
                axis=1,
            )
            slopes = crossed * (values * (-1.0 / parameters.sigma**2))[:, None]
            squared = jnp.sum(rest**2)
            return NormalEquations(
                product(slopes.T, slopes), product(slopes.T, rest), squared, squared
            )

        method = levenberg_marquardt(model, max_step=MOST_STRAIN)
        strain, squared = refine(method, jnp.zeros((2, 3), away.dtype), steps=steps)
        residual = jnp.max(jnp.abs(values_of(strain)[1] - image.ravel()))
        return _symmetric(strain), model(strain).gram, squared, residual

    return jax.jit(jax.vmap(one))


@lru_cache
def _comparison(parameters: ImageParameters) -> Any:
    """The compiled comparison of a batch of images with those of cells."""

    def one(cell: Array, transform: Array, image: Array) -> Array:
        return jnp.max(jnp.abs(cell_image(cell, transform, parameters) - image))

    return jax.jit(jax.vmap(one))


def _symmetric(strain: Float[Array, "2 3"]) -> Float[Array, "3 3"]:
    """The symmetric matrix with these components, in the notation of Voigt."""
    (xx, yy, zz), (yz, xz, xy) = strain
    return jnp.stack([jnp.stack([xx, xy, xz]), jnp.stack([xy, yy, yz]), jnp.stack([xz, yz, zz])])


def _metrics(squares: Float[np.ndarray, "batch 6"]) -> Float[np.ndarray, "batch 3 3"]:
    """Metric tensors from the squared lengths of three vectors and of their sums by twos."""
    metric = np.zeros((len(squares), 3, 3))
    for axis in range(3):
        metric[:, axis, axis] = squares[:, axis]
    for both, (i, j) in enumerate(((0, 1), (1, 2), (0, 2)), start=3):
        half = 0.5 * (squares[:, both] - squares[:, i] - squares[:, j])
        metric[:, i, j] = metric[:, j, i] = half
    return metric


def _cells_of_metrics(
    metrics: Float[np.ndarray, "batch 3 3"],
) -> tuple[Float[np.ndarray, "batch 3 3"], Bool[np.ndarray, " batch"]]:
    """Lower triangular cells of metric tensors, and which of the tensors are those of cells."""
    edges = np.sqrt(np.maximum(np.diagonal(metrics, axis1=1, axis2=2), 0.0))
    volumes = np.sqrt(np.maximum(np.linalg.det(metrics), 0.0))
    product_of_edges = edges.prod(axis=1)
    least = np.linalg.eigvalsh(metrics)[:, 0]
    found = (edges.min(axis=1) > SHORTEST) & (least > 0.0)
    found &= volumes > FLATTEST * product_of_edges
    usable = np.where(found[:, None, None], metrics, np.eye(3))
    return np.linalg.cholesky(usable), found
