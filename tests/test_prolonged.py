"""A run that goes on with larger limits has the results of one that was begun with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run
from inverting import CONFIG, PLATINUM, compact, impossible

from jaxrecon import Store, featurize, reconstruct
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.structures.io import read_structures


def targets() -> np.ndarray:
    """One target that is found at once, and two on which all hops are spent."""
    return np.concatenate([featurize([compact(3)], PLATINUM), impossible(2)])


def searched(count: int = 3, **options: Any) -> Any:
    return reconstruct(targets()[:count], PLATINUM, symbols="Pt3", config=CONFIG, seed=1, **options)


def assert_same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.atoms.positions.tobytes() == other.atoms.positions.tobytes()
        assert (one.residual, one.code, one.hops) == (other.residual, other.code, other.hops)
        assert one.evaluations == other.evaluations


def test_more_hops(tmp_path: Path) -> None:
    whole = searched(hops=9)
    first = searched(hops=3, store=Store(tmp_path / "found.db"))
    assert [result.code.name for result in first] == ["CONVERGED", "STALLED", "STALLED"]
    store = Store(tmp_path / "found.db", resume=True)
    again = searched(hops=9, store=store)
    assert store.repeated == 2
    assert_same(again, whole)
    assert_same(searched(hops=9, store=Store(tmp_path / "found.db", resume=True)), whole)
    with pytest.raises(ValueError, match=r"got another: config\.hops: 9 != 3"):
        searched(hops=3, store=Store(tmp_path / "found.db", resume=True))


def test_further_targets(tmp_path: Path) -> None:
    whole = searched(hops=9)
    searched(1, hops=9, store=Store(tmp_path / "found.db"))
    store = Store(tmp_path / "found.db", resume=True)
    assert_same(searched(hops=9, store=store), whole)
    assert store.repeated == 0


@pytest.mark.usefixtures("command_line")
def test_more_hops_and_rows_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    clusters = [compact(3)] * 3
    write_fingerprints("pt3.npz", targets(), PLATINUM, clusters)
    settings = "--replicas 16 --seed 1 --quiet"
    assert run(f"reconstruct pt3.npz -o whole.extxyz --hops 6 {settings}") == 0
    assert run(f"reconstruct pt3.npz -o found.extxyz --hops 2 --rows 0-1 {settings}") == 0
    assert "done again" not in capsys.readouterr().out
    assert run(f"reconstruct pt3.npz -o found.extxyz --hops 6 --resume {settings}") == 0
    said = capsys.readouterr().out
    assert "1 targets that ended at a smaller limit were done again from the start" in said
    whole, found = read_structures("whole.extxyz"), read_structures("found.extxyz")
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        assert one.info == other.info
    # The settings beside the output repeat the whole run.
    assert "hops: 6" in Path("found.extxyz.yaml").read_text()
    line = f"reconstruct pt3.npz -o found.extxyz --resume {settings} --hops"
    assert run(f"{line} 2") == 2
    assert "got another: config.hops: 6 != 2" in capsys.readouterr().err
