"""The verbs fingerprint, reconstruct and demo: their files, messages and calls of the library."""

import json
import shlex
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from commands import OLD, PLATINUM, flawed, process, python

from jaxrecon import __version__
from jaxrecon.cli import main
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.results import Reconstruction, Result, ResultCode
from jaxrecon.search.solutions import Solution
from jaxrecon.structures import matching

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture
def files(command_line: None, tmp_path: Path) -> dict[str, bytes]:
    return flawed(tmp_path)


@pytest.fixture
def asked(monkeypatch) -> dict[str, Any]:
    """The arguments with which the verb calls the library, which returns meaningless structures.

    Each target takes one hop. Ctrl-C comes before the target under the key ``interrupted``.
    """
    call: dict[str, Any] = {"searched": []}

    def answer(
        targets, fingerprint, *, symbols, atoms, cell, noise, config, seed, indices, progress, store
    ):
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

    monkeypatch.setattr("jaxrecon.search.reconstruct.reconstruct", answer)
    return call


@pytest.mark.slow
def test_water_there_and_back(tmp_path):
    water = molecule("H2O")
    ase.io.write("water.xyz", water)
    first = process("fingerprint water.xyz -o water.npz", tmp_path, own_cache=True)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "water.npz: 1 fingerprints of 232 numbers\n"

    search = "reconstruct water.npz --replicas 16 --hops 5 --seed 3 -o"
    cold = process(f"{search} found.extxyz", tmp_path, own_cache=True)
    assert cold.returncode == 0, cold.stderr
    assert "1 of 1 converged" in cold.stdout
    assert "1/1" in cold.stderr
    found = ase.io.read("found.extxyz")
    assert found.info["result_code"] == "converged"
    assert found.info["residual"] <= 1e-6
    fingerprint = read_fingerprints("water.npz").fingerprint
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
    code = textwrap.dedent(WARM)
    warm = python("-c", code, *shlex.split(words), folder=tmp_path, own_cache=True)
    # XLA logs errors for cached programs by default.
    assert (warm.returncode, warm.stderr) == (0, "")
    assert warm.stdout.splitlines()[-1] == "[]"
    assert Path("again.extxyz").read_bytes() == Path("found.extxyz").read_bytes()
    # All programs came from the cache, and none was added.
    assert sorted(Path("cache").rglob("*-cache")) == stored


WARM = """
    import sys
    from jaxrecon.cli.main import main

    code = main()
    # These take seconds to import, and are not needed here.
    print(sorted({"jax_md", "matplotlib", "pymatgen"} & set(sys.modules)))
    sys.exit(code)
"""


def test_crystals_keep_their_cell(capsys):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    ase.io.write("salt.extxyz", [salt, salt * (1, 1, 2)])
    assert main.main(["fingerprint", "salt.extxyz", "-o", "salt.npz", "--elements", "Cl,Na"]) == 0
    assert "2 fingerprints" in capsys.readouterr().out
    file = read_fingerprints("salt.npz")
    assert file.formulas == ["NaCl", "NaClNaCl"]
    assert file.cells is not None
    np.testing.assert_allclose(file.cells[0], salt.cell.array)
    np.testing.assert_allclose(file.cells[1], salt.cell.array * [[1.0], [1.0], [2.0]])
    assert file.fingerprint == Fingerprint.preset("crystal", ["Na", "Cl"])


@pytest.mark.usefixtures("files")
def test_what_is_asked_of_the_library(asked, capsys):
    options = "--rows 1,0-1 --seed 7 --replicas 3 --hops 2 --tolerance 1e-5 --min-distance 0.6"
    assert main.main(f"reconstruct pt10.npz -o out.extxyz {options} --quiet".split()) == 0
    assert asked["targets"][:, -1].tolist() == [2.0, 1.0, 2.0]
    assert asked["fingerprint"] == PLATINUM
    assert asked["symbols"] == ["Pt10"] * 3
    assert asked["cell"] == [None] * 3
    settings = ReconstructConfig(replicas=3, hops=2, tolerance=1e-5, min_distance=0.6)
    assert asked["config"] == settings
    assert asked["noise"] is None
    assert asked["seed"] == 7
    assert asked["indices"] == [1, 0, 1]
    assert ase.db.connect("out.db").count() == 3
    assert [atoms.info["row"] for atoms in ase.io.read("out.extxyz", ":")] == [1, 0, 1]
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
    line = "reconstruct pt10.npz -o out.extxyz --solutions 3 --rows 1,0"
    assert main.main(line.split()) == 0
    assert asked["config"].solutions == 3
    about = [atoms.info for atoms in ase.io.read("out.extxyz", ":")]
    assert [each["row"] for each in about] == [1] * 3 + [0] * 3
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
    assert main.main([*arguments, "--cell", text]) == 0
    assert asked["fingerprint"] == PLATINUM
    for box, atoms in zip(asked["cell"], ase.io.read("out.extxyz", ":"), strict=True):
        np.testing.assert_allclose(box, cell, atol=1e-12)
        np.testing.assert_allclose(atoms.cell.array, cell, atol=1e-6)
    assert json.loads(Path("out.json").read_text())["inputs"]["cells"][1] == box.tolist()


@pytest.mark.usefixtures("files")
def test_elements_of_numbers_alone(asked, capsys):
    """A table for more elements than a formula has."""
    wide = Fingerprint.preset("fung2022", elements=["Cu", "Pt"])
    np.savetxt("wide.csv", np.zeros((1, wide.size)), delimiter=",")
    line = "reconstruct wide.csv -o out.extxyz --symbols Pt10"
    assert main.main([*line.split(), "--elements", "Pt,Cu"]) == 0
    assert asked["fingerprint"] == wide
    assert main.main(["reconstruct", "pt10.npz", "-o", "other.extxyz", "--elements", "Pt"]) == 2
    assert "expected --elements for numbers without settings" in capsys.readouterr().err


