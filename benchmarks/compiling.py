"""How long a search takes to compile, and the memory it takes: a process that does two hops.

    python benchmarks/compiling.py --system Pt10

prints the seconds that the first hop for one target took longer than the second, which is what its
programs take to trace and compile, or to read from the compilation cache; those of a hop, the
shorter of two; and the peak memory of the process and of the device in MB: JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
from systems import SYSTEMS, system

from jaxrecon import reconstruct, use_all_cores
from jaxrecon.runtime.devices import enable_compilation_cache


def cold_and_warm(name: str = "Pt10") -> dict[str, dict[str, float]]:
    """A search for a system with an empty cache, then with the cache that this filled."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        for cache in ("cold", "warm"):
            output: Any = subprocess.run(
                [sys.executable, __file__, "--system", name],
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            ).stdout
            found[cache] = json.loads(output)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--system", choices=SYSTEMS, default="Pt10")
    arguments = parser.parse_args()
    enable_compilation_cache()
    use_all_cores()
    one = system(arguments.system)
    cell = one.structures.cell
    times = [time.perf_counter()]

    def hopped(_: int, evaluations: int) -> None:
        if evaluations:
            times.append(time.perf_counter())

    reconstruct(
        np.asarray(one.target),
        one.fingerprint,
        symbols="".join(one.symbols),
        cell=None if cell is None else np.asarray(cell[-1]),
        hops=3,
        tolerance=1e-30,
        progress=hopped,
    )
    start, first, second, third = times[:4]
    stats = jax.devices()[0].memory_stats() or {}
    report = {
        "seconds": (first - start) - (second - first),
        "hop": min(second - first, third - second),
        "process_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_mb": stats.get("peak_bytes_in_use", 0) / 2**20,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
