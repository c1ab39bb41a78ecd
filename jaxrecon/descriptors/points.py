"""Rows of points in space that are not atoms, such as sites above a surface."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.featurize import batch
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.inputs import as_atoms
from jaxrecon.structures.structure import Structure


def rows_at(
    structure: Atoms,
    points: Float[np.ndarray, "k 3"],
    descriptor: Descriptor,
    *,
    dtype: type[np.floating] = np.float32,
) -> Float[np.ndarray, "k f"]:
    """Compute the rows of points in and around a structure, with the atoms as their neighbours.

    Args:
        structure: the structure, free or periodic along any axes; positions in Angstrom.
        points: the points in Angstrom. An atom at such a point is a neighbour at no distance.
        descriptor: the descriptor.
        dtype: data type of the computation and of the result.

    Returns:
        One row for each point, without a unit.

    Raises:
        ValueError: if an element is none of the descriptor's, or a point is not finite.

    >>> from ase.build import fcc111
    >>> from jaxrecon import SOAP
    >>> slab = fcc111("Pt", (1, 1, 3), vacuum=6.0)
    >>> site = slab.positions[-1] + [0.0, 0.0, 2.0]
    >>> rows_at(slab, site[None], SOAP(("Pt",), r_cut=5.0, n_max=3, l_max=2)).shape
    (1, 18)
    """
    structure = as_atoms(structure)
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"expected finite points of shape (k, 3), got {points.tolist()!r:.100}")
    # Points are atoms of an element that no channel counts. An element of the structure stands in
    # for it where the arrays are made.
    joined = structure + Atoms([structure.numbers[0]] * len(points), points)
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        several = batch([joined], Fingerprint(descriptor))
        return np.asarray(_rows(descriptor, len(structure), several))[: len(points)]


@partial(jax.jit, static_argnums=(0, 1))
def _rows(descriptor: Descriptor, first: int, several: Structure) -> Float[Array, "k f"]:
    """The rows of all but the first atoms of a batch of one structure."""
    structure: Structure = jax.tree.map(lambda leaf: leaf[0], several)
    atoms = jnp.arange(len(structure.species)) < first
    ghosts = replace(structure, species=jnp.where(atoms, structure.species, 0))
    return descriptor(Fingerprint(descriptor).view(ghosts).neighbors)[first:]
