"""Make the Pt10 clusters that come with the package, from nothing.

    python benchmarks/embedded_pt10.py -o made --jobs 2

1. Some more than 10,000 clusters, relaxations and perturbed copies, labelled by 7net-mf-0
   (`jaxrecon dataset build`): pool.npz.
2. 300 of them judged by PBE in GPAW (`jaxrecon judge`): 150 furthest points of all, and 150
   furthest points of what lies below 2.2 eV/atom or is a perturbed copy: pbe.extxyz.
3. What the potential is off PBE, as a straight line in its energy and a Gaussian process in the
   fingerprint for the rest, judged on tenths that were left out: calibration.json.
4. Those of corrected energies up to 3.7 eV/atom: pt10.npz, to be put into jaxrecon/datasets/data/.

It takes hours, and goes on where it was interrupted. The packages sevenn and gpaw are needed, and
scikit-learn.

Columns of the set: e_form_potential, what the potential says (eV/atom); e_form_spread, standard
deviation of the correction; e_form_pbe, where it is known; pbe_furthest and pbe_low, the two parts
of the 300. Energies and forces are those of the potential.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxrecon import Fingerprint, featurize, use_all_cores
from jaxrecon.datasets import LabelledSet, io
from jaxrecon.datasets.build import build
from jaxrecon.datasets.judge import judge
from jaxrecon.datasets.labels import LabelStore
from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.plotting_data import agreement

SYMBOLS, POTENTIAL, REFERENCE = "Pt10", "sevennet", "gpaw"
POOL, REFERENCES = 10_500, 300
HIGHEST, HIGHEST_OF_POOL = 3.7, 3.95
"""eV/atom: the pool has more, as its energies are corrected afterwards."""

LOW = 2.2
"""eV/atom of the potential, below which half of the references are taken, or perturbed copies."""

FOLDS = 10
RANGES = np.arange(1.6, 4.81, 0.4)
"""Of energies in eV/atom in which errors are averaged."""

Correction = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Fingerprints and energies of the potential, to PBE energies and their standard deviations."""


def references_of(pool: LabelledSet, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which are to be judged by PBE: the furthest points of all, then those of the low ones."""
    spread = furthest_points(values, REFERENCES // 2)
    copies = ~np.isin(pool.kinds, ["minimum", "intermediate"])
    others = np.flatnonzero((pool.formation_energies < LOW) | copies)
    others = np.setdiff1d(others, spread)
    return spread, others[furthest_points(values[others], REFERENCES - len(spread))]


def corrected(
    values: np.ndarray, potential: np.ndarray, pbe: np.ndarray, *, process: bool
) -> Correction:
    """Fit PBE energies: a straight line in the potential's, and a Gaussian process for the rest."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    slope, offset = np.polyfit(potential, pbe, 1)
    centre, width = values.mean(axis=0), values.std(axis=0)
    alive = width > 1e-6
    left = pbe - (slope * potential + offset)
    kernel = ConstantKernel(0.01) * RBF(10.0, (1.0, 1e3)) + WhiteKernel(1e-3, (1e-6, 1e-1))
    regressor = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)

    def inputs(values: np.ndarray, potential: np.ndarray) -> np.ndarray:
        energy = (potential - potential_mean) / potential_width
        return np.hstack([((values - centre) / width)[:, alive], energy[:, None]])

    potential_mean, potential_width = potential.mean(), potential.std()
    if process:
        regressor.fit(inputs(values, potential), left)

    def predict(values: np.ndarray, potential: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        line = slope * potential + offset
        if not process:
            return line, np.full(len(line), left.std())
        more, spread = regressor.predict(inputs(values, potential), return_std=True)
        return line + more, spread

    return predict


def left_out(
    values: np.ndarray,
    potential: np.ndarray,
    pbe: np.ndarray,
    trajectories: np.ndarray,
    *,
    process: bool,
) -> np.ndarray:
    """Predictions for each tenth of the trajectories from the nine others."""
    names, member = np.unique(trajectories, return_inverse=True)
    folds = np.random.default_rng(0).permutation(len(names))[member] % FOLDS
    found = np.empty(len(pbe))
    for fold in range(FOLDS):
        test = folds == fold
        fit = corrected(values[~test], potential[~test], pbe[~test], process=process)
        found[test] = fit(values[test], potential[test])[0]
    return found


def calibration(
    values: np.ndarray, potential: np.ndarray, pbe: np.ndarray, trajectories: np.ndarray
) -> dict[str, Any]:
    """Errors of the potential as it is and corrected, in all and by range of energy; printed."""
    estimates = {
        "potential": potential,
        "line": left_out(values, potential, pbe, trajectories, process=False),
        "line and process": left_out(values, potential, pbe, trajectories, process=True),
    }
    report: dict[str, Any] = {}
    for name, estimate in estimates.items():
        error = estimate - pbe
        ranges = [each._asdict() for each in agreement(estimate, pbe, RANGES)]
        report[name] = {
            "mae": float(np.abs(error).mean()),
            "bias": float(error.mean()),
            "ranges": ranges,
        }
        biases = ", ".join(
            f"{each['low']:.1f}-{each['high']:.1f}: {each['bias']:+.3f} ({each['structures']})"
            for each in ranges
        )
        print(f"{name}: MAE {report[name]['mae']:.3f}, bias {error.mean():+.3f} eV/atom; {biases}")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("made"), metavar="DIR")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    folder, jobs = arguments.output, arguments.jobs
    folder.mkdir(parents=True, exist_ok=True)
    use_all_cores()

    store = LabelStore(folder / "pool.db", resume=True)
    pool = build(
        SYMBOLS,
        POOL,
        calculator=POTENTIAL,
        max_e_form=HIGHEST_OF_POOL,
        jobs=jobs,
        store=store,
        progress=True,
    )
    pool.write(folder / "pool.npz")
    assert pool.structures is not None
    values = featurize(pool.structures, Fingerprint.preset("default", ["Pt"]))
    spread, low = references_of(pool, values)
    chosen = np.concatenate([spread, low])
    judged = judge(
        [pool.structures[row] for row in chosen],
        REFERENCE,
        jobs=jobs,
        store=LabelStore(folder / "pbe.db", resume=True),
        progress=True,
    )
    io.write_structures(folder / "pbe.extxyz", judged.structures)
    known = np.array([atoms.info.get("e_form", np.nan) for atoms in judged])
    there = np.isfinite(known)
    rows, pbe = chosen[there], known[there]

    potential = pool.formation_energies
    report = calibration(values[rows], potential[rows], pbe, pool.trajectories[rows])
    fit = corrected(values[rows], potential[rows], pbe, process=True)
    energies, deviations = fit(values, potential)
    references = np.full(len(pool), np.nan)
    references[rows] = pbe
    everything = replace(
        pool,
        formation_energies=energies,
        columns={
            "e_form_potential": potential,
            "e_form_spread": deviations,
            "e_form_pbe": references,
            "pbe_furthest": np.isin(np.arange(len(pool)), spread),
            "pbe_low": np.isin(np.arange(len(pool)), low),
        },
        metadata={**pool.metadata, "pbe": judged.metadata, "calibration": report},
    )
    kept = everything.select(np.flatnonzero(energies <= HIGHEST))
    kept.write(folder / "pt10.npz")
    io.write_json(folder / "calibration.json", {"structures": len(kept), **report})
    print(f"{len(kept)} clusters in {folder / 'pt10.npz'}")


if __name__ == "__main__":
    main()
