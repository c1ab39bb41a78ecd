"""Bad input and Ctrl-C: one line, and no file is changed."""

import os
import shlex
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from commands import contents, flawed, process, python

from jaxrecon.cli import main
from jaxrecon.runtime import interruption

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture
def files(command_line: None, tmp_path: Path) -> dict[str, bytes]:
    return flawed(tmp_path)


RECONSTRUCT = "reconstruct pt10.npz -o out.extxyz"
FROM_CSV = "reconstruct pt10.csv -o out.extxyz"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "reconstruct short.csv -o out.extxyz --symbols Pt10",
            "expected 380 numbers for --preset fung2022 of Pt, got",
        ),
        (
            f"{FROM_CSV} --symbols PtAu9",
            "expected 860 numbers for --preset fung2022 of Pt, Au, got 380",
        ),
        (
            "reconstruct short.csv -o out.extxyz --symbols Pt10 --preset universal",
            "numbers for --preset universal, got",
        ),
        (
            "reconstruct short.csv -o out.extxyz --atoms 10",
            "expected --elements, or --symbols with a formula like Pt10",
        ),
        ("reconstruct nan.csv -o out.extxyz --symbols Pt10", "got nan in row 1, column 7"),
        (f"{FROM_CSV} --symbols Qq10", "a chemical formula like 'Pt10' or 'TiO2', got 'Qq10'"),
        (f"{FROM_CSV} --symbols P(t", "a chemical formula like 'Pt10' or 'TiO2', got 'P(t'"),
        (f"{FROM_CSV}", "expected --symbols with a formula like Pt10"),
        (f"{RECONSTRUCT} --symbols Pt9", "--symbols with 10 atoms, as Pt10 in row 0, got Pt9"),
        (f"{RECONSTRUCT} --symbols Au10", "expected elements among ('Pt',), got ['Au']"),
        (f"{RECONSTRUCT} --cell '4 4 0'", "expected a cell with a volume, got a singular one"),
        (
            f"{RECONSTRUCT} --cell '4 4'",
            "expected --cell of 3, 6 or 9 numbers or 'unknown', got '4 4'",
        ),
        (
            f"{RECONSTRUCT} --cell cubic",
            "expected --cell of 3, 6 or 9 numbers or 'unknown', got 'cubic'",
        ),
        (f"{RECONSTRUCT} --cell unknown", "expected images='all' where the cell is 'unknown'"),
        (f"{RECONSTRUCT} --cell '4 4 4 10 10 170'", "expected a cell as 3 lengths"),
        (f"{RECONSTRUCT} --cell '1e200 1e200 1e200'", "expected a cell with a volume"),
        (f"{RECONSTRUCT} --cell 'nan 4 4'", "expected a finite cell"),
        ("reconstruct none.npz -o out.extxyz", "got none.npz, which does not exist"),
        ("reconstruct folder -o out.extxyz", "got folder, which is no file"),
        ("reconstruct water.xyz -o out.extxyz", "in an .npz, .csv or .npy file, got water.xyz"),
        ("reconstruct text.npz -o out.extxyz", "got text.npz, which is no zip archive"),
        ("reconstruct word.csv -o out.extxyz", "row 1 (line 2), column 1 of word.csv, got 'four'"),
        (f"{RECONSTRUCT} --preset acsf", "expected a preset among"),
        (f"{FROM_CSV} --symbols Pt10 --preset acsf", "expected a preset among"),
        ("reconstruct wide.npz -o out.extxyz --preset fung2022", "r_cut: 6.0 != 20.0"),
        (f"{RECONSTRUCT} --rows 0-2", "expected --rows among 0-1, first to last, got '0-2'"),
        (f"{RECONSTRUCT} --rows 1-0", "expected --rows among 0-1, first to last, got '1-0'"),
        (f"{RECONSTRUCT} --rows 0-99999999999", "expected --rows among 0-1"),
        (f"{RECONSTRUCT} --rows all", "expected --rows like 0-29 or 3,7, got 'all'"),
        (f"{RECONSTRUCT} --rows 0,", "expected --rows like 0-29 or 3,7, got '0,'"),
        (f"{RECONSTRUCT} --replicas -1", "expected replicas to be a whole number >= 0, got -1"),
        (f"{RECONSTRUCT} --tolerance nan", "expected tolerance to be a number > 0, got nan"),
        (f"{RECONSTRUCT} --hops many", "--hops"),
        (f"{RECONSTRUCT} --seed -1", "--seed"),
        (f"{RECONSTRUCT} --wrong", "--wrong"),
        (f"{RECONSTRUCT} --wrong", "(see jaxrecon reconstruct --help)"),
        ("dataset build --wrong", "(see jaxrecon dataset build --help)"),
        ("invert pt10.npz", "(see jaxrecon --help)"),
        ("dataset info pt10.npz", "got pt10.npz, which has fingerprints without structures"),
        (f"{RECONSTRUCT} --symbols unknown", "does not tell it, unlike universal and alchemical"),
        ("reconstruct pt10.npz -o old.extxyz", "in the way or --force, got old.extxyz"),
        ("reconstruct pt10.npz -o details.extxyz", "in the way or --force, got details.json"),
        ("reconstruct pt10.npz -o out.json", "expected an output of structures, not .json"),
        ("reconstruct pt10.npz -o out.db", "expected an output beside the database, not in it"),
        ("reconstruct pt10.npz -o kept.xyz", "in the way, --resume or --force, got kept.db"),
        ("reconstruct pt10.npz -o kept.xyz --resume", "a database of jaxrecon, got kept.db (file"),
        ("reconstruct pt10.npz -o old.extxyz --resume", "in the way or --force, got old.extxyz"),
        (f"{RECONSTRUCT} --resume --force", "expected --resume or --force, got both"),
        (f"{RECONSTRUCT} --store out.json", "expected a database like found.db or postgresql:"),
        (f"{RECONSTRUCT} --store none/out.db", "expected a directory to write none/out.db to"),
        (f"{RECONSTRUCT} --store folder.db", "expected a file to write to, got folder.db"),
        ("reconstruct pt10.npz -o none/out.extxyz", "expected a directory to write none/out."),
        ("reconstruct pt10.npz -o water.xyz/out.xyz", "expected a directory to write water.xyz"),
        ("reconstruct pt10.npz -o folder --force", "expected a file to write to, got folder"),
        ("reconstruct pt10.npz -o out.foo", "that ASE can write 2 structures to"),
        ("reconstruct pt10.npz", "--output"),
        ("reconstruct", "FP.npz"),
        ("fingerprint water.xyz -o old.npz", "in the way or --force, got old.npz"),
        ("fingerprint water.xyz -o out.txt", "expected an output ending in .npz or .csv or .npy"),
        ("fingerprint none.xyz -o out.npz", "got none.xyz, which does not exist"),
        ("fingerprint text.xyz -o out.npz", "structures that ASE can read, got text.xyz"),
        ("fingerprint water.xyz -o out.npz --preset acsf", "expected a preset among"),
        ("fingerprint water.xyz -o out.npz --elements H,Q", "as chemical symbols, got 'H,Q'"),
        ("fingerprint water.xyz -o out.npz --elements H", "in structure 0, got ['O']"),
        ("invert", "No such command 'invert'"),
    ],
)
def test_bad_input_is_one_line(files, tmp_path, capsys, line, message):
    assert main.main(shlex.split(line)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("jaxrecon: error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert contents(tmp_path) == files


@pytest.mark.parametrize(
    "line", ["reconstruct pt10.npz -o new.extxyz", "fingerprint water.xyz -o old.npz --force"]
)
def test_no_permission_is_one_line(files, tmp_path, capsys, monkeypatch, line):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert main.main(line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxrecon: error: expected permission to write")
    assert said.count("\n") == 1
    assert contents(tmp_path) == files


@pytest.mark.parametrize(
    "line", ["reconstruct pt10.npz -o old.extxyz --rows 0", "reconstruct none.npz", "--wrong"]
)
def test_bad_input_of_a_process_is_one_line(files, tmp_path, line):
    done = process(line, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jaxrecon: error: ")
    assert done.stderr.count("\n") == 1
    assert contents(tmp_path) == files


def test_interruption_is_one_line_and_writes_nothing(files, tmp_path, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxrecon.search.reconstruct.reconstruct", interrupted)
    assert main.main(["reconstruct", "pt10.npz", "-o", "old.extxyz", "--force"]) == 130
    assert capsys.readouterr().err == "jaxrecon: error: interrupted\n"
    assert contents(tmp_path) == files


def interrupted(where: str, then: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a process that sends itself a Ctrl-C within a function, and then continues there.

    The exception is swallowed, as JAX does in its callbacks.
    """
    code = f"""
        import contextlib, hashlib, os, signal, sys, threading, time
        import jaxrecon.cli.main, jaxrecon.search.reconstruct

        def stop():
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGINT)

        def interrupted(*_, **given):
            stop()
            {then}

        {where} = interrupted
        sys.argv = "jaxrecon reconstruct pt10.npz -o old.extxyz --force".split()
        sys.exit(jaxrecon.cli.main.main())
    """
    return python("-c", textwrap.dedent(code), folder=folder)


def test_interruption_ends_the_process(files, tmp_path):
    """Before the search it ends at once."""
    done = interrupted("jaxrecon.cli.options.start_jax", "time.sleep(60.0)", tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "jaxrecon: error: interrupted\n"
    assert contents(tmp_path) == files


NOTICE = f"jaxrecon: {interruption.NOTICE}\n"


def test_interruption_ends_the_search_after_the_hop(files, tmp_path):
    """It ends after the commit, even if a single instruction of Python takes long."""
    then = """
            given["store"].begin({})
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
            print("hop")
            given["progress"](0, 1)
            print("not reached")
    """
    done = interrupted("jaxrecon.search.reconstruct.reconstruct", then.strip(), tmp_path)
    assert (done.returncode, done.stdout) == (130, "hop\n")
    first, *_, last = done.stderr.splitlines(keepends=True)
    assert first == NOTICE
    assert last == (
        "jaxrecon: error: interrupted: 0 of 2 targets are in old.db; to continue: "
        "jaxrecon reconstruct pt10.npz -o old.extxyz --resume\n"
    )
    assert {**contents(tmp_path), "old.db": b""} == files | {"old.db": b""}


def test_a_second_interruption_does_not_wait(files, tmp_path):
    """It ends within a hop of a minute, a single instruction after which handlers would run."""
    then = """
            threading.Timer(1.0, stop).start()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
    """
    started = time.perf_counter()
    done = interrupted("jaxrecon.search.reconstruct.reconstruct", then.strip(), tmp_path)
    assert time.perf_counter() - started < 30.0
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{NOTICE}jaxrecon: error: interrupted\n"
    assert contents(tmp_path) == files
