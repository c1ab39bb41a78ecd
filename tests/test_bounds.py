"""Static bounds against ASE's neighbour list, and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import complete_cell
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    clusters,
    crystals,
    lattices,
    random_cluster,
    random_crystal,
    random_lattice,
)

from jaxrecon.datasets import prototypes
from jaxrecon.structures import bounds as bounds_module
from jaxrecon.structures.bounds import (
    ASIDE,
    MANY,
    bounds_of,
    bounds_within,
    is_wide,
    most_neighbors,
    offsets,
)
from jaxrecon.structures.structure import Bounds

CUTOFFS = st.floats(0.5, 6.0)
LESS_WORK = bounds_module._less_work


@pytest.fixture(autouse=True)
def bins_past_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins for many atoms even where pairs are less work, so that small structures test them."""
    monkeypatch.setattr(bounds_module, "_less_work", lambda _, among_bins, __: among_bins)


def most_by_ase(atoms: Atoms, r_cut: float) -> int:
    return int(np.bincount(neighbor_list("i", atoms, r_cut), minlength=1).max())


def images_by_ase(atoms: Atoms, r_cut: float) -> np.ndarray:
    """Largest number of cells to a neighbour, for atoms within half a cell along each axis."""
    i, j, cells = neighbor_list("ijS", atoms, r_cut)
    direct = atoms.positions[j] - atoms.positions[i]
    fractions = direct @ np.linalg.inv(complete_cell(atoms.cell.array))
    away = cells + np.where(atoms.pbc, np.round(fractions), 0.0)
    return np.abs(away).max(axis=0, initial=0)


def crowd_by_ase(atoms: Atoms, bins: tuple[int, int, int]) -> int:
    place = np.floor((atoms.get_scaled_positions() + ASIDE) % 1.0 * bins)
    return int(np.unique(place, axis=0, return_counts=True)[1].max())


def cubic(*lengths: float, atoms: int = 1, pbc: object = True) -> Atoms:
    positions = np.random.default_rng(0).random((atoms, 3)) * lengths
    return Atoms("H" * atoms, positions, cell=lengths, pbc=pbc)


@given(atoms=lattices() | clusters() | crystals(), r_cut=CUTOFFS)
def test_most_neighbors_are_ases(atoms: Atoms, r_cut: float) -> None:
    assert most_neighbors(atoms, r_cut) == most_by_ase(atoms, r_cut)


def test_a_neighbor_at_the_cutoff_counts() -> None:
    """Round-off may put it on either side."""
    for turn in range(20):
        atoms = bulk("Pt", a=4.0)
        atoms.rotate(turn, (1, 2, 3), rotate_cell=True)
        assert most_neighbors(atoms, 4.0) == 12 + 6
    assert most_neighbors(Atoms("H2", [[0, 0, 0], [0, 0, 0.3]]), 0.3) == 1
    assert most_neighbors(Atoms("H"), 5.0) == 0


@given(structures=st.lists(lattices(), min_size=1, max_size=3), r_cut=CUTOFFS)
def test_bounds_hold_what_ase_sees(structures: list[Atoms], r_cut: float) -> None:
    bounds = bounds_of(structures, r_cut)
    most = max(most_by_ase(atoms, r_cut) for atoms in structures)
    assert bounds.capacity % 8 == 0
    assert most <= bounds.capacity < max(most, 1) + 8
    assert bounds.bins is None
    for atoms in structures:
        assert (images_by_ase(atoms, r_cut) <= bounds.counts).all()
    # An axis along which no structure repeats has no images.
    repeats = np.any([atoms.pbc for atoms in structures], axis=0)
    assert not np.array(bounds.counts)[~repeats].any()


@pytest.mark.parametrize(
    ("length", "images"),
    [(10.1, 0), (10.0, 1), (7.0, 1), (3.4, 1), (10 / 3, 2), (2.0, 3), (0.7, 7)],
)
def test_images_by_hand(length: float, images: int) -> None:
    """Images of an atom half a cell away."""
    for axis in range(3):
        lengths = [20.0, 20.0, 20.0]
        lengths[axis] = length
        expected = [0, 0, 0]
        expected[axis] = images
        assert bounds_of([cubic(*lengths)], 5.0).counts == tuple(expected)


