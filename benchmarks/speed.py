"""How fast the steps of the search are, and how far from what the machine could do at most.

    python benchmarks/speed.py -o results

The work of an evaluation of Pt10 with `fung2022` (45 pairs, 360 triples of atoms; counts.py says
term by term what is counted), and its floor on an H200 at nominal speed:

                               exponentials  multiply-adds    bytes  H200, ns
    fingerprint                       6,615         50,825    1,640       3.1
    loss and gradient                 6,660         83,580    1,764       4.1
    fingerprint and Jacobian          6,660        124,310   47,240      11.0
    Levenberg-Marquardt step          6,660        318,570    1,764      11.1

Rows: the fingerprint alone, the L1 loss and its gradient (one Adam step), the fingerprint and its
closed-form Jacobian, and a whole Levenberg-Marquardt step (Jacobian, normal equations, solve).
Columns: structures at once. All cores are used, each as a device of its own. Every figure is the
median of repeated, blocked calls after a warm-up, the rows of a batch in turns; the percentage is
that of the floor, which follows from the counts and from the measured limits of the machine. Calls
that would take more than two seconds are left out. Systems: random clusters Pt10 and Pt40 and a
molecule C4H9NO2 with `fung2022`, the molecule with `default` ("smooth"); with all images and
`crystal` the perovskite SrTiO3, 20 atoms of Ca2Sr2Ti4O12 ("mixed") and six carbon atoms.

Then: the time to compile a search for Pt10 and for carbon, cold and from the compilation cache,
that of a hop, and the peak memory; a
search for one Pt10 target, all of whose evaluations count as the Levenberg-Marquardt steps that
take as long, against bare steps measured before and after it; DScribe's ACSF (C++, values only, one
process and one for each core). The original PyTorch program does 130 loss-and-gradient evaluations
of Pt10 a second on one core, no more on two, and 20 of Pt40.

Output: speed.json, roofline.png. On a machine with a GPU the same command measures it.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import compiling
import jax
import jax.numpy as jnp
import machine
import numpy as np
from ase import Atoms
from counts import H200, WORK, Machine, floor
from roofline import roofline
from systems import SYSTEMS, System, system
from timing import device_name, dscribe_acsf, dscribe_runs, rates, spread

from jaxrecon import ReconstructConfig, reconstruct, use_all_cores
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.search.compiled import device_mesh

LONGEST_CALL = 2.0
"""Seconds that a call may take, by the rate of the batch before."""

HOPS = 20
VALUE, GRADIENT, _, STEP = WORK
Table = dict[str, dict[str, dict[str, float]]]


def speeds(one: System, batches: list[int], limits: dict[str, Machine], seconds: float) -> Table:
    """By row and batch, evaluations per second, quartiles and the fraction of the floor."""
    table: Table = {name: {} for name in WORK}
    devices = jax.local_device_count()
    for batch in sorted(batches):
        shards = devices if batch % devices == 0 else 1
        positions = jnp.asarray(one.positions(batch))
        runs: dict[str, tuple[Callable[[], object], int]] = {}
        for name, (function, count) in one.kernels().items():
            known = [row["per_second"] / row["devices"] for row in table[name].values()]
            if known and count * batch / (known[-1] * shards) > LONGEST_CALL:
                continue
            run = partial(spread(function, shards, one.block), positions)
            runs[name] = (run, count * batch)
        for name, row in rates(runs, seconds).items():
            least = floor(WORK[name](one.problem), limits["all" if shards > 1 else "one"])
            of_floor = 1e-6 * least * row["per_second"]
            table[name][str(batch)] = {**row, "devices": shards, "of_floor": of_floor}
    return table


def show(one: System, table: Table, batches: list[int], limits: dict[str, Machine]) -> None:
    problem = one.problem
    print(
        f"\n{one.name}: {problem.atoms} atoms, {problem.numbers} numbers, {problem.pairs} pairs, "
        f"{problem.triples} triples; {one.block} computed together"
    )
    head = "".join(f"{batch:>18}" for batch in sorted(batches))
    print(f"{'per second (of the floor)':<26}{head}{'floor: one core':>18}{'all':>8}{'H200':>9}")
    for name, count in WORK.items():
        cells = ""
        for batch in sorted(batches):
            row = table[name].get(str(batch))
            cells += f"{'-':>18}" if row is None else _cell(row)
        work = count(problem)
        floors = [floor(work, each) for each in (limits["one"], limits["all"], H200)]
        shown = f"{floors[0]:>15.2f} us{floors[1]:>8.2f}{floors[2]:>9.4f}"
        print(f"{name:<26}{cells}{shown}", flush=True)


def _cell(row: dict[str, float]) -> str:
    percent = f"({100 * row['of_floor']:.1f} %)"
    return f"{row['per_second']:>9,.0f}{percent:>9}"


def search(one: System, seconds: float) -> dict[str, float]:
    """A search that finds nothing, in Levenberg-Marquardt steps per second; and bare steps."""
    cpu = jax.devices()[0].platform == "cpu"
    config = ReconstructConfig(replicas=64 if cpu else 1024, hops=HOPS, tolerance=1e-30)
    devices = device_mesh(config.replicas, 1).size
    positions = jnp.asarray(one.positions(config.replicas))
    runs: dict[str, tuple[Callable[[], object], int]] = {}
    for name, (function, count) in one.kernels().items():
        if name in (VALUE, STEP):
            run = partial(spread(function, devices, config.replicas), positions)
            runs[name] = (run, count * config.replicas)
    times: list[float] = []

    def hopped(_: int, evaluations: int) -> None:
        if evaluations:
            times.append(time.perf_counter())

    before = rates(runs, seconds)
    reconstruct(
        np.asarray(one.target),
        one.fingerprint,
        symbols="Pt10",
        config=config,
        progress=hopped,
    )
    after = rates(runs, seconds)
    bare, values = (
        (before[name]["per_second"] + after[name]["per_second"]) / 2 for name in (STEP, VALUE)
    )
    work = config.evaluations_per_hop
    steps = work["jacobians"] + work["values"] * bare / values
    # The first hop compiles.
    found = steps * (HOPS - 1) / (times[HOPS - 1] - times[0])
    return {
        "steps_per_second": found,
        "bare": bare,
        "ratio": found / bare,
        "replicas": config.replicas,
    }


def bars(tables: dict[str, Table], ratio: float | None) -> list[str]:
    """What was asked for, and whether it is met."""

    def best(name: str, row: str) -> float:
        return max((each["per_second"] for each in tables[name][row].values()), default=0.0)

    gpu = jax.devices()[0].platform != "cpu"
    lines = []
    needs = {"Pt10": (5e6, 30e6)} if gpu else {"Pt10": (15e3, 40e3), "Pt40": (1e3, None)}
    for name, (need, hope) in needs.items():
        if name in tables:
            rate = best(name, GRADIENT)
            lines.append(_bar(f"{name}, {GRADIENT}, per second", rate, need, hope))
    if "Pt10" in tables:
        both = set(tables["Pt10"][GRADIENT]) & set(tables["Pt10"][STEP])
        gradient, step = (
            tables["Pt10"][row][max(both, key=int)]["per_second"] for row in (GRADIENT, STEP)
        )
        lines.append(_bar("Pt10, a step in gradients", gradient / step, 3.0, 1.7, most=True))
    if ratio is not None:
        lines.append(_bar("Pt10, search, part of the bare steps' speed", ratio, 0.8, None))
    return lines


def _bar(what: str, got: float, need: float, hope: float | None, *, most: bool = False) -> str:
    sign, sense = (-1, "<=") if most else (1, ">=")
    met = "PASS" if sign * got >= sign * need else "not met"
    if hope is not None and sign * got >= sign * hope:
        met = "PASS, and the moonshot"
    wish = "" if hope is None else f", moonshot {hope:,.4g}"
    return f"{what}: {got:,.4g} ({sense} {need:,.4g}{wish}): {met}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--batches", type=int, nargs="+", help="default 1 64 1024, on a GPU 16384")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured time of each figure")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    # In processes of their own, before this one takes the memory of a GPU.
    found = machine.in_own_process()
    searches = [name for name in ("Pt10", "carbon") if name in arguments.systems]
    compiled = {name: compiling.cold_and_warm(name) for name in searches}
    limits = {name: machine.limits(each) for name, each in found.items()}
    devices = use_all_cores()
    gpu = jax.devices()[0].platform != "cpu"
    batches = arguments.batches or [1, 64, 1024, *([16384] if gpu else [])]
    device = f"{devices} x {device_name()}"
    print(f"{device}, jax {jax.__version__}" + ("" if gpu else "; no GPU here"))
    for name, each in found.items():
        print(f"{name}: {machine.described(each)}")
    print(
        f"H200: {2e-9 * H200.multiply_adds:,.0f} Gflop/s, {1e-9 * H200.exponentials:,.0f} G "
        f"exponentials/s, {1e-9 * H200.bytes:,.0f} GB/s"
    )
    for name, runs in compiled.items():
        for cache, each in runs.items():
            memory = f"{each['process_mb']:,.0f} MB"
            memory += f", on the device {each['device_mb']:,.0f} MB" if gpu else ""
            print(
                f"search for {name}, {cache}: {each['seconds']:.1f} s to compile, "
                f"{each['hop']:.2f} s a hop, peak memory {memory}"
            )

    tables: dict[str, Table] = {}
    points = {}
    for name in arguments.systems:
        one = system(name)
        tables[name] = speeds(one, batches, limits, arguments.seconds)
        show(one, tables[name], batches, limits)
        for row, measured in tables[name].items():
            if measured:
                largest = measured[max(measured, key=int)]["per_second"]
                points[name, row] = (WORK[row](one.problem), largest)

    peers: dict[str, dict[str, float]] = {}
    searched: dict[str, float] = {}
    if "Pt10" in arguments.systems:
        one = system("Pt10")
        peer = dscribe_acsf(one.fingerprint.descriptor, periodic=False)
        if peer is not None:
            clusters = [Atoms("Pt10", x) for x in one.positions(256)]
            peers = rates(dscribe_runs(peer, clusters), arguments.seconds)
        print()
        for name, peer_row in peers.items():
            print(f"{name + ', values':<26}{peer_row['per_second']:>10,.0f}")
        searched = search(one, arguments.seconds)
        print(
            f"search with {searched['replicas']} replicas: {searched['steps_per_second']:,.0f} "
            f"steps/s, bare {searched['bare']:,.0f}/s"
        )
    print("\n" + "\n".join(bars(tables, searched.get("ratio"))))

    picture = arguments.output / "roofline.png"
    roofline(points, limits["all"], f"{device}, jax {jax.__version__}", picture)
    path = arguments.output / "speed.json"
    report = {
        "device": device,
        "limits": found,
        "rates": tables,
        "dscribe": peers,
        "search": searched,
        "compilation": compiled,
        "versions": versions(),
    }
    write_json(path, report)
    print(f"wrote {path}, {picture}")


if __name__ == "__main__":
    main()
