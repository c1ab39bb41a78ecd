"""The verbs train, generate, evaluate and design: their files, and one line for every error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from commands import run
from designing import LEARNING, labelled, trained

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.io import read_labelled, write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design import closed_loop
from jaxrecon.inverse_design.closed_loop import Design
from jaxrecon.inverse_design.evaluation import table1, table2
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model, save_model
from jaxrecon.search.results import Reconstruction, Result, ResultCode

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture
def files(command_line: None) -> None:
    """A labelled set, settings, a model, and judged structures."""
    write_labelled("set.npz", labelled())
    Path("small.json").write_text(json.dumps(LEARNING.to_dict()))
    save_model(trained(), "model")
    judged = [random_cluster("Pt4", seed) for seed in range(80, 84)]
    for number, atoms in enumerate(judged):
        target = 4.0 + number // 2
        atoms.info = {"target": target, "predicted": target + 0.02, "deviation": 0.05}
        atoms.info |= {"accepted": number == 0, "e_form": target + 0.03 * number}
    ase.io.write("judged.extxyz", judged)
    ase.io.write("again.extxyz", judged[:2])
    Path("old.extxyz").write_text("old")


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the search, which returns random clusters."""
    call: dict[str, Any] = {}

    def search(targets: np.ndarray, fingerprint: Fingerprint, **given: Any) -> Reconstruction:
        call.update(given, targets=targets)
        done = given["store"].begin({"seed": given["seed"], "targets": targets.tolist()})
        results = []
        for number in range(len(targets)):
            if call.get("interrupted") == number:
                raise KeyboardInterrupt
            atoms = random_cluster("Pt4", 90 + number)
            result = Result(atoms, 9.0, ResultCode.STALLED, 1, {"values": 1}, 1.0)
            if number not in done:
                given["store"].commit(number, result)
            given["progress"](1, 1)
            results.append(result)
        return Reconstruction(results, [fingerprint], given["config"], given["seed"], 1.0)

    monkeypatch.setattr("jaxrecon.inverse_design.generation.reconstruct", search)
    return call


@pytest.mark.usefixtures("files")
def test_train_writes_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train set.npz -o new --learning small.json --seed 7 --quiet") == 0
    said = capsys.readouterr()
    model = load_model("new")
    assert model.config == LEARNING.replace(seed=7)
    error = f"mean absolute error {model.validation['mae']:.4f} eV/atom on"
    assert said.out.startswith(f"new: trained on {len(model.training)} Pt4 from ")
    assert error in said.out
    assert said.err == ""
    assert not Path("new.training").exists()
    before = Path("new/model.json").read_bytes()
    assert run("train set.npz -o new --learning small.json --quiet") == 2
    assert Path("new/model.json").read_bytes() == before


@pytest.mark.usefixtures("files")
def test_training_that_is_stopped_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def learn(rows: LabelledSet, config: Any, *, folder: Path, **options: Any) -> DesignModel:
        folders.append(folder)
        folder.mkdir(exist_ok=True)
        (folder / "training.json").write_text("{}")
        if len(folders) == 1:
            raise KeyboardInterrupt
        return trained()

    monkeypatch.setattr("jaxrecon.models.training.train", learn)
    line = "train set.npz -o new --quiet"
    assert run(line) == 130
    assert f"checkpoints are in new.training; to continue: jaxrecon {line} --resume" in (
        capsys.readouterr().err
    )
    assert run(line) == 2
    assert "--resume or --force, got new.training" in capsys.readouterr().err
    assert run(f"{line} --resume") == 0
    assert folders == [Path("new.training")] * 2
    assert not folders[0].exists()
    assert run(f"{line} --force") == 0
    # Something else in the place is found before anything is learned.
    Path("other").write_text("hello")
    assert run("train set.npz -o other --quiet --force") == 2
    assert "expected a model or nothing in the place, got other" in capsys.readouterr().err
    assert len(folders) == 3


