"""Labelled sets: lengths, selections, files, frames, embedded sets and splits."""

from __future__ import annotations

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrecon import datasets
from jaxrecon.datasets.embedded import load
from jaxrecon.datasets.frames import to_frames
from jaxrecon.datasets.io import read_labelled, write_labelled
from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.datasets.labelled_npz import read_npz

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def example(count: int = 5, seed: int = 0) -> LabelledSet:
    """Free and periodic structures of several sizes; something unknown in every column."""
    random = np.random.default_rng(seed)
    structures, forces = [], []
    for number in range(count):
        symbols = ["Pt", "CuPt2", "OH2"][number % 3]
        size = len(Atoms(symbols))
        cell = 5.0 * np.eye(3) + random.normal(size=(3, 3)) if number % 2 else None
        atoms = Atoms(symbols, random.normal(size=(size, 3)), cell=cell, pbc=number % 2 == 1)
        structures.append(atoms)
        unknown = number == 1
        forces.append(np.full((size, 3), np.nan) if unknown else random.normal(size=(size, 3)))
    energies, formation = random.normal(size=(2, count))
    energies[:1], formation[-1:] = np.nan, np.nan
    pbe = np.where(np.arange(count) % 2, random.normal(size=count), np.nan)
    return LabelledSet.of(
        structures,
        energies=energies,
        formation_energies=formation,
        trajectories=random.integers(0, 3, count),
        kinds=[["minimum", "rattled"][number % 2] for number in range(count)],
        forces=forces,
        columns={
            "e_form_pbe": pbe,
            "fps300": np.arange(count) % 3 == 0,
            "step": np.arange(count),
            "source": np.array(["here", "there"])[np.arange(count) % 2],
        },
        metadata={"command": "build", "settings": {"fmax": 0.05, "names": ["a", "b"]}},
    )


def assert_same(found: LabelledSet, expected: LabelledSet, digits: float = 0.0) -> None:
    """Compare exactly, but positions and forces to some digits."""
    assert len(found) == len(expected)
    for name in ("energies", "formation_energies", "trajectories"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.kinds == expected.kinds
    assert found.columns.keys() == expected.columns.keys()
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)
        assert found.columns[name].dtype.kind == values.dtype.kind
    assert found.metadata == expected.metadata
    assert found.structures is not None
    assert expected.structures is not None
    for atoms, other in zip(found.structures, expected.structures, strict=True):
        assert atoms.numbers.tolist() == other.numbers.tolist()
        assert atoms.pbc.tolist() == other.pbc.tolist()
        np.testing.assert_allclose(atoms.cell.array, other.cell.array, atol=digits)
        np.testing.assert_allclose(atoms.positions, other.positions, atol=digits)
    assert found.forces is not None
    assert expected.forces is not None
    for forces, others in zip(found.forces, expected.forces, strict=True):
        np.testing.assert_allclose(forces, others, atol=digits)


@in_one_directory
@given(seed=st.integers(0, 1000), count=st.integers(2, 7))
def test_npz_returns_what_was_written(tmp_path, seed, count):
    expected = example(count, seed)
    write_labelled(tmp_path / "set.npz", expected)
    assert_same(read_npz(tmp_path / "set.npz"), expected, digits=1e-6)
    first = (tmp_path / "set.npz").read_bytes()
    write_labelled(tmp_path / "set.npz", read_npz(tmp_path / "set.npz"))
    assert (tmp_path / "set.npz").read_bytes() == first


@in_one_directory
@given(seed=st.integers(0, 1000), count=st.integers(2, 7))
def test_extxyz_returns_what_was_written(tmp_path, seed, count):
    expected = example(count, seed)
    write_labelled(tmp_path / "set.extxyz", expected)
    assert_same(read_labelled(tmp_path / "set.extxyz"), expected, digits=1e-7)


def test_other_programs_find_energies_and_forces_in_extxyz(tmp_path):
    labelled = example()
    write_labelled(tmp_path / "set.extxyz", labelled)
    frames = ase.io.read(tmp_path / "set.extxyz", ":")
    assert frames[2].get_potential_energy() == labelled.energies[2]
    np.testing.assert_allclose(frames[2].get_forces(), labelled.forces[2], atol=1e-7)
    assert set(frames[0].calc.results) == {"forces"}
    assert set(frames[1].calc.results) == {"energy"}
    assert frames[2].info["kind"] == "minimum"
    assert "e_form_pbe" not in frames[2].info


