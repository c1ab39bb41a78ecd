"""Solutions: the best different structures found for one target."""

from typing import NamedTuple

from ase import Atoms

from jaxrecon.search.config import ReconstructConfig
from jaxrecon.structures import matching

SAME = 0.05
"""RMSD in Angstrom up to which two structures count as one."""


class Solution(NamedTuple):
    """A structure that was found, and how well it hits the target.

    Attributes:
        atoms: positions in Angstrom.
        residual: mean absolute residual of its fingerprint in float64, without a unit.
    """

    atoms: Atoms
    residual: float


class Solutions:
    """Up to ``config.solutions`` structures, no two the same, by residual.

    Attributes:
        found: the best first.
    """

    def __init__(self, config: ReconstructConfig) -> None:
        self.found: list[Solution] = []
        self._wanted, self._tolerance = config.solutions, config.tolerance

    @property
    def complete(self) -> bool:
        """Whether as many as are wanted hit the target."""
        certified = [each for each in self.found if each.residual <= self._tolerance]
        return len(certified) == self._wanted

    def add(self, atoms: Atoms, residual: float) -> None:
        """Keep a structure if it is among the best; of two that are the same the better one."""
        if atoms.pbc.any():
            atoms.wrap()
        kept = []
        for each in self.found:
            if self._wanted == 1 or matching.rmsd(each.atoms, atoms) <= SAME:
                if each.residual <= residual:
                    return
            else:
                kept.append(each)
        kept.append(Solution(atoms, residual))
        self.found = sorted(kept, key=lambda each: each.residual)[: self._wanted]
