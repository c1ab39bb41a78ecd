"""Many devices and many processes: the same results, and every target is searched once."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon import ACSF, Fingerprint, ReconstructConfig, Result, ResultCode, featurize
from jaxrecon.cli.arguments import parse_processes
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.runtime import distributed
from jaxrecon.search.compiled import mesh_shape
from jaxrecon.structures.io import read_structures

ROOT = Path(__file__).parents[1]
# The environment at the start: tests of other modules change it, and wider vectors change digits.
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}

FINGERPRINT = Fingerprint(
    ACSF(
        elements=("Pt",),
        r_cut=5.0,
        g2_eta=(1.0,),
        g2_r_s=(1.0, 2.0, 3.0, 4.0),
        g5_zeta=(4,),
        g5_eta=(0.05,),
    )
)
CONFIG = ReconstructConfig(replicas=64, hops=5, refine_steps=8, candidates=4, polish_steps=5)
CELL = np.array([[4.1, 0, 0], [0.6, 4.4, 0], [0.3, -0.8, 4.7]])
TRUTH = Atoms("Pt3", [(0, 0, 0), (2.6, 0, 0), (1.2, 2.3, 0)])

CHILD = """
import pickle, sys
import jax
job = pickle.load(sys.stdin.buffer)
if not jax.__version__.startswith("0.10."):
    # Without all optimisations jax 0.12 rounds 8 replicas differently from 64.
    jax.config.update("jax_disable_most_optimizations", False)
jax.config.update("jax_num_cpu_devices", job["devices"])
if job["address"]:
    jax.distributed.initialize(job["address"], 2, job["process"])
import jaxrecon.search.compiled
from jaxrecon import Store, reconstruct

jaxrecon.search.compiled.CACHE = 2**18  # for a few replicas of a crystal

searched = []
own_search = jaxrecon.search.reconstruct._search
jaxrecon.search.reconstruct._search = lambda batch, *rest: (
    searched.extend(p.identity for p in batch.problems), own_search(batch, *rest))

def run(seed=3, arguments=job["clusters"], **options):
    reports = []
    searched.clear()
    try:
        found = list(reconstruct(
            **arguments, seed=seed,
            progress=lambda *done: reports.append(done), **options))
    except (ValueError, OSError) as error:
        found = error
    return found, list(searched), tuple(map(sum, zip(*reports)))

answers = [run()]
if not job["address"]:
    answers.append(run(arguments=job["crystal"]))
if job["devices"] > 1:
    jaxrecon.search.compiled.mesh_shape = lambda *_: (4, 2)
    answers.append(run())
if job["address"]:
    path = job["path"]
    answers += [run(store=Store(path)), run(store=Store(path, resume=True))]
    answers += [run(store=Store(path, resume=True), seed=4), run(seed=job["process"])]
with open(job["output"], "wb") as file:  # stdout has the output of libraries too
    pickle.dump((len(jax.local_devices()), answers), file)
