"""The verbs dataset and judge: their files, and one line for every error."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import ase.io
import numpy as np
import pytest
from commands import run
from labelling import energy_of

from jaxrecon.cli import main, options
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.io import read_labelled, write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint

BUILD = "dataset build --symbols Pt4 --size 40 --seed 1 --quiet"

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture
def clusters(command_line: None) -> None:
    ase.io.write("in.extxyz", [random_cluster("Pt3", seed) for seed in range(4)])


def popen(line: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jaxrecon.cli.main", *shlex.split(line)],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.usefixtures("clusters")
def test_judge_writes_structures_and_details(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("judge in.extxyz -o out.extxyz --quiet") == 0
    said = capsys.readouterr()
    assert said.out.startswith("out.extxyz: 4 of 4 structures judged by emt, E_form")
    assert said.err == ""
    details = json.loads(Path("out.json").read_text())
    assert details["calculator"] == {"calculator": "emt"}
    assert details["structures"] == ["in.extxyz"]
    assert details["failures"] == {}
    for atoms, given in zip(
        ase.io.read("out.extxyz", ":"), ase.io.read("in.extxyz", ":"), strict=True
    ):
        energy = energy_of(given)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        expected = energy / 3 - details["bulk_energies"]["Pt"]
        assert atoms.info["e_form"] == pytest.approx(expected, abs=1e-6)
    assert read_labelled("out.extxyz").formation_energies.shape == (4,)
    assert run("judge in.extxyz -o own.extxyz --quiet --bulk Pt=-0.5,Cu=1") == 0
    assert json.loads(Path("own.json").read_text())["bulk_energies"] == {"Pt": -0.5, "Cu": 1.0}
    # The database has all energies: nothing is computed.
    assert run("judge in.extxyz -o out.extxyz --quiet --resume") == 0


@pytest.mark.usefixtures("clusters")
def test_judge_says_what_it_could_not_compute(capsys: pytest.CaptureFixture[str]) -> None:
    frames = ase.io.read("in.extxyz", ":")
    frames[2].positions[0] = frames[2].positions[1]
    ase.io.write("in.extxyz", frames)
    assert run("judge in.extxyz -o out.extxyz --quiet") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("structure 2 has no energy: ")
    assert said[1].startswith("out.extxyz: 3 of 4 structures judged")
    assert "reason" in ase.io.read("out.extxyz", "2").info


def test_build_info_and_sample(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(f"{BUILD} -o set.npz") == 0
    built = capsys.readouterr().out
    assert built.startswith("set.npz: 40 structures (")
    labelled = read_labelled("set.npz")
    assert len(labelled) == 40
    assert labelled.metadata["seed"] == 1
    assert run("dataset info set.npz") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == built.strip()
    assert '  calculator: {"calculator": "emt"}' in said.splitlines()
    assert run("dataset sample set.npz -n 6 -o few.extxyz") == 0
    assert capsys.readouterr().out.startswith("few.extxyz: 6 structures (")
    chosen = ase.io.read("few.extxyz", ":")
    values = np.asarray(featurize(labelled.structures, Fingerprint.preset("default", ["Pt"])))
    rows = [int(np.argmax(np.linalg.norm(values - values.mean(axis=0), axis=1)))]
    while len(rows) < 6:
        distances = np.linalg.norm(values[:, None] - values[None, rows], axis=-1).min(axis=1)
        rows.append(int(np.argmax(distances)))
    assert labelled.structures is not None
    for atoms, row in zip(chosen, rows, strict=True):
        assert np.allclose(atoms.positions, labelled.structures[row].positions, atol=1e-6)
        assert atoms.info["e_form"] == pytest.approx(labelled.formation_energies[row], abs=1e-6)
    monkeypatch.setattr("jaxrecon.datasets.build.LEAST_YIELD", 2.0)
    assert run("dataset build --symbols Pt2 --size 300 -o two.extxyz --quiet --steps 20") == 0
    assert "of 300 different structures were found" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["dataset info set.npz", "dataset build --help"])
def test_the_reader_may_stop_early(words: str, tmp_path: Path) -> None:
    write_labelled("set.npz", LabelledSet.of([random_cluster("Pt3", 0)], energies=[0.0]))
    process = popen(words, tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait() == main.CLOSED


@pytest.mark.parametrize("name", ["table.csv", "table.npz"])
def test_sample_of_fingerprints_alone(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(9, 3))
    if name.endswith("csv"):
        np.savetxt("table.csv", values, delimiter=",")
        np.savetxt("table_y.csv", np.arange(9.0))
        np.savetxt("table_x.csv", values, delimiter=",")
        name = "table_x.csv"
    else:
        write_labelled(name, LabelledSet.of(fingerprints=values, energies=np.arange(9.0)))
    assert run(f"dataset sample {name} -n 9 -o all.npz") == 0
    found = read_labelled("all.npz").fingerprints
    assert found is not None
    assert sorted(found[:, 0]) == pytest.approx(sorted(values[:, 0]))


@pytest.mark.usefixtures("clusters")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("judge in.extxyz -o out.json", "expected an output of structures, not .json"),
        ("judge nowhere.extxyz -o out.extxyz", "which does not exist"),
        ("judge in.extxyz -o out.extxyz --calculator dft", "expected a calculator among emt"),
        ("judge in.extxyz -o out.extxyz --bulk Pt", "expected --bulk like Pt=-5.83"),
        ("dataset build --symbols Pt4 --size 4 -o set.npz --bulk Pt=nan", "got 'Pt=nan'"),
        ("judge in.extxyz -o out.extxyz --jobs 0", "expected at least 1 job, got 0"),
        ("judge in.extxyz -o out.extxyz --resume --force", "got both"),
        ("judge in.extxyz -o old.extxyz", "expected no file in the way or --force"),
        ("judge in.extxyz -o out.extxyz --store in.extxyz", "expected a database like found.db"),
        ("dataset build --symbols Pt4 --size 4 -o set.xyz", "ending in .npz or .extxyz"),
        ("dataset build --symbols Fe4 --size 4 -o set.npz", "the bulk of, got Fe"),
        ("dataset build --symbols Pt4 --size 4 -o set.npz --perturbed 1", "got 1.0"),
        ("dataset build --symbols Pt4 --size 0 -o set.npz", "--size"),
        ("dataset info old.extxyz", "old.extxyz"),
        ("dataset sample in.extxyz -n 5 -o few.npz", "expected count among 1-4, got 5"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.extxyz").write_text("old")
    assert run(f"{line} --quiet" if "info" not in line and "sample" not in line else line) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxrecon: error: ")
    assert error.count("\n") == 1
    assert said in error
    assert Path("old.extxyz").read_text() == "old"
    assert not Path("set.npz").exists()
    # Nothing is in the way of the right command.
    assert not list(Path().glob("*.db"))


def test_another_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    few = "dataset build --symbols Pt3 --size 4 -o set.npz --quiet"
    assert run(few) == 0
    before = Path("set.npz").read_bytes()
    assert run(few) == 2
    assert run(f"{few} --seed 4 --resume") == 2
    assert "got another: seed: 0 != 4" in capsys.readouterr().err
    assert Path("set.npz").read_bytes() == before
    assert run(f"{few} --resume") == 0
    assert Path("set.npz").read_bytes() == before
    assert run(f"{few} --seed 4 --force") == 0
    assert Path("set.npz").read_bytes() != before


def pieces(path: Path) -> int:
    """The number of pieces of work in a database that another process writes."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as connection:
            return connection.execute("SELECT COUNT(*) FROM systems").fetchone()[0]
    except sqlite3.OperationalError:  # the database has no table yet
        return 0


