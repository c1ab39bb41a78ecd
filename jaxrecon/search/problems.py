"""Problems: the targets of a call, checked, and in the form in which they share programs."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.task import Task
from jaxrecon.structures.structure import Bounds


@dataclass(frozen=True, eq=False)
class Problem:
    """One target with all that is known of it.

    A search knows elements by their order alone: targets of other elements have the same program,
    as have numbers of atoms that are rounded up to the same.

    Attributes:
        index: place among the targets of the call.
        identity: what its random numbers depend on.
        target: the fingerprint, without a unit.
        fingerprint: what the target is a fingerprint with.
        symbols: of the atoms, in order.
        cell: lattice vectors as rows in Angstrom, None for a free structure.
        positions: known ones in Angstrom, NaN where an atom is to be found; None for all.
        volume: of an unknown cell in Angstrom^3, about; None if it is known, or there is none.
        bounds: static sizes of what the atoms see.
        guidance: what else is wanted; None where it is the target alone.
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

    @property
    def program(self) -> Fingerprint:
        """What the search computes: the numbers that are not 0 whatever the positions are."""
        return canonical(self.fingerprint, self.symbols)[0]

    @property
    def padded_size(self) -> int:
        """Atoms that there is room for."""
        return padded_size(len(self.symbols))

    @property
    def rows(self) -> int:
        """Rows of the coordinates: atoms, and the vectors of an unknown cell."""
        return self.padded_size + (0 if self.volume is None else 3)

    @property
    def group(self) -> Hashable:
        """Equal for problems that one compiled program serves."""
        kinds = (self.cell is None, self.volume is None, self.positions is None)
        return self.program, self.padded_size, self.bounds, kinds

    def task(self, dtype: type) -> Task:
        """The problem as arrays on the device, without the guidance, which many share."""
        n, size = len(self.symbols), self.padded_size
        program, columns = canonical(self.fingerprint, self.symbols)
        own = self.fingerprint.restricted(self.symbols)
        named = dict(zip(own.descriptor.elements, program.descriptor.species, strict=True))
        numbers = [named[symbol] for symbol in self.symbols]
        known = np.full((n, 3), np.nan) if self.positions is None else self.positions
        fixed = np.isfinite(known).all(axis=1)
        volume = self.volume
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
            variable=volume is not None,
            bounds=self.bounds,
        )

    def residual(self, searched: float) -> float:
        """The mean absolute residual over all numbers, from that over those searched.

        That of a guided search is of everything already.
        """
        if self.guidance is not None:
            return searched
        columns = canonical(self.fingerprint, self.symbols)[1]
        others = np.delete(self.target, columns)
        return float((searched * len(columns) + np.abs(others).sum()) / len(self.target))

    def atoms(self, coordinates: Float[np.ndarray, "x 3"]) -> Atoms:
        """The structure with some coordinates in Angstrom; an unknown cell in its shortest form."""
        cell = self.cell if self.volume is None else _shortest(coordinates[-3:])
        positions = coordinates[: len(self.symbols)]
        return Atoms(self.symbols, positions, cell=cell, pbc=cell is not None)


def _shortest(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest vectors of a lattice, right-handed; as they are if they span no volume."""
    from ase.geometry import minkowski_reduce

    lengths = np.linalg.norm(cell, axis=1)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) <= 1e-6 * lengths.prod():
        return cell
    reduced = np.asarray(minkowski_reduce(cell)[0])
    return reduced if np.linalg.det(reduced) > 0.0 else -reduced


def on_device(values: Any, dtype: type) -> Array:
    """An array on the device. ``jnp.asarray`` would compile a program for every shape and type."""
    return jax.device_put(np.asarray(values, dtype))


def padded_size(atoms: int) -> int:
    """The number of atoms that programs are compiled for: some more, so that there are few.

    >>> [padded_size(atoms) for atoms in (5, 6, 7, 15, 25, 55)]
    [5, 6, 8, 16, 28, 56]
    """
    step = 1 if atoms <= 6 else 2 if atoms <= 12 else 4 if atoms <= 32 else 8
    return -(-atoms // step) * step


@lru_cache(maxsize=1024)
def canonical(
    fingerprint: Fingerprint, symbols: tuple[str, ...]
) -> tuple[Fingerprint, Int[np.ndarray, " q"]]:
    """The fingerprint of the elements that are there, named by their order; and its columns.

    Elements keep their names where the descriptor depends on which elements they are.
    """
    own = fingerprint.restricted(symbols)
    places = {name: place for place, name in enumerate(fingerprint.names)}
    columns = np.asarray([places[name] for name in own.names])
    if not fingerprint.descriptor.order_only:
        return own, columns
    return own.restricted(chemical_symbols[1 : len(own.descriptor.elements) + 1]), columns


def _padded(values: Any, size: int) -> np.ndarray:
    array = np.asarray(values)
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
