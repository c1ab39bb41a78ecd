"""From positions to the displacements between each atom and its neighbours.

Free structures and the minimum-image convention have one displacement for each pair of atoms. The
alternative is all periodic images within a cutoff, found among all pairs or, for many atoms, by a
cell list.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision, stop_gradient
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import inverse_3x3
from jaxrecon.structures.bounds import ASIDE
from jaxrecon.structures.bounds import offsets as offsets_of
from jaxrecon.structures.structure import Bounds, Structure

BLOCK = 256
"""Number of atoms whose candidates are examined together: it bounds the memory that this needs."""

ROW = 32
"""Number of places whose running count is one product."""

EDGE = 1e-6
"""Relative slack at the edges of cells and bins, so that round-off is not an overflow."""


class Neighbors(NamedTuple):
    """The environments of all atoms; row i belongs to central atom i.

    Attributes:
        vectors: displacements from the central atom to its neighbours in Angstrom, shape
            ``(n, m, 3)``.
        species: atomic numbers of the neighbours, shape ``(n, m)``.
        mask: false for the central atom itself and for padding, shape ``(n, m)``.
        source: index of the atom of which each neighbour is an image, shape ``(n, m)``; None where
            neighbour m is atom m.
        overflow: true if a neighbour within the cutoff may be missing: because an atom has more
            than ``Bounds.capacity`` neighbours, a bin has more than ``Bounds.bin_capacity`` atoms,
            or the cell is too narrow for ``Bounds.counts``.
        center: atomic numbers of the central atoms, shape ``(n,)``; 0 for padding and for a centre
            that is not an atom; None where they are not known.
    """

    vectors: Float[Array, "n m 3"]
    species: Int[Array, "n m"]
    mask: Bool[Array, "n m"]
    source: Int[Array, "n m"] | None = None
    overflow: Bool[Array, ""] | bool = False
    center: Int[Array, " n"] | None = None


class _Found(NamedTuple):
    """The images within the cutoff of one atom.

    Attributes:
        source: index of the atom of which each one is an image, shape ``(m,)``.
        cells: whole-number coordinates of the cell in which each one lies, shape ``(m, 3)``.
        number: number of images, which may exceed m.
    """

    source: Int[Array, " m"]
    cells: Int[Array, "m 3"]
    number: Int[Array, ""]


def displacement(
    cell: Float[Array, "3 3"] | None,
) -> Callable[[Float[Array, " 3"], Float[Array, " 3"]], Float[Array, " 3"]]:
    """The displacement function ``(a, b) -> a - b`` of a space, in the form that jax-md uses.

    In free space it is the plain difference. With a cell it is that of jax-md, which wraps the
    fractional difference into [-1/2, 1/2): the minimum-image convention of Fung et al.,
    arXiv 2207.13227. It has one image of each atom. In a cell narrower than twice the cutoff other
    images are left out, and the displacement jumps where two images are equally far, as they are in
    most symmetric crystals.

    Args:
        cell: lattice vectors as rows in Angstrom, or None for free space.

    Returns:
        A function of two positions in Angstrom that returns their displacement in Angstrom.
    """
    if cell is None:
        return _difference
    # jax_md imports e3nn, sympy and more, which takes seconds: only for periodic structures.
    with mixing():
        from jax_md.space import periodic_general

        between = periodic_general(cell.T, fractional_coordinates=False)[0]

    def wrapped(a: Float[Array, " 3"], b: Float[Array, " 3"], **keywords: Any) -> Array:
        with mixing():
            difference: Array = between(a, b, **keywords)
        return difference

    return wrapped


@contextmanager
def mixing() -> Iterator[None]:
    """Let jax-md mix types and shapes of numbers, also when it is imported: users may forbid it.

    Its products get full precision, as accelerators would round float32 factors to 10 bits.
    """
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):
        yield


def _difference(a: Float[Array, " 3"], b: Float[Array, " 3"], **_: Any) -> Float[Array, " 3"]:
    """Displacement in free space; jax-md passes keywords that only other spaces use."""
    return a - b


def neighbors(structure: Structure) -> Neighbors:
    """Displacements from each atom to all others, one for each pair.

    Args:
        structure: free, or periodic with the minimum-image convention.

    Returns:
        Neighbours with shapes ``(n, n, ...)``; the atom itself is masked out.
    """
    positions, mask, cell = structure.positions, structure.mask, structure.cell
    n = positions.shape[0]
    vectors = direct = positions[None, :, :] - positions[:, None, :]
    if cell is not None:
        # out[i, j] is displacement(positions[j], positions[i]).
        pairs = jax.vmap(jax.vmap(displacement(cell), (0, None)), (None, 0))
        vectors = pairs(positions, positions)
    if cell is not None and structure.pbc is not None:
        # jax-md wraps along all axes: undo this along those that do not repeat.
        wrapped = _fractional(stop_gradient(direct - vectors), cell)
        cells = jnp.where(structure.pbc, jnp.round(wrapped), 0.0)
        vectors = direct - jnp.matmul(cells, cell, precision=Precision.HIGHEST)
    others = mask[:, None] & mask[None, :] & ~jnp.eye(n, dtype=bool)
    species = jnp.broadcast_to(structure.species[None, :], (n, n))
    return Neighbors(vectors, species, others, center=_centers(structure))


def image_neighbors(structure: Structure, r_cut: float) -> Neighbors:
    """Displacements from each atom to all periodic images within the cutoff, its own included.

    Shapes are static: each atom has ``bounds.capacity`` entries. The result can be differentiated
    by positions and cell, at a constant choice of images. With ``bounds.bins`` only the bins around
    each atom are searched, and the cost is proportional to the number of atoms, not of pairs.

    Args:
        structure: a structure with a cell and with bounds.
        r_cut: cutoff in Angstrom.

    Returns:
        Neighbours with shapes ``(n, capacity, ...)``.

    Raises:
        ValueError: if the structure has no cell or no bounds.
    """
    cell, bounds = structure.cell, structure.bounds
    if cell is None or bounds is None:
        raise ValueError(
            "expected a structure with a cell and bounds=bounds_of(...), got "
            f"cell={cell}, bounds={bounds}"
        )
    pbc = jnp.ones(3, bool) if structure.pbc is None else structure.pbc
    heights = 1.0 / jnp.linalg.norm(inverse_3x3(stop_gradient(cell)), axis=0)
    # Choose the images, and check that the cell is wide enough for the bounds.
    if bounds.bins is None:
        found = _among_pairs(structure, bounds, pbc, r_cut)
        reach = jnp.floor(r_cut / heights * (1.0 - EDGE) + 0.5)
        narrow = pbc & (reach > jnp.asarray(bounds.counts, reach.dtype))
        overflow = jnp.any(narrow)
    else:
        found, overflow = _among_bins(structure, bounds, pbc, r_cut)
        bins = jnp.asarray(bounds.bins, cell.dtype)
        reach = jnp.ceil(r_cut * bins / heights * (1.0 - EDGE))
        reach = jnp.where(pbc, reach, jnp.minimum(reach, bins - 1))
        overflow |= jnp.any(reach > jnp.asarray(bounds.counts, reach.dtype))
    # The choice of images was made with constants: compute the displacements again, so that they
    # can be differentiated.
    positions = structure.positions
    vectors = positions[found.source] - positions[:, None, :]
    shift = found.cells.astype(positions.dtype)
    return Neighbors(
        vectors=vectors + jnp.einsum("nmk,kx->nmx", shift, cell, precision=Precision.HIGHEST),
        species=structure.species[found.source],
        mask=jnp.arange(bounds.capacity)[None, :] < found.number[:, None],
        source=found.source,
        overflow=overflow | jnp.any(found.number > bounds.capacity),
        center=_centers(structure),
    )


def with_centers(neighbors: Neighbors) -> Neighbors:
    """Append each central atom to its own neighbours, at the vector zero.

    Args:
        neighbors: environments whose central atoms are known.

    Returns:
        The environments with one neighbour more, without :attr:`Neighbors.source`.

    Raises:
        ValueError: if the central atoms are not known.
    """
    if neighbors.center is None:
        raise ValueError("expected neighbors with the atomic numbers of their centers, got None")
    center = neighbors.center[:, None]
    own = jnp.zeros_like(neighbors.vectors[:, :1])
    return Neighbors(
        vectors=jnp.concatenate([neighbors.vectors, own], axis=1),
        species=jnp.concatenate([neighbors.species, center], axis=1),
        mask=jnp.concatenate([neighbors.mask, center > 0], axis=1),
        overflow=neighbors.overflow,
    )


def _centers(structure: Structure) -> Int[Array, " n"]:
    """The atomic numbers of all atoms; 0 for padding."""
    return jnp.where(structure.mask, structure.species, 0)


def _among_pairs(structure: Structure, bounds: Bounds, pbc: Array, r_cut: float) -> _Found:
    """Examine every pair of atoms and every image within ``bounds.counts``."""
    positions, mask, cell = _frozen(structure)
    offsets = jnp.asarray(offsets_of(bounds.counts))
    allowed = jnp.all((offsets == 0) | pbc[None, :], axis=-1)

    translations = _cartesian(offsets, cell).T

    def images_around(i: Array) -> _Found:
        direct = positions - positions[i][None, :]
        # Whole cells to subtract, so that the direct vector is within half a cell on each axis.
        whole = jnp.where(pbc[None, :], jnp.round(_fractional(direct, cell)), 0.0)
        whole = whole.astype(offsets.dtype)
        nearest = direct - _cartesian(whole, cell)
        x, y, z = ((nearest[:, k, None] + translations[k][None, :]) ** 2 for k in range(3))
        itself = (jnp.arange(len(mask)) == i)[:, None] & jnp.all(offsets == 0, axis=-1)[None, :]
        present = (mask[i] & mask)[:, None] & allowed[None, :] & ~itself
        order, number = _compacted(present & (x + y + z < r_cut**2), bounds.capacity)
        source, image = order // len(offsets), order % len(offsets)
        return _Found(source, offsets[image] - whole[source], number)

    return _over_atoms(images_around, len(mask))


def _among_bins(
    structure: Structure, bounds: Bounds, pbc: Array, r_cut: float
) -> tuple[_Found, Array]:
    """Examine the atoms in the bins around each atom; also say whether a bin has overflowed."""
    with mixing():
        from jax_md.partition import cell_list

    positions, mask, cell = _frozen(structure)
    assert bounds.bins is not None
    n, offsets = len(mask), jnp.asarray(offsets_of(bounds.counts))
    bins = jnp.asarray(bounds.bins, offsets.dtype)
    # Move all atoms into the cell, and into the box of the atoms along axes that do not repeat.
    fractional = _fractional(positions, cell) + ASIDE
    lowest = jnp.min(jnp.where(mask[:, None], fractional, jnp.inf), axis=0) - ASIDE
    whole = jnp.where(pbc[None, :], jnp.floor(fractional), 0.0)
    inside = fractional - jnp.where(pbc[None, :], whole, lowest[None, :])
    # Spread padding evenly over the bins, so that it fills none of them.
    spread = jnp.stack(jnp.unravel_index(jnp.arange(n) % math.prod(bounds.bins), bounds.bins), -1)
    middle = (spread.astype(inside.dtype) + 0.5) / bins.astype(inside.dtype)[None, :]
    inside = jnp.where(mask[:, None], inside, middle)
    sides = np.asarray(bounds.bins, dtype=np.float64)
    with mixing():
        # With this smallest side jax-md rounds to the requested number of bins.
        listed = cell_list(np.ones(3), 1.0 / (sides + 0.5)).update(
            jnp.clip(inside, 0.0, 1.0 - EDGE), bounds.bin_capacity
        )
    atoms = listed.id_buffer.reshape(-1, bounds.bin_capacity).astype(int)
    home = listed.particle_cell_id.astype(offsets.dtype)
    strides = jnp.asarray([1, bounds.bins[0], bounds.bins[0] * bounds.bins[1]], offsets.dtype)

    def images_around(i: Array) -> _Found:
        # The atoms in the neighbouring bins, and the periodic images of the cell that these are in.
        place = home[i][None, :] + offsets
        cells = jnp.floor_divide(place, bins[None, :])
        candidates = atoms[jnp.sum((place - cells * bins[None, :]) * strides[None, :], axis=-1)]
        source = jnp.minimum(candidates, n - 1)
        allowed = jnp.all((cells == 0) | pbc[None, :], axis=-1)[:, None] & (candidates < n)
        apart = (whole[i][None, None, :] - whole[source]).astype(cells.dtype)
        shift = cells[:, None, :] + apart
        vectors = positions[source] - positions[i][None, None, :] + _cartesian(shift, cell)
        itself = (source == i) & jnp.all(cells == 0, axis=-1)[:, None]
        present = mask[i] & mask[source] & allowed & ~itself
        near = jnp.sum(vectors**2, axis=-1) < r_cut**2
        order, number = _compacted(present & near, bounds.capacity)
        return _Found(source.ravel()[order], shift.reshape(-1, 3)[order], number)

    return _over_atoms(images_around, n), listed.did_buffer_overflow


def _compacted(
    chosen: Bool[Array, "a b"], capacity: int
) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
    """Compact the places of what is chosen into so many entries, and count what is chosen."""
    flat = chosen.ravel()
    found = _running_count(flat)
    place = jnp.where(flat, found - 1, capacity)
    order = jnp.zeros(capacity, int).at[place].set(jnp.arange(len(flat)), mode="drop")
    return order, found[-1]


def _running_count(chosen: Bool[Array, " c"]) -> Int[Array, " c"]:
    """How many are chosen up to each place.

    Rows of the places are summed by a product, and only the totals of the rows by a cumulative sum,
    which is a slow operation.
    """
    rows = jnp.pad(chosen, (0, -len(chosen) % ROW)).astype(jnp.float32).reshape(-1, ROW)
    upper = np.triu(np.ones((ROW, ROW), np.float32))
    within = jnp.matmul(rows, upper, precision=Precision.HIGHEST)
    before = jnp.cumsum(within[:, -1]) - within[:, -1]
    return (within + before[:, None]).ravel()[: len(chosen)].astype(int)


def _over_atoms(images_around: Callable[[Array], _Found], n: int) -> _Found:
    """Call a function for each atom, for at most ``BLOCK`` atoms at once."""
    if n <= BLOCK:
        return jax.vmap(images_around)(jnp.arange(n))
    return jax.lax.map(images_around, jnp.arange(n), batch_size=BLOCK)


def _frozen(structure: Structure) -> tuple[Array, Array, Array]:
    """Positions, mask and cell, the geometry as constants: the choice of images has no gradient."""
    assert structure.cell is not None
    return stop_gradient(structure.positions), structure.mask, stop_gradient(structure.cell)


def _fractional(vectors: Float[Array, "*a 3"], cell: Float[Array, "3 3"]) -> Float[Array, "*a 3"]:
    """Fractional coordinates of vectors in Angstrom, in a cell that counts as a constant."""
    inverse = inverse_3x3(stop_gradient(cell))
    return jnp.matmul(vectors, inverse, precision=Precision.HIGHEST)


def _cartesian(cells: Int[Array, "*a 3"], cell: Float[Array, "3 3"]) -> Float[Array, "*a 3"]:
    """Vectors in Angstrom to other cells, from their whole-number coordinates."""
    return jnp.matmul(cells.astype(cell.dtype), cell, precision=Precision.HIGHEST)