"""


def targets() -> np.ndarray:
    """One target that converges before its last hop, and three that no structure has."""
    near = featurize([TRUTH] * 4, FINGERPRINT)
    near[1:] += np.random.default_rng(0).normal(size=near[1:].shape) * 0.3
    return near


def started(output: Path, **job: Any) -> subprocess.Popen[bytes]:
    clusters = {"targets": targets(), "symbols": "Pt3", "indices": [5, 7, 2, 0], "config": CONFIG}
    crystal = {"targets": targets()[1], "symbols": "Pt2", "indices": [7], "cell": CELL}
    same = {
        "devices": 1,
        "address": None,
        "output": output,
        "clusters": {"fingerprint": FINGERPRINT, **clusters},
        "crystal": {"fingerprint": FINGERPRINT, **crystal, "config": CONFIG.replace(hops=2)},
    }
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        env={**ENVIRONMENT, "XLA_FLAGS": ""},  # XLA's older code generator changes last digits
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    child.stdin.write(pickle.dumps({**same, **job}))
    child.stdin.close()
    child.stdin = None
    return child


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def answers_of(child: subprocess.Popen[bytes], output: Path) -> tuple[int, list[Any]]:
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err.decode()
    return pickle.loads(output.read_bytes())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], list[Result]]:
    """Results of one process with one device: clusters, and a crystal with all images."""
    output = tmp_path_factory.mktemp("alone") / "answers"
    devices, [(found, searched, _), (crystal, *_)] = answers_of(started(output), output)
    assert (devices, searched) == (1, [5, 7, 2, 0])
    assert [result.hops for result in crystal] == [2]
    assert found[0].code is ResultCode.CONVERGED
    assert found[0].hops < CONFIG.hops
    assert [result.hops for result in found[1:]] == [CONFIG.hops] * 3
    return found, crystal


def assert_same(found: list[Result], expected: list[Result]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
        assert (one.residual, one.hops, one.code) == (other.residual, other.hops, other.code)


@pytest.mark.slow
def test_eight_devices_find_what_one_finds(
    alone: tuple[list[Result], list[Result]], tmp_path: Path
) -> None:
    """Each has 8 replicas of a target; or, as accelerators do, targets of its own."""
    output = tmp_path / "answers"
    devices, answers = answers_of(started(output, devices=8), output)
    assert devices == 8
    clusters, crystal = alone
    for (found, searched, _), expected in zip(answers, (clusters, crystal, clusters), strict=True):
        assert searched == ([7] if expected is crystal else [5, 7, 2, 0])
        assert_same(found, expected)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(
    alone: tuple[list[Result], list[Result]], tmp_path: Path
) -> None:
    clusters, _ = alone
    path = tmp_path / "found.db"
    job = {"address": free_address(), "path": path}
    outputs = [tmp_path / "first", tmp_path / "second"]
    children = [started(each, process=number, **job) for number, each in enumerate(outputs)]
    both = list(map(answers_of, children, outputs))
    work = sum(sum(result.evaluations.values()) for result in clusters)
    seconds = []
    for (devices, answers), own in zip(both, ([5, 2], [7, 0]), strict=True):
        assert devices == 1
        plain, stored, resumed, other_run, other_call = answers
        for (found, searched, reported), expected in (
            (plain, (own, (4, work))),
            (stored, (own, (4, work))),
            (resumed, ([], (4, 0))),
        ):
            assert_same(found, clusters)
            assert (searched, reported) == expected
        seconds.append([result.seconds for result in resumed[0]])
        assert seconds[-1] == [result.seconds for result in stored[0]]
        # An error in one process is raised in all.
        assert isinstance(other_run[0], ValueError)
        assert "got another: seed: 3 != 4" in str(other_run[0])
        assert str(other_call[0]) == "expected the same call in all processes, got 2 that differ"
        assert other_run[1] == other_call[1] == []
    assert seconds[0] == seconds[1]
    with connect(path) as database:
        assert sorted(row.target for row in database.select()) == [0, 1, 2, 3]


COMMAND = """
import sys
from jaxrecon.cli import main
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_the_first_process_of_a_command_line_writes(tmp_path: Path) -> None:
    write_fingerprints(tmp_path / "pt.npz", targets()[:2], FINGERPRINT, [TRUTH] * 2)
    words = shlex.split("reconstruct pt.npz -o found.extxyz --replicas 2 --hops 1 --distributed")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words, f"{address},2,{process}"],
            cwd=tmp_path,
            env={**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for address in [free_address()]
        for process in range(2)
    ]
    said = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    (first, bar), (second, silence) = said
    assert "of 2 converged in" in first
    assert "converged" not in second
    assert "reconstructing" in bar
    assert "reconstructing" not in silence
    assert len(read_structures(tmp_path / "found.extxyz")) == 2
    assert len(json.loads((tmp_path / "found.json").read_text())["targets"]) == 2
    with connect(tmp_path / "found.db") as database:
        assert sorted(row.target for row in database.select()) == [0, 1]


@pytest.mark.parametrize("text", ["", "here", "host:1,2", "host:1,2,2", "host,2,0", "h:1,-2,0"])
def test_processes_that_can_not_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="expected --distributed auto or HOST:PORT,P,I"):
        parse_processes(text)


@given(sizes=st.lists(st.integers(0, 9), max_size=6), processes=st.integers(1, 5))
def test_processes_get_equal_and_complete_parts(sizes: list[int], processes: int) -> None:
    groups = [[(number, item) for item in range(size)] for number, size in enumerate(sizes)]
    parts = []
    for process in range(processes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax, "process_count", lambda: processes)
            patch.setattr(jax, "process_index", lambda own=process: own)
            parts.append(distributed.own_items(groups))
    for number, group in enumerate(groups):
        dealt = [part[number] for part in parts]
        assert sorted(item for part in dealt for item in part) == group
        assert all(part == sorted(part) for part in dealt)
    totals = [sum(map(len, part)) for part in parts]
    assert max(totals) - min(totals) <= 1


@settings(max_examples=300)
@given(
    devices=st.integers(1, 16),
    platform=st.sampled_from(["cpu", "gpu"]),
    replicas=st.integers(1, 130),
    targets=st.integers(1, 40),
)
def test_meshes(devices: int, platform: str, replicas: int, targets: int) -> None:
    rows, columns = mesh_shape(devices, platform, replicas, targets)
    assert 1 <= rows * columns <= devices
    assert replicas % columns == 0
    assert columns == 1 or replicas // columns >= 8
    # Targets first: no device gets a part of the replicas of a target while targets wait.
    assert rows == (1 if platform == "cpu" else min(devices, targets))
    assert not any(
        replicas % more == 0 and replicas // more >= 8
        for more in range(columns + 1, devices // rows + 1)
    )