def test_bounds_of_several_structures_are_the_largest() -> None:
    some = [cubic(2, 20, 20), cubic(20, 3, 20), cubic(20, 20, 20, atoms=30)]
    each = [bounds_of([atoms], 5.0) for atoms in some]
    together = bounds_of(some, 5.0, elements=3)
    assert together.counts == (3, 2, 0)
    assert together.capacity == max(bounds.capacity for bounds in each)
    assert together.elements == 3
    assert bounds_of(some, 5.0, most=100).capacity == 104


def test_bins_are_for_many_atoms() -> None:
    few, many = cubic(20, 20, 20, atoms=MANY), cubic(20, 20, 20, atoms=MANY + 1)
    assert bounds_of([few], 5.0).bins is None
    assert bounds_of([few], 5.0, size=MANY + 1).bins == (4, 4, 4)
    assert bounds_of([few, many], 5.0).bins == (4, 4, 4)
    assert bounds_within(few.cell.array, 5.0, MANY).bins is None
    assert bounds_within(few.cell.array, 5.0, MANY + 1).bins == (4, 4, 4)


@pytest.mark.parametrize(
    ("lengths", "atoms", "pbc", "bins", "counts"),
    [
        # Bins are at least as wide as the cutoff.
        ((30, 21, 12), 105, True, (7, 5, 3), (1, 1, 1)),
        ((31, 23, 15), 200, True, (7, 5, 3), (1, 1, 1)),
        # No more bins than atoms: fewer along the longest axis.
        ((30, 21, 12), 104, True, (6, 5, 3), (1, 1, 1)),
        # At least three bins, even if the cutoff reaches over many.
        ((100, 3, 2), 70, True, (7, 3, 3), (1, 4, 6)),
        # Without images there is no bin beyond the last.
        ((100, 3, 2), 70, (True, False, True), (7, 3, 3), (1, 2, 6)),
    ],
)
def test_bins_by_hand(lengths, atoms, pbc, bins, counts) -> None:
    structure = cubic(*lengths, atoms=atoms, pbc=pbc)
    # The atoms span the box along axes that do not repeat.
    structure.positions[:2] = [np.zeros(3), lengths]
    cell, periodic = structure.cell.array, structure.pbc.tolist()
    for found in (
        bounds_of([structure], 4.0, elements=2),
        bounds_within(cell, 4.0, atoms, pbc=periodic, elements=2),
    ):
        assert (found.bins, found.counts, found.elements) == (bins, counts, 2)


def test_bins_of_several_structures_are_the_fewest() -> None:
    long, wide = cubic(40, 12, 20, atoms=100), cubic(12, 20, 30, atoms=90)
    bounds = bounds_of([long, wide], 4.0)
    assert bounds_of([long], 4.0).bins == (6, 3, 5)
    assert bounds_of([wide], 4.0).bins == (3, 5, 6)
    assert bounds.bins == (3, 3, 5)
    assert bounds.counts == (1, 1, 1)
    assert bounds_of([long, cubic(12, 20, 3)], 4.0).counts == (1, 1, 4)
    # Free structures fill the box that they span.
    free = Atoms(long.symbols, long.positions * [40, 12, 20] / np.ptp(long.positions, axis=0))
    assert bounds_of([free], 4.0).bins == (6, 3, 5)


