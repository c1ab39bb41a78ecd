"""Committed results come back bit for bit, and only for the run that committed them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from stored import DESCRIPTION, PLATINUM, assert_same, changed, result, solution

from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.run_store import Row
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.results import Reconstruction, ResultCode
from jaxrecon.search.store import LATER, Store, description
from jaxrecon.structures.io import write_structures


def test_results_come_back_bit_for_bit(tmp_path: Path) -> None:
    extremes = np.array([[-0.0, 5e-324, 1e308], [np.nan, np.inf, -np.inf], [1 / 3, np.pi, 1e-17]])
    lost = {"residual": np.inf, "code": ResultCode.NON_FINITE, "certificate": None}
    results = {
        0: result(0),
        1: result(1, code=ResultCode.STALLED),
        2: result(2, atoms=Atoms("Pt3", np.full((3, 3), np.nan)), **lost),
        3: result(3, atoms=Atoms("Pt3", extremes)),
        4: result(4, residual=0.0),
        5: result(5, residual=np.inf, code=ResultCode.OVERFLOW),
        6: result(6, others=(solution(1), solution(2))),
        10: result(7, residual=np.float64(1e-7)),
    }
    store = Store(tmp_path / "found.db")
    assert store.begin(DESCRIPTION) == {}
    for index in (10, 4, 0, 6, 1, 5, 3, 2):
        store.commit(index, results[index])
    assert store.committed == 8
    again = Store(tmp_path / "found.db", resume=True)
    found = again.begin(DESCRIPTION)
    assert again.committed == 8
    assert sorted(found) == sorted(results)
    for index, each in results.items():
        assert_same(found[index], each)
        found[index].atoms.positions[0] = 0.0  # an array of its own, which can be written


def test_results_of_earlier_versions_have_no_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, own = Store(tmp_path / "found.db"), result(0, others=(solution(1),))
    [(atoms, pairs, data)] = store._rows(own)
    del (
        pairs["position_error"],
        pairs["tolerance"],
        data["certificate"],
        data["others"][0]["certificate"],
    )
    store.begin(DESCRIPTION)
    monkeypatch.setattr(Store, "_rows", lambda *_: [Row(atoms, pairs, data)])
    store.commit(0, own)
    found = Store(tmp_path / "found.db", resume=True).begin(DESCRIPTION)[0]
    other = solution(1)._replace(certificate=None)
    assert_same(found, replace(own, certificate=None, others=(other,), tolerance=None))
    assert np.isnan(found.position_error)


def test_a_target_that_was_hit_within_its_noise_is_not_searched_again(tmp_path: Path) -> None:
    store, known = Store(tmp_path / "found.db"), {"config": {"tolerance": 1e-6, "solutions": 1}}
    known["config"]["hops"] = 5
    hit = result(0, residual=1e-3, tolerance=2e-3)
    assert store._same(0, hit, known, {"config.hops"})
    assert not store._same(0, replace(hit, tolerance=None), known, {"config.hops"})


def test_settings_of_later_versions_count_as_their_defaults() -> None:
    about = partial(description, [], seed=0)
    assert not set(LATER) & about(config=ReconstructConfig())["config"].keys()
    changed = ReconstructConfig(position_tolerance=1e-3)
    assert about(config=changed)["config"]["position_tolerance"] == 1e-3
    assert "patience" not in about(config=changed)["config"]


def test_files_of_a_resumed_run_are_those_of_one_that_was_not(tmp_path: Path) -> None:
    results = [result(number, others=(solution(9),)) for number in range(4)]
    store = Store(tmp_path / "found.db")
    store.begin(DESCRIPTION)
    for index, each in enumerate(results):
        store.commit(index, each)
    done = Store(tmp_path / "found.db", resume=True).begin(DESCRIPTION)
    for name, each in {"one": results, "two": [done[index] for index in range(4)]}.items():
        run = Reconstruction(each, [PLATINUM] * 4, ReconstructConfig(), 3, 1.0)
        write_structures(tmp_path / f"{name}.extxyz", run.to_atoms())
        write_json(tmp_path / f"{name}.json", run.to_dict())
    for suffix in ("extxyz", "json"):
        one, two = (tmp_path / f"{name}.{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "found.db")
    store.begin(DESCRIPTION)
    for number in range(3):
        store.commit(number, result(number))
    database = ase.db.connect(tmp_path / "found.db")
    assert database.metadata["jaxrecon"] == json.loads(json.dumps(DESCRIPTION))
    row = database.get(target=2)
    assert row.formula == "PtO2"
    assert row.residual == result(2).residual
    assert (row.result_code, row.hops, row.evaluations) == ("converged", 3, 9)
    assert row.position_error == np.inf
    assert row.data["evaluations"] == {"values": 7, "gradients": 0, "jacobians": 2}
    assert len(list(database.select("hops>1,result_code=converged"))) == 2


def test_a_target_is_stored_once(tmp_path: Path) -> None:
    """The same holds for two stores, as of two processes with the same run."""
    one, two = Store(tmp_path / "found.db"), Store(tmp_path / "found.db", resume=True)
    one.begin(DESCRIPTION)
    assert two.begin(DESCRIPTION) == {}
    one.commit(0, result(0))
    one.commit(0, result(1))
    two.commit(0, result(2))
    assert (one.committed, two.committed) == (1, 1)
    two.commit(1, result(1))
    found = Store(tmp_path / "found.db", resume=True).begin(DESCRIPTION)
    assert sorted(found) == [0, 1]
    assert_same(found[0], result(0))
    assert ase.db.connect(tmp_path / "found.db").count() == 2


def test_a_run_without_a_piece_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "found.db"
    failed, other = Store(path), Store(path, resume=True)
    failed.begin(DESCRIPTION)
    other.begin(DESCRIPTION)
    other.discard()
    assert path.exists(), "it belongs to the process that has begun it"
    failed.discard()
    assert not path.exists()
    # Another process of the run loses nothing by it.
    other.commit(0, result(0))
    failed.discard()
    assert_same(Store(path, resume=True).begin(DESCRIPTION)[0], result(0))
    # An error of its own would hide the one that led there.
    path.write_bytes(b"no database")
    failed.discard()
    assert path.read_bytes() == b"no database"


def test_neither_resume_nor_force(tmp_path: Path) -> None:
    early, path = Store(tmp_path / "found.db"), tmp_path / "found.db"
    Store(path).begin(DESCRIPTION)
    before = path.read_bytes()
    for begin in (lambda: Store(path), lambda: early.begin(DESCRIPTION)):
        with pytest.raises(FileExistsError, match=r"in the way, --resume or --force, got .*found"):
            begin()
    with pytest.raises(ValueError, match="expected --resume or --force, got both"):
        Store(path, resume=True, force=True)
    assert path.read_bytes() == before


def test_force_begins_anew_when_the_run_begins(tmp_path: Path) -> None:
    path = tmp_path / "found.db"
    store = Store(path)
    store.begin(DESCRIPTION)
    store.commit(0, result(0))
    forced = Store(path, force=True)
    assert sorted(Store(path, resume=True).begin(DESCRIPTION)) == [0]
    other = changed("seed", 4)
    assert forced.begin(other) == {}
    forced.commit(1, result(1))
    # The process of the replaced run continues, and does no harm.
    store.commit(2, result(2))
    assert sorted(Store(path, resume=True).begin(other)) == [1]
    with pytest.raises(ValueError, match="seed: 4 != 3"):
        Store(path, resume=True).begin(DESCRIPTION)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("seed", 4, "seed: 3 != 4"),
        ("config.hops", 7, "config.hops: 600 != 7"),
        ("config.shake_range", (0.02, 2.0), "config.shake_range[1]: 1.0 != 2.0"),
        ("config.trials", 7, "config.trials: null != 7"),
        ("fingerprint.descriptor.r_cut", 6.0, "fingerprint.descriptor.r_cut: 20.0 != 6.0"),
        ("symbols", ["Pt3", "PtAu2"], 'symbols[1]: "PtO2" != "PtAu2"'),
        ("symbols", ["Pt3"], 'symbols: ["Pt3", "PtO2"] != ["Pt3"]'),
        ("cells", [None, None], "cells[1]: [[4.0, 0.0, 0.0], [0.1, 5.0, 0..., 6.0]] != null"),
        ("indices", [0, 2], "indices[1]: 1 != 2"),
        ("targets", "f" * 64, 'targets: "0123456789abcdef0123456789abc...abcdef" != "ffffff'),
    ],
)
def test_another_run_is_refused(tmp_path: Path, place: str, value: Any, said: str) -> None:
    path = tmp_path / "found.db"
    store = Store(path)
    store.begin(DESCRIPTION)
    store.commit(0, result(0))
    before = path.read_bytes()
    other = {**changed(place, value), "versions": {}}
    if place != "targets":
        other["targets"] = "f" * 64  # targets are named last, as their values say least
    with pytest.raises(ValueError, match="was begun with, got another: ") as error:
        Store(path, resume=True).begin(other)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


LISTS = {
    "targets": ["aa", "bb"],
    "symbols": ["Pt3", "PtO2"],
    "cells": [None, None],
    "positions": [None, None],
    "indices": [0, 1],
}


def described(hops: int = 600, count: int = 2, **changes: Any) -> dict[str, Any]:
    """A description with larger or smaller limits."""
    lists = {name: (values * 2)[:count] for name, values in LISTS.items()}
    return {**changed("config.hops", hops), **lists, **changes}


STALLED = {"code": ResultCode.STALLED, "residual": 0.1}


def test_more_hops_keep_what_they_can_not_change(tmp_path: Path) -> None:
    """A target was solved within the hops of its first composition, or it is searched again."""
    results = {
        0: result(0, hops=7),
        1: result(1, hops=600, **STALLED),
        2: result(2, hops=600),
        3: result(3, hops=601),  # the first of two compositions stalled
        4: result(4, hops=600, code=ResultCode.OVERFLOW, residual=np.inf),
    }
    store = Store(tmp_path / "found.db")
    store.begin(described())
    for index, found in results.items():
        store.commit(index, found)
    more = Store(tmp_path / "found.db", resume=True)
    done = more.begin(described(hops=700))
    assert sorted(done) == [0, 2]
    assert more.repeated == 3
    for index, found in done.items():
        assert_same(found, results[index])
    more.commit(1, result(9))
    # A process of the former run that still works does no harm.
    store.commit(3, results[3])
    again = Store(tmp_path / "found.db", resume=True)
    assert sorted(again.begin(described(hops=700))) == [0, 1, 2]
    assert again.repeated == 0
    database = ase.db.connect(tmp_path / "found.db")
    assert database.metadata["jaxrecon"]["config"]["hops"] == 700
    with pytest.raises(ValueError, match=r"got another: config\.hops: 700 != 600"):
        Store(tmp_path / "found.db", resume=True).begin(described())
    with pytest.raises(ValueError, match="got another: seed: 3 != 4"):
        Store(tmp_path / "found.db", resume=True).begin(described(hops=800, seed=4))


def test_more_hops_where_several_solutions_are_wanted(tmp_path: Path) -> None:
    near, far = solution(1), solution(2)._replace(residual=0.1)
    config = ReconstructConfig(solutions=3).to_dict()
    store = Store(tmp_path / "found.db")
    store.begin(described(config=config))
    for index, others in enumerate(((near, near), (near, far), (near,), ())):
        store.commit(index, result(index, others=others))
    more = Store(tmp_path / "found.db", resume=True)
    assert sorted(more.begin(described(config={**config, "hops": 900}))) == [0]


def test_further_targets_are_appended(tmp_path: Path) -> None:
    store = Store(tmp_path / "found.db")
    store.begin(described())
    results = [result(0), result(1, **STALLED)]
    for index, found in enumerate(results):
        store.commit(index, found)
    more = Store(tmp_path / "found.db", resume=True)
    done = more.begin(described(count=4))
    assert sorted(done) == [0, 1]
    assert more.repeated == 0
    both = Store(tmp_path / "found.db", resume=True)
    assert sorted(both.begin(described(hops=601, count=4))) == [0]
    for other in (
        described(hops=601, count=3),
        described(hops=601, count=4, targets=["aa", "cc", "aa", "bb"]),
        described(hops=601, count=4, indices=[1, 2, 3, 4]),
    ):
        with pytest.raises(ValueError, match="got another: "):
            Store(tmp_path / "found.db", resume=True).begin(other)


def test_other_versions_go_on_and_the_first_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "found.db"
    store = Store(path)
    store.begin(DESCRIPTION)
    store.commit(0, result(0))
    assert sorted(Store(path, resume=True).begin(changed("versions", {"jax": "0.12"}))) == [0]
    assert ase.db.connect(path).metadata["jaxrecon"]["versions"] == {"jax": "0.10.1"}
