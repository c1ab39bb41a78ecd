"""Single-environment structures: distorted crystals in which all atoms have the same environment.

The energy of such a structure is that of each atom times their number, so a model that learns
total energies is held at this environment as firmly as if it learned the energy of one atom.
Source: Chong et al., J. Chem. Theory Comput. 19, 8020 (2023), arXiv 2306.15638.
"""

import numpy as np
from ase import Atoms
from ase.cell import Cell

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.local.environments import rows_of
from jaxrecon.runtime.seeds import checked_seed

ANGLE, LENGTH = 10.0, 0.25
"""Largest changes of an angle in degrees and of an edge in Angstrom."""

TOLERANCE = 1e-6
"""Largest difference of the rows of two atoms, relative to the largest number."""

TRIES = 1000
"""Number of random cells after which a crystal is given up."""


def single_environments(
    crystal: Atoms, descriptor: Descriptor, count: int, seed: int = 0, scale: float = 1.0
) -> list[Atoms]:
    """Distort the cell of a crystal so that all of its atoms still have the same environment.

    Angles and the edges a and b change at random, and c keeps the volume; the fractional
    coordinates stay. This leaves the atoms alike where a symmetry that any cell has, a translation
    or an inversion, turns each into the others, as in primitive cells of diamond, of fcc metals and
    of graphite in ABC stacking.

    Args:
        crystal: a crystal with a small cell, periodic along all three axes.
        descriptor: the descriptor by whose rows environments are compared.
        count: number of distorted crystals.
        seed: seed of the random cells.
        scale: size of the changes, relative to the published 10 degrees and 0.25 Angstrom. An
            energy of the crystal itself is held by variants near it alone.

    Returns:
        The distorted crystals.

    Raises:
        ValueError: if the structure is no crystal, the scale is not in (0, 1], or its atoms have
            different environments, as the two sites of graphite in AB stacking have.

    >>> from ase.build import bulk
    >>> from jaxrecon import SOAP
    >>> soap = SOAP(("C",), r_cut=3.0, n_max=3, l_max=2)
    >>> [len(atoms) for atoms in single_environments(bulk("C"), soap, 2)]
    [2, 2]
    """
    if not crystal.pbc.all():
        raise ValueError(
            f"expected a crystal, periodic along all axes, got pbc {crystal.pbc.tolist()}"
        )
    if count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}")
    if not 0.0 < scale <= 1.0:
        raise ValueError(f"expected a scale in (0, 1], got {scale}")
    random = np.random.default_rng(checked_seed(seed))
    parameters, volume = crystal.cell.cellpar(), crystal.cell.volume
    made: list[Atoms] = []
    for _ in range(TRIES):
        if len(made) == count:
            break
        changed = parameters.copy()
        changed[:2] += scale * random.uniform(-LENGTH, LENGTH, 2)
        changed[3:] += scale * random.uniform(-ANGLE, ANGLE, 3)
        # Some angles fit no cell.
        try:
            cell = Cell.fromcellpar(changed)
        except (AssertionError, ValueError):
            continue
        if not np.isfinite(cell.array).all() or cell.volume < 0.1 * volume:
            continue
        changed[2] *= volume / cell.volume
        distorted = crystal.copy()
        distorted.set_cell(Cell.fromcellpar(changed), scale_atoms=True)
        made.append(distorted)
    if len(made) < count:
        raise ValueError(
            f"expected a cell that can be distorted, got edges and angles {parameters.round(3)}"
        )
    rows = rows_of(made, descriptor, dtype=np.float64).reshape(count, len(crystal), -1)
    differences = np.abs(rows - rows[:, :1]).max(axis=(1, 2)) / np.abs(rows).max()
    if (largest := float(differences.max())) > TOLERANCE:
        raise ValueError(
            "expected a crystal whose atoms have one environment in any cell, got rows that differ "
            f"by {largest:.1e}: take a primitive cell of a crystal with one site, like diamond"
        )
    return made
