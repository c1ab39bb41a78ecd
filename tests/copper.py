"""Rattled metals, whose atoms have energies by effective medium theory."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT


def rattled(a: float, amount: float, seed: int, symbol: str = "Cu") -> Atoms:
    """A cube of four atoms with the lattice constant a, all moved by some amount, in Angstrom."""
    atoms = bulk(symbol, "fcc", a=a, cubic=True)
    atoms.rattle(amount, seed=seed)
    atoms.calc = EMT()
    return atoms
