"""What callers of the search may give, checked and turned into problems."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.cell import Cell as AseCell

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.compositions import candidates
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.problems import Problem, canonical, padded_size
from jaxrecon.search.volume import expected_volume
from jaxrecon.structures.bounds import bounds_within
from jaxrecon.structures.formulas import composition_of
from jaxrecon.structures.structure import Bounds, checked_cell

Targets = np.ndarray | Sequence[Sequence[float]] | Sequence[np.ndarray]
"""Fingerprints: an array with one row for each target, or a list of vectors."""

Symbols = str | Sequence[str | Sequence[str]]
"""One formula for all targets, or for each target a formula or the symbols of its atoms."""

Cell = np.ndarray | AseCell | Sequence[float] | Sequence[Sequence[float]] | str | None
"""Lattice vectors, lengths, lengths and angles, ``"unknown"``, or None for a free structure."""

UNKNOWN = "unknown"
"""In place of a cell: it is to be found as well."""

FEWEST = 32
"""Neighbours that there is room for at least: many small cells share a program."""

FLATTENING = 2.0
"""Heights of an unknown cell are at least those of a cube of its volume over this."""


def problems_of(
    targets: Targets,
    fingerprints: Fingerprint | Sequence[Fingerprint],
    symbols: Symbols | None,
    cell: Cell | Sequence[Cell],
    positions: Sequence[np.ndarray | None] | None,
    indices: Sequence[int] | None,
    atoms: int | Sequence[int] | None = None,
    guidance: Guidance | None = None,
) -> list[list[Problem]]:
    """Check the arguments of :func:`jaxrecon.reconstruct` and pair what belongs together.

    Args:
        targets: as for :func:`jaxrecon.reconstruct`, like all others.
        fingerprints: one for all targets or one for each.
        symbols: compositions; None where ``atoms`` are given instead.
        cell: one for all targets or one for each.
        positions: known positions of each target.
        indices: of the targets for the random numbers.
        atoms: numbers of atoms where the compositions are unknown.
        guidance: what is wanted besides the fingerprints.

    Returns:
        The problems of each target, one a composition that it may have.

    Raises:
        ValueError: if a length, composition, cell or position does not fit, or a number is not
            finite.
    """
    vectors, every = _paired(targets, fingerprints)
    count = len(vectors)
    compositions = _compositions(vectors, every, symbols, atoms)
    cells = _one_a_target(cell, count)
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
            _guided(
                _problem(index, identity, vector, fingerprint, box, places, composition), guidance
            )
            for composition in compositions[index]
        ]
        for index, (identity, vector, fingerprint, box, places) in enumerate(everything)
    ]


def _guided(problem: Problem, guidance: Guidance | None) -> Problem:
    if guidance is None:
        return problem
    size = problem.fingerprint.size
    if len(guidance.widths) != size:
        raise ValueError(
            f"expected a guidance for fingerprints of {size} numbers, got {len(guidance.widths)}"
        )
    columns = canonical(problem.fingerprint, problem.symbols)[1]
    return replace(problem, guidance=replace(guidance, columns=columns))


def _compositions(
    vectors: list[np.ndarray],
    fingerprints: list[Fingerprint],
    symbols: Symbols | None,
    atoms: int | Sequence[int] | None,
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
    numbers = list(atoms) if isinstance(atoms, Sequence | np.ndarray) else [atoms] * count
    if len(numbers) != count:
        raise ValueError(f"expected one number of atoms or {count}, got {len(numbers)}")
    possible = []
    for row, (vector, fingerprint, number) in enumerate(
        zip(vectors, fingerprints, numbers, strict=True)
    ):
        try:
            possible.append(candidates(vector, fingerprint, number))
        except ValueError as error:
            raise ValueError(f"{error}, in target {row}") from error
    return possible


def _paired(
    targets: Targets, fingerprints: Fingerprint | Sequence[Fingerprint]
) -> tuple[list[np.ndarray], list[Fingerprint]]:
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
    box: Cell,
    known: np.ndarray | None,
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


def _one_a_target(cell: Cell | Sequence[Cell], count: int) -> list[Cell]:
    """The cell of each target: one that is given for all, or the items of a list."""
    given: Any = cell
    if given is None or isinstance(given, str):
        return [given] * count
    listed = any(item is None or isinstance(item, str) for item in given)
    one = not listed and _shape(given) in {(3,), (6,), (3, 3)}
    return [given] * count if one else list(given)


def _shape(values: Any) -> tuple[int, ...] | None:
    """The shape as an array; None if there is none."""
    try:
        return np.shape(values)
    except ValueError:
        return None
