"""How exactly and how fast crystals come back from their images.

    python benchmarks/images.py --data DIR -o results

Sets: mp_200 and perov5_200 (accuracy), the first 1,000 of mp_3000 that fit into the box (time), as
extended XYZ in DIR. A crystal fits if no edge of its cell is longer than --edge and its atoms stay
in the box.

cells    the largest error of a cell, in Angstrom, read from all voxels and from six directions.
argmax   the mean distance of atoms from where the brightest voxels are, in Angstrom, as Noh et al.
         (Matter 1, 1370 (2019)) read them: 0.11 there.
fit      the largest deviation of an atom, in Angstrom, by least squares; of crystals whose like
         atoms are more than 1 Angstrom apart, and of all others.
grids    the same for smaller grids, with the standard deviation of the Gaussians chosen among a
         few: the smallest grid whose crystals all come back within 1e-3 and 1e-6 Angstrom.
speed    seconds to encode and to decode 1,000 crystals, compilation included.

Bars: cells 1e-6; argmax 0.11 +- 0.01; fit 1e-3 for all with like atoms more than 1 Angstrom apart
(moonshot 1e-6); grids stated (moonshot 24); speed 60 s on 2 cores.

Output: images.json.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import jax
import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from scipy.optimize import linear_sum_assignment
from timing import device_name

from jaxrecon.images import ImageParameters, decode, encode
from jaxrecon.images.cells import cells_of_directions, fit_cells
from jaxrecon.images.encode import frame_of
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.formulas import elements_of

GRIDS = (64, 48, 32, 24, 20, 18, 16, 14, 12)
RATIOS = (0.55, 0.7, 0.85, 1.0)
"""Standard deviations to choose from, in distances of two voxels."""

LIKE = 1.0
"""Distance of like atoms in Angstrom from which on a crystal has to come back."""

CLOSE, EXACT = 1e-3, 1e-6
"""Deviations in Angstrom of the bar and of the moonshot."""


def fitting(
    structures: Sequence[Atoms], edge: float, parameters: ImageParameters | None = None
) -> list[Atoms]:
    """The crystals that fit into the box, with cells up to a length."""
    kept = []
    for atoms in structures:
        if atoms.cell.lengths().max() > edge:
            continue
        try:
            frame_of(atoms, elements_of([atoms]), parameters or ImageParameters())
        except ValueError:
            continue
        kept.append(atoms)
    return kept


def deviations(found: Atoms, truth: Atoms) -> np.ndarray:
    """Distances of the atoms of a crystal from those of the truth, best translation, in Angstrom.

    Both are in the standard orientation of the cell of the truth; infinite if atoms are missing.
    """
    if sorted(found.numbers) != sorted(truth.numbers):
        return np.full(len(truth), np.inf)
    cell, rotation = truth.cell.standard_form()
    own = truth.positions @ np.asarray(rotation).T
    ordered = np.argsort(found.numbers, kind="stable")
    true = np.argsort(truth.numbers, kind="stable")
    same = found.numbers[ordered][:, None] == truth.numbers[true]
    x, y = found.positions[ordered], own[true]
    # The first atom of the rarest element is any of those of the truth; then the mean is removed.
    rare = int(np.argmin(same.sum(axis=1)))
    best = np.full(len(truth), np.inf)
    for partner in np.flatnonzero(same[rare]):
        shift = y[partner] - x[rare]
        for _ in range(2):
            vectors, lengths = get_distances(x + shift, y, cell=cell, pbc=True)
            rows, columns = linear_sum_assignment(np.where(same, lengths**2, 1e6))
            shift = shift + vectors[rows, columns].mean(axis=0)
        vectors = vectors[rows, columns] - vectors[rows, columns].mean(axis=0)
        here = np.linalg.norm(vectors, axis=1)
        if here.max() < best.max():
            best = here
    return best


def like_distance(atoms: Atoms) -> float:
    """The smallest distance of like atoms in the box of the image, in Angstrom."""
    near = atoms.get_all_distances(mic=True) + 99.0 * np.eye(len(atoms))
    return float(np.where(atoms.numbers[:, None] == atoms.numbers, near, 99.0).min())


def of_cells(structures: Sequence[Atoms]) -> dict[str, float]:
    """The largest errors of the components of cells in Angstrom."""
    parameters = ImageParameters()
    truth = np.stack([np.asarray(atoms.cell.standard_form()[0]) for atoms in structures])
    images = np.stack([image.cell for atoms in structures for image in [encode(atoms, parameters)]])
    directions = cells_of_directions(images, parameters)[0]
    fitted = np.concatenate(
        [
            fit_cells(images[start : start + 8], parameters).cells
            for start in range(0, len(images), 8)
        ]
    )
    return {
        "crystals": len(structures),
        "all voxels": float(np.abs(fitted - truth).max()),
        "six directions": float(np.abs(directions - truth).max()),
    }


def of_brightest(structures: Sequence[Atoms]) -> dict[str, float]:
    """Mean distance of the brightest voxel of an atom from the atom in the box, in Angstrom.

    The atoms that least squares find at round-off stand for the true ones, as they are in the same
    box.
    """
    distances: list[float] = []
    for start in range(0, len(structures), 64):
        images = encode(structures[start : start + 64])
        for rough, exact in zip(decode(images, method="argmax"), decode(images), strict=True):
            if exact.info["residual"] > 1e-5 or len(rough) != len(exact):
                continue
            lengths = get_distances(rough.positions, exact.positions)[1]
            rows, columns = linear_sum_assignment(lengths**2)
            distances.extend(lengths[rows, columns])
    return {"atoms": len(distances), "mean": float(np.mean(distances)), "largest": max(distances)}


def of_fit(structures: Sequence[Atoms], parameters: ImageParameters) -> dict[str, Any]:
    """Largest deviations, of crystals whose like atoms are apart and of the others."""
    found: list[Atoms] = []
    for start in range(0, len(structures), 64):
        found += decode(encode(structures[start : start + 64], parameters))
    pairs = zip(found, structures, strict=True)
    worst = np.array([deviations(one, atoms).max() for one, atoms in pairs])
    apart = np.array([like_distance(atoms) > LIKE for atoms in structures])
    codes = [one.info["result_code"] == "converged" for one in found]
    return {
        "crystals": int(apart.sum()),
        "largest": float(worst[apart].max()),
        "within 1e-3": int((worst[apart] <= CLOSE).sum()),
        "within 1e-6": int((worst[apart] <= EXACT).sum()),
        "converged": int(np.sum(np.array(codes)[apart])),
        "nearer than 1 A": int((~apart).sum()),
        "of these within 1e-3": int((worst[~apart] <= CLOSE).sum()),
    }


def of_grids(structures: Sequence[Atoms], grids: Sequence[int]) -> dict[str, Any]:
    """For each grid the best of a few standard deviations, until no crystal comes back."""
    results: dict[str, Any] = {}
    for grid in grids:
        tried = {}
        for ratio in RATIOS:
            sigma = ratio * 15.0 / grid
            if sigma < 0.2:
                continue
            parameters = ImageParameters(basis_grid=grid, sigma=sigma)
            # On a coarse grid, the outermost voxels with neighbours are further from the surface.
            some = fitting(structures, parameters.box, parameters)
            tried[round(sigma, 4)] = of_fit(some, parameters)
        sigma = max(tried, key=lambda key: (tried[key]["within 1e-3"], tried[key]["within 1e-6"]))
        results[str(grid)] = {"sigma": sigma, **tried[sigma]}
        print(f"grid {grid}, sigma {sigma}: {tried[sigma]}", flush=True)
        if tried[sigma]["within 1e-3"] < 0.5 * tried[sigma]["crystals"]:
            break
    return results


def of_speed(structures: Sequence[Atoms]) -> dict[str, float]:
    """Seconds for all, with what JAX compiles meanwhile."""
    seconds = {"encode": 0.0, "decode": 0.0}
    exact = 0
    for start in range(0, len(structures), 100):
        began = time.perf_counter()
        images = encode(structures[start : start + 100])
        middle = time.perf_counter()
        found = decode(images)
        seconds["encode"] += middle - began
        seconds["decode"] += time.perf_counter() - middle
        exact += sum(atoms.info["result_code"] == "converged" for atoms in found)
    return {"crystals": len(structures), "converged": exact, **seconds}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--edge", type=float, default=10.0, help="longest edge, in Angstrom")
    parser.add_argument("--count", type=int, default=1000, help="crystals whose time is measured")
    parser.add_argument("--grids", type=int, nargs="+", default=GRIDS, help="grids to try")
    parts = ("cells", "argmax", "fit", "grids", "speed")
    parser.add_argument("--only", choices=parts, nargs="+", default=parts)
    arguments = parser.parse_args()

    def read(name: str) -> list[Atoms]:
        return fitting(ase.io.read(arguments.data / f"{name}.extxyz", ":"), arguments.edge)

    report: dict[str, Any] = {"versions": versions(), "device": device_name(), "sets": {}}
    report["devices"] = jax.local_device_count()
    arguments.output.mkdir(parents=True, exist_ok=True)
    # The time is measured first, before other parts have compiled anything.
    if "speed" in arguments.only:
        some = read("mp_3000")[: arguments.count]
        report["speed"] = of_speed(some)
        print(f"speed: {report['speed']}", flush=True)
    measures: dict[str, Callable[[Sequence[Atoms]], dict[str, Any]]] = {
        "cells": of_cells,
        "argmax": of_brightest,
        "fit": lambda structures: of_fit(structures, ImageParameters()),
        "grids": lambda structures: of_grids(structures, arguments.grids),
    }
    for name in ("mp_200", "perov5_200"):
        structures = read(name)
        print(f"{name}: {len(structures)} crystals fit")
        report["sets"][name] = {}
        for part, measure in measures.items():
            if part in arguments.only:
                report["sets"][name][part] = measure(structures)
                print(f"{name}, {part}: {report['sets'][name][part]}", flush=True)
                write_json(arguments.output / "images.json", report)
    write_json(arguments.output / "images.json", report)


if __name__ == "__main__":
    main()
