"""Tables against numbers that are counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from designing import labelled, trained

from jaxrecon import Fingerprint, featurize
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.inverse_design.evaluation import impossible, over_seeds, table1, table2, text
from jaxrecon.inverse_design.generated import diversity, widths_of


def made(**info: Any) -> Atoms:
    return Atoms("Pt", info={"predicted": 2.0, "deviation": 0.1, "accepted": True, **info})


def test_table2_raw_and_screened() -> None:
    structures = [
        made(target=2.0, e_form=2.05),
        made(target=2.0, e_form=2.2, accepted=False),
        made(target=2.0, e_form=1.94),
        made(target=2.0, reason="no convergence"),
        made(target=1.0, e_form=1.5, accepted=False),
    ]
    lower, nothing, raw, screened = table2(structures)
    assert (lower["target"], lower["structures"], lower["hits"]) == (1.0, "raw", 0)
    assert (lower["within"], lower["bias"]) == (0.0, pytest.approx(0.5))
    assert (nothing["structures"], nothing["count"], nothing["within"]) == ("screened", 0, None)
    assert (raw["count"], raw["judged"], raw["hits"], raw["within"]) == (4, 3, 2, 0.5)
    assert raw["mae"] == pytest.approx((0.05 + 0.2 + 0.06) / 3)
    assert raw["bias"] == pytest.approx((0.05 + 0.2 - 0.06) / 3)
    assert raw["prediction_mae"] == pytest.approx((0.05 + 0.2 + 0.06) / 3)
    assert raw["calibration"] == pytest.approx(np.sqrt((0.25 + 4.0 + 0.36) / 3))
    assert (screened["count"], screened["judged"], screened["hits"]) == (3, 2, 2)
    assert screened["within"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"a target of structure 1, got \['e_form'\]"):
        table2([made(target=1.0), Atoms("Pt", info={"e_form": 1.0})])


def test_table2_of_ranges_and_without_predictions() -> None:
    inside, outside = (Atoms("Pt", info={"at_least": 3.0, "e_form": e}) for e in (4.0, 2.5))
    (row,) = table2([inside, outside])
    assert (row["at_least"], row["at_most"], row["within"]) == (3.0, math.inf, 0.5)
    assert (row["mae"], row["bias"]) == (0.25, -0.25)
    assert row["prediction_mae"] is None
    (certain, _) = table2([made(target=2.0, e_form=2.1, deviation=0.0)])
    assert certain["calibration"] is None
    assert certain["prediction_mae"] == pytest.approx(0.1)
    (failed,) = table2([Atoms("Pt", info={"target": 2.0, "reason": "none"})])
    assert (failed["within"], failed["mae"]) == (0.0, None)


def test_the_spread_over_seeds() -> None:
    tables = [
        [
            {"target": 1.9, "structures": "raw", "within": part},
            {"target": 1.9, "structures": "screened", "within": other},
        ]
        for part, other in ((0.2, 0.5), (0.4, None), (0.9, 0.7))
    ]
    raw, screened = over_seeds(tables)
    assert raw["within"] == pytest.approx(0.5)
    assert raw["spread"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert raw["seeds"] == 3
    assert screened["within"] == pytest.approx(0.6)
    assert screened["seeds"] == 2
    assert over_seeds(tables[:1])[0]["spread"] is None


def test_impossible_fingerprints() -> None:
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    rows = featurize([random_cluster("Pt5", seed) for seed in range(4)], fingerprint)
    rows[1, 7] = -1e-6
    rows[2, 195] = rows[2, 5] + 1e-6  # the smallest value of feature 5 above its largest
    rows[3, 3] *= 0.9
    expected = [False, True, True, bool(rows[3, 3] < rows[3, 193])]
    assert impossible(fingerprint, rows).tolist() == expected


def test_matrices_with_negative_eigenvalues_are_impossible() -> None:
    """Round-off of float32 is none."""
    fingerprint = Fingerprint.preset("soap", ["Pt"])
    rows = featurize([random_cluster("Pt5", seed) for seed in range(3)], fingerprint)
    entry = fingerprint.find("mean[Pt] n=0 n'=1 l=2")[0]
    squares = [fingerprint.find(f"mean[Pt] n={n} n'={n} l=2")[0] for n in (0, 1)]
    rows[1, entry] = 1.1 * np.sqrt(rows[1, squares].prod())
    rows[2, entry] *= 1 + 1e-7
    assert impossible(fingerprint, rows).tolist() == [False, True, False]


def test_table1_has_the_predictions_of_the_surrogate() -> None:
    model = trained()
    target = float(np.median(labelled().formation_energies))
    row, taken, _, _ = table1(model, [target, target + 0.1], samples=40, seed=2, agree=0.3)
    assert [line["fingerprints"] for line in (row, taken)] == ["drawn", "taken"]
    again = model.predict(model.sample(target, 40, 2, agree=0.3))[0]
    assert taken["mae"] == pytest.approx(np.abs(again - target).mean())
    assert len(table1(model, [target], samples=2, agree=None)) == 1
    drawn = model.sample(target, 40, 2)
    means, deviations = model.predict(drawn)
    assert row["target"] == target
    assert row["within"] == np.mean(np.abs(means - target) <= 0.1)
    assert 0.0 < row["mae"] == pytest.approx(np.abs(means - target).mean())
    assert row["bias"] == pytest.approx((means - target).mean())
    assert row["deviation"] == pytest.approx(deviations.mean())
    assert row["impossible"] == 0.0
    training = model.training.fingerprints
    assert training is not None
    assert row["diversity"] == diversity(drawn, widths_of(training))


def test_text_has_a_column_for_every_name() -> None:
    said = text([{"a": 1, "b": 0.5}, {"a": None, "c": "word"}]).splitlines()
    assert said == ["a      b     c", "1  0.500     -", "-      -  word"]
