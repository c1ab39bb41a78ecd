"""The potential that labelled the embedded Pt10 clusters, as a reference calculator.

    cd benchmarks
    export NEQUIX_WEIGHTS=nequix-oam-1-pft.nqx
    jaxrecon judge made.extxyz --calculator corrected:potential -o judged.extxyz

The Gaussian process and the line that correct Nequix are fitted to the 300 clusters with PBE
labels. Crystals are not corrected: the bulk energy of the potential defines the zero of formation
energies. The package nequix is needed, and the file of its weights in NEQUIX_WEIGHTS.
"""

import os
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from pbe_correction import Correction, Known, smooth

from jaxrecon.datasets import load
from jaxrecon.potentials.base import Mesh, ReferenceCalculator
from jaxrecon.potentials.energies import bulk_energy
from jaxrecon.potentials.registry import reference_calculator

WEIGHTS = "NEQUIX_WEIGHTS"


class Corrected(Calculator):
    """Corrected energies and forces of a potential, for clusters.

    Args:
        potential: reference calculator to correct.
        bulk: energy of the bulk in eV/atom by the potential.
        correction: from formation energies of the potential to those of PBE.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, potential: ReferenceCalculator, bulk: float, correction: Correction) -> None:
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
        uncorrected = judged(self._potential, Atoms(self.atoms.numbers, self.atoms.positions))
        count = len(uncorrected)
        potential = np.array([uncorrected.get_potential_energy() / count - self._bulk])
        values = smooth([uncorrected])
        e_form = self._correction.energies(values, potential)[0][0]
        self.results = {
            "energy": float(e_form + self._bulk) * count,
            "forces": self._correction.forces([uncorrected], values).reshape(-1, 3),
        }


def judged(potential: ReferenceCalculator, atoms: Atoms) -> Atoms:
    """Copy a cluster, with the energy and forces of a potential."""
    ready, alone = potential.for_cluster(atoms), atoms.copy()
    energy, forces = ready.get_potential_energy(), ready.get_forces()
    alone.calc = SinglePointCalculator(alone, energy=energy, forces=forces)
    return alone


class CorrectedPotential(ReferenceCalculator):
    """The corrected potential for clusters; crystals are computed by the potential itself."""

    name = "corrected:potential"

    def __init__(self) -> None:
        super().__init__()
        if WEIGHTS not in os.environ:
            raise ValueError(f"expected the file of the weights of Nequix in {WEIGHTS}")
        self._potential = reference_calculator(f"nequix:{os.environ[WEIGHTS]}")
        self.distributions = self._potential.distributions
        references = load("pt10_pbe")
        bulk = bulk_energy("Pt", self._potential)
        assert references.structures is not None
        assert references.forces is not None
        structures = [judged(self._potential, atoms) for atoms in references.structures]
        known = Known(
            structures=structures,
            values=smooth(references.structures),
            potential=np.array(
                [atoms.get_potential_energy() / len(atoms) - bulk for atoms in structures]
            ),
            pbe=references.formation_energies,
            pbe_forces=np.reshape(references.forces, (len(references), -1)),
            trajectories=references.trajectories,
        )
        self._corrected = Corrected(self._potential, bulk, Correction.fit(known, process=True))

    def parameters(self) -> dict[str, Any]:
        """Return those of the potential that is corrected."""
        return self._potential.parameters()

    def free(self, atoms: Atoms) -> Any:
        """Return the one calculator that has the correction."""
        return self._corrected

    def crystal(self, atoms: Atoms, mesh: Mesh) -> Any:
        """Return the potential without a correction."""
        return self._potential.crystal(atoms, mesh)


def potential() -> CorrectedPotential:
    """Make the corrected potential, which has the name ``corrected:potential``."""
    return CorrectedPotential()
