"""The benchmark of design: the rows it trains on, what it counts, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from designing import MAKING, labelled, trained
from recovering import module

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.io import write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.closed_loop import Design
from jaxrecon.inverse_design.evaluation import table2
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.models.design_model import DesignModel
from jaxrecon.structures.io import read_structures

WORDS = "set.npz --sizes 55 --seeds 0 4 --targets 4 5 --count 4 --judged 3 --labels 6 --samples 9"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The benchmark, whose models take no time; ``seen`` has what they were asked for."""
    bench = module("design")
    seen: dict[str, list[Any]] = {"trained": [], "made": [], "looped": [], "judged": []}

    def learn(rows: LabelledSet, config: Any, **_: Any) -> Any:
        seen["trained"].append((rows, config))
        return trained()

    def make(model: DesignModel, target: float, count: int, **given: Any) -> Generated:
        seen["made"].append((target, given["seed"], given["config"]))
        structures = [random_cluster("Pt4", given["seed"] + n) for n in range(count)]
        for number, atoms in enumerate(structures):
            atoms.info = {"target": target, "predicted": target, "deviation": 0.1}
            atoms.info |= {"duplicate": False, "accepted": number != 1}
        values, widths = np.ones((count, 2)), np.ones(2)
        return Generated(structures, values, widths, {"config": MAKING.to_dict(), "seconds": 2.0})

    def loop(*_: Any, **given: Any) -> Design:
        seen["looped"].append(given)
        return Design([], [{"round": 0, "hits": 1}], labelled(), trained())

    def judged(structures: Any, name: str, **given: Any) -> Any:
        seen["judged"].append(len(structures))
        return judge(structures, name, bulk={"Pt": -0.5}, **{**given, "progress": False})

    judge = bench.judge
    for name, stub in {"train": learn, "generate": make, "design": loop, "judge": judged}.items():
        monkeypatch.setattr(bench, name, stub)
    monkeypatch.setattr(bench, "save_model", lambda model, folder: folder.mkdir())
    monkeypatch.setattr(bench, "load_model", lambda folder: trained())

    def table1(model, *, samples, seed, agree):
        kinds = {"drawn": 0.4} if agree is None else {"drawn": 0.4, "taken": 0.6}
        return [
            {"target": target, "fingerprints": kind, "within": within + 0.2 * (target == 5.0)}
            for target in (4.0, 5.0)
            for kind, within in kinds.items()
        ]

    monkeypatch.setattr(bench, "table1", table1)
    for name in ("use_all_cores", "enable_compilation_cache"):
        monkeypatch.setattr(bench, name, lambda: None)
    monkeypatch.chdir(tmp_path)
    write_labelled("set.npz", labelled())
    bench.seen = seen
    return bench


@pytest.mark.slow
def test_numbers_of_all_variants(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS.split(), "--only", "fung2022", "loop", "-o", "out"]
    bench.main(words)
    said = capsys.readouterr().out
    for rows, _ in bench.seen["trained"]:
        assert len(rows) == 55
    first, second, third, _ = (config for _, config in bench.seen["trained"])
    assert (first.seed, second.seed, third.seed) == (0, 4, 0)
    assert (first.scaling, third.scaling) == ("minmax", "principal")
    assert not bench.seen["made"][0][2].guided
    assert [(target, seed) for target, seed, _ in bench.seen["made"][:4]] == [
        (4.0, 0),
        (5.0, 0),
        (4.0, 4),
        (5.0, 4),
    ]
    assert bench.seen["judged"] == [3] * 8
    assert [(each["rounds"], each["labels"], each["seed"]) for each in bench.seen["looped"]] == [
        (2, 6, 0),
        (2, 6, 0),
        (2, 6, 4),
        (2, 6, 4),
    ]
    found = json.loads(Path("out/design.json").read_text())
    published, loop = found["results"]
    tables = [table2(read_structures(f"out/fung2022-55-{seed}/judged.extxyz")) for seed in (0, 4)]
    assert [row["count"] for row in tables[0]] == [3, 2, 3, 2]
    for number, row in enumerate(published["hits"]):
        parts = [table[number]["within"] for table in tables]
        assert row["within"] == pytest.approx(np.mean(parts))
        assert row["spread"] == pytest.approx(np.std(parts, ddof=1))
    assert [row["within"] for row in published["table1"]] == pytest.approx([0.4, 0.6])
    assert [row["within"] for row in loop["table1"]] == pytest.approx([0.4, 0.6, 0.6, 0.8])
    assert "mean over the targets: drawn 0.500, taken 0.700" in said
    assert loop["seeds"][0]["loops"]["4"] == [{"round": 0, "hits": 1}]
    assert "fung2022, 55 rows" in said
    assert Path("out/design.png").read_bytes().startswith(b"\x89PNG")
    before = {name: len(calls) for name, calls in bench.seen.items()}
    bench.main([*words, "--hops", "3"])
    assert {name: len(calls) for name, calls in bench.seen.items()} == before


def test_the_rows_are_the_furthest_ones(bench: ModuleType) -> None:
    from jaxrecon import Fingerprint, featurize
    from jaxrecon.datasets.sampling import furthest_points

    bench.main([*WORDS.split(), "--only", "direct", "--hops", "3", "-o", "out"])
    structures = labelled().structures
    assert structures is not None
    values = featurize(structures, Fingerprint.preset("default", ["Pt"]))
    expected = labelled().formation_energies[furthest_points(values, 55)]
    assert np.array_equal(bench.seen["trained"][0][0].formation_energies, expected)
    config = bench.seen["made"][0][2]
    assert (config.sampled, config.search.hops) == (False, 3)
    with pytest.raises(SystemExit, match="expected variants among"):
        bench.main(["set.npz", "--only", "magic"])
