"""The way from and to ASE, padding, stacking, and what is refused."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.cell import Cell
from hypothesis import given
from hypothesis import strategies as st
from strategies import clusters, crystals

from jaxrecon.structures import Structure, checked_cell, from_ase, is_periodic, stack, to_ase


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
        # Atomic numbers and masks are the same programme in both.
        assert structure.species.dtype == np.int32


def test_a_cell_without_periodicity_does_not_count() -> None:
    assert from_ase(Atoms("Pt", cell=np.eye(3) * 20, pbc=False)).cell is None


def test_a_structure_is_a_pytree() -> None:
    structure = from_ase(molecule("H2O"))
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + leaf, s))(structure)
    assert isinstance(doubled, Structure)
    np.testing.assert_array_equal(doubled.positions, 2 * structure.positions)
    assert doubled.cell is None


def test_stack_adds_an_axis_and_keeps_the_order() -> None:
    structures = [from_ase(molecule(name), size=4) for name in ("H2O", "H2", "NH3")]
    batch = stack(structures)
    assert batch.positions.shape == (3, 4, 3)
    for number, structure in enumerate(structures):
        for leaves, leaf in zip(jax.tree.leaves(batch), jax.tree.leaves(structure), strict=True):
            np.testing.assert_array_equal(leaves[number], leaf)


def test_what_does_not_stack() -> None:
    free, crystal = molecule("H2O"), molecule("H2O", cell=(5, 5, 5), pbc=True)
    with pytest.raises(ValueError, match="expected at least one structure, got none"):
        stack([])
    with pytest.raises(ValueError, match="expected structures all free or all periodic, got a mix"):
        stack([from_ase(free), from_ase(crystal)])


def test_size_below_the_number_of_atoms() -> None:
    with pytest.raises(ValueError, match=r"expected size >= 3, the number of atoms, got 2"):
        from_ase(molecule("H2O"), size=2)


@pytest.mark.parametrize("pbc", [(1, 0, 0), (1, 1, 0), (0, 0, 1)])
def test_slabs_and_wires_are_refused(pbc: tuple[int, int, int]) -> None:
    atoms = Atoms("Pt", cell=np.eye(3) * 5, pbc=pbc)
    for function in (is_periodic, from_ase):
        with pytest.raises(ValueError, match="expected a structure periodic along all three axes"):
            function(atoms)


def test_periodicity() -> None:
    assert is_periodic(Atoms("Pt", cell=np.eye(3) * 5, pbc=True)) is True
    assert is_periodic(Atoms("Pt", cell=np.eye(3) * 5)) is False


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
        ([[0, 4, 0], [4, 0, 0], [0, 0, 4]], "expected a right-handed cell, got determinant -64"),
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


def test_from_ase_checks_the_cell() -> None:
    with pytest.raises(ValueError, match="expected a right-handed cell, got"):
        from_ase(Atoms("Pt", cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4]], pbc=True))
    with pytest.raises(ValueError, match="expected a cell with a volume, got"):
        from_ase(Atoms("Pt", pbc=True))
