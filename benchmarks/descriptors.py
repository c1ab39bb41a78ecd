"""How fast fingerprints are, against DScribe, and how their cost grows with the atoms.

    python benchmarks/descriptors.py --data DIR -o results

Workloads: Pt10 clusters (`fung2022`: 140 G2 and 50 G5 within 20 A); the QM7 molecules (5 elements)
and the cubic perovskites (all their elements, each crystal with all images) of DIR, `crystal`: 10
G2 a channel and 12 G5 a pair of channels within 6 A. Without DIR: the molecules of ASE's G2 set and
perovskites built here. Peer: DScribe's ACSF (C++), the same functions of all atoms, values only.

Columns, structures per second: DScribe with one process and with one for each core; `featurize`,
ASE structures in and NumPy out, in float64 and float32; the value and the value with its gradient
by the positions of batches that are on the device already (float32). All in turns in one run, on
all cores; medians of repeated, blocked calls after a warm-up.

Then 64 to 4096 atoms of rattled fcc Pt and of liquid-like NaCl, `crystal`, on one device:
milliseconds for `featurize` (float64, the search for neighbours included) and for the value with
its gradient (float32), the memory that the program takes beside its arguments, and the exponent
that fits 256 to 4096 atoms. Last, how many programs are compiled for 200 structures of mixed size,
composition and periodicity.
"""

import argparse
import resource
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import ase.io
import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.spacegroup import crystal
from timing import dscribe_acsf, dscribe_runs, rates, spread

from jaxrecon import Fingerprint, Structure, batch, batches, featurize, use_all_cores
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.formulas import elements_of

CELLS = {
    "fcc Pt": {64: (4, 2, 2), 256: (4, 4, 4), 1024: (8, 8, 4), 4096: (16, 8, 8)},
    "liquid-like NaCl": {64: (2, 2, 2), 256: (4, 4, 2), 1024: (8, 4, 4), 4096: (8, 8, 8)},
}
FIT_FROM = 256
MIXED = 200


def pt10(count: int = 512) -> list[Atoms]:
    rng = np.random.default_rng(0)
    return [Atoms("Pt10", rng.uniform(0, 8, (10, 3))) for _ in range(count)]


def molecules(data: Path | None) -> list[Atoms]:
    if data is not None:
        return ase.io.read(data / "qm7_500.extxyz", ":")
    every = [molecule(name) for name in g2.names]
    return [atoms for atoms in every if len(atoms) > 4]


def perovskites(data: Path | None) -> list[Atoms]:
    if data is not None:
        return ase.io.read(data / "perov5_200.extxyz", ":")
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    choices = product(("Ca", "Sr", "Ba", "Na", "K", "La"), ("Ti", "Zr", "Nb", "Fe"), "OFN")
    return [
        crystal(choice, sites, spacegroup=221, cellpar=[a, a, a, 90, 90, 90])
        for a, choice in zip(np.linspace(3.8, 4.4, 72), choices, strict=True)
    ]


def crystals(data: Path | None) -> list[Atoms]:
    return perovskites(None) if data is None else ase.io.read(data / "mp_200.extxyz", ":")


def value_and_gradient(fingerprint: Fingerprint) -> Callable[[Structure], object]:
    """The sum of the features and its gradient: one reverse pass."""

    def of(structure: Structure) -> object:
        def total(positions: jax.Array) -> jax.Array:
            return fingerprint(replace(structure, positions=positions)).sum()

        return jax.value_and_grad(total)(structure.positions)

    return of


