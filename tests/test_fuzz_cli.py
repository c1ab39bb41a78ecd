"""Files that are broken in any way: one line, exit code 2, and no file is changed."""

from __future__ import annotations

import contextlib
import io as streams
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
import typer
from ase.build import bulk, molecule
from commands import PLATINUM, contents
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from imaging import COARSE

from jaxrecon.cli import main, options
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.io import write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.images import encode, write_images
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.folder import VERSION
from jaxrecon.potentials import judge

ACCEPTED = 99
READERS = {
    "fingerprint IN -o out.npz": "frames.extxyz",
    "reconstruct IN -o out.extxyz --quiet": "pt10.npz",
    "reconstruct IN -o out.extxyz --symbols Pt10 --quiet": "pt10.csv",
    "match IN frames.extxyz -o out.json": "frames.extxyz",
    "match crystals.cif IN": "crystals.cif",
    "judge IN -o out.extxyz --quiet": "frames.extxyz",
    "dataset info IN": "set.npz",
    "dataset info IN ": "set.extxyz",
    "dataset sample IN -n 2 -o out.npz": "set.npz",
    "images encode IN -o out.npz --basis-grid 24 --sigma 0.5": "crystals.cif",
    "images decode IN -o out.extxyz": "images.npz",
    "train IN -o out --quiet": "set.npz",
    "train set.npz -o out --quiet --learning IN": "learning.json",
    "design IN -o out --target 4 --quiet": "set.extxyz",
    "generate model --target 4 -o out.extxyz --quiet": "model/model.json",
    "evaluate table1 model -o out.json": "model/model.json",
    "evaluate table2 IN -o out.json": "frames.extxyz",
    "explore IN -o out.html": "frames.extxyz",
    "fingerprint frames.extxyz -o out.npz --config IN": "settings.yaml",
    "reconstruct pt10.npz -o out.extxyz --config IN": "settings.json",
}
"""Command lines that read a file, and an intact file for each."""

ODD = [
    "",
    "nan",
    "-inf",
    "1e999",
    "9" * 400,
    "-1",
    "\x00",
    "\ufeff",
    "Pt\u2082",
    "[" * 2000,
    "'",
    "{}",
]


class Reached(typer.Exit):
    """The file was accepted, and the work would begin."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with intact files of every kind."""
    before, here = os.getcwd(), tmp_path_factory.mktemp("fuzz")
    os.chdir(here)
    frames = [molecule("H2O"), molecule("CO")]
    ase.io.write("frames.extxyz", frames)
    ase.io.write("crystals.cif", bulk("NaCl", "rocksalt", a=5.64))
    write_images("images.npz", encode(bulk("Si"), COARSE))
    clusters = [random_cluster("Pt10", seed) for seed in range(3)]
    values = np.outer([1.0, 2.0], np.linspace(0.1, 1.0, PLATINUM.size))
    write_fingerprints("pt10.npz", values, PLATINUM, clusters[:2])
    np.savetxt("pt10.csv", values, delimiter=",")
    labelled = LabelledSet.of(clusters, formation_energies=np.arange(3.0))
    for name in ("set.npz", "set.extxyz"):
        write_labelled(name, labelled)
    learning = TrainConfig().to_dict()
    Path("learning.json").write_text(json.dumps(learning))
    Path("model").mkdir()
    about = {"version": VERSION, "fingerprint": PLATINUM.to_dict(), "config": learning}
    about |= {"symbols": "Pt10", "validation": {}, "versions": {}}
    Path("model/model.json").write_text(json.dumps(about))
    Path("settings.yaml").write_text("verb: fingerprint\npreset: default\nelements: H,O,C\n")
    Path("settings.json").write_text('{"hops": 3, "tolerance": 1e-5, "seed": 1, "rows": "0"}')
    yield here
    os.chdir(before)


