"""Structures from a model: true entries in ``info``, and which structures are accepted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from designing import MAKING, labelled, trained

from jaxrecon import Store, featurize
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design.config import GenerateConfig, miss, range_of, wanted_of
from jaxrecon.inverse_design.generation import generate
from jaxrecon.inverse_design.scoring import shortest_distance
from jaxrecon.models.design_model import DesignModel
from jaxrecon.search.results import Reconstruction, Result, ResultCode

pytestmark = pytest.mark.usefixtures("strict_types")

GIVEN = [random_cluster("Pt4", seed) for seed in (70, 71, 72)]
NOWHERE = Atoms("Pt4", np.full((4, 3), np.nan))
CLOSE = Atoms("Pt4", [(0, 0, 0), (0, 0, 1.2), (0, 2.4, 0), (2.4, 0, 0)])


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a search that is replaced; it returns the structures under ``answer``."""
    call: dict[str, Any] = {"answer": GIVEN}

    def search(targets: np.ndarray, fingerprint: Fingerprint, **given: Any) -> Reconstruction:
        call.update(given, targets=targets)
        results = [
            Result(atoms, 9.0, ResultCode.STALLED, 1, {"values": 1}, 1.0)
            for atoms in call["answer"]
        ]
        return Reconstruction(results, [fingerprint] * len(results), given["config"], 0, 1.0)

    monkeypatch.setattr("jaxrecon.inverse_design.generation.reconstruct", search)
    return call


def middle() -> float:
    return float(np.median(labelled().formation_energies))


def test_structures_are_scored_at_their_own_fingerprints(asks: dict[str, Any]) -> None:
    model, target = trained(), middle()
    made = generate(model, target, 3, seed=5)
    assert len(made) == 3
    values = featurize(GIVEN, model.fingerprint)
    means, deviations = model.predict(values)
    samples = model.sample(target, 3, 5, agree=0.1)
    assert np.array_equal(asks["targets"], samples)
    assert np.array_equal(made.fingerprints, values)
    for row, (atoms, given) in enumerate(zip(made, GIVEN, strict=True)):
        assert np.array_equal(atoms.positions, given.positions)
        assert atoms.info["target"] == target
        assert atoms.info["predicted"] == pytest.approx(means[row], abs=1e-12)
        assert atoms.info["deviation"] == pytest.approx(deviations[row], abs=1e-12)
        residual = np.abs(values[row] - samples[row]).mean()
        assert atoms.info["residual"] == pytest.approx(residual, abs=1e-12)
        assert atoms.info["shortest"] == shortest_distance(given)
        assert atoms.info["duplicate"] is False
        assert atoms.info["known"] is False
    json.dumps(made.to_dict(), allow_nan=False)


def test_the_search_is_guided_to_the_wanted_value(asks: dict[str, Any]) -> None:
    model, target = trained(), middle()
    rows = model.training.fingerprints
    assert rows is not None
    generate(model, target, 3, trust=0.7, pull=0.3, config=MAKING)
    guidance = asks["guidance"]
    assert guidance.predictors == (model.surrogate,)
    assert (guidance.low.item(), guidance.high.item()) == (target, target)
    assert (guidance.trust.item(), guidance.pull.item()) == (0.7, 0.3)
    spread = rows.std(axis=0)
    live = spread > 0.01 * np.sqrt(np.mean(spread**2))
    assert 10 < live.sum() < len(live)
    assert np.array_equal(guidance.widths, np.where(live, spread, np.inf))
    assert asks["config"] == MAKING.search
    assert asks["symbols"] == "Pt4"
    generate(model, target, 3, guided=False)
    assert asks["guidance"] is None
    made = generate(model, target, 3, sampled=False)
    assert asks["guidance"].pull.item() == 0.0
    assert not asks["targets"].any()
    assert all("residual" not in atoms.info for atoms in made)


def accepted(made: Any) -> list[bool]:
    assert [row for row, atoms in enumerate(made) if atoms.info["accepted"]] == [
        row for row, atoms in enumerate(made) if any(atoms is other for other in made.screened())
    ]
    return [atoms.info["accepted"] for atoms in made]


