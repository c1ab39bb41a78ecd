"""What `jaxrecon reconstruct` searches for: formulas, cells and the fingerprint of the targets."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from jaxrecon.cli.arguments import parse_cell
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import FingerprintFile
from jaxrecon.descriptors.registry import PRESETS, needs_elements
from jaxrecon.search.arguments import UNKNOWN
from jaxrecon.search.stoichiometry import reads_compositions
from jaxrecon.structures.formulas import composition_of


def choose_formulas(
    file: FingerprintFile,
    symbols: str | None,
    rows: Sequence[int],
    atoms: str | None = None,
    preset: str | None = None,
) -> list[str] | None:
    """The formula of each target: the one given, else those of the file.

    Args:
        file: the targets.
        symbols: value of ``--symbols``; None for the formulas of the file.
        rows: the rows of the targets in their file, for messages.
        atoms: value of ``--atoms``; None if it is not given.
        preset: value of ``--preset``, for a file without a fingerprint.

    Returns:
        A formula for each target; None if they are unknown.

    Raises:
        ValueError: if there is no formula, or it can't be parsed, or its number of atoms is not
            that of a formula of the file.
    """
    if atoms is not None and symbols not in (None, UNKNOWN):
        raise ValueError(f"expected --symbols or --atoms, got both: {symbols} and {atoms}")
    own = file.fingerprint
    readable = reads_compositions(own) if own else preset and not needs_elements(preset)
    if symbols == UNKNOWN and atoms is None and not readable:
        raise ValueError(
            "expected --atoms with the number of atoms, as this fingerprint does not tell it, "
            "unlike universal and alchemical, got none"
        )
    if atoms is not None or symbols == UNKNOWN:
        return None
    if symbols is None:
        if file.formulas is None:
            if readable:
                return None
            raise ValueError(
                "expected --symbols with a formula like Pt10, as this file has no formulas, "
                "got none"
            )
        return file.formulas
    count = len(composition_of(symbols))
    for row, formula in zip(rows, file.formulas or [], strict=False):
        if len(composition_of(formula)) != count:
            raise ValueError(
                f"expected --symbols with {len(composition_of(formula))} atoms, as {formula} in "
                f"row {row}, got {symbols} with {count}"
            )
    return [symbols] * len(file)


def choose_cells(
    file: FingerprintFile, cell: str | None, rows: Sequence[int]
) -> list[np.ndarray | str | None]:
    """The cell of each target: the one given, else those of the file.

    Args:
        file: the targets.
        cell: value of ``--cell``; None for the cells of the file.
        rows: the rows of the targets in their file, for messages.

    Returns:
        For each target lattice vectors as rows in Angstrom, ``"unknown"``, or None if it is free.

    Raises:
        ValueError: as :func:`parse_cell`, or if a target is a slab or a wire.
    """
    for row, axes in zip(rows, file.pbc or [], strict=False):
        if any(axes) and not all(axes):
            kind = "a slab" if sum(axes) == 2 else "a wire"
            pbc = " ".join("FT"[axis] for axis in axes)
            raise ValueError(
                "expected free structures or crystals, the only ones that can be recovered, got "
                f"{kind} in row {row} (periodic axes {pbc}): choose other rows by --rows"
            )
    if cell is None and file.cells is not None:
        return list(file.cells)
    return [None if cell is None else parse_cell(cell)] * len(file)


def choose_fingerprint(
    file: FingerprintFile,
    preset: str | None,
    default: str,
    formulas: Sequence[str] | None,
    elements: str | None = None,
) -> Fingerprint:
    """The fingerprint that the targets were computed with.

    Args:
        file: the targets.
        preset: value of ``--preset``; None for the fingerprint of the file.
        default: preset to use if neither is known.
        formulas: formulas of the targets, which name the elements if nothing else does; None if
            they are unknown.
        elements: value of ``--elements``; None for those of the file, or of the formulas.

    Returns:
        The fingerprint.

    Raises:
        ValueError: if there is no such preset, it has another number of numbers than the file, or
            the file has a fingerprint with other parameters.
    """
    if file.fingerprint is None:
        return _fingerprint_of_numbers(file, preset or default, formulas, elements)
    if elements is not None:
        raise ValueError(
            f"expected --elements for numbers without settings, got {elements} and a file that has "
            "them"
        )
    if preset is not None:
        other = Fingerprint.preset(preset, file.fingerprint.descriptor.elements)
        if differences := file.fingerprint.differences(other):
            raise ValueError(
                f"expected the parameters that the file was made with, got --preset {preset}; "
                f"`fingerprint --preset {preset}` makes another file; they differ in "
                f"{'; '.join(differences)}"
            )
    return file.fingerprint


def _fingerprint_of_numbers(
    file: FingerprintFile, name: str, formulas: Sequence[str] | None, elements: str | None
) -> Fingerprint:
    """The fingerprint of a preset with as many numbers as a file without settings has."""
    own: set[str] | str | None = elements
    if elements is None and needs_elements(name):
        if formulas is None:
            raise ValueError(
                "expected --elements, or --symbols with a formula like Pt10, for preset "
                f"{name}, which does not tell the elements, got none"
            )
        own = {symbol for formula in formulas for symbol in composition_of(formula)}
    found = Fingerprint.preset(name, own)
    given = file.values.shape[1]
    if found.size == given:
        return found
    fitting = [other for other in PRESETS if _size(other, own) == given]
    fit = f"--preset {' or '.join(fitting)} has as many" if fitting else "no preset has as many"
    of_elements = f" of {', '.join(found.descriptor.elements)}" if own else ""
    raise ValueError(
        f"expected {found.size} numbers for --preset {name}{of_elements}, got {given}: {fit} for "
        "these elements; name other elements by --elements"
    )


def _size(preset: str, elements: set[str] | str | None) -> int | None:
    """The number of numbers of a preset; None if it is not for these elements."""
    try:
        return Fingerprint.preset(preset, elements).size
    except ValueError:
        return None


def placeholders(
    formulas: Sequence[str] | None, cells: Sequence[np.ndarray | str | None]
) -> list[Atoms]:
    """Structures like the results except for their positions, to try a file format with.

    Args:
        formulas: formula of each result; None if they are unknown.
        cells: cell of each result: lattice vectors as rows in Angstrom, ``"unknown"``, or None.

    Returns:
        Structures with these elements and cells, and the ``info`` of a result.
    """
    structures = []
    for formula, cell in zip(formulas or ["H"] * len(cells), cells, strict=True):
        symbols = composition_of(formula)
        positions = np.arange(3.0 * len(symbols)).reshape(-1, 3)
        box = 9.0 * np.eye(3) if isinstance(cell, str) else cell
        atoms = Atoms(symbols, positions, cell=box, pbc=box is not None)
        atoms.info.update(residual=1.0, result_code="stalled")
        structures.append(atoms)
    return structures