def test_fingerprints_alone(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3))
    alone = LabelledSet.of(fingerprints=values, formation_energies=[1.0, 2.0, 3.0, 4.0])
    write_labelled(tmp_path / "set.npz", alone)
    found = read_npz(tmp_path / "set.npz")
    assert found.structures is None
    assert found.fingerprints.tobytes() == values.tobytes()
    assert found.select([2]).fingerprints.tolist() == values[[2]].tolist()
    with pytest.raises(ValueError, match=re.escape("expected an .npz file to write fingerprints")):
        write_labelled(tmp_path / "set.extxyz", alone)
    with pytest.raises(ValueError, match="expected a set of structures, got one of fingerprints"):
        to_frames(alone)


def test_missing_labels_are_unknown():
    bare = LabelledSet.of([Atoms("Pt"), Atoms("Pt")])
    assert np.isnan([bare.energies, bare.formation_energies]).all()
    assert (bare.trajectories.tolist(), bare.kinds) == ([0, 1], ["unknown", "unknown"])
    assert (bare.forces, bare.fingerprints, bare.columns, bare.metadata) == (None, None, {}, {})
    assert repr(bare) == "<LabelledSet of 2 structures>"


def test_select_keeps_the_order_asked_for(tmp_path):
    labelled = example()
    part = labelled.select([3, 0])
    again = labelled.select(np.array([True, False, False, True, False]).nonzero()[0])
    for name in ("energies", "formation_energies", "trajectories"):
        np.testing.assert_array_equal(getattr(part, name), getattr(labelled, name)[[3, 0]])
    assert part.kinds == ["rattled", "minimum"]
    assert [str(atoms.symbols) for atoms in part.structures] == ["Pt", "Pt"]
    assert part.forces[0] is labelled.forces[3]
    assert part.columns["step"].tolist() == [3, 0]
    assert again.columns["step"].tolist() == [0, 3]
    assert part.metadata == labelled.metadata
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=f"expected indices among 0-4, got {wrong}"):
            labelled.select([0, wrong])


def test_frames_leave_the_structures_alone():
    labelled = example()
    to_frames(labelled)[2].positions += 1.0
    assert labelled.structures[2].calc is None
    assert labelled.structures[2].info == {}
    assert np.abs(labelled.structures[2].positions).max() < 4.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"structures": None}, "expected structures or fingerprints, got neither"),
        ({"energies": [1.0]}, "expected 1 structures, got 2"),
        ({"formation_energies": [1.0]}, "expected 2 formation_energies, got 1"),
        ({"trajectories": [1]}, "expected 2 trajectories, got 1"),
        ({"kinds": ["a", "b", "c"]}, "expected 2 kinds, got 3"),
        ({"forces": [np.ones((1, 3))]}, "expected 2 forces, got 1"),
        ({"forces": [np.ones((1, 3))] * 2}, "forces of shape (2, 3) for structure 1, got (1, 3)"),
        ({"fingerprints": np.ones((3, 1))}, "expected 2 fingerprints, got 3"),
        ({"columns": {"a": np.ones(3)}}, "expected 2 a, got 3"),
        ({"columns": {"a": np.ones((2, 2))}}, "in column a, one per structure, got shape (2, 2)"),
        ({"columns": {"a": np.array([{}, 1])}}, "and type object"),
    ],
)
def test_labels_that_do_not_fit_are_refused(unchecked, changes, message):
    known = {"structures": [Atoms("Pt"), Atoms("Pt2")], "energies": [1.0, 2.0]}
    with pytest.raises(ValueError, match=re.escape(message)):
        LabelledSet.of(**{**known, **changes})


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=re.escape("to be written to .npz or .extxyz, got")):
        write_labelled(tmp_path / "set.csv", example())
    assert list(tmp_path.iterdir()) == []


