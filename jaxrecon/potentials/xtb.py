"""GFN1-xTB: semiempirical tight binding by tblite, for almost every element."""

from typing import Any

from ase import Atoms

from jaxrecon.potentials.base import ReferenceCalculator

METHOD = "GFN1-xTB"


class XTB(ReferenceCalculator):
    """GFN1-xTB in tblite, good for differences between clusters.

    Without k-points, crystals are repeated to 12 Angstrom. That does not converge metals: from 64
    to 125 atoms of platinum the energy of the bulk changes by 0.35 eV/atom.

    Source: Grimme, Bannwarth and Shushkov, J. Chem. Theory Comput. 13, 1989 (2017).
    """

    name = "xtb"
    package = "tblite"
    distributions = ("ase", "tblite")
    least_length = 12.0

    def parameters(self) -> dict[str, Any]:
        """Return the method and the length of repeated cells in Angstrom."""
        return {"method": METHOD, "supercell": self.least_length}

    def free(self, atoms: Atoms) -> Any:
        """Return a calculator that prints nothing."""
        from tblite.ase import TBLite

        return TBLite(method=METHOD, verbosity=0)