@pytest.mark.usefixtures("files")
def test_generate_writes_structures_and_numbers(
    asks: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    line = "generate model --target 4.5 -n 3 -o made.extxyz --seed 4 --quiet"
    options = "--hops 7 --pull 0.3 --trust 2"
    assert run(f"{line} {options}") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split()[:2] == ["raw", "3"]
    assert asks["config"].hops == 7
    assert asks["seed"] == 4
    assert (asks["guidance"].pull.item(), asks["guidance"].trust.item()) == (0.3, 2.0)
    made = ase.io.read("made.extxyz", ":")
    assert len(made) == 3
    for number, atoms in enumerate(made):
        assert np.allclose(atoms.positions, random_cluster("Pt4", 90 + number).positions)
        assert atoms.info["target"] == 4.5
        assert {"predicted", "deviation", "residual", "shortest", "known"} <= set(atoms.info)
    details = json.loads(Path("made.json").read_text())
    assert details["raw"]["structures"] == 3
    assert details["config"]["pull"] == 0.3
    assert details["model_folder"] == "model"
    assert run(f"{line} {options} --resume --screened") == 0
    assert (
        len(ase.io.read("made.extxyz", ":") if Path("made.extxyz").stat().st_size else [])
        == (details["screened"]["structures"])
    )
    assert run("generate model --at-least 4 --plain -n 2 -o plain.extxyz --quiet") == 0
    assert asks["guidance"] is None
    assert ase.io.read("plain.extxyz").info["at_least"] == 4.0
    assert run("generate model --at-most 5 --direct -n 2 -o direct.extxyz --quiet") == 0
    assert not asks["targets"].any()


@pytest.mark.usefixtures("files")
def test_generate_that_is_stopped_goes_on(
    asks: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    asks["interrupted"] = 2
    line = "generate model --target 4.5 -n 3 -o made.extxyz --quiet"
    assert run(line) == 130
    said = capsys.readouterr().err
    assert f"2 pieces of work are in made.db; to continue: jaxrecon {line} --resume" in said
    assert not Path("made.extxyz").exists()
    del asks["interrupted"]
    assert run(f"{line} --resume") == 0
    assert len(ase.io.read("made.extxyz", ":")) == 3


@pytest.mark.usefixtures("files", "asks")
def test_a_target_outside_the_data_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate model --target 99 -n 1 -o far.extxyz --quiet") == 0
    said = capsys.readouterr().err
    assert said.startswith("jaxrecon: warning: expected ")
    assert "got 99" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("files")
def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate table2 judged.extxyz -o table.json") == 0
    rows = table2(ase.io.read("judged.extxyz", ":"))
    assert json.loads(Path("table.json").read_text()) == {"judged.extxyz": rows}
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "judged.extxyz:"
    assert len(said.splitlines()) == 2 + len(rows)
    assert run("evaluate table2 judged.extxyz again.extxyz") == 0
    assert "all 2:" in capsys.readouterr().out
    low, high = np.quantile(labelled().formation_energies, [0.4, 0.6]).round(3).tolist()
    options = f"--samples 20 --seed 3 --target {low} --target {high}"
    assert run(f"evaluate table1 model {options} -o one.json") == 0
    (rows,) = json.loads(Path("one.json").read_text()).values()
    expected = table1(trained(), [low, high], samples=20, seed=3)
    assert rows == json.loads(json.dumps(expected))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("line", ["figure7 judged.extxyz", "figure8 judged.extxyz"])
def test_figures(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"evaluate {line} -o drawn.png") == 0
    assert capsys.readouterr().out == f"drawn.png: {line.split()[0]} of 1 input\n"
    assert Path("drawn.png").read_bytes().startswith(b"\x89PNG")
    assert run(f"evaluate {line} -o drawn.png") == 2


@pytest.mark.usefixtures("files")
def test_design(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def loop(rows: LabelledSet, wanted: Any, count: int, folder: Path, **given: Any) -> Design:
        asked.update(given, wanted=wanted, count=count)
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text("{}")
        if asked.get("interrupted"):
            raise KeyboardInterrupt
        made = [Atoms("Pt4", np.eye(4, 3), info={"target": 1.9})]
        return Design(made, [{"round": 0, "hits": 3}], rows, trained())

    monkeypatch.setattr(closed_loop, "design", loop)
    line = "design set.npz -o low --at-most 4 --calculator emt --learning small.json --quiet"
    options = "--count 7 --rounds 3 --labels 5 --seed 2 --bulk Pt=-1 --hops 4 --jobs 2"
    assert run(f"{line} {options}") == 0
    assert capsys.readouterr().out.splitlines() == ["round  hits", "    0     3"]
    expected = {"count": 7, "rounds": 3, "labels": 5, "seed": 2, "jobs": 2, "bulk": {"Pt": -1.0}}
    assert {name: asked[name] for name in expected} == expected
    assert asked["wanted"] == (-math.inf, 4.0)
    assert asked["train_config"] == LEARNING.replace(seed=2)
    assert asked["generate_config"].search.hops == 4
    assert ase.io.read("low/made.extxyz").info["target"] == 1.9
    assert len(read_labelled("low/set.npz")) == 60
    assert run(f"{line} {options}") == 2
    assert "--resume or --force, got low" in capsys.readouterr().err
    Path("low/mark").write_text("")
    assert run(f"{line} {options} --resume") == 0
    assert Path("low/mark").exists()
    asked["interrupted"] = True
    assert run(f"{line} --force") == 130
    assert "all finished work is in low; to continue: jaxrecon design" in capsys.readouterr().err
    assert not Path("low/mark").exists()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train nowhere.npz -o new", "nowhere.npz"),
        ("train nowhere -o new", "expected a file, a folder or a set among"),
        ("train set.npz -o new --learning none", "expected a preset among"),
        ("train set.npz -o new --learning old.json", "settings of models in old.json"),
        ("train set.npz -o new --resume --force", "got both"),
        ("train set.npz -o nowhere/new", "expected a directory"),
        ("train set.npz -o model", "expected nothing in the way"),
        ("generate nowhere --target 1 -o made.extxyz", "nowhere"),
        ("generate model -o made.extxyz", "--target, --at-least or --at-most, got none"),
        ("generate model --target 1 --at-most 2 -o made.extxyz", "got both"),
        ("generate model --at-least 3 --at-most 2 -o made.extxyz", "from low to high"),
        ("generate model --target 1 -o made.json", "not .json"),
        ("generate model --target 1 -o old.extxyz", "expected no file in the way"),
        (
            "generate model --target 1 -o made.extxyz --plain --direct",
            "which exclude each other, got both",
        ),
        ("generate model --target 1 --also gaps -o made.extxyz", "--also like MODEL=1.5"),
        ("generate model --target 1 --also gaps=a:b -o made.extxyz", "got 'gaps=a:b'"),
        ("generate model --target 1 --also =2 -o made.extxyz", "got '=2'"),
        ("generate model --target 1 --also gaps=3:2 -o made.extxyz", "gaps"),
        ("generate model --target 1 --atoms none -o made.extxyz", "--atoms like 5 or 2-20"),
        ("generate model --target 4 --atoms 4 -o made.extxyz", "the model makes Pt4 alone"),
        ("generate model --target 4 --elements Au -o made.extxyz", "the model makes Pt4 alone"),
        ("train set.npz -o new --property gap", "number of every structure, got 'gap'"),
        ("generate model --target 4 -o made.extxyz -n 0", "Invalid value for '--samples' / '-n'"),
        ("evaluate figure7 judged.extxyz", "expected --output with a picture"),
        ("evaluate table1 judged.extxyz", "expected models alone for table1"),
        ("evaluate table2 model", "expected files of structures alone for table2"),
        ("evaluate figure9 model -o drawn.png", "expected a model and files of structures"),
        ("evaluate table3 model", "table3"),
        ("evaluate table2 set.extxyz", "which does not exist"),
        ("design set.npz -o model --target 4 --force", "a folder of such a run to replace"),
        ("design set.npz -o new --target 4 --bulk Pt", "expected --bulk like"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.json").write_text("[1")
    quiet = "" if line.startswith("evaluate") else " --quiet"
    before = Path("model/model.json").read_bytes()
    assert run(line + quiet) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxrecon: error: ")
    assert error.count("\n") == 1
    assert said in error
    assert Path("old.extxyz").read_text() == "old"
    assert Path("model/model.json").read_bytes() == before


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("train", "generate", "evaluate", "design"):
        assert run(f"{verb} --help") == 0
        assert "Example" in capsys.readouterr().out
