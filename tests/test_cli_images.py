"""`jaxrecon images`: crystals to files of images and back, on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from commands import run
from imaging import COARSE, deviation
from pymatgen.core import Structure

from jaxrecon.images import encode, read_images, write_images
from jaxrecon.images.substitution import variants

pytestmark = pytest.mark.usefixtures("command_line")

CRYSTALS = [bulk("NaCl", "rocksalt", a=5.64), bulk("Si")]
SETTINGS = "--cell-grid 16 --basis-grid 32 --sigma 0.5"


@pytest.fixture
def files(command_line: None) -> None:
    ase.io.write("crystals.extxyz", CRYSTALS)
    ase.io.write("water.xyz", ase.Atoms("OH2", np.eye(3)))
    images = encode(CRYSTALS, COARSE)
    write_images("images.npz", images)
    write_images("empty.npz", replace(images[1], basis=0 * images[1].basis))


@pytest.mark.usefixtures("files")
def test_there_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"images encode crystals.extxyz -o made.npz {SETTINGS}") == 0
    made = read_images("made.npz")
    assert [image.elements for image in made] == [("Na", "Cl"), ("Si",)]
    assert made[0].parameters == COARSE
    assert "images of 2 crystals, 106,496 voxels" in capsys.readouterr().out
    assert run("images decode made.npz images.npz -o out.extxyz --json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["crystals"], said["converged"]) == (4, 4, 4)
    for number, atoms in enumerate(ase.io.read("out.extxyz", ":")):
        assert atoms.info["image"] == number
        assert atoms.info["result_code"] == "converged"
        assert deviation(atoms, CRYSTALS[number % 2]) < 1e-6
    results = json.loads(Path("out.json").read_text())["results"]
    assert [each["formula"] for each in results] == ["ClNa", "Si2"] * 2
    assert Path("out.extxyz.yaml").exists()


@pytest.mark.usefixtures("files")
def test_images_that_cannot_be_read_have_a_code_and_no_frame() -> None:
    assert run("images decode empty.npz images.npz -o out.extxyz --method argmax") == 0
    frames = ase.io.read("out.extxyz", ":")
    assert [atoms.info["image"] for atoms in frames] == [1, 2]
    results = json.loads(Path("out.json").read_text())["results"]
    assert [each["result_code"] for each in results] == ["no_peak", "stalled", "stalled"]
    assert results[0]["residual"] is None


@pytest.mark.usefixtures("files")
def test_crystals_by_substitution(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [("rock salt", Structure.from_ase_atoms(CRYSTALS[0]))]
    monkeypatch.setattr("jaxrecon.images.substitution._prototypes", lambda: named)
    assert run("images build --elements V,O --copies 2 -o oxides.extxyz --known water.xyz") == 2
    assert "expected known crystals" in capsys.readouterr().err
    assert run("images build --elements V,O --copies 2 -o oxides.extxyz") == 0
    assert "6 crystals, 2 prototypes with 2 copies each" in capsys.readouterr().out
    frames = ase.io.read("oxides.extxyz", ":")
    assert [atoms.info["variant"] for atoms in frames] == [0, 1, 2] * 2
    assert [atoms.info["prototype"] for atoms in frames] == ["rock salt"] * 6
    # Of prototypes of one's own, silicon has no second element.
    line = "images build --elements V,O --copies 0 --prototypes"
    assert run(f"{line} crystals.extxyz -o own.extxyz") == 0
    own = ase.io.read("own.extxyz", ":")
    assert [atoms.info["prototype"] for atoms in own] == ["NaCl 0"] * 2
    assert own[0].get_volume() == pytest.approx(frames[0].get_volume())
    assert run(f"{line} water.xyz -o other.extxyz") == 2
    assert "expected prototypes that are periodic" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("files")
def test_autoencoders_are_trained_and_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training with other settings does not continue the one that is there."""
    monkeypatch.setattr("jaxrecon.models.fitting.MIN_VALIDATION_LOSSES", 4)
    atoms = bulk("NaCl", "rocksalt", a=5.0)
    seen = variants(atoms, 12)
    for number, each in enumerate(seen):
        each.info["e_form"] = number / 11
    ase.io.write("seen.extxyz", seen)
    line = "images train seen.extxyz --elements Na,Cl -o model --cell-grid 16 --basis-grid 16"
    line += " --box 9 --sigma 0.6 --epochs 1 --validation 2 --quiet"
    Path("model.training").mkdir()
    assert run(line) == 2
    Path("model.training").rmdir()
    assert run(line) == 0
    assert "trained on 10 crystals; least validation loss" in capsys.readouterr().out
    assert not Path("model.training").exists()
    assert run(line) == 2
    capsys.readouterr()
    assert run("images evaluate seen.extxyz --model model -o scores.json --json") == 0
    said = json.loads(capsys.readouterr().out)
    scores = json.loads(Path("scores.json").read_text())
    assert said["crystals"] == len(scores["crystals"]) == 12
    assert scores["summary"]["right_number_of_atoms"] == said["right_number_of_atoms"]
    assert set(scores["crystals"][0]) == {"formula", "right", "deviation", "lengths", "angles"}
    assert run("images evaluate crystals.extxyz --model model -o other.json") == 2
    assert "Na, Cl, got Si of structure 1" in capsys.readouterr().err
    assert run("images evaluate seen.extxyz --model none -o other.json") == 2
    capsys.readouterr()
    assert run("images generate seen.extxyz --model model -o new.extxyz") == 2
    assert "expected a model trained with --energy-key" in capsys.readouterr().err
    assert run(f"{line} --force --energy-key none") == 2
    assert "expected formation energies named none in the files" in capsys.readouterr().err
    assert run(f"{line} --force --energy-key e_form --generator-epochs 1") == 0
    capsys.readouterr()
    code = run("images generate seen.extxyz --model model -o new.extxyz --way around --count 2")
    said = capsys.readouterr()
    assert (code == 0 and "of 24 samples" in said.out) or "got none among 24 samples" in said.err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("encode water.xyz -o out.npz", "expected a crystal, periodic along all three axes"),
        ("encode crystals.extxyz -o out.npz --elements Si", "Si, got Cl, Na of structure 0"),
        ("encode crystals.extxyz -o out.npz --basis-grid 31", "expected basis_grid to be an even"),
        ("encode crystals.extxyz -o out.xyz", "expected an output ending in .npz"),
        ("encode crystals.extxyz -o images.npz", "expected no file in the way or --force"),
        ("decode crystals.extxyz -o out.extxyz", "an .npz file of images that jaxrecon wrote"),
        ("decode none.npz -o out.extxyz", "none.npz, which does not exist"),
        ("decode images.npz -o out.extxyz --threshold 2", "expected threshold to be a number > 0"),
        ("decode images.npz -o out.extxyz --min-distance Na", "Angstrom like V-O=1.2, got 'Na'"),
        ("decode images.npz -o out.extxyz --min-distance NaCl=1", "two elements like 'V-O'"),
        ("decode empty.npz -o out.extxyz", "expected images of crystals, got 1 that are no_peak"),
        ("decode images.npz -o out.json", "expected an output of structures, not .json"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(Path().iterdir())
    code = run(f"images {line}")
    said = capsys.readouterr()
    assert (code, said.err.count("\n"), said.out) == (2, 1, "")
    assert message in said.err
    assert set(Path().iterdir()) == before
