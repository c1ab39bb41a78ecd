"""What verbs read: several files, folders, standard input; slabs and wires; total energies."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from commands import run

from jaxrecon import featurize
from jaxrecon.datasets import read_labelled
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.structures.io import read_structures

pytestmark = pytest.mark.usefixtures("command_line")
Typed = Callable[[str], None]

SLAB = Atoms("HO", [(0, 0, 5), (0, 1, 5)], cell=[3, 4, 10], pbc=(True, True, False))
WIRE = Atoms("HO", [(0, 5, 5), (1, 5, 5)], cell=[3, 10, 10], pbc=(True, False, False))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Put a file on standard input."""

    def put(path: str) -> None:
        content = io.BytesIO(Path(path).read_bytes())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))

    return put


@pytest.fixture
def files(command_line: None) -> None:
    """Structures in a file of two, in a folder of two, and in one of another format."""
    ase.io.write("two.extxyz", [molecule("H2O"), molecule("OH")])
    Path("folder").mkdir()
    ase.io.write("folder/b.xyz", molecule("H2"))
    ase.io.write("folder/a.extxyz", molecule("O2"))
    ase.io.write("one.xyz", molecule("H2O2"))


ALL = ["OH2", "OH", "O2", "H2", "O2H2"]
"""Formulas of all structures, in order."""


@pytest.mark.usefixtures("files")
def test_a_run_on_several_sources_and_its_repetition(typed: Typed) -> None:
    typed("one.xyz")
    assert run("fingerprint two.extxyz folder - -o all.npz --preset fung2022") == 0
    found = read_fingerprints("all.npz")
    assert found.formulas == ALL
    settings = yaml.safe_load(Path("all.npz.yaml").read_text())
    assert settings["structures"] == ["two.extxyz", "folder", "-"]
    typed("one.xyz")
    assert run("fingerprint --config all.npz.yaml -o again.npz") == 0
    np.testing.assert_array_equal(read_fingerprints("again.npz").values, found.values)
    # Sources on the command line replace those of the file.
    assert run("fingerprint one.xyz --config all.npz.yaml -o other.npz") == 0
    assert read_fingerprints("other.npz").formulas == ["O2H2"]
    # One source may stand without brackets.
    Path("one.yaml").write_text("\ufeffstructures: one.xyz\npreset: fung2022\n", encoding="utf-8")
    assert run("fingerprint --config one.yaml -o single.npz") == 0
    assert read_fingerprints("single.npz").formulas == ["O2H2"]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("judge two.extxyz folder - -o out.extxyz --quiet --bulk H=0,O=0", 5),
        ("dataset sample two.extxyz folder - -n 5 -o out.extxyz", 5),
        ("dataset sample - -n 1 -o out.extxyz", 1),
    ],
)
def test_verbs_that_write_structures(line: str, count: int, typed: Typed) -> None:
    typed("one.xyz")
    assert run(line) == 0
    found = read_structures("out.extxyz")
    assert sorted(str(atoms.symbols) for atoms in found) == sorted(ALL[-count:])
    typed("one.xyz")
    verb = line.partition(" two.ext")[0].partition(" - ")[0]
    assert run(f"{verb} --config out.extxyz.yaml -o b.extxyz") == 0
    again = read_structures("b.extxyz")
    assert [str(atoms.symbols) for atoms in again] == [str(atoms.symbols) for atoms in found]


