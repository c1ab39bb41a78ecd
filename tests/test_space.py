"""Neighbour vectors against ASE: free, in the minimum image, with all images, from a cell list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import complete_cell, find_mic
from ase.neighborlist import neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import displacements
from strategies import clusters, crystals, lattices, random_frame, random_lattice, seeds

from jaxrecon import bounds as bounds_module
from jaxrecon.bounds import ASIDE, bounds_of
from jaxrecon.space import Neighbors, displacement, image_neighbors, neighbors
from jaxrecon.structures import Bounds, Structure, from_ase, padded

PERIODIC = tuple(product((True, False), repeat=3))
"""Along all three axes first, along none last."""


@pytest.fixture(autouse=True)
def bins_past_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins for many atoms even where pairs are less work, so that small structures test them."""
    monkeypatch.setattr(bounds_module, "_less_work", lambda _, among_bins, __: among_bins)


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
    """Neighbours in order, by whole numbers: centre, source, and the cells between them."""
    direct = atoms.positions[j] - atoms.positions[i]
    cell = complete_cell(atoms.cell.array) if atoms.pbc.any() else np.eye(3)
    cells = np.rint((vectors - direct) @ np.linalg.inv(cell)).astype(int)
    keys = np.column_stack([i, j, cells])
    order = np.lexsort(keys.T[::-1])
    return keys[order], vectors[order]


def check(seen: Neighbors, atoms: Atoms, r_cut: float) -> None:
    assert not seen.overflow
    # What is there comes first, and nothing is there for padding.
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


# A cell list


SHAPES = {
    "triclinic": (100, (13.0, 14.0, 15.0), 4.0),
    "many bins": (280, (16.0, 20.0, 18.0), 3.0),
    "narrow": (70, (3.0, 4.0, 45.0), 5.0),
    "flat": (100, (20.0, 22.0, 3.0), 4.0),
}
"""Atoms, edges and cutoff in Angstrom."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cell_list_is_ases_neighbor_list(shape: str) -> None:
    """Along three, two, one and no axes, some of the vectors along the others missing."""
    atoms, edges, r_cut = SHAPES[shape]
    structures = [
        random_lattice(k, atoms - k % 3, pbc, edges, missing=k % 2 == 1)
        for k, pbc in enumerate(PERIODIC)
    ]
    # Padding is as much as there are bins, and more.
    bounds, size = bounds_of(structures, r_cut, size=atoms + 30), atoms + 30
    assert bounds.bins is not None
    with jax.enable_x64(True):
        every_seen = seen_by(structures, r_cut, bounds, size)
    for structure, seen in zip(structures, every_seen, strict=True):
        check(seen, structure, r_cut)


def check_rounded(seen: Neighbors, atoms: Atoms, r_cut: float) -> None:
    """In float32 a neighbour at the cutoff may fall to either side of it."""
    assert not seen.overflow
    assert seen.vectors.dtype == np.float32
    centre, _ = np.nonzero(seen.mask)
    found = [listed(atoms, centre, seen.source[seen.mask], seen.vectors[seen.mask])]
    found.append(listed(atoms, *neighbor_list("ijD", atoms, r_cut + 1e-4)))
    ours, theirs = ({tuple(k): v for k, v in zip(*f, strict=True)} for f in found)
    assert set(ours) <= set(theirs)
    missing = [theirs[key] for key in set(theirs) - set(ours)]
    assert all(np.linalg.norm(vector) > r_cut - 1e-4 for vector in missing)
    np.testing.assert_allclose([ours[k] for k in ours], [theirs[k] for k in ours], atol=1e-4)


@pytest.mark.parametrize("many", [64, 0], ids=["pairs", "bins"])
def test_float32(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds_module, "MANY", many)
    structures = [random_lattice(k, 8, pbc, (4.0, 6.0)) for k, pbc in enumerate(PERIODIC)]
    structures = [atoms for atoms in structures if atoms.pbc.any() or not many]
    bounds = bounds_of(structures, 5.0)
    assert (bounds.bins is None) == bool(many)
    for atoms, seen in zip(structures, seen_by(structures, 5.0, bounds, 8), strict=True):
        check_rounded(seen, atoms, 5.0)


@pytest.mark.parametrize(
    ("atoms", "r_cut", "enabled"),
    [
        (bulk("Si", cubic=True).repeat(3), 5.0, False),
        (bulk("Mg").repeat((6, 6, 4)), 5.0, True),
    ],
    ids=["Si", "Mg"],
)
def test_crystals_have_planes_of_atoms_on_the_faces_of_bins(
    atoms: Atoms, r_cut: float, enabled: bool
) -> None:
    bounds = bounds_of([atoms], r_cut)
    with jax.enable_x64(enabled):
        (seen,) = seen_by([atoms], r_cut, bounds, len(atoms))
    (check if enabled else check_rounded)(seen, atoms, r_cut)


@pytest.mark.parametrize("enabled", [False, True], ids=["float32", "float64"])
def test_atoms_on_the_faces_of_the_cell(enabled: bool) -> None:
    special = [0.0, 1.0 - 2.0**-53, 1.0, -1e-17, -1e-9, 1.0 - 1e-8, 1.0 - 1e-4, -1e-4, 1 / 3]
    rng = np.random.default_rng(0)
    atoms = random_lattice(0, 90, edges=(14.0, 15.0, 16.0))
    atoms.set_scaled_positions(rng.choice(special, (90, 3)) + 0.003 * rng.random((90, 1)).round())
    atoms.positions += rng.normal(size=(90, 3)) * np.where(rng.random((90, 1)) < 0.3, 1.0, 0.0)
    bounds = bounds_of([atoms], 4.0)
    with jax.enable_x64(enabled):
        (seen,) = seen_by([atoms], 4.0, bounds, 90)
    (check if enabled else check_rounded)(seen, atoms, 4.0)


def test_large_free_clusters() -> None:
    rng = np.random.default_rng(0)
    ball = Atoms("Pt260", rng.normal(size=(260, 3)) * 8 + 100.0)
    flat = Atoms("O100", rng.normal(size=(100, 3)) * [9, 9, 0])
    chain = Atoms("H70", np.arange(70)[:, None] * [0.0, 1.1, 0.0])
    structures = [ball, flat, chain]
    bounds = bounds_of(structures, 4.0, size=270)
    with jax.enable_x64(True):
        every_seen = seen_by(structures, 4.0, bounds, 270)
    for atoms, seen in zip(structures, every_seen, strict=True):
        check(seen, atoms, 4.0)


def test_many_atoms_among_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are looked at together; some bounds are made for cell lists only."""
    monkeypatch.setattr(bounds_module, "MANY", 1000)
    atoms = random_lattice(0, 300, (True, False, True), (15.0, 20.0, 18.0))
    bounds = bounds_of([atoms], 3.0)
    assert bounds.bins is None
    with jax.enable_x64(True):
        (seen,) = seen_by([atoms], 3.0, bounds, 300)
    check(seen, atoms, 3.0)