@pytest.mark.usefixtures("files", "asked")
def test_the_preset_of_numbers_alone_is_found_by_their_count(capsys):
    count = Fingerprint.preset("default", elements=["Pt"]).size
    np.savetxt("short.csv", np.zeros((1, count)), delimiter=",")
    line = "reconstruct short.csv -o out.extxyz --symbols Pt10"
    assert main.main(line.split()) == 2
    said = capsys.readouterr().err
    assert (
        "expected 380 numbers for --preset fung2022 of Pt, got 46: --preset default has as many"
        in said
    )
    assert main.main([*line.split(), "--preset", "default"]) == 0


@pytest.mark.usefixtures("files", "asked")
def test_force_replaces(capsys):
    for name in ("details.extxyz", "details.db"):
        Path(name).write_bytes(OLD)
    line = "reconstruct pt10.npz -o details.extxyz --preset fung2022 --force"
    assert main.main(line.split()) == 0
    assert len(ase.io.read("details.extxyz", ":")) == 2
    assert len(json.loads(Path("details.json").read_text())["targets"]) == 2
    assert ase.db.connect("details.db").count() == 2
    assert "2/2" in capsys.readouterr().err
    assert main.main([*line.split(), "--seed", "3"]) == 0
    assert ase.db.connect("details.db").metadata["jaxrecon"]["seed"] == 3


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("options", ["", "--force", "--resume", "--store 'my own.db'"])
def test_an_interrupted_run_is_resumed(asked, capsys, options):
    """The printed command continues it, and the files are those of a run without interruption."""
    line = "reconstruct pt10.npz --rows 0-1,0-1"
    assert main.main(shlex.split(f"{line} -o whole.extxyz")) == 0
    for name in ("new.extxyz", "new.db") if options == "--force" else ():
        Path(name).write_bytes(OLD)
    asked.update(interrupted=2, searched=[])
    capsys.readouterr()
    assert main.main(shlex.split(f"{line} -o new.extxyz --quiet {options}")) == 130
    database = "my own.db" if "store" in options else "new.db"
    store = options if "store" in options else ""
    words = shlex.split(f"{line} -o new.extxyz --quiet {store} --resume")
    again = shlex.join(["jaxrecon", *words])
    assert capsys.readouterr().err == (
        f"jaxrecon: error: interrupted: 2 of 4 targets are in {database}; to continue: {again}\n"
    )
    assert not Path("new.json").exists()
    asked["interrupted"] = None
    assert main.main(shlex.split(again)[1:]) == 0
    assert asked["searched"] == [0, 1, 2, 3]
    for suffix in (".extxyz", ".json"):
        whole = Path("whole").with_suffix(suffix)
        assert Path("new").with_suffix(suffix).read_bytes() == whole.read_bytes()
    # Without anything left to search, the files alone are written again.
    Path("new.extxyz").unlink()
    assert main.main(shlex.split(again)[1:]) == 0
    assert asked["searched"] == [0, 1, 2, 3]
    assert Path("new.extxyz").read_bytes() == Path("whole.extxyz").read_bytes()


@pytest.mark.usefixtures("files")
def test_a_password_is_never_said(asked, capsys, monkeypatch):
    class Server:
        begun, committed = True, 0

        def __init__(self, url: str, **options: bool) -> None:
            self.url = url

        def __str__(self) -> str:
            return "the server"

        def begin(self, description: dict[str, Any]) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("jaxrecon.search.store.Store", Server)
    url = "postgresql://me:secret@host/name"
    assert main.main(["reconstruct", "pt10.npz", "-o", "out.extxyz", "--store", url]) == 130
    assert asked["store"].url == url
    said = capsys.readouterr().err
    assert "--store 'postgresql://me:***@host/name' --resume" in said


def test_help_teaches_and_is_cheap(tmp_path, capsys):
    for words in ([], ["--help"]):
        assert main.main(words) == 0
        said = capsys.readouterr().out
        assert all(verb in said for verb in ("fingerprint", "reconstruct", "demo", "Example"))
    for verb in ("fingerprint", "reconstruct", "demo"):
        assert main.main([verb, "--help"]) == 0
        said = capsys.readouterr().out
        assert f"jaxrecon {verb} " in said.split("Example")[1]
        assert "[default: " in said
    code = (
        "import sys; from jaxrecon.cli.main import main; main(['--help']); "
        "print(sorted({'jax', 'ase', 'numpy', 'scipy', 'rich'} & set(sys.modules)))"
    )
    done = python("-c", code, folder=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_demo(monkeypatch, capsys):
    calls = []

    def run(*words: object, **options: object) -> tuple[dict[str, Any], list[Path]]:
        calls.append((words, options))
        report = {"structures": {"cube": {"residual": 0.0}}, "next": ["jaxrecon doctor"]}
        return report, [Path("demo.json"), Path("index.html")]

    example = SimpleNamespace(run=run)
    monkeypatch.setattr("jaxrecon.cli.demo", example, raising=False)
    assert main.main(["demo"]) == 0
    said = capsys.readouterr().out
    assert said == "look at index.html\n\nto try next:\n  jaxrecon doctor\n"
    assert main.main(["demo", "-o", "folder", "--seed", "3", "--force"]) == 0
    assert calls == [
        ((Path("demo"),), {"seed": 0, "force": False}),
        ((Path("folder"),), {"seed": 3, "force": True}),
    ]


def test_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxrecon {__version__}\n"
