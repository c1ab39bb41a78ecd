"""Solutions: the best different structures that a search has found for one target."""

import math
from typing import NamedTuple

from ase import Atoms

from jaxrecon.search.certificate import Certificate
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.structures import matching
from jaxrecon.structures.primitive import primitive

SAME_RMSD = 0.05
"""Largest root mean square deviation, in Angstrom, of two structures that count as the same."""


def deviation(a: Atoms, b: Atoms) -> float:
    """RMSD of two structures in Angstrom; of crystals, that of their primitive cells.

    Args:
        a: a structure.
        b: a structure of the same composition and periodicity.

    Returns:
        The deviation; infinite where their cells differ.
    """
    a, b = primitive(a), primitive(b)
    return matching.rmsd(a, b) if len(a) == len(b) else math.inf


class Solution(NamedTuple):
    """A structure and its distance from the target.

    Attributes:
        atoms: the structure, positions in Angstrom.
        residual: mean absolute residual of its fingerprint, computed in float64, without a unit; in
            a guided search, its objective.
        certificate: how firmly the target holds it; None where nobody has asked.
    """

    atoms: Atoms
    residual: float
    certificate: Certificate | None = None


class Solutions:
    """The best structures for one target so far, no two of them the same.

    Args:
        config: settings of the search, among them how many structures are wanted.

    Attributes:
        found: at most as many structures as are wanted, the best first.
    """

    def __init__(self, config: ReconstructConfig) -> None:
        self.found: list[Solution] = []
        self._wanted, self._tolerance = config.solutions, config.tolerance

    @property
    def complete(self) -> bool:
        """Whether as many structures as are wanted reach the tolerance."""
        converged = [solution for solution in self.found if solution.residual <= self._tolerance]
        return len(converged) == self._wanted

    def add(self, atoms: Atoms, residual: float, certificate: Certificate | None = None) -> None:
        """Add a structure if it is among the best. Of two that are the same, the better one stays.

        Args:
            atoms: the structure, positions in Angstrom; those of a crystal are wrapped into its
                cell.
            residual: its residual, as in :class:`Solution`.
            certificate: how firmly the target holds it, if that is known.
        """
        if atoms.pbc.any():
            atoms.wrap()
        different = []
        for solution in self.found:
            # Where one solution is wanted, the residual alone decides.
            if self._wanted == 1 or deviation(solution.atoms, atoms) <= SAME_RMSD:
                if solution.residual <= residual:
                    return
            else:
                different.append(solution)
        different.append(Solution(atoms, residual, certificate))
        self.found = sorted(different, key=lambda solution: solution.residual)[: self._wanted]
