"""Whether structures are as near to the truth as their certificates say, on all sets.

    python benchmarks/position_errors.py --data DIR --targets 30 -o results
    python benchmarks/position_errors.py perov5_200 --data DIR --fingerprint soap

No structures are searched for: each true one is displaced by 0.01 Angstrom, and descends again by
3 to 20 Levenberg-Marquardt steps, and to the end of polishing. So it stops at many residuals, as
the results of searches do. Cells of crystals are known, each has the preset of its set.

Prints a line for each set: how many structures, and how many of them have a position error of at
most 1e-4 Angstrom when polishing ends; of all stops on the way with a residual of at most 1e-6, in
how many the deviation (RMSD) is within the stated error, in how many the error is at most ten times
the deviation, the median of error over deviation, and the seconds that a certificate and polishing
take in the median, some with compiling.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from recovery_sets import SETS, Target, targets_of

from jaxrecon import ReconstructConfig, rmsd
from jaxrecon.runtime.files import write_json
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.compiled import compiled_polish
from jaxrecon.search.levenberg_marquardt import DAMPING_START
from jaxrecon.search.polishing import certificate_of, polished
from jaxrecon.search.problems import Problem, on_device

DISPLACED = 0.01
"""Standard deviation of each coordinate at the start, in Angstrom."""

STEPS = (3, 4, 5, 6, 8, 10, 12, 14, 17, 20)
"""Numbers of Levenberg-Marquardt steps after which there are stops, before polishing."""

EXACT = 1e-8
"""Deviation in Angstrom below which the alignment of two structures is round-off."""

NAMES = ("prototypes", "pt10_pbe1000", "qm7_500", "perov5_200", "mp_200")
"""Sets with structures, all but those whose searches are expensive for other reasons."""


class Stop(NamedTuple):
    """A structure on its way: the residual, the error it states, and how far it really is."""

    residual: float
    position_error: float
    deviation: float
    last: bool


def problem_of(target: Target) -> Problem:
    cell = None if target.cell is None else np.asarray(target.cell)
    composition = list(target.symbols)
    [[problem]] = problems_of(target.values, target.fingerprint, [composition], cell, None, None)
    return problem


def stops(target: Target, seed: int, took: dict[str, list[float]]) -> Iterator[Stop]:
    """Descend to one target and look at the structure now and then."""
    truth, config = target.truth, ReconstructConfig()
    assert truth is not None
    truth = truth[[int(i) for i in _order(truth.get_chemical_symbols(), target.symbols)]]
    problem = problem_of(target)
    start = truth.copy()
    random = np.random.default_rng(seed)
    start.positions += DISPLACED * random.normal(size=start.positions.shape)
    displaced = problem.coordinates(start)
    for steps in (*STEPS, None):
        last = steps is None
        begun = time.perf_counter()
        if last:
            coordinates, residual, _ = polished(problem, config, displaced)
            took["polishing"].append(time.perf_counter() - begun)
        else:
            with jax.enable_x64(True):
                program = compiled_polish(
                    problem.searched_fingerprint, config.compiled, problem.group
                )
                begin, count = on_device(displaced, np.float64), on_device(steps, np.int32)
                damping = on_device(DAMPING_START, np.float64)
                found = program(problem.task(np.float64), begin, None, count, damping)
                coordinates, residual = np.asarray(found[0]), float(found[1])
        atoms = problem.atoms(coordinates)
        if residual > config.tolerance:
            continue
        begun = time.perf_counter()
        certificate = certificate_of(problem, config, atoms, residual)
        took["certificate"].append(time.perf_counter() - begun)
        if certificate is not None:
            yield Stop(residual, certificate.position_error, rmsd(truth, atoms), last)


def _order(own: list[str], wanted: tuple[str, ...]) -> Iterator[int]:
    """Places of atoms in the order of the target's symbols."""
    left = {symbol: [i for i, other in enumerate(own) if other == symbol] for symbol in set(own)}
    for symbol in wanted:
        yield left[symbol].pop(0)


def summary(targets: int, found: list[Stop], took: dict[str, list[float]]) -> dict[str, Any]:
    """The figures of one set."""
    errors = np.array([stop.position_error for stop in found])
    deviations = np.array([stop.deviation for stop in found])
    measured = deviations > EXACT
    ratios = errors[measured] / deviations[measured] if measured.any() else np.ones(1)
    limit = ReconstructConfig.position_tolerance
    return {
        "structures": targets,
        "converged": sum(stop.position_error <= limit for stop in found if stop.last),
        "uncertain": sum(stop.position_error > limit for stop in found if stop.last),
        "stops": len(found),
        "within the error": float(np.mean(deviations <= errors + EXACT)),
        "at most ten times": float(np.mean(ratios <= 10.0)),
        "median ratio": float(np.median(ratios)),
        "certificate (s)": float(np.median(took["certificate"])),
        "polishing (s)": float(np.median(took["polishing"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sets", nargs="*", default=NAMES, metavar="SET")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the files")
    parser.add_argument("--targets", type=int, metavar="K", default=30, help="evenly spaced rows")
    parser.add_argument("--fingerprint", metavar="NAME", help="preset for all; see recovery.py")
    parser.add_argument("--output", "-o", type=Path, help="folder for the numbers")
    arguments = parser.parse_args()
    report: dict[str, Any] = {}
    for name in arguments.sets:
        count = min(arguments.targets, SETS[name].count)
        targets = targets_of(
            name, arguments.data, preset=arguments.fingerprint, rows=None, count=count
        )
        took: dict[str, list[float]] = {"certificate": [], "polishing": []}
        found = [stop for each in targets for stop in stops(each, each.row, took)]
        own = report[name] = summary(len(targets), found, took)
        print(
            f"{name:13s} {own['structures']:3d} structures: {own['converged']} converged, "
            f"{own['uncertain']} uncertain; {own['stops']} stops, "
            f"{100 * own['within the error']:.1f} % within the error, "
            f"{100 * own['at most ten times']:.0f} % at most ten times less, median ratio "
            f"{own['median ratio']:.1f}; certificate {own['certificate (s)']:.3f} s, polishing "
            f"{own['polishing (s)']:.3f} s",
            flush=True,
        )
        report[name]["stops on the way"] = [stop._asdict() for stop in found]
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        write_json(arguments.output / "position_errors.json", report)


if __name__ == "__main__":
    main()
