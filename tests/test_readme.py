"""The code of README and guide runs, and their commands have the options that they show."""

import re
import shlex
from pathlib import Path
from typing import cast

import pytest
from designing import LEARNING, MAKING

import jaxrecon
from jaxrecon.cli import main
from jaxrecon.datasets import LabelledSet

ROOT = Path(__file__).parent.parent
README, GUIDE = (ROOT / name for name in ("README.md", "notebooks/README.md"))
LONGEST = 150
"""Largest number of lines of the README: one page."""


def blocks(language: str, path: Path = GUIDE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), flags=re.DOTALL)


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text().splitlines()) <= LONGEST
    # Its example is the first of the guide, which runs below.
    assert blocks("python", README) == blocks("python")[:1]


def test_links_to_files_lead_somewhere() -> None:
    for path in (README, GUIDE, ROOT / "benchmarks/README.md"):
        targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
        assert targets or path.parent.name == "benchmarks"
        missing = [
            target
            for target in targets
            if "://" not in target and not (path.parent / target.partition("#")[0]).exists()
        ]
        assert missing == []


@pytest.mark.slow
def test_python_examples(capsys: pytest.CaptureFixture[str]) -> None:
    there_and_back, derivatives, many, made, _, local, image = blocks("python")
    names: dict[str, object] = {}
    exec(compile(there_and_back, "guide", "exec"), names)
    solved, deviation = capsys.readouterr().out.splitlines()
    assert solved.endswith("CONVERGED")
    assert float(deviation.split()[0]) < 1e-3
    exec(compile(derivatives, "guide", "exec"), names)
    feature, shape = capsys.readouterr().out.splitlines()
    assert feature.startswith("mean[Na] G5[Na,Cl] zeta=4 lam=1 eta=0.1 ")
    assert float(feature.split()[-1]) > 0
    assert shape == "(2, 3, 3)"
    exec(compile(many, "guide", "exec"), names)
    assert "3 of 3 converged" in capsys.readouterr().out
    exec(compile(made, "guide", "exec"), names)
    kind, energy, _ = capsys.readouterr().out.split()
    assert kind == "minimum"
    assert 0.0 < float(energy) < 3.7
    assert len(cast(LabelledSet, names["spread"])) == 10
    exec(compile(local, "guide", "exec"), names)
    error, held = capsys.readouterr().out.splitlines()
    assert float(error.split()[0]) < 0.05
    assert float(held.split()[0]) > 0.0
    exec(compile(image, "guide", "exec"), names)
    code, deviation, _ = capsys.readouterr().out.split()
    assert code == "converged"
    assert float(deviation) < 1e-5


@pytest.mark.slow
def test_inverse_design(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the small settings of the tests: the default ones take a minute or two."""
    quick = LEARNING.replace(forces=False)
    monkeypatch.setattr("jaxrecon.models.training.TrainConfig", lambda: quick)
    monkeypatch.setattr("jaxrecon.inverse_design.generation.GenerateConfig", lambda: MAKING)
    names: dict[str, object] = {"jaxrecon": jaxrecon}
    exec(compile(blocks("python")[4], "guide", "exec"), names)
    model = cast(jaxrecon.DesignModel, names["model"])
    made = cast(jaxrecon.Generated, names["made"])
    assert (len(model.training), model.symbols) == (300, "Pt10")
    assert model.training.forces is not None
    assert len(made) == 10
    assert {atoms.info["target"] for atoms in made} == {2.8}
    *table, said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in table[1:3]] == ["10", str(len(made.screened()))]
    # What has been learned here is less sure than wanted, which one more line says.
    assert [line.split()[0] for line in table[3:]] == ["Predictions"]
    assert float(said.split()[0]) == made[0].info["predicted"]
    assert 0.0 < float(said.split()[-3]) < 1.0


def test_commands_take_the_options_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines = "\n".join([*blocks("console", README), *blocks("console")]).splitlines()
    commands = [shlex.split(line.split("&&")[-1]) for line in lines if "jaxrecon " in line]
    assert len(commands) >= 4
    for _, verb, *words in commands:
        verbs = [verb, words[0]] if verb in ("dataset", "images") else [verb]
        assert main.main([*verbs, "--help"]) == 0
        shown = capsys.readouterr().out
        assert [word for word in words if word.startswith("-") and word not in shown] == []
