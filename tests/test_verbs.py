"""The parts that all verbs have in common: help, --json, and settings that repeat a run."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import typer
import yaml
from ase.build import molecule
from commands import python, run
from designing import trained

from jaxrecon import save_model
from jaxrecon.cli import main, presets, settings, verbs
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.descriptors.registry import PRESETS
from jaxrecon.models.config import PRESETS as LEARNING
from jaxrecon.potentials.registry import CALCULATORS
from jaxrecon.runtime.versions import versions

pytestmark = pytest.mark.usefixtures("command_line")


def commands(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """All verbs by name, as the commands that typer has made."""
    group = group or typer.main.get_command(main.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


VERBS = dict(commands())


def test_all_verbs_are_there() -> None:
    wanted = {"fingerprint", "reconstruct", "demo", "match", "doctor", "train", "generate", "judge"}
    wanted |= {"evaluate", "design", "dataset build", "dataset info", "dataset sample"}
    assert wanted <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has a sentence, an example, a text for every option, and the common options."""
    command = VERBS[verb]
    assert run(f"{verb} --help") == 0
    shown = capsys.readouterr().out
    sentence = command.help.split("\n\n")[0]
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    examples = [line for line in shown.split("Example")[1].splitlines() if "jaxrecon" in line]
    assert any(line.strip().startswith(f"jaxrecon {verb}") for line in examples)
    for each in command.params:
        assert each.help, f"{verb} {each.name}"
    options = {each.name: each for each in command.params if each.param_type_name == "option"}
    assert {"json", "config"} <= set(options)
    for name, option in options.items():
        assert any(word.startswith("--") for word in option.opts), name
        # An option that may be left out states its default.
        said = "[default: " in option.help or option.required or option.is_flag
        assert said or option.show_default or option.default is None, name


@pytest.mark.parametrize("verb", VERBS)
def test_examples_are_commands(verb: str) -> None:
    """Every example of the help can be parsed."""
    for line in VERBS[verb].epilog.splitlines():
        if not line.strip().startswith("jaxrecon"):
            continue
        _, name, *words = shlex.split(line)
        if name in {"dataset", "images"}:
            name = f"{name} {words.pop(0)}"
        VERBS[name].make_context(name, words)


@pytest.mark.parametrize(
    ("verb", "option", "names"),
    [
        ("judge", "calculator", CALCULATORS),
        ("train", "learning", LEARNING),
    ],
)
def test_help_names_all_that_is_registered(verb: str, option: str, names: Iterable[str]) -> None:
    """The help can't read the registries, which import JAX and ASE."""
    (text,) = [each.help for each in VERBS[verb].params if each.name == option]
    assert [name for name in names if name not in text] == []


def test_one_help_describes_all_presets_and_the_others_refer_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(presets.PRESETS) == list(PRESETS)
    assert run("fingerprint --help") == 0
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert [
        [name, text] for name, text in presets.PRESETS.items() if [name, text] not in lines
    ] == []
    said = {
        verb: presets.LISTED in option.help
        for verb, command in VERBS.items()
        for option in command.params
        if option.name == "preset" and verb != "fingerprint"
    }
    assert len(said) > 3
    assert all(said.values()), said


def test_help_is_cheap(tmp_path: Path) -> None:
    """No module that takes long is imported for the help of any verb."""
    code = f"""
import sys
from jaxrecon.cli.main import main
for verb in {list(VERBS)!r}:
    assert main([*verb.split(), "--help"]) == 0
print(sorted({{"jax", "ase", "numpy", "scipy", "rich", "yaml"}} & set(sys.modules)))
"""
    done = python("-c", code, folder=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.fixture
def water(command_line: None) -> None:
    ase.io.write("water.xyz", molecule("H2O"))


@pytest.mark.usefixtures("water")
def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fingerprint water.xyz -o water.npz --json") == 0
    said = json.loads(capsys.readouterr().out)
    seconds = said.pop("seconds")
    assert 0.0 < seconds < 600.0
    assert said == {
        "verb": "fingerprint",
        "files": ["water.npz", "water.npz.yaml"],
        "fingerprints": 1,
        "numbers": 232,
        "versions": versions(),
    }
    assert run("match water.xyz water.xyz --json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pairs"], said["tight"], said["files"]) == (1, 1, [])
    assert said["matches"][0]["rms"] is None


