"""Protocols: what a descriptor must offer, so that a user's own one works as ours do."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float

from jaxrecon.space import Neighbors


@runtime_checkable
class Descriptor(Protocol):
    """A hashable set of parameters that turns neighbours into one row of features an atom."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols it knows, sorted by atomic number."""

    @property
    def species(self) -> tuple[int, ...]:
        """Their atomic numbers."""

    @property
    def r_cut(self) -> float:
        """Distance in Angstrom beyond which an atom has no influence."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each feature of a row is."""

    def __call__(self, neighbors: Neighbors) -> Float[Array, "n f"]:
        """Rows, one for each central atom."""

    def with_jacobian(
        self, neighbors: Neighbors
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
        """Rows and their derivatives with respect to the neighbour vectors."""
