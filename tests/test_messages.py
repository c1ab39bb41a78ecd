"""Messages: one line of at most 300 characters, whatever an input or a library says."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from commands import run

from jaxrecon.cli import doctor, main
from jaxrecon.runtime.messages import LONGEST_LINE, reason, shortened

LONG = "Ab7_" * 3000
LINES = {
    "a word": f"{LONG} water.xyz",
    "an option": f"fingerprint water.xyz -o out.npz --{LONG}",
    "a preset": f"fingerprint water.xyz -o out.npz --preset {LONG}",
    "elements": f"fingerprint water.xyz -o out.npz --elements {LONG}",
    "a path": f"fingerprint {LONG} -o out.npz",
    "a deep path": f"fingerprint {'deep/' * 100}none.xyz -o out.npz",
    "an output": f"fingerprint water.xyz -o {LONG}.npz",
    "a format": f"reconstruct one.csv -o out.{LONG} --symbols Pt10",
    "a formula": f"reconstruct one.csv -o out.extxyz --symbols {LONG}",
    "a cell": f"reconstruct one.csv -o out.extxyz --symbols Pt10 --cell '{LONG}'",
    "rows": f"reconstruct one.csv -o out.extxyz --symbols Pt10 --rows {LONG}",
    "processes": f"reconstruct one.csv -o out.extxyz --symbols Pt10 --distributed {LONG}",
    "a number": f"reconstruct one.csv -o out.extxyz --symbols Pt10 --hops {LONG}",
    "a store": f"reconstruct one.csv -o out.extxyz --symbols Pt10 --store {LONG}",
    "a table": "reconstruct table.csv -o out.extxyz --symbols Pt10",
    "a calculator": f"judge water.xyz -o out.extxyz --calculator {LONG}",
    "energies": f"judge water.xyz -o out.extxyz --bulk {LONG}",
    "a set": f"dataset info {LONG}",
    "a frame": "dataset info frames.xyz",
    "a name in a table": "dataset info folder",
    "settings": "fingerprint water.xyz -o out.npz --config settings.yaml",
    "a value of a setting": "fingerprint water.xyz -o out.npz --config value.yaml",
    "models": f"generate {LONG} -o out.extxyz --target 1",
    "a choice": f"evaluate {LONG} water.xyz",
}


@pytest.fixture
def inputs(command_line: None) -> None:
    ase.io.write("water.xyz", molecule("H2O"))
    Path("one.csv").write_text(",".join(["1"] * 380) + "\n")
    Path("table.csv").write_text(f"1,2\n{LONG},4\n")
    Path("frames.xyz").write_text(f"1\n{LONG}\n{LONG} 0 0 0\n")
    Path("settings.yaml").write_text(f"{LONG}: 3\n")
    Path("value.yaml").write_text(f"preset: [{LONG}]\n")
    Path("folder").mkdir()
    Path("folder/targets.csv").write_text(f"{LONG},1.0\n")


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("kind", LINES)
def test_errors(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(LINES[kind]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("jaxrecon: error: ")
    assert len(said.err) <= LONGEST_LINE + 1
    # A program gets the same.
    assert run(f"{LINES[kind]} --json") == 2
    message = json.loads(capsys.readouterr().out)["error"]
    assert len(message) <= LONGEST_LINE
    assert said.err == f"jaxrecon: error: {message}\n"


@pytest.mark.usefixtures("inputs")
def test_faults_of_the_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of an error without a text is said, and a long text is shortened."""

    def wordless() -> None:
        raise AssertionError

    def wordy() -> None:
        raise RuntimeError(f"{LONG}\n{LONG}")

    monkeypatch.delenv(main.DEBUG, raising=False)
    monkeypatch.setattr("jaxrecon.cli.options.start_jax", wordless)
    assert run("fingerprint water.xyz -o out.npz") == 1
    said = capsys.readouterr().err
    assert said.startswith("jaxrecon: error: internal error, AssertionError in test_messages.py:")
    monkeypatch.setattr("jaxrecon.cli.options.start_jax", wordy)
    assert run("fingerprint water.xyz -o out.npz") == 1
    said = capsys.readouterr().err
    assert said.startswith("jaxrecon: error: internal error, RuntimeError: Ab7_")
    assert len(said) <= LONGEST_LINE + 1
    faults = doctor.examine(wordy)["faults"]
    assert any("RuntimeError" in fault for fault in faults)
    assert all(len(f"fault: {fault}") <= LONGEST_LINE for fault in faults)


@pytest.mark.usefixtures("inputs")
def test_warnings_are_lines_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn() -> None:
        for text in (f"{LONG}\n{LONG}", "short", "short"):
            warnings.warn(text, stacklevel=1)
        raise ValueError("enough")

    monkeypatch.setattr("jaxrecon.cli.options.start_jax", warn)
    assert run("fingerprint water.xyz -o out.npz") == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("jaxrecon: warning: Ab7_")
    assert len(first) <= LONGEST_LINE
    assert rest == ["jaxrecon: warning: short", "jaxrecon: error: enough"]


@pytest.mark.usefixtures("inputs")
def test_an_interruption_of_a_long_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that can't be printed in one line is not printed in part."""

    def stop() -> None:
        raise KeyboardInterrupt("3 of 9 targets are in out.db")

    monkeypatch.setattr("jaxrecon.cli.options.start_jax", stop)
    line = "fingerprint water.xyz -o out.npz --elements"
    assert run(f"{line} H,O") == 130
    message = "jaxrecon: error: interrupted: 3 of 9 targets are in out.db; to continue"
    command = f"jaxrecon {line} H,O --resume"
    assert capsys.readouterr().err == f"{message}: {command}\n"
    assert run(f"{line} {shlex.quote(','.join('HO' * 200))}") == 130
    assert capsys.readouterr().err == f"{message}, repeat the command with --resume\n"


@pytest.mark.usefixtures("inputs")
def test_lines_of_reports(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(LONG)

    monkeypatch.setattr("jaxrecon.potentials.labels.label", fail)
    assert run("judge water.xyz -o out.extxyz --quiet --bulk H=0,O=0") == 0
    said = capsys.readouterr().out
    assert "structure 0 has no energy: RuntimeError" in said
    many = Atoms(range(1, 90), positions=np.arange(267.0).reshape(89, 3))
    ase.io.write("many.extxyz", [many, many])
    ase.io.write("more.extxyz", [many, many + Atoms("H", [(-9, 0, 0)])])
    assert run("match many.extxyz more.extxyz") == 0
    said += capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= LONGEST_LINE


def test_shortening() -> None:
    assert reason(ValueError("  two\n lines ")) == "ValueError: two lines"
    assert reason(AssertionError()) == "AssertionError"
    assert shortened("x" * 300, 300) == "x" * 300
    for length in range(7, 60):
        assert len(shortened("0123456789" * 10, length)) == length