# Too small bounds, and just enough


@pytest.fixture(params=[64, 0], ids=["pairs", "bins"])
def tight(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, quick_compile: None
) -> tuple[Atoms, Bounds]:
    """Nine atoms, and bounds within 4 Angstrom that have no place to spare."""
    monkeypatch.setattr(bounds_module, "MANY", request.param)
    atoms = random_lattice(3, 9, edges=(6.0, 7.0, 8.0))
    bounds = bounds_of([atoms], 4.0)
    capacity, crowded = int(np.bincount(neighbor_list("i", atoms, 4.0)).max()), 0
    if bounds.bins is not None:
        place = np.floor((atoms.get_scaled_positions() + ASIDE) % 1.0 * bounds.bins)
        crowded = int(np.unique(place, axis=0, return_counts=True)[1].max())
    return atoms, replace(bounds, capacity=capacity, bin_capacity=crowded)


def overflows(atoms: Atoms, bounds: Bounds) -> bool:
    with jax.enable_x64(True):
        (seen,) = seen_by([atoms], 4.0, bounds, len(atoms))
    return bool(seen.overflow)


def test_full_bounds_do_not_overflow(tight: tuple[Atoms, Bounds]) -> None:
    atoms, bounds = tight
    assert not overflows(atoms, bounds)


def test_one_neighbor_too_many_overflows(tight: tuple[Atoms, Bounds]) -> None:
    atoms, bounds = tight
    assert overflows(atoms, replace(bounds, capacity=bounds.capacity - 1))


@pytest.mark.parametrize("tight", [0], ids=["bins"], indirect=True)
def test_one_atom_too_many_in_a_bin_overflows(tight: tuple[Atoms, Bounds]) -> None:
    atoms, bounds = tight
    assert overflows(atoms, replace(bounds, bin_capacity=bounds.bin_capacity - 1))


