"""Files of fingerprints: .npz with all settings, and .csv or .npy with numbers alone.

A fingerprint file holds what the inverse may know: the numbers, the settings of the fingerprint,
the formula and the cell. It never holds positions.
"""

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime.archives import check_version, member, read_archive
from jaxrecon.runtime.files import existing, replacing
from jaxrecon.runtime.memory import check_memory
from jaxrecon.runtime.messages import reason, shortened

SUFFIXES = (".npz", ".csv", ".npy")
"""Endings of the files."""

VERSION = 2
"""Version of the .npz format: increased by any change that an older jaxrecon would misread."""

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none")
"""What programs write, in capitals or not, for a number that they do not have."""


CHECKED = 2**22
"""Number of numbers that are checked at once."""


@dataclass(frozen=True, eq=False)
class FingerprintFile:
    """The content of a file of fingerprints.

    Attributes:
        values: the fingerprint of each target, one in each row, without a unit.
        fingerprint: the settings of the fingerprints; None if the file does not have them.
        formulas: the formula of each target, with its atoms in order, like ``"OH2"``; None if the
            file does not have them.
        cells: the lattice vectors of each target as rows in Angstrom, or None for a free structure;
            None if the file does not have them.
        pbc: along which of them each target repeats; None if the file does not have it.
    """

    values: Float[np.ndarray, "targets p"]
    fingerprint: Fingerprint | None = None
    formulas: list[str] | None = None
    cells: list[np.ndarray | None] | None = None
    pbc: list[tuple[bool, bool, bool]] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Sequence[int]) -> "FingerprintFile":
        """Select some of the targets.

        Args:
            rows: indices of the targets, in the wanted order.

        Returns:
            The content for these targets alone.

        Raises:
            ValueError: if a row is not in the file.
        """
        for row in rows:
            if not 0 <= row < len(self):
                raise ValueError(f"expected rows among 0-{len(self) - 1}, got {row}")
        # All rows in order need no copy, for which there may be no memory.
        everything = list(rows) == list(range(len(self)))
        return replace(
            self,
            values=self.values if everything else self.values[list(rows)],
            formulas=None if self.formulas is None else [self.formulas[row] for row in rows],
            cells=None if self.cells is None else [self.cells[row] for row in rows],
            pbc=None if self.pbc is None else [self.pbc[row] for row in rows],
        )


