"""Learning curves and pre-training: folds, resumption, and what they find."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from copper import rattled

from jaxrecon import SOAP
from jaxrecon.cli.main import main
from jaxrecon.models.epochs import advance
from jaxrecon.models.local import learning_curve as curves
from jaxrecon.models.local.base import _predicted
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.learning_curve import (
    fold_members,
    learning_curve,
    pretraining_curve,
    summary,
    text,
)

DESCRIPTOR = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2, normalize=True)
QUICK = LocalConfig(points=60, zeta=2, hidden=16, layers=1, epochs=60, batch=16, sigma=0.02)


@pytest.fixture(scope="module")
def data() -> Environments:
    items = [rattled(3.5 + 0.02 * (seed % 12), 0.2, seed) for seed in range(24)]
    return Environments.of(
        items,
        DESCRIPTOR,
        energies=[atoms.get_potential_energies() for atoms in items],
        trajectories=np.arange(24) // 2,
    )


def test_folds_have_whole_trajectories_and_all_structures(data: Environments) -> None:
    parts = fold_members(data, 5, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(24))
    owners = [set(data.trajectories[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners)) == 12
    assert max(map(len, parts)) - min(map(len, parts)) <= 2
    with pytest.raises(ValueError, match="expected from 2 to 12 folds"):
        fold_members(data, 13, seed=1)


def test_more_environments_give_smaller_errors_and_a_run_is_resumed(
    data: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "curve.json"

    def curve(**changes: object) -> list[curves.Point]:
        settings = {"models": ("linear", "kernel"), "sizes": (10, 48), "folds": 2} | changes
        return learning_curve(data, config=QUICK, store=store, **settings)

    found = curve()
    errors = {(row["model"], row["size"]): row["mae"] for row in summary(found)}
    assert errors["kernel", 48] < 0.8 * errors["kernel", 10]
    assert len(list(text(found))) == 1 + len(errors)
    assert len(json.loads(store.read_text())["points"]) == 8

    # What is known is not computed again, and what is missing is.
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("fitted again")

    for kind in ("linear", "kernel"):
        monkeypatch.setattr(curves.LOCAL_MODELS[kind], "fit", refused)
    assert curve() == found
    with pytest.raises(AssertionError, match="fitted again"):
        curve(sizes=(10, 20))
    # Folds, labels and settings decide the points.
    others = replace(data, energies=1.5 * np.asarray(data.energies))
    for changes in ({"config": replace(QUICK, seed=1)}, {"folds": 3}, {"environments": others}):
        settings = {"environments": data, "config": QUICK, "folds": 2, "sizes": (10,)} | changes
        with pytest.raises(ValueError, match="expected the points of this run"):
            learning_curve(**settings, store=store)


def test_the_store_is_looked_at_before_the_work(
    data: Environments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("worked before")

    monkeypatch.setattr(curves.LOCAL_MODELS["linear"], "fit", refused)
    monkeypatch.setattr("jaxrecon.cli.local._environments", refused)
    settings = {"models": ("linear",), "sizes": (10,), "folds": 2}
    with pytest.raises(NotADirectoryError, match=r"expected a directory to write .*curve\.json"):
        learning_curve(data, store=tmp_path / "missing" / "curve.json", **settings)
    with pytest.raises(IsADirectoryError, match="expected a file to write to"):
        learning_curve(data, store=tmp_path, **settings)
    other = tmp_path / "other.json"
    other.write_text('{"points": 3}')
    folder = tmp_path / "folder.json"
    folder.mkdir()
    for path, message in (
        (other, f"expected points of a run in {other}, got none"),
        (folder, f"expected a file to write to, got {folder}, which is none"),
    ):
        line = f"evaluate learning-curve {path} --quiet --resume -o {path}"
        assert main(line.split()) == 2
        found = capsys.readouterr().err.strip()
        assert found.endswith(message)
        assert "\n" not in found


@pytest.mark.parametrize("name", ["network", "deep_kernel"])
def test_one_program_for_all_folds_of_a_size(data: Environments, name: str) -> None:
    # Trajectories of 4 to 12 atoms, so that no two folds have as many training examples.
    data = replace(data, trajectories=np.repeat(np.arange(12), [1, 2, 3] * 4))
    config = replace(QUICK, epochs=2, hidden=4, inducing=40, features=2)
    before = advance._cache_size(), _predicted._cache_size()
    found = learning_curve(data, models=(name,), sizes=(40,), folds=4, config=config)
    assert len(found) == 4
    assert (advance._cache_size(), _predicted._cache_size()) == (before[0] + 1, before[1] + 1)


def test_a_size_that_is_given_twice_counts_once(data: Environments) -> None:
    found = learning_curve(data, models=("linear",), sizes=(10, 10), folds=2, config=QUICK)
    assert [row["folds"] for row in summary(found)] == [2]


def test_a_finished_pretraining_run_learns_nothing_again(
    data: Environments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(QUICK, epochs=2, hidden=4)

    def curve(sizes: tuple[int, ...] = (4,)) -> list[curves.Point]:
        labelled = replace(data, energies=None)
        store = tmp_path / "curve.json"
        return pretraining_curve(data, labelled, sizes=sizes, folds=2, config=few, store=store)

    found = curve()
    monkeypatch.setattr(curves, "NetworkModel", None)
    assert curve() == found
    # Sizes are checked before the teacher is learned from.
    with pytest.raises(ValueError, match="expected sizes from 1 to 12"):
        curve((4, 13))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (1000,), "folds": 2}, "expected sizes from 1 to 48"),
        ({"sizes": (10, -3), "folds": 2}, "got -3"),
        ({"models": ("magic",)}, "expected models among"),
        ({"folds": 1}, "expected from 2 to 12 folds"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    data: Environments, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        learning_curve(data, **{"models": ("linear",), "sizes": (10,), "config": QUICK} | changes)


def test_what_a_teacher_taught_helps_with_few_labels(data: Environments) -> None:
    assert data.totals is not None
    # The labels are those of another theory: shifted and scaled.
    labelled = replace(data, energies=None, totals=1.1 * data.totals - 3.0 * data.counts[:, 0])
    config = replace(QUICK, epochs=40)
    found = pretraining_curve(data, labelled, sizes=(6,), folds=2, config=config)
    errors = {row["model"]: row["rmse"] for row in summary(found)}
    assert errors["pretrained"] < 0.8 * errors["direct"]


def test_the_command_line(
    data: Environments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = list(data.structures or [])
    for number, atoms in enumerate(frames):
        atoms.info["run"] = number // 2
    source, output = tmp_path / "frames.extxyz", tmp_path / "curve.json"
    ase.io.write(source, frames)
    line = f"evaluate learning-curve {source} --kind linear --size 10 --folds 2 --quiet"
    assert main([*line.split(), "--preset", "soap", "-o", str(output)]) == 0
    assert "linear" in capsys.readouterr().out
    first = output.read_text()
    # The output is refused, and with --resume it is what the run continues from.
    assert main([*line.split(), "--preset", "soap", "-o", str(output)]) == 2
    assert main([*line.split(), "--preset", "soap", "-o", str(output), "--resume"]) == 0
    assert output.read_text() == first
    # What a wrong line would replace is kept.
    wrong = line.replace("--size 10", "--size 999")
    assert main([*wrong.split(), "--preset", "soap", "-o", str(output), "--force"]) == 2
    assert output.read_text() == first
    assert main([*line.split(), "--preset", "soap", "-o", str(output), "--force"]) == 0
    assert output.read_text() != first
    capsys.readouterr()
    pretrain = f"evaluate pretrain {source} --preset soap --size 4 --folds 2 --quiet"
    assert main(pretrain.split()) == 2
    assert "expected --labelled" in capsys.readouterr().err
    assert main([*line.split(), "--energies-key", "nothing"]) == 2
    assert "expected energies of the atoms named nothing" in capsys.readouterr().err
