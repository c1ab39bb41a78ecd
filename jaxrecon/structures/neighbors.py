"""Geometry: from positions to the vectors that an atom sees.

Free or in the minimum image, one view of every other atom; or with all periodic images within a
cutoff, found among all pairs or, for many atoms, by a cell list.
"""

import math
from collections.abc import Callable
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
"""Atoms whose candidates are looked at together: bounds the memory of a search for neighbours."""

EDGE = 1e-6
"""Slack at the edges of cells and bins, relative: round-off, not an overflow."""


class Neighbors(NamedTuple):
    """The environment of every atom; row i belongs to central atom i.

    Attributes:
        vectors: displacements from the centre to the neighbours in Angstrom, shape ``(n, m, 3)``.
        species: atomic numbers of the neighbours, shape ``(n, m)``.
        mask: false for the atom itself and for padding, shape ``(n, m)``.
        source: which atom each neighbour is (an image of), shape ``(n, m)``; None where neighbour m
            is atom m.
        overflow: true if a neighbour within the cutoff may be missing, because an atom has more
            than ``Bounds.capacity`` of them, a bin more atoms than ``Bounds.bin_capacity``, or the
            cell is too narrow for ``Bounds.counts``.
    """

    vectors: Float[Array, "n m 3"]
    species: Int[Array, "n m"]
    mask: Bool[Array, "n m"]
    source: Int[Array, "n m"] | None = None
    overflow: Bool[Array, ""] | bool = False


class _Found(NamedTuple):
    """The images within the cutoff of one atom: of which atoms, in which cells, and how many."""

    source: Int[Array, " m"]
    cells: Int[Array, "m 3"]
    number: Int[Array, ""]


def displacement(
    cell: Float[Array, "3 3"] | None,
) -> Callable[[Float[Array, " 3"], Float[Array, " 3"]], Float[Array, " 3"]]:
    """The displacement function ``(a, b) -> a - b`` of a space, in Angstrom, as jax-md takes it.

    In free space it is the plain difference. With a cell it is that of jax-md, which wraps the
    fractional difference into [-1/2, 1/2), the minimum-image convention of Fung et al.,
    arXiv 2207.13227. It sees one image of each atom: in a cell narrower than twice the cutoff this
    is a convention, not the crystal, and it jumps where two images are equally far, as they are in
    most symmetric crystals.

    Args:
        cell: lattice vectors as rows in Angstrom, or None for free space.
    """
    if cell is None:
        return _difference
    # jax_md imports e3nn, sympy and more: seconds that only periodic structures have to pay.
    from jax_md.space import periodic_general

    return periodic_general(cell.T, fractional_coordinates=False)[0]


def _difference(a: Float[Array, " 3"], b: Float[Array, " 3"], **_: Any) -> Float[Array, " 3"]:
    """In free space; jax-md calls such functions with keywords that are for others."""
    return a - b


def neighbors(structure: Structure) -> Neighbors:
    """Every atom's view of all others, once each, shapes ``(n, n, ...)``; itself masked out."""
    positions, mask, cell = structure.positions, structure.mask, structure.cell
    n = positions.shape[0]
    vectors = direct = positions[None, :, :] - positions[:, None, :]
    if cell is not None:
        from jax_md.space import map_product

        # map_product gives out[i, j] = displacement(positions[j], positions[i]).
        vectors = map_product(displacement(cell))(positions, positions)
    if cell is not None and structure.pbc is not None:
        # jax-md wraps along all axes: undo it along those that do not repeat.
        wrapped = _fractional(stop_gradient(direct - vectors), cell)
        cells = jnp.where(structure.pbc, jnp.round(wrapped), 0.0)
        vectors = direct - jnp.matmul(cells, cell, precision=Precision.HIGHEST)
    others = mask[:, None] & mask[None, :] & ~jnp.eye(n, dtype=bool)
    return Neighbors(vectors, jnp.broadcast_to(structure.species[None, :], (n, n)), others)