def broken(whole: bytes, how: str, where: float, odd: str) -> bytes | None:
    """The content of a file after some damage; None if the file is missing."""
    place = int(where * len(whole))
    if how == "cut":
        return whole[:place]
    if how == "flipped":
        return whole[:place] + bytes([whole[place - 1] ^ 0xFF]) + whole[place + 1 :]
    if how == "doubled":
        return whole[:place] + whole
    if how == "odd word":
        words = whole.split(b" ")
        words[int(where * len(words)) - 1] = odd.encode()
        return b" ".join(words)
    if how == "odd":
        return whole[:place] + odd.encode() + whole[place:]
    return None if how == "gone" else os.urandom(0) if how == "empty" else odd.encode()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", READERS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=4,
)
@given(
    how=st.sampled_from(["cut", "flipped", "doubled", "odd word", "odd", "other"]),
    where=st.floats(0.0, 1.0, exclude_max=True),
    odd=st.one_of(st.sampled_from(ODD), st.text(max_size=20)),
    kind=st.sampled_from([None, None, ".npz", ".csv", ".extxyz", ".json", ".cif"]),
)
@example(how="gone", where=0.0, odd="", kind=None)
@example(how="empty", where=0.0, odd="", kind=None)
@example(how="folder", where=0.0, odd="", kind=None)
@example(how="other", where=0.0, odd="1e999", kind=None)
@example(how="other", where=0.0, odd="[" * 2000, kind=None)
@example(how="odd word", where=0.0, odd="9" * 400, kind=None)
def test_broken_files_are_one_line(
    line: str,
    how: str,
    where: float,
    odd: str,
    kind: str | None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reached(*_: object, **__: object) -> None:
        raise Reached(ACCEPTED)

    monkeypatch.setattr(options, "start_jax", reached)
    monkeypatch.setattr(judge, "judge", reached)
    monkeypatch.setattr("jaxrecon.inverse_design.evaluation.table2", reached)
    monkeypatch.setattr("jaxrecon.plotting.explorer.check_packages", lambda _: None)
    source = Path(READERS[line])
    whole = source.read_bytes()
    inside = "IN" not in line.split()
    file = source if inside else Path("in").with_suffix(kind or source.suffix)
    try:
        data = broken(whole, how, where, odd)
        if how == "folder":
            file.unlink(missing_ok=True)
            file.mkdir()
        elif data is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(data)
        before = contents(folder)
        out, err = streams.StringIO(), streams.StringIO()
        words = [str(file) if word == "IN" else word for word in shlex.split(line)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.main(words)
        said = err.getvalue()
        if code == 2:
            assert said.startswith("jaxrecon: error: ")
            assert said.count("\n") == 1
            assert out.getvalue() == ""
            assert contents(folder) == before
        else:
            assert code in {0, ACCEPTED}, said
    finally:
        for path in (file, *folder.glob("out*")):
            if path.is_dir():
                path.rmdir()
            elif path.exists():
                path.unlink()
        source.write_bytes(whole)


@pytest.mark.parametrize("line", READERS)
def test_whole_files_are_taken(
    line: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Otherwise the test above would test something else."""

    def reached(*_: object, **__: object) -> None:
        raise Reached(ACCEPTED)

    words = [READERS[line] if word == "IN" else word for word in shlex.split(line)]
    # Models are read after JAX has started.
    monkeypatch.setattr(options, "start_jax", (lambda: None) if "model" in words else reached)
    monkeypatch.setattr(judge, "judge", reached)
    monkeypatch.setattr("jaxrecon.inverse_design.evaluation.table2", reached)
    monkeypatch.setattr("jaxrecon.plotting.explorer.check_packages", lambda _: None)
    code = main.main(words)
    if "model" in words:
        # The settings are accepted, and the arrays beside them are missing.
        assert code == 2
        assert capsys.readouterr().err.endswith("without arrays\n")
    else:
        assert code in {0, ACCEPTED}
    for path in folder.glob("out*"):
        path.unlink()
