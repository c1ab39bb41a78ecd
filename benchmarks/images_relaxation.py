"""Relaxations of many crystals with their cells, and the hull of formation energies."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.spacegroup import crystal
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from jaxrecon.potentials.energies import formation_energy
from jaxrecon.potentials.potential import Potential
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.potentials.single_points import bounds_for, single_points
from jaxrecon.structures.bounds import Bounds

LONGEST_STEP = 0.1
"""Longest step of an atom in Angstrom."""

FORCE = 0.05
"""Largest force in eV/Angstrom at which a relaxation ends."""

SPARE = 1.1
"""Factor on the cutoff with which the sizes of the compiled programs are found."""

SMALL = 10
"""Number of atoms up to which crystals have a program of their own."""


def relaxed(structures: Sequence[Atoms], calculator: str, steps: int, path: Path) -> list[Atoms]:
    """Relax crystals one after the other; those in the file are not relaxed again.

    Returns:
        The crystals with ``energy_per_atom`` in eV in their ``info``, and whether they are
        ``relaxed``; a crystal that flies apart has no finite energy.
    """
    done: list[Atoms] = ase.io.read(path, ":") if path.exists() else []
    potential = reference_calculator(calculator).potential.restricted(
        sorted({symbol for atoms in structures for symbol in atoms.symbols})
    )
    reach = SPARE * potential.r_cut
    kinds = [[atoms for atoms in structures if (len(atoms) > SMALL) == big] for big in (0, 1)]
    bounds = [bounds_for(some, reach, max(map(len, some))) if some else None for some in kinds]
    for atoms in structures[len(done) :]:
        done.append(_relaxed(atoms, potential, steps, bounds[len(atoms) > SMALL]))
        draft = path.with_name(f"draft-{path.name}")
        ase.io.write(draft, done)
        draft.replace(path)
    return done


def _relaxed(atoms: Atoms, potential: Potential, steps: int, bounds: Bounds | None) -> Atoms:
    """Relax a crystal with its cell."""
    moving = Atoms(atoms, info={"relaxed": False, "energy_per_atom": math.nan})
    both = FrechetCellFilter(moving)
    optimizer = BFGS(both, logfile=None, maxstep=LONGEST_STEP)
    for _ in range(steps):
        try:
            (point,) = single_points([moving], potential, bounds=bounds)
        except ValueError:
            # The crystal has become denser than the program allows for, or its cell is singular.
            try:
                (point,) = single_points([moving], potential)
            except (ValueError, MemoryError):
                moving.info["energy_per_atom"] = math.nan
                break
        moving.info["energy_per_atom"] = point.energy / len(moving)
        moving.calc = SinglePointCalculator(
            moving, energy=point.energy, forces=point.forces, stress=point.stress
        )
        forces = both.get_forces()
        if not (np.isfinite(point.energy) and np.isfinite(forces).all()):
            moving.info["energy_per_atom"] = math.nan
            break
        if np.linalg.norm(forces, axis=1).max() <= FORCE:
            moving.info["relaxed"] = True
            break
        optimizer.step()
    # Files have no room for two energies.
    moving.calc = None
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
        total = atoms.info["energy_per_atom"] * len(atoms)
        return float(formation_energy(total, atoms.symbols, self._elements))

    @staticmethod
    def _entry(atoms: Atoms) -> PDEntry:
        """A crystal with its total energy."""
        return PDEntry(
            Composition(atoms.get_chemical_formula()), atoms.info["energy_per_atom"] * len(atoms)
        )
