"""Make the Pt10 clusters that come with the package, but for the labels of PBE.

    python benchmarks/embedded_pt10.py --weights nequix-oam-1-pft.nqx -o made

1. Some 10,500 clusters, relaxations and perturbed copies, labelled by Nequix
   (`jaxrecon dataset build`): pool.npz.
2. 1,000 perturbed copies of those of the 300 clusters with labels of PBE that were guided to low
   energies or relaxed by PBE, and these themselves, labelled by Nequix.
3. What the potential is off PBE, as a straight line in its energy and a Gaussian process in the
   fingerprint for the rest of energies and forces, fitted to the 300 and judged on tenths that were
   left out: calibration.json.
4. Those of corrected energies up to 3.7 eV/atom: pt10.npz, and the 300 with the potential's
   energies beside those of PBE: pt10_pbe.npz; to be put into jaxrecon/datasets/data/.

The 300 and their labels of PBE are those of the embedded set pt10_pbe. The datasheet in that folder
says how they were chosen, and revision bc43a50 has the program that did it.

It goes on where it was interrupted. The package nequix is needed. Columns of pt10.npz:
e_form_potential, what the potential says (eV/atom); e_form_spread, standard deviation of the
correction; e_form_pbe, where it is known.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pbe_correction import Correction, Known, calibration, smooth

from jaxrecon import use_all_cores
from jaxrecon.datasets import LabelledSet, load, to_frames, write_labelled
from jaxrecon.datasets.build import build
from jaxrecon.datasets.perturbations import perturbed
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.runtime.files import write_json

SYMBOLS, POOL = "Pt10", 10_500

COPIES = 1_000
"""Perturbed copies of guided and relaxed clusters."""

HIGHEST, HIGHEST_OF_POOL = 3.7, 3.95
"""eV/atom: the pool has more, as its energies are corrected afterwards."""


def judged(folder: Path, name: str, structures: list[Atoms], calculator: str) -> list[Atoms]:
    """What the potential says of structures; kept in a database."""
    store = LabelStore(folder / f"{name}.db", resume=True)
    found = judge(structures, calculator, store=store, progress=True)
    labelled = [atoms for atoms in found if atoms.calc is not None]
    if len(labelled) != len(structures):
        raise SystemExit(f"expected energies of all {len(structures)}, got {len(labelled)}")
    return labelled


def e_forms(structures: list[Atoms]) -> np.ndarray:
    """Formation energies that structures come with, in eV/atom."""
    return np.array([atoms.info["e_form"] for atoms in structures])


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
    parser.add_argument("--weights", type=Path, required=True, help="weights of Nequix (.nqx)")
    parser.add_argument("-o", "--output", type=Path, default=Path("made"), metavar="DIR")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--size", type=int, default=POOL, help="clusters to make")
    arguments = parser.parse_args()
    folder, calculator = arguments.output, f"nequix:{arguments.weights}"
    folder.mkdir(parents=True, exist_ok=True)
    use_all_cores()

    pool = build(
        SYMBOLS,
        arguments.size,
        calculator=calculator,
        max_e_form=HIGHEST_OF_POOL,
        jobs=arguments.jobs,
        store=LabelStore(folder / "pool.db", resume=True),
        progress=True,
    )
    write_labelled(folder / "pool.npz", pool)
    # The 300 get numbers of trajectories that the pool does not have.
    references = load("pt10_pbe")
    frames, known = to_frames(pool), to_frames(references)
    first = int(pool.trajectories.max()) + 1
    _, members = np.unique(references.trajectories, return_inverse=True)
    for atoms, member in zip(known, members, strict=True):
        atoms.info["trajectory"] = first + int(member)
    labelled = judged(folder, "references", known, calculator)
    low = [atoms for atoms in labelled if atoms.info["part"] in {"guided", "relaxed"}]
    labelled += judged(folder, "copies", copies_of(low), calculator)
    structures = frames + labelled
    values, potential = smooth(structures), e_forms(structures)
    rows = len(frames) + np.arange(len(known))
    assert references.forces is not None
    both = Known(
        structures=[structures[row] for row in rows],
        values=values[rows],
        potential=potential[rows],
        pbe=references.formation_energies,
        pbe_forces=np.reshape(references.forces, (len(references), -1)),
        trajectories=np.array([structures[row].info["trajectory"] for row in rows]),
    )
    report = calibration(both)
    correction = Correction.fit(both, process=True)
    energies, deviations = correction.energies(values, potential)
    forces = correction.forces(structures, values)
    pbe = np.full(len(structures), np.nan)
    pbe[rows] = both.pbe
    settings = references.metadata["pbe"]
    everything = replace(
        set_of(
            structures,
            {**pool.metadata, "calibration": report, "pbe": settings},
            e_form_potential=potential,
            e_form_spread=deviations,
            e_form_pbe=pbe,
        ),
        formation_energies=energies,
        energies=(energies + settings["bulk_energies"]["Pt"]) * len(structures[0]),
        forces=list(forces.reshape(len(structures), -1, 3)),
    )
    kept = everything.select(np.flatnonzero(energies <= HIGHEST))
    write_labelled(folder / "pt10.npz", kept)
    columns = {**references.columns, "e_form_potential": both.potential}
    write_labelled(folder / "pt10_pbe.npz", replace(references, columns=columns))
    write_json(folder / "calibration.json", {"structures": len(kept), **report})
    print(f"{len(kept)} clusters in {folder / 'pt10.npz'}")


if __name__ == "__main__":
    main()
