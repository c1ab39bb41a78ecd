"""How long a search takes to compile, and the memory it takes: a process that does two hops.

    python benchmarks/compiling.py

prints the seconds that the first hop of one Pt10 target took longer than the second, which is what
its programs take to trace and compile, or to read from the compilation cache; and the peak memory
of the process and of the device in MB: JSON.
"""

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
from systems import system

from jaxrecon import reconstruct, use_all_cores
from jaxrecon.runtime.devices import enable_compilation_cache


def cold_and_warm() -> dict[str, dict[str, float]]:
    """With an empty cache, then with the cache that this filled."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        for name in ("cold", "warm"):
            output: Any = subprocess.run(
                [sys.executable, __file__],
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            ).stdout
            found[name] = json.loads(output)
    return found


def main() -> None:
    enable_compilation_cache()
    use_all_cores()
    pt10 = system("Pt10")
    times = [time.perf_counter()]

    def hopped(_: int, evaluations: int) -> None:
        if evaluations:
            times.append(time.perf_counter())

    reconstruct(
        np.asarray(pt10.target),
        pt10.fingerprint,
        symbols="Pt10",
        hops=2,
        tolerance=1e-30,
        progress=hopped,
    )
    start, first, second = times[:3]
    stats = jax.devices()[0].memory_stats() or {}
    report = {
        "seconds": (first - start) - (second - first),
        "process_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_mb": stats.get("peak_bytes_in_use", 0) / 2**20,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