def image_neighbors(structure: Structure, r_cut: float) -> Neighbors:
    """Every atom's view of all periodic images within the cutoff, its own images included.

    There is room for ``bounds.capacity`` of them, so that shapes are static. Positions and cell may
    both be differentiated; which images are seen is constant. With ``bounds.bins`` the search looks
    into the bins around each atom only, and costs as much as there are atoms, not pairs.

    Args:
        structure: one with a cell and with bounds.
        r_cut: cutoff in Angstrom.

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
    if bounds.bins is None:
        found = _among_pairs(structure, bounds, pbc, r_cut)
        reach = jnp.floor(r_cut / heights * (1.0 - EDGE) + 0.5)
        narrow = pbc & (reach > jnp.asarray(bounds.counts))
        overflow = jnp.any(narrow)
    else:
        found, overflow = _among_bins(structure, bounds, pbc, r_cut)
        bins = jnp.asarray(bounds.bins)
        reach = jnp.ceil(r_cut * bins / heights * (1.0 - EDGE))
        reach = jnp.where(pbc, reach, jnp.minimum(reach, bins - 1))
        overflow |= jnp.any(reach > jnp.asarray(bounds.counts))
    positions = structure.positions
    vectors = positions[found.source] - positions[:, None, :]
    shift = found.cells.astype(positions.dtype)
    return Neighbors(
        vectors=vectors + jnp.einsum("nmk,kx->nmx", shift, cell, precision=Precision.HIGHEST),
        species=structure.species[found.source],
        mask=jnp.arange(bounds.capacity)[None, :] < found.number[:, None],
        source=found.source,
        overflow=overflow | jnp.any(found.number > bounds.capacity),
    )


def _among_pairs(structure: Structure, bounds: Bounds, pbc: Array, r_cut: float) -> _Found:
    """Look at every pair of atoms and every image in ``bounds.counts``."""
    positions, mask, cell = _frozen(structure)
    offsets = jnp.asarray(offsets_of(bounds.counts))
    allowed = jnp.all((offsets == 0) | pbc[None, :], axis=-1)

    def of(i: Array) -> _Found:
        direct = positions - positions[i][None, :]
        # Whole cells to take off so that the direct vector is within half a cell on each axis.
        whole = jnp.where(pbc[None, :], jnp.round(_fractional(direct, cell)), 0.0)
        cells = offsets[None, :, :] - whole.astype(int)[:, None, :]
        vectors = direct[:, None, :] + _cartesian(cells, cell)
        itself = (jnp.arange(len(mask)) == i)[:, None] & jnp.all(offsets == 0, axis=-1)[None, :]
        present = (mask[i] & mask)[:, None] & allowed[None, :] & ~itself
        source = jnp.broadcast_to(jnp.arange(len(mask))[:, None], present.shape)
        return _within(source, cells, vectors, present, bounds.capacity, r_cut)

    return _over_atoms(of, len(mask))


def _among_bins(
    structure: Structure, bounds: Bounds, pbc: Array, r_cut: float
) -> tuple[_Found, Array]:
    """Look into the bins around each atom's own; also whether a bin has overflowed."""
    from jax_md.partition import cell_list

    positions, mask, cell = _frozen(structure)
    assert bounds.bins is not None
    n, bins = len(mask), jnp.asarray(bounds.bins)
    fractional = _fractional(positions, cell) + ASIDE
    lowest = jnp.min(jnp.where(mask[:, None], fractional, jnp.inf), axis=0) - ASIDE
    whole = jnp.where(pbc[None, :], jnp.floor(fractional), 0.0)
    inside = fractional - jnp.where(pbc[None, :], whole, lowest[None, :])
    # Padding is spread evenly, one bin after the other.
    spread = jnp.stack(jnp.unravel_index(jnp.arange(n) % math.prod(bounds.bins), bounds.bins), -1)
    inside = jnp.where(mask[:, None], inside, (spread + 0.5) / bins[None, :])
    sides = np.asarray(bounds.bins, dtype=np.float64)
    with jax.numpy_rank_promotion("allow"):
        # The smallest side is such that jax-md rounds to as many bins as are asked for.
        listed = cell_list(np.ones(3), 1.0 / (sides + 0.5)).update(
            jnp.clip(inside, 0.0, 1.0 - EDGE), bounds.bin_capacity
        )
    atoms = listed.id_buffer.reshape(-1, bounds.bin_capacity)
    home = listed.particle_cell_id.astype(int)
    offsets = jnp.asarray(offsets_of(bounds.counts))
    strides = jnp.asarray([1, bounds.bins[0], bounds.bins[0] * bounds.bins[1]])

    def of(i: Array) -> _Found:
        place = home[i][None, :] + offsets
        cells = jnp.floor_divide(place, bins[None, :])
        candidates = atoms[jnp.sum((place - cells * bins[None, :]) * strides[None, :], axis=-1)]
        source = jnp.minimum(candidates, n - 1)
        allowed = jnp.all((cells == 0) | pbc[None, :], axis=-1)[:, None] & (candidates < n)
        shift = cells[:, None, :] + (whole[i][None, None, :] - whole[source]).astype(int)
        vectors = positions[source] - positions[i][None, None, :] + _cartesian(shift, cell)
        itself = (source == i) & jnp.all(cells == 0, axis=-1)[:, None]
        present = mask[i] & mask[source] & allowed & ~itself
        return _within(source, shift, vectors, present, bounds.capacity, r_cut)

    return _over_atoms(of, n), listed.did_buffer_overflow


def _within(
    source: Int[Array, "a b"],
    cells: Int[Array, "a b 3"],
    vectors: Float[Array, "a b 3"],
    present: Bool[Array, "a b"],
    capacity: int,
    r_cut: float,
) -> _Found:
    """The candidates within the cutoff, moved together into as many places as there are."""
    chosen = (present & (jnp.sum(vectors**2, axis=-1) < r_cut**2)).ravel()
    place = jnp.where(chosen, jnp.cumsum(chosen) - 1, capacity)
    kept = jnp.zeros(capacity, int).at[place].set(jnp.arange(place.size), mode="drop")
    return _Found(source.ravel()[kept], cells.reshape(-1, 3)[kept], chosen.sum())


def _over_atoms(of: Callable[[Array], _Found], n: int) -> _Found:
    if n <= BLOCK:
        return jax.vmap(of)(jnp.arange(n))
    return jax.lax.map(of, jnp.arange(n), batch_size=BLOCK)


def _frozen(structure: Structure) -> tuple[Array, Array, Array]:
    """Positions, mask and cell, the geometry as constants: the choice of images has no slope."""
    assert structure.cell is not None
    return stop_gradient(structure.positions), structure.mask, stop_gradient(structure.cell)


def _fractional(vectors: Float[Array, "*a 3"], cell: Float[Array, "3 3"]) -> Float[Array, "*a 3"]:
    inverse = inverse_3x3(stop_gradient(cell))
    return jnp.matmul(vectors, inverse, precision=Precision.HIGHEST)


def _cartesian(cells: Int[Array, "*a 3"], cell: Float[Array, "3 3"]) -> Float[Array, "*a 3"]:
    return jnp.matmul(cells.astype(cell.dtype), cell, precision=Precision.HIGHEST)
