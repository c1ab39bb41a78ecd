"""Neighbour vectors against ASE: free, in the minimum image, with all images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from reference import displacements
from strategies import clusters, crystals, random_crystal, seeds

from jaxrecon.space import (
    bounds_of,
    bounds_within,
    displacement,
    image_neighbors,
    neighbors,
)
from jaxrecon.structures import Images, from_ase


def test_displacement_is_from_the_second_to_the_first() -> None:
    a, b = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, -1.0, 4.0])
    np.testing.assert_allclose(displacement(None)(a, b), a - b)
    np.testing.assert_allclose(displacement(100.0 * jnp.eye(3))(a, b), a - b, atol=1e-5)


@given(seed=seeds)
@settings(max_examples=5)
def test_minimum_image_of_an_orthorhombic_cell_is_ases(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths, a, b = rng.uniform(2, 9, 3), rng.normal(size=3) * 20, rng.normal(size=3) * 20
    with jax.enable_x64(True):
        vector = np.asarray(displacement(jnp.diag(jnp.asarray(lengths)))(*map(jnp.asarray, (a, b))))
    np.testing.assert_allclose(vector, find_mic(a - b, np.diag(lengths))[0], atol=1e-12)


@given(atoms=clusters(largest=6) | crystals(largest=6))
@settings(max_examples=12)
def test_neighbors_are_all_others(atoms: Atoms) -> None:
    n = len(atoms)
    with jax.enable_x64(True):
        seen = neighbors(from_ase(atoms, size=7))
    np.testing.assert_allclose(seen.vectors[:n, :n], displacements(atoms), atol=1e-12)
    np.testing.assert_array_equal(seen.mask[:n, :n], ~np.eye(n, dtype=bool))
    assert not seen.mask[n:].any()
    assert not seen.mask[:, n:].any()
    np.testing.assert_array_equal(seen.species[:, :n], np.broadcast_to(atoms.numbers, (7, n)))
    assert seen.source is None


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.round(6).T[::-1])]


def expected_rows(atoms: Atoms, r_cut: float) -> np.ndarray:
    i, j, vectors = neighbor_list("ijD", atoms, r_cut)
    return sorted_rows(np.column_stack([i, atoms.numbers[j], j, vectors]))


@pytest.mark.parametrize(
    ("seed", "count", "r_cut"),
    [(0, 1, 6.0), (1, 2, 1.5), (2, 3, 9.0), (3, 5, 4.0), (4, 8, 6.0), (5, 4, 6.0)],
)
def test_all_images_are_ases(seed: int, count: int, r_cut: float) -> None:
    atoms = random_crystal(seed, count)
    # Where the atoms are written does not matter: some cells away, and beside the origin.
    rng = np.random.default_rng(seed)
    atoms.positions += rng.integers(-3, 4, (count, 3)) @ atoms.cell.array
    images = bounds_of([atoms], r_cut)
    size = count + seed % 2
    with jax.enable_x64(True):
        seen = image_neighbors(from_ase(atoms, size, images), r_cut)
    mask = np.asarray(seen.mask)
    assert seen.vectors.shape == (size, images.capacity, 3)
    assert not mask[count:].any()
    centre = np.nonzero(mask)[0]
    rows = [centre, seen.species[mask], seen.source[mask], seen.vectors[mask]]
    expected = expected_rows(atoms, r_cut)
    assert len(centre) == len(expected)
    np.testing.assert_allclose(sorted_rows(np.column_stack(rows)), expected, atol=1e-9)


def test_bounds_for_moving_atoms_hold_even_crystals() -> None:
    for atoms, r_cut in [(bulk("Pt", cubic=True), 6.0), (bulk("NaCl", "rocksalt", a=5.64), 8.0)]:
        needed = bounds_of([atoms], r_cut)
        bounds = bounds_within(atoms.cell.array, r_cut, len(atoms))
        assert bounds.counts == needed.counts
        assert bounds.capacity >= needed.capacity


def test_bounds_of_several_structures_hold_each() -> None:
    structures = [random_crystal(seed, 3) for seed in range(4)]
    together = bounds_of(structures, 5.0)
    for atoms in structures:
        alone = bounds_of([atoms], 5.0)
        assert all(t >= a for t, a in zip(together.counts, alone.counts, strict=True))
        assert together.capacity >= alone.capacity


def test_atoms_out_of_reach() -> None:
    atoms = Atoms("Pt", cell=np.eye(3) * 9.0, pbc=True)
    images = bounds_of([atoms], 4.0)
    assert not image_neighbors(from_ase(atoms, bounds=bounds), 4.0).mask.any()


def test_the_nearest_are_kept() -> None:
    atoms = random_crystal(7, 4)
    counts = bounds_of([atoms], 6.0).counts
    with jax.enable_x64(True):
        seen = image_neighbors(from_ase(atoms, images=Images(counts, 5)), 6.0)
    assert seen.mask.all()
    centre, distance = neighbor_list("id", atoms, 6.0)
    for i in range(4):
        kept = np.sort(np.linalg.norm(seen.vectors[i], axis=-1))
        np.testing.assert_allclose(kept, np.sort(distance[centre == i])[:5], atol=1e-9)


@pytest.mark.parametrize("case", ["no images", "no cell"])
def test_images_need_bounds(case: str) -> None:
    atoms = random_crystal(0, 2)
    atoms.pbc = case == "no images"
    with pytest.raises(
        ValueError, match=r"expected a periodic structure with images=.*, got cell="
    ):
        image_neighbors(from_ase(atoms), 5.0)