@pytest.mark.usefixtures("water")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fingerprint none.xyz -o out.npz --json", "none.xyz, which does not exist"),
        ("fingerprint --json", "Missing argument"),
        ("invert --json", "No such command"),
        ("dataset info none.npz --json", "none.npz"),
    ],
)
def test_errors_are_one_object_too(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == 2
    said = capsys.readouterr()
    assert said.err == ""
    error = json.loads(said.out)
    assert list(error) == ["error"]
    assert message in error["error"]


@pytest.mark.usefixtures("water")
def test_a_fault_of_ours_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("one\ntwo")

    monkeypatch.setattr("jaxrecon.structures.io.read_structures", broken)
    assert run("fingerprint water.xyz -o out.npz") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "internal error, RuntimeError: one two (JAXRECON_DEBUG=1 shows where)" in said
    monkeypatch.setenv("JAXRECON_DEBUG", "1")
    with pytest.raises(RuntimeError, match="one"):
        run("fingerprint water.xyz -o out.npz")


@pytest.mark.usefixtures("water")
def test_what_a_verb_prints_on_the_way_is_not_in_the_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxrecon.structures.io import read_structures as read

    def talking(path: Path) -> Any:
        print("on the way")
        return read(path)

    monkeypatch.setattr("jaxrecon.structures.io.read_structures", talking)
    assert run("match water.xyz water.xyz --json") == 0
    said = capsys.readouterr()
    assert said.err == "on the way\n" * 2
    assert json.loads(said.out)["verb"] == "match"


@pytest.mark.usefixtures("water")
def test_settings_are_written_in_full() -> None:
    assert run("fingerprint water.xyz -o a.npz --elements H,O,C --force") == 0
    text = Path("a.npz.yaml").read_text()
    assert text.startswith("# jaxrecon ")
    assert yaml.safe_load(text) == {
        "verb": "fingerprint",
        "structures": ["water.xyz"],
        "output": "a.npz",
        "preset": None,
        "elements": "H,O,C",
    }


@pytest.mark.usefixtures("water")
def test_settings_repeat_reconstruct(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fingerprint water.xyz -o water.npz") == 0
    options = "--hops 2 --replicas 4 --seed 5 --min-distance 0.3 --tolerance 1e-5 --quiet"
    assert run(f"reconstruct water.npz -o one.extxyz {options}") == 0
    written = yaml.safe_load(Path("one.extxyz.yaml").read_text())
    assert (written["seed"], written["hops"], written["min-distance"]) == (5, 2, 0.3)
    assert not settings.NOT_WRITTEN & set(written)
    assert run("reconstruct --config one.extxyz.yaml -o two.extxyz --quiet") == 0
    assert Path("two.extxyz").read_bytes() == Path("one.extxyz").read_bytes()
    again = yaml.safe_load(Path("two.extxyz.yaml").read_text())
    assert again == written | {"output": "two.extxyz"}
    capsys.readouterr()
    assert run("reconstruct --config one.extxyz.yaml") == 2
    assert "or --force, got one.extxyz.yaml" in capsys.readouterr().err


def test_settings_repeat_a_build() -> None:
    line = "dataset build --symbols Pt3 --size 8 --seed 4 --steps 30 --perturbed 0.5 --quiet"
    assert run(f"{line} -o one.extxyz") == 0
    assert run("dataset build --config one.extxyz.yaml -o two.extxyz --quiet") == 0
    assert Path("two.extxyz").read_bytes() == Path("one.extxyz").read_bytes()


@pytest.mark.slow
def test_settings_repeat_a_generation() -> None:
    save_model(trained(), "model")
    line = "generate model --target 4.5 --samples 2 --hops 1 --seed 6 --pull 0.2 --quiet"
    assert run(f"{line} -o one.extxyz") == 0
    assert run("generate --config one.extxyz.yaml -o two.extxyz --quiet") == 0
    assert Path("two.extxyz").read_bytes() == Path("one.extxyz").read_bytes()


@pytest.mark.usefixtures("water")
def test_flags_win_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def evaluate(frames: object, **_: object) -> list[dict[str, Any]]:
        asked["frames"] = frames
        return [{"target": 1.0}]

    monkeypatch.setattr("jaxrecon.inverse_design.evaluation.table2", evaluate)
    Path("both.json").write_text(
        json.dumps({"what": "table2", "inputs": ["water.xyz"], "target": [1, 2.5], "samples": 7})
    )
    assert run("evaluate --config both.json -o one.json --samples 3") == 0
    written = yaml.safe_load(Path("one.json.yaml").read_text())
    assert (written["samples"], written["target"], written["seed"]) == (3, [1.0, 2.5], 0)
    assert len(asked["frames"]) == 1


@pytest.mark.usefixtures("water")
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "elemnts: O", "settings of fingerprint like elements in a.yaml, got 'elemnts'"),
        ("a.yaml", "zzz: 1", "fingerprint among structures, output, preset, elements, force in"),
        ("a.yaml", "elements: [O]", "expected elements in a.yaml to be text, got ['O']"),
        ("a.yaml", "force: 1", "expected force in a.yaml to be true or false, got 1"),
        ("a.yaml", "json: true", "got 'json'"),
        ("a.yaml", "verb: match", "settings of fingerprint in a.yaml, got those of match"),
        ("a.yaml", "- 1", "expected settings by name in a.yaml, got list"),
        ("a.yaml", "1: 2", "expected settings by name in a.yaml, got dict"),
        ("a.yaml", "", "expected settings by name in a.yaml, got NoneType"),
        ("a.yaml", "a: [", "expected YAML or JSON in a.yaml, got ParserError"),
        ("a.yaml", "? [a]\n: 1", "expected YAML or JSON in a.yaml, got TypeError"),
        ("a.yaml", "seed: 1\nseed: 2", "expected one value of 'seed', got 1 and 2"),
        ("a.json", '{"seed": 1, "seed": 2}', "expected one value of 'seed', got 1 and 2"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "expected YAML or JSON in a.yaml"),
        ("a.json", "elements: O", "expected YAML or JSON in a.json, got JSONDecodeError"),
        ("a.json", "[" * 100_000, "expected YAML or JSON in a.json, got RecursionError"),
    ],
)
def test_wrong_settings_are_refused(
    name: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(text)
    assert run(f"fingerprint water.xyz -o out.npz --config {name}") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
    assert not Path("out.npz").exists()


@pytest.mark.usefixtures("water")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hops: 2.5", "expected hops in a.yaml to be a whole number, got 2.5"),
        ("hops: true", "expected hops in a.yaml to be a whole number, got True"),
        ("hops: '3'", "expected hops in a.yaml to be a whole number, got '3'"),
        ("tolerance: true", "expected tolerance in a.yaml to be a number, got True"),
        ("tolerance: tiny", "expected tolerance in a.yaml to be a number, got 'tiny'"),
        (f"tolerance: {10**400}", "expected tolerance in a.yaml to be a number, got 1000"),
        ("seed: -1", "Invalid value for '--seed'"),
        ("tolerance: 1e-6\nmin_distance: 2", "expected min_distance to be a number in [0, 1)"),
    ],
)
def test_wrong_types_are_refused(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savetxt("a.csv", np.ones((1, 46)), delimiter=",")
    Path("a.yaml").write_text(text)
    assert run("reconstruct a.csv -o out.extxyz --config a.yaml") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_nothing_is_in_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write("water.xyz", random_cluster("Pt3", 0))
    Path("out.npz.yaml").write_text("mine")
    assert run("fingerprint water.xyz -o out.npz") == 2
    assert "--force, got out.npz.yaml" in capsys.readouterr().err
    assert Path("out.npz.yaml").read_text() == "mine"
    assert sorted(os.listdir()) == ["out.npz.yaml", "water.xyz"]
    assert verbs.settings_path(Path("a/b.npz")) == Path("a/b.npz.yaml")
    assert verbs.settings_path(Path(".")) == Path("settings.yaml")
