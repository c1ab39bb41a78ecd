"""Devices: flags for XLA, and flags that stay as they are."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import process

from jaxrecon import use_all_cores
from jaxrecon.runtime import devices

WIDE = "--xla_cpu_prefer_vector_width=512"
QUICK = " --xla_cpu_use_fusion_emitters=false"


@pytest.mark.parametrize(
    ("abilities", "jaxlib", "before", "after"),
    [
        ("flags : avx2 avx512f", "0.12.0", "", WIDE),
        ("flags : avx2 avx512f", "0.12.0", "--xla_dump_to=x", f"--xla_dump_to=x {WIDE}"),
        ("flags : avx2 avx512f", "0.12.0", "--xla_cpu_prefer_vector_width=128", None),
        ("flags : avx2", "0.12.0", "--xla_dump_to=x", None),
        ("", "0.12.0", "", None),
        ("", "0.10.1", "", QUICK.strip()),
        ("flags : avx2 avx512f", "0.10.1", "", WIDE + QUICK),
        ("", "0.10.1", "--xla_cpu_use_fusion_emitters=true", None),
    ],
)
def test_flags_for_speed(
    abilities: str, jaxlib: str, before: str, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widest vectors where the processor has them, and the quicker of two code generators.

    Other flags stay, and so does what is set already.
    """
    monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setattr(devices, "_instruction_sets", lambda: abilities)
    monkeypatch.setattr(devices, "jaxlib_version", jaxlib)
    use_all_cores()
    assert os.environ["XLA_FLAGS"] == (before if after is None else after)


@pytest.mark.parametrize(
    ("platforms", "installed", "message"),
    [
        ("cuda", [], 'JAX_PLATFORMS=cuda, which is not installed: pip install "jax[cuda12]", or'),
        ("gpu", [], 'JAX_PLATFORMS=gpu, which is not installed: pip install "jax[cuda12]", or'),
        ("rocm,cpu", [], 'pip install "jax[rocm'),
        ("tpu", ["jax_cuda12_plugin"], 'pip install "jax[tpu]"'),
        ("cuda", ["jax_cuda12_plugin"], "got no such device (AssertionError): check the driver"),
        ("cuda", ["jax-cuda13-plugin"], "unset JAX_PLATFORMS for the CPU"),
        ("coda", [], "JAX_PLATFORMS=coda, which is none of cpu, cuda, gpu, rocm, tpu: unset"),
        ("cpu", [], "JAX_PLATFORMS=cpu, got AssertionError"),
        ("", [], "expected JAX to start, got AssertionError"),
        (None, [], "expected JAX to start, got AssertionError"),
    ],
)
def test_a_missing_platform_is_named_with_the_remedy(
    platforms: str | None, installed: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise AssertionError

    config = SimpleNamespace(jax_platforms=platforms, jax_platform_name="")
    monkeypatch.setattr(devices, "jax", SimpleNamespace(local_device_count=fail, config=config))
    packages = [SimpleNamespace(name=name) for name in installed]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: packages)
    with pytest.raises(OSError, match=re.escape(message)):
        devices.device_count()


def test_the_older_name_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("Unknown backend cuda")

    config = SimpleNamespace(jax_platforms="", jax_platform_name="cuda")
    monkeypatch.setattr(devices, "jax", SimpleNamespace(local_device_count=fail, config=config))
    monkeypatch.setattr(importlib.metadata, "distributions", list)
    message = 'with JAX_PLATFORM_NAME=cuda, which is not installed: pip install "jax[cuda12]", or'
    with pytest.raises(OSError, match=re.escape(message)):
        devices.device_count()


@pytest.mark.slow
def test_a_process_without_its_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb that needs JAX ends with the remedy; doctor reports all else that it finds."""
    monkeypatch.setenv("JAX_PLATFORMS", "rocm")
    done = process("dataset sample pt10 -n 3 -o out.npz", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jaxrecon: error: expected JAX to start with JAX_PLATFORMS=rocm")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()
    done = process("doctor --json", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["cache"]["on"]
    assert found["calculators"]["emt"] is None
    assert [fault for fault in found["faults"] if 'pip install "jax[rocm' in fault]


def test_the_oldest_programs_go_when_the_cache_is_full(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "middle", "new")):
        path = tmp_path / f"jaxlib-{number}" / name
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    devices.prune(tmp_path, 300)
    assert len(list(tmp_path.rglob("*/*"))) == 3
    devices.prune(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.rglob("*/*")) == ["middle", "new"]
    devices.prune(tmp_path / "nowhere", 0)


def test_the_cache_can_be_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(devices, "enable_compilation_cache", lambda: asked.append(True))
    use_all_cores(cache=False)
    assert asked == []
    use_all_cores()
    assert asked == [True]
