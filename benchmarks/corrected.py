"""The potential that has labelled the embedded Pt10 clusters, as a judge of others.

    cd benchmarks
    jaxrecon judge made.extxyz --calculator corrected:potential -o judged.extxyz

It is 7net-mf-0 with what it is off PBE taken from it, as far as the 300 clusters tell that PBE has
judged. The energy of bulk platinum is that of the potential, which defines the zero. The package
sevenn is needed.
"""

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from pbe_correction import Correction, Known, smooth

from jaxrecon.datasets import load
from jaxrecon.potentials.calculators import Calculators, calculator


class Corrected(Calculator):
    """Energies and forces of a potential for clusters, corrected.

    Args:
        potential: calculators to correct.
        bulk: energy of the bulk in eV/atom by the potential.
        correction: to formation energies of PBE.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, potential: Calculators, bulk: float, correction: Correction) -> None:
        super().__init__()
        self._potential, self._bulk, self._correction = potential, bulk, correction

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        """Energy in eV and forces in eV/Angstrom, as ASE asks for them."""
        super().calculate(atoms, properties, system_changes)
        told = judged(self._potential, Atoms(self.atoms.numbers, self.atoms.positions))
        potential = np.array([told.get_potential_energy() / len(told) - self._bulk])
        values = smooth([told])
        e_form = self._correction.energies(values, potential)[0][0]
        self.results = {
            "energy": float(e_form + self._bulk) * len(told),
            "forces": self._correction.forces([told], values).reshape(-1, 3),
        }


def judged(potential: Calculators, atoms: Atoms) -> Atoms:
    """A cluster with its energy and forces."""
    ready, alone = potential.for_cluster(atoms), atoms.copy()
    energy, forces = ready.get_potential_energy(), ready.get_forces()
    alone.calc = SinglePointCalculator(alone, energy=energy, forces=forces)
    return alone


def potential() -> Calculators:
    """The corrected potential, by the name ``corrected:potential``."""
    made, whole, references = calculator("sevennet"), load("pt10"), load("pt10_pbe")
    bulk = whole.metadata["bulk_energies"]["Pt"]
    assert references.structures is not None
    assert references.forces is not None
    known = Known(
        structures=[judged(made, atoms) for atoms in references.structures],
        values=smooth(references.structures),
        potential=references.columns["e_form_potential"],
        pbe=references.formation_energies,
        pbe_forces=np.reshape(references.forces, (len(references), -1)),
        trajectories=references.trajectories,
    )
    own = Corrected(made, bulk, Correction.fit(known, process=True))
    settings = {**made.settings, "calculator": "corrected:potential"}
    return Calculators("corrected", settings, made.versions, lambda _: own, made.crystal)
