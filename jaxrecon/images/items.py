"""Crystals in the form of which networks compute images.

The images take a thousand times the memory of these, so they are computed where they are needed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.images.encode import Framed, frame_of, voxels_of
from jaxrecon.images.parameters import ImageParameters


class CellItem(NamedTuple):
    """A cell of which an image can be computed.

    Attributes:
        cell: lattice vectors as rows in Angstrom.
        transform: whole numbers that make the lattice vectors of the reduced ones.
    """

    cell: Float[Array | np.ndarray, "*batch 3 3"]
    transform: Float[Array | np.ndarray, "*batch 3 3"]


class BasisItem(NamedTuple):
    """Atoms of one element of which an image can be computed.

    They are as in :class:`~jaxrecon.images.gaussians.Sites`.

    Attributes:
        voxel: indices of the voxel nearest to each atom.
        offset: position of the atom minus that of this voxel, in Angstrom.
        mask: whether there is an atom; false for padding.
    """

    voxel: Int[Array | np.ndarray, "*batch k 3"]
    offset: Float[Array | np.ndarray, "*batch k 3"]
    mask: Bool[Array | np.ndarray, "*batch k"]


def items_of(
    structures: Sequence[Atoms], elements: Sequence[str], parameters: ImageParameters
) -> dict[str, CellItem | BasisItem]:
    """Bring crystals into the form of which networks compute images.

    Args:
        structures: crystals; positions and cells in Angstrom.
        elements: elements of the basis images.
        parameters: parameters of the images.

    Returns:
        The cells, and the atoms of each element of each crystal, crystal by crystal.

    Raises:
        ValueError: if the image of a crystal can't be made.
    """
    frames = [
        frame_of(atoms, elements, parameters, f" of structure {number}")
        for number, atoms in enumerate(structures)
    ]
    cells = CellItem(
        jnp.asarray(np.stack([frame.cell for frame in frames]), jnp.float32),
        jnp.asarray(np.stack([frame.transform for frame in frames]), jnp.float32),
    )
    size = max(int(np.bincount(frame.channel).max()) for frame in frames)
    sites = [
        _padded(frame, channel, size, parameters)
        for frame in frames
        for channel in range(len(elements))
    ]
    columns = [np.stack(column) for column in zip(*sites, strict=True)]
    return {"cell": cells, "basis": BasisItem(*map(jnp.asarray, columns))}


def _padded(
    frame: Framed, channel: int, size: int, parameters: ImageParameters
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels, offsets and mask of the atoms of one element of a crystal."""
    voxel, offset = voxels_of(frame.positions[frame.channel == channel], parameters)
    padding = ((0, size - len(voxel)), (0, 0))
    return (
        np.pad(voxel, padding).astype(np.int32),
        np.pad(offset, padding).astype(np.float32),
        np.arange(size) < len(voxel),
    )
