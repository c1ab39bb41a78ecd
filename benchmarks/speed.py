"""How fast the steps of the search are, for Pt10 with `fung2022`: evaluations per second.

    python benchmarks/speed.py -o results

Workload: random Pt10 clusters in boxes of 8 A against one target. Rows: the fingerprint alone, the
L1 loss and its gradient (one Adam step), the fingerprint and its closed-form Jacobian, and a whole
Levenberg-Marquardt step (Jacobian, normal equations, solve). Columns: structures at once. All cores
are used, each as a device of its own; batches beyond 64 a core run in blocks of 64, which keeps the
working set in the cache. Every figure is the median of repeated, blocked calls after a warm-up; the
spread is that of the quartiles.

Peers: DScribe's ACSF (C++, values only, one process), in the same run where it is installed. The
original PyTorch program does 130 loss-and-gradient evaluations/s on one core and no more on two.

Work in a gradient: 12,600 exponentials in G2 (90 ordered pairs x 140), 450 in G5; 450 angles,
each with 10 angular factors, and 450 x 50 products summed; with the way back about three times it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jax.sharding import Mesh, PartitionSpec

from jaxrecon import Fingerprint, Structure, use_all_cores
from jaxrecon.datasets import io
from jaxrecon.objectives import mean_absolute_residual
from jaxrecon.refine import levenberg_marquardt
from jaxrecon.results import versions

ATOMS, BOX, BLOCK = 10, 8.0, 64
LM_STEPS = 10


def structure(positions: jax.Array) -> Structure:
    return Structure(positions, jnp.full(ATOMS, 78), jnp.ones(ATOMS, bool))


def workloads(fingerprint: Fingerprint, target: jax.Array) -> dict[str, tuple[Callable, int]]:
    """Functions of one set of positions, and the evaluations that each call of one counts for."""

    def loss(positions: jax.Array) -> jax.Array:
        return mean_absolute_residual(fingerprint(structure(positions)), target)

    def steps(positions: jax.Array) -> jax.Array:
        algorithm = levenberg_marquardt(
            lambda x: fingerprint.normal_equations(structure(x), target), max_step=2.0
        )
        state, _ = jax.lax.scan(
            lambda state, _: (algorithm.step(state), None),
            algorithm.init(positions),
            length=LM_STEPS,
        )
        return state.best_residual

    return {
        "fingerprint": (lambda x: fingerprint(structure(x)), 1),
        "loss and gradient": (jax.value_and_grad(loss), 1),
        "fingerprint and Jacobian": (lambda x: fingerprint.with_jacobian(structure(x)), 1),
        "Levenberg-Marquardt step": (steps, LM_STEPS + 1),
    }


def rate(function: Callable, count: int, batch: jax.Array, seconds: float) -> dict[str, float]:
    """Median evaluations per second over repeated calls, and its quartiles."""
    jax.block_until_ready(function(batch))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        started = time.perf_counter()
        jax.block_until_ready(function(batch))
        times.append(time.perf_counter() - started)
    low, middle, high = statistics.quantiles(times, n=4)
    work = count * len(batch)
    return {"per_second": work / middle, "lower": work / high, "upper": work / low}


def spread(function: Callable, mesh: Mesh) -> Callable:
    """The function over a batch, split over the devices and each part into blocks."""
    over = PartitionSpec("replicas")

    def local(batch: jax.Array) -> jax.Array:
        if len(batch) <= BLOCK:
            return jax.vmap(function)(batch)
        return jax.lax.map(function, batch, batch_size=BLOCK)

    split = jax.shard_map(local, mesh=mesh, in_specs=over, out_specs=over, check_vma=False)
    return jax.jit(split)


def dscribe_rate(fingerprint: Fingerprint, positions: np.ndarray) -> float | None:
    """DScribe's values per second for the same G2 and G5, in this process; None without it."""
    try:
        from dscribe.descriptors import ACSF
    except ImportError:
        return None
    config = fingerprint.descriptor
    peer = ACSF(
        species=config.elements,
        r_cut=config.r_cut,
        g2_params=[(eta, r_s) for eta in config.g2_eta for r_s in config.g2_r_s],
        g5_params=[
            (eta, zeta, lam)
            for zeta in config.g5_zeta
            for lam in config.g5_lam
            for eta in config.g5_eta
        ],
    )
    clusters = [Atoms("Pt10", x) for x in positions]
    peer.create(clusters[0])
    started = time.perf_counter()
    for atoms in clusters:
        peer.create(atoms)
    return len(clusters) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of each figure")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    devices = use_all_cores()
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    key = jax.random.key(0)
    everything = jax.random.uniform(key, (max(arguments.batches), ATOMS, 3)) * BOX
    target = fingerprint(structure(jax.random.uniform(jax.random.key(1), (ATOMS, 3)) * BOX))
    print(f"{devices} x {jax.devices()[0].device_kind}, jax {jax.__version__}; per second")
    print(f"{'':<26}" + "".join(f"{batch:>12}" for batch in arguments.batches))
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, (function, count) in workloads(fingerprint, target).items():
        table[name] = {}
        for batch in arguments.batches:
            shards = devices if batch % devices == 0 else 1
            mesh = Mesh(np.asarray(jax.devices()[:shards]), ("replicas",))
            program = spread(function, mesh)
            table[name][str(batch)] = rate(program, count, everything[:batch], arguments.seconds)
        row = "".join(f"{table[name][str(b)]['per_second']:>12,.0f}" for b in arguments.batches)
        print(f"{name:<26}{row}", flush=True)
    peer = dscribe_rate(fingerprint, np.asarray(everything[:256]))
    print(f"{'DScribe, values only':<26}" + (f"{peer:>12,.0f}" if peer else " not installed"))
    path = arguments.output / "speed.json"
    report = {"devices": devices, "rates": table, "dscribe": peer, "versions": versions()}
    io.write_json(path, report)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
