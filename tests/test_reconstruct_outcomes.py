"""From fingerprints to structures and back: result codes, reports and refused arguments."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest
from inverting import CONFIG, PLATINUM, compact, fingerprint_of, impossible
from strategies import random_crystal

import jaxrecon.search.arguments
import jaxrecon.search.batches
import jaxrecon.search.polishing
import jaxrecon.search.reconstruct
from jaxrecon import Fingerprint, ReconstructConfig, ResultCode, featurize, reconstruct
from jaxrecon.structures.bounds import bounds_of


def test_a_target_that_no_structure_has() -> None:
    """All hops are used up, and the best structure is returned."""
    rng = np.random.default_rng(0)
    target = featurize(compact(3), PLATINUM)[0] + rng.normal(size=PLATINUM.size)
    lengths = (1, CONFIG.hops)
    runs = [reconstruct(target, PLATINUM, symbols="Pt3", config=CONFIG, hops=h)[0] for h in lengths]
    for hops, result in zip(lengths, runs, strict=True):
        assert result.code is ResultCode.STALLED
        assert result.hops == hops
        expected = np.abs(featurize(result.atoms, PLATINUM)[0] - target).mean()
        assert result.residual == pytest.approx(expected, rel=1e-9)
        assert result.residual > 1e-3
        assert result.certificate is None
    # The longer search begins like the shorter one, so its best structure is not worse.
    assert runs[1].residual <= runs[0].residual


def test_a_target_with_an_infinite_residual() -> None:
    target = np.full(PLATINUM.size, 1e308)
    with jax.debug_nans(False), np.errstate(all="ignore"):
        found = reconstruct(target, PLATINUM, symbols="Pt3", config=CONFIG)
    assert found[0].code is ResultCode.NON_FINITE
    assert found[0].hops == CONFIG.hops
    assert len(found[0].atoms) == 3
    assert found.converged == 0


@pytest.mark.slow
def test_too_many_neighbors_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A structure with neighbours beyond the bounds is never a result."""
    fingerprint, truth = fingerprint_of("Pt"), random_crystal(0, 2, ("Pt",))
    bounds = bounds_of([truth], 8.0)
    cramped = dataclasses.replace(bounds, capacity=4)
    monkeypatch.setattr(jaxrecon.search.arguments, "MIN_CAPACITY", 4)
    monkeypatch.setattr(jaxrecon.search.arguments, "bounds_within", lambda *_, **__: cramped)
    target = featurize(truth, fingerprint)
    with jax.debug_nans(False):
        found = reconstruct(
            target, fingerprint, symbols="Pt2", cell=truth.cell, config=CONFIG, hops=2
        )
    assert found[0].code is ResultCode.OVERFLOW
    assert found[0].residual == np.inf
    assert found[0].to_dict()["code"] == "overflow"


@pytest.mark.parametrize(
    ("residual", "code"),
    [
        (0.0, ResultCode.CONVERGED),
        (1e-6, ResultCode.CONVERGED),
        (1.1e-6, ResultCode.STALLED),
        (float("inf"), ResultCode.NON_FINITE),
        (float("nan"), ResultCode.NON_FINITE),
    ],
)
def test_result_codes(residual: float, code: ResultCode) -> None:
    assert ResultCode.of(residual, 1e-6) is code
    vague = ResultCode.of(residual, 1e-6, certain=False)
    assert vague is (ResultCode.UNCERTAIN if code is ResultCode.CONVERGED else code)
    assert vague.solved == (residual <= 1e-6)


def test_more_certainty_than_double_precision_has() -> None:
    """The search ends with the numbers, and its result is counted apart."""
    target = featurize(compact(3), PLATINUM)
    sure, unsure = (
        reconstruct(target, PLATINUM, symbols="Pt3", config=CONFIG, position_tolerance=limit)
        for limit in (1e-4, 1e-20)
    )
    assert (sure[0].code, unsure[0].code) == (ResultCode.CONVERGED, ResultCode.UNCERTAIN)
    assert 1e-20 < unsure[0].position_error <= sure[0].position_error < 1e-4
    assert (unsure[0].hops, unsure.converged, unsure.uncertain) == (sure[0].hops, 0, 1)
    assert unsure.to_dict()["uncertain"] == 1


def test_a_run_as_data() -> None:
    found = reconstruct(impossible(2), PLATINUM, symbols="Pt3", config=CONFIG, seed=3)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["seed"] == 3
    assert plain["config"]["hops"] == CONFIG.hops
    assert [Fingerprint.from_dict(settings) for settings in plain["fingerprints"]] == [PLATINUM]
    assert plain["evaluations"] == 2 * CONFIG.hops * sum(CONFIG.evaluations_per_hop.values())
    assert plain["evaluations_per_second"] == pytest.approx(plain["evaluations"] / found.seconds)
    assert plain["versions"]["jax"] == jax.__version__
    for target, result, atoms in zip(plain["targets"], found, found.to_atoms(), strict=True):
        assert target["formula"] == "Pt3"
        assert target["code"] == result.code.name.lower() == atoms.info["result_code"]
        assert target["residual"] == result.residual == atoms.info["residual"]
        assert target["evaluations"] == sum(result.evaluations.values())
        np.testing.assert_array_equal(atoms.positions, result.atoms.positions)
        assert "residual" not in result.atoms.info
    assert [len(part) for part in (found[:1], found[1:], found[2:])] == [1, 1, 0]
    lines = str(found).splitlines()
    assert lines[3].startswith("0 of 2 converged")
    assert lines[4:] == [f"stalled: {ResultCode.STALLED.advice}"]


