"""Peaks of basis images: local maxima, and where between the voxels the Gaussians have them."""

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import get_distances
from jaxtyping import Bool, Float, Int

from jaxrecon.images.parameters import ImageParameters

SAME = 0.5
"""Distance, in those of two voxels, under which two peaks of one image are the same."""


AROUND = np.delete(np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3), 13, axis=0)
"""The 26 neighbours of a voxel."""


def local_maxima(
    images: Float[np.ndarray, "which n n n"], level: float
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, "k 3"]]:
    """Find the voxels that no neighbour exceeds, among 26, and that are higher than a level.

    Few voxels are above a level, and only these are compared with their neighbours.

    Args:
        images: the images.
        level: the level, without a unit.

    Returns:
        The image of each of these voxels, in order, and its indices, never on the surface of the
        box.
    """
    inner = images[:, 1:-1, 1:-1, 1:-1]
    which, x, y, z = np.nonzero(inner > level)
    neighbors = images[which, *(np.stack([x, y, z]) + 1 + AROUND[:, :, None]).swapaxes(0, 1)]
    highest = inner[which, x, y, z] >= neighbors.max(axis=0)
    return which[highest], np.stack([x, y, z], axis=1)[highest] + 1


def parabolas(
    images: Float[np.ndarray, "which n n n"],
    which: Int[np.ndarray, " k"],
    index: Int[np.ndarray, "k 3"],
    parameters: ImageParameters,
) -> tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    r"""Find peaks between voxels, where the logarithm of a Gaussian is a parabola.

    .. math:: x = \frac{h}{2} \frac{l_+ - l_-}{2 l_0 - l_+ - l_-}, \quad l = \ln p

    Args:
        images: the images.
        which: the image of each peak.
        index: its highest voxel, not on the surface of the box.
        parameters: parameters of the images.

    Returns:
        The positions relative to these voxels in Angstrom, at most one voxel away; the heights of
        the Gaussians without a unit; and their standard deviations in Angstrom.
    """
    step = parameters.spacing
    tiny = float(np.finfo(np.float32).tiny)

    def logarithm(shift: np.ndarray) -> np.ndarray:
        x, y, z = (index + shift).T
        return np.log(np.maximum(images[which, x, y, z].astype(np.float64), tiny))

    middle = logarithm(np.zeros(3, int))[:, None]
    ahead, back = (
        np.stack([logarithm(sign * each) for each in np.eye(3, dtype=int)], axis=1)
        for sign in (1, -1)
    )
    bend = np.maximum(2.0 * middle - ahead - back, 1e-9)
    offset = np.clip(0.5 * step * (ahead - back) / bend, -step, step)
    height = np.exp(np.minimum(middle[:, 0] + np.sum(bend * (offset / step) ** 2, axis=1) / 2, 9.0))
    return offset, height, step / np.sqrt(bend).mean(axis=1)


def distinct(
    which: Int[np.ndarray, " k"],
    points: Float[np.ndarray, "k 3"],
    heights: Float[np.ndarray, " k"],
    distance: float,
) -> Int[np.ndarray, " kept"]:
    """Choose the highest ones of peaks of one image that are near to each other.

    Args:
        which: the image of each peak.
        points: positions in Angstrom.
        heights: heights, without a unit.
        distance: smallest distance of two chosen peaks of one image, in Angstrom.

    Returns:
        Indices of the chosen peaks, in their order.
    """
    order = np.argsort(-heights, kind="stable")
    ranked, kinds = points[order], which[order]
    near = _closer(ranked, distance) & (kinds[:, None] == kinds)
    return np.sort(order[_first_of(near)])


def separated(
    atoms: Atoms,
    heights: Float[np.ndarray, " k"],
    min_distances: Mapping[tuple[str, str], float],
) -> Int[np.ndarray, " kept"]:
    """Choose atoms that keep minimum distances, as images of networks do not always do.

    Args:
        atoms: a crystal; positions and cell in Angstrom.
        heights: height of the peak of each atom; of two like atoms the higher one stays.
        min_distances: smallest distance of two elements in Angstrom; an atom of the second element
            goes where it is closer to one of the first.

    Returns:
        Indices of the chosen atoms, in their order.
    """
    kept = np.arange(len(atoms))
    for (stays, goes), distance in min_distances.items():
        distances = get_distances(atoms.positions[kept], cell=atoms.cell, pbc=atoms.pbc)[1]
        near = distances < distance
        numbers = atoms.numbers[kept]
        first, second = (numbers == atomic_numbers[each] for each in (stays, goes))
        if stays != goes:
            kept = kept[~(second & (near & first).any(axis=1))]
            continue
        order = np.argsort(-heights[kept], kind="stable")
        order = np.concatenate([order[~first[order]], order[first[order]]])
        pair = near & first[:, None] & first
        kept = kept[np.sort(order[_first_of(pair[order][:, order])])]
    return kept


def _closer(points: Float[np.ndarray, "k 3"], distance: float) -> Bool[np.ndarray, "k k"]:
    """Which pairs of points are closer than a distance."""
    near: np.ndarray = np.linalg.norm(points[:, None] - points, axis=-1) < distance
    return near


def _first_of(near: Bool[np.ndarray, "k k"]) -> Bool[np.ndarray, " k"]:
    """Choose one point after the other, unless it is near to one that has been chosen."""
    chosen = np.zeros(len(near), bool)
    # What is chosen depends on what was chosen before: points that are near to none need no look.
    near = near & ~np.eye(len(near), dtype=bool)
    chosen[~near.any(axis=1)] = True
    for place in np.flatnonzero(near.any(axis=1)):
        chosen[place] = not (near[place] & chosen).any()
    return chosen
