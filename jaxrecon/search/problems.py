"""Problems: checked targets, in a form in which many of them share compiled programs."""

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.pooling import EXTREMES
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.noise import expected_residual, level_of, weights_of
from jaxrecon.search.task import Task
from jaxrecon.structures.structure import Bounds


@dataclass(frozen=True, eq=False)
class Problem:
    """One target with all that is known about its structure.

    With most descriptors a search depends on the order of the elements, but not on which they are.
    Numbers of atoms are rounded up. So targets of different elements and sizes can share a program.

    Attributes:
        index: position of the target among those of the call.
        identity: number from which the random numbers of the target are derived.
        target: the fingerprint, without a unit.
        fingerprint: the settings that the target was made with.
        symbols: chemical symbols of the atoms, in order.
        cell: lattice vectors as rows in Angstrom; None for a free structure. A cube of about the
            right volume where the cell is unknown.
        positions: known positions in Angstrom, with NaN for atoms that are to be found; None if no
            position is known.
        volume: expected volume of an unknown cell in Angstrom^3; None where the cell is known, or
            the structure is free.
        bounds: static sizes of the neighbour lists.
        guidance: what the structure shall have besides the fingerprint; None for the target alone.
        noise: standard deviations of the numbers of the target; None if they are exact.
        any_size: whether the number of atoms is unknown, so that a solution may be a supercell.
    """

    index: int
    identity: int
    target: Float[np.ndarray, " p"]
    fingerprint: Fingerprint
    symbols: tuple[str, ...]
    cell: Float[np.ndarray, "3 3"] | None
    positions: Float[np.ndarray, "n 3"] | None
    volume: float | None
    bounds: Bounds
    guidance: Guidance | None = None
    noise: Float[np.ndarray, " p"] | None = None
    any_size: bool = False

    @property
    def weights(self) -> Float[np.ndarray, " p"] | None:
        """Factors of the differences of the numbers; None where all are 1."""
        return weights_of(self.noise)

    @property
    def level(self) -> float | None:
        """Standard deviation of a number with the weight 1; None where the numbers are exact."""
        return None if self.noise is None else level_of(self.noise)

    def adapted(self, config: ReconstructConfig) -> ReconstructConfig:
        """The settings with the tolerances that the noise of the target allows.

        What noise leaves open is no fault of a solution: its position error is stated, and may
        have any finite size.
        """
        if self.noise is None:
            return config
        residual = config.tolerance + expected_residual(self.noise, self.unknowns)
        return config.replace(tolerance=residual, position_tolerance=sys.float_info.max)

    @property
    def smooth(self) -> bool:
        """Whether the fingerprint pools neither largest nor smallest values."""
        return not set(self.fingerprint.poolings) & set(EXTREMES)

    @property
    def unknowns(self) -> int:
        """Number of independent displacements of the atoms that are to be found, and of the cell.

        Known atoms hold rigid motions: one the translations, two more and three all rotations.
        """
        known = 0 if self.positions is None else int(np.isfinite(self.positions).all(axis=1).sum())
        motions = (6, 3, 1) if self.cell is None else (3,)
        rigid = motions[known] if known < len(motions) else 0
        strains = 0 if self.volume is None else 6
        return max(3 * (len(self.symbols) - known) - rigid, 0) + strains

    @property
    def searched_fingerprint(self) -> Fingerprint:
        """The fingerprint that the search computes: without the numbers of absent elements.

        It is the same for other elements where the descriptor allows it; see :func:`canonical`.
        """
        return canonical(self.fingerprint, self.symbols)[0]

    @property
    def padded_size(self) -> int:
        """Number of atoms, padding included."""
        return padded_size(len(self.symbols))

    @property
    def rows(self) -> int:
        """Number of rows of the coordinates: one per atom, and three for an unknown cell."""
        return self.padded_size + (0 if self.volume is None else 3)

    @property
    def group(self) -> Hashable:
        """A key that is equal for all problems that share a compiled program."""
        known = (self.cell, self.volume, self.positions, self.weights)
        kinds = tuple(each is None for each in known)
        return self.searched_fingerprint, self.padded_size, self.bounds, kinds

    def task(self, dtype: type) -> Task:
        """The problem as arrays on the device.

        Args:
            dtype: type of all real numbers.

        Returns:
            The task, without the guidance: all targets of a call have the same, and share its
            arrays.
        """
        n, size = len(self.symbols), self.padded_size
        # The atomic numbers are those by which the searched fingerprint knows the elements.
        searched, columns = canonical(self.fingerprint, self.symbols)
        renamed = atomic_numbers
        if searched.descriptor.order_only:
            own = self.fingerprint.restricted(self.symbols)
            renamed = dict(zip(own.descriptor.elements, searched.descriptor.species, strict=True))
        numbers = [renamed[symbol] for symbol in self.symbols]
        # NaN marks atoms to be found. Arrays for the device have a mask instead.
        known = np.full((n, 3), np.nan) if self.positions is None else self.positions
        fixed = np.isfinite(known).all(axis=1)
        volume, weights = self.volume, self.weights
        return Task(
            target=on_device(self.target[columns], dtype),
            species=on_device(_padded(numbers, size), np.int32),
            cell=None if self.cell is None else on_device(self.cell, dtype),
            radii=on_device(
                _padded([covalent_radii[atomic_numbers[s]] for s in self.symbols], size), dtype
            ),
            mask=on_device(np.arange(size) < n, bool),
            fixed=None if self.positions is None else on_device(_padded(fixed, size), bool),
            known=None
            if self.positions is None
            else on_device(_padded(np.nan_to_num(known), size), dtype),
            volume=None if volume is None else on_device(volume, dtype),
            weights=None if weights is None else on_device(weights[columns], dtype),
            variable=volume is not None,
            bounds=self.bounds,
        )

    def residual(self, searched: float) -> float:
        """The mean absolute residual over all numbers of the target.

        Args:
            searched: the residual over the numbers that the search computes; in a guided search,
                its objective, which is returned as it is.

        Returns:
            The residual that includes the numbers of absent elements, which are 0 in any structure.
        """
        if self.guidance is not None:
            return searched
        columns = canonical(self.fingerprint, self.symbols)[1]
        whole = self.target if self.weights is None else self.weights * self.target
        others = np.delete(whole, columns)
        return float((searched * len(columns) + np.abs(others).sum()) / len(self.target))

    def atoms(self, coordinates: Float[np.ndarray, "x 3"]) -> Atoms:
        """The structure with these coordinates, in Angstrom.

        Args:
            coordinates: as in :class:`~jaxrecon.search.task.Task`.

        Returns:
            The atoms, without padding. A cell that was unknown has the shortest lattice vectors.
        """
        cell = self.cell if self.volume is None else _shortest(coordinates[-3:])
        positions = coordinates[: len(self.symbols)]
        return Atoms(self.symbols, positions, cell=cell, pbc=cell is not None)

    def coordinates(self, atoms: Atoms) -> Float[np.ndarray, "x 3"]:
        """The coordinates of a structure in Angstrom, padding included."""
        cell = atoms.cell.array if self.volume is not None else np.zeros((0, 3))
        return np.concatenate([_padded(atoms.positions, self.padded_size), cell])


