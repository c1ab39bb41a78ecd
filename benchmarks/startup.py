"""How long `jaxrecon reconstruct` takes from its start to its first finished target.

    python benchmarks/startup.py -o results

Workload: fingerprints of Pt10 clusters relaxed under effective medium theory, each run a process of
its own: the first with an empty cache of compiled programs, the others with what it left there.
The times are read off the program's progress bar as it appears on a terminal, ten times a second:
    imports   until the bar is there: imports, input, devices
    build     until the rate is there: programs traced, compiled or read, one hop and its polish
    search    until the count is no longer 0: all other hops of the first target
    first     their sum
The process then does its other targets, writes its files and ends.
"""

import argparse
import json
import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxrecon import Fingerprint, featurize
from jaxrecon.datasets import clusters
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions

SYMBOLS, LIMIT = "Pt10", 5.0
STEPS = ("imports", "build", "search")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves the cursor of a terminal and sets its colours."""


def write_targets(path: Path, count: int) -> None:
    """Fingerprints of clusters, as `jaxrecon fingerprint` writes them."""
    truth = [clusters.relaxed(SYMBOLS, seed) for seed in range(count)]
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    write_fingerprints(path, np.asarray(featurize(truth, fingerprint)), fingerprint, truth)


def timed(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """One run in a process of its own: seconds of each step, and what it says of its first target.

    Raises:
        RuntimeError: if the program fails or its progress is not seen.
    """
    command = [sys.executable, "-m", "jaxrecon.cli.main", "reconstruct", "targets.npz", "--force"]
    command += ["-o", "found.extxyz", "--seed", str(seed)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    environment |= {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    signs = dict(
        zip(STEPS, (r"reconstructing", r"evaluations/s", rf"(?<!\d)[1-9]\d*/{count}"), strict=True)
    )
    ours, theirs = pty.openpty()
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown, seen = "", {}
    while data := _read(ours):
        now = time.perf_counter() - started
        shown += data.decode(errors="replace")
        plain = CONTROL.sub("", shown)
        for step, sign in signs.items():
            if step not in seen and re.search(sign, plain):
                seen[step] = now
    os.close(ours)
    if process.wait() != 0 or len(seen) != len(STEPS):
        raise RuntimeError(f"expected a run with progress, got {CONTROL.sub('', shown)}")
    whole = time.perf_counter() - started
    steps = np.diff([0.0, *(seen[step] for step in STEPS)]).tolist()
    details = json.loads((folder / "found.json").read_text())
    return {
        **dict(zip(STEPS, steps, strict=True)),
        "first": seen[STEPS[-1]],
        "whole": whole,
        "target": details["targets"][0],
    }


def _read(terminal: int) -> bytes:
    """What has come since; nothing once the process has closed its end, an error on Linux."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="with the programs of the first run")
    parser.add_argument("--targets", type=int, default=2, help="of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    columns = (*STEPS, "first", "whole")
    print("seconds   " + "".join(f"{column:>9}" for column in columns) + "     hops")
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_targets(folder / "targets.npz", arguments.targets)
        for number in range(1 + arguments.runs):
            run = timed(folder, arguments.targets, arguments.seed)
            runs.append(run)
            figures = "".join(f"{run[column]:>9.2f}" for column in columns)
            label = "warm" if number else "cold"
            print(f"{label:<10}{figures}{run['target']['hops']:>9}", flush=True)
    cold, *warm = runs
    middle = {column: statistics.median(run[column] for run in warm) for column in columns}
    print(f"{'median':<10}" + "".join(f"{middle[column]:>9.2f}" for column in columns))
    within = middle["first"] <= LIMIT
    print(f"first target within {LIMIT:g} s of a warm start: {'yes' if within else 'no'}")
    path = arguments.output / "startup.json"
    report = {"cold": cold, "warm": warm, "median": middle, "limit": LIMIT, "within": within}
    write_json(path, {**report, "cores": os.cpu_count(), "versions": versions()})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
