"""The pytree that every pure function takes, and its conversion from and to ASE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.pytrees import register_dataclass


@dataclass(frozen=True)
class Bounds:
    """Static sizes of the neighbour lists of a structure: they fix array shapes under ``jit``.

    :func:`jaxrecon.structures.bounds.bounds_of` finds them for given structures and
    :func:`jaxrecon.structures.bounds.bounds_within` for atoms that move within a cell. A structure
    that outgrows its bounds is detected: see ``overflow`` of
    :class:`jaxrecon.structures.neighbors.Neighbors`.

    Attributes:
        capacity: largest number of neighbours of an atom.
        counts: periodic images examined to either side along each lattice vector; with ``bins``,
            bins instead of images.
        bins: number of bins of the cell list along each lattice vector, at least 3; None where
            every pair of atoms is examined.
        bin_capacity: largest number of atoms in a bin.
        elements: largest number of different elements in one structure; None for as many as the
            fingerprint has.
    """

    capacity: int
    counts: tuple[int, int, int] = (0, 0, 0)
    bins: tuple[int, int, int] | None = None
    bin_capacity: int = 0
    elements: int | None = None


@register_dataclass
@dataclass(frozen=True)
class Structure:
    """Atoms as arrays: a pytree, so that it passes through ``jit``, ``vmap`` and ``grad``.

    Attributes:
        positions: Cartesian coordinates in Angstrom, shape ``(n, 3)``.
        species: atomic numbers, shape ``(n,)``; 0 where an entry is padding.
        mask: true for atoms, false for padding, shape ``(n,)``.
        cell: lattice vectors as rows in Angstrom, shape ``(3, 3)``; None for a free structure. The
            vector of an axis that does not repeat only completes the basis.
        pbc: whether the structure repeats along each lattice vector, shape ``(3,)``; None if it
            does along all of them.
        bounds: static sizes, needed for the sum over all periodic images and for the cell list.

    >>> from ase.build import molecule
    >>> water = from_ase(molecule("H2O"), size=4)
    >>> water.positions.shape, water.mask.tolist(), water.cell
    ((4, 3), [True, True, True, False], None)
    """

    positions: Float[Array, "*batch n 3"]
    species: Int[Array, "*batch n"]
    mask: Bool[Array, "*batch n"]
    cell: Float[Array, "*batch 3 3"] | None = None
    pbc: Bool[Array, "*batch 3"] | None = None
    bounds: Bounds | None = field(default=None, metadata={"static": True})


def from_ase(atoms: Atoms, size: int | None = None, bounds: Bounds | None = None) -> Structure:
    """Convert ASE atoms, padded to ``size`` entries when it is given.

    The dtype is float64 where ``jax_enable_x64`` is set and float32 otherwise.

    Args:
        atoms: a free structure, or one periodic along one, two or three axes.
        size: padded number of atoms, at least the number of atoms; None for no padding.
        bounds: static sizes; see :func:`jaxrecon.structures.bounds.bounds_of`.

    Returns:
        The structure: positions in Angstrom, shape ``(size, 3)``; atomic numbers and mask,
        ``(size,)``; the cell in Angstrom, ``(3, 3)``, unless it is free.

    Raises:
        ValueError: if it is no structure of ASE, the cell is singular, or ``size`` is smaller than
            the number of atoms.

    >>> from ase.build import molecule
    >>> from_ase(molecule("H2O"), size=4).species.tolist()
    [8, 1, 1, 0]
    """
    if not isinstance(atoms, Atoms):
        raise ValueError(
            f"expected ASE Atoms, got {type(atoms).__name__}: jaxrecon.featurize also takes "
            "structures of pymatgen and names of files"
        )
    size = len(atoms) if size is None else size
    arrays = padded_arrays([atoms], size, bounds)
    return Structure(**{key: jnp.asarray(value[0]) for key, value in arrays.items()}, bounds=bounds)


def padded(structures: Sequence[Atoms], size: int, bounds: Bounds | None = None) -> Structure:
    """Convert ASE structures to one batch.

    With ``bounds.bins`` every structure gets a cell, and free and periodic structures may be mixed:
    the vectors of axes that do not repeat span the atoms.

    Args:
        structures: ASE atoms, all free or all periodic along some axes; positions in Angstrom.
        size: padded number of atoms.
        bounds: static sizes; see :func:`jaxrecon.structures.bounds.bounds_of`.

    Returns:
        A structure whose arrays have a leading batch axis.

    Raises:
        ValueError: as :func:`from_ase`, or if free and periodic structures are mixed.
    """
    arrays = padded_arrays(structures, size, bounds)
    return Structure(**{key: jnp.asarray(value) for key, value in arrays.items()}, bounds=bounds)


def padded_arrays(
    structures: Sequence[Atoms], size: int, bounds: Bounds | None
) -> dict[str, np.ndarray]:
    """The arrays of :func:`padded` by name, as NumPy arrays that are not on a device yet.

    Raises:
        ValueError: as :func:`padded`.
    """
    # Without a cell list, a free structure has no cell: the two kinds have different arrays.
    count = len(structures)
    free = {not atoms.pbc.any() for atoms in structures}
    spans = bounds is not None and bounds.bins is not None
    if len(free) > 1 and not spans:
        raise ValueError("expected structures all free or all periodic, got a mixture")
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    arrays = {
        "positions": np.zeros((count, size, 3), dtype),
        "species": np.zeros((count, size), np.int32),
        "mask": np.zeros((count, size), bool),
    }
    if spans or free == {False}:
        arrays |= {"cell": np.zeros((count, 3, 3), dtype), "pbc": np.zeros((count, 3), bool)}
    for number, atoms in enumerate(structures):
        n = len(atoms)
        if size < n:
            raise ValueError(f"expected size >= {n}, the number of atoms, got {size}")
        arrays["positions"][number, :n] = atoms.positions
        arrays["species"][number, :n] = atoms.numbers
        arrays["mask"][number, :n] = True
        if "cell" in arrays:
            arrays["cell"][number] = spanning_cell(atoms) if spans else completed_cell(atoms)
            arrays["pbc"][number] = atoms.pbc
    return arrays


def to_ase(structure: Structure) -> Atoms:
    """Convert a structure to ASE atoms, without its padding.

    Args:
        structure: a single structure, without a batch axis.

    Returns:
        ASE atoms with positions and cell in Angstrom and float64, periodic along the axes along
        which the structure is.

    >>> from ase.build import molecule
    >>> to_ase(from_ase(molecule("H2O"), size=4)).get_chemical_formula()
    'H2O'
    """
    mask = np.asarray(structure.mask)
    return Atoms(
        numbers=np.asarray(structure.species)[mask],
        positions=np.asarray(structure.positions, dtype=np.float64)[mask],
        cell=None if structure.cell is None else np.asarray(structure.cell, dtype=np.float64),
        pbc=structure.cell is not None if structure.pbc is None else np.asarray(structure.pbc),
    )


def is_periodic(atoms: Atoms) -> bool:
    """Whether the structure repeats along all three axes; False if along none.

    Raises:
        ValueError: if it repeats along one or two axes only, which the inverse does not support.
    """
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(
            f"expected a structure periodic along all three axes or none, got pbc={atoms.pbc}"
        )
    return bool(atoms.pbc.all())


def completed_cell(atoms: Atoms) -> Float[np.ndarray, "3 3"]:
    """The cell in Angstrom; missing vectors of axes that do not repeat get unit length.

    Many files put a box around a free structure; it is not a cell and is ignored.

    Raises:
        ValueError: as :func:`checked_cell`, or if the vector of an axis that repeats is missing.

    >>> completed_cell(Atoms("H", cell=[[0, 0, 0], [0, 3, 0], [0, 0, 0]], pbc=(0, 1, 0))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]]
    """
    from ase.geometry import complete_cell

    cell = atoms.cell.array
    if atoms.pbc.all():
        return checked_cell(cell)
    if not atoms.pbc.any():
        return np.eye(3)
    missing = ~cell.any(axis=1)
    if (missing & atoms.pbc).any():
        raise ValueError(
            f"expected a cell vector along every axis of pbc={atoms.pbc}, got {cell.tolist()}"
        )
    with np.errstate(invalid="ignore"):  # two parallel vectors have no common normal
        completed = np.nan_to_num(complete_cell(cell))
    return checked_cell(np.where(missing[:, None], completed, cell))


def spanning_cell(atoms: Atoms) -> Float[np.ndarray, "3 3"]:
    """The cell in Angstrom; the vectors of axes that do not repeat span the atoms."""
    if not atoms.pbc.any():
        return np.diag(np.maximum(np.ptp(atoms.positions, axis=0), 1.0))
    cell = completed_cell(atoms)
    extent = np.maximum(np.ptp(np.linalg.solve(cell.T, atoms.positions.T), axis=1), 1e-3)
    return np.where(atoms.pbc, 1.0, extent)[:, None] * cell


def right_handed(atoms: Atoms) -> bool:
    """Negate the cell vectors of a periodic structure if they are left-handed.

    Negated vectors span the same lattice, so that no atom moves.

    Args:
        atoms: changed in place.

    Returns:
        Whether the vectors were negated.
    """
    if not atoms.pbc.any() or not np.linalg.det(atoms.cell.array) < 0:
        return False
    atoms.set_cell(-atoms.cell.array)
    if getattr(atoms.calc, "atoms", None) is not None:
        atoms.calc.atoms.set_cell(atoms.cell)
    return True


def checked_cell(cell: object) -> np.ndarray:
    """Check a cell and return it as row vectors.

    Args:
        cell: three vectors, three lengths, or three lengths and three angles, as in ASE; in
            Angstrom and degrees.

    Returns:
        The lattice vectors as rows in Angstrom, shape ``(3, 3)``, in float64. Left-handed vectors
        are negated, which gives right-handed ones of the same lattice.

    Raises:
        ValueError: if it is no cell, or is singular.

    >>> checked_cell([4.0, 4.0, 4.0]).diagonal().tolist()
    [4.0, 4.0, 4.0]
    """
    from ase.cell import Cell

    try:
        array = np.array(cell, dtype=np.float64)
        if array.shape != (3, 3):
            array = Cell.new(array).array
    except (AssertionError, TypeError, ValueError) as error:  # ASE asserts that angles can meet
        raise ValueError(
            f"expected a cell as 3 lengths, 3 lengths and 3 angles, or 3 vectors, got {cell}"
        ) from error
    # Plain Python takes a tenth of the time of NumPy, which matters for thousands of structures.
    a, b, c = array.tolist()
    if not all(map(math.isfinite, (*a, *b, *c))):
        raise ValueError(f"expected a finite cell, got {array.tolist()}")
    volume = (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    box = math.hypot(*a) * math.hypot(*b) * math.hypot(*c)
    if not math.isfinite(box) or abs(volume) <= 1e-6 * max(box, 1e-300):
        raise ValueError(f"expected a cell with a volume, got a singular one: {array.tolist()}")
    return -array if volume < 0 else array