def against_dscribe(
    structures: list[Atoms], fingerprint: Fingerprint, devices: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Structures per second of each way to compute the fingerprints, measured in turns."""
    count = len(structures)
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "featurize, float64": (lambda: featurize(structures, fingerprint), count),
        "featurize, float32": (
            lambda: featurize(structures, fingerprint, dtype=np.float32),
            count,
        ),
    }
    for name, function in [
        ("value", fingerprint),
        ("value and gradient", value_and_gradient(fingerprint)),
    ]:
        parts, work = [], 0
        for where, some in batches(structures, fingerprint):
            whole = len(where) // devices * devices
            even = jax.tree.map(lambda leaf, end=whole: leaf[:end], some)
            pairs = even.positions.shape[1] * neighbors(even) ** 2
            parts.append((spread(function, devices, block=max(1, min(16, 2**17 // pairs))), even))
            work += whole
        runs[name] = (lambda parts=parts: [program(some) for program, some in parts], work)
    peer = dscribe_acsf(fingerprint.descriptor, periodic=bool(structures[0].pbc.any()))
    if peer is not None:
        runs = dscribe_runs(peer, structures) | runs
    return rates(runs, seconds)


def neighbors(structures: Structure) -> int:
    bounds = structures.bounds
    return structures.positions.shape[1] if bounds is None else bounds.capacity


def box(kind: str, atoms: int) -> Atoms:
    """Rattled platinum; or sodium chloride as dense as its melt, shaken out of its lattice."""
    if kind == "fcc Pt":
        cells, width = bulk("Pt", cubic=True), 0.05
    else:
        cells, width = bulk("NaCl", "rocksalt", a=6.1, cubic=True), 0.5
    cells *= CELLS[kind][atoms]
    cells.rattle(width, seed=0)
    return cells


def sweep(kind: str, seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds and megabytes against the number of atoms, and the exponents of the fits."""
    fingerprint = Fingerprint.preset("crystal", elements_of([box(kind, 64)]))
    table: dict[str, dict[str, float]] = {}
    for atoms in CELLS[kind]:
        structure = box(kind, atoms)
        one = jax.tree.map(lambda leaf: leaf[0], batch([structure], fingerprint))
        compiled = jax.jit(value_and_gradient(fingerprint)).lower(one).compile()
        measured = rates(
            {
                "featurize": (lambda s=structure: featurize(s, fingerprint), 1),
                "gradient": (lambda c=compiled, s=one: c(s), 1),
            },
            seconds,
        )
        row = {name: 1e3 / each["per_second"] for name, each in measured.items()}
        row["MB"] = compiled.memory_analysis().temp_size_in_bytes / 1e6
        table[str(atoms)] = row
        print(
            f"{kind:<18}{atoms:>6} atoms {row['featurize']:>9.1f} ms featurize "
            f"{row['gradient']:>9.1f} ms value and gradient {row['MB']:>8.0f} MB",
            flush=True,
        )
    sizes = [size for size in CELLS[kind] if size >= FIT_FROM]
    table["exponent"] = {
        name: float(
            np.polyfit(np.log(sizes), np.log([table[str(size)][name] for size in sizes]), 1)[0]
        )
        for name in ("featurize", "gradient")
    }
    shown = ", ".join(f"{name} {value:.2f}" for name, value in table["exponent"].items())
    print(f"{kind:<18} exponent from {FIT_FROM} atoms on: {shown}")
    return table


def mixture(data: Path | None) -> list[Atoms]:
    """Molecules, perovskites and other crystals, shuffled, slabs and wires among them."""
    third = -(-MIXED // 3)
    sources = (molecules(data), perovskites(data), crystals(data))
    mixed = [atoms for source in sources for atoms in islice(source, third)][:MIXED]
    for number, atoms in enumerate(mixed):
        if atoms.pbc.all() and number % 5 == 0:
            atoms.pbc = [(True, True, False), (True, False, False)][number % 2]
    return [mixed[i] for i in np.random.default_rng(0).permutation(len(mixed))]


def programs_compiled(structures: list[Atoms], fingerprint: Fingerprint) -> int:
    """How many programs XLA compiles, of any size, for all of them together."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    featurize(structures, fingerprint)
    return len(compiled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with the published data sets")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of each figure")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    devices = use_all_cores()
    print(f"{devices} x {jax.devices()[0].device_kind}, jax {jax.__version__}")

    mixed = mixture(arguments.data)
    count = programs_compiled(mixed, Fingerprint.preset("crystal", elements_of(mixed)))
    sizes = [len(atoms) for atoms in mixed]
    print(f"{len(mixed)} structures of {min(sizes)} to {max(sizes)} atoms: {count} compilations")

    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, structures, preset in [
        ("Pt10", pt10(), "fung2022"),
        ("molecules", molecules(arguments.data), "crystal"),
        ("perovskites", perovskites(arguments.data), "crystal"),
    ]:
        fingerprint = Fingerprint.preset(preset, elements_of(structures))
        table[name] = against_dscribe(structures, fingerprint, devices, arguments.seconds)
        peers = [row["per_second"] for key, row in table[name].items() if "DScribe" in key]
        print(
            f"{name}: {len(structures)} structures, {len(fingerprint.descriptor.elements)} elements"
        )
        for key, row in table[name].items():
            ratio = f"{row['per_second'] / max(peers):>8.1f} x" if peers else ""
            spread_of = f"({row['lower']:,.0f} to {row['upper']:,.0f})"
            print(f"  {key:<22}{row['per_second']:>10,.0f} /s {spread_of:<22}{ratio}", flush=True)

    sweeps = {kind: sweep(kind, arguments.seconds) for kind in CELLS}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak:,.0f} MB")
    path = arguments.output / "descriptors.json"
    report = {
        "devices": devices,
        "compilations": count,
        "rates": table,
        "sweeps": sweeps,
        "peak_rss_mb": peak,
        "versions": versions(),
    }
    write_json(path, report)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