def write_fingerprints(
    path: str | os.PathLike[str],
    values: Float[np.ndarray, "targets p"],
    fingerprint: Fingerprint,
    structures: Sequence[Atoms] | None = None,
) -> None:
    """Write fingerprints and their settings; of structures the formulas and cells, no positions.

    A ``.npy`` or ``.csv`` file gets the numbers alone, for other programs; in a ``.csv`` file the
    names of the features stand above them.

    Args:
        path: path of the file, which ends in ``.npz``, ``.npy`` or ``.csv``.
        values: the fingerprint of each target, one in each row, without a unit.
        fingerprint: the settings of the fingerprints.
        structures: the structures that have these fingerprints, in the same order.

    Raises:
        ValueError: if the suffix, a shape or the number of structures is wrong, or a number is not
            finite.
        OSError: if the file can't be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"expected fingerprints in an .npz, .csv or .npy file, got {path}")
    values = np.asarray(values, dtype=np.float64)
    _check_values(values, fingerprint, path)
    if structures is not None and len(structures) != len(values):
        raise ValueError(f"expected {len(values)} structures, got {len(structures)}")
    if path.suffix == ".npy":
        with replacing(path) as draft:
            np.save(draft, values)
        return
    if path.suffix == ".csv":
        with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(fingerprint.names)
            writer.writerows(row.tolist() for row in values)
        return
    content: dict[str, Any] = {
        "version": np.int64(VERSION),
        "values": values,
        "fingerprint": np.str_(fingerprint.to_json()),
    }
    if structures is not None:
        # In many data sets a free structure has a box around it, which is not a cell.
        cells = [atoms.cell.array if atoms.pbc.any() else np.zeros((3, 3)) for atoms in structures]
        content["formulas"] = np.array([str(atoms.symbols) for atoms in structures], dtype=np.str_)
        content["cells"] = np.array(cells, dtype=np.float64)
        content["pbc"] = np.array([atoms.pbc for atoms in structures], dtype=np.bool_)
    with replacing(path) as draft:
        np.savez_compressed(draft, **content)


def read_fingerprints(path: str | os.PathLike[str]) -> FingerprintFile:
    """Read fingerprints from an .npz file of jaxrecon, or from a .csv or .npy file of numbers.

    An .npy file has an array of NumPy with one row for each target, or one target alone. A .csv
    file has one target in each line. Blank lines are skipped, and so is a first line that can't be
    data: names in all columns, or the numbers 0, 1, 2, ... of the columns, as pandas writes them.
    Everything else that is not a finite number is refused by row and column.

    Args:
        path: path of the file, which ends in ``.npz``, ``.csv`` or ``.npy``.

    Returns:
        The content of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if its suffix or content is not that of one of these formats, it has another
            version, or a number is not finite.
        MemoryError: if the numbers do not fit into the available memory.
    """
    path = existing(path, "a file of fingerprints")
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".csv":
        # A number takes at least four times the memory of its text while the table is read.
        size = 4 * path.stat().st_size
        check_memory(size, f"the numbers of {shortened(str(path), 100)}", "use a part of its lines")
        values = _read_csv(path)
        _check_values(values, None, path)
        return FingerprintFile(values)
    if path.suffix == ".npy":
        values = _read_npy(path)
        _check_values(values, None, path)
        return FingerprintFile(values)
    raise ValueError(f"expected fingerprints in an .npz, .csv or .npy file, got {path}")


def _read_npz(path: Path) -> FingerprintFile:
    """Read an .npz file from any source: every part is checked before it is used."""
    expected = f"expected an .npz file of fingerprints that jaxrecon wrote, got {path}"
    content = read_archive(path, expected)
    missing = sorted({"version", "values", "fingerprint"} - set(content))
    if missing:
        raise ValueError(f"{expected} without {missing}")
    check_version(content, VERSION, path)
    try:
        fingerprint = Fingerprint.from_json(str(content["fingerprint"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{expected} with unreadable settings ({reason(error)})") from error
    values = member(content, "values", "f", (None, fingerprint.size), expected)
    _check_values(values, fingerprint, path)
    if not {"formulas", "cells", "pbc"} & set(content):
        return FingerprintFile(values, fingerprint)
    count = len(values)
    formulas = member(content, "formulas", "U", (count,), expected)
    cells = member(content, "cells", "f", (count, 3, 3), expected)
    pbc = member(content, "pbc", "b", (count, 3), expected)
    return FingerprintFile(
        values,
        fingerprint,
        formulas=[str(formula) for formula in formulas],
        cells=[cell if axes.any() else None for cell, axes in zip(cells, pbc, strict=True)],
        pbc=[(bool(a), bool(b), bool(c)) for a, b, c in pbc],
    )


def _read_npy(path: Path) -> np.ndarray:
    """Read an array of numbers; one dimension is one target."""
    size = path.stat().st_size
    check_memory(size, f"the numbers of {shortened(str(path), 100)}", "use a part of its rows")
    try:
        with path.open("rb") as stream:
            values = np.lib.format.read_array(stream, allow_pickle=False)
    # A damaged file fails in numpy or ast, with exceptions of their own.
    except Exception as error:
        raise ValueError(f"expected an array of NumPy in {path}, got {reason(error)}") from error
    if values.dtype.kind not in "fiu":
        raise ValueError(f"expected an array of real numbers in {path}, got {values.dtype}")
    return np.atleast_2d(values.astype(values.dtype if values.dtype.kind == "f" else float))


def _read_csv(path: Path) -> np.ndarray:
    """Read a table of numbers; a cell without a number becomes NaN, other text is refused."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"expected lines of comma-separated numbers in {path}, got {reason(error)}"
        ) from error
    # A line of blanks alone is no line of empty cells.
    lines = [(line, cells) for line, cells in lines if len(cells) > 1 or cells[0].strip()]
    if lines and _is_header(lines[0][1], path):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"expected lines of comma-separated numbers in {path}, got none")
    width = len(lines[0][1])
    values = np.empty((len(lines), width))
    for row, (line, cells) in enumerate(lines):
        place = f"row {row} (line {line})"
        for column, cell in enumerate(cells[:width]):
            number = _number(cell)
            if number is None and _is_a_line(cell):
                raise ValueError(
                    f"expected commas between the numbers in {place} of {path}, got blanks: write "
                    "them with numpy.savetxt(..., delimiter=',')"
                )
            if number is None:
                raise ValueError(
                    f"expected a number in {place}, column {column} of {path}, "
                    f"got {shortened(cell, 40)!r}"
                )
            values[row, column] = number
        if len(cells) != width:
            raise ValueError(
                f"expected columns 0-{width - 1} in {place} of {path}, "
                f"got columns 0-{len(cells) - 1}"
            )
    return values


def _is_header(cells: list[str], path: Path) -> bool:
    """Whether the first line has names, or the numbers 0, 1, 2, ..., for all of its columns.

    Raises:
        ValueError: if it has these numbers behind a column of an index.
    """
    words = [cell.strip() for cell in cells]
    if words[0] == "" and words[1:] and words[1:] == list(map(str, range(len(words) - 1))):
        raise ValueError(
            f"expected fingerprints without an index in {path}, got a column of one: write them "
            "with to_csv(..., index=False)"
        )
    if len(words) > 2 and words == list(map(str, range(len(words)))):
        return True
    return all(_number(word) is None and not _is_a_line(word) for word in words)


def _number(cell: str) -> float | None:
    """The number that a cell of a table holds, NaN for a missing one; None for other text."""
    word = cell.strip()
    if word.lower() in MISSING:
        return math.nan
    try:
        return float(word)
    except ValueError:
        return None


def _is_a_line(cell: str) -> bool:
    """Whether a cell is a line of several numbers, with blanks between them."""
    words = cell.split()
    return len(words) > 1 and all(_number(word) is not None for word in words)


def _check_values(values: np.ndarray, fingerprint: Fingerprint | None, path: Path) -> None:
    """Raise a ValueError unless values are a table of finite numbers with the right columns."""
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(
            f"expected at least one row of numbers in {path}, got shape {values.shape}"
        )
    if fingerprint is not None and values.shape[1] != fingerprint.size:
        raise ValueError(
            f"expected fingerprints of length {fingerprint.size} in {path}, got {values.shape[1]}"
        )
    # Some rows at a time: the mask of all numbers may not fit into memory beside them.
    step = max(1, CHECKED // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        bad = np.argwhere(~np.isfinite(values[start : start + step]))
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            raise ValueError(
                f"expected finite numbers, got {values[row, column]} in row {row}, column {column} "
                f"of {path}"
            )
