"""Make the Pt10 clusters that come with the package, from nothing.

    python benchmarks/embedded_pt10.py -o made --jobs 2

1. Some 10,500 clusters, relaxations and perturbed copies, labelled by 7net-mf-0
   (`jaxrecon dataset build`): pool.npz.
2. 200 of them judged by PBE in GPAW (`jaxrecon judge`): 150 furthest points of all, and 50 furthest
   points of what lies below 2.2 eV/atom or is a perturbed copy.
3. What the potential has as minima is not what PBE has. So, twice, a Gaussian process is fitted to
   the energies and forces of PBE so far, 20 clusters are guided by it to energies between 1.75 and
   2.25 eV/atom, and judged by PBE too. The five lowest are relaxed by PBE, ten steps each; and with
   what they tell of the bottom, ten more are guided to energies between 1.75 and 1.95 eV/atom.
4. Perturbed copies of these 100, labelled by 7net-mf-0.
5. What the potential is off PBE, as a straight line in its energy and a Gaussian process in the
   fingerprint for the rest of energies and forces, judged on tenths that were left out:
   calibration.json.
6. Those of corrected energies up to 3.7 eV/atom: pt10.npz, and the 300 with energies and forces of
   PBE: pt10_pbe.npz; to be put into jaxrecon/datasets/data/.

It takes hours, and goes on where it was interrupted. The packages sevenn and gpaw are needed.

Energies and forces are those of PBE in pt10_pbe.npz, and what the corrected potential takes for
those of PBE in pt10.npz. Columns of that: e_form_potential, what the potential says (eV/atom);
e_form_spread, standard deviation of the correction; e_form_pbe, where it is known. Column of both:
part, which of the above a cluster is: "furthest", "low", "guided" or "relaxed" of those that PBE
has judged, "" else.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pbe_correction import Correction, Known, calibration, smooth

from jaxrecon import Fingerprint, featurize, reconstruct, use_all_cores
from jaxrecon.datasets import LabelledSet, to_frames, write_labelled
from jaxrecon.datasets.build import build
from jaxrecon.datasets.perturbations import perturbed
from jaxrecon.datasets.relaxations import Relaxing, descent
from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.models.examples import Examples
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore, Work, digest
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.files import write_json
from jaxrecon.search.guidance import Guidance
from jaxrecon.structures.io import read_structures, write_structures

SYMBOLS, POTENTIAL, REFERENCE = "Pt10", "sevennet", "gpaw"
POOL, FURTHEST, LOWER = 10_500, 150, 50
GUIDED = (20, (1.75, 2.25)), (20, (1.75, 2.25)), (10, (1.75, 1.95))
"""Rounds: how many clusters are guided to energies between what, in eV/atom."""

RELAXED, DESCENT = 5, Relaxing(steps=10, frames=11)
"""After the last round but one: the lowest of those that were guided."""

COPIES = 1_000
"""Perturbed copies of guided and relaxed clusters."""

HIGHEST, HIGHEST_OF_POOL = 3.7, 3.95
"""eV/atom: the pool has more, as its energies are corrected afterwards."""

LOW = 2.2
"""eV/atom of the potential."""

FINGERPRINT = Fingerprint.preset("fung2022", ["Pt"], poolings=("mean", "moment2"))
"""By which clusters are guided."""


def references_of(pool: LabelledSet) -> tuple[np.ndarray, np.ndarray]:
    """Which are to be judged by PBE: the furthest points of all, then those of the low ones."""
    assert pool.structures is not None
    values = featurize(pool.structures, Fingerprint.preset("default", ["Pt"]))
    spread = furthest_points(values, FURTHEST)
    copies = ~np.isin(pool.kinds, ["minimum", "intermediate"])
    others = np.flatnonzero((pool.formation_energies < LOW) | copies)
    others = np.setdiff1d(others, spread)
    return spread, others[furthest_points(values[others], LOWER)]


def guided(known: list[Atoms], number: int) -> list[Atoms]:
    """Clusters of low energy, as far as what is known of PBE can tell."""
    rows = featurize(known, FINGERPRINT).astype(np.float64)
    forces = np.array([atoms.get_forces().ravel() for atoms in known])
    process = GaussianProcess.fit(
        Examples.of(
            FINGERPRINT,
            rows,
            e_forms(known),
            structures=known,
            gradients=-forces / len(known[0]),
        )
    )
    count, energies = GUIDED[number]
    targets = np.random.default_rng(number).uniform(*energies, count)
    found = []
    for row, target in enumerate(targets):
        run = reconstruct(
            np.zeros(FINGERPRINT.size),
            FINGERPRINT,
            symbols=SYMBOLS,
            guidance=Guidance.towards(process, float(target), widths=rows.std(axis=0)),
            seed=number,
            indices=[row],
            replicas=8,
            hops=20,
            polish_steps=5,
            min_distance=0.7,
        )
        found += run.to_atoms()
    return found


def judged(
    folder: Path, name: str, structures: list[Atoms], calculator: str, jobs: int
) -> list[Atoms]:
    """What a calculator says of structures; kept in a database."""
    store = LabelStore(folder / f"{name}.db", resume=True)
    found = judge(structures, calculator, jobs=jobs, store=store, progress=True)
    write_json(folder / f"{name}.json", found.metadata)
    return [atoms for atoms in found if atoms.calc is not None]


def e_forms(structures: list[Atoms]) -> np.ndarray:
    """Formation energies that structures come with, in eV/atom."""
    return np.array([atoms.info["e_form"] for atoms in structures])


def guided_by_pbe(
    folder: Path, number: int, known: list[Atoms], first: int, jobs: int
) -> list[Atoms]:
    """A round of clusters that are guided by what PBE says of the known ones; judged by PBE."""
    name = f"guided-{number}"
    path = folder / f"{name}.extxyz"
    if not path.exists():
        write_structures(path, guided(known, number))
    new = read_structures(path)
    for place, atoms in enumerate(new):
        atoms.info = {"kind": "guided", "part": "guided", "trajectory": first + place}
    found = judged(folder, name, new, REFERENCE, jobs)
    told = np.sort(e_forms(found))
    print(f"{name}: {told[0]:.3f} to {told[-1]:.3f}, {told.mean():.3f} eV/atom on average")
    return found


def by_pbe(folder: Path, pool: LabelledSet, frames: list[Atoms], jobs: int) -> list[Atoms]:
    """Structures that PBE has judged: of the pool, and such as are guided by what it says."""
    known: list[Atoms] = []
    for name, rows in zip(("furthest", "low"), references_of(pool), strict=True):
        chosen = [frames[row].copy() for row in rows]
        for row, atoms in zip(rows, chosen, strict=True):
            atoms.info.update(part=name, row=int(row))
        known += judged(folder, name, chosen, REFERENCE, jobs)
    first = int(pool.trajectories.max()) + 1
    for number, (count, _) in enumerate(GUIDED):
        if number == len(GUIDED) - 1:
            lowest = [atoms for atoms in known if atoms.info["part"] == "guided"]
            known += relaxed(folder, lowest, jobs)
        known += guided_by_pbe(folder, number, known, first, jobs)
        first += count
    return known


def relaxed(folder: Path, structures: list[Atoms], jobs: int) -> list[Atoms]:
    """What is met on the way down from the lowest structures by PBE, but for the start."""
    starts = sorted(structures, key=lambda atoms: atoms.info["e_form"])[:RELAXED]
    settings = reference_calculator(REFERENCE).settings
    description = {"task": "relax", "structures": digest(starts), **settings}
    work = Work(description, LabelStore(folder / "relaxed.db", resume=True), jobs)
    bulk = work.bulk_energies(["Pt"], REFERENCE, None)
    calls = [
        (f"relaxed-{place}", atoms, atoms.info["trajectory"], REFERENCE, bulk, DESCENT)
        for place, atoms in enumerate(starts)
    ]
    work(descent, calls, lambda met: print(f"relaxed: {min(e_forms(met)):.3f} eV/atom"))
    found = [atoms for name, *_ in calls for atoms in work.done[name] if atoms.info["step"] > 0]
    for atoms in found:
        atoms.info["part"] = "relaxed"
    return found


def copies_of(structures: list[Atoms]) -> list[Atoms]:
    """Perturbed ones, of the trajectory of their parent."""
    copies = []
    for number in range(COPIES):
        parent = structures[number % len(structures)]
        copy = perturbed(parent, number)
        copy.info["trajectory"] = parent.info["trajectory"]
        copies.append(copy)
    return copies


def set_of(structures: list[Atoms], metadata: dict[str, Any], **columns: np.ndarray) -> LabelledSet:
    """Structures with what their ``info`` and their calculators say."""
    return LabelledSet.of(
        [Atoms(atoms.numbers, atoms.positions) for atoms in structures],
        energies=[atoms.get_potential_energy() for atoms in structures],
        formation_energies=e_forms(structures),
        trajectories=[atoms.info["trajectory"] for atoms in structures],
        kinds=[atoms.info["kind"] for atoms in structures],
        forces=[atoms.get_forces() for atoms in structures],
        columns={"part": np.array([atoms.info.get("part", "") for atoms in structures]), **columns},
        metadata=metadata,
    )


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
    write_labelled(folder / "pool.npz", pool)
    frames = to_frames(pool)
    known = by_pbe(folder, pool, frames, jobs)
    found = [atoms for atoms in known if atoms.info["part"] in {"guided", "relaxed"}]
    labelled = judged(folder, "found", found, POTENTIAL, jobs)
    if len(labelled) != len(found):
        raise SystemExit(f"expected energies of all {len(found)}, got {len(labelled)}")
    labelled += judged(folder, "copies", copies_of(labelled), POTENTIAL, jobs)
    rows = [atoms.info.get("row", -1) for atoms in known]
    rows = np.where(np.array(rows) >= 0, rows, len(frames) + np.cumsum(np.array(rows) < 0) - 1)
    for atoms, row in zip(known, rows, strict=True):
        if row < len(frames):
            frames[row].info["part"] = atoms.info["part"]
    structures = frames + labelled
    values, potential = smooth(structures), e_forms(structures)
    both = Known(
        structures=[structures[row] for row in rows],
        values=values[rows],
        potential=potential[rows],
        pbe=e_forms(known),
        pbe_forces=np.array([atoms.get_forces().ravel() for atoms in known]),
        trajectories=np.array([structures[row].info["trajectory"] for row in rows]),
    )
    report = calibration(both)
    correction = Correction.fit(both, process=True)
    energies, deviations = correction.energies(values, potential)
    forces = correction.forces(structures, values)
    references = np.full(len(structures), np.nan)
    references[rows] = both.pbe
    pbe_settings = json.loads((folder / "furthest.json").read_text())
    bulk = pbe_settings["bulk_energies"]["Pt"]
    everything = replace(
        set_of(
            structures,
            {**pool.metadata, "calibration": report, "pbe": pbe_settings},
            e_form_potential=potential,
            e_form_spread=deviations,
            e_form_pbe=references,
        ),
        formation_energies=energies,
        energies=(energies + bulk) * len(structures[0]),
        forces=list(forces.reshape(len(structures), -1, 3)),
    )
    kept = everything.select(np.flatnonzero(energies <= HIGHEST))
    write_labelled(folder / "pt10.npz", kept)
    by_both = set_of(known, {"pbe": pbe_settings}, e_form_potential=potential[rows])
    write_labelled(folder / "pt10_pbe.npz", by_both)
    write_json(folder / "calibration.json", {"structures": len(kept), **report})
    print(f"{len(kept)} clusters in {folder / 'pt10.npz'}")


if __name__ == "__main__":
    main()
