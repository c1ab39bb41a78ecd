"""What an interruption costs: runs that are killed again and again, against one that was not.

    python benchmarks/interruptions.py -o results

Workload: fingerprints of random clusters of Pt atoms, searched by few replicas, so that targets end
one after the other. `jaxrecon reconstruct` is killed (SIGKILL) at random times from its
start to its end and run again with --resume, until it ends by itself; then a new run begins, until
all kills are spent. The first ones have no compiled programs yet. Then the same with Ctrl-C.
Checked of each run: no target that was in the database is ever missing in it afterwards or searched
again, the structures are those of the run without interruption byte for byte, and so are residual,
code, hops and evaluations of every target. The kills are counted by what was there when they came:
    start     no database
    before    a database without targets: reading or compiling programs, first hops
    within    some targets
    after     all targets: the files are written
Then the time of a commit: a result of ten atoms, from the call to its return.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon import Fingerprint, Result, ResultCode, featurize
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.search.store import Store

STAGES = ("start", "before", "within", "after")
SEARCH = "--replicas 4 --hops 40 --seed 5 --quiet"


def write_targets(path: Path, count: int, sizes: list[int]) -> None:
    """Fingerprints of clusters in which all atoms are near each other, and none too near."""
    generator = np.random.default_rng(0)
    truth: list[Atoms] = []
    while len(truth) < count:
        atoms = Atoms(f"Pt{sizes[len(truth) % len(sizes)]}")
        atoms.positions = generator.normal(scale=1.8, size=(len(atoms), 3))
        if atoms.get_all_distances()[np.triu_indices(len(atoms), 1)].min() > 2.2:
            truth.append(atoms)
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    write_fingerprints(path, np.asarray(featurize(truth, fingerprint)), fingerprint, truth)


def start(folder: Path, name: str, cache: str) -> subprocess.Popen[str]:
    """One process, that goes on if there is something to go on with."""
    words = f"reconstruct targets.npz -o {name}.extxyz --resume {SEARCH}".split()
    return subprocess.Popen(
        [sys.executable, "-m", "jaxrecon.cli.main", *words],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def seconds_in(path: Path) -> dict[int, float] | None:
    """Of each target in a database; None if it is not there or has no tables yet."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'systems'").fetchone():
            return None
        found = connection.execute("SELECT key_value_pairs FROM systems").fetchall()
    rows = [json.loads(pairs) for (pairs,) in found]
    seconds = {row["target"]: row["seconds"] for row in rows}
    if len(seconds) != len(rows):
        raise RuntimeError(f"expected every target once, got {len(rows)} of {len(seconds)}")
    return seconds


def rows(folder: Path, name: str) -> tuple[Any, bytes, dict[int, float]]:
    """What the files of a run say of its targets: all but the seconds, and the seconds."""
    details = json.loads((folder / f"{name}.json").read_text())["targets"]
    kept = [{key: row[key] for key in row if key != "seconds"} for row in details]
    seconds = {number: row["seconds"] for number, row in enumerate(details)}
    return kept, (folder / f"{name}.extxyz").read_bytes(), seconds


def interrupted(
    folder: Path, name: str, chance: random.Random, kills: int, how: int, longest: float, cold: int
) -> Counter[str]:
    """Runs that are interrupted so often in all; every one is checked when it ends.

    Raises:
        RuntimeError: if anything is lost or differs.
    """
    counted: Counter[str] = Counter()
    database, had = folder / f"{name}.db", dict[int, float]()
    *expected, whole = rows(folder, "whole")
    while True:
        left = kills - sum(counted[stage] for stage in STAGES)
        cache = "empty" if kills - left < cold else "cache"
        process = start(folder, name, cache)
        try:
            said = process.communicate(timeout=chance.uniform(0.3, longest) if left else None)[1]
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            said = process.communicate()[1]
        now = seconds_in(database)
        if had.items() - (now or {}).items():
            raise RuntimeError(f"expected {had} in {database}, got {now}")
        had = now or {}
        if process.returncode == 0:
            *found, seconds = rows(folder, name)
            if found != expected:
                raise RuntimeError(f"expected the rows of whole.json in {name}.json, got others")
            if seconds != had:
                raise RuntimeError(f"expected no target twice in {name}.json, got {seconds}")
            counted["whole runs"] += 1
            if not left:
                return counted
            for path in folder.glob(f"{name}.*"):
                path.unlink()
            had = {}
        elif process.returncode in {-how, 130}:
            stage = "within" if had else "before"
            stage = "start" if now is None else "after" if len(had) == len(whole) else stage
            counted[stage] += 1
        else:
            raise RuntimeError(f"expected an end by signal {how}, got {process.returncode}: {said}")


def commits(folder: Path, count: int) -> list[float]:
    """Milliseconds of each commit."""
    store, taken = Store(folder / "commits.db"), []
    store.begin({})
    generator = np.random.default_rng(0)
    for number in range(count):
        atoms = Atoms("Pt10", generator.normal(size=(10, 3)))
        kinds = {"values": 1, "gradients": 1, "jacobians": 1}
        result = Result(atoms, 1e-7, ResultCode.CONVERGED, 1, kinds, 1.0)
        started = time.perf_counter()
        store.commit(number, result)
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--targets", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 5], help="atoms, in turns")
    parser.add_argument("--kills", type=int, default=20, help="by SIGKILL")
    parser.add_argument("--stops", type=int, default=5, help="by one Ctrl-C")
    parser.add_argument("--cold", type=int, default=2, help="kills without compiled programs")
    parser.add_argument("--commits", type=int, default=500, help="to take the time of")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    chance, report = random.Random(arguments.seed), dict[str, Any]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_targets(folder / "targets.npz", arguments.targets, arguments.sizes)
        for run in ("first", "whole"):
            started = time.perf_counter()
            process = start(folder, run, "cache")
            said = process.communicate()[1]
            if process.returncode != 0:
                raise RuntimeError(f"expected a run that ends, got {said}")
            longest = time.perf_counter() - started
        print(f"without interruption: {longest:.1f} s, the programs once compiled")
        report["seconds"] = longest
        for how, kills in ((signal.SIGKILL, arguments.kills), (signal.SIGINT, arguments.stops)):
            if not kills:
                continue
            cold = arguments.cold if how == signal.SIGKILL else 0
            counted = interrupted(folder, how.name, chance, kills, how, longest, cold)
            stages = ", ".join(f"{counted[stage]} {stage}" for stage in STAGES)
            print(f"{how.name}: {kills} ({stages}), {counted['whole runs']} runs as if without")
            report[how.name] = dict(counted)
        taken = commits(folder, arguments.commits)
    middle, worst = statistics.median(taken), max(taken)
    print(f"commit: median {middle:.1f} ms, longest {worst:.1f} ms of {len(taken)}")
    path = arguments.output / "interruptions.json"
    report |= {"commit_ms": middle, "longest_commit_ms": worst, "versions": versions()}
    write_json(path, report)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
