"""encode: from crystals to images."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from ase import Atoms
from ase.geometry import find_mic, minkowski_reduce
from jaxtyping import Float, Int

from jaxrecon.descriptors.checks import element_symbols
from jaxrecon.images.gaussians import Sites, basis_images, cell_image
from jaxrecon.images.image import Image
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.runtime.memory import check_memory
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Structure, checked_cell

PUBLISHED = ImageParameters()
"""The parameters of Noh et al."""

CELLS_TOGETHER, TOGETHER = 8, 12
"""Largest numbers of cell images and of basis images that are computed at once."""

FEWEST_ATOMS = 16
"""Smallest number of atoms in a batch of images, padding included."""


class Framed(NamedTuple):
    """A crystal as its image has it.

    Attributes:
        cell: lattice vectors in Angstrom, the first along x and the second in the plane of x and y.
        transform: whole numbers that make these vectors of those of the reduced cell.
        positions: positions relative to the middle of the box, their mean, in Angstrom.
        channel: the basis image of each atom.
    """

    cell: Float[np.ndarray, "3 3"]
    transform: Float[np.ndarray, "3 3"]
    positions: Float[np.ndarray, "k 3"]
    channel: Int[np.ndarray, " k"]


@overload
def encode(
    structures: Atoms | Structure,
    parameters: ImageParameters = ...,
    *,
    elements: str | Sequence[str] | None = ...,
) -> Image: ...


@overload
def encode(
    structures: Sequence[Any] | str,
    parameters: ImageParameters = ...,
    *,
    elements: str | Sequence[str] | None = ...,
) -> list[Image]: ...


def encode(
    structures: Structures,
    parameters: ImageParameters = PUBLISHED,
    *,
    elements: str | Sequence[str] | None = None,
) -> Image | list[Image]:
    """Make the images of crystals: :mod:`jaxrecon.images.gaussians` has the equations.

    A crystal is turned so that its first lattice vector is along x and its second one in the plane
    of x and y, and moved so that the mean of its positions is in the middle of the box. Where atoms
    leave the box, those periodic images of all atoms are taken that are nearest to their middle.

    Args:
        structures: one crystal or several, as for :func:`jaxrecon.featurize`; positions and cells
            in Angstrom.
        parameters: parameters of the images.
        elements: elements of the basis images, in this order; None for those of each crystal,
            sorted by atomic number.

    Returns:
        The image of one crystal, or a list of the images of several ones; the arrays are of NumPy,
        in float64 where ``jax_enable_x64`` is set and in float32 otherwise.

    Raises:
        ValueError: if a structure is no crystal with three lattice vectors, has an element without
            a basis image, an edge of its cell is longer than the box, or atoms leave the box.
        FileNotFoundError: if a file of structures does not exist.
        MemoryError: if the images do not fit into the available memory.

    >>> from ase.build import bulk
    >>> image = encode(bulk("NaCl", "rocksalt", a=5.64))
    >>> image, round(float(image.cell.max()), 6)
    (Image(Na, Cl; cell 32 x 32 x 32, basis 2 x 64 x 64 x 64), 1.0)
    """
    crystals = as_structures(structures)
    single = isinstance(structures, Atoms | Structure) or hasattr(structures, "lattice")
    # What is wrong with any structure is reported before JAX starts.
    own = None if elements is None else element_symbols(elements)
    channels = [own or elements_of([atoms]) for atoms in crystals]
    framed = [
        frame_of(atoms, names, parameters, "" if single else f" of structure {number}")
        for number, (atoms, names) in enumerate(zip(crystals, channels, strict=True))
    ]
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    basis_voxels = sum(map(len, channels)) * parameters.basis_grid**3
    voxels = basis_voxels + len(crystals) * parameters.cell_grid**3
    check_memory(voxels * dtype.itemsize, "the images", "take fewer structures at a time")
    cells = _cell_images(framed, parameters, dtype)
    kinds: dict[int, list[int]] = {}
    for number, names in enumerate(channels):
        kinds.setdefault(len(names), []).append(number)
    images: dict[int, Image] = {}
    for count, numbers in kinds.items():
        for some in parts(numbers, TOGETHER // count):
            bases = _basis_images([framed[number] for number in some], count, parameters, dtype)
            for number, basis in zip(some, bases, strict=True):
                # Copies, as one image should not hold the memory of all others.
                images[number] = Image(cells[number], basis.copy(), channels[number], parameters)
    return images[0] if single else [images[number] for number in range(len(crystals))]


def _cell_images(
    framed: Sequence[Framed], parameters: ImageParameters, dtype: np.dtype
) -> list[np.ndarray]:
    """The images of the cells of all structures."""
    images: list[np.ndarray] = []
    for numbers in parts(range(len(framed)), CELLS_TOGETHER):
        given = (np.stack([framed[number][place] for number in numbers]) for place in (0, 1))
        several = (filled(each.astype(dtype), CELLS_TOGETHER) for each in given)
        found = np.asarray(_cell_program(parameters)(*several))
        images += [image.copy() for image in found[: len(numbers)]]
    return images


def _basis_images(
    framed: Sequence[Framed], channels: int, parameters: ImageParameters, dtype: np.dtype
) -> Float[np.ndarray, "batch channels n n n"]:
    """The images of the atoms of structures that are computed together."""
    which = [each.channel + channels * row for row, each in enumerate(framed)]
    positions = np.concatenate([each.positions for each in framed])
    sites = sites_on_host(positions, np.concatenate(which), parameters, dtype)
    images = _basis_program(flat_size(len(framed), channels), parameters)(sites)
    used = np.asarray(images)[: len(framed) * channels]
    return used.reshape(len(framed), channels, *used.shape[1:])


@lru_cache
def _cell_program(parameters: ImageParameters) -> Any:
    """The compiled function of cells and transforms that makes their images."""
    return jax.jit(jax.vmap(partial(cell_image, parameters=parameters)))


@lru_cache
def _basis_program(channels: int, parameters: ImageParameters) -> Any:
    """The compiled function of sites that makes their images."""
    return jax.jit(partial(basis_images, channels=channels, parameters=parameters))


def flat_size(structures: int, channels: int) -> int:
    """Number of basis images that are computed together for some structures, with empty ones."""
    return channels if structures == 1 else TOGETHER


def parts(numbers: Sequence[int], most: int) -> Iterator[list[int]]:
    """Split a list into parts that programs for one structure or for the most of them take.

    Args:
        numbers: the list.
        most: largest length of a part; a shorter one of several is to be filled up.

    Yields:
        The parts.

    >>> list(parts(range(8), 3))
    [[0, 1, 2], [3, 4, 5], [6, 7]]
    """
    most = max(1, most)
    for start in range(0, len(numbers), most):
        yield list(numbers[start : start + most])


def filled(array: np.ndarray, most: int) -> np.ndarray:
    """Repeat the items of a part until it has the most, so that few programs are compiled.

    Args:
        array: items along the first axis.
        most: the largest length of a part; a single item stays alone.

    Returns:
        The items, then the first ones again.

    >>> filled(np.arange(3), 5).tolist(), filled(np.arange(1), 5).tolist()
    ([0, 1, 2, 0, 1], [0])
    """
    return array if len(array) == 1 else array[np.arange(most) % len(array)]


def power_of_four(count: int, least: int) -> int:
    """The smallest power of four that is at least so large, for few different compiled programs.

    Args:
        count: the number that it has to reach.
        least: the power of four that is tried first.

    Returns:
        The power of four.

    >>> [power_of_four(count, 4) for count in (1, 4, 5, 17)]
    [4, 4, 16, 64]
    """
    size = least
    while size < count:
        size *= 4
    return size


def sites_on_host(
    positions: Float[np.ndarray, "k 3"],
    which: Int[np.ndarray, " k"],
    parameters: ImageParameters,
    dtype: np.dtype,
) -> Sites:
    """Find the voxels that atoms are nearest to in float64, and pad the atoms.

    Args:
        positions: positions relative to the middle of the box, in Angstrom.
        which: the basis image of each atom.
        parameters: parameters of the images.
        dtype: type of the offsets.

    Returns:
        The atoms in the basis images, as arrays of NumPy.
    """
    voxel, offset = voxels_of(positions, parameters)
    more = power_of_four(len(which), FEWEST_ATOMS) - len(which)
    return Sites(
        np.pad(voxel, ((0, more), (0, 0))).astype(np.int32),
        np.pad(offset, ((0, more), (0, 0))).astype(dtype),
        np.pad(which, (0, more)).astype(np.int32),
        np.arange(len(which) + more) < len(which),
    )


def voxels_of(
    positions: Float[np.ndarray, "k 3"], parameters: ImageParameters
) -> tuple[Int[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]]:
    """The voxels that atoms are nearest to, computed in float64.

    Args:
        positions: positions relative to the middle of the box, in Angstrom.
        parameters: parameters of the images.

    Returns:
        The indices of the voxels, and the positions relative to them in Angstrom.
    """
    steps = np.round(positions / parameters.spacing)
    index = steps.astype(np.int64) + parameters.basis_grid // 2
    return index, positions - steps * parameters.spacing


def transform_of(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The whole numbers that make a cell of its reduced one.

    Args:
        cell: lattice vectors as rows in Angstrom.

    Returns:
        The inverse of the operation of Minkowski's reduction.
    """
    return np.round(np.linalg.inv(minkowski_reduce(cell)[1]))


