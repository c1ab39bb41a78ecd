"""The verbs doctor and match: the state of the installation, and comparisons of structures."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from commands import run

from jaxrecon.cli import doctor
from jaxrecon.structures import compare

pytestmark = pytest.mark.usefixtures("command_line")
TRIAL = {"residual": 1e-15, "certified": True, "seconds": 2.0}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is replaced: it takes seconds to compile, and other tests search too."""
    monkeypatch.setattr(doctor, "_trial", lambda: dict(TRIAL))


@pytest.mark.usefixtures("tried")
def test_all_is_well(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ase" or None)
    monkeypatch.delenv("ASE_VASP_COMMAND", raising=False)
    assert run("doctor") == 0
    said = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()[:-1])
    said = {name: value.strip() for name, value in said.items()}
    assert said["jax"] == importlib.metadata.version("jax")
    assert said["trial"] == "Pt3 from its fingerprint, residual 1.0e-15 in 2.0 s"
    assert said["calculator emt"] == "installed"
    assert said["calculator xtb"] == 'pip install "jaxrecon[xtb]"'
    assert said["calculator vasp"].startswith("export ASE_VASP_COMMAND")
    assert run("doctor --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == []
    assert found["trial"] == TRIAL
    assert found["machine"]["memory"]["total"] > found["machine"]["memory"]["free"] > 0
    assert sum(device["count"] for device in found["devices"]) >= 1


def test_the_cache_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import jax

    for name, size in (("one-cache", 100), ("two-cache", 24), ("two-atime", 8)):
        (tmp_path / name).write_bytes(b"x" * size)
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", str(tmp_path), raising=False)
    assert doctor._cache() == {"on": True, "path": str(tmp_path), "programs": 2, "bytes": 124}


@pytest.mark.usefixtures("tried")
def test_what_is_wrong_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An excluded version, a missing package, and a trial that fails are reported."""
    lines = ["jax>=0.10.1,!=0.10.2", "flax>=0.12", "none-such>=1", "other; extra == 'more'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    versions = {"jax": "0.10.2", "flax": "0.13", "jaxrecon": "1"}
    monkeypatch.setattr(doctor, "version_of", versions.get)

    def failing() -> None:
        raise RuntimeError("no device")

    monkeypatch.setattr(doctor, "_trial", failing)
    assert run("doctor") == 1
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("fault: ")] == [
        "fault: expected jax!=0.10.2,>=0.10.1, got 0.10.2",
        "fault: expected none-such>=1, got none",
        "fault: the trial ended with RuntimeError: no device",
    ]
    assert "no faults found" not in said
    monkeypatch.setattr(doctor, "_trial", lambda: {**TRIAL, "certified": False, "residual": 0.1})
    assert run("doctor --json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["faults"][-1] == "the trial ended with a residual of 1.0e-01"


@pytest.mark.slow
def test_the_trial_is_certified() -> None:
    trial = doctor._trial()
    assert trial["certified"]
    assert trial["residual"] <= 1e-6


def test_match_says_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    water, salt = molecule("H2O"), bulk("NaCl", "rocksalt", a=5.64)
    turned = water[[2, 0, 1]]
    turned.rotate(40.0, "x")
    far = water.copy()
    far.positions[1] += 0.3
    near, strained = salt.copy(), salt.copy()
    near.positions[0] += 0.15
    strained.set_cell(salt.cell * 1.2, scale_atoms=True)
    ase.io.write("found.extxyz", [turned, far, salt * (1, 1, 1), near, strained])
    ase.io.write("truth.extxyz", [water, water, salt, salt, salt])
    assert run("match found.extxyz truth.extxyz -o table.json") == 0
    lines = capsys.readouterr().out.splitlines()
    matches = [line.split()[-1] for line in lines[1:-1]]
    assert matches == ["tight", "none", "tight", "loose", "loose"]
    assert lines[-1].startswith("2 of 5 match tightly (nothing scaled), 4 loosely (crystals scaled")
    table = json.loads(Path("table.json").read_text())
    assert (table["pairs"], table["tight"], table["loose"]) == (5, 2, 4)
    assert table["matches"][0]["rmsd"] < 1e-6
    # The cells differ too much for a deviation.
    assert table["matches"][4]["rmsd"] is None
    assert table["matches"][4]["volume"] == pytest.approx(1.2**3 - 1.0)
    assert math.isinf(compare.compare([strained], [salt])[0].rmsd)
    deviations = [pair["rmsd"] for pair in table["matches"][:4]]
    assert table["median_rmsd"] == pytest.approx(np.median(deviations))
    assert run("match found.extxyz truth.extxyz -o table.json") == 2


def test_what_can_not_be_compared_is_a_row_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    water = molecule("H2O")
    boxed = molecule("H2O", cell=[5, 5, 5], pbc=True)
    ase.io.write("found.extxyz", [molecule("CO"), boxed, water])
    ase.io.write("truth.extxyz", [water] * 3)
    assert run("match found.extxyz truth.extxyz") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("- (CO and H2O)")
    assert lines[2].endswith("- (3 and 0 periodic axes)")
    assert lines[3].endswith("tight")
    ase.io.write("found.extxyz", [water] * 2)
    assert run("match found.extxyz truth.extxyz") == 2
    assert "both, got 2 in found.extxyz and 3 in truth.extxyz" in capsys.readouterr().err
