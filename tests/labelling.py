"""Calculators that fail where they are told to, counted, and energies by a way of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

from jaxrecon.potentials.calculators import Calculators, calculator

CALLS: list[str] = []
"""Formula of every structure that was computed."""
_lock = threading.Lock()


class Watched(EMT):
    """Effective medium theory, which something may happen to at each structure."""

    def __init__(self, happen: Callable[[Atoms, int], None]) -> None:
        super().__init__()
        self.happen = happen

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        with _lock:
            CALLS.append(str(atoms.symbols))
        self.happen(atoms, len(CALLS))
        super().calculate(atoms, properties, changes)
        if np.isnan(atoms.info.get("energy", 0.0)):
            self.results["energy"] = np.nan


def watched(happen: Callable[[Atoms, int], None]) -> Calculators:
    CALLS.clear()

    def made(*_: object) -> Watched:
        return Watched(happen)

    return Calculators("watched", {"calculator": "watched"}, {}, made, made)


def energy_of(atoms: Atoms) -> float:
    """Of a free cluster by effective medium theory, without anything of ours."""
    alone = Atoms(atoms.numbers, atoms.positions)
    alone.calc = EMT()
    return float(alone.get_potential_energy())


def use(monkeypatch, made: Calculators) -> None:
    """Have a name stand for these calculators, in this process."""

    def named(name: str) -> Calculators:
        return made if name == made.name else calculator(name)

    for module in ("judge", "build"):
        monkeypatch.setattr(f"jaxrecon.datasets.{module}.calculators_of", named)
    for module in ("labels", "relaxations"):
        monkeypatch.setattr(f"jaxrecon.datasets.{module}.calculator", named)
