"""Targets and trials for the tests of the recovery benchmark, and the way to its modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon import Fingerprint, featurize
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.structures.formulas import elements_of

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def module(name: str) -> ModuleType:
    """A module of the benchmarks, which are scripts beside each other and no package."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module(name)


def target(atoms: Atoms, row: int = 0, *, featurized: bool = True) -> Any:
    periodic = bool(atoms.pbc.all())
    preset = "crystal" if periodic else "fung2022"
    fingerprint = Fingerprint.preset(preset, elements_of([atoms]))
    return module("recovery_sets").Target(
        row=row,
        name=str(atoms.symbols),
        values=featurize(atoms, fingerprint)[0] if featurized else np.zeros(fingerprint.size),
        fingerprint=fingerprint,
        symbols=tuple(atoms.symbols),
        cell=atoms.cell.array if periodic else None,
        truth=atoms,
        kind="free",
    )


def trial(
    row: int,
    *,
    residual: float = 1e-8,
    evaluations: float = 1.0,
    seconds: float = 1.0,
    match: Any = None,
    atoms: Atoms | None = None,
) -> Any:
    atoms = Atoms("H2") if atoms is None else atoms
    code = ResultCode.of(residual, 1e-6)
    result = Result(atoms, residual, code, 1, {"values": 3}, seconds + 100.0)
    cell = atoms.cell.array if atoms.pbc.all() else None
    one = module("recovery_sets").Target(
        row,
        f"row {row}",
        np.zeros(10 + row),
        Fingerprint.preset("crystal", ["H"]),
        tuple(atoms.symbols),
        cell,
        atoms,
        "free",
    )
    return module("recovery_report").Trial(one, result, evaluations, seconds, match)
