"""Sections of the GPU benchmark: rates and memory of the steps of a search, and their growth."""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import machine
from counts import H200, WORK, Machine, floor
from gpu_run import Run, bytes_of, megabytes, memory_limit, peak_memory, short
from systems import SYSTEMS, System, random_atoms, system, system_of
from timing import rates, spread

from jaxrecon.search.compiled import replica_bytes
from jaxrecon.structures.structure import Bounds

GRADIENT, STEP = "loss and gradient", "Levenberg-Marquardt step"
SMALL = 256
"""Largest number of atoms whose programs compile side by side."""

ROWS = ("fingerprint", GRADIENT, STEP)


def limits(run: Run, found: dict[str, Any]) -> None:
    """What one device does at most, measured in a process of its own."""
    rehearsed = run.sizes.minutes < 4
    found.update(machine.in_own_process(["one"], 0.02 if rehearsed else 0.2)["one"])
    run.say("  " + machine.described(found))


def roofs(run: Run) -> Machine:
    """The measured limits, or those of an H200 if they were not measured."""
    found = run.sections.get("limits", {})
    return machine.limits(found) if "bytes" in found else H200


def reckoned_bytes(one: System) -> int:
    """Memory in bytes that a search reckons for one replica."""
    atoms = one.structures.positions.shape[1]
    bounds = one.structures.bounds or Bounds(capacity=atoms)
    return replica_bytes(one.fingerprint, atoms, bounds)


def kernels(run: Run, found: dict[str, Any]) -> None:
    """Rates of all systems: every batch of all of them before the next larger batch."""
    every = {name: system(name) for name in run.sizes.systems if name in SYSTEMS}
    if "SOAP" in run.sizes.systems:
        every["SOAP"] = system_of("SOAP", "soap", random_atoms("Pt10", 8.0), 64)
    found["peak_before"] = peak_memory()
    programs = {
        (name, row): one.kernels()[row] for row in ROWS[::-1] for name, one in every.items()
    }
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for batch in run.sizes.batches:
        jobs = []
        for (name, row), (function, _) in list(programs.items()):
            if reason := too_large(run, last.get((name, row)), batch):
                del programs[name, row]
                stop(run, found, name, row, batch, reason)
                continue
            positions = jax.ShapeDtypeStruct((batch, *every[name].positions(1).shape[1:]), "f4")
            jobs.append(((name, row), partial(spread(function, 1, batch).lower, positions)))
        for (name, row), outcome in run.compiled(jobs):
            if isinstance(outcome, Exception):
                del programs[name, row]
                stop(run, found, name, row, batch, short(outcome))
                continue
            try:
                figures = measure(run, every[name], row, batch, programs[name, row][1], outcome)
            except Exception as error:
                del programs[name, row]
                stop(run, found, name, row, batch, short(error))
                continue
            last[name, row] = found.setdefault(name, {}).setdefault(row, {})[str(batch)] = figures
            show(run, name, row, batch, figures)
    for name, goal in (("Pt10", 5e6),):
        measured = found.get(name, {}).get(GRADIENT, {}).values()
        best = max((figures.get("per_second", 0.0) for figures in measured), default=0.0)
        run.say(f"  {name}, {GRADIENT}: {best:,.0f} /s of {goal:,.0f} (moonshot 30,000,000)")


def too_large(run: Run, last: dict[str, Any] | None, batch: int) -> str | None:
    """Why a batch is not tried, by what the batch before it took."""
    if last is None:
        return None
    times = batch / last["batch"]
    if last["bytes"] and last["bytes"] * times > memory_limit():
        return f"would need about {megabytes(last['bytes'] * times)}"
    # Small batches take as long as smaller ones on a GPU, so that this may be a few times too long.
    if last["call_seconds"] * times > 4 * run.sizes.longest_call:
        return f"a call would take about {last['call_seconds'] * times:.1f} s"
    return None


def stop(run: Run, found: dict[str, Any], name: str, row: str, batch: int, reason: str) -> None:
    """Write down why a row ends before this batch."""
    found.setdefault(name, {}).setdefault(row, {})[str(batch)] = {"stopped": reason}
    run.say(f"  {name:11}{row:26}{batch:>7}  stopped: {reason}")


