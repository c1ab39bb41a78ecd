"""Cell lists against ASE, and bounds: too small, and just enough."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from neighbouring import PERIODIC, check, every, listed, seen_by
from strategies import lattices, random_frame, random_lattice

from jaxrecon.structures import bounds as bounds_module
from jaxrecon.structures.bounds import ASIDE, bounds_of
from jaxrecon.structures.neighbors import Neighbors
from jaxrecon.structures.structure import Bounds, padded

pytestmark = pytest.mark.usefixtures("bins_past_many", "strict_types")


SHAPES = {
    "triclinic": (100, (13.0, 14.0, 15.0), 4.0),
    "many bins": (280, (16.0, 20.0, 18.0), 3.0),
    "narrow": (70, (3.0, 4.0, 45.0), 5.0),
    "flat": (100, (20.0, 22.0, 3.0), 4.0),
}
"""Atoms, edges and cutoff in Angstrom."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cell_list_is_ases_neighbor_list(shape: str) -> None:
    """Periodic along three, two, one and no axes, with some vectors of the others missing."""
    atoms, edges, r_cut = SHAPES[shape]
    structures = [
        random_lattice(k, atoms - k % 3, pbc, edges, missing=k % 2 == 1)
        for k, pbc in enumerate(PERIODIC)
    ]
    # There are more padded entries than bins.
    bounds, size = bounds_of(structures, r_cut, size=atoms + 30), atoms + 30
    assert bounds.bins is not None
    with jax.enable_x64(True):
        every_seen = seen_by(structures, r_cut, bounds, size)
    for structure, seen in zip(structures, every_seen, strict=True):
        check(seen, structure, r_cut)


def check_rounded(seen: Neighbors, atoms: Atoms, r_cut: float) -> None:
    """In float32 a neighbour at the cutoff may be on either side of it."""
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
    """More atoms than in one block; some bounds are made for cell lists only."""
    monkeypatch.setattr(bounds_module, "MANY", 1000)
    atoms = random_lattice(0, 300, (True, False, True), (15.0, 20.0, 18.0))
    bounds = bounds_of([atoms], 3.0)
    assert bounds.bins is None
    with jax.enable_x64(True):
        (seen,) = seen_by([atoms], 3.0, bounds, 300)
    check(seen, atoms, 3.0)


# Too small bounds, and just enough


@pytest.fixture(params=[64, 0], ids=["pairs", "bins"])
def tight(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Atoms, Bounds]:
    """Nine atoms, and exactly sufficient bounds for a cutoff of 4 Angstrom."""
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
    """One program, with heights at the limit of the bounds and a little to either side."""
    r_cut, counts = 4.0, (1, 3, 3)
    bounds = Bounds(300, counts, bins, bin_capacity=0 if bins is None else 4)
    # Images reach half a cell less than their shift; bins reach as far as theirs.
    ends = r_cut / (np.array(counts) + 0.5) if bins is None else r_cut / np.divide(counts, bins)
    structures, expected = [], []
    for axis, factor, repeats in product(range(3), (0.7, 0.9999, 1.0001, 1.1), (True, False)):
        lengths = ends * 1.05
        lengths[axis] = ends[axis] * factor
        rng = np.random.default_rng(axis)
        atoms = Atoms("HPt2", rng.random((3, 3)) * lengths, cell=lengths, pbc=True)
        atoms.pbc[axis] = repeats
        # Bins are counted along all axes, up to their number.
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
    """In float32, where it matters, the cutoff reaches over 39 bins or a little more."""
    rng, structures, height = np.random.default_rng(0), [], 30.0 / 39
    for _ in range(60):
        flat = np.array([[height, *rng.uniform(-0.7, 0.7, 2)], [0, 30, 5], [0, 9, 30]])
        structures.append(Atoms("H", cell=flat @ random_frame(rng, mirror=False), pbc=True))
    bounds = Bounds(64, (39, 3, 3), (3, 3, 3), 2)
    seen = every(replace(padded(structures, 1), bounds=bounds), 10.0)
    assert not seen.overflow.any()


@pytest.mark.slow
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
