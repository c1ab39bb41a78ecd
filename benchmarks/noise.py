"""How well structures are recovered from numbers with errors, and whether error bars hold.

    python benchmarks/noise.py --data DIR --targets 20 -o results

The numbers of true structures get normal errors of 1e-6 to 1e-2 of their root mean square, the same
for all numbers of a structure, and the search is told so. Free structures have the fingerprint
default, crystals crystal with known cells.

Prints a line for each set and noise: how many targets are solved within their noise, how many of
these are the true structure (an RMSD of at most 0.3 Angstrom) and how many of these lie within
twice the stated standard deviation of the atom that is held least; the medians of the RMSD and of
the stated one over all atoms. Draws both against the noise.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from recovery_sets import Target, targets_of

from jaxrecon import reconstruct, rmsd, use_all_cores
from jaxrecon.plotting.canvas import COLORS, Canvas, save
from jaxrecon.runtime.files import write_json

SETS = ("pt10_pbe1000", "qm7_500", "perov5_200")
LEVELS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Standard deviations of the errors, in units of the root mean square of the numbers."""

TRUE = 0.3
"""RMSD in Angstrom up to which a structure is the true one, moved by noise."""


def recovered(targets: list[Target], level: float, hops: int) -> dict[str, Any]:
    """Add noise of one level to all targets and search for them."""
    values, noises = [], []
    for target in targets:
        noise = level * float(np.sqrt((target.values**2).mean()))
        random = np.random.default_rng(target.row)
        values.append(target.values + noise * random.normal(size=len(target.values)))
        noises.append(np.full(len(target.values), noise))
    found = reconstruct(
        values,
        [target.fingerprint for target in targets],
        symbols=[list(target.symbols) for target in targets],
        cell=[target.cell for target in targets],
        noise=noises,
        hops=hops,
    )
    apart, bars, largest = [], [], []
    for target, result in zip(targets, found, strict=True):
        if result.code.solved and result.certificate is not None:
            assert target.truth is not None
            apart.append(rmsd(target.truth, result.atoms))
            bars.append(float(np.sqrt(np.square(result.certificate.error_bars).mean())))
            largest.append(result.position_error)
    deviations, true = np.array(apart), np.array(apart) <= TRUE
    return {
        "noise": level,
        "targets": len(targets),
        "solved": len(apart),
        "true": int(true.sum()),
        "within": int((deviations[true] <= 2.0 * np.array(largest)[true]).sum()),
        "rmsd": float(np.median(deviations[true])) if true.any() else None,
        "error bar": float(np.median(np.array(bars)[true])) if true.any() else None,
    }


def draw(report: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Deviations and error bars against noise, a colour for each set."""
    figure = Canvas(5.0, 3.6)
    ax = figure.add_subplot()
    for number, (name, rows) in enumerate(report.items()):
        rows = [row for row in rows if row["rmsd"] is not None]
        noise, colour = [row["noise"] for row in rows], COLORS[number]
        ax.loglog(noise, [row["rmsd"] for row in rows], "o-", color=colour, label=name)
        ax.loglog(noise, [row["error bar"] for row in rows], "--", color=colour)
    ax.set_xlabel("noise / root mean square of the numbers")
    ax.set_ylabel("RMSD (Å); dashed: stated")
    ax.legend(frameon=False)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="folder of sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--targets", type=int, default=20, metavar="K", help="evenly spaced rows")
    parser.add_argument("--hops", type=int, default=30, help="of the search for each target")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"), help="folder")
    arguments = parser.parse_args()
    use_all_cores()
    report: dict[str, list[dict[str, Any]]] = {}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        targets = targets_of(name, arguments.data, preset=None, rows=None, count=arguments.targets)
        for level in LEVELS:
            row = recovered(targets, level, arguments.hops)
            report.setdefault(name, []).append(row)
            middle = "none" if row["rmsd"] is None else f"{row['rmsd']:.1e}"
            stated = "none" if row["error bar"] is None else f"{row['error bar']:.1e}"
            print(
                f"{name:13s} noise {level:.0e}: {row['solved']} of {row['targets']} solved, "
                f"{row['true']} of them true, {row['within']} of these within two error bars; "
                f"RMSD {middle} A, stated {stated} A",
                flush=True,
            )
            write_json(arguments.output / "noise.json", report)
    draw(report, arguments.output / "noise.png")


if __name__ == "__main__":
    main()