def test_which_structures_are_accepted(asks: dict[str, Any]) -> None:
    model = trained()
    assert model.training.structures is not None
    seen = model.training.structures[3].copy()
    seen.positions = seen.positions[::-1] * [1.0, -1.0, 1.0]
    asks["answer"] = [GIVEN[0], NOWHERE, GIVEN[0].copy(), CLOSE, seen]
    anything = {"tolerance": 1e3, "agree": None}
    sure = replace(model, validation={**model.validation, "deviation": 1e3})
    made = generate(sure, middle(), 5, **anything)
    assert accepted(made) == [True, False, False, False, False]
    assert [atoms.info["duplicate"] for atoms in made] == [False, False, True, False, False]
    assert [atoms.info["known"] for atoms in made] == [False, False, False, False, True]
    assert math.isnan(made[1].info["predicted"])
    assert np.isnan(made.fingerprints[1]).all()
    assert made[3].info["shortest"] == pytest.approx(1.2 / 2.72)
    assert accepted(generate(sure, middle(), 5, shortest=0.4, **anything))[3]
    value = made[0].info["predicted"]
    near = {"agree": None, "tolerance": 0.05}
    assert accepted(generate(sure, value + 0.04, 5, **near))[0]
    assert not accepted(generate(sure, value + 0.06, 5, **near))[0]
    doubt = made[0].info["deviation"]
    for limit, good in ((doubt * 1.01, True), (doubt * 0.99, False)):
        unsure = replace(model, validation={**model.validation, "deviation": limit})
        assert accepted(generate(unsure, value, 5, agree=None))[0] is good


def test_summary_of_raw_and_screened_structures(asks: dict[str, Any]) -> None:
    model, value = trained(), middle()
    asks["answer"] = [*GIVEN, GIVEN[1], NOWHERE]
    sure = replace(model, validation={**model.validation, "deviation": 1e3})
    predicted = model.predict(featurize(GIVEN, model.fingerprint))[0]
    off = np.abs(predicted[[0, 1, 2, 1]] - value)
    # The one that is furthest off is not within it.
    tolerance = 0.6 * float(off.max())
    made = generate(sure, value, 5, agree=None, tolerance=tolerance)
    raw, screened = made.summary, made.screened().summary
    assert raw["structures"] == 5
    assert raw["within"] == pytest.approx((off <= tolerance).sum() / 5)
    assert raw["mean_miss"] == pytest.approx(off.mean())
    assert raw["unique"] == pytest.approx(4 / 5)
    assert raw["novel"] == 1.0
    assert screened["structures"] == (off[:3] <= tolerance).sum()
    rows_accepted = [row for row, atoms in enumerate(made) if atoms.info["accepted"]]
    assert np.array_equal(made.screened().fingerprints, made.fingerprints[rows_accepted])
    live = made.widths > 0.0
    rows = made.fingerprints[:4, live] / made.widths[live]
    distances = [np.sqrt(np.mean((rows[i] - rows[j]) ** 2)) for i in range(4) for j in range(i)]
    assert raw["diversity"] == pytest.approx(np.mean(distances))
    nothing = replace(made, structures=[], fingerprints=made.fingerprints[:0]).summary
    assert (nothing["structures"], nothing["within"], nothing["diversity"]) == (0, None, None)
    said = str(made).splitlines()
    assert said[1].split()[:2] == ["raw", "5"]
    assert said[2].split()[:2] == ["screened", str(screened["structures"])]
    assert made.to_dict()["raw"] == raw


def test_ranges(asks: dict[str, Any]) -> None:
    model = trained()
    energies = model.training.formation_energies
    low, high = np.quantile(energies, [0.3, 0.6]).tolist()
    drawn: list[np.ndarray] = []

    class Listening(DesignModel):
        def sample(self, value: Any, *words: Any, **options: Any) -> np.ndarray:
            drawn.append(np.asarray(value))
            return super().sample(value, *words, **options)

    listening = Listening(**{name: getattr(model, name) for name in model.__dataclass_fields__})
    asks["answer"] = GIVEN * 10
    made = generate(listening, (low, high), 30, agree=None)
    assert set(drawn[-1]) <= set(energies[(energies >= low) & (energies <= high)])
    assert len(set(drawn[-1])) > 5
    assert made[0].info["at_least"] == low
    assert made[0].info["at_most"] == high
    made = generate(listening, (high, math.inf), 30, agree=None)
    assert drawn[-1].min() >= high
    assert wanted_of(made[0].info) == (high, math.inf)
    off = [max(high - atoms.info["predicted"], 0.0) for atoms in made]
    assert made.summary["mean_miss"] == pytest.approx(np.mean(off))