def frame_of(
    atoms: Atoms, names: Sequence[str], parameters: ImageParameters, which: str = ""
) -> Framed:
    """Check a crystal, turn it and centre it.

    Args:
        atoms: the crystal; positions and cell in Angstrom.
        names: elements of the basis images.
        parameters: parameters of the images.
        which: a name of the crystal for messages.

    Returns:
        The crystal as its image has it.

    Raises:
        ValueError: if its image can't be made, as for :func:`encode`.
    """
    if not atoms.pbc.all():
        raise ValueError(
            "expected a crystal, periodic along all three axes, got "
            f"pbc={atoms.pbc.tolist()}{which}"
        )
    if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
        problem = "positions that are not finite" if len(atoms) else "none"
        raise ValueError(f"expected atoms at finite positions, got {problem}{which}")
    missing = sorted({*atoms.symbols} - {*names})
    if missing:
        raise ValueError(
            f"expected elements among those of the images, {', '.join(names)}, got "
            f"{', '.join(missing)}{which}: name them in elements"
        )
    # The lengths of the edges are checked before anything that takes longer for long ones.
    given = checked_cell(atoms.cell.array)
    lengths = np.linalg.norm(given, axis=1)
    if lengths.max() > parameters.box:
        raise ValueError(
            f"expected edges of the cell up to {parameters.box:g} Angstrom, the box of the images, "
            f"got {lengths.max():.6g}{which}: choose a larger box or a smaller cell"
        )
    cell, rotation = (np.asarray(each) for each in Atoms(cell=given).cell.standard_form())
    positions = atoms.positions @ rotation.T
    channel = np.array([names.index(symbol) for symbol in atoms.symbols])
    centred = _centred(positions, cell, parameters)
    farthest = np.abs(centred).max()
    if farthest > parameters.reach:
        raise ValueError(
            f"expected atoms up to {parameters.reach:g} Angstrom from their middle along x, y and "
            f"z, in a box of {parameters.box:g}, got {farthest:.6g}{which}: choose a larger box or "
            "a smaller cell"
        )
    return Framed(cell, transform_of(cell), centred, channel)


def _centred(
    positions: Float[np.ndarray, "k 3"],
    cell: Float[np.ndarray, "3 3"],
    parameters: ImageParameters,
) -> Float[np.ndarray, "k 3"]:
    """Positions relative to their mean; of other periodic images where these leave the box."""
    centred = positions - positions.mean(axis=0)
    if np.abs(centred).max() <= parameters.reach:
        return centred
    # The middle is where the mean direction on the circle of each fractional coordinate points.
    angles = 2.0 * np.pi * np.linalg.solve(cell.T, centred.T).T
    middle = np.angle(np.exp(1j * angles).mean(axis=0)) / (2.0 * np.pi) @ cell
    nearest = find_mic(centred - middle, cell)[0]
    return nearest - nearest.mean(axis=0)
