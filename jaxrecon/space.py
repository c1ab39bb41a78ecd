"""Geometry: from positions to the vectors that an atom sees.

Free, in the minimum image, or with all periodic images within a cutoff.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.structures import Images, Structure

CROWDING = 1.5
"""Capacity for the neighbours of moving atoms, in units of their mean number within the cutoff."""


class Neighbors(NamedTuple):
    """The surroundings of every atom; row i belongs to central atom i.

    Attributes:
        vectors: displacements from the centre to the neighbours in Angstrom, shape ``(n, m, 3)``.
        species: atomic numbers of the neighbours, shape ``(n, m)``.
        mask: false for the atom itself and for padding, shape ``(n, m)``.
        source: which atom each neighbour is (an image of), shape ``(n, m)``; None where neighbour m
            is atom m.
    """

    vectors: Float[Array, "n m 3"]
    species: Int[Array, "n m"]
    mask: Bool[Array, "n m"]
    source: Int[Array, "n m"] | None = None


def displacement(
    cell: Float[Array, "3 3"] | None,
) -> Callable[[Float[Array, " 3"], Float[Array, " 3"]], Float[Array, " 3"]]:
    """The displacement function ``(a, b) -> a - b`` of jax-md for a space, in Angstrom.

    With a cell it wraps the fractional difference into [-1/2, 1/2), the minimum-image convention
    of Fung et al., arXiv 2207.13227. It sees one image of each atom: in a cell narrower than twice
    the cutoff this is a convention, not the crystal, and it jumps where two images are equally far,
    as they are in most symmetric crystals.

    Args:
        cell: lattice vectors as rows in Angstrom, or None for free space.
    """
    # jax_md imports pymatgen and more: seconds that `import jaxrecon` must not cost.
    from jax_md import space

    if cell is None:
        return space.free()[0]
    return space.periodic_general(cell.T, fractional_coordinates=False)[0]


def neighbors(structure: Structure) -> Neighbors:
    """Every atom's view of all others, once each, shapes ``(n, n, ...)``; itself masked out."""
    from jax_md.space import map_product

    positions, mask = structure.positions, structure.mask
    n = positions.shape[0]
    # map_product gives out[i, j] = displacement(positions[j], positions[i]).
    vectors = map_product(displacement(structure.cell))(positions, positions)
    others = mask[:, None] & mask[None, :] & ~jnp.eye(n, dtype=bool)
    return Neighbors(vectors, jnp.broadcast_to(structure.species[None, :], (n, n)), others)


def image_neighbors(structure: Structure, r_cut: float) -> Neighbors:
    """Every atom's view of all periodic images within the cutoff, its own images included.

    The nearest ``structure.images.capacity`` are kept, so that shapes are static. Where more are
    within the cutoff the farthest are left out: see :func:`images_of` for a capacity that holds
    all of a given structure.

    Args:
        structure: a periodic one, with ``images`` set.
        r_cut: cutoff in Angstrom.

    Raises:
        ValueError: if the structure has no cell or no ``images``.
    """
    if structure.cell is None or structure.images is None:
        raise ValueError(
            "expected a periodic structure with images=images_within(...), got "
            f"cell={structure.cell}, images={structure.images}"
        )
    positions, cell, mask = structure.positions, structure.cell, structure.mask
    n = positions.shape[0]
    offsets = _offsets(structure.images.counts)
    direct = positions[None, :, :] - positions[:, None, :]
    # Whole cells to take off so that the direct vector is within half a cell on each axis.
    fractional = jnp.einsum("ijx,xk->ijk", direct, jnp.linalg.inv(cell))
    cells = offsets[None, None] - jax.lax.stop_gradient(jnp.round(fractional))[:, :, None, :]
    vectors = direct[:, :, None, :] + jnp.einsum("ijok,kx->ijox", cells, cell)

    square = jnp.sum(jax.lax.stop_gradient(vectors) ** 2, axis=-1)
    itself = jnp.eye(n, dtype=bool)[:, :, None] & jnp.all(offsets == 0, axis=-1)[None, None, :]
    absent = ~(mask[:, None] & mask[None, :])[:, :, None] | itself
    square = jnp.where(absent, jnp.inf, square).reshape(n, -1)
    nearest, chosen = jax.lax.top_k(-square, structure.images.capacity)
    source = chosen // len(offsets)
    return Neighbors(
        vectors=jnp.take_along_axis(vectors.reshape(n, -1, 3), chosen[:, :, None], axis=1),
        species=structure.species[source],
        mask=-nearest < r_cut**2,
        source=source,
    )


def images_within(cell: np.ndarray, r_cut: float, atoms: int) -> Images:
    """Bounds for atoms that move about in a cell, with room for uneven densities.

    Args:
        cell: lattice vectors as rows in Angstrom.
        r_cut: cutoff in Angstrom.
        atoms: how many atoms are in the cell.

    >>> import numpy as np
    >>> images_within(4.0 * np.eye(3), 6.0, 1)
    Images(counts=(2, 2, 2), capacity=32)
    """
    volume = abs(np.linalg.det(cell))
    mean = atoms / volume * 4.0 / 3.0 * math.pi * r_cut**3
    return _bounds(cell, r_cut, atoms, round(CROWDING * mean) + 8)


def images_of(structures: Iterable[Atoms], r_cut: float) -> Images:
    """Bounds that hold every neighbour within the cutoff, in Angstrom, of these structures.

    >>> from ase.build import bulk
    >>> images_of([bulk("Pt", a=4.0)], 3.0)
    Images(counts=(1, 1, 1), capacity=16)
    """
    from ase.neighborlist import neighbor_list

    bounds = []
    for atoms in structures:
        centre = neighbor_list("i", atoms, r_cut)
        most = int(np.bincount(centre, minlength=1).max())
        bounds.append(_bounds(atoms.cell.array, r_cut, len(atoms), most))
    counts = np.max([item.counts for item in bounds], axis=0)
    return Images(
        (int(counts[0]), int(counts[1]), int(counts[2])), max(item.capacity for item in bounds)
    )


def _bounds(cell: np.ndarray, r_cut: float, atoms: int, neighbors: int) -> Images:
    """Image counts from the heights of the cell; capacity rounded up, at most every image."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    counts = [math.floor(r_cut / height + 0.5 + 1e-9) for height in heights]
    every = atoms * math.prod(2 * count + 1 for count in counts)
    capacity = min(every, 8 * math.ceil(max(neighbors, 1) / 8))
    return Images((counts[0], counts[1], counts[2]), capacity)


def _offsets(counts: tuple[int, int, int]) -> np.ndarray:
    """Whole-number coordinates of the cells looked at, shape ``(o, 3)``."""
    ranges = [np.arange(-count, count + 1) for count in counts]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
