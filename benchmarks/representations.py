"""Representations and their inverses on the same crystals: fingerprints beside images.

    python benchmarks/representations.py perov5_200 --data DIR -o results
    python benchmarks/representations.py mp_200 --data DIR -o results --count 40

Crystals: those of a set (extended XYZ in DIR) whose cells have no edge longer than 10 Angstrom and
whose atoms stay in the box of the images: all 200 of perov5_200, 161 of mp_200.

Representations: the fingerprint `crystal`, SOAP (the preset `soap`), and images, read by the
brightest voxels as Noh et al. (Matter 1, 1370 (2019)) do and by least squares. The search of the
fingerprints knows composition and cell, and has the budget of benchmarks/recovery.py in
loss-and-gradient evaluations a crystal. Images hold the elements, the number of atoms and the cell.

For each: numbers stored and those of them that are not zero (medians), the median and the largest
deviation of a crystal in Angstrom (the root mean square over its atoms; infinite where the
composition is another one), the share of crystals that are certified, and that match tightly and
loosely (jaxrecon/structures/compare.py), and seconds of the inverse alone. Those of a crystal leave
out what JAX compiles: the median of a search, and the mean of images that are read a second time.
The total of all crystals has it for searches.

Output: representations_SET.json, written after every representation.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import jax
import numpy as np
from ase import Atoms
from images import fitting
from recovery import budgeted, costs_by_kind
from recovery_search import searched
from recovery_sets import spread, targets_of
from timing import device_name

from jaxrecon import ReconstructConfig, use_all_cores
from jaxrecon.images import decode, encode
from jaxrecon.runtime.devices import enable_compilation_cache
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.compare import Match, match

SETS = ("perov5_200", "mp_200")
"""Sets of crystals with known structures."""

EDGE = 10.0
"""Longest edge of a cell in Angstrom."""

PRESETS = ("crystal", "soap")
"""Fingerprints that are compared."""


def rows_of(structures: Sequence[Atoms], count: int) -> list[int]:
    """Evenly spaced rows among those whose images can be made."""
    usable = [row for row, atoms in enumerate(structures) if fitting([atoms], EDGE)]
    return [usable[place] for place in spread(len(usable), count)]


def summary(
    numbers: Sequence[int],
    nonzero: Sequence[int],
    matches: Sequence[Match],
    certified: Sequence[bool],
) -> dict[str, Any]:
    """One line of the table."""
    deviations = [each.rmsd for each in matches]
    return {
        "crystals": len(matches),
        "numbers stored": float(np.median(numbers)),
        "of these not zero": float(np.median(nonzero)),
        "median deviation": float(np.median(deviations)),
        "largest deviation": max(deviations),
        "certified": float(np.mean(certified)),
        "tight": float(np.mean([each.tight for each in matches])),
        "loose": float(np.mean([each.loose for each in matches])),
    }


def of_fingerprint(
    preset: str, name: str, data: Path, rows: Sequence[int], budget: float, seed: int
) -> dict[str, Any]:
    """Search for all crystals."""
    words = ",".join(map(str, rows))
    targets = targets_of(name, data, preset=preset, rows=words, count=None)
    costs = costs_by_kind(targets, ReconstructConfig(), 1.0)
    configs = budgeted(ReconstructConfig(), costs, budget)
    started = time.perf_counter()
    trials = searched(targets, configs, costs, seed, lambda trials: None)
    total = time.perf_counter() - started
    matches = [trial.match for trial in trials if trial.match is not None]
    values = [np.asarray(trial.target.values) for trial in trials]
    line = summary(
        [each.size for each in values],
        [int(np.count_nonzero(each)) for each in values],
        matches,
        [trial.certified for trial in trials],
    )
    median = float(np.median([trial.seconds for trial in trials]))
    return {**line, "median seconds": median, "total seconds": total}


def of_images(structures: Sequence[Atoms], method: str) -> dict[str, Any]:
    """Decode the images of all crystals."""
    images = encode(list(structures))
    decode(images, method=method)
    started = time.perf_counter()
    found = decode(images, method=method)
    seconds = time.perf_counter() - started
    matches = [match(truth, one) for truth, one in zip(structures, found, strict=True)]
    nonzero = [int(np.count_nonzero(each.cell) + np.count_nonzero(each.basis)) for each in images]
    certified = [atoms.info["result_code"] == "converged" for atoms in found]
    line = summary([each.size for each in images], nonzero, matches, certified)
    return {**line, "median seconds": seconds / len(images), "total seconds": seconds}


def text(lines: dict[str, dict[str, Any]]) -> str:
    """The table."""
    names = [name for name in next(iter(lines.values())) if name != "crystals"]
    rows = ["| representation | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, line in lines.items():
        rows.append(f"| {name} | " + " | ".join(f"{line[each]:.3g}" for each in names) + " |")
    return "\n".join(rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--count", type=int, default=200, help="number of crystals")
    parser.add_argument("--budget", type=float, default=1e5, help="evaluations a crystal")
    parser.add_argument("--seed", type=int, default=0, help="of the searches")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"representations_{arguments.set}.json"
    devices = use_all_cores()
    enable_compilation_cache()
    every: Any = ase.io.read(arguments.data / f"{arguments.set}.extxyz", ":")
    rows = rows_of(every, arguments.count)
    structures = [every[row] for row in rows]
    report: dict[str, Any] = {
        "set": arguments.set,
        "versions": versions(),
        "device": f"{devices} x {device_name()}",
        "backend": jax.default_backend(),
        "rows": rows,
        "budget": arguments.budget,
        "seed": arguments.seed,
        "representations": {},
    }
    lines = report["representations"]
    for name, method in (("image, argmax", "argmax"), ("image, least squares", "fit")):
        lines[name] = of_images(structures, method)
        write_json(path, report)
    for preset in PRESETS:
        lines[preset] = of_fingerprint(
            preset, arguments.set, arguments.data, rows, arguments.budget, arguments.seed
        )
        write_json(path, report)
    print(text(lines))


if __name__ == "__main__":
    main()