@given(atoms=st.integers(MANY + 1, 200), padding=st.integers(0, 100), seed=st.integers(0, 100))
def test_bins_have_room_for_the_most_crowded_and_padding(
    atoms: int, padding: int, seed: int
) -> None:
    structure = random_lattice(seed, atoms, edges=(15.0, 18.0))
    bounds = bounds_of([structure], 4.0, size=atoms + padding)
    most = crowd_by_ase(structure, bounds.bins)
    most += -(-padding // int(np.prod(bounds.bins)))
    assert most < bounds.bin_capacity <= most + 2
    assert bounds.bin_capacity % 2 == 0


@pytest.mark.parametrize("r_cut", [3.0, 6.0, 12.0])
def test_bounds_for_moving_atoms_hold_usual_crystals(r_cut: float) -> None:
    crystals = [
        bulk("Pt", cubic=True),
        bulk("Mg"),
        bulk("Fe"),
        bulk("Si"),
        bulk("NaCl", "rocksalt", a=5.64),
        bulk("CsCl", "cesiumchloride", a=4.1),
        *(prototypes.load(name) for name in prototypes.CRYSTALS),
    ]
    for atoms in crystals:
        assert atoms.pbc.all()
        bounds = bounds_within(atoms.cell.array, r_cut, len(atoms), elements=2)
        assert most_by_ase(atoms, r_cut - 1e-6) <= bounds.capacity
        assert (images_by_ase(atoms, r_cut) <= bounds.counts).all()
        assert bounds.elements == 2


def test_bounds_for_moving_atoms_hold_random_structures_almost_always() -> None:
    held = []
    for seed in range(30):
        for atoms in (random_crystal(seed, 2 + seed % 30), random_lattice(seed, 2 + seed % 30)):
            bounds = bounds_within(atoms.cell.array, 5.0, len(atoms))
            held.append(most_neighbors(atoms, 5.0) <= bounds.capacity)
    assert np.mean(held) >= 0.98


@pytest.mark.parametrize("repeats", [3, 4, 5])
def test_bins_for_moving_atoms_hold_supercells_and_random_structures(repeats: int) -> None:
    for cell in (
        bulk("Po", "sc", a=3.35),
        bulk("Cu", cubic=True),
        bulk("CsCl", "cesiumchloride", a=4.1),
    ):
        atoms = cell.repeat(repeats)
        if len(atoms) <= MANY:
            continue
        bounds = bounds_within(atoms.cell.array, 4.0, len(atoms))
        loose = random_lattice(repeats, len(atoms), edges=tuple(atoms.cell.lengths()))
        loose.set_cell(atoms.cell, scale_atoms=True)
        for each in (atoms, loose):
            assert crowd_by_ase(each, bounds.bins) <= bounds.bin_capacity
            assert most_by_ase(each, 4.0) <= bounds.capacity


def test_no_more_room_than_there_are_images() -> None:
    assert bounds_within(20.0 * np.eye(3), 5.0, 4).capacity == 4
    assert bounds_within(8.0 * np.eye(3), 5.0, 1).capacity == 16
    assert bounds_within(8.0 * np.eye(3), 5.0, 1, pbc=(True, False, False)).capacity == 3


@given(atoms=lattices(largest=4), r_cut=CUTOFFS)
def test_no_atom_has_two_images_in_a_wide_cell(atoms: Atoms, r_cut: float) -> None:
    """No lattice vector of such a cell is shorter than twice the cutoff."""
    cell = complete_cell(atoms.cell.array) if atoms.pbc.any() else np.eye(3)
    alone = Atoms("H", cell=cell, pbc=atoms.pbc)
    if is_wide(cell, atoms.pbc, r_cut):
        assert most_by_ase(alone, 2.0 * r_cut) == 0
    right = Atoms("H", cell=np.diag(atoms.cell.lengths() + ~atoms.pbc), pbc=atoms.pbc)
    wide = most_by_ase(right, 2.0 * r_cut) == 0
    assert is_wide(right.cell.array, right.pbc, r_cut) == wide


def test_wide_is_twice_the_cutoff() -> None:
    periodic = np.array([True, True, True])
    assert is_wide(np.diag([8.0, 9.0, 10.0]), periodic, 4.0)
    assert not is_wide(np.diag([7.99, 9.0, 10.0]), periodic, 4.0)
    assert is_wide(np.diag([7.99, 9.0, 10.0]), np.array([False, True, True]), 4.0)
    # The height counts, not the length.
    assert not is_wide(np.array([[8.0, 0, 0], [4.0, 8.0, 0], [0, 0, 8.0]]), periodic, 4.0)


def test_offsets_are_all_cells_around_in_order() -> None:
    found = offsets((2, 0, 1))
    assert found.tolist() == [list(o) for o in product(range(-2, 3), [0], range(-1, 2))]
    # A cached array of 64 bits would make jax warn in a program of 32 bits.
    assert found.dtype == np.int32


def test_bins_only_where_they_are_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates for each atom: all atoms in every examined image, or all places of every bin."""
    monkeypatch.setattr(bounds_module, "_less_work", LESS_WORK)
    pairs, bins = Bounds(8, (1, 0, 0)), Bounds(8, (1, 1, 1), (9, 9, 9), 10)
    assert LESS_WORK(pairs, bins, 90) is pairs
    assert LESS_WORK(pairs, bins, 91) is bins
    for repeats, r_cut, expected in [(4, 6.0, None), (6, 4.5, (5, 5, 5))]:
        atoms = bulk("Pt", a=4.0, cubic=True).repeat(repeats)
        assert bounds_of([atoms], r_cut).bins == expected
        assert bounds_within(atoms.cell.array, r_cut, len(atoms)).bins == expected
    ball = random_cluster(0, 80)
    assert bounds_of([ball], 3.0).bins is not None
