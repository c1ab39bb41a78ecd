"""Conversion from and to ASE, padding, and bad structures."""

from __future__ import annotations

import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.cell import Cell
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from strategies import clusters, crystals, lattices, random_lattice

from jaxrecon.structures.structure import (
    Bounds,
    Structure,
    checked_cell,
    completed_cell,
    from_ase,
    is_periodic,
    padded,
    right_handed,
    spanning_cell,
    to_ase,
)

BINS = Bounds(8, (1, 1, 1), (3, 3, 3), 8)


@given(atoms=clusters() | crystals(), padding=st.integers(0, 5))
def test_there_and_back(atoms: Atoms, padding: int) -> None:
    with jax.enable_x64(True):
        structure = from_ase(atoms, size=len(atoms) + padding)
    assert structure.positions.shape == (len(atoms) + padding, 3)
    assert structure.mask.tolist() == [True] * len(atoms) + [False] * padding
    assert structure.species.tolist() == atoms.numbers.tolist() + [0] * padding
    again = to_ase(structure)
    np.testing.assert_array_equal(again.numbers, atoms.numbers)
    np.testing.assert_array_equal(again.positions, atoms.positions)
    np.testing.assert_array_equal(again.cell.array, atoms.cell.array)
    assert again.pbc.tolist() == atoms.pbc.tolist()
    assert (structure.cell is None) == (not atoms.pbc.any())


@pytest.mark.parametrize(("enabled", "dtype"), [(False, "float32"), (True, "float64")])
def test_dtype_is_that_of_jax(enabled: bool, dtype: str) -> None:
    with jax.enable_x64(enabled):
        structure = from_ase(Atoms("Pt", cell=np.eye(3) * 4, pbc=True))
        assert structure.positions.dtype == structure.cell.dtype == dtype
        # Atomic numbers and masks are made in the same way in both precisions.
        assert structure.species.dtype == np.int32


def test_a_cell_without_periodicity_does_not_count() -> None:
    assert from_ase(Atoms("Pt", cell=np.eye(3) * 20, pbc=False)).cell is None


def test_a_structure_is_a_pytree() -> None:
    structure = from_ase(molecule("H2O"))
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + leaf, s))(structure)
    assert isinstance(doubled, Structure)
    np.testing.assert_array_equal(doubled.positions, 2 * structure.positions)
    assert doubled.cell is None


def test_size_below_the_number_of_atoms() -> None:
    with pytest.raises(ValueError, match=r"expected size >= 3, the number of atoms, got 2"):
        from_ase(molecule("H2O"), size=2)


@given(atoms=lattices())
def test_there_and_back_along_some_axes(atoms: Atoms) -> None:
    """Missing vectors are completed, and the others stay as they were."""
    with jax.enable_x64(True):
        again = to_ase(from_ase(atoms))
    np.testing.assert_array_equal(again.pbc, atoms.pbc)
    np.testing.assert_array_equal(again.positions, atoms.positions)
    present = atoms.cell.array.any(axis=1) & atoms.pbc.any()
    np.testing.assert_array_equal(again.cell.array[present], atoms.cell.array[present])
    if atoms.pbc.any():
        # ASE finds the same neighbours.
        for each in zip(*(neighbor_list("ijD", a, 4.0) for a in (atoms, again)), strict=True):
            np.testing.assert_allclose(*each, atol=1e-12)


def test_unsaid_periodicity_is_along_all_axes() -> None:
    crystal = from_ase(Atoms("Pt", cell=[3, 4, 5], pbc=True))
    assert to_ase(replace(crystal, pbc=None)).pbc.all()
    assert not to_ase(from_ase(molecule("H2O"))).pbc.any()


def test_a_batch_is_its_structures() -> None:
    structures = [random_lattice(k, k + 1, (True, k % 2 == 0, False)) for k in range(3)]
    batch = padded(structures, 4, BINS)
    assert batch.bounds == BINS
    for number, atoms in enumerate(structures):
        leaves = jax.tree.leaves(from_ase(atoms, 4, BINS))
        for many, one in zip(jax.tree.leaves(batch), leaves, strict=True):
            np.testing.assert_array_equal(many[number], one)


