"""Sources of labelled sets: repeated names, energies of other names, and several files."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from jaxrecon.datasets import load, read_labelled, write_labelled
from jaxrecon.datasets.io import read_with_keys
from jaxrecon.datasets.labelled import split_by_trajectory


def folder(place: Path, targets: str) -> Path:
    """Two structures and the table of their targets."""
    place.mkdir(exist_ok=True)
    ase.io.write(place / "one.json", molecule("H2O"))
    ase.io.write(place / "two.xyz", molecule("CH4"))
    (place / "targets.csv").write_text(targets)
    return place


def with_results(atoms: Atoms, **results: object) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_structures_that_a_table_names_twice(tmp_path: Path) -> None:
    """Different targets are refused by the name; the same ones are one trajectory."""
    found = read_labelled(folder(tmp_path / "set", "one,1,5\ntwo,2,6\none,1,5\none.json,1.0,5\n"))
    assert found.trajectories.tolist() == [0, 1, 0, 0]
    assert found.formation_energies.tolist() == [1.0, 2.0, 1.0, 1.0]
    training, validation = split_by_trajectory(found, 0.5, seed=0)
    assert {*training.tolist(), *validation.tolist()} == {0, 1, 2, 3}
    for line, got in (
        ("one,2,5", "1,5 for 'one' in row 0 and 2,5 for 'one' in row 2"),
        ("one,1,7", "1,5 for 'one' in row 0 and 1,7 for 'one' in row 2"),
        ("one.json,3,5", "1,5 for 'one' in row 0 and 3,5 for 'one.json' in row 2"),
    ):
        path = folder(tmp_path / "set", f"one,1,5\ntwo,2,6\n{line}\n")
        expected = f"expected one line of 'one' in targets.csv of {path}, got {got}"
        with pytest.raises(ValueError, match=re.escape(expected)):
            read_labelled(path)


@pytest.mark.parametrize("titles", ["id,gap,energy,gap", "id,gap,name,g", "id,e,g,name"])
def test_columns_that_a_table_names_twice(tmp_path: Path, titles: str) -> None:
    path = folder(tmp_path / "set", f"{titles}\none,1,2,3\n")
    with pytest.raises(ValueError, match="expected titles that differ from each other and from"):
        read_labelled(path)


def test_energies_and_forces_of_other_names(tmp_path: Path) -> None:
    """What belongs to other energies than those that are chosen is not used with them."""
    frames = [molecule("H2"), molecule("H2O")]
    for number, atoms in enumerate(frames):
        with_results(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)))
        atoms.arrays["dft_forces"] = np.full((len(atoms), 3), 1.0 + number)
        atoms.info.update(dft=-7.0 - number, e_form=0.5, label="a")
    path = tmp_path / "set.extxyz"
    ase.io.write(path, frames)
    plain, keys = read_with_keys(path)
    assert keys.energies == {"dft": 2, "energy": 2}
    assert keys.forces == {"dft_forces": 2, "forces": 2}
    assert plain.energies.tolist() == [-1.0, -1.0]
    assert plain.formation_energies.tolist() == [0.5, 0.5]
    same = read_labelled(path, energy_key="energy", forces_key="forces")
    assert same.formation_energies.tolist() == [0.5, 0.5]
    assert same.forces is not None
    assert same.forces[0].max() == 0.0
    other = read_labelled(path, energy_key="dft")
    assert other.energies.tolist() == [-7.0, -8.0]
    assert np.isnan(other.formation_energies).all()
    assert other.forces is None
    both = read_labelled(path, energy_key="dft", forces_key="dft_forces", bulk={"H": -3, "O": 0})
    np.testing.assert_allclose(both.formation_energies, [-0.5, -2.0 / 3.0])
    assert both.forces is not None
    assert [forces.max() for forces in both.forces] == [1.0, 2.0]
    names = "the structure has forces, dft_forces"
    with pytest.raises(ValueError, match=f"expected forces 'none' of structure 0 of .*: {names}"):
        read_labelled(path, forces_key="none")
    with pytest.raises(ValueError, match=r"a number 'label' of structure 0 .*has energy, dft"):
        read_labelled(path, energy_key="label")
    # The columns of a set of jaxrecon's have names, too.
    write_labelled(tmp_path / "set.npz", plain)
    stored, keys = read_with_keys(tmp_path / "set.npz", energy_key="dft")
    assert (keys.energies, keys.forces) == ({"energy": 2, "dft": 2}, {"forces": 2})
    assert stored.energies.tolist() == [-7.0, -8.0]
    assert stored.forces is None
    assert np.isnan(stored.formation_energies).all()
    with pytest.raises(
        ValueError, match=r"a number 'pbe' of every structure in .*, got energy, dft"
    ):
        read_labelled(tmp_path / "set.npz", energy_key="pbe")
    with pytest.raises(ValueError, match=r"expected forces 'f' in .*, got forces"):
        read_labelled(tmp_path / "set.npz", forces_key="f")


def test_forces_without_energies_of_their_own_stay(tmp_path: Path) -> None:
    water = with_results(molecule("H2O"), forces=np.ones((3, 3)))
    water.info["dft"] = -14.0
    ase.io.write(tmp_path / "set.extxyz", water)
    assert read_labelled(tmp_path / "set.extxyz", energy_key="dft").forces is not None


def test_tables_with_total_energies(tmp_path: Path) -> None:
    """With the energies of the elements, the numbers of a table are total energies."""
    path = folder(tmp_path / "set", "one,-14\n")
    found = read_labelled(path, bulk={"H": -3.0, "O": -5.0})
    assert found.energies.tolist() == [-14.0]
    assert found.formation_energies.tolist() == [-1.0]
    with pytest.raises(ValueError, match=r"expected total energies .*, got none .*--energy-key"):
        read_labelled(path, quantity="e_form", bulk={"H": -3.0, "O": -5.0})


def test_several_sources_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    ase.io.write(place / "a.extxyz", [with_results(molecule("H2"), energy=-1.0), molecule("O2")])
    other = molecule("N2")
    other.info.update(trajectory=7, gap=1.5, word="b")
    ase.io.write(place / "b.extxyz", [other, other])
    content = (place / "b.extxyz").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    found = read_labelled([place, "-", place / "b.extxyz"])
    assert found.structures is not None
    assert [str(atoms.symbols) for atoms in found.structures] == ["H2", "O2", *["N2"] * 6]
    assert found.trajectories.tolist() == [0, 1, 2, 2, 3, 3, 4, 4]
    np.testing.assert_array_equal(found.columns["gap"], [np.nan] * 2 + [1.5] * 6)
    assert found.columns["word"].tolist() == [""] * 2 + ["b"] * 6
    np.testing.assert_array_equal(found.energies, [-1.0] + [np.nan] * 7)
    once, twice = load("pt10_pbe"), read_labelled(["pt10_pbe", "pt10_pbe"])
    assert len(twice) == 2 * len(once)
    assert len(set(twice.trajectories)) == 2 * len(set(once.trajectories))


def test_sources_that_can_not_be_joined(tmp_path: Path) -> None:
    for name, row in {"pt": "1,2,3", "pd": "1,2"}.items():
        (tmp_path / f"{name}_x.csv").write_text(f"{row}\n")
        (tmp_path / f"{name}_y.csv").write_text("0.5\n")
    joined = read_labelled([tmp_path / "pt_x.csv"] * 2)
    assert joined.fingerprints is not None
    assert joined.fingerprints.shape == (2, 3)
    with pytest.raises(ValueError, match=r"fingerprints of one length, got \[2, 3\]"):
        read_labelled([tmp_path / "pt_x.csv", tmp_path / "pd_x.csv"])
    with pytest.raises(ValueError, match="all have structures, or fingerprints alone, got pt10"):
        read_labelled(["pt10", tmp_path / "pt_x.csv"])
    with pytest.raises(ValueError, match="got none"):
        read_labelled([])
