"""Structure: the pytree that every pure function takes, and the way from and to ASE."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Bool, Float, Int


@dataclass(frozen=True)
class Images:
    """Static bounds for the sum over periodic images within a cutoff.

    Attributes:
        counts: images to either side along each lattice vector.
        capacity: neighbours kept for each atom, the nearest ones.
    """

    counts: tuple[int, int, int]
    capacity: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Structure:
    """Atoms as arrays: a pytree, so that it passes through ``jit``, ``vmap`` and ``grad``.

    Attributes:
        positions: Cartesian coordinates in Angstrom, shape ``(n, 3)``.
        species: atomic numbers, shape ``(n,)``; 0 where an entry is padding.
        mask: true for atoms, false for padding, shape ``(n,)``.
        cell: lattice vectors as rows in Angstrom, shape ``(3, 3)``; None for a free structure.
        images: how many periodic images are looked at; static under ``jit``. Needed by
            fingerprints that sum over all images; see :func:`jaxrecon.space.images_within`.
    """

    positions: Float[Array, "*batch n 3"]
    species: Int[Array, "*batch n"]
    mask: Bool[Array, "*batch n"]
    cell: Float[Array, "*batch 3 3"] | None = None
    images: Images | None = field(default=None, metadata={"static": True})


def from_ase(atoms: Atoms, size: int | None = None, images: Images | None = None) -> Structure:
    """Convert ASE atoms, padded to ``size`` entries when it is given.

    The dtype is float64 where ``jax_enable_x64`` is set and float32 otherwise.

    Args:
        atoms: a free structure, or one periodic along all three axes.
        size: number of rows of the result, at least the number of atoms.
        images: bounds for the sum over periodic images; of no use to a free structure.

    Raises:
        ValueError: if only some axes are periodic, the cell is singular or left-handed, or
            ``size`` is smaller than the number of atoms.

    >>> from ase.build import molecule
    >>> from_ase(molecule("H2O"), size=4).species.tolist()
    [8, 1, 1, 0]
    """
    count = len(atoms)
    size = count if size is None else size
    if size < count:
        raise ValueError(f"expected size >= {count}, the number of atoms, got {size}")
    positions = np.zeros((size, 3))
    positions[:count] = atoms.positions
    species = np.zeros(size, dtype=np.int32)
    species[:count] = atoms.numbers
    cell = checked_cell(atoms.cell.array) if is_periodic(atoms) else None
    return Structure(
        positions=jnp.asarray(positions, dtype=float),
        species=jnp.asarray(species),
        mask=jnp.arange(size) < count,
        cell=None if cell is None else jnp.asarray(cell, dtype=float),
        images=None if cell is None else images,
    )


def to_ase(structure: Structure) -> Atoms:
    """Convert one structure to ASE atoms, leaving out the padding.

    >>> from ase.build import molecule
    >>> to_ase(from_ase(molecule("H2O"), size=4)).get_chemical_formula()
    'H2O'
    """
    mask = np.asarray(structure.mask)
    return Atoms(
        numbers=np.asarray(structure.species)[mask],
        positions=np.asarray(structure.positions, dtype=np.float64)[mask],
        cell=None if structure.cell is None else np.asarray(structure.cell, dtype=np.float64),
        pbc=structure.cell is not None,
    )


def stack(structures: Sequence[Structure]) -> Structure:
    """Stack structures of one size along a new leading axis, ready for ``vmap``.

    Raises:
        ValueError: if there is none, or free and periodic ones are mixed.
    """
    if not structures:
        raise ValueError("expected at least one structure, got none")
    if len({structure.cell is None for structure in structures}) > 1:
        raise ValueError("expected structures all free or all periodic, got a mixture")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *structures)


def is_periodic(atoms: Atoms) -> bool:
    """Whether the structure repeats along all three axes; False if along none.

    Raises:
        ValueError: if it repeats along one or two axes only.
    """
    if atoms.pbc.any() and not atoms.pbc.all():
        raise ValueError(
            f"expected a structure periodic along all three axes or none, got pbc={atoms.pbc}"
        )
    return bool(atoms.pbc.all())


def checked_cell(cell: object) -> np.ndarray:
    """Return a cell as a ``(3, 3)`` float64 array of row vectors in Angstrom.

    Lengths ``(a, b, c)`` and ``(a, b, c, alpha, beta, gamma)`` with angles in degrees are accepted
    as ASE accepts them.

    Raises:
        ValueError: if it is not a cell, is singular or is left-handed.

    >>> checked_cell([4.0, 4.0, 4.0]).diagonal().tolist()
    [4.0, 4.0, 4.0]
    """
    from ase.cell import Cell

    try:
        array = Cell.new(np.asarray(cell, dtype=np.float64)).array
    except (AssertionError, TypeError, ValueError) as error:  # ASE asserts that angles can meet
        raise ValueError(
            f"expected a cell as 3 lengths, 3 lengths and 3 angles, or 3 vectors, got {cell}"
        ) from error
    if not np.isfinite(array).all():
        raise ValueError(f"expected a finite cell, got {array.tolist()}")
    with np.errstate(over="ignore", invalid="ignore"):
        volume = np.linalg.det(array)
        box = np.prod(np.linalg.norm(array, axis=1))
    if not np.isfinite(box) or abs(volume) <= 1e-6 * max(box, 1e-300):
        raise ValueError(f"expected a cell with a volume, got a singular one: {array.tolist()}")
    if volume < 0:
        raise ValueError(
            f"expected a right-handed cell, got determinant {volume:.6g} A^3: {array.tolist()}"
        )
    return array
