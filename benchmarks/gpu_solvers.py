"""Sections of the GPU benchmark: linear solvers, the overhead of loops, the longest kernels."""

import gzip
import json
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import compiling
import jax
import jax.numpy as jnp
import numpy as np
from gpu_run import Run, bytes_of, memory_limit, short
from systems import system
from timing import rates

from jaxrecon import ReconstructConfig, reconstruct
from jaxrecon.numerics import solve_positive_definite

ITERATIONS = 200
"""Iterations of the loops whose overhead is measured."""

TRACED = 100
"""Number of targets of the hop whose kernels are listed."""

LONGEST = 10
"""Number of kernels listed."""


def by_cholesky(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """The solution by JAX's batched Cholesky factor and triangular solves."""
    return jax.scipy.linalg.solve(matrix, right, assume_a="pos")


def positive_definite(batch: int, size: int) -> tuple[jax.Array, jax.Array]:
    """Matrices that are well conditioned, and right-hand sides."""
    key = jax.random.key(0)
    factor = jax.random.normal(key, (batch, size, size)) / size**0.5
    product = jnp.einsum("bxk,byk->bxy", factor, factor, precision=jax.lax.Precision.HIGHEST)
    return product + jnp.eye(size)[None], jnp.ones((batch, size))


def solvers(run: Run, found: dict[str, Any]) -> None:
    """Systems of linear equations a second, by elimination and by Cholesky."""
    methods = {"elimination": solve_positive_definite, "Cholesky": by_cholesky}
    for size in run.sizes.equations:
        for batch in run.sizes.batches:
            # The matrices, their products and factors, and copies of them.
            if 8 * 4 * batch * size**2 > memory_limit():
                run.say(f"  {size} equations, {batch}: more than the memory")
                break
            shapes = [jax.ShapeDtypeStruct((batch, *(size,) * n), "f4") for n in (2, 1)]
            jobs = [
                (name, partial(jax.jit(jax.vmap(method)).lower, *shapes))
                for name, method in methods.items()
            ]
            row = found.setdefault(str(size), {})[str(batch)] = {}
            matrices = None
            for name, outcome in run.compiled(jobs):
                try:
                    if isinstance(outcome, Exception):
                        raise outcome
                    if (bytes_of(outcome[1]) or 0) > memory_limit():
                        raise MemoryError("needs more memory than there is")
                    matrices = matrices or jax.jit(positive_definite, static_argnums=(0, 1))(
                        batch, size
                    )
                    call = partial(outcome[1], *matrices)
                    rate = rates({"": (call, batch)}, run.sizes.seconds, fewest=2)[""]
                    error = residual_of(*matrices, call())
                    row[name] = {**rate, "residual": error, "compile_seconds": outcome[0]}
                except Exception as error:
                    row[name] = {"error": short(error)}
            texts = [
                f"{name} {entry['per_second']:,.0f} /s (residual {entry['residual']:.0e})"
                if "per_second" in entry
                else f"{name}: {entry['error']}"
                for name, entry in row.items()
            ]
            run.say(f"  {size} equations, {batch} at once: " + ", ".join(texts))


def residual_of(matrix: jax.Array, right: jax.Array, solution: jax.Array) -> float:
    """Largest deviation of A x from b."""
    product = jnp.einsum("bxy,by->bx", matrix, solution, precision=jax.lax.Precision.HIGHEST)
    return float(jnp.abs(product - right).max())


def loops(run: Run, found: dict[str, Any]) -> None:
    """Microseconds of an iteration of `lax.scan` that does next to nothing, by batch."""

    def scanned(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (y * 0.999 + 0.001, None), x, length=ITERATIONS)[0]

    def once(x: jax.Array) -> jax.Array:
        return x * 0.999 + 0.001

    for batch in run.sizes.batches:
        x = jnp.ones((batch, 30))
        programs = {"scan": jax.jit(scanned), "one call": jax.jit(once)}
        runs = {
            name: (partial(program, x), ITERATIONS if name == "scan" else 1)
            for name, program in programs.items()
        }
        measured = rates(runs, run.sizes.seconds)
        found[str(batch)] = {name: 1e6 / rate["per_second"] for name, rate in measured.items()}
        texts = [f"{name} {micros:.2f} us" for name, micros in found[str(batch)].items()]
        run.say(f"  batch {batch}: " + ", ".join(texts))


def longest(run: Run, found: dict[str, Any]) -> None:
    """The kernels that take most time in one hop of a search for Pt10, and in its polish."""
    pt10 = system("Pt10")
    # A trace holds a million events: little polishing leaves enough of them for the hop.
    config = ReconstructConfig(replicas=run.sizes.replicas, hops=1, tolerance=1e-30, polish_steps=2)
    targets = 1 if run.sizes.targets else TRACED

    def hop() -> None:
        reconstruct(
            [np.asarray(pt10.target)] * targets, pt10.fingerprint, symbols="Pt10", config=config
        )

    hop()  # compiles
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            hop()
        [path] = Path(folder).rglob("*.trace.json.gz")
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
    found["events"] = len(events)
    for module, entries in kernels_of(events).items():
        total = sum(seconds for _, seconds in entries.values())
        calls = sum(count for count, _ in entries.values())
        rows = sorted(entries.items(), key=lambda item: -item[1][1])[:LONGEST]
        found[module] = {
            "seconds": total,
            "calls": calls,
            "longest": {name: {"calls": n, "seconds": s} for name, (n, s) in rows},
        }
    if set(found) == {"events"}:
        raise ValueError("the trace has no kernels: the profiler may lack permission")
    programs = {name: entry for name, entry in found.items() if isinstance(entry, dict)}
    for module, entry in sorted(programs.items(), key=lambda item: -item[1]["seconds"])[:2]:
        run.say(f"  {module}: {entry['calls']:,} kernels, {entry['seconds']:.4f} s")
        for name, part in entry["longest"].items():
            percent = 100 * part["seconds"] / max(entry["seconds"], 1e-12)
            run.say(f"    {percent:5.1f} %  {part['calls']:>7,} calls  {name[:80]}")


def kernels_of(events: list[dict[str, Any]]) -> dict[str, dict[str, tuple[int, float]]]:
    """Calls and seconds by program and kernel, from the events of a trace.

    On a GPU, only what its streams execute counts; other lines repeat it. Loops and calls contain
    other kernels and do not count themselves.

    >>> event = {"ph": "X", "pid": 1, "tid": 2, "dur": 3.0, "name": "fusion.1"}
    >>> kernels_of([event | {"args": {"hlo_op": "fusion.1", "hlo_module": "jit_f"}}])
    {'jit_f': {'fusion.1': (1, 3e-06)}}
    """
    named = [event for event in events if event.get("ph") == "M"]
    devices = {
        event["pid"]
        for event in named
        if event["name"] == "process_name" and "device:" in event["args"]["name"]
    }
    streams = {
        (event["pid"], event["tid"])
        for event in named
        if event["name"] == "thread_name"
        and event["pid"] in devices
        and "Stream" in event["args"]["name"]
    }
    calls: dict[str, Counter[str]] = {}
    spent: dict[str, Counter[str]] = {}
    for event in events:
        arguments = event.get("args", {})
        if event.get("ph") != "X":
            continue
        if devices and (event["pid"], event["tid"]) not in streams:
            continue
        operation = arguments.get("hlo_op")
        if not devices and (operation is None or operation.startswith(("while", "call", "cond"))):
            continue
        module = str(arguments.get("hlo_module", "other")).split("(")[0]
        name = str(operation or event["name"])
        calls.setdefault(module, Counter())[name] += 1
        spent.setdefault(module, Counter())[name] += 1e-6 * event["dur"]
    return {
        module: {name: (count, spent[module][name]) for name, count in names.items()}
        for module, names in calls.items()
    }


def compilation(run: Run, found: dict[str, Any]) -> None:
    """Seconds to compile a search for Pt10, without and with the cache of compiled programs."""
    for name, entry in compiling.cold_and_warm().items():
        found[name] = entry
        run.say(
            f"  search for Pt10, {name}: {entry['seconds']:.1f} s, peak memory of the process "
            f"{entry['process_mb']:,.0f} MB, of the device {entry['device_mb']:,.0f} MB"
        )
