"""Problems: the targets of a call, checked, and in the form in which they share programs."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.compositions import candidates
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.task import Task
from jaxrecon.search.volume import expected_volume
from jaxrecon.structures.bounds import bounds_within
from jaxrecon.structures.formulas import composition_of
from jaxrecon.structures.structure import Bounds, checked_cell

UNKNOWN = "unknown"
"""In place of a cell: it is to be found as well."""

FEWEST = 32
"""Neighbours that there is room for at least: many small cells share a program."""

FLATTENING = 2.0
"""Heights of an unknown cell are at least those of a cube of its volume over this."""


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
        return _canonical(self.fingerprint, self.symbols)[0]

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
        program, columns = _canonical(self.fingerprint, self.symbols)
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
        columns = _canonical(self.fingerprint, self.symbols)[1]
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


def problems_of(
    targets: Any,
    fingerprints: Any,
    symbols: Any,
    cell: Any,
    positions: Any,
    indices: Any,
    atoms: Any = None,
    guidance: Guidance | None = None,
) -> list[list[Problem]]:
    """Check the arguments of :func:`jaxrecon.reconstruct` and pair what belongs together.

    Returns:
        The problems of each target, one a composition that it may have.

    Raises:
        ValueError: if a length, composition, cell or position does not fit, or a number is not
            finite.
    """
    vectors, every = _paired(targets, fingerprints)
    count = len(vectors)
    compositions = _compositions(vectors, every, symbols, atoms)
    cells = [cell] * count if _is_one_cell(cell) else list(cell)
    if len(cells) != count:
        raise ValueError(f"expected one cell or {count}, one a target, got {len(cells)}")
    known = [positions] * count if positions is None else list(positions)
    if len(known) != count:
        raise ValueError(f"expected positions of {count} targets, got those of {len(known)}")
    identities = list(range(count) if indices is None else indices)
    if len(identities) != count:
        raise ValueError(f"expected {count} indices, one a target, got {len(identities)}")
    if symbols is None and any(each is not None for each in known):
        raise ValueError("expected symbols where positions are known, got none")
    everything = zip(identities, vectors, every, cells, known, strict=True)
    return [
        [
            _guided(_problem(index, *given, composition), guidance)
            for composition in compositions[index]
        ]
        for index, given in enumerate(everything)
    ]


def _guided(problem: Problem, guidance: Guidance | None) -> Problem:
    if guidance is None:
        return problem
    size = problem.fingerprint.size
    if len(guidance.widths) != size:
        raise ValueError(
            f"expected a guidance for fingerprints of {size} numbers, got {len(guidance.widths)}"
        )
    columns = _canonical(problem.fingerprint, problem.symbols)[1]
    return replace(problem, guidance=replace(guidance, columns=columns))


def _compositions(
    vectors: list[np.ndarray], fingerprints: list[Fingerprint], symbols: Any, atoms: Any
) -> list[list[tuple[str, ...]]]:
    """Those that each target may have."""
    count = len(vectors)
    if symbols is not None:
        if atoms is not None:
            raise ValueError("expected symbols or atoms, got both")
        formulas = [symbols] * count if isinstance(symbols, str) else list(symbols)
        if len(formulas) != count:
            raise ValueError(f"expected one formula or {count}, one a target, got {len(formulas)}")
        return [[composition_of(formula)] for formula in formulas]
    if atoms is None:
        raise ValueError("expected symbols, or the number of atoms, got neither")
    numbers = [atoms] * count if np.ndim(atoms) == 0 else list(atoms)
    if len(numbers) != count:
        raise ValueError(f"expected one number of atoms or {count}, got {len(numbers)}")
    possible = []
    for row, given in enumerate(zip(vectors, fingerprints, numbers, strict=True)):
        try:
            possible.append(candidates(*given))
        except ValueError as error:
            raise ValueError(f"{error}, in target {row}") from error
    return possible


def _paired(targets: Any, fingerprints: Any) -> tuple[list[np.ndarray], list[Fingerprint]]:
    """Every target with its fingerprint."""
    if isinstance(fingerprints, Fingerprint):
        try:
            array = np.atleast_2d(np.asarray(targets, dtype=np.float64))
        except ValueError as error:
            raise ValueError(
                f"expected fingerprints of length {fingerprints.size}, got them of several lengths"
            ) from error
        if array.ndim != 2:
            raise ValueError(f"expected one row of numbers a target, got shape {array.shape}")
        vectors = list(array)
        every = [fingerprints] * len(vectors)
    else:
        vectors = [np.asarray(target, dtype=np.float64) for target in targets]
        every = list(fingerprints)
        if len(every) != len(vectors):
            raise ValueError(
                f"expected one fingerprint or {len(vectors)}, one a target, got {len(every)}"
            )
    for row, (vector, fingerprint) in enumerate(zip(vectors, every, strict=True)):
        if vector.shape != (fingerprint.size,):
            raise ValueError(
                f"expected fingerprints of length {fingerprint.size} "
                f"({', '.join(fingerprint.descriptor.elements)}), got shape {vector.shape} in "
                f"target {row}"
            )
        bad = np.flatnonzero(~np.isfinite(vector))
        if len(bad):
            raise ValueError(
                f"expected finite numbers, got {vector[bad[0]]} in target {row}, "
                f"feature {bad[0]} ({fingerprint.names[bad[0]]})"
            )
    return vectors, every


def _problem(
    index: int,
    identity: int,
    target: np.ndarray,
    fingerprint: Fingerprint,
    box: Any,
    known: Any,
    composition: tuple[str, ...],
) -> Problem:
    foreign = sorted(set(composition) - set(fingerprint.descriptor.elements))
    if foreign:
        raise ValueError(
            f"expected elements among {fingerprint.descriptor.elements}, got {foreign}"
        )
    volume = None
    if isinstance(box, str):
        if box != UNKNOWN:
            raise ValueError(f"expected a cell, None or {UNKNOWN!r}, got {box!r}")
        if fingerprint.images != "all":
            raise ValueError(f"expected images='all' with a cell that is {UNKNOWN}, got 'minimum'")
        volume = expected_volume(target, fingerprint, composition)
        box = np.cbrt(volume) * np.eye(3)
    cell = None if box is None else checked_cell(box)
    positions = None
    if known is not None:
        positions = np.asarray(known, dtype=np.float64)
        if positions.shape != (len(composition), 3):
            raise ValueError(
                f"expected positions of shape ({len(composition)}, 3) with NaN for atoms to be "
                f"found, got {positions.shape} for target {index}"
            )
        if (
            np.isinf(positions).any()
            or (np.isnan(positions).any(1) != np.isnan(positions).all(1)).any()
        ):
            raise ValueError(
                f"expected each known position whole and finite, got others for target {index}"
            )
        if volume is not None:
            raise ValueError(f"expected no positions where the cell is {UNKNOWN}, got some")
    bounds = Bounds(capacity=padded_size(len(composition)))
    if cell is not None and fingerprint.images == "all":
        bounds = _bounds(cell, fingerprint.descriptor.r_cut, len(composition), volume is not None)
    return Problem(
        index, identity, target, fingerprint, composition, cell, positions, volume, bounds
    )


def _bounds(cell: np.ndarray, r_cut: float, atoms: int, variable: bool) -> Bounds:
    """Few different ones, with room for flatter cells where the cell is unknown."""
    bounds = bounds_within(cell, r_cut, atoms)
    if bounds.bins is not None:
        return bounds
    most = max(2, *bounds.counts)
    if variable:
        most = int(r_cut / (np.cbrt(np.linalg.det(cell)) / FLATTENING) + 0.5)
    step = max(FEWEST, 2 ** (bounds.capacity.bit_length() - 2))  # of a quarter to a half
    capacity = -(-bounds.capacity // step) * step
    return replace(bounds, counts=(most,) * 3, capacity=capacity)


def _is_one_cell(cell: Any) -> bool:
    if cell is None or isinstance(cell, str):
        return True
    try:
        shape = np.shape(cell)
    except ValueError:
        return False
    listed = shape != () and any(item is None or isinstance(item, str) for item in cell)
    return shape in {(), (3,), (6,), (3, 3)} and not listed


@lru_cache(maxsize=1024)
def _canonical(
    fingerprint: Fingerprint, symbols: tuple[str, ...]
) -> tuple[Fingerprint, Int[np.ndarray, " q"]]:
    """The fingerprint of the elements that are there, named by their order; and its columns.

    Weighted functions depend on the atomic numbers themselves: there the elements keep their names.
    """
    own = fingerprint.restricted(symbols)
    places = {name: place for place, name in enumerate(fingerprint.names)}
    columns = np.asarray([places[name] for name in own.names])
    if fingerprint.descriptor.weighted:
        return own, columns
    return own.restricted(chemical_symbols[1 : len(own.descriptor.elements) + 1]), columns


def _padded(values: Any, size: int) -> np.ndarray:
    array = np.asarray(values)
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
