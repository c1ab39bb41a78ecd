"""A calculator of ASE for any potential in JAX."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from jaxrecon.potentials.potential import Potential
from jaxrecon.potentials.single_points import (
    SinglePoint,
    bounds_for,
    check_structure,
    single_points,
)
from jaxrecon.structures.structure import Bounds

SPARE = 1.1
"""Factor on the cutoff with which static sizes are found, so that moving atoms keep them."""


class PotentialCalculator(Calculator):
    """A calculator of ASE with energy, energies of atoms, forces and stress by a potential in JAX.

    Atoms may move and cells change: the compiled program is used again until an atom has more
    neighbours than it has room for. For many structures,
    :func:`~jaxrecon.potentials.single_points.single_points` is faster.

    Args:
        potential: the potential.
        parameters: a pytree like ``potential.parameters``; None for these.
        dtype: ``numpy.float64`` or ``numpy.float32``; None for the precision of the potential.

    >>> from ase.build import bulk
    >>> from jaxrecon.potentials.tersoff import Tersoff
    >>> diamond = bulk("C")
    >>> diamond.calc = PotentialCalculator(Tersoff())
    >>> round(diamond.get_potential_energy(), 2)
    -14.74
    """

    def __init__(
        self,
        potential: Potential,
        *,
        parameters: Any = None,
        dtype: type[np.floating] | None = None,
    ) -> None:
        super().__init__()
        self.implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]
        self.potential, self._given, self._dtype = potential, parameters, dtype
        self._kind: tuple[Any, ...] = ()
        self._bounds: Bounds | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute all properties.

        Args:
            atoms: the structure.
            properties: not used.
            system_changes: not used.

        Raises:
            ValueError: if the potential can't compute the structure.
        """
        super().calculate(atoms, properties, system_changes)
        given: Any = self.atoms
        check_structure(given, self.potential)
        kind = (*given.numbers.tolist(), *given.pbc.tolist())
        if kind != self._kind:
            self._kind, self._bounds = kind, None
        try:
            found = self._single_point(given)
        except ValueError:
            # The atoms have outgrown the sizes of the last call.
            self._bounds = None
            found = self._single_point(given)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        if found.stress is not None:
            self.results["stress"] = found.stress

    def _single_point(self, atoms: Atoms) -> SinglePoint:
        """Evaluate the structure with the sizes of the last call, or with new ones."""
        potential = self.potential
        if self._given is None:
            potential = potential.restricted(atoms.symbols)
        if self._bounds is None:
            self._bounds = _common(bounds_for([atoms], SPARE * potential.r_cut, len(atoms)))
        [found] = single_points(
            atoms,
            potential,
            parameters=self._given,
            bounds=self._bounds,
            dtype=self._dtype,
        )
        return found


def _common(bounds: Bounds) -> Bounds:
    """Bounds at least as large, and the same for most crystals of few atoms: one program for all.

    The reference crystals of the elements are computed one after the other, and compiling a network
    takes longer than all its energies.
    """
    if bounds.bins is not None or not any(bounds.counts):
        return bounds
    power = 1 << (bounds.capacity - 1).bit_length()
    capacity = power if bounds.capacity > 3 * power // 4 else 3 * power // 4
    most = max(bounds.counts)
    return replace(bounds, capacity=capacity, counts=(most, most, most))
