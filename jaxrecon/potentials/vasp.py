"""PBE with plane waves in VASP, which has its own licence and is called as a program."""

import os
from typing import Any

from ase import Atoms

from jaxrecon.potentials.base import K_LENGTH, Mesh, Missing, ReferenceCalculator

INPUT = {"xc": "PBE", "encut": 300.0, "ismear": 0, "sigma": 0.1, "ediff": 1e-4, "ispin": 1}
"""Settings of all calculations, as VASP and ASE name them."""


class VaspPBE(ReferenceCalculator):
    """PBE with plane waves of 300 eV and without spin, by the command in ``ASE_VASP_COMMAND``."""

    name = "vasp"
    boxed = True

    def __init__(self) -> None:
        super().__init__()
        # Every process has a folder, as calculations in one folder would overwrite each other.
        self._folder = os.path.abspath(f"vasp-{os.getpid()}")

    @classmethod
    def missing(cls) -> Missing | None:
        """Return the command that is not set, or None."""
        from ase.calculators.calculator import CalculatorSetupError
        from ase.calculators.vasp import Vasp

        try:
            Vasp().make_command()
        except CalculatorSetupError:
            return Missing("a command in ASE_VASP_COMMAND", "export ASE_VASP_COMMAND='vasp_std'")
        return None

    def parameters(self) -> dict[str, Any]:
        """Return the settings of VASP, boxes and k-points."""
        sizes = {"vacuum": self.vacuum, "least_edge": self.least_edge, "k_length": K_LENGTH}
        return {**INPUT, **sizes}

    def free(self, atoms: Atoms) -> Any:
        """Return a calculator with one k-point."""
        return self.crystal(atoms, (1, 1, 1))

    def crystal(self, atoms: Atoms, mesh: Mesh) -> Any:
        """Return a calculator with k-points around the zone centre."""
        from ase.calculators.vasp import Vasp

        files = {"directory": self._folder, "lwave": False, "lcharg": False}
        return Vasp(kpts=mesh, gamma=True, **files, **INPUT)
