"""How far what was found is from the truth, beside what its certificate says.

    python benchmarks/recovery.py qm7_500 --data DIR --fingerprint soap --budget 50000 -o results
    python benchmarks/certificates.py qm7_500 --data DIR --fingerprint soap --found results

Takes what recovery.py has found and certified, with the same set and fingerprint. A file has eight
decimals of each position, which are part of its residual and of its deviation.

Prints a line for each structure, of crystals with known cells: unknowns, rank deficiency, smallest
singular value, position error and true deviation (RMSD) in Angstrom; then the fraction that is
within the error, and the median of error over deviation.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from recovery_sets import SETS, targets_of

from jaxrecon import ReconstructConfig, certificates, rmsd
from jaxrecon.runtime.files import write_json

DECIMALS = 1e-8
"""Deviation in Angstrom that the decimals of a file may add."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the files")
    parser.add_argument("--found", type=Path, required=True, help="folder that recovery.py wrote")
    parser.add_argument("--fingerprint", metavar="NAME", help="as for recovery.py")
    arguments = parser.parse_args()
    found = {
        atoms.info["row"]: atoms
        for atoms in ase.io.read(arguments.found / f"{arguments.set}.extxyz", index=":")
        if atoms.info["residual"] <= ReconstructConfig.tolerance
    }
    targets = targets_of(
        arguments.set,
        arguments.data,
        preset=arguments.fingerprint,
        rows=",".join(map(str, found)),
        count=None,
    )
    rows = []
    for target in targets:
        if target.truth is None:
            raise SystemExit(f"expected a set with structures, got {arguments.set}")
        atoms = found[target.row]
        (own,) = certificates(atoms, target.fingerprint, targets=target.values[None])
        deviation = rmsd(target.truth, atoms)
        rows.append({"row": target.row, **own._asdict(), "deviation": deviation})
        print(
            f"{target.row:4d}  {target.name:12s} {own.unknowns:3d} {own.rank_deficiency:2d}  "
            f"{own.singular_value:.1e}  error {own.position_error:.1e}  true {deviation:.1e}",
            flush=True,
        )
    errors = np.array([row["position_error"] for row in rows])
    deviations = np.array([row["deviation"] for row in rows])
    within = int((deviations <= errors + DECIMALS).sum())
    print(
        f"{within} of {len(rows)} within the error; median of error over deviation "
        f"{np.median(errors / deviations):.2f}; {sum(row['rank_deficiency'] > 0 for row in rows)} "
        f"not determined to first order"
    )
    write_json(arguments.found / f"{arguments.set}_certificates.json", {"rows": rows})


if __name__ == "__main__":
    main()
