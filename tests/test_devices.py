"""Devices: flags for XLA, and flags that stay as they are."""

from __future__ import annotations

import os

import pytest

from jaxrecon import use_all_cores
from jaxrecon.runtime import devices

WIDE = "--xla_cpu_prefer_vector_width=512"


@pytest.mark.parametrize(
    ("abilities", "before", "after"),
    [
        ("flags : avx2 avx512f", None, WIDE),
        ("flags : avx2 avx512f", "--xla_dump_to=x", f"--xla_dump_to=x {WIDE}"),
        ("flags : avx2 avx512f", "--xla_cpu_prefer_vector_width=128", None),
        ("flags : avx2", "--xla_dump_to=x", None),
        ("", None, None),
    ],
)
def test_widest_vectors_where_the_processor_has_them(
    abilities: str, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other flags stay, and so does a width that is set already."""
    monkeypatch.setenv("XLA_FLAGS", before or "")
    monkeypatch.setattr(devices, "_instruction_sets", lambda: abilities)
    use_all_cores()
    assert os.environ["XLA_FLAGS"] == (after or before or "")
