"""The closed loop: rounds learn from earlier ones, and an interruption repeats nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from designing import BULK, LEARNING, MAKING, e_form, labelled, trained

from jaxrecon import featurize
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design import closed_loop
from jaxrecon.inverse_design.closed_loop import Design, design
from jaxrecon.inverse_design.config import info_of
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.models.design_model import DesignModel
from jaxrecon.potentials.energies import Label, label
from jaxrecon.structures.io import read_structures

TARGET = 4.0
SETTINGS: dict[str, Any] = {
    "calculator": "emt",
    "bulk": {"Pt": BULK},
    "rounds": 2,
    "labels": 4,
    "train_config": LEARNING,
    "generate_config": MAKING,
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    """Calls of functions that stand for training and generation, and stop where ``stop`` says."""
    seen: dict[str, list] = {"trained": [], "made": [], "stop": []}

    def learn(rows: LabelledSet, config: Any, **options: Any) -> DesignModel:
        options["progress"](1, 1)
        seen["trained"].append(rows)
        if len(seen["trained"]) in seen["stop"]:
            raise KeyboardInterrupt
        return trained()

    def make(model: DesignModel, wanted: Any, count: int, **options: Any) -> Generated:
        seen["made"].append((count, options["seed"]))
        structures = [random_cluster("Pt4", (options["seed"] + n) % 2**31) for n in range(count)]
        for number, atoms in enumerate(structures):
            atoms.info = {**info_of(wanted), "predicted": 4.1, "deviation": 0.1, "shortest": 0.8}
            atoms.info |= {"duplicate": number == 1, "accepted": number > 1}
            atoms.info["rigidity"] = float((7 * number) % 5) + 0.1 * number
        options["progress"](count, 0)
        values = np.zeros((count, model.fingerprint.size))
        return Generated(structures, values, values[0], {"config": MAKING.to_dict()})

    monkeypatch.setattr(closed_loop, "train", learn)
    monkeypatch.setattr(closed_loop, "generate", make)
    return seen


def looped(folder: Path, rows: LabelledSet | None = None, **changes: Any) -> Design:
    return design(rows or labelled(), TARGET, 5, folder, **{**SETTINGS, **changes})


def test_the_least_certain_structures_are_judged(
    calls: dict[str, list], tmp_path: Path, unchecked: None
) -> None:
    reports: list[int] = []
    config = LEARNING.replace(surrogate="local_gpr")
    options = {"choose": "rigidity", "train_config": config, "rounds": 1, "labels": 2}
    looped(tmp_path / "run", progress=lambda n, _: reports.append(n), **options)
    assert [count for count, _ in calls["made"]] == [6, 5]
    assert sum(reports) == closed_loop.total(5, 1, 2, "rigidity") == 13
    made = read_structures(tmp_path / "run/round-0/generated.extxyz")
    # Of those that are no duplicates, the rigidities of two are the smallest.
    worth = sorted(
        (atoms.info["rigidity"] for atoms in made if not atoms.info["duplicate"]), reverse=False
    )
    judged = read_structures(tmp_path / "run/round-0/judged.extxyz")
    assert sorted(atoms.info["rigidity"] for atoms in judged) == worth[:2]
    with pytest.raises(ValueError, match=r"energies of atoms to choose by rigidity, .* gaussian"):
        looped(tmp_path / "other", choose="rigidity")
    with pytest.raises(ValueError, match="expected choose among"):
        looped(tmp_path / "other", choose="best")
    with pytest.raises(ValueError, match="the run that"):
        looped(tmp_path / "run", **{**options, "choose": "deviation"})


def test_each_round_learns_from_those_before(calls: dict[str, list], tmp_path: Path) -> None:
    reports: list[int] = []
    found = looped(tmp_path / "run", seed=3, progress=lambda n, _: reports.append(n))
    assert [len(rows) for rows in calls["trained"]] == [60, 63, 66]
    assert [count for count, _ in calls["made"]] == [4, 4, 5]
    assert len({seed for _, seed in calls["made"]}) == 3
    assert sum(reports) == closed_loop.total(5, 2, 4) == 21
    first, second, last = found.rounds
    judged = read_structures(tmp_path / "run/round-0/judged.extxyz")
    energies = np.array([e_form(atoms) for atoms in judged])
    assert first["judged"] == 3
    assert first["hits"] == np.sum(np.abs(energies - TARGET) <= 0.1)
    assert first["hit_rate"] == first["hits"] / 3
    assert first["mae"] == pytest.approx(np.abs(energies - TARGET).mean(), abs=1e-6)
    assert [row["labels"] for row in found.rounds] == [0, 3, 6]
    assert first["yield"] == second["yield"] == 0.5
    assert (last["made"], last["yield"]) == (5, 0.6)
    assert "judged" not in last
    assert json.loads((tmp_path / "run/rounds.json").read_text()) == found.rounds
    rows = calls["trained"][1]
    assert rows.kinds[60:] == ["generated"] * 3
    assert len({*rows.trajectories[60:].tolist()} - {*rows.trajectories[:60].tolist()}) == 3
    assert rows.formation_energies[60:] == pytest.approx(energies, abs=1e-6)
    assert rows.energies[60:] == pytest.approx(4 * (energies + BULK), abs=1e-6)
    for atoms, other in zip(rows.structures[60:], judged, strict=True):
        assert np.array_equal(atoms.positions, other.positions)
    assert len(found.labelled) == 66
    assert len(found.structures) == 5


def test_an_interruption_repeats_nothing(
    calls: dict[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    energies: list[Atoms] = []

    def counted(atoms: Atoms, *words: Any) -> Label:
        energies.append(atoms)
        return label(atoms, *words)

    monkeypatch.setattr("jaxrecon.potentials.labels.label", counted)
    whole = looped(tmp_path / "whole")
    assert len(energies) == 6
    calls["stop"] += [5]  # the second training of the next run
    calls["made"].clear()
    with pytest.raises(KeyboardInterrupt):
        looped(tmp_path / "run")
    assert [count for count, _ in calls["made"]] == [4]
    again = looped(tmp_path / "run")
    assert [count for count, _ in calls["made"]] == [4, 4, 5]
    assert len(calls["trained"]) == 3 + 2 + 2
    assert again.rounds == whole.rounds
    assert len(energies) == 12
    assert same(again.structures, whole.structures)
    assert same(again.labelled.structures or [], whole.labelled.structures or [])
    assert np.array_equal(again.labelled.energies, whole.labelled.energies)
    before = (tmp_path / "run/round-1/judged.extxyz").read_bytes()
    reports: list[int] = []
    looped(tmp_path / "run", progress=lambda n, _: reports.append(n))
    assert len(calls["trained"]) == 7
    assert len(energies) == 12
    assert sum(reports) == closed_loop.total(5, 2, 4)
    assert (tmp_path / "run/round-1/judged.extxyz").read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "learned", "made"),
    [
        ({"rounds": 1}, {"rounds": 2}, 1, [4, 5]),
        ({"rounds": 0}, {"rounds": 2}, 2, [4, 4, 5]),
        ({"count": 3}, {"count": 5}, 0, [5]),
        ({"rounds": 1, "count": 3}, {"rounds": 2, "count": 5}, 1, [4, 5]),
    ],
)
def test_more_rounds_and_structures_go_on(
    calls: dict[str, list],
    tmp_path: Path,
    before: dict[str, int],
    after: dict[str, int],
    learned: int,
    made: list[int],
) -> None:
    """The result is that of a run that was begun with them; what is the same is not repeated."""

    def run(folder: Path, **changes: int) -> Design:
        settings = {**SETTINGS, "count": 5, "rounds": 2, **changes}
        return design(labelled(), TARGET, settings.pop("count"), folder, **settings)

    whole = run(tmp_path / "whole", **after)
    run(tmp_path / "run", **before)
    calls["trained"].clear()
    calls["made"].clear()
    again = run(tmp_path / "run", **after)
    assert len(calls["trained"]) == learned
    assert [count for count, _ in calls["made"]] == made
    assert again.rounds == whole.rounds
    assert same(again.structures, whole.structures)
    assert same(again.labelled.structures or [], whole.labelled.structures or [])
    name = next(iter(before))
    with pytest.raises(ValueError, match=f"got another: {name}: {after[name]} != {before[name]}"):
        run(tmp_path / "run", **{**after, name: before[name]})


def same(structures: Sequence[Atoms], others: Sequence[Atoms]) -> bool:
    pairs = zip(structures, others, strict=True)
    return all(one.positions.tobytes() == other.positions.tobytes() for one, other in pairs)


def test_another_run_is_refused(calls: dict[str, list], tmp_path: Path) -> None:
    looped(tmp_path / "run", rounds=0)
    for change, said in (
        ({"labels": 5}, "labels: 4 != 5"),
        ({"seed": 1}, "seed: 0 != 1"),
        ({"bulk": {"Pt": 0.0}}, "bulk.Pt: "),
        ({"generate_config": MAKING.replace(pull=0.5)}, "generate.pull: "),
        ({"rows": labelled().select(range(59))}, "set[0]: "),
    ):
        with pytest.raises(ValueError, match=re.escape(f"was begun with, got another: {said}")):
            looped(tmp_path / "run", **{"rounds": 0, **change})
    (tmp_path / "other/.jaxrecon-draft").mkdir(parents=True)
    looped(tmp_path / "other", rounds=0)
    (tmp_path / "other/run.json").unlink()
    with pytest.raises(ValueError, match="expected an empty folder or one of such a run"):
        looped(tmp_path / "other")
    for name in ("count", "labels"):
        with pytest.raises(ValueError, match=f"expected {name} >= 1, got 0"):
            design(labelled(), 4.0, **{"count": 1, "folder": tmp_path, **SETTINGS, name: 0})


def test_a_set_of_fingerprints_alone(calls: dict[str, list], tmp_path: Path) -> None:
    values = featurize(labelled().structures or [], trained().fingerprint)
    alone = LabelledSet.of(fingerprints=values, formation_energies=labelled().formation_energies)
    found = looped(tmp_path / "run", alone, rounds=1, symbols="Pt4")
    judged = read_structures(tmp_path / "run/round-0/judged.extxyz")
    assert found.labelled.structures is None
    assert found.labelled.fingerprints is not None
    assert np.array_equal(found.labelled.fingerprints[:60], values)
    expected = featurize(judged, trained().fingerprint)
    np.testing.assert_allclose(found.labelled.fingerprints[60:], expected, atol=1e-12)


def test_a_round_without_an_energy_is_no_end(
    calls: dict[str, list], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxrecon.potentials.labels.label", lambda *_: 1 / 0)
    found = looped(tmp_path / "run", rounds=1)
    assert (found.rounds[0]["judged"], found.rounds[0]["hits"]) == (3, 0)
    assert found.rounds[1]["labels"] == 3
    assert len(found.labelled) == 60


def test_judged_crystals_stay_crystals() -> None:
    known = [bulk("Cu", a=a) for a in (3.5, 3.6)]
    rows = LabelledSet.of(known, energies=[-1.0, -2.0], formation_energies=[0.5, 0.1])
    new = bulk("Cu", a=3.7)
    new.info["e_form"] = 0.3
    new.calc = SinglePointCalculator(new, energy=-1.5)
    found = closed_loop._with(rows, [new], trained())
    assert found.structures[2].pbc.all()
    np.testing.assert_array_equal(found.structures[2].cell.array, new.cell.array)