def wait_for(path: Path, more_than: int, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if pieces(path) > more_than or process.poll() is not None:
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_runs_end_as_if_they_were_not(tmp_path: Path) -> None:
    """SIGKILL at once after a commit or a little later, and Ctrl-C, which reaches all processes."""
    assert run(f"{BUILD} -o whole.npz") == 0
    chance, path = random.Random(0), tmp_path / "set.db"
    line = f"{BUILD} -o set.npz --jobs 2 --resume"
    for stop in (signal.SIGKILL, signal.SIGINT):
        process, before = popen(line, tmp_path), pieces(path)
        wait_for(path, before, process)
        time.sleep(chance.uniform(0.0, 0.05))
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)
        else:
            process.kill()
        _, error = process.communicate(timeout=60)
        assert pieces(path) > before
        if stop == signal.SIGINT and process.returncode:
            assert process.returncode == 130
            assert error.startswith(f"jaxrecon: {options.NOTICE}\n")
            assert "pieces of work are in set.db; to continue: jaxrecon dataset build" in error
            assert "Traceback" not in error
            assert "Warning" not in error
    process = popen(line, tmp_path)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert Path("set.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_help_teaches_and_is_cheap(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("judge --help", "dataset --help", "dataset build --help", "dataset sample -h"):
        assert run(words) == 0
        assert "Example" in capsys.readouterr().out or words == "dataset --help"
    code = "import sys, jaxrecon.cli.main; sys.exit('jax' in sys.modules or 'ase' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