def test_a_target_outside_the_data_is_warned_of(asks: dict[str, Any]) -> None:
    for direct in (False, True):
        with pytest.warns(UserWarning, match="between .* eV/atom, the range of the"):
            generate(trained(), 99.0, 3, sampled=not direct, agree=None)


def test_several_properties(asks: dict[str, Any]) -> None:
    model, target = trained(), middle()
    rows = model.training.fingerprints
    assert rows is not None
    higher = np.asarray(model.surrogate.mean + 1.0)
    other = replace(model, surrogate=replace(model.surrogate, mean=higher))
    made = generate(model, target, 3, also=[(other, (-math.inf, target))], agree=None)
    assert asks["guidance"].low.tolist() == [target, -math.inf]
    assert asks["guidance"].high.tolist() == [target, target]
    for atoms in made:
        assert atoms.info["predicted_2"] == pytest.approx(atoms.info["predicted"] + 1.0)
        assert not atoms.info["accepted"]
    wide = replace(model.fingerprint, descriptor=replace(model.fingerprint.descriptor, r_cut=9.0))
    with pytest.raises(ValueError, match=r"one fingerprint, got others: r_cut: 12\.0 != 9\.0"):
        generate(model, target, 3, also=[(replace(model, fingerprint=wide), target)])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampled": False, "guided": False}, "a fingerprint or a property to search for"),
        ({"pull": -1.0}, "expected pull to be a number >= 0, got -1.0"),
        ({"tolerance": 0.0}, "expected tolerance to be a number > 0, got 0.0"),
        ({"agree": 0.0}, "expected agree to be a number > 0 or None, got 0.0"),
        ({"pul": 1.0}, r"expected settings among .*, got \['pul'\]"),
    ],
)
def test_bad_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        generate(trained(), middle(), 1, **settings)
    with pytest.raises(ValueError, match="expected count >= 1, got 0"):
        generate(trained(), middle(), 0)


def test_invalid_ranges() -> None:
    for wanted in ((2.0, 1.0), (math.nan, 1.0), (-math.inf, math.inf)):
        with pytest.raises(ValueError, match="a value or a range from low to high"):
            range_of(wanted)
    assert miss(1.0, (2.0, math.inf)) == -1.0
    assert GenerateConfig().replace(pull=0.0).to_dict()["search"]["hops"] == 20


@pytest.mark.slow
def test_a_generation_and_its_continuation(tmp_path: Path) -> None:
    """Guided structures are closer to the target than those of the fingerprint alone."""
    model, target = trained(), float(np.quantile(labelled().formation_energies, 0.3))
    options = {"seed": 1, "config": MAKING, "agree": None}
    store = Store(tmp_path / "made.db")
    guided = generate(model, target, 3, store=store, pull=0.01, **options)
    assert store.committed == 3
    plain = generate(model, target, 3, guided=False, **options)
    assert guided.summary["mean_miss"] < 0.3 * plain.summary["mean_miss"]
    again = Store(tmp_path / "made.db", resume=True)
    evaluations: list[int] = []
    resumed = generate(
        model,
        target,
        3,
        store=again,
        pull=0.01,
        progress=lambda _, n: evaluations.append(n),
        **options,
    )
    assert sum(evaluations) == 0
    for one, other in zip(guided, resumed, strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()
        assert one.info == other.info


def test_models_of_other_compositions_are_refused(asks: dict[str, Any]) -> None:
    model = trained()
    other = replace(model, symbols="Pt7")
    with pytest.raises(ValueError, match="expected models of Pt4, got one of Pt7"):
        generate(model, middle(), 3, also=[(other, 2.0)])
    with pytest.raises(ValueError, match="expected models of Pt4, got one of several"):
        generate(model, middle(), 3, also=[(replace(model, symbols=None), 2.0)])
