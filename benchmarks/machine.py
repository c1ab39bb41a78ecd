"""What the machine does at most: measured by programs that do one thing, run as a script.

    python benchmarks/machine.py one

prints multiply-adds, exponentials and bytes copied in a second, of one device or of ``all``: JSON.
The benchmark runs it with XLA told to take vectors of 512 bits: on its own it takes 256.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from counts import Machine
from jax.lax import Precision
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from timing import rates

from jaxrecon import use_all_cores

WIDEST = "--xla_cpu_prefer_vector_width=512"
SECONDS = 0.3
"""Measured time of each shape."""


def chain(x: jax.Array, length: int) -> jax.Array:
    """Multiply-adds on end on a number that stays in its register."""
    for _ in range(length):
        x = x * 0.999 + 0.001
    return x


def exponentials(x: jax.Array, count: int) -> jax.Array:
    """Some exponentials of each number, and their sum, small enough to repeat this."""
    total = x
    for k in range(count):
        total = total + jnp.exp(x * (0.4 * k / count - 1.0))
    return 0.4 * total / count


def matmul(x: jax.Array) -> jax.Array:
    return jnp.matmul(x, x, precision=Precision.HIGHEST)


def measured(devices: int, seconds: float) -> dict[str, float]:
    """Multiply-adds, exponentials and bytes copied in a second by so many devices together.

    The best of a few shapes each: the small ones stay in the cache of a core, the large ones fill a
    GPU. Of a shared machine the fastest call counts, not the median.
    """
    gpu = jax.devices()[0].platform != "cpu"
    sizes, times = ((2**24, 2**26), 16) if gpu else ((2**11, 2**12, 2**13), 1024)
    lengths = (64, 512) if gpu else (8, 16)
    # A GPU computes a few exponentials in less time than it takes to load a number.
    few = 64 if gpu else 4
    sides, large = ((8192,), 2**28) if gpu else ((256, 512, 1024), 2**24)
    every = [
        ("multiply_adds", lambda x, n=n: chain(x, n), (size,), size * n, times)
        for size in sizes
        for n in lengths
    ]
    every += [
        ("exponentials", lambda x: exponentials(x, few), (size,), size * few, times)
        for size in sizes
    ]
    every += [("matmul", matmul, (side, side), side**3, 1) for side in sides]
    every += [("bytes", lambda x: x + 1.0, (large,), 2 * 4 * large, 8)]
    found: dict[str, float] = {}
    for name, function, shape, work, repeats in every:
        rate = _fastest(devices, function, shape, work, repeats, seconds)
        found[name] = max(found.get(name, 0.0), rate)
    return found


def _fastest(
    devices: int,
    function: Callable[[jax.Array], jax.Array],
    shape: tuple[int, ...],
    work: int,
    repeats: int,
    seconds: float,
) -> float:
    """Work a second, each device with an array of its own, in the fastest call."""
    mesh = Mesh(np.asarray(jax.devices()[:devices]), ("each",))
    split = PartitionSpec("each")

    def local(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, repeats, lambda _, y: function(y), x[0])[None]

    program = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    )
    array = jax.device_put(np.full((devices, *shape), 1e-3, np.float32), NamedSharding(mesh, split))
    runs = {"": (lambda: program(array), work * repeats * devices)}
    return rates(runs, seconds)[""]["fastest"]


def limits(found: dict[str, float]) -> Machine:
    """The roofs: multiply-adds by the better of the chain and the matrix product."""
    fastest = max(found["multiply_adds"], found["matmul"])
    return Machine(found["exponentials"], fastest, found["bytes"])


def described(found: dict[str, float]) -> str:
    chained, product = 2e-9 * found["multiply_adds"], 2e-9 * found["matmul"]
    return (
        f"{chained:,.0f} Gflop/s in chains of multiply-adds, {product:,.0f} in a matrix product, "
        f"{1e-9 * found['exponentials']:,.1f} G exponentials/s, copy "
        f"{1e-9 * found['bytes']:,.0f} GB/s"
    )


def in_own_process(
    names: Sequence[str] = ("one", "all"), seconds: float = SECONDS
) -> dict[str, dict[str, float]]:
    """The limits of one device, ``"one"``, and of all, ``"all"``, from processes of their own.

    Args:
        names: which of the two.
        seconds: measured time of each shape.
    """
    flags = " ".join([os.environ.get("XLA_FLAGS", ""), WIDEST])
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    found = {}
    for which in names:
        output: Any = subprocess.run(
            [sys.executable, __file__, which, str(seconds)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout
        found[which] = json.loads(output)
    return found


def main() -> None:
    which, seconds = (*sys.argv[1:], "all")[0], float((*sys.argv[2:], SECONDS)[0])
    only_one = which == "one"
    if only_one and hasattr(os, "sched_setaffinity"):
        # A matrix product takes all the cores it can get, whatever its device.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    devices = use_all_cores()
    print(json.dumps(measured(1 if only_one else devices, seconds)))


if __name__ == "__main__":
    main()
