"""Task: what is to be inverted, and the coordinates in which that is searched."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.search import initialize
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.levenberg_marquardt import NormalEquations
from jaxrecon.structures.structure import Bounds, Structure

STRAIN_LENGTH = 10.0
"""Angstrom that a strain of 1 counts as: the longest step of an atom limits that of the cell."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Task:
    """What is to be inverted.

    The search moves *coordinates*: the positions of the atoms, ``(n, 3)``, and below them, where
    the cell is unknown, its three vectors: ``(n + 3, 3)``; all in Angstrom.

    Attributes:
        target: the fingerprint wanted, without a unit.
        species: atomic numbers, 0 for padding.
        cell: lattice vectors as rows in Angstrom, or None.
        radii: covalent radii in Angstrom; None for those of the species.
        mask: false for padding; None for atoms only.
        fixed: which atoms stay where they are known to be; None for none.
        known: where that is, in Angstrom.
        volume: of the unknown cell in Angstrom^3, about.
        guidance: what else is wanted; None where it is the target alone.
        variable: whether the cell is unknown; :attr:`cell` is any then.
        bounds: static sizes of what the atoms see.
    """

    target: Float[Array, "*batch p"]
    species: Int[Array, "*batch n"]
    cell: Float[Array, "*batch 3 3"] | None
    radii: Float[Array, "*batch n"] | None = None
    mask: Bool[Array, "*batch n"] | None = None
    fixed: Bool[Array, "*batch n"] | None = None
    known: Float[Array, "*batch n 3"] | None = None
    volume: Float[Array, "*batch"] | None = None
    guidance: Guidance | None = None
    variable: bool = field(default=False, metadata={"static": True})
    bounds: Bounds | None = field(default=None, metadata={"static": True})

    @property
    def atoms(self) -> Bool[Array, " n"]:
        """Which entries are atoms."""
        return jnp.ones(self.species.shape, bool) if self.mask is None else self.mask

    @property
    def free(self) -> Bool[Array, " n"]:
        """Which entries are atoms that may move."""
        return self.atoms if self.fixed is None else self.atoms & ~self.fixed

    @property
    def radius(self) -> Float[Array, " n"]:
        """Covalent radii in Angstrom."""
        if self.radii is None:
            return initialize.radii(self.species, self.target.dtype)
        return self.radii

    def split(
        self, coordinates: Float[Array, "x 3"]
    ) -> tuple[Float[Array, "n 3"], Float[Array, "3 3"] | None]:
        """Positions and cell of some coordinates, in Angstrom."""
        if self.variable:
            return coordinates[:-3], coordinates[-3:]
        return coordinates, self.cell

    def join(
        self, positions: Float[Array, "n 3"], cell: Float[Array, "3 3"] | None
    ) -> Float[Array, "x 3"]:
        """The coordinates of positions and cell, known atoms put where they are."""
        if self.fixed is not None and self.known is not None:
            positions = jnp.where(self.fixed[:, None], self.known, positions)
        return (
            positions if cell is None or not self.variable else jnp.concatenate([positions, cell])
        )

    def structure(self, coordinates: Float[Array, "x 3"]) -> Structure:
        """The structure with these coordinates and the composition of the task."""
        positions, cell = self.split(coordinates)
        return Structure(positions, self.species, self.atoms, cell, bounds=self.bounds)

    def moved(
        self, coordinates: Float[Array, "x 3"], step: Float[Array, "x 3"]
    ) -> Float[Array, "x 3"]:
        """Coordinates after a step: atoms move, then the cell and they with it are strained.

        The last three rows of a step are the symmetric strain times :data:`STRAIN_LENGTH`.
        """
        if not self.variable:
            return coordinates + step
        strain = step[-3:] / STRAIN_LENGTH
        strain = (strain + strain.T) / 2.0
        inner = coordinates.at[:-3].add(step[:-3])
        return inner + jnp.matmul(inner, strain, precision=jax.lax.Precision.HIGHEST)

    def restrained(self, equations: NormalEquations) -> NormalEquations:
        """The model in which only what is free moves."""
        if self.fixed is None and self.mask is None:
            return equations
        cell = jnp.ones(3 if self.variable else 0, bool)
        free = jnp.repeat(jnp.concatenate([self.free, cell]), 3)
        return equations._replace(
            gram=jnp.where(free[:, None] & free[None, :], equations.gram, 0.0),
            gradient=jnp.where(free, equations.gradient, 0.0),
        )
