"""The table of recoveries in benchmarks/README.md is made from the files beside it."""

from __future__ import annotations

import json
from pathlib import Path

from recovering import module

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
collect = module("collect")

REPORT = {
    "set": "mp_200",
    "command": ["recovery.py", "mp_200", "--data", "/somewhere", "--budget", "1e5", "-o", "out"],
    "seed": 0,
    "budget": 1e5,
    "device": "2 x some",
    "versions": {"jax": "0.10.1"},
    "variants": {
        "unchanged": {
            "fingerprint": "universal",
            "summary": {
                "targets": 3,
                "certified": 2,
                "matched": 2,
                "numbers": [180, 180, 180],
                "evaluations": {"median": 1234.5, "90 %": None, "longest": 9.0},
                "seconds": {"median": None, "90 %": None, "longest": None},
                "seconds_in_all": 10.04,
                "seconds_compiling": 5.0,
            },
        }
    },
}


def test_the_table_is_that_of_the_files() -> None:
    text = (BENCHMARKS / "README.md").read_text()
    assert collect.with_table(text) == text


def test_a_run_is_kept_without_folders() -> None:
    entry = collect.kept(REPORT)
    assert entry["command"] == "python benchmarks/recovery.py mp_200 --budget 1e5"
    assert "/somewhere" not in json.dumps(entry)
    assert collect.name_of(entry) == "mp_200_budget_1e5.json"
    line = collect.table([entry]).splitlines()[-1]
    assert "| 3 | 180 | 2 | 2 | 1,234 | -, 10, 5 |" in line
