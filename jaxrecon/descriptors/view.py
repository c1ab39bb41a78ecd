"""View of a structure: what a fingerprint has to know of it before it computes anything."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.structures.neighbors import Neighbors, image_neighbors, neighbors
from jaxrecon.structures.structure import Structure


class View(NamedTuple):
    """One structure as a fingerprint sees it: environments, groups of atoms, and channels.

    A structure often has fewer elements than the fingerprint. Then only the channels of its own
    elements are computed, and the pooled numbers are put at their places in the whole fingerprint,
    whose other numbers are 0.

    Attributes:
        neighbors: the environments of the atoms.
        groups: which atoms are pooled together; one group in each row.
        elements: atomic numbers of the channels, ascending; 0 for a channel that is not needed.
        columns: index of each pooled number in the whole fingerprint, or its size for a number that
            is not part of it; None where the pooled numbers are the whole fingerprint.
    """

    neighbors: Neighbors
    groups: Bool[Array, "g n"]
    elements: Int[Array, " e"]
    columns: Int[Array, " q"] | None

    def spread(self, numbers: Float[Array, "q ..."], size: int) -> Float[Array, "p ..."]:
        """Put pooled numbers at their places in the whole fingerprint.

        Args:
            numbers: the pooled numbers, or their derivatives.
            size: size of the whole fingerprint.

        Returns:
            The numbers of the whole fingerprint, 0 for those that the structure does not have; all
            NaN if neighbours, elements or atoms did not fit into static sizes.
        """
        if self.columns is not None:
            whole = jnp.zeros((size, *numbers.shape[1:]), numbers.dtype)
            numbers = whole.at[self.columns].set(numbers, mode="drop")
        return jnp.where(self.neighbors.overflow, jnp.nan, numbers)


def channel_elements(
    structure: Structure, species: tuple[int, ...]
) -> tuple[Int[Array, " e"], Bool[Array, ""]]:
    """Choose the elements for which a structure needs channels.

    Args:
        structure: the structure. If its bounds limit the number of different elements, this is the
            number of channels.
        species: atomic numbers of all elements of the descriptor, ascending.

    Returns:
        The atomic numbers of the channels, ascending, with 0 for a channel that is not needed; and
        whether the structure has more elements than its bounds allow.

    Raises:
        ValueError: if it is a structure of another package.
    """
    if not isinstance(structure, Structure):
        raise ValueError(
            f"expected a structure of jaxrecon, got {type(structure).__name__}: jaxrecon.featurize "
            "takes those of ASE and pymatgen, and jaxrecon.from_ase converts them"
        )
    bounds, numbers, mask = structure.bounds, structure.species, structure.mask
    elements, overflow = jnp.asarray(species, numbers.dtype), jnp.zeros((), bool)
    if bounds is not None and bounds.elements is not None and bounds.elements < len(elements):
        known = mask & (numbers[:, None] == elements[None, :]).any(axis=1)
        # The unique numbers are: 0 for padding and unknown elements, which the appended 0 puts
        # first in any case; the elements of the structure, ascending; then 0 up to the size. One
        # entry more than the bounds allow is only filled by one element too many.
        found = jnp.append(jnp.where(known, numbers, 0), 0)
        found = jnp.unique(found, size=bounds.elements + 2, fill_value=0)
        elements, overflow = found[1:-1], found[-1] > 0
    return elements, overflow


def environments(structure: Structure, images: str, r_cut: float) -> Neighbors:
    """Find the neighbours of all atoms.

    Args:
        structure: one structure.
        images: ``"all"`` or ``"minimum"``, as in a fingerprint.
        r_cut: cutoff in Angstrom.

    Returns:
        The environments of the atoms.
    """
    # A structure whose bounds have bins is searched by a cell list, for the minimum image as well:
    # it has them only if the cell is so wide that no atom has two images within the cutoff.
    bounds = structure.bounds
    by_pairs = images == "minimum" and (bounds is None or bounds.bins is None)
    if structure.cell is None or by_pairs:
        return neighbors(structure)
    return image_neighbors(structure, r_cut)
