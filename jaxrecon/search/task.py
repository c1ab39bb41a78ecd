"""Task: what a search looks for, and the coordinates in which it searches."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.pytrees import register_dataclass
from jaxrecon.search import initialize
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.levenberg_marquardt import NormalEquations
from jaxrecon.structures.structure import Bounds, Structure

STRAIN_LENGTH = 10.0
"""Length in Angstrom that a strain of 1 counts as, so that one limit holds for atoms and cell."""


@register_dataclass
@dataclass(frozen=True)
class Task:
    """One target as arrays, with all that is known about the structure: a pytree.

    The search moves *coordinates*: the positions of the atoms, shape ``(n, 3)``, or, where the cell
    is unknown, these and below them the three lattice vectors, shape ``(n + 3, 3)``; in Angstrom.

    Attributes:
        target: the wanted fingerprint, without a unit.
        species: atomic numbers, 0 for padding.
        cell: lattice vectors as rows in Angstrom; None for a free structure. It is not used where
            the cell is unknown.
        radii: covalent radii in Angstrom; None for those of the elements.
        mask: true for atoms, false for padding; None where all entries are atoms.
        fixed: whether each atom is known and stays; None if no atom is.
        known: positions of the fixed atoms in Angstrom; other rows have any value.
        volume: expected volume of an unknown cell in Angstrom^3.
        weights: factors of the differences of the numbers; None for 1.
        guidance: what the structure shall have besides the fingerprint; None for the target alone.
        variable: whether the cell is unknown.
        bounds: static sizes of the neighbour lists.
    """

    target: Float[Array, "*batch p"]
    species: Int[Array, "*batch n"]
    cell: Float[Array, "*batch 3 3"] | None
    radii: Float[Array, "*batch n"] | None = None
    mask: Bool[Array, "*batch n"] | None = None
    fixed: Bool[Array, "*batch n"] | None = None
    known: Float[Array, "*batch n 3"] | None = None
    volume: Float[Array, "*batch"] | None = None
    weights: Float[Array, "*batch p"] | None = None
    guidance: Guidance | None = None
    variable: bool = field(default=False, metadata={"static": True})
    bounds: Bounds | None = field(default=None, metadata={"static": True})

    @property
    def atoms(self) -> Bool[Array, " n"]:
        """Whether each entry is an atom, and not padding."""
        return jnp.ones(self.species.shape, bool) if self.mask is None else self.mask

    @property
    def free(self) -> Bool[Array, " n"]:
        """Whether each entry is an atom that may move."""
        return self.atoms if self.fixed is None else self.atoms & ~self.fixed

    @property
    def may_be_symmetric(self) -> bool:
        """Whether random starts may have point groups: free structures without known atoms."""
        return self.cell is None and self.fixed is None and not self.variable

    @property
    def radius(self) -> Float[Array, " n"]:
        """Covalent radii in Angstrom."""
        if self.radii is None:
            return initialize.radii(self.species, self.target.dtype)
        return self.radii

    def split(
        self, coordinates: Float[Array, "x 3"]
    ) -> tuple[Float[Array, "n 3"], Float[Array, "3 3"] | None]:
        """Split coordinates into positions and cell, in Angstrom; a free structure has no cell."""
        if self.variable:
            return coordinates[:-3], coordinates[-3:]
        return coordinates, self.cell

    def join(
        self, positions: Float[Array, "n 3"], cell: Float[Array, "3 3"] | None
    ) -> Float[Array, "x 3"]:
        """Join positions and cell, in Angstrom, to coordinates; fixed atoms get known positions."""
        if self.fixed is not None and self.known is not None:
            positions = jnp.where(self.fixed[:, None], self.known, positions)
        return (
            positions if cell is None or not self.variable else jnp.concatenate([positions, cell])
        )

    def structure(self, coordinates: Float[Array, "x 3"]) -> Structure:
        """The structure that has these coordinates, in Angstrom."""
        positions, cell = self.split(coordinates)
        return Structure(positions, self.species, self.atoms, cell, bounds=self.bounds)

    def moved(
        self, coordinates: Float[Array, "x 3"], step: Float[Array, "x 3"]
    ) -> Float[Array, "x 3"]:
        """Take a step: move the atoms, then strain the cell and the atoms with it.

        Args:
            coordinates: where the step starts, in Angstrom.
            step: displacements of the atoms and, below them, where the cell is unknown, the strain
                times :data:`STRAIN_LENGTH`; in Angstrom. Only the symmetric part of the strain is
                taken: the rest would rotate the crystal.

        Returns:
            The coordinates after the step, in Angstrom.
        """
        if not self.variable:
            return coordinates + step
        strain = step[-3:] / STRAIN_LENGTH
        strain = (strain + strain.T) / 2.0
        inner = coordinates.at[:-3].add(step[:-3])
        return inner + jnp.matmul(inner, strain, precision=jax.lax.Precision.HIGHEST)

    def constrained(self, equations: NormalEquations) -> NormalEquations:
        """Remove fixed atoms and padding from a Gauss-Newton model: no step moves them."""
        if self.fixed is None and self.mask is None:
            return equations
        cell = jnp.ones(3 if self.variable else 0, bool)
        free = jnp.repeat(jnp.concatenate([self.free, cell]), 3)
        return equations._replace(
            gram=jnp.where(free[:, None] & free[None, :], equations.gram, 0.0),
            gradient=jnp.where(free, equations.gradient, 0.0),
        )