def _shortest(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest right-handed basis of a lattice; the vectors themselves if they span none."""
    from ase.geometry import minkowski_reduce

    lengths = np.linalg.norm(cell, axis=1)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) <= 1e-6 * lengths.prod():
        return cell
    reduced = np.asarray(minkowski_reduce(cell)[0])
    return reduced if np.linalg.det(reduced) > 0.0 else -reduced


def on_device(values: Any, dtype: type) -> Array:
    """Put an array on the device; ``jnp.asarray`` would compile a program for each shape and type.

    Args:
        values: numbers.
        dtype: type of the array.

    Returns:
        The array.
    """
    return jax.device_put(np.asarray(values, dtype))


def padded_size(atoms: int) -> int:
    """Round a number of atoms up, so that a few compiled programs serve all numbers.

    >>> [padded_size(atoms) for atoms in (5, 6, 7, 15, 25, 55)]
    [5, 6, 8, 16, 28, 56]
    """
    step = 1 if atoms <= 6 else 2 if atoms <= 12 else 4 if atoms <= 32 else 8
    return -(-atoms // step) * step


@lru_cache(maxsize=1024)
def canonical(
    fingerprint: Fingerprint, symbols: tuple[str, ...]
) -> tuple[Fingerprint, Int[np.ndarray, " q"]]:
    """The part of a fingerprint that depends on the positions of atoms of these elements.

    If the descriptor depends on the order of the elements alone, they are replaced by the first
    elements of the periodic table, so that all sets of as many elements share a program. A row of
    one length for all elements stays as it is, for the same reason.

    Args:
        fingerprint: the whole fingerprint.
        symbols: chemical symbols of the atoms.

    Returns:
        The fingerprint of these elements, and the columns of its numbers in the whole one.
    """
    descriptor = fingerprint.descriptor
    if descriptor.fixed_length and not descriptor.order_only and not fingerprint.per_element:
        return fingerprint, np.arange(fingerprint.size)
    own = fingerprint.restricted(symbols)
    # Only the names of features are compared: a fingerprint may have millions of numbers.
    count, feature = _places(fingerprint.descriptor.names, own.descriptor.names)
    groups, group = 1, np.zeros(1, int)
    if fingerprint.per_element:
        groups, group = _places(fingerprint.descriptor.elements, own.descriptor.elements)
    # The numbers are ordered by pooling, then group, entry and feature.
    start, blocks = 0, []
    for pool in fingerprint.pools:
        row = group[:, None] * pool.size + np.arange(pool.size)[None, :]
        blocks.append((start + row[:, :, None] * count + feature[None, None, :]).ravel())
        start += groups * pool.size * count
    columns = np.concatenate(blocks)
    if not fingerprint.descriptor.order_only:
        return own, columns
    return own.restricted(chemical_symbols[1 : len(own.descriptor.elements) + 1]), columns


def _places(names: Sequence[str], own: Sequence[str]) -> tuple[int, Int[np.ndarray, " own"]]:
    """The number of names, and the places of some of them."""
    place = {name: index for index, name in enumerate(names)}
    return len(names), np.asarray([place[name] for name in own])


def _padded(values: Any, size: int) -> np.ndarray:
    """Append zeros to an array along its first axis."""
    array = np.asarray(values)
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
