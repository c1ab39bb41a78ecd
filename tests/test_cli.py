"""The command line: the way there and back, and one line for everything that is wrong with it."""

import json
import os
import shlex
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jaxrecon import cli, matching
from jaxrecon.batching import featurize
from jaxrecon.config import ReconstructConfig
from jaxrecon.datasets import io
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.results import Reconstruction, Result, ResultCode
from jaxrecon.solutions import Solution

PLATINUM = Fingerprint.preset("fung2022", ["Pt"])
OLD = b"the old file"


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with an empty cache of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def process(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return python("-m", "jaxrecon.cli", *shlex.split(line), folder=folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """The verbs work in a new folder, and leave devices, cache and environment as they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "start_jax", lambda: None)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def files(tmp_path) -> dict[str, bytes]:
    """Fingerprints of two Pt10, structures, old outputs, and files with one flaw each."""
    values = np.outer([1.0, 2.0], np.linspace(0.1, 1.0, PLATINUM.size))
    clusters = [Atoms("Pt10", np.zeros((10, 3)))] * 2
    io.write_fingerprints("pt10.npz", values, PLATINUM, clusters)
    wide = Fingerprint(replace(PLATINUM.descriptor, r_cut=6.0))
    io.write_fingerprints("wide.npz", values, wide, clusters)
    nan = values.copy()
    nan[1, 7] = np.nan
    for name, rows in {"pt10": values, "nan": nan, "short": values[:, 1:]}.items():
        np.savetxt(f"{name}.csv", rows, delimiter=",")
    ase.io.write("water.xyz", molecule("H2O"))
    Path("word.csv").write_text("1,2\n3,four\n")
    for name in ("text.npz", "text.xyz"):
        Path(name).write_text("hello")
    for name in ("old.npz", "old.extxyz", "details.json", "kept.db"):
        Path(name).write_bytes(OLD)
    for name in ("folder", "folder.db"):
        Path(name).mkdir()
    return contents(tmp_path)


@pytest.fixture
def asked(monkeypatch) -> dict[str, Any]:
    """What the verb asks of the library, which answers with atoms at no place in particular.

    Each target is a hop; a Ctrl-C comes before the one that is named under ``interrupted``.
    """
    call: dict[str, Any] = {"searched": []}

    def answer(targets, fingerprint, *, symbols, cell, config, seed, indices, progress, store):
        call.update(locals())
        done = store.begin({"seed": seed, "targets": targets.tolist()})
        progress(len(done), 0)
        for number, (formula, box) in enumerate(zip(symbols, cell, strict=True)):
            if number not in done:
                if call.get("interrupted") == number:
                    raise KeyboardInterrupt
                call["searched"].append(number)
                done[number] = Result(
                    atoms=Atoms(formula, cell=box, pbc=box is not None),
                    residual=float("inf"),
                    code=ResultCode.NON_FINITE,
                    hops=1,
                    evaluations={"values": 1},
                    seconds=1.0,
                    others=call.get("others", ()),
                )
                store.commit(number, done[number])
                progress(1, 1)
        results = [done[number] for number in range(len(targets))]
        return Reconstruction(results, [fingerprint] * len(results), config, seed, seconds=1.0)

    monkeypatch.setattr("jaxrecon.inverse.reconstruct", answer)
    return call


def test_water_there_and_back(tmp_path):
    water = molecule("H2O")
    ase.io.write("water.xyz", water)
    first = process("fingerprint water.xyz -o water.npz", tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "water.npz: 1 fingerprints of 232 numbers\n"

    search = "reconstruct water.npz --replicas 16 --hops 5 --seed 3 -o"
    cold = process(f"{search} found.extxyz", tmp_path)
    assert cold.returncode == 0, cold.stderr
    assert "1 of 1 converged" in cold.stdout
    assert "1/1" in cold.stderr
    found = ase.io.read("found.extxyz")
    assert found.info["result_code"] == "converged"
    assert found.info["residual"] <= 1e-6
    fingerprint = io.read_fingerprints("water.npz").fingerprint
    difference = featurize(found, fingerprint) - featurize(water, fingerprint)
    assert np.abs(difference).mean() <= 1e-6
    assert matching.rmsd(water, found) <= 1e-3

    run = json.loads(Path("found.json").read_text())
    assert run["targets"][0]["residual"] == found.info["residual"]
    assert run["targets"][0]["code"] == "converged"
    assert run["targets"][0]["evaluations"] > 0
    assert run["targets"][0]["seconds"] > 0.0
    assert run["evaluations_per_second"] > 0.0
    for key, value in {
        "config": ReconstructConfig(replicas=16, hops=5).to_dict(),
        "fingerprints": [fingerprint.to_dict()],
    }.items():
        assert run[key] == json.loads(json.dumps(value))
    assert run["seed"] == 3
    assert run["inputs"]["symbols"] == ["OH2"]
    assert {"jaxrecon", "jax", "python"} <= set(run["versions"])

    stored = sorted(Path("cache").rglob("*-cache"))
    assert {path.name.split("-")[0] for path in stored} >= {"jit_local", "jit_polish"}
    words = f"{search} again.extxyz --quiet"
    warm = python("-c", textwrap.dedent(WARM), *shlex.split(words), folder=tmp_path)
    # XLA logs errors for cached programs unless it is told not to.
    assert (warm.returncode, warm.stderr) == (0, "")
    assert warm.stdout.splitlines()[-1] == "[]"
    assert Path("again.extxyz").read_bytes() == Path("found.extxyz").read_bytes()
    # All that was compiled was kept, and nothing was compiled again.
    assert sorted(Path("cache").rglob("*-cache")) == stored


WARM = """
    import sys
    from jaxrecon.cli import main

    code = main()
    # Seconds to import, and of no use here.
    print(sorted({"jax_md", "matplotlib", "pymatgen"} & set(sys.modules)))
    sys.exit(code)
"""


def test_crystals_keep_their_cell(capsys):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    ase.io.write("salt.extxyz", [salt, salt * (1, 1, 2)])
    assert cli.main(["fingerprint", "salt.extxyz", "-o", "salt.npz", "--elements", "Cl,Na"]) == 0
    assert "2 fingerprints" in capsys.readouterr().out
    file = io.read_fingerprints("salt.npz")
    assert file.formulas == ["NaCl", "NaClNaCl"]
    assert file.cells is not None
    np.testing.assert_allclose(file.cells[0], salt.cell.array)
    np.testing.assert_allclose(file.cells[1], salt.cell.array * [[1.0], [1.0], [2.0]])
    assert file.fingerprint == Fingerprint.preset("crystal", ["Na", "Cl"])


@pytest.mark.usefixtures("files")
def test_what_is_asked_of_the_library(asked, capsys):
    options = "--rows 1,0-1 --seed 7 --replicas 3 --hops 2 --tolerance 1e-5 --min-distance 0.6"
    assert cli.main(f"reconstruct pt10.npz -o out.extxyz {options} --quiet".split()) == 0
    assert asked["targets"][:, -1].tolist() == [2.0, 1.0, 2.0]
    assert asked["fingerprint"] == PLATINUM
    assert asked["symbols"] == ["Pt10"] * 3
    assert asked["cell"] == [None] * 3
    settings = ReconstructConfig(replicas=3, hops=2, tolerance=1e-5, min_distance=0.6)
    assert asked["config"] == settings
    assert asked["seed"] == 7
    assert asked["indices"] == [1, 0, 1]
    assert ase.db.connect("out.db").count() == 3
    assert len(ase.io.read("out.extxyz", ":")) == 3
    run = json.loads(Path("out.json").read_text())
    assert run["inputs"]["rows"] == [1, 0, 1]
    assert run["targets"][0]["residual"] is None
    said = capsys.readouterr()
    assert "0 of 3 converged" in said.out
    assert said.err == ""


@pytest.mark.usefixtures("files")
def test_all_solutions_are_written(asked):
    others = (Solution(Atoms("Pt10"), 0.2), Solution(Atoms("Pt10"), 0.3))
    asked["others"] = others
    assert cli.main(["reconstruct", "pt10.npz", "-o", "out.extxyz", "--solutions", "3"]) == 0
    assert asked["config"].solutions == 3
    about = [atoms.info for atoms in ase.io.read("out.extxyz", ":")]
    places = [(each["target"], each["solution"]) for each in about]
    assert places == [(target, solution) for target in (0, 1) for solution in (0, 1, 2)]
    assert [each["residual"] for each in about[1:3]] == [0.2, 0.3]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("4 5 6", np.diag([4.0, 5.0, 6.0])),
        ("4,4,4,90,90,60", [[4, 0, 0], [2, 12**0.5, 0], [0, 0, 4]]),
        ("4 0 0 0 4 0 -1 0 4", [[4, 0, 0], [0, 4, 0], [-1, 0, 4]]),
    ],
)
def test_cells(asked, text, cell):
    arguments = ["reconstruct", "pt10.csv", "-o", "out.extxyz", "--symbols", "Pt10"]
    assert cli.main([*arguments, "--cell", text]) == 0
    assert asked["fingerprint"] == PLATINUM
    for box, atoms in zip(asked["cell"], ase.io.read("out.extxyz", ":"), strict=True):
        np.testing.assert_allclose(box, cell, atol=1e-12)
        np.testing.assert_allclose(atoms.cell.array, cell, atol=1e-6)
    assert json.loads(Path("out.json").read_text())["inputs"]["cells"][1] == box.tolist()


@pytest.mark.usefixtures("files", "asked")
def test_force_replaces(capsys):
    for name in ("details.extxyz", "details.db"):
        Path(name).write_bytes(OLD)
    line = "reconstruct pt10.npz -o details.extxyz --preset fung2022 --force"
    assert cli.main(line.split()) == 0
    assert len(ase.io.read("details.extxyz", ":")) == 2
    assert len(json.loads(Path("details.json").read_text())["targets"]) == 2
    assert ase.db.connect("details.db").count() == 2
    assert "2/2" in capsys.readouterr().err
    assert cli.main([*line.split(), "--seed", "3"]) == 0
    assert ase.db.connect("details.db").metadata["jaxrecon"]["seed"] == 3


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("options", ["", "--force", "--resume", "--store 'my own.db'"])
def test_an_interrupted_run_is_resumed(asked, capsys, options):
    """By the command line that it says; its files are those of a run without interruption."""
    line = "reconstruct pt10.npz --rows 0-1,0-1"
    assert cli.main(shlex.split(f"{line} -o whole.extxyz")) == 0
    for name in ("new.extxyz", "new.db") if options == "--force" else ():
        Path(name).write_bytes(OLD)
    asked.update(interrupted=2, searched=[])
    capsys.readouterr()
    assert cli.main(shlex.split(f"{line} -o new.extxyz --quiet {options}")) == 130
    database = "my own.db" if "store" in options else "new.db"
    kept = options if "store" in options else ""
    words = shlex.split(f"{line} -o new.extxyz --quiet {kept} --resume")
    again = shlex.join(["jaxrecon", *words])
    assert capsys.readouterr().err == (
        f"jaxrecon: error: interrupted: 2 of 4 targets are in {database}; to go on: {again}\n"
    )
    assert not Path("new.json").exists()
    asked["interrupted"] = None
    assert cli.main(shlex.split(again)[1:]) == 0
    assert asked["searched"] == [0, 1, 2, 3]
    for suffix in (".extxyz", ".json"):
        whole = Path("whole").with_suffix(suffix)
        assert Path("new").with_suffix(suffix).read_bytes() == whole.read_bytes()
    # All is done: the files are written again, and nothing else.
    Path("new.extxyz").unlink()
    assert cli.main(shlex.split(again)[1:]) == 0
    assert asked["searched"] == [0, 1, 2, 3]
    assert Path("new.extxyz").read_bytes() == Path("whole.extxyz").read_bytes()


@pytest.mark.usefixtures("files")
def test_a_password_is_never_said(asked, capsys, monkeypatch):
    class Server:
        begun, committed = True, 0

        def __init__(self, url: str, **options: bool) -> None:
            self.url = url

        def __str__(self) -> str:
            return "there"

        def begin(self, description: dict[str, Any]) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("jaxrecon.store.Store", Server)
    url = "postgresql://me:secret@host/name"
    assert cli.main(["reconstruct", "pt10.npz", "-o", "out.extxyz", "--store", url]) == 130
    assert asked["store"].url == url
    said = capsys.readouterr().err
    assert "--store 'postgresql://me:***@host/name' --resume" in said


RECONSTRUCT = "reconstruct pt10.npz -o out.extxyz"
FROM_CSV = "reconstruct pt10.csv -o out.extxyz"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reconstruct short.csv -o out.extxyz --symbols Pt10", "of length 380 (Pt), got shape"),
        (f"{FROM_CSV} --symbols PtAu9", "expected fingerprints of length 860"),
        ("reconstruct nan.csv -o out.extxyz --symbols Pt10", "got nan in row 1, column 7"),
        (f"{FROM_CSV} --symbols Qq10", "a chemical formula like 'Pt10' or 'TiO2', got 'Qq10'"),
        (f"{FROM_CSV} --symbols P(t", "a chemical formula like 'Pt10' or 'TiO2', got 'P(t'"),
        (f"{FROM_CSV}", "expected --symbols with a formula like Pt10"),
        (f"{RECONSTRUCT} --symbols Pt9", "--symbols with 10 atoms, as Pt10 in row 0, got Pt9"),
        (f"{RECONSTRUCT} --symbols Au10", "expected elements among ('Pt',), got ['Au']"),
        (f"{RECONSTRUCT} --cell '4 4 0'", "expected a cell with a volume, got a singular one"),
        (f"{RECONSTRUCT} --cell '0 4 0 4 0 0 0 0 4'", "expected a right-handed cell"),
        (
            f"{RECONSTRUCT} --cell '4 4'",
            "expected --cell of 3, 6 or 9 numbers or 'unknown', got '4 4'",
        ),
        (
            f"{RECONSTRUCT} --cell cubic",
            "expected --cell of 3, 6 or 9 numbers or 'unknown', got 'cubic'",
        ),
        (f"{RECONSTRUCT} --cell unknown", "expected images='all' with a cell that is unknown"),
        (f"{RECONSTRUCT} --cell '4 4 4 10 10 170'", "expected a cell as 3 lengths"),
        (f"{RECONSTRUCT} --cell '1e200 1e200 1e200'", "expected a cell with a volume"),
        (f"{RECONSTRUCT} --cell 'nan 4 4'", "expected a finite cell"),
        ("reconstruct none.npz -o out.extxyz", "got none.npz, which does not exist"),
        ("reconstruct folder -o out.extxyz", "got folder, which is no file"),
        ("reconstruct water.xyz -o out.extxyz", "in an .npz or .csv file, got water.xyz"),
        ("reconstruct text.npz -o out.extxyz", "got text.npz, which is no zip archive"),
        ("reconstruct word.csv -o out.extxyz", "row 1 (line 2), column 1 of word.csv, got 'four'"),
        (f"{RECONSTRUCT} --preset soap", "expected a preset among"),
        (f"{FROM_CSV} --symbols Pt10 --preset soap", "expected a preset among"),
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
        ("fingerprint water.xyz -o out.csv", "expected an output ending in .npz, got out.csv"),
        ("fingerprint none.xyz -o out.npz", "got none.xyz, which does not exist"),
        ("fingerprint text.xyz -o out.npz", "structures that ASE can read, got text.xyz"),
        ("fingerprint water.xyz -o out.npz --preset soap", "expected a preset among"),
        ("fingerprint water.xyz -o out.npz --elements H,Q", "as chemical symbols, got ('H', 'Q')"),
        ("fingerprint water.xyz -o out.npz --elements H", "in structure 0, got ['O']"),
        ("invert", "No such command 'invert'"),
    ],
)
def test_bad_input_is_one_line(files, tmp_path, capsys, line, message):
    assert cli.main(shlex.split(line)) == 2
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
    assert cli.main(line.split()) == 2
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

    monkeypatch.setattr("jaxrecon.inverse.reconstruct", interrupted)
    assert cli.main(["reconstruct", "pt10.npz", "-o", "old.extxyz", "--force"]) == 130
    assert capsys.readouterr().err == "jaxrecon: error: interrupted\n"
    assert contents(tmp_path) == files


def interrupted(where: str, then: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A process that sends itself a Ctrl-C in a function, swallowed as JAX does in its callbacks.

    Then it goes on in that function.
    """
    code = f"""
        import contextlib, hashlib, os, signal, sys, threading, time
        import jaxrecon.cli, jaxrecon.inverse

        def stop():
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGINT)

        def interrupted(*_, **given):
            stop()
            {then}

        {where} = interrupted
        sys.argv = "jaxrecon reconstruct pt10.npz -o old.extxyz --force".split()
        sys.exit(jaxrecon.cli.main())
    """
    return python("-c", textwrap.dedent(code), folder=folder)


def test_interruption_ends_the_process(files, tmp_path):
    """Before the search: at once."""
    done = interrupted("jaxrecon.cli.start_jax", "time.sleep(60.0)", tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "jaxrecon: error: interrupted\n"
    assert contents(tmp_path) == files


NOTICE = "jaxrecon: stopping after this hop; again to stop at once\n"


def test_interruption_ends_the_search_after_the_hop(files, tmp_path):
    """And after the commit, even where Python's own instructions are few and far between."""
    then = """
            given["store"].begin({})
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
            print("hop")
            given["progress"](0, 1)
            print("not reached")
    """
    done = interrupted("jaxrecon.inverse.reconstruct", then.strip(), tmp_path)
    assert (done.returncode, done.stdout) == (130, "hop\n")
    first, *_, last = done.stderr.splitlines(keepends=True)
    assert first == NOTICE
    assert last == (
        "jaxrecon: error: interrupted: 0 of 2 targets are in old.db; to go on: "
        "jaxrecon reconstruct pt10.npz -o old.extxyz --resume\n"
    )
    assert {**contents(tmp_path), "old.db": b""} == files | {"cache": b"", "old.db": b""}


def test_a_second_interruption_does_not_wait(files, tmp_path):
    """For a hop of a minute: one instruction of Python's, after which its handlers would run."""
    then = """
            threading.Timer(1.0, stop).start()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
    """
    started = time.perf_counter()
    done = interrupted("jaxrecon.inverse.reconstruct", then.strip(), tmp_path)
    assert time.perf_counter() - started < 30.0
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{NOTICE}jaxrecon: error: interrupted\n"
    assert contents(tmp_path) == files | {"cache": b""}


def test_help_teaches_and_is_cheap(tmp_path, capsys):
    for words in ([], ["--help"]):
        assert cli.main(words) == 0
        said = capsys.readouterr().out
        assert all(verb in said for verb in ("fingerprint", "reconstruct", "demo", "Example"))
    for verb in ("fingerprint", "reconstruct", "demo"):
        assert cli.main([verb, "--help"]) == 0
        said = capsys.readouterr().out
        assert f"jaxrecon {verb} " in said.split("Example")[1]
        assert "[default: " in said
    code = (
        "import sys; from jaxrecon.cli import main; main(['--help']); "
        "print(sorted({'jax', 'ase', 'numpy', 'scipy', 'rich'} & set(sys.modules)))"
    )
    done = python("-c", code, folder=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_demo(monkeypatch):
    calls = []
    example = SimpleNamespace(run=lambda *words, **options: calls.append((words, options)))
    monkeypatch.setattr("jaxrecon.demo", example, raising=False)
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo", "-o", "there", "--seed", "3", "--force"]) == 0
    assert calls == [
        ((Path("demo"),), {"seed": 0, "force": False}),
        ((Path("there"),), {"seed": 3, "force": True}),
    ]


def test_version(capsys):
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxrecon {version('jaxrecon')}\n"
