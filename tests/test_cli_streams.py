"""Printing never costs a result: terminals without a character, closed pipes, full disks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule
from commands import python, run

from jaxrecon.cli import main
from jaxrecon.cli.streams import Unfailing

pytestmark = pytest.mark.usefixtures("command_line")
NAME = "w\u00e4ter\u2082"
LINE = f"fingerprint {NAME}.xyz -o {NAME}.npz"
DONE = f"{NAME}.npz: 1 fingerprints of 232 numbers\n"


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class Full(io.StringIO):
    """A stream into a file on a full disk: what was written shows when it is flushed."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def water(command_line: None) -> None:
    ase.io.write(f"{NAME}.xyz", molecule("H2O"))


def written() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != f"{NAME}.xyz")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("options", ["", "--json"])
def test_characters_that_a_terminal_lacks(
    encoding: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    assert run(f"{LINE} {options}") == 0
    said = content.getvalue().decode(encoding)
    if options:
        assert json.loads(said)["files"] == [f"{NAME}.npz", f"{NAME}.npz.yaml"]
    else:
        assert said == DONE.encode(encoding, "backslashreplace").decode(encoding)
    assert written() == [f"{NAME}.npz", f"{NAME}.npz.yaml"]


def test_errors_with_characters_that_a_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(content, encoding="ascii"))
    assert run("fingerprint n\u00f6ne\udce9.xyz -o out.npz") == 2
    said = content.getvalue().decode("ascii")
    assert said.startswith("jaxrecon: error: expected a file of structures, got n\\xf6ne\\udce9")


def test_names_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """File names on Linux may have any bytes, which Python keeps as surrogates."""
    os.rename(f"{NAME}.xyz", os.fsdecode(b"w\xe4ter.xyz"))
    name = os.fsdecode(b"w\xe4ter")
    assert main.main(["fingerprint", f"{name}.xyz", "-o", f"{name}.npz"]) == 0
    assert main.main(["fingerprint", "--config", f"{name}.npz.yaml", "-o", "again.npz"]) == 0
    assert Path("again.npz").stat().st_size == Path(f"{name}.npz").stat().st_size
    assert "w\\udce4ter.npz: 1 fingerprints" in capsys.readouterr().out


@pytest.mark.parametrize("options", ["", "--json"])
@pytest.mark.parametrize(
    ("stream", "code", "message"),
    [
        (None, 0, ""),
        (Broken(), 141, ""),
        (
            Full(),
            1,
            "jaxrecon: error: expected to print the report, got OSError: [Errno 28] No space left "
            "on device; the outputs are written\n",
        ),
    ],
)
def test_a_report_that_nobody_gets(
    stream: io.StringIO | None,
    code: int,
    message: str,
    options: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(f"{LINE} {options}") == code
    assert written() == [f"{NAME}.npz", f"{NAME}.npz.yaml"]
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("stream", [None, Broken(), Full()])
@pytest.mark.parametrize("options", ["", "--json"])
def test_an_error_that_nobody_gets(
    stream: io.StringIO | None, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(f"fingerprint none.xyz -o out.npz {options}") == 2
    assert sys.stderr is stream


def test_a_process_without_streams(tmp_path: Path) -> None:
    """As under cron. What is printed to a closed descriptor must not get into a file."""
    code = (
        "import os, sys; from jaxrecon.cli.main import main\n"
        "for descriptor in (0, 1, 2): os.close(descriptor)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        f"sys.argv = ['jaxrecon', 'dataset', 'info', {NAME + '.xyz'!r}]\n"
        "code = main()\n"
        "os.write(1, b'noise'), os.write(2, b'noise')\n"
        "open('code', 'w').write(str(code))\n"
    )
    done = python("-c", code, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
    assert Path("code").read_text() == "0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", f"{NAME}.xyz"]


def test_a_process_whose_reader_has_gone(tmp_path: Path) -> None:
    """Python would report the broken pipe once more when it exits."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "jaxrecon.cli.main", "--help"]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_stream_that_has_failed_drops_the_rest() -> None:
    stream = Unfailing(Full())
    assert stream.write("one") == 3
    stream.flush()
    assert isinstance(stream.error, OSError)
    stream.writelines(["two", "three"])
    assert stream.getvalue() == "one"
