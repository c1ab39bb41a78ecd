"""Relaxations of many crystals with their cells, and the hull of formation energies."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from ase.spacegroup import crystal
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from jaxrecon.potentials.energies import formation_energy
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.potentials.single_points import bounds_for, single_points

FORCE = 0.05
"""Largest force in eV/Angstrom at which a relaxation ends."""

SPARE = 1.3
"""Factor on the cutoff with which the sizes of the compiled program are found."""


def relaxed(structures: Sequence[Atoms], calculator: str, steps: int) -> list[Atoms]:
    """Relax crystals side by side, each with steps of its own.

    Returns:
        The crystals with ``energy_per_atom`` in eV in their ``info``, and whether they are
        ``relaxed``; a crystal that flies apart has no finite energy.
    """
    potential = reference_calculator(calculator).potential.restricted(
        sorted({symbol for atoms in structures for symbol in atoms.symbols})
    )
    moving = [atoms.copy() for atoms in structures]
    size = max(map(len, moving))
    bounds = bounds_for(moving, SPARE * potential.r_cut, size)
    filters = [FrechetCellFilter(atoms) for atoms in moving]
    optimizers = [FIRE(each, logfile=None) for each in filters]
    active = set(range(len(moving)))
    for atoms in moving:
        atoms.info |= {"relaxed": False, "energy_per_atom": math.nan}
    for _ in range(steps):
        if not active:
            break
        some = sorted(active)
        try:
            found = single_points([moving[n] for n in some], potential, bounds=bounds)
        except ValueError:
            # Crystals have become denser than the program allows for.
            bounds = bounds_for([moving[n] for n in some], SPARE * potential.r_cut, size)
            found = single_points([moving[n] for n in some], potential, bounds=bounds)
        for number, point in zip(some, found, strict=True):
            atoms = moving[number]
            if not (np.isfinite(point.energy) and np.isfinite(point.forces).all()):
                atoms.info["energy_per_atom"] = math.nan
                active.remove(number)
                continue
            atoms.info["energy_per_atom"] = point.energy / len(atoms)
            atoms.calc = SinglePointCalculator(
                atoms, energy=point.energy, forces=point.forces, stress=point.stress
            )
            largest = np.linalg.norm(filters[number].get_forces(), axis=1).max()
            if largest <= FORCE:
                atoms.info["relaxed"] = True
                active.remove(number)
            else:
                optimizers[number].step()
    for atoms in moving:
        # Files have no room for two energies.
        atoms.calc = None
    return moving


def vanadium_pentoxide() -> Atoms:
    """V2O5, which the data lack (Enjalbert and Galy, Acta Cryst. C 42, 1467 (1986))."""
    sites = [
        ("V", (0.10118, 0.25, 0.8917)),
        ("O", (0.1043, 0.25, 0.531)),
        ("O", (0.9311, 0.25, 0.003)),
        ("O", (0.25, 0.25, 0.001)),
    ]
    symbols, basis = zip(*sites, strict=True)
    lengths = [11.512, 3.564, 4.368, 90, 90, 90]
    return crystal(symbols, basis, spacegroup=59, setting=2, cellpar=lengths)


class Hull:
    """Energies above the convex hull of known phases and the elements.

    Args:
        phases: relaxed phases with their ``energy_per_atom`` in eV.
        elements: energies of the elements in eV/atom.
    """

    def __init__(self, phases: Sequence[Atoms], elements: Mapping[str, float]) -> None:
        self._elements = dict(elements)
        self._entries = [PDEntry(Composition(name), each) for name, each in elements.items()]
        self._diagram = PhaseDiagram([*self._entries, *map(self._entry, phases)])

    def above(self, atoms: Atoms) -> float:
        """Energy above the hull in eV/atom; below 0 for a crystal that is under it."""
        found = self._diagram.get_decomp_and_e_above_hull(self._entry(atoms), allow_negative=True)
        return float(found[1])

    def formation(self, atoms: Atoms) -> float:
        """Formation energy in eV/atom."""
        return formation_energy(
            atoms.info["energy_per_atom"] * len(atoms), atoms.symbols, self._elements
        )

    @staticmethod
    def _entry(atoms: Atoms) -> PDEntry:
        """A crystal with its total energy."""
        return PDEntry(
            Composition(atoms.get_chemical_formula()), atoms.info["energy_per_atom"] * len(atoms)
        )
