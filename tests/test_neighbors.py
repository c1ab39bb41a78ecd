"""Neighbour vectors against ASE: free, in the minimum image, with all images; their derivatives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from neighbouring import PERIODIC, check, every, seen_by
from reference import displacements
from strategies import clusters, crystals, random_lattice, seeds

from jaxrecon.structures import bounds as bounds_module
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.neighbors import displacement, image_neighbors, neighbors
from jaxrecon.structures.structure import Bounds, Structure, from_ase, padded

pytestmark = pytest.mark.usefixtures("bins_past_many")


# All images, among all pairs


@pytest.mark.parametrize(
    ("atoms", "pbc", "edges", "r_cut"),
    [
        ((1,), PERIODIC[:1], (2.0, 3.5), 7.0),
        ((2, 3, 7), PERIODIC[:1], (3.0, 7.0), 5.0),
        ((1, 2, 6), [pbc for pbc in PERIODIC if sum(pbc) == 2], (2.0, 6.0), 6.0),
        ((1, 2, 6), [pbc for pbc in PERIODIC if sum(pbc) == 1], (2.0, 6.0), 8.0),
    ],
    ids=["primitive", "crystals", "slabs", "wires"],
)
def test_all_images_are_ases(
    atoms: tuple[int, ...], pbc: Sequence[tuple[bool, ...]], edges: tuple[float, ...], r_cut: float
) -> None:
    structures = [
        random_lattice(k, atoms[k % len(atoms)], pbc[k // 3 % len(pbc)], edges, missing=k % 2 == 1)
        for k in range(25)
    ]
    bounds = bounds_of(structures, r_cut)
    with jax.enable_x64(True):
        every_seen = seen_by(structures, r_cut, bounds, max(atoms) + 1)
    for structure, seen in zip(structures, every_seen, strict=True):
        check(seen, structure, r_cut)


# Derivatives


def smooth(xp, vectors, centre, species, mask, r_cut):
    """A function of lengths, directions and pairs that vanishes smoothly at the cutoff."""
    outer = 1.0 - (vectors**2).sum(-1) / r_cut**2
    weight = (1.0 + centre) * (1.0 + species % 5) * xp.where(mask & (outer > 0), outer, 0.0) ** 4
    return (weight * (1.0 + 0.5 * xp.sin(vectors @ xp.array([0.3, 0.5, 0.7])))).sum()


def by_ase(atoms: Atoms, r_cut: float) -> float:
    i, j, vectors = neighbor_list("ijD", atoms, r_cut)
    return smooth(np, vectors, i, atoms.numbers[j], True, r_cut)


def by_definition(atoms: Atoms, r_cut: float) -> float:
    """Minimum images: fractions rounded to whole cells along the axes that repeat."""
    direct = atoms.positions[None, :, :] - atoms.positions[:, None, :]
    cell = atoms.cell.array
    vectors = direct - np.where(atoms.pbc, np.round(direct @ np.linalg.inv(cell)), 0.0) @ cell
    centre = np.arange(len(atoms))[:, None]
    return smooth(
        np, vectors, centre, atoms.numbers[None, :], ~np.eye(len(atoms), dtype=bool), r_cut
    )


@partial(jax.jit, static_argnums=(1, 2))
def sloped(structures: Structure, r_cut: float, minimum: bool) -> tuple:
    def value(positions, cell, structure):
        moved = replace(structure, positions=positions, cell=cell)
        seen = neighbors(moved) if minimum else image_neighbors(moved, r_cut)
        centre = jnp.arange(len(positions))[:, None]
        return smooth(jnp, seen.vectors, centre, seen.species, seen.mask, r_cut)

    return jax.lax.map(
        lambda s: jax.value_and_grad(value, (0, 1))(s.positions, s.cell, s), structures
    )


def slope(
    value: Callable[[Atoms], float], atoms: Atoms, step: np.ndarray, turn: np.ndarray
) -> float:
    """Central difference for a step of the atoms and of the cell."""
    values = []
    for h in (1e-5, -1e-5):
        moved = atoms.copy()
        moved.positions += h * step
        moved.cell[:] += h * turn
        values.append(value(moved))
    return (values[0] - values[1]) / 2e-5


@pytest.mark.parametrize("kind", ["pairs", "bins", "minimum"])
def test_slopes_by_positions_and_cell_are_differences(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One program serves atoms up to three cells away."""
    monkeypatch.setattr(bounds_module, "MANY", 0 if kind == "bins" else 64)
    structures = [random_lattice(k, 4, pbc, (3.0, 6.0)) for k, pbc in enumerate(PERIODIC[:-1])]
    bounds = bounds_of(structures, 5.0)
    value = partial(by_definition if kind == "minimum" else by_ase, r_cut=5.0)
    with jax.enable_x64(True):
        batch = padded(structures, 5, replace(bounds, bins=None))
        found = sloped(replace(batch, bounds=bounds), 5.0, kind == "minimum")
    values, (by_all_positions, by_all_cells) = jax.device_get(found)
    for k, atoms in enumerate(structures):
        by_positions, by_cell = by_all_positions[k], by_all_cells[k]
        rng = np.random.default_rng(0)
        np.testing.assert_allclose(values[k], value(atoms), rtol=1e-10)
        np.testing.assert_array_equal(by_positions[4:], 0.0)
        strain = rng.normal(size=(3, 3))
        for step, turn in [
            (rng.normal(size=(4, 3)), np.zeros((3, 3))),
            (np.zeros((4, 3)), rng.normal(size=(3, 3))),
            (atoms.positions @ strain, atoms.cell.array @ strain),
        ]:
            along = (by_positions[:4] * step).sum() + (by_cell * turn).sum()
            scale = np.abs(by_positions[:4] * step).sum() + np.abs(by_cell * turn).sum()
            assert abs(along - slope(value, atoms, step, turn)) < 1e-7 * scale