def test_a_batch_is_of_one_kind_unless_it_has_bins() -> None:
    slab = Atoms("Pt", cell=[3, 3, 0], pbc=(True, True, False))
    mixture = [molecule("H2O"), slab]
    with pytest.raises(ValueError, match="expected structures all free or all periodic, got a mix"):
        padded(mixture, 3)
    with pytest.raises(ValueError, match="expected structures all free or all periodic, got a mix"):
        padded(mixture, 3, Bounds(8))
    batch = padded(mixture, 3, BINS)
    assert batch.pbc.tolist() == [[False] * 3, [True, True, False]]
    assert padded([slab, Atoms("Pt", cell=[3, 3, 3], pbc=True)], 1).pbc.sum() == 5
    assert padded([molecule("H2O")], 3).cell is None
    with pytest.raises(ValueError, match="expected size >= 3, the number of atoms, got 2"):
        padded([molecule("H2"), molecule("H2O")], 2)


def test_periodicity() -> None:
    assert is_periodic(Atoms("Pt", cell=np.eye(3) * 5, pbc=True)) is True
    assert is_periodic(Atoms("Pt", cell=np.eye(3) * 5)) is False
    for pbc in [(1, 0, 0), (1, 1, 0), (0, 0, 1)]:
        with pytest.raises(ValueError, match="expected a structure periodic along all three axes"):
            is_periodic(Atoms("Pt", cell=np.eye(3) * 5, pbc=pbc))


@pytest.mark.parametrize(
    "cell", [(3.0, 4.0, 5.0), (3.0, 4.0, 5.0, 80.0, 95.0, 110.0), np.diag([3.0, 4.0, 5.0]) + 0.1]
)
def test_cells_are_ases(cell: object) -> None:
    np.testing.assert_array_equal(checked_cell(cell), Cell.new(cell).array)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.zeros((3, 3)), "expected a cell with a volume, got a singular one"),
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], "expected a cell with a volume, got a singular one"),
        ([[1e3, 0, 0], [0, 1e-9, 0], [1e3, 1e-9, 0]], "expected a cell with a volume, got a sing"),
        ([4, 4, np.nan], "expected a finite cell, got"),
        ([4, 4, np.inf], "expected a finite cell, got"),
        ([4, 4], "expected a cell as 3 lengths.* got [4, 4]"),
        (4.0, "expected a cell as 3 lengths.* got 4.0"),
        ("abc", "expected a cell as 3 lengths.* got abc"),
        (np.zeros((2, 3)), "expected a cell as 3 lengths.* got"),
        ([4, 4, 4, 30, 30, 120], "expected a cell as 3 lengths.* got"),
    ],
)
def test_cells_that_are_none(cell: object, message: str) -> None:
    head, *tail = message.split(".*")
    with pytest.raises(ValueError, match=".*".join(map(re.escape, [head, *tail]))):
        checked_cell(cell)


def test_a_thin_cell_is_a_cell() -> None:
    """The limit on the volume is relative to the lengths, not absolute."""
    for scale in (1e-3, 1e3):
        np.testing.assert_array_equal(checked_cell(np.eye(3) * scale), np.eye(3) * scale)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0)])
def test_a_left_handed_cell_is_described_by_right_handed_vectors_of_its_lattice(pbc) -> None:
    left = np.array([[0.0, 4.0, 0.5], [5.0, 0.0, 0.0], [0.0, 0.3, 6.0]])
    assert np.linalg.det(left) < 0
    found = completed_cell(Atoms("Pt", cell=left, pbc=pbc))
    np.testing.assert_array_equal(found, -left)
    atoms = Atoms("NaCl", [(0, 0, 0), (1, 2, 3)], cell=left, pbc=pbc)
    turned = atoms.copy()
    assert right_handed(turned)
    assert not right_handed(turned)
    np.testing.assert_array_equal(turned.positions, atoms.positions)
    np.testing.assert_allclose(
        turned.get_all_distances(mic=True), atoms.get_all_distances(mic=True)
    )


