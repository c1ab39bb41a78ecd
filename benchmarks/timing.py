"""What the benchmarks share: the device, rates, the spread over devices, and the peer."""

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import jax
import numpy as np
from ase import Atoms
from jax.sharding import Mesh, PartitionSpec

from jaxrecon import ACSF


def device_name() -> str:
    """The kind of the devices; of a CPU, its model."""
    kind = str(jax.devices()[0].device_kind)
    if kind != "cpu":
        return kind
    path = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", path.read_text() if path.exists() else "")
    return str(model[1]) if model else platform.processor() or kind


def rates(
    runs: Mapping[str, tuple[Callable[[], object], int]], seconds: float, fewest: int = 5
) -> dict[str, dict[str, float]]:
    """Median work per second of each function, quartiles and fastest call, measured in turns.

    Taking turns lets a change of the machine's speed fall on all of them. Each is called once
    before, then as often as asked, and until it has had its seconds.

    Args:
        runs: by name, a function and the work that a call of it does.
        seconds: measured time of each.
        fewest: smallest number of timed calls of each, at least 2.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for function, _ in runs.values():
        jax.block_until_ready(function())
    while any(sum(spent) < seconds or len(spent) < fewest for spent in times.values()):
        for name, (function, _) in runs.items():
            if sum(times[name]) < seconds or len(times[name]) < fewest:
                started = time.perf_counter()
                jax.block_until_ready(function())
                times[name].append(time.perf_counter() - started)
    result = {}
    for name, (_, work) in runs.items():
        low, middle, high = statistics.quantiles(times[name], n=4)
        result[name] = {
            "per_second": work / middle,
            "lower": work / high,
            "upper": work / low,
            "fastest": work / min(times[name]),
        }
    return result


def spread(function: Callable, devices: int, block: int) -> Callable:
    """The function over a batch, split over devices; each part in blocks that stay in the cache."""
    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("structures",))
    over = PartitionSpec("structures")

    def local(batch: object) -> object:
        if len(jax.tree.leaves(batch)[0]) <= block:
            return jax.vmap(function)(batch)
        return jax.lax.map(function, batch, batch_size=block)

    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=over, out_specs=over, check_vma=False))


def dscribe_acsf(config: ACSF, *, periodic: bool) -> object | None:
    """DScribe's descriptor for the same functions; None where DScribe is not installed.

    Raises:
        ValueError: if the set has functions that DScribe has not.
    """
    try:
        from dscribe import descriptors
    except ImportError:
        return None
    shifted = any((*config.g4_r_s, *config.g5_r_s))
    if config.weighted or config.cutoff != "cosine" or shifted:
        raise ValueError("expected unweighted functions with a cosine cutoff and g4/g5_r_s = 0")
    return descriptors.ACSF(
        species=config.elements,
        r_cut=config.r_cut,
        periodic=periodic,
        g2_params=list(product(config.g2_eta, config.g2_r_s)) or None,
        g3_params=list(config.g3_kappa) or None,
        g4_params=list(product(config.g4_eta, config.g4_zeta, config.g4_lam)) or None,
        g5_params=list(product(config.g5_eta, config.g5_zeta, config.g5_lam)) or None,
    )


def dscribe_runs(
    peer: object, structures: Sequence[Atoms]
) -> dict[str, tuple[Callable[[], object], int]]:
    """Calls of the peer with one process and with one for each core."""
    return {
        f"DScribe, {jobs} process{'es' if jobs > 1 else ''}": (
            lambda jobs=jobs: peer.create(list(structures), n_jobs=jobs),
            len(structures),
        )
        for jobs in sorted({1, os.cpu_count() or 1})
    }
