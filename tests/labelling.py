"""Reference calculators made of functions, which count their calls and fail where they should."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

from jaxrecon.potentials import registry
from jaxrecon.potentials.base import ReferenceCalculator

CALLS: list[str] = []
"""Formula of every structure that was computed."""
_lock = threading.Lock()


class Made(ReferenceCalculator):
    """A reference calculator of functions, with any options of the base class."""

    name = "made"

    def __init__(
        self,
        free: Callable[[Atoms], Any],
        crystal: Callable[[Atoms, Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._free, self._crystal = free, crystal
        for name, value in options.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def parameters(self) -> dict[str, Any]:
        return {}

    def free(self, atoms: Atoms) -> Any:
        return self._free(atoms)

    def crystal(self, atoms: Atoms, mesh: Any) -> Any:
        return super().crystal(atoms, mesh) if self._crystal is None else self._crystal(atoms, mesh)


class Watched(EMT):
    """Effective medium theory that calls a function at every structure."""

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


def watch(monkeypatch, happen: Callable[[Atoms, int], None], **options: Any) -> None:
    """Register a calculator ``watched`` that calls a function, in this process."""
    CALLS.clear()
    made = Made(lambda _: Watched(happen), name="watched", **options)
    monkeypatch.setitem(registry.CALCULATORS, "watched", lambda: made)
    registry.reference_calculator.cache_clear()


def energy_of(atoms: Atoms) -> float:
    """Energy of a free cluster by effective medium theory, without any code of ours."""
    alone = Atoms(atoms.numbers, atoms.positions)
    alone.calc = EMT()
    return float(alone.get_potential_energy())