def measure(
    run: Run, one: System, row: str, batch: int, count: int, outcome: tuple[float, Any]
) -> dict[str, Any]:
    """Rate, fraction of the floor, compile time and memory of one program.

    Raises:
        MemoryError: if the program would need more memory than there is.
        TimeoutError: if there is no time left.
    """
    seconds, program = outcome
    needed = bytes_of(program)
    if needed is not None and needed > memory_limit():
        raise MemoryError(f"needs {megabytes(needed)}, the limit is {megabytes(memory_limit())}")
    if run.ends < time.perf_counter():
        raise TimeoutError("no time left to measure it")
    positions = jnp.asarray(one.positions(batch))
    call = partial(program, positions)
    began = time.perf_counter()
    jax.block_until_ready(call())
    once = time.perf_counter() - began
    if once > run.sizes.longest_call:
        rate = {"per_second": count * batch / once}
    else:
        rate = rates({"": (call, count * batch)}, run.sizes.seconds, fewest=2)[""]
    figures: dict[str, Any] = {
        **rate,
        "batch": batch,
        "call_seconds": count * batch / rate["per_second"],
        "compile_seconds": seconds,
        "bytes": needed,
        "reckoned_bytes": reckoned_bytes(one) * batch,
        "peak_bytes_of_process": peak_memory(),
        "of_floor": None,
    }
    if one.problem is not None:
        least = floor(WORK[row](one.problem), roofs(run))
        figures["of_floor"] = 1e-6 * least * rate["per_second"]
    return figures


def show(run: Run, name: str, row: str, batch: int, figures: dict[str, Any]) -> None:
    """Print the figures of one program as a line."""
    part = figures["of_floor"]
    percent = "-" if part is None else f"{100 * part:.1f} %"
    run.say(
        f"  {name:11}{row:26}{batch:>7}{figures['per_second']:>13,.0f} /s{percent:>8}"
        f"   compiled in {figures['compile_seconds']:.1f} s, {megabytes(figures['bytes'])}"
        f" (reckoned {megabytes(figures['reckoned_bytes'])},"
        f" peak {megabytes(figures['peak_bytes_of_process'])})"
    )


def growth(run: Run, found: dict[str, Any]) -> None:
    """Memory and time of a Levenberg-Marquardt step of all replicas of Pt, by number of atoms.

    A search on an accelerator computes all replicas of a target together. A program is only called
    if it fits into the memory, and nothing larger is tried after the first that does not.
    """
    replicas = run.sizes.replicas
    every: dict[int, System] = {}

    def lowered(atoms: int) -> Any:
        clusters = random_atoms(f"Pt{atoms}", 8.0 * (atoms / 10) ** (1 / 3))
        every[atoms] = one = system_of(f"Pt{atoms}", "fung2022", clusters, 1)
        positions = jax.ShapeDtypeStruct((replicas, atoms, 3), "f4")
        return spread(one.kernels()[STEP][0], 1, replicas).lower(positions)

    jobs = [(atoms, partial(lowered, atoms)) for atoms in run.sizes.atoms]
    # Small ones compile side by side; large ones take long to prepare, and may not be needed.
    few = sum(atoms <= SMALL for atoms in run.sizes.atoms)
    for group in (jobs[:few], *([job] for job in jobs[few:])):
        for atoms, outcome in run.compiled(group):
            row = found[str(atoms)] = {}
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                row["compile_seconds"], program = outcome
                row["bytes"] = needed = bytes_of(program)
                row["reckoned_bytes"] = reckoned_bytes(every[atoms]) * replicas
                if needed is None or needed > memory_limit():
                    raise MemoryError(f"{replicas} replicas need {megabytes(needed)}, not run")
                positions = jnp.asarray(every[atoms].positions(replicas))
                jax.block_until_ready(program(positions))
                began = time.perf_counter()
                jax.block_until_ready(program(positions))
                row["call_seconds"] = time.perf_counter() - began
            except Exception as error:
                row["stopped"] = short(error)
                run.say(f"  Pt{atoms}: {row['stopped']}; nothing larger is tried")
                return
            run.say(
                f"  Pt{atoms}: {replicas} replicas need {megabytes(row['bytes'])} (reckoned "
                f"{megabytes(row['reckoned_bytes'])}), a call {row['call_seconds']:.3f} s"
            )