def test_the_progress_bar_is_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    reconstruct(impossible(1), PLATINUM, symbols="Pt3", config=CONFIG, progress=True)
    shown = capsys.readouterr()
    assert "reconstructing" in shown.err
    assert "1/1" in shown.err
    assert shown.out == ""


GOOD = {"targets": np.zeros((2, PLATINUM.size)), "symbols": "Pt2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.zeros((2, 7))}, r"expected fingerprints of length 18 .*got shape \(7,\)"),
        ({"targets": np.zeros(())}, r"expected fingerprints of length 18 \(Pt\), got .* \(1,\)"),
        ({"targets": np.zeros((1, 2, 18))}, r"expected one row of .*got shape \(1, 2, 18\)"),
        ({"targets": [np.zeros(18), np.zeros(3)]}, "expected .* length 18, got .*several lengths"),
        ({"positions": [None]}, "expected positions of 2 targets, got positions of 1"),
        (
            {"positions": [np.zeros((1, 3)), None]},
            r"expected positions of shape \(2, 3\) .*\(1, 3\)",
        ),
        (
            {"positions": [np.array([[0, 0, np.nan], [0, 0, 0]]), None]},
            "expected known positions with three finite numbers, got others for target 0",
        ),
        ({"cell": "cubic"}, "expected a cell, None or 'unknown', got 'cubic'"),
        (
            {"targets": np.eye(2, 18) * np.nan},
            r"expected finite numbers, got nan in target 0, feature 0 \(max G2\[Pt\] eta=1 r_s=1\)",
        ),
        (
            {"targets": np.vstack([np.zeros(18), np.full(18, -np.inf)])},
            "expected finite numbers, got -inf in target 1, feature 0",
        ),
        ({"symbols": ["Pt2"]}, "expected one formula or 2, one for each target, got 1"),
        ({"symbols": ["Pt2"] * 3}, "expected one formula or 2, one for each target, got 3"),
        ({"symbols": "Q2"}, "expected a chemical formula like 'Pt10' or 'TiO2', got 'Q2'"),
        ({"symbols": ""}, "expected a chemical formula like 'Pt10' or 'TiO2', got ''"),
        ({"symbols": "PtO"}, r"expected elements among \('Pt',\), got \['O'\]"),
        ({"cell": np.zeros((3, 3))}, "expected a cell with a volume, got a singular one"),
        ({"cell": [4, 4, np.nan]}, "expected a finite cell, got"),
        ({"cell": 4.0}, "expected a cell as 3 lengths, .*, got 4.0"),
        ({"cell": [np.eye(3) * 4] * 3}, "expected one cell or 2, one for each target, got 3"),
        ({"cell": [np.eye(3) * 4, np.zeros((3, 3))]}, "expected a cell with a volume, got"),
        ({"indices": [1]}, "expected 2 indices, one for each target, got 1"),
        ({"hop": 3}, r"expected settings among \[.*\], got \['hop'\]"),
        ({"hops": 0}, "expected hops to be a whole number >= 1, got 0"),
        ({"tolerance": -1.0}, "expected tolerance to be a number > 0, got -1.0"),
    ],
)
def test_bad_input_is_refused_before_anything_compiles(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    def compiles(*_: Any) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(jaxrecon.search.batches, "compiled_hop", compiles)
    monkeypatch.setattr(jaxrecon.search.polishing, "compiled_polish", compiles)
    arguments = {**GOOD, **changes}
    with pytest.raises(ValueError, match=message):
        reconstruct(arguments.pop("targets"), PLATINUM, **arguments)


def test_more_atoms_than_a_fingerprint_has_numbers_for() -> None:
    few = dataclasses.replace(PLATINUM, poolings=("sorted",), max_atoms=2)
    with pytest.raises(ValueError, match="expected max_atoms >= 3 for target 0, got 2"):
        reconstruct(np.zeros(few.size), few, symbols="Pt3")


def test_each_target_has_the_replicas_of_its_own_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replicas: list[int] = []

    def begun(problems: list[Any], config: ReconstructConfig) -> None:
        replicas.append(config.replicas)
        if len(replicas) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(jaxrecon.search.batches.Batch, "of", begun)
    smooth = dataclasses.replace(PLATINUM, poolings=("mean", "moment2"))
    targets = [np.zeros(each.size) for each in (PLATINUM, smooth)]
    with pytest.raises(KeyboardInterrupt):
        reconstruct(targets, [PLATINUM, smooth], symbols="Pt3")
    assert replicas == [64, 16]


def test_no_targets_no_results() -> None:
    found = reconstruct(np.zeros((0, PLATINUM.size)), PLATINUM, symbols="Pt2")
    assert len(found) == 0
    assert found.to_atoms() == []
