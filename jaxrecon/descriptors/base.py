"""What all descriptors of the environment of atoms have in common."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.cutoffs import CUTOFFS, CutoffName
from jaxrecon.descriptors.environment import Environment, channels, environment
from jaxrecon.structures.neighbors import Neighbors

BLOCK = 64
"""Central atoms whose rows are computed together: bounds the memory that many atoms take."""

Rows = TypeVar("Rows")


class Local:
    """A base of frozen dataclasses with these fields.

    Attributes:
        elements: chemical symbols.
        r_cut: cutoff in Angstrom.
        cutoff: name of the cutoff function.
        weighted: one channel weighted by atomic numbers instead of one for each element.
    """

    elements: tuple[str, ...]
    r_cut: float
    cutoff: CutoffName
    weighted: bool

    def _check_environment(self) -> None:
        """Sort the elements by atomic number; raise ValueError if a field is out of its range."""
        unknown = [symbol for symbol in self.elements if atomic_numbers.get(symbol, 0) == 0]
        if unknown or not self.elements:
            raise ValueError(f"expected elements as chemical symbols, got {self.elements!r}")
        ordered = tuple(sorted(set(self.elements), key=lambda symbol: atomic_numbers[symbol]))
        object.__setattr__(self, "elements", ordered)
        if not 0 < self.r_cut < np.inf:
            raise ValueError(f"expected r_cut > 0 Angstrom, got {self.r_cut}")
        object.__setattr__(self, "r_cut", float(self.r_cut))
        if self.cutoff not in CUTOFFS:
            raise ValueError(f"expected cutoff among {tuple(CUTOFFS)}, got {self.cutoff!r}")

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the elements, ascending."""
        return tuple(atomic_numbers[symbol] for symbol in self.elements)

    def places(self, elements: Int[Array, " e"]) -> tuple[Int[Array, " e"], Bool[Array, " e"]]:
        """Where some atomic numbers stand among the elements, and whether they do."""
        species = jnp.asarray(self.species)
        place = jnp.searchsorted(species, elements).clip(0, len(species) - 1)
        return place, species[place] == elements

    def _over_atoms(
        self,
        one: Callable[[Array, Array], Rows],
        neighbors: Neighbors,
        elements: Int[Array, " e"] | None,
    ) -> Rows:
        """What ``one`` makes of each atom's environment; of many atoms, block after block."""

        def of(atom: tuple[Array, Array, Array]) -> Rows:
            vectors, species, mask = atom
            return one(
                vectors, self._channel(species, mask, elements=elements, dtype=vectors.dtype)
            )

        atoms = (neighbors.vectors, neighbors.species, neighbors.mask)
        if len(neighbors.vectors) <= BLOCK:
            return jax.vmap(of)(atoms)
        return jax.lax.map(jax.checkpoint(of), atoms, batch_size=BLOCK)

    def _channel(
        self, species: Array, mask: Array, *, elements: Array | None, dtype: jnp.dtype
    ) -> Float[Array, "m s"]:
        chosen = jnp.asarray(self.species) if elements is None else elements
        return channels(species, mask, chosen, weighted=self.weighted, dtype=dtype)

    def _see(self, vectors: Array, channel: Array) -> Environment:
        return environment(vectors, channel, cutoff=self.cutoff, r_cut=self.r_cut)
