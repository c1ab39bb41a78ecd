"""Models of local energies: errors beside the publication's, any size, and the speed of a solve.

    python benchmarks/local_energies.py --data DIR -o results

Sections (``--only NAME``):

- ``cgap``: the 26 frames of C-GAP-17 in ``carbon_cgap17_quenched.extxyz``, 20 to learn from and 6
  to test on, five random splits; mean absolute errors of local energies with 4,000 environments.
  Gardner et al., Digital Discovery 2, 651 (2023), have 0.031 eV with 3,100 environments of theirs.
- ``size``: clusters of 8 to 12 platinum atoms (effective medium theory, total energies alone),
  tested on clusters of 13 to 20 atoms, beside the mean energy of an atom as a predictor.
- ``solve``: a sparse kernel beside the same equations in NumPy, both in float64.
- ``predict``: environments a second that a network predicts.

Output: local_energies.json.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import jax
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.optimize import FIRE
from timing import device_name

from jaxrecon import SOAP
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.network import NetworkModel
from jaxrecon.models.local.sparse_kernel import SparseKernel
from jaxrecon.models.registry import LOCAL_MODELS
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions

CARBON = SOAP(
    ("C",), 3.7, 12, 6, 0.5, basis="featomic", cutoff_width=0.5, convention="quippy", normalize=True
)
"""The environments of C-GAP-17; the products of this convention are those of `cgap2017`, once."""


def cgap(data: Path) -> dict[str, Any]:
    """Errors of local energies of amorphous carbon."""
    frames = ase.io.read(data / "carbon_cgap17_quenched.extxyz", ":")
    whole = Environments.of(
        frames, CARBON, energies=[atoms.arrays["gap17_energy"] for atoms in frames]
    )
    assert whole.energies is not None
    config = LocalConfig(points=4000)
    found: dict[str, list[float]] = {name: [] for name in LOCAL_MODELS if name != "deep_kernel"}
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(frames))
        train, test = (whole.select(np.sort(part)) for part in (order[:20], order[20:]))
        assert test.energies is not None
        for name, errors in found.items():
            model = LOCAL_MODELS[name].fit(train, config)
            errors.append(float(np.abs(model.predict(test) - test.energies).mean()))
    rows = {name: [float(np.mean(all_)), float(np.std(all_))] for name, all_ in found.items()}
    return {"spread of the energies": float(whole.energies.std()), **rows}


def clusters(sizes: range, count: int) -> list[Atoms]:
    """Clusters on their way to a minimum of effective medium theory."""
    made = []
    for size in sizes:
        for seed in range(count):
            atoms = random_cluster(f"Pt{size}", 1000 * size + seed)
            atoms.calc = EMT()
            FIRE(atoms, logfile=None).run(fmax=0.05, steps=(10, 30, 100)[seed % 3])
            made.append(atoms)
    return made


def sizes(_: Path) -> dict[str, Any]:
    """Errors of clusters larger than all that were learned from."""
    descriptor: Descriptor = SOAP(("Pt",), 5.5, 6, 4, 0.5, normalize=True)

    def environments(items: list[Atoms]) -> Environments:
        return Environments.of(
            items,
            descriptor,
            totals=[atoms.get_potential_energy() for atoms in items],
            forces=[atoms.get_forces() for atoms in items],
        )

    train, test = (
        environments(clusters(range(8, 13), 60)),
        environments(clusters(range(13, 21), 20)),
    )
    assert train.totals is not None
    assert test.totals is not None
    atoms = test.counts.sum(axis=1)
    mean = float((train.totals / train.counts.sum(axis=1)).mean())
    found = {
        "structures": [len(train.trajectories), len(test.trajectories)],
        "mean energy": float(np.abs(mean - test.totals / atoms).mean()),
    }
    for forces in (False, True):
        config = LocalConfig(points=500, zeta=2, forces=forces)
        model = SparseKernel.fit(train, config)
        errors = (model.totals(test) - test.totals) / atoms
        found[f"kernel, {'with' if forces else 'without'} forces"] = float(np.abs(errors).mean())
    model = NetworkModel.fit(train, LocalConfig(members=4, batch=16))
    found["network, 4 members"] = float(np.abs((model.totals(test) - test.totals) / atoms).mean())
    return found


def synthetic(count: int, numbers: int) -> Environments:
    """Rows of atoms of no structure, with energies that a smooth function gives."""
    rng = np.random.default_rng(0)
    rows = np.abs(rng.normal(size=(count, numbers))) @ np.abs(rng.normal(size=(numbers, numbers)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    energies = np.sin(40.0 * rows[:, :5]).sum(axis=1) + 0.01 * rng.normal(size=count)
    owner, species = np.arange(count), np.full(count, 6)
    return Environments(CARBON, rows, species, owner, energies, None, None, owner)


def solve(_: Path) -> dict[str, Any]:
    """Seconds of the same solve here and in NumPy."""
    whole = synthetic(100_000, 200)
    assert whole.energies is not None
    config = LocalConfig(points=5000, selection="random", zeta=4)
    began = time.perf_counter()
    model = SparseKernel.fit(whole, config)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    points = np.asarray(model.features.points)
    square = float(model.features.amplitude) ** 2
    across = square * (whole.rows @ points.T) ** 4
    own = square * (points @ points.T) ** 4
    own[np.diag_indices_from(own)] *= 1.0 + 1e-10
    lower = np.linalg.cholesky(own)
    white = np.linalg.solve(lower, across.T).T / config.sigma
    rest = (whole.energies - whole.energies.mean()) / config.sigma
    matrix = np.eye(len(points)) + white.T @ white
    weights = np.linalg.solve(matrix, white.T @ rest)
    theirs = time.perf_counter() - began
    expected = white[:1000] @ weights * config.sigma + whole.energies.mean()
    part = whole.sample(np.arange(1000))
    difference = float(np.abs(model.predict(part) - expected).max())
    return {"seconds": ours, "seconds of NumPy": theirs, "largest difference": difference}


def predict(_: Path) -> dict[str, Any]:
    """Environments a second of a network."""
    whole = synthetic(20_000, CARBON.size)
    small = LocalConfig(epochs=1, steps=50)
    model = NetworkModel.fit(whole.sample(np.arange(2000)), small)
    rows = Environments(
        whole.descriptor,
        whole.rows.astype(np.float32),
        whole.species,
        whole.owner,
        whole.energies,
        None,
        None,
        whole.trajectories,
    )
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        model.predict(rows)
        seconds.append(time.perf_counter() - began)
    return {"environments a second": len(rows) / min(seconds)}


SECTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "cgap": cgap,
    "size": sizes,
    "solve": solve,
    "predict": predict,
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=SECTIONS, action="append")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"versions": versions(), "device": device_name()}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or SECTIONS:
        report[name] = SECTIONS[name](arguments.data)
        print(name, report[name], flush=True)
        write_json(arguments.output / "local_energies.json", report)
        jax.clear_caches()


if __name__ == "__main__":
    main()
