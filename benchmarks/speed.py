"""How fast the steps of the search are, for Pt10 with `fung2022`: evaluations per second.

    python benchmarks/speed.py -o results

Workload: random Pt10 clusters in boxes of 8 A against one target. Rows: the fingerprint alone, the
L1 loss and its gradient (one Adam step), the fingerprint and its closed-form Jacobian, and a whole
Levenberg-Marquardt step (Jacobian, normal equations, solve). Columns: structures at once. All cores
are used, each as a device of its own; batches beyond 64 a core run in blocks of 64, which keeps the
working set in the cache. Every figure is the median of repeated, blocked calls after a warm-up; the
spread is that of the quartiles.

Peers: DScribe's ACSF (C++, values only, one process and one for each core), in the same run where
it is installed. The original PyTorch program does 130 loss-and-gradient evaluations/s on one core
and no more on two.

Work in a gradient: 12,600 exponentials in G2 (90 ordered pairs x 140), 450 in G5; 450 angles,
each with 10 angular factors, and 450 x 50 products summed; with the way back about three times it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from timing import dscribe_acsf, dscribe_runs, rates, spread

from jaxrecon import Fingerprint, Structure, use_all_cores
from jaxrecon.datasets import io
from jaxrecon.equations import normal_equations
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
            lambda x: normal_equations(fingerprint, structure(x), target), max_step=2.0
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
            program = spread(function, shards, BLOCK)
            run = (lambda p=program, x=everything[:batch]: p(x), count * batch)
            table[name][str(batch)] = rates({name: run}, arguments.seconds)[name]
        row = "".join(f"{table[name][str(b)]['per_second']:>12,.0f}" for b in arguments.batches)
        print(f"{name:<26}{row}", flush=True)
    peer = dscribe_acsf(fingerprint.descriptor, periodic=False)
    peers = {}
    if peer is not None:
        clusters = [Atoms("Pt10", x) for x in np.asarray(everything[:256])]
        peers = rates(dscribe_runs(peer, clusters), arguments.seconds)
    for name, row in peers.items():
        print(f"{name + ', values':<26}{row['per_second']:>12,.0f}")
    path = arguments.output / "speed.json"
    report = {"devices": devices, "rates": table, "dscribe": peers, "versions": versions()}
    io.write_json(path, report)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