@pytest.mark.parametrize("bins", [None, (3, 4, 5)], ids=["pairs", "bins"])
def test_a_cell_that_shrinks_overflows_where_something_may_be_missing(
    bins: tuple[int, int, int] | None,
) -> None:
    """Under one program; heights at, and a little to either side of, where the bounds end."""
    r_cut, counts = 4.0, (1, 3, 3)
    bounds = Bounds(300, counts, bins, bin_capacity=0 if bins is None else 4)
    # Images reach half a cell less than they are shifted; bins are whole ones.
    ends = r_cut / (np.array(counts) + 0.5) if bins is None else r_cut / np.divide(counts, bins)
    structures, expected = [], []
    for axis, factor, repeats in product(range(3), (0.7, 0.9999, 1.0001, 1.1), (True, False)):
        lengths = ends * 1.05
        lengths[axis] = ends[axis] * factor
        rng = np.random.default_rng(axis)
        atoms = Atoms("HPt2", rng.random((3, 3)) * lengths, cell=lengths, pbc=True)
        atoms.pbc[axis] = repeats
        # Bins count along all axes, as far as there are any.
        ends_here = repeats or (bins is not None and counts[axis] < bins[axis] - 1)
        structures.append(atoms)
        expected.append(factor < 1 and ends_here)
    with jax.enable_x64(True):
        batch = padded(structures, 3, replace(bounds, bins=None))
        seen = jax.device_get(every(replace(batch, bounds=bounds), r_cut))
    np.testing.assert_array_equal(seen.overflow, expected)
    for k, atoms in enumerate(structures):
        if not expected[k]:
            check(Neighbors(*(leaf[k] for leaf in seen)), atoms, r_cut)


def test_a_multiple_of_the_height_is_not_rounded_up() -> None:
    """In float32, where it matters: the cutoff reaches over 39 bins, or a little more."""
    rng, structures, height = np.random.default_rng(0), [], 30.0 / 39
    for _ in range(60):
        flat = np.array([[height, *rng.uniform(-0.7, 0.7, 2)], [0, 30, 5], [0, 9, 30]])
        structures.append(Atoms("H", cell=flat @ random_frame(rng, mirror=False), pbc=True))
    bounds = Bounds(64, (39, 3, 3), (3, 3, 3), 2)
    seen = every(replace(padded(structures, 1), bounds=bounds), 10.0)
    assert not seen.overflow.any()


@given(
    structures=st.lists(lattices(largest=4), min_size=1, max_size=3), many=st.sampled_from([0, 64])
)
@settings(max_examples=6)
def test_bounds_hold_what_they_were_made_for(structures: list[Atoms], many: int) -> None:
    if many:
        structures = [atoms for atoms in structures if atoms.pbc.any()]
    assume(structures)
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(bounds_module, "MANY", many)
        every_seen = seen_by(structures, 4.0, bounds_of(structures, 4.0, size=5), 5)
    for atoms, seen in zip(structures, every_seen, strict=True):
        check(seen, atoms, 4.0)


# Derivatives


def smooth(xp, vectors, centre, species, mask, r_cut):
    """Sees lengths, directions, and who sees whom; vanishes smoothly at the cutoff."""
    outer = 1.0 - (vectors**2).sum(-1) / r_cut**2
    weight = (1.0 + centre) * (1.0 + species % 5) * xp.where(mask & (outer > 0), outer, 0.0) ** 4
    return (weight * (1.0 + 0.5 * xp.sin(vectors @ xp.array([0.3, 0.5, 0.7])))).sum()


def by_ase(atoms: Atoms, r_cut: float) -> float:
    i, j, vectors = neighbor_list("ijD", atoms, r_cut)
    return smooth(np, vectors, i, atoms.numbers[j], True, r_cut)


def by_definition(atoms: Atoms, r_cut: float) -> float:
    """Fractions rounded to a whole number of cells along the axes that repeat."""
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
    """Central difference when the atoms move by a step and the cell by a turn."""
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
    """One program, while the atoms are up to three cells away."""
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


# Once each: free, or in the minimum image


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
    # Where nothing is said of repeating, all axes do.
    expected = find_mic(direct, structure.cell, True)[0]
    np.testing.assert_allclose(unsaid.reshape(-1, 3), expected, atol=1e-12)


# What a program needs


def test_structures_of_one_size_and_bounds_share_a_program() -> None:
    traces = []

    @jax.jit
    def compiled(structure: Structure) -> jax.Array:
        traces.append(structure.bounds)
        return image_neighbors(structure, 4.0).vectors

    structures = [random_lattice(k, k + 1, PERIODIC[k], (3.0, 5.0)) for k in range(4)]
    bounds = bounds_of(structures, 4.0)
    for atoms in structures:
        # Equal bounds will do, the very same are not needed.
        compiled(from_ase(atoms, 4, replace(bounds)))
    assert traces == [bounds]
    compiled(from_ase(structures[0], 4, replace(bounds, capacity=bounds.capacity + 8)))
    assert len(traces) == 2


def test_float32_after_float64_takes_no_long_numbers() -> None:
    """A warning is an error here, and jax warned of 64 bits left over from the other program."""
    atoms = random_lattice(0, 2)
    bounds = bounds_of([atoms], 4.0)
    for enabled in (True, False):
        with jax.enable_x64(enabled):
            seen = every(replace(padded([atoms], 2, bounds), pbc=None), 4.0)
        assert seen.vectors.dtype == ("float64" if enabled else "float32")
        # Nothing is said of the axes: it repeats along all.
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
