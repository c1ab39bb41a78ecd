"""Check the arguments of a search and turn them into problems."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell as AseCell
from ase.symbols import Symbols as AseSymbols

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.compositions import candidates
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.noise import Noise, noise_of_each_target
from jaxrecon.search.problems import Problem, canonical, padded_size
from jaxrecon.search.stoichiometry import reads_compositions
from jaxrecon.search.volume import expected_volume
from jaxrecon.structures.bounds import bounds_within
from jaxrecon.structures.formulas import composition_of
from jaxrecon.structures.structure import Bounds, checked_cell

Targets = np.ndarray | Sequence[Sequence[float]] | Sequence[np.ndarray]
"""Target fingerprints: an array with one row for each target, or a list of vectors."""

Symbols = str | AseSymbols | Sequence[str | AseSymbols | Sequence[str]]
"""One formula for all targets, or for each target a formula or the symbols of its atoms.

``atoms.symbols`` of ASE is a formula.
"""

Cell = np.ndarray | AseCell | Sequence[float] | Sequence[Sequence[float]] | str | None
"""Lattice vectors, lengths, or lengths and angles, in Angstrom and degrees.

``"unknown"`` is a cell that is to be found; None is a free structure.
"""

SizesOfTarget = int | range
"""The number of atoms of a structure, or the numbers that it may have."""

UNKNOWN = "unknown"
"""Argument in place of a cell that is to be found as well."""

SIZES = range(2, 21)
"""Numbers of atoms that structures may have where nothing is known of them."""

MIN_CAPACITY = 128
"""Smallest capacity for the neighbours of an atom, so that many small cells share one program."""

MAX_FLATTENING = 2.0
"""Largest factor by which a height of an unknown cell may be below that of a cube of its volume.

