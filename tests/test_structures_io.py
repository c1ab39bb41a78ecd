"""What is read from files of structures: refused by frame and place, or taken as what it means."""

from __future__ import annotations

import io
import re
import sys
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from jaxrecon import Fingerprint, featurize
from jaxrecon.structures.io import read_structures, write_structures

CIF = """data_alloy
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
WATER = "3\n\nO 0 0 0.1\nH 0.76 0 -0.48\n{} -0.76 0 -0.48\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("Sr1 Sr 0 0 0 0.5\nLa1 La 0 0 0 0.5\nO1 O .5 .5 .5 1", "expected full occupancies, got "),
        (
            "Ti1 Ti 0 0 0 1\nO1 O .5 .5 .5 0.8",
            r"got O 0.8 on site 1 of structure 0 of .*\.cif: order",
        ),
        ("Ti1 Ti 0 0 0 1\nO1 O .5 .5 .5 nan", "got O nan on site 1"),
    ],
)
def test_partly_occupied_sites_are_refused(tmp_path: Path, sites: str, message: str) -> None:
    path = write(tmp_path / "partial.cif", CIF + sites + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_structures(path)
    assert "OrderDisorderedStructureTransformation" in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 250


def test_full_occupancies_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "full.cif", CIF + "Ti1 Ti 0 0 0 1.0\nO1 O .5 .5 .5 0.9999\n")
    [atoms] = read_structures(path)
    assert atoms.get_chemical_formula() == "OTi"


def test_occupancies_of_other_formats(tmp_path: Path) -> None:
    frames = [molecule("H2O"), molecule("H2O")]
    frames[1].set_array("occupancy", np.array([1.0, 0.5, 1.0]))
    for values, refused in [([1.0, 0.5, 1.0], True), ([1.0] * 3, False), ([0.0] * 3, False)]:
        frames[1].set_array("occupancy", np.array(values))
        ase.io.write(tmp_path / "some.extxyz", frames)
        if not refused:
            assert len(read_structures(tmp_path / "some.extxyz")) == 2
            continue
        with pytest.raises(ValueError, match=r"got H 0\.5 on site 1 of structure 1 of"):
            read_structures(tmp_path / "some.extxyz")


@pytest.mark.parametrize("symbol", ["D", "T"])
def test_heavy_hydrogen_is_hydrogen(tmp_path: Path, symbol: str) -> None:
    from ase.data import atomic_numbers

    [atoms] = read_structures(write(tmp_path / "heavy.xyz", WATER.format(symbol)))
    assert atoms.numbers.tolist() == [8, 1, 1]
    assert symbol not in atomic_numbers


@pytest.mark.parametrize("symbol", ["X", "O1", "Bq", "8"])
@pytest.mark.parametrize("suffix", [".xyz", ".extxyz"])
def test_symbols_that_are_no_elements_are_named(tmp_path: Path, symbol: str, suffix: str) -> None:
    path = write(tmp_path / f"some{suffix}", WATER.format("H") + WATER.format(symbol))
    message = f"expected a chemical symbol in frame 1 of {path} (line 10), got {symbol!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_structures(path)


def test_symbols_of_extended_xyz_stand_where_its_comment_says(tmp_path: Path) -> None:
    text = '1\nProperties=pos:R:3:species:S:1 pbc="F F F"\n0 0 0 Q\n'
    with pytest.raises(ValueError, match=r"\(line 3\), got 'Q'"):
        read_structures(write(tmp_path / "some.extxyz", text))


def test_dummy_atoms_of_other_formats_are_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "some.json", Atoms("HX", [(0, 0, 0), (0, 0, 1)]))
    with pytest.raises(ValueError, match="expected a chemical symbol for atom 1 of structure 0 of"):
        read_structures(tmp_path / "some.json")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "bom.xyz", b"\xef\xbb\xbf" + WATER.format("H").encode())
    assert read_structures(path)[0].get_chemical_formula() == "H2O"


def test_left_handed_cells_are_turned_and_this_is_said_once(tmp_path: Path) -> None:
    salt = bulk("NaCl", "rocksalt", a=5.6)
    left = salt.copy()
    left.set_cell(salt.cell.array[[1, 0, 2]])
    left.calc = SinglePointCalculator(left, energy=-1.0)
    ase.io.write(tmp_path / "some.extxyz", [salt, left, left])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        first, *others = read_structures(tmp_path / "some.extxyz")
    (warning,) = caught
    assert re.search("2 of 3 cells in .* are left-handed", str(warning.message))
    np.testing.assert_allclose(first.cell.array, salt.cell.array)
    for atoms in others:
        assert atoms.cell.handedness == 1
        np.testing.assert_allclose(
            atoms.get_scaled_positions() % 1, salt.get_scaled_positions() % 1
        )
        assert atoms.get_potential_energy() == -1.0


def test_a_folder_and_several_files(tmp_path: Path) -> None:
    for name, formula in (("b.xyz", "H2O"), ("a.extxyz", "CH4")):
        ase.io.write(tmp_path / name, molecule(formula))
    write(tmp_path / ".hidden", "nothing")
    (tmp_path / "empty").mkdir()
    formulas = [atoms.get_chemical_formula() for atoms in read_structures(tmp_path)]
    assert formulas == ["CH4", "H2O"]
    several = read_structures([tmp_path / "b.xyz", tmp_path, tmp_path / "a.extxyz"])
    assert [len(atoms) for atoms in several] == [3, 5, 3, 5]
    with pytest.raises(
        ValueError, match=r"expected files of structures in the folder .*, got none"
    ):
        read_structures(tmp_path / "empty")
    write(tmp_path / "notes.dat", "nothing")
    with pytest.raises(ValueError, match=r"expected structures that ASE can read, got .*notes.dat"):
        read_structures(tmp_path)


def test_files_in_a_folder_that_hold_no_structures(tmp_path: Path) -> None:
    """Those that jaxrecon writes beside an output are known; others are named."""
    ase.io.write(tmp_path / "found.extxyz", molecule("H2O"))
    for name in ("found.extxyz.yaml", "found.json", "found.db"):
        write(tmp_path / name, "{}")
    assert len(read_structures(tmp_path)) == 1
    for name in ("README.md", "notes.txt", "other.yaml"):
        write(tmp_path / name, "nothing")
    with pytest.warns(UserWarning, match=r"left out of the folder .*: README.md, notes.txt, other"):
        assert len(read_structures(tmp_path)) == 1
    # Details without an output may be structures of ASE.
    ase.io.write(tmp_path / "alone.json", molecule("CO"))
    with pytest.warns(UserWarning, match="left out"):
        assert [len(atoms) for atoms in read_structures(tmp_path)] == [2, 3]


@pytest.mark.parametrize("suffix", ["xyz", "extxyz", "cif"])
def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / f"some.{suffix}"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6))
    given = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    monkeypatch.setattr(sys, "stdin", given)
    assert [atoms.get_chemical_formula() for atoms in read_structures("-")] == ["ClNa"]


def test_nothing_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(ValueError, match="expected structures on standard input, got nothing"):
        read_structures("-")


def test_a_residual_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    """ASE's own eight decimals would leave 1e-9; columns beside the positions stay as ASE's."""
    random = np.random.default_rng(0)
    crystal = bulk("NaCl", "rocksalt", a=5.64).repeat((2, 1, 1))
    crystal.rattle(0.1, seed=0)
    crystal.info["note"] = "two\u2028words"  # no end of a line
    crystal.set_constraint(FixAtoms([1]))
    water = molecule("H2O")
    water.rotate(37.0, (1, 2, 3))
    water.set_array("error_bar", random.uniform(size=3))
    water.calc = SinglePointCalculator(water, energy=-1.5, forces=random.normal(size=(3, 3)))
    far = Atoms("Pt2", [[1e300, -1e-300, np.nan], [1 / 3, -0.0, 12345.678901234567]])
    frames = [crystal, water, far]
    write_structures(tmp_path / "found.xyz", frames)
    again = read_structures(tmp_path / "found.xyz")
    for one, other in zip(again, frames, strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()
        assert one.cell.array.tobytes() == other.cell.array.tobytes()
        assert str(one.symbols) == str(other.symbols)
    assert again[0].constraints[0].index.tolist() == [1]
    assert again[1].get_potential_energy() == -1.5
    np.testing.assert_allclose(again[1].get_forces(), water.get_forces(), atol=1e-8)
    np.testing.assert_allclose(again[1].arrays["error_bar"], water.arrays["error_bar"], atol=1e-8)
    fingerprint = Fingerprint.preset("default", ["H", "O"])
    one, other = featurize([water, again[1]], fingerprint, dtype=np.float64)
    assert np.abs(one - other).mean() == 0.0
