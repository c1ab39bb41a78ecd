"""The recovery benchmark: what it counts, what a budget buys, that nothing is lost."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from recovering import module, target, trial

from jaxrecon import ReconstructConfig
from jaxrecon.plotting.runs import Curve, SuccessCurves, cumulative, success_curves
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.structures import compare

# What is counted.


def test_summary_counts_unsolved_targets_as_never() -> None:
    report = module("recovery_report")
    yes = compare.Match(1e-7, None, True, True)
    no = compare.Match(1.0, None, False, False)
    trials = [
        trial(0, evaluations=10, seconds=4.0, match=yes),
        trial(1, evaluations=30, seconds=1.0, match=no),
        trial(2, residual=1e-6, evaluations=20, seconds=2.0, match=yes),
        trial(3, residual=1.1e-6, evaluations=500, seconds=9.0, match=yes),
    ]
    found = report.summary(trials)
    assert (found["targets"], found["certified"], found["matched"]) == (4, 3, 3)
    assert "matched loosely" not in found
    assert found["evaluations"] == {"median": 20, "90 %": None, "longest": 30}
    assert found["seconds"] == {"median": 2.0, "90 %": None, "longest": 4.0}
    assert found["evaluations_in_all"] == 560
    assert (found["seconds_in_all"], found["seconds_compiling"]) == (16.0, 400.0)
    assert found["numbers"] == [10, 11.5, 13]
    solved = {curve.name: curve for curve in report.curves(trials)}
    assert solved["certified"].evaluations == [10, 20, 30]
    assert solved["matched"].seconds == [2.0, 4.0, 9.0]
    data = report.curves_as_data(trials)["certified"]["seconds"]
    assert data == {"spent": [1.0, 2.0, 4.0], "solved": [0.25, 0.5, 0.75]}


def test_without_the_truth_there_is_the_certificate_alone() -> None:
    report = module("recovery_report")
    trials = [trial(0), trial(1, residual=np.inf)]
    assert "matched" not in report.summary(trials)
    assert [curve.name for curve in report.curves(trials)] == ["certified"]
    assert "row 1" in report.text(trials)
    assert "row 0" not in report.text(trials)


def test_by_atoms_and_the_list_of_what_was_not_found() -> None:
    report, match = module("recovery_report"), compare.Match
    salt = bulk("NaCl", "rocksalt", a=5.64)
    tight, loose = match(1e-7, 1e-8, True, True), match(1.0, 0.3, True, False)
    trials = [
        trial(0, match=tight, atoms=salt),
        trial(1, match=loose, atoms=salt),
        trial(2, match=match(np.inf, None, False, False), atoms=salt * (2, 1, 1), residual=0.1),
    ]
    assert report.by_atoms(trials) == {
        2: {"targets": 2, "certified": 2, "matched": 1, "matched loosely": 2},
        4: {"targets": 1, "certified": 0, "matched": 0, "matched loosely": 0},
    }
    _, listed = report.text(trials).split("matcher\n")
    listed = [line.split() for line in listed.splitlines()]
    assert [words[2] for words in listed] == ["1", "2"]
    assert listed[0][-2:] == ["1.0e+00", "0.300"]
    assert listed[1][-3:] == ["1.0e-01", "-", "-"]


@pytest.mark.parametrize(
    ("spent", "targets", "part", "expected"),
    [
        ([3, 1, 2], 3, 0.5, 2),
        ([3, 1, 2], 4, 0.5, 2),
        ([3, 1, 2], 5, 0.5, 3),
        ([3, 1, 2], 6, 0.5, 3),
        ([3, 1, 2], 7, 0.5, None),
        (range(1, 11), 10, 0.9, 9),
        (range(1, 11), 11, 0.9, 10),
        ([], 2, 0.5, None),
    ],
)
def test_quantile(spent: Sequence[float], targets: int, part: float, expected: float) -> None:
    assert module("recovery_report").quantile(list(spent), targets, part) == expected


def test_curves_rise_once_for_equal_times() -> None:
    assert cumulative([2.0, 1.0, 2.0], 4) == ([1.0, 2.0], [0.25, 0.75])
    assert cumulative([], 4) == ([], [])


def test_success_curves_are_drawn_even_if_nothing_is_solved() -> None:
    curve = Curve("some", 4, [10.0, 20.0], [1.0, 3.0])
    nothing = curve._replace(evaluations=[], seconds=[])
    for solved, expected in ((curve, [0.0, 0.25, 0.5, 0.5]), (nothing, [0.0, 0.0])):
        left, _ = success_curves(SuccessCurves([solved])).axes
        assert left.lines[0].get_ydata().tolist() == expected
    with pytest.raises(ValueError, match="expected curves of at least one target each, got none"):
        success_curves(SuccessCurves([curve._replace(targets=0)]))


# What time is counted.


def test_every_moment_of_compiling_counts_once_and_only_within() -> None:
    made = module("compilations").Compilations()
    made._stretches = [(1.0, 2.0), (5.0, 9.0), (6.0, 7.0), (8.0, 10.0), (20.0, 30.0)]
    assert made.within(0.0, 100.0) == 1.0 + 5.0 + 10.0
    assert made.within(5.5, 8.5) == 3.0
    assert made.within(1.5, 25.0) == 0.5 + 5.0 + 5.0
    assert made.within(11.0, 19.0) == 0.0


def test_what_jax_compiles_is_noticed() -> None:
    made = module("compilations").Compilations()
    program = jax.jit(lambda x: jnp.linalg.inv(jnp.sin(x)) @ x)
    start = time.perf_counter()
    program(jnp.eye(3)).block_until_ready()
    middle = time.perf_counter()
    program(jnp.eye(3)).block_until_ready()
    end = time.perf_counter()
    assert 0.3 * (middle - start) < made.within(start, middle) <= middle - start
    assert made.within(middle, end) == 0.0


# What a budget buys.


def test_a_budget_buys_whole_hops() -> None:
    costs = module("costs").Costs({"values": 0.5, "gradients": 1.0, "jacobians": 3.0}, {})
    config = ReconstructConfig(replicas=10, candidates=8, adam_steps=7, refine_steps=1)
    # 10 replicas: 10 values, 7 gradients, 2 Jacobians.
    assert costs.of(config.evaluations_per_hop) == 10 * (5 + 7 + 6)
    assert costs.hops(180, config) == 1
    assert costs.hops(539, config) == 2
    assert costs.hops(540, config) == 3
    with pytest.raises(ValueError, match="expected --budget of at least one hop, 180, got 179"):
        costs.hops(179, config)


def test_each_kind_of_target_gets_the_hops_that_its_budget_pays_for() -> None:
    recovery, costs = module("recovery"), module("costs").Costs
    config = ReconstructConfig(replicas=1, candidates=8, adam_steps=0, refine_steps=9, hops=77)
    kinds = {
        "cheap": costs({"values": 1.0, "gradients": 1.0, "jacobians": 1.0}, {"smooth": True}),
        "dear": costs({"values": 1.0, "gradients": 1.0, "jacobians": 9.0}, {"smooth": False}),
    }
    configs = recovery.budgeted(config, kinds, 200)
    assert {kind: each.hops for kind, each in configs.items()} == {"cheap": 10, "dear": 2}
    assert configs["cheap"] == config.replace(hops=10)
    assert recovery.budgeted(config, kinds, None) == {"cheap": config, "dear": config}
    open_ones = recovery.budgeted(config.replace(replicas=0), kinds, None)
    assert {kind: each.replicas for kind, each in open_ones.items()} == {"cheap": 16, "dear": 64}


def test_costs_are_ratios_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = module("costs")
    work = {}

    def rates(runs: Any, seconds: float) -> Any:
        work.update({row: count for row, (_, count) in runs.items()})
        speeds = (500.0, 100.0, 20.0, 200.0)
        return {row: {"fastest": speed} for row, speed in zip(runs, speeds, strict=True)}

    monkeypatch.setattr(costs, "rates", rates)
    one = target(molecule("H2O"), featurized=False)
    found = costs.measured(one, ReconstructConfig(replicas=6), 5, 0.1)
    # The faster way to take a gradient counts.
    assert found.weights == {"values": 0.4, "gradients": 1.0, "jacobians": 10.0}
    assert list(work.values()) == [6, 6, 6 * 11, 6]
    assert found.details["at_once"] == 6


def test_the_middle_one_stands_for_its_kind() -> None:
    names = ("CH3CH2OH", "H2", "H2O", "C6H6")
    some = [target(molecule(name), featurized=False) for name in names]
    # Benzene has more atoms, ethanol more numbers times atoms.
    assert module("costs").representative(some) is some[3]


# The words of the command line.


def test_settings_and_their_changes() -> None:
    settings = module("recovery_settings")
    config = settings.config_of(None, ["hops=7", "shake_range=0.1,2", "tolerance=1e-5"])
    assert config == ReconstructConfig(hops=7, shake_range=(0.1, 2), tolerance=1e-5)
    assert settings.config_of("fung2022", []) == ReconstructConfig.fung2022()
    with pytest.raises(ValueError, match=r"expected --config among \['fung2022'.*got 'other'"):
        settings.config_of("other", [])
    with pytest.raises(ValueError, match="expected NAME=VALUE, got 'hops'"):
        settings.config_of(None, ["hops"])
    variants = settings.variants_of(None, config, ["replicas=3", "fingerprint=gastegger2018"])
    assert variants == {
        "unchanged": (None, config),
        "replicas=3": (None, config.replace(replicas=3)),
        "fingerprint=gastegger2018": ("gastegger2018", config),
    }


def test_words_may_be_repeated_and_rows_are_named_or_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments_of = module("recovery").arguments_of
    words = "mp_200 --set hops=1 replicas=2 --set parents=3 --ablate hops=4 --ablate parents=5"
    found = arguments_of([*words.split(), "--budget", "1e6"])
    assert found.settings == ["hops=1", "replicas=2", "parents=3"]
    assert found.ablate == ["hops=4", "parents=5"]
    assert (found.budget, found.cell, found.seed) == (1e6, "known", 0)
    with pytest.raises(SystemExit):
        arguments_of(["mp_200", "--rows", "1", "--targets", "2"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_settings_from_a_file(tmp_path: Path) -> None:
    settings = module("recovery_settings")
    wanted = ReconstructConfig(replicas=5, shake_range=(0.1, 0.3))
    for content in (wanted.to_dict(), {"config": wanted.to_dict()}):
        (tmp_path / "c.json").write_text(json.dumps(content))
        assert settings.config_of(str(tmp_path / "c.json"), []) == wanted


# All together.


def test_each_kind_is_searched_with_its_settings_and_judged_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search, costs = module("recovery_search"), module("costs").Costs
    first, second, third = (
        replace(target(molecule("H2"), row, featurized=False), kind=kind)
        for row, kind in ((7, "a"), (5, "b"), (3, "a"))
    )
    calls = []

    def reconstruct(values: Any, *_: Any, store: Any, config: Any, **given: Any) -> None:
        told = given.get("atoms") or given["symbols"]
        calls.append((len(values), config, given["indices"], given["seed"], told))
        for index in reversed(range(len(values))):
            atoms = molecule("H2") if given["indices"][index] != 5 else Atoms("H2", [[0, 0, 0]] * 2)
            result = Result(atoms, 0.0, ResultCode.CONVERGED, 1, {"values": 10 * index + 2}, 0.0)
            store.commit(index, result)

    monkeypatch.setattr(search, "reconstruct", reconstruct)
    configs = {"a": ReconstructConfig(hops=1), "b": ReconstructConfig(hops=2)}
    prices = {"a": costs({"values": 1.0}, {}), "b": costs({"values": 100.0}, {})}
    kept = []
    done = search.searched(
        [first, second, third], configs, prices, 9, lambda some: kept.append(len(some))
    )
    hydrogen = ("H", "H")
    assert calls == [
        (2, configs["a"], [7, 3], 9, [hydrogen] * 2),
        (1, configs["b"], [5], 9, [hydrogen]),
    ]
    assert kept == [1, 2, 3]
    assert [trial.target for trial in done] == [third, second, first]
    assert [trial.evaluations for trial in done] == [12, 200, 2]
    assert [trial.matched for trial in done] == [True, False, True]
    configs.pop("a")
    search.searched([second], configs, prices, 9, len, composition_known=False)
    assert calls[-1] == (1, configs["b"], [5], 9, [2])


@pytest.mark.slow
def test_a_run_measures_searches_judges_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovery = module("recovery")
    some = [target(molecule("H2"), row=4), target(molecule("H2"), row=2)]
    # A target that can't be found: the numbers of a longer molecule, and another truth.
    some[1] = replace(some[1], values=some[1].values + 0.1)
    config = ReconstructConfig(replicas=8, hops=2, candidates=4, refine_steps=8)
    written = []
    monkeypatch.setattr(
        recovery, "write_json", lambda path, data: written.append(json.dumps(data, default=list))
    )
    done = recovery.recover(
        "tiny",
        lambda preset: some,
        {"unchanged": (None, config), "hops=1": (None, config.replace(hops=1))},
        budget=None,
        seed=3,
        seconds=0.0,
        output=tmp_path,
    )
    assert {name: [t.target.row for t in trials] for name, trials in done.items()} == {
        "unchanged": [2, 4],
        "hops=1": [2, 4],
    }
    missed, found = done["unchanged"]
    assert found.certified
    assert found.matched
    assert not missed.certified
    assert not missed.matched
    assert missed.result.hops == 2
    report = json.loads(written[-1])
    costs = report["costs"]["preset of the set"]["free"]
    assert costs["weights"]["gradients"] == 1.0
    for trials in (done["unchanged"], done["hops=1"]):
        for each in trials:
            spent = sum(costs["weights"][k] * n for k, n in each.result.evaluations.items())
            assert each.evaluations == pytest.approx(spent)
            assert 0 < each.seconds <= each.result.seconds
    # The first of its kind compiled; the same program served the second.
    assert found.seconds < 0.5 * found.result.seconds
    assert missed.seconds > 0.5 * missed.result.seconds
    # Written after each of four targets, with all that had been found by then.
    progress = [
        [len(variant["targets"]) for variant in json.loads(text)["variants"].values()]
        for text in written
    ]
    assert progress == [[1], [2], [2, 1], [2, 2]]
    assert report["variants"]["hops=1"]["config"]["hops"] == 1
    assert report["seed"] == 3
    assert report["rows"] == [4, 2]
    assert [each["row"] for each in report["variants"]["unchanged"]["targets"]] == [2, 4]
    frames = ase.io.read(tmp_path / "tiny.extxyz", index=":")
    assert [frame.info["row"] for frame in frames] == [2, 4]
    np.testing.assert_allclose(frames[1].positions, found.result.atoms.positions, atol=1e-7)
    table = module("recovery_report").comparison(done).splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["unchanged", "1"], ["hops=1", "1"]]