@pytest.mark.usefixtures("files")
def test_match_of_folders_and_standard_input(
    typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("match folder folder") == 0
    assert "2 of 2 match tightly" in capsys.readouterr().out
    typed("two.extxyz")
    assert run("match - two.extxyz -o table.json") == 0
    assert "2 of 2 match tightly" in capsys.readouterr().out
    assert json.loads(Path("table.json").read_text())["found"] == "-"
    typed("two.extxyz")
    assert run("match - -") == 2
    assert "expected standard input for FOUND or TRUTH, got it for both" in capsys.readouterr().err


@pytest.mark.usefixtures("files")
def test_evaluate_and_explore(
    typed: Typed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("two.extxyz", "one.xyz", "folder/a.extxyz", "folder/b.xyz"):
        frames = read_structures(name)
        for atoms in frames:
            atoms.info.update(target=1.0, e_form=1.0, judged_by="emt")
        ase.io.write(name, frames, format="extxyz")
    typed("one.xyz")
    assert run("evaluate table2 two.extxyz folder - -o table.json") == 0
    assert [rows[0]["count"] for rows in json.loads(Path("table.json").read_text()).values()] == [
        2,
        2,
        1,
    ]
    shown: dict[str, Any] = {}

    def explore(labelled: Any, page: Path, *, title: str, **_: object) -> int:
        shown.update(count=len(labelled), page=str(page), title=title)
        return len(labelled)

    monkeypatch.setattr("jaxrecon.plotting.explorer.explore", explore)
    monkeypatch.setattr("jaxrecon.plotting.explorer.check_packages", lambda _: None)
    typed("one.xyz")
    assert run("explore two.extxyz folder -") == 0
    assert shown == {"count": 5, "page": "two.html", "title": "two.extxyz folder -"}
    assert run("explore folder/") == 0
    assert shown == {"count": 2, "page": "folder.html", "title": "folder"}
    typed("one.xyz")
    assert run("explore -") == 2
    assert "expected --output with a page like out.html" in capsys.readouterr().err
    assert run("explore - -o page.html") == 0
    assert shown["count"] == 1


def test_slabs_and_wires_between_crystals_and_molecules() -> None:
    mixed = [molecule("H2O"), SLAB, WIRE, bulk("O", "sc", a=3.0)]
    ase.io.write("mixed.extxyz", mixed)
    ase.io.write("slab.xyz", SLAB, format="extxyz")
    assert run("fingerprint slab.xyz -o slab.npz") == 0
    assert run("fingerprint mixed.extxyz -o mixed.npz") == 0
    found = read_fingerprints("mixed.npz")
    assert found.fingerprint is not None
    # One fingerprint serves all, with all images of what is periodic.
    assert (found.fingerprint.images, found.fingerprint.descriptor.r_cut) == ("all", 6.0)
    assert found.pbc == [(False,) * 3, (True, True, False), (True, False, False), (True,) * 3]
    np.testing.assert_allclose(found.values, featurize(mixed, found.fingerprint))
    np.testing.assert_allclose(found.values[1:2], read_fingerprints("slab.npz").values)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "got a slab in row 1 (periodic axes T T F): choose other rows by --rows"),
        ("--rows 0,2", "got a wire in row 2 (periodic axes T F F): choose other rows by --rows"),
        ("--rows 1 --cell '3 4 10'", "got a slab in row 1"),
        ("--rows 1 --cell unknown", "got a slab in row 1"),
    ],
)
def test_slabs_are_refused_before_the_search(
    rows: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work must not begin")

    ase.io.write("mixed.extxyz", [molecule("H2O"), SLAB, WIRE])
    assert run("fingerprint mixed.extxyz -o mixed.npz") == 0
    monkeypatch.setattr("jaxrecon.cli.options.start_jax", work)
    assert run(f"reconstruct mixed.npz -o out.extxyz {rows}") == 2
    assert message in capsys.readouterr().err
    assert not Path("out.db").exists()


def test_a_slab_that_is_judged_gets_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write("mixed.extxyz", [molecule("H2O"), SLAB])
    assert run("judge mixed.extxyz -o out.extxyz --quiet --bulk H=0,O=0") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "structure 1 has no energy: ValueError: expected a structure periodic along all" in first
    assert "1 of 2 structures judged" in second


def total_energies(count: int = 60) -> None:
    """Write Cu3 clusters with total energies and forces under two names."""
    frames = []
    for seed in range(count):
        atoms = Atoms("Cu3", random_cluster("Cu3", seed).positions)
        atoms.calc = EMT()
        atoms.info["dft"] = atoms.get_potential_energy() + 1.0
        atoms.arrays["dft_forces"] = atoms.get_forces()
        frames.append(atoms)
    ase.io.write("total.extxyz", frames)


def test_sets_with_total_energies(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    total_energies()
    assert run("train total.extxyz -o model --quiet") == 2
    said = capsys.readouterr().err
    assert "expected formation energies of all 60 examples, got nan for 60 of them" in said
    assert "give the energies of the elements by --bulk, in Python" in said
    assert run("dataset info total.extxyz") == 0
    said = capsys.readouterr().out
    assert "energies: total energies of 60 of 60 structures in eV" in said
    assert "--bulk with the energy of each element gives them" in said
    assert "forces: forces of 60 of 60 structures in eV/Angstrom, largest" in said
    assert "names for --energy-key: energy (60), free_energy (60), dft (60)" in said
    assert "names for --forces-key: forces (60), dft_forces (60)" in said
    assert run("dataset info total.extxyz --json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["energy_keys"] == {"energy": 60, "free_energy": 60, "dft": 60}
    assert report["forces_keys"] == {"dft_forces": 60, "forces": 60}

    assert run("design total.extxyz --target 1 -o loop --quiet") == 2
    assert "expected formation energies of all 60 examples" in capsys.readouterr().err
    assert not Path("loop").exists()

    keys = "--energy-key dft --forces-key dft_forces --bulk Cu=0.5"
    assert run(f"dataset info total.extxyz {keys}") == 0
    assert "e_form: formation energies of 60 of 60" in capsys.readouterr().out
    assert run(f"dataset sample total.extxyz -n 5 -o few.npz {keys}") == 0
    expected = read_labelled(
        "total.extxyz", energy_key="dft", forces_key="dft_forces", bulk={"Cu": 0.5}
    )
    few = read_labelled("few.npz")
    assert set(few.formation_energies) <= set(expected.formation_energies)
    # The models get the same, and so do those of a design.
    learned: dict[str, Any] = {}

    def learn(labelled: Any, *_: object, **__: object) -> None:
        learned["energies"] = labelled.formation_energies.tolist()
        raise ValueError("enough")

    monkeypatch.setattr("jaxrecon.models.training.train", learn)
    monkeypatch.setattr("jaxrecon.inverse_design.closed_loop.design", learn)
    for line in ("train total.extxyz -o model", "design total.extxyz --target 1 -o loop"):
        learned.clear()
        assert run(f"{line} --quiet {keys}") == 2
        assert learned["energies"] == expected.formation_energies.tolist()


def test_bulk_energies_of_a_design_leave_known_formation_energies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are those of the calculator, and the set may be of another one."""
    learned: dict[str, Any] = {}

    def learn(labelled: Any, *_: object, bulk: Any, **__: object) -> None:
        learned.update(energies=labelled.formation_energies, bulk=bulk)
        raise ValueError("enough")

    monkeypatch.setattr("jaxrecon.inverse_design.closed_loop.design", learn)
    assert run("design pt10_pbe --target 2 -o loop --quiet --bulk Pt=-1") == 2
    np.testing.assert_array_equal(learned["energies"], read_labelled("pt10_pbe").formation_energies)
    assert learned["bulk"] == {"Pt": -1.0}


@pytest.mark.parametrize(
    "text", ["Pt", "Pt=", "=1", "Qq=1", "Pt=1,Pt=2", "Pt=nan", "Pt=1;Au=2", "pt=1", "", "X=1"]
)
def test_energies_of_elements_that_are_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"dataset info pt10 --bulk '{text}'") == 2
    assert "expected --bulk like Pt=-5.83,Au=-3.2, got" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["Pt=-1e1", " Pt = -10.0 , Au=3", "Pt=-10,Pt=-10.0"])
def test_energies_of_elements(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    total_energies(1)
    assert run(f"dataset info total.extxyz --bulk 'Cu=1,{text}'") == 0
    assert "formation energies of 1 of 1" in capsys.readouterr().out
