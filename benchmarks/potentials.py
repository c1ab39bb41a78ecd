"""The potentials in JAX: how right their energies are, and how fast beside the originals.

    python benchmarks/potentials.py --data DIR --weights nequix-oam-1-pft.nqx --output found.json

``--data`` is the folder of the published data sets. Without ``--weights`` only Tersoff is measured.
Nequix is compared with PBE: with VASP on 1,000 clusters of platinum, with GPAW on the 300 of the
set ``pt10_pbe``. The peers are ASE's Tersoff calculator and the calculator of the package nequix,
both called for one structure after the other, in the same run. Times exclude compiling, which is
timed apart, and include the preparation of structures on both sides.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from timing import device_name

from jaxrecon import datasets
from jaxrecon.potentials.energies import bulk_energy
from jaxrecon.potentials.potential import Potential
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.potentials.single_points import SinglePoint, single_points
from jaxrecon.potentials.tersoff import SILICON_CARBIDE, Tersoff

ALONE = 60
"""Structures that are computed one after the other."""


def one_by_one(structures: Sequence[Atoms], calculator: Any) -> list[SinglePoint]:
    """What a calculator of ASE says of each structure."""
    found = []
    for atoms in structures:
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        copy.calc = calculator
        energy, forces = copy.get_potential_energy(), copy.get_forces()
        energies = np.asarray(calculator.results.get("energies", np.zeros(len(copy))))
        found.append(
            SinglePoint(
                energy,
                energies,
                np.asarray(forces, np.float64),
                copy.get_stress() if atoms.pbc.all() else None,
            )
        )
    return found


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """The shortest time of some calls in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def compared(structures: Sequence[Atoms], potential: Potential, calculator: Any) -> dict[str, Any]:
    """Times of both ways, and the largest differences of their results."""
    few = structures[: min(ALONE, len(structures))]
    first = seconds(lambda: single_points(structures, potential), 1)
    first_alone = seconds(lambda: one_by_one(few[:1], calculator), 1)
    together = seconds(lambda: single_points(structures, potential))
    alone = seconds(lambda: one_by_one(few, calculator), 1)
    atoms, few_atoms = sum(map(len, structures)), sum(map(len, few))
    return {
        "structures": len(structures),
        "atoms": atoms,
        "milliseconds": 1e3 * together / len(structures),
        "milliseconds of the peer": 1e3 * alone / len(few),
        "atoms per second": atoms / together,
        "atoms per second of the peer": few_atoms / alone,
        "times faster": (alone / few_atoms) / (together / atoms),
        "first call": first,
        "first call of the peer": first_alone,
        "differences": differences(few, potential, calculator),
    }


def differences(
    structures: Sequence[Atoms], potential: Potential, calculator: Any
) -> dict[str, float]:
    """Largest absolute differences: eV/atom, eV/Angstrom and eV/Angstrom^3."""
    pairs = list(
        zip(
            single_points(structures, potential),
            one_by_one(structures, calculator),
            strict=True,
        )
    )
    stresses = [
        np.abs(ours.stress - theirs.stress).max()
        for ours, theirs in pairs
        if ours.stress is not None
    ]
    return {
        "energy": max(abs(o.energy - t.energy) / len(o.energies) for o, t in pairs),
        "forces": max(float(np.abs(o.forces - t.forces).max()) for o, t in pairs),
        "stress": float(max(stresses, default=0.0)),
    }


def of_vasp(frames: Sequence[Atoms], potential: Potential) -> dict[str, float]:
    """Errors in eV/atom against the energies of VASP, after one constant."""
    found = np.array(
        [point.energy / len(point.energies) for point in single_points(frames, potential)]
    )
    wanted = np.array([atoms.info["dft_energy"] / len(atoms) for atoms in frames])
    errors = found - wanted
    return {
        "clusters": len(frames),
        "constant": float(np.mean(errors)),
        "mae": float(np.abs(errors - np.mean(errors)).mean()),
        "r": float(np.corrcoef(found, wanted)[0, 1]),
    }


def of_gpaw(name: str) -> dict[str, float]:
    """Errors in eV/atom and eV/Angstrom against the set ``pt10_pbe``."""
    labelled = datasets.load("pt10_pbe")
    reference = reference_calculator(name)
    points = single_points(labelled.structures, reference.potential)
    lowest = bulk_energy("Pt", reference)
    found = np.array([point.energy / len(point.energies) - lowest for point in points])
    wanted = np.asarray(labelled.formation_energies)
    line = np.polynomial.Polynomial.fit(found, wanted, 1)
    forces = np.concatenate([point.forces for point in points])
    true = np.concatenate(list(labelled.forces))
    return {
        "clusters": len(points),
        "mae": float(np.abs(found - wanted).mean()),
        "mae after a line": float(np.abs(line(found) - wanted).mean()),
        "rms of force errors": float(np.sqrt(np.mean((forces - true) ** 2))),
        "rms of forces": float(np.sqrt(np.mean(true**2))),
    }


def tersoff(frames: Sequence[Atoms]) -> dict[str, Any]:
    """Amorphous carbon, beside ASE's calculator, which is written in Python."""
    from ase.calculators.tersoff import Tersoff as OfASE
    from ase.calculators.tersoff import TersoffParameters

    entries = {key: TersoffParameters(*values) for key, values in SILICON_CARBIDE.items()}
    return compared(frames, Tersoff(), OfASE(entries))


def nequix(data: Path, weights: Path) -> dict[str, Any]:
    """Clusters of platinum and a few crystals, beside the calculator of the package."""
    name = f"nequix:{weights}"
    started = time.perf_counter()
    potential = reference_calculator(name).potential
    loading = time.perf_counter() - started
    from nequix.calculator import NequixCalculator

    own = NequixCalculator(model_path=str(weights), use_kernel=False)
    clusters = read(data / "pt10_pbe1000.extxyz", ":")
    crystals = [
        read(data / "perov5_200.extxyz", 0),
        read(data / "carbon24_val.extxyz", 0),
        bulk("SiC", "zincblende", a=4.36, cubic=True),
    ]
    for atoms in crystals:
        atoms.rattle(0.05, seed=0)
    return {
        "weights": weights.name,
        "seconds to load": loading,
        "vasp": of_vasp(clusters, potential),
        "gpaw": of_gpaw(name),
        "speed": compared(clusters[:256], potential, own),
        "crystals": differences(crystals, potential, own),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, help="weights of Nequix")
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "device": device_name(),
        "devices": jax.local_device_count(),
        "tersoff": tersoff(read(options.data / "carbon_cgap17_quenched.extxyz", ":")),
    }
    if options.weights is not None:
        found["nequix"] = nequix(options.data, options.weights)
    text = json.dumps(found, indent=2)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