# One displacement per pair: free, or minimum image


def test_displacement_is_from_the_second_to_the_first() -> None:
    a, b = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, -1.0, 4.0])
    np.testing.assert_allclose(displacement(None)(a, b), a - b)
    np.testing.assert_allclose(displacement(100.0 * jnp.eye(3))(a, b), a - b, atol=1e-5)


def test_free_space_is_jax_mds() -> None:
    from jax_md import space

    positions = jax.random.normal(jax.random.key(0), (6, 3))
    structure = Structure(positions, jnp.full(6, 78), jnp.ones(6, bool))
    expected = space.map_product(space.free()[0])(positions, positions)
    np.testing.assert_array_equal(neighbors(structure).vectors, expected)
    mapped = space.map_product(displacement(None))(positions, positions)
    np.testing.assert_array_equal(mapped, expected)


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
    assert not seen.overflow


@given(seed=seeds, pbc=st.sampled_from(PERIODIC[:-1]), missing=st.booleans())
@settings(max_examples=12)
def test_minimum_image_along_some_axes_is_ases(
    seed: int, pbc: tuple[bool, bool, bool], missing: bool
) -> None:
    rng = np.random.default_rng(seed)
    lengths = np.where(pbc, 1.0, 1.0 - missing) * rng.uniform(2, 9, 3)
    atoms = Atoms("HOPt", rng.normal(size=(3, 3)) * 20, cell=lengths, pbc=pbc)
    with jax.enable_x64(True):
        structure = from_ase(atoms)
        vectors = np.asarray(neighbors(structure).vectors)
        unsaid = np.asarray(neighbors(replace(structure, pbc=None)).vectors)
    direct = (atoms.positions[None, :, :] - atoms.positions[:, None, :]).reshape(-1, 3)
    expected = find_mic(direct, atoms.cell, pbc)[0]
    np.testing.assert_allclose(vectors.reshape(-1, 3), expected, atol=1e-12)
    # Without pbc all axes repeat.
    expected = find_mic(direct, structure.cell, True)[0]
    np.testing.assert_allclose(unsaid.reshape(-1, 3), expected, atol=1e-12)


# Requirements of compiled programs


def test_structures_of_one_size_and_bounds_share_a_program() -> None:
    traces = []

    @jax.jit
    def compiled(structure: Structure) -> jax.Array:
        traces.append(structure.bounds)
        return image_neighbors(structure, 4.0).vectors

    structures = [random_lattice(k, k + 1, PERIODIC[k], (3.0, 5.0)) for k in range(4)]
    bounds = bounds_of(structures, 4.0)
    for atoms in structures:
        # Equal bounds share a program: they need not be the same object.
        compiled(from_ase(atoms, 4, replace(bounds)))
    assert traces == [bounds]
    compiled(from_ase(structures[0], 4, replace(bounds, capacity=bounds.capacity + 8)))
    assert len(traces) == 2


def test_float32_after_float64_takes_no_long_numbers() -> None:
    """jax would warn of an array of 64 bits from the other program, and a warning is an error."""
    atoms = random_lattice(0, 2)
    bounds = bounds_of([atoms], 4.0)
    for enabled in (True, False):
        with jax.enable_x64(enabled):
            seen = every(replace(padded([atoms], 2, bounds), pbc=None), 4.0)
        assert seen.vectors.dtype == ("float64" if enabled else "float32")
        # Without pbc it repeats along all axes.
        assert seen.mask.sum() == len(neighbor_list("i", atoms, 4.0))


@pytest.mark.parametrize(
    ("pbc", "bounds", "got"),
    [(True, None, "cell=[[3. 0. 0.]"), (False, Bounds(8), "cell=None, bounds=Bounds(capacity=8")],
)
def test_images_need_a_cell_and_bounds(pbc: bool, bounds: Bounds | None, got: str) -> None:
    structure = from_ase(Atoms("H", cell=[3, 3, 3], pbc=pbc), bounds=bounds)
    expected = f"expected a structure with a cell and bounds=bounds_of(...), got {got}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        image_neighbors(structure, 5.0)
