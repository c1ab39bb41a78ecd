"""Neighbours as ASE lists them and as this package lists them, in one form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import jax
import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from ase.neighborlist import neighbor_list

from jaxrecon.structures.neighbors import Neighbors, image_neighbors
from jaxrecon.structures.structure import Bounds, Structure, padded

PERIODIC = tuple(product((True, False), repeat=3))
"""Along all three axes first, along none last."""


@partial(jax.jit, static_argnums=1)
def every(batch: Structure, r_cut: float) -> Neighbors:
    return jax.lax.map(lambda structure: image_neighbors(structure, r_cut), batch)


def seen_by(
    structures: Sequence[Atoms], r_cut: float, bounds: Bounds, size: int
) -> list[Neighbors]:
    batch = jax.device_get(every(padded(structures, size, bounds), r_cut))
    return [Neighbors(*(leaf[k] for leaf in batch)) for k in range(len(structures))]


def listed(
    atoms: Atoms, i: np.ndarray, j: np.ndarray, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted neighbours as whole numbers: centre, source, and the cells between them."""
    direct = atoms.positions[j] - atoms.positions[i]
    cell = complete_cell(atoms.cell.array) if atoms.pbc.any() else np.eye(3)
    cells = np.rint((vectors - direct) @ np.linalg.inv(cell)).astype(int)
    keys = np.column_stack([i, j, cells])
    order = np.lexsort(keys.T[::-1])
    return keys[order], vectors[order]


def check(seen: Neighbors, atoms: Atoms, r_cut: float) -> None:
    assert not seen.overflow
    # Neighbours come before padding, and padded atoms have none.
    number = seen.mask.sum(axis=1)
    np.testing.assert_array_equal(seen.mask, np.arange(seen.mask.shape[1]) < number[:, None])
    assert not number[len(atoms) :].any()
    centre, _ = np.nonzero(seen.mask)
    source, vectors = seen.source[seen.mask], seen.vectors[seen.mask]
    np.testing.assert_array_equal(seen.species[seen.mask], atoms.numbers[source])
    keys, vectors = listed(atoms, centre, source, vectors)
    expected_keys, expected = listed(atoms, *neighbor_list("ijD", atoms, r_cut))
    np.testing.assert_array_equal(keys, expected_keys)
    np.testing.assert_allclose(vectors, expected, atol=1e-9)
