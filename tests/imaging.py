"""Crystals for tests of images, and the images by NumPy in float64."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from jaxrecon import rmsd
from jaxrecon.images import ImageParameters

COARSE = ImageParameters(cell_grid=16, basis_grid=32, sigma=0.5)
"""Parameters with few voxels."""


def crystals(count: int, seed: int = 0, *, least: float = 1.1) -> list[Atoms]:
    """Triclinic crystals of two or three elements, whose like atoms keep a distance."""
    random = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        lengths, angles = random.uniform(4.0, 7.5, 3), random.uniform(65.0, 115.0, 3)
        numbers = random.choice([8, 23, 38], size=int(random.integers(3, 9)))
        atoms = Atoms(
            numbers,
            cell=[*lengths, *angles],
            pbc=True,
            scaled_positions=random.random((len(numbers), 3)),
        )
        distances = atoms.get_all_distances(mic=True) + 9.0 * np.eye(len(atoms))
        if distances.min() > least and len({*numbers}) > 1:
            found.append(atoms)
    return found


def cell_image(atoms: Atoms, parameters: ImageParameters) -> np.ndarray:
    """The cell image, with distances of ASE."""
    grid = parameters.cell_grid
    axis = np.arange(grid) / grid - 0.5
    fractions = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = find_mic(fractions @ atoms.cell.array, atoms.cell)[1]
    return np.exp(-(distances**2) / (2 * parameters.sigma**2)).reshape(grid, grid, grid)


def basis_images(
    atoms: Atoms, elements: tuple[str, ...], parameters: ImageParameters
) -> np.ndarray:
    """The basis images, with all voxels for each atom."""
    _, rotation = atoms.cell.standard_form()
    centred = (atoms.positions - atoms.positions.mean(axis=0)) @ np.asarray(rotation).T
    axis = np.arange(parameters.basis_grid) * parameters.spacing - 0.5 * parameters.box
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    images = np.zeros((len(elements), *points.shape[:3]))
    for symbol, position in zip(atoms.symbols, centred, strict=True):
        values = np.exp(-np.sum((points - position) ** 2, axis=-1) / (2 * parameters.sigma**2))
        images[elements.index(symbol)] += np.where(values < parameters.threshold, 0.0, values)
    return images


def deviation(found: Atoms, truth: Atoms) -> float:
    """The largest deviation in Angstrom, of a cell vector or of the atoms in the cell."""
    standard = truth.cell.standard_form()[0]
    edges = float(np.abs(found.cell.array - standard).max())
    return max(edges, rmsd(found, truth))