A flatter cell has more periodic images within the cutoff than the bounds hold.
"""


def problems_of(
    targets: Targets,
    fingerprints: Fingerprint | Sequence[Fingerprint],
    symbols: Symbols | None,
    cell: Cell | Sequence[Cell],
    positions: Sequence[np.ndarray | None] | None,
    indices: Sequence[int] | None,
    atoms: SizesOfTarget | Sequence[SizesOfTarget] | None = None,
    guidance: Guidance | None = None,
    noise: Noise | None = None,
) -> list[list[Problem]]:
    """Check the arguments of :func:`jaxrecon.reconstruct` and combine those of each target.

    Args:
        targets: fingerprints, as for :func:`jaxrecon.reconstruct`, like all other arguments.
        fingerprints: the settings of all targets, or of each one.
        symbols: compositions; None where ``atoms`` are given instead.
        cell: the cell of all targets, or of each one.
        positions: known positions of each target, in Angstrom.
        indices: for each target, the index from which its random numbers are derived.
        atoms: numbers of atoms where the compositions are unknown.
        guidance: what the structures shall have besides the fingerprints.
        noise: standard deviations of the numbers.

    Returns:
        The problems of each target: one for each composition that it may have.

    Raises:
        ValueError: if a length, composition, cell or position does not fit, or a number is not
            finite.
    """
    # Bring every argument to one item for each target, and check the numbers of items.
    vectors, settings = _paired(targets, fingerprints)
    count = len(vectors)
    compositions = _compositions(vectors, settings, symbols, atoms)
    cells = _cell_of_each_target(cell, count)
    if len(cells) != count:
        raise ValueError(f"expected one cell or {count}, one for each target, got {len(cells)}")
    known = [positions] * count if positions is None else list(positions)
    if len(known) != count:
        raise ValueError(f"expected positions of {count} targets, got positions of {len(known)}")
    identities = list(range(count) if indices is None else indices)
    if len(identities) != count:
        raise ValueError(f"expected {count} indices, one for each target, got {len(identities)}")
    if symbols is None and any(places is not None for places in known):
        raise ValueError("expected symbols where positions are known, got none")
    if noise is not None and guidance is not None:
        raise ValueError("expected noise or guidance, got both")
    noises = noise_of_each_target(noise, [len(vector) for vector in vectors])
    # One problem for each composition that a target may have.
    items = zip(identities, vectors, settings, cells, known, noises, strict=True)
    return [
        [
            replace(
                _guided(problem, guidance),
                noise=errors,
                any_size=len(set(map(len, compositions[index]))) > 1,
            )
            for problem in (
                _problem(index, identity, vector, fingerprint, box, places, composition)
                for composition in compositions[index]
            )
        ]
        for index, (identity, vector, fingerprint, box, places, errors) in enumerate(items)
    ]


def _guided(problem: Problem, guidance: Guidance | None) -> Problem:
    """Add guidance to a problem: for the numbers that its search computes."""
    if guidance is None:
        return problem
    size = problem.fingerprint.size
    if len(guidance.widths) != size:
        raise ValueError(
            f"expected guidance for fingerprints of {size} numbers, got {len(guidance.widths)}"
        )
    if guidance.needs_atoms and set(problem.symbols) != set(
        problem.fingerprint.descriptor.elements
    ):
        raise ValueError(
            "expected structures with all elements of the fingerprint for energies of atoms, got "
            f"{','.join(sorted(set(problem.symbols)))}: use fingerprint.restricted"
        )
    columns = canonical(problem.fingerprint, problem.symbols)[1]
    return replace(problem, guidance=replace(guidance, columns=columns))


def _compositions(
    vectors: list[np.ndarray],
    fingerprints: list[Fingerprint],
    symbols: Symbols | None,
    atoms: SizesOfTarget | Sequence[SizesOfTarget] | None,
) -> list[list[tuple[str, ...]]]:
    """The compositions that each target may have."""
    count = len(vectors)
    if symbols is not None:
        if atoms is not None:
            raise ValueError("expected symbols or atoms, got both")
        if isinstance(symbols, str | AseSymbols):
            symbols = [symbols] * count
        formulas = list(symbols)
        if len(formulas) != count:
            raise ValueError(
                f"expected one formula or {count}, one for each target, got {len(formulas)}"
            )
        plain = (str(one) if isinstance(one, AseSymbols) else one for one in formulas)
        return [[composition_of(formula)] for formula in plain]
    if atoms is None:
        if not all(map(reads_compositions, fingerprints)):
            raise ValueError("expected symbols, or the number of atoms, got neither")
        atoms = SIZES
    numbers: list[Any] = [atoms] * count
    if isinstance(atoms, Sequence | np.ndarray) and not isinstance(atoms, range):
        numbers = list(atoms)
    if len(numbers) != count:
        raise ValueError(f"expected one number of atoms or {count}, got {len(numbers)}")
    possible = []
    for index, (vector, fingerprint, number) in enumerate(
        zip(vectors, fingerprints, numbers, strict=True)
    ):
        try:
            possible.append(candidates(vector, fingerprint, number))
        except ValueError as error:
            raise ValueError(f"{error}, in target {index}") from error
    return possible


def _paired(
    targets: Targets, fingerprints: Fingerprint | Sequence[Fingerprint]
) -> tuple[list[np.ndarray], list[Fingerprint]]:
    """The target vectors, and the fingerprint that each one belongs to."""
    if isinstance(targets, str | os.PathLike | Atoms):
        raise ValueError(
            f"expected fingerprints as numbers, got {type(targets).__name__}: use "
            "jaxrecon.descriptors.io.read_fingerprints(...).values for a file of them and "
            "jaxrecon.featurize for structures"
        )
    if isinstance(fingerprints, Fingerprint):
        try:
            array = np.atleast_2d(np.asarray(targets, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected fingerprints of length {fingerprints.size}, got several lengths or no "
                "numbers"
            ) from error
        if array.ndim != 2:
            raise ValueError(f"expected one row of numbers per target, got shape {array.shape}")
        vectors = list(array)
        settings = [fingerprints] * len(vectors)
    else:
        vectors = [np.asarray(target, dtype=np.float64) for target in targets]
        settings = list(fingerprints)
        if len(settings) != len(vectors):
            raise ValueError(
                f"expected one fingerprint or {len(vectors)}, one for each target, "
                f"got {len(settings)}"
            )
    for index, (vector, fingerprint) in enumerate(zip(vectors, settings, strict=True)):
        if vector.shape != (fingerprint.size,):
            raise ValueError(
                f"expected fingerprints of length {fingerprint.size} "
                f"({', '.join(fingerprint.descriptor.elements)}), got shape {vector.shape} in "
                f"target {index}"
            )
        bad = np.flatnonzero(~np.isfinite(vector))
        if len(bad):
            raise ValueError(
                f"expected finite numbers, got {vector[bad[0]]} in target {index}, "
                f"feature {bad[0]} ({fingerprint.names[bad[0]]})"
            )
    return vectors, settings


def _problem(
    index: int,
    identity: int,
    target: np.ndarray,
    fingerprint: Fingerprint,
    box: Cell,
    known: np.ndarray | None,
    composition: tuple[str, ...],
) -> Problem:
    """Check the arguments of one target and composition."""
    foreign = sorted(set(composition) - set(fingerprint.descriptor.elements))
    if foreign:
        raise ValueError(
            f"expected elements among {fingerprint.descriptor.elements}, got {foreign}"
        )
    if fingerprint.per_atom and fingerprint.max_atoms is not None:
        counts = Counter(composition).values() if fingerprint.per_element else [len(composition)]
        if max(counts) > fingerprint.max_atoms:
            raise ValueError(
                f"expected max_atoms >= {max(counts)} for target {index}, "
                f"got {fingerprint.max_atoms}"
            )
    # An unknown cell is a cube of the expected volume until the search begins.
    volume = None
    if isinstance(box, str):
        if box != UNKNOWN:
            raise ValueError(f"expected a cell, None or {UNKNOWN!r}, got {box!r}")
        if fingerprint.images != "all":
            raise ValueError(f"expected images='all' where the cell is {UNKNOWN!r}, got 'minimum'")
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
                f"expected known positions with three finite numbers, got others for target {index}"
            )
        if volume is not None:
            raise ValueError(
                f"expected no positions where the cell is {UNKNOWN!r}, got some for target {index}"
            )
    # In a free structure and in the minimum image every atom is a neighbour of every other one.
    bounds = Bounds(capacity=padded_size(len(composition)))
    if cell is not None and fingerprint.images == "all":
        bounds = _bounds(cell, fingerprint.descriptor.r_cut, len(composition), volume is not None)
    return Problem(
        index, identity, target, fingerprint, composition, cell, positions, volume, bounds
    )


def _bounds(cell: np.ndarray, r_cut: float, atoms: int, variable: bool) -> Bounds:
    """Bounds for all periodic images, rounded up so that similar cells share one program."""
    bounds = bounds_within(cell, r_cut, atoms)
    if bounds.bins is not None:
        return bounds
    # The same number of images along all vectors, enough for flatter cells if the cell is unknown.
    most = max(2, *bounds.counts)
    if variable:
        most = int(r_cut / (np.cbrt(np.linalg.det(cell)) / MAX_FLATTENING) + 0.5)
    # Capacities are multiples of a power of two that is a quarter to a half of them.
    step = max(MIN_CAPACITY, 2 ** (bounds.capacity.bit_length() - 2))
    capacity = -(-bounds.capacity // step) * step
    return replace(bounds, counts=(most,) * 3, capacity=capacity)


def _cell_of_each_target(cell: Cell | Sequence[Cell], count: int) -> list[Cell]:
    """The cell of each target: the one cell of all targets, or the items of a list."""
    argument: Any = cell
    repeated: list[Any] = [argument] * count
    if isinstance(argument, str) or not np.iterable(argument):
        return repeated
    # Three or six items may be numbers of one cell, or cells: None and "unknown" are always cells.
    is_list = any(item is None or isinstance(item, str) for item in argument)
    is_cell = not is_list and _shape(argument) in {(3,), (6,), (3, 3)}
    return repeated if is_cell else list(argument)


def _shape(values: Any) -> tuple[int, ...] | None:
    """The shape of nested sequences as an array; None if their lengths differ."""
    try:
        return np.shape(values)
    except ValueError:
        return None
