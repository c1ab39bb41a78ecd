"""The benchmark of a GPU: its arguments, failures of sections, and one small section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recovering import module


def sections(path: Path) -> dict[str, Any]:
    return json.loads((path / "gpu.json").read_text())["sections"]


def test_arguments() -> None:
    gpu, run = module("gpu"), module("gpu_run")
    assert gpu.sizes_of(gpu.arguments_of([])) == run.Sizes()
    arguments = gpu.arguments_of(["--rehearse", "--batches", "8", "2", "--minutes", "0.5"])
    assert gpu.sizes_of(arguments) == run.REHEARSAL._replace(batches=(2, 8), minutes=0.5)
    assert set(gpu.arguments_of(["--only", "limits", "growth"]).only) < set(gpu.SECTIONS)
    assert run.Sizes().minutes == 8


def test_a_section_is_measured_and_written(tmp_path: Path) -> None:
    words = ["--rehearse", "--batches", "2", "4", "-o", str(tmp_path), "--only", "loops"]
    module("gpu").main(words)
    [found] = sections(tmp_path).values()
    assert found["2"]["scan"] > 0.0
    assert set(found) == {"2", "4", "wall_seconds"}
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["rehearsal"]
    assert report["versions"]["jax"]


def test_failures_are_written_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, run = module("gpu"), module("gpu_run")
    called: list[str] = []

    def broken(_: Any, found: dict[str, Any]) -> None:
        called.append("broken")
        found["before"] = 1.0
        raise RuntimeError("RESOURCE_EXHAUSTED: out of\nmemory")

    def sound(_: Any, found: dict[str, Any]) -> None:
        called.append("sound")
        found["value"] = 2.0

    named = {"limits": run.Section(broken, 1.0), "loops": run.Section(sound, 1.0)}
    monkeypatch.setattr(gpu, "SECTIONS", named)
    words = ["-o", str(tmp_path)]
    gpu.main(words)
    found = sections(tmp_path)
    assert found["limits"]["before"] == 1.0
    assert found["limits"]["error"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert found["loops"]["value"] == 2.0
    # A later call leaves out what is done; one with little time begins nothing.
    gpu.main([*words, "--resume"])
    assert called == ["broken", "sound", "broken"]
    gpu.main([*words, "--only", "limits", "--minutes", "0.01"])
    found = sections(tmp_path)
    assert found["limits"] == {"error": "skipped: no time left"}
    assert found["loops"]["value"] == 2.0
    assert called == ["broken", "sound", "broken"]


def test_kernels_of_a_trace() -> None:
    def event(thread: int, name: str, **arguments: str) -> dict[str, Any]:
        return {"ph": "X", "pid": 1, "tid": thread, "dur": 2.0, "name": name, "args": arguments}

    def named(kind: str, name: str, thread: int = 0) -> dict[str, Any]:
        return {"ph": "M", "pid": 1, "tid": thread, "name": kind, "args": {"name": name}}

    kernels_of = module("gpu_solvers").kernels_of
    both = {"hlo_op": "fusion.1", "hlo_module": "jit_hop(7)"}
    events = [event(1, "k", **both), event(1, "k", **both), event(2, "fusion.1", **both)]
    events += [event(1, "while", hlo_op="while.2", hlo_module="jit_hop(7)"), {"ph": "X"}]
    threads = [named("thread_name", "Stream #1", 1), named("thread_name", "XLA Ops", 2)]
    on_gpu = kernels_of([named("process_name", "/device:GPU:0"), *threads, *events[:3]])
    assert on_gpu == {"jit_hop": {"fusion.1": (2, pytest.approx(4e-6))}}
    on_cpu = kernels_of([named("process_name", "/host:CPU"), *events])
    assert on_cpu == {"jit_hop": {"fusion.1": (3, pytest.approx(6e-6))}}


def test_memory_and_time_end_a_row() -> None:
    kernels, run = module("gpu_kernels"), module("gpu_run")
    one = run.Run(Path("unused"), run.REHEARSAL, None, {}, 0.0)
    last = {"batch": 4, "bytes": 1000, "call_seconds": 1e-3}
    assert kernels.too_large(one, None, 16) is None
    assert kernels.too_large(one, last, 16) is None
    assert "would need" in kernels.too_large(one, {**last, "bytes": 10**14}, 16)
    assert "a call would take" in kernels.too_large(one, {**last, "call_seconds": 9.0}, 16)
