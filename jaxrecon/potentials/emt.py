"""Effective medium theory: part of ASE, fast, for a few metals."""

from typing import Any

from ase import Atoms

from jaxrecon.potentials.base import ReferenceCalculator


class EffectiveMedium(ReferenceCalculator):
    """Effective medium theory for Al, Ni, Cu, Pd, Ag, Pt and Au, and very roughly H, C, N and O.

    Source: Jacobsen, Stoltze and Norskov, Surf. Sci. 366, 394 (1996), in ASE.
    """

    name = "emt"

    def parameters(self) -> dict[str, Any]:
        """Return nothing: the parameters are those of ASE."""
        return {}

    def free(self, atoms: Atoms) -> Any:
        """Return a calculator for clusters and crystals."""
        from ase.calculators.emt import EMT

        return EMT()