def test_from_ase_checks_the_cell() -> None:
    with pytest.raises(ValueError, match="expected a cell with a volume, got"):
        from_ase(Atoms("Pt", pbc=True))


PLANE = [[4, 0, 0], [1, 4, 0], [2, 2, 0]]


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.zeros((3, 3)), (1, 1, 1), "expected a cell with a volume, got a singular one"),
        ([4, 4, 0], (1, 1, 1), "expected a cell with a volume, got a singular one"),
        (
            [4, 4, 0],
            (1, 0, 1),
            "expected a cell vector along every axis of pbc=[ True False  True]",
        ),
        (np.zeros((3, 3)), (0, 1, 0), "expected a cell vector along every axis of pbc=[False  Tr"),
        (PLANE, (1, 1, 0), "expected a cell with a volume, got a singular one"),
        ([[4, 0, 0], [8, 0, 0], [0, 0, 0]], (1, 1, 0), "expected a cell with a volume, got a sing"),
        ([[4, 0, 0], [0, np.nan, 0], [0, 0, 4]], (0, 1, 0), "expected a finite cell, got"),
        ([[4, 0, 0], [0, np.nan, 0], [0, 0, 4]], (1, 1, 1), "expected a finite cell, got"),
    ],
)
@pytest.mark.parametrize("function", [completed_cell, spanning_cell, from_ase])
def test_cells_that_cannot_be_completed(function, cell, pbc, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        function(Atoms("Pt", cell=cell, pbc=pbc))


@pytest.mark.parametrize("cell", [PLANE, [[0, 4, 0], [4, 0, 0], [0, 0, 4]], np.zeros((3, 3))])
def test_the_box_around_a_free_structure_is_left_alone(cell: object) -> None:
    atoms = Atoms("Pt2", [[0, 0, 0], [1, 2, 3]], cell=cell, pbc=False)
    assert from_ase(atoms).cell is None
    assert from_ase(atoms, bounds=BINS).cell.diagonal().tolist() == [1.0, 2.0, 3.0]
    assert completed_cell(atoms).tolist() == np.eye(3).tolist()


@given(atoms=lattices())
def test_a_completed_cell_has_a_volume_and_what_was_there(atoms: Atoms) -> None:
    cell, given_cell = completed_cell(atoms), atoms.cell.array
    assert np.linalg.det(cell) > 0
    if atoms.pbc.any():
        present = given_cell.any(axis=1)
        np.testing.assert_array_equal(cell[present], given_cell[present])
        # The completed vectors have unit length and are normal to the given ones.
        np.testing.assert_allclose(np.linalg.norm(cell[~present], axis=1), 1.0)
        np.testing.assert_allclose(cell[~present] @ cell[present].T, 0.0, atol=1e-12)


@given(atoms=lattices() | clusters())
def test_a_spanning_cell_holds_all_atoms(atoms: Atoms) -> None:
    """Along axes that do not repeat, also for flat structures, and no wider than necessary."""
    for structure in (atoms, Atoms(atoms.symbols, atoms.positions * [1, 0, 1] + 50.0)):
        cell = spanning_cell(structure)
        assert np.linalg.det(cell) > 0
        np.testing.assert_array_equal(cell[structure.pbc], completed_cell(structure)[structure.pbc])
        span = np.ptp(structure.positions @ np.linalg.inv(cell), axis=0)[~structure.pbc]
        lengths = np.linalg.norm(cell[~structure.pbc], axis=1)
        assert (span <= 1.0 + 1e-9).all()
        assert ((span >= 1.0 - 1e-9) | (lengths <= 1.0)).all()