def save(path: Path, **changes: object) -> Path:
    write_labelled(path, example())
    with np.load(path) as archive:
        content = {**archive, **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "expected version 1 of the format"),
        ({"energy": None, "kind": None}, "without ['energy', 'kind']"),
        ({"e_form": np.ones(4)}, "with e_form of shape (4,)"),
        ({"trajectory": np.ones(5)}, "with trajectory of shape (5,) and type float64"),
        ({"positions": None}, "without ['positions']"),
        ({"positions": np.ones((2, 3))}, "with positions of shape (2, 3)"),
        ({"forces": np.ones((2, 3))}, "with forces of shape (2, 3)"),
        ({"atoms": np.array([1, 3, 3, 1, 2])}, "with 11 atoms in structures of [1, 3, 3, 1, 2]"),
        ({"atoms": np.array([11, 0, 0, 0, 0])}, "with 11 atoms in structures of [11, 0, 0, 0, 0]"),
        ({"metadata": "{"}, "with unreadable metadata"),
        ({"metadata": "[1]"}, "with unreadable metadata"),
        ({"column:step": np.ones(4)}, "expected 5 step, got 4"),
        ({"numbers": np.full(11, 200, np.uint8)}, "with atomic numbers 200-200"),
        ({"numbers": np.arange(11, dtype=np.uint8)}, "with atomic numbers 0-10"),
    ],
)
def test_npz_of_another_program_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_npz(save(tmp_path / "set.npz", **changes))


@settings(parent=in_one_directory, max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_npz_is_refused_or_read_unharmed(tmp_path, data):
    path = tmp_path / "set.npz"
    expected = example()
    write_labelled(path, expected)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :])
    try:
        found = read_npz(path)
    except ValueError:
        return
    np.testing.assert_array_equal(found.energies, expected.energies)


def test_load_names_the_embedded_sets(monkeypatch, tmp_path):
    from jaxrecon.datasets import embedded

    monkeypatch.setattr(embedded, "DATA", tmp_path / "data")
    with pytest.raises(ValueError, match=re.escape("expected a set among [], got 'pt10'")):
        load()
    expected = example()
    (tmp_path / "data").mkdir()
    for folder in (tmp_path, tmp_path / "data"):
        write_labelled(folder / "pt10.npz", expected)
    assert_same(load(), expected, digits=1e-6)
    with pytest.raises(ValueError, match=re.escape("expected a set among ['pt10'], got '../pt10'")):
        load("../pt10")
    assert datasets.load is load


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=12),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_a_split_keeps_trajectories_together(sizes, fraction, seed):
    names = np.repeat(7 * np.arange(len(sizes)), sizes)
    names = np.random.default_rng(seed).permutation(names)
    labelled = LabelledSet.of([Atoms("Pt")] * len(names), trajectories=names)
    training, validation = split_by_trajectory(labelled, fraction, seed)
    assert sorted([*training, *validation]) == list(range(len(names)))
    assert set(names[training]).isdisjoint(names[validation])
    assert min(len(training), len(validation)) > 0
    assert (np.diff(training) > 0).all()
    # One trajectory more or less would be no nearer; neither side may be empty.
    wanted, longest = fraction * len(names), max(sizes)
    slack = longest / 2 if longest <= wanted <= len(names) - longest else longest
    assert abs(len(validation) - wanted) <= slack
    again = split_by_trajectory(labelled, fraction, seed)
    assert (again[0].tolist(), again[1].tolist()) == (training.tolist(), validation.tolist())


def test_seeds_split_differently():
    labelled = LabelledSet.of([Atoms("Pt")] * 50)
    splits = [split_by_trajectory(labelled, 0.2, seed) for seed in range(2)]
    assert [len(validation) for _, validation in splits] == [10, 10]
    assert splits[0][1].tolist() != splits[1][1].tolist()


@pytest.mark.parametrize(
    ("count", "fraction", "message"),
    [
        (3, 0.0, "expected a fraction between 0 and 1, got 0.0"),
        (3, 1.0, "expected a fraction between 0 and 1, got 1.0"),
        (3, float("nan"), "expected a fraction between 0 and 1, got nan"),
        (1, 0.5, "expected at least two trajectories to split, got 1"),
    ],
)
def test_sets_that_can_not_be_split(count, fraction, message):
    labelled = LabelledSet.of([Atoms("Pt")] * count)
    with pytest.raises(ValueError, match=message):
        split_by_trajectory(labelled, fraction, 0)
