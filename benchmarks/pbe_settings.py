"""How far the plane waves of `--calculator gpaw` are off: finer ones, and another program.

    python benchmarks/pbe_settings.py --data DIR -o results --jobs 2

1. Five clusters of the embedded set that have a PBE energy, from the lowest to the highest, with
   450 eV and boxes of 17 Angstrom at least instead of 300 eV and 14.
2. Ten of the 1,000 published Pt10 clusters with PBE energies of VASP, where DIR has them
   (pt10_pbe1000.extxyz; E_form = dft_energy / 10 + 6.10 eV/atom), from the lowest to the highest.

Each judged cluster is kept in a database: the command goes on where it was interrupted. Written is
pbe_settings.json. The package gpaw is needed, and half an hour of a core.
"""

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from jaxrecon.datasets import load
from jaxrecon.potentials.gpaw import GpawPBE
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.runtime.files import write_json

BULK = -6.10
"""eV/atom of bulk platinum in VASP, found by comparison."""


def fine() -> GpawPBE:
    """The finer settings, as `module:factory` of a calculator."""
    return GpawPBE(cutoff=450.0, vacuum=8.5, least_edge=17.0)


def spread(energies: np.ndarray, count: int) -> np.ndarray:
    """Rows from the lowest energy to the highest, in even steps of their order."""
    known = np.flatnonzero(np.isfinite(energies))
    order = known[np.argsort(energies[known])]
    return order[np.linspace(0, len(order) - 1, count).round().astype(int)]


def compared(
    title: str, structures: list[Atoms], known: np.ndarray, calculator: str, store: Path, jobs: int
) -> dict[str, Any]:
    """Judge structures, print their energies beside those that are known, and the differences."""
    kept = LabelStore(store, resume=True)
    judged = judge(structures, calculator, jobs=jobs, store=kept, progress=True)
    found = np.array([atoms.info.get("e_form", np.nan) for atoms in judged])
    off = found - known
    print(f"{title}: E_form in eV/atom, of both and their difference")
    for pair in zip(known, found, off, strict=True):
        print("  {:.4f}  {:.4f}  {:+.4f}".format(*pair))
    print(f"  mean {np.nanmean(off):+.4f}, largest {np.nanmax(np.abs(off)):.4f}")
    return {"known": known.tolist(), "found": found.tolist(), "metadata": judged.metadata}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the published clusters are")
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    folder, jobs = arguments.output, arguments.jobs
    folder.mkdir(parents=True, exist_ok=True)

    embedded = load("pt10")
    assert embedded.structures is not None
    known = embedded.columns["e_form_pbe"]
    rows = spread(known, 5)
    some = [embedded.structures[row] for row in rows]
    calculator, store = "pbe_settings:fine", folder / "fine.db"
    report = {"fine": compared("450 eV, 17 A", some, known[rows], calculator, store, jobs)}
    if arguments.data is not None:
        frames = ase.io.read(arguments.data / "pt10_pbe1000.extxyz", ":")
        published = np.array([atoms.info["dft_energy"] / len(atoms) - BULK for atoms in frames])
        rows, store = spread(published, 10), folder / "published.db"
        some = [Atoms(frames[row].numbers, frames[row].positions) for row in rows]
        report["vasp"] = compared("VASP", some, published[rows], "gpaw", store, jobs)
    write_json(folder / "pbe_settings.json", report)


if __name__ == "__main__":
    main()
