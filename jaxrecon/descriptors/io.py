"""Files of fingerprints: .npz, and .csv of numbers.

A fingerprint file carries what the inverse may know: the numbers, the parameters that they were
made with, formula and cell. It never carries positions.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime.archives import check_version, member, read_archive, reason
from jaxrecon.runtime.files import existing, replacing
from jaxrecon.structures.structure import is_periodic

VERSION = 1
"""Of the .npz format; a change that an older jaxrecon would misread raises it."""


@dataclass(frozen=True, eq=False)
class FingerprintFile:
    """What a file of fingerprints carries.

    Attributes:
        values: one row a target, without a unit.
        fingerprint: what they were made with; None if the file does not say.
        formulas: of each target, atoms in order, like ``"OH2"``; None if the file does not say.
        cells: of each target, lattice vectors as rows in Angstrom, None for a free structure; None
            if the file does not say.
    """

    values: Float[np.ndarray, "targets p"]
    fingerprint: Fingerprint | None = None
    formulas: list[str] | None = None
    cells: list[np.ndarray | None] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Sequence[int]) -> "FingerprintFile":
        """Some of the targets, in the order asked for.

        Raises:
            ValueError: if a row is not in the file.
        """
        for row in rows:
            if not 0 <= row < len(self):
                raise ValueError(f"expected rows among 0-{len(self) - 1}, got {row}")
        return replace(
            self,
            values=self.values[list(rows)],
            formulas=None if self.formulas is None else [self.formulas[row] for row in rows],
            cells=None if self.cells is None else [self.cells[row] for row in rows],
        )


def write_fingerprints(
    path: str | os.PathLike[str],
    values: Float[np.ndarray, "targets p"],
    fingerprint: Fingerprint,
    structures: Sequence[Atoms] | None = None,
) -> None:
    """Write fingerprints, their parameters and, of the structures, formula and cell: no positions.

    Args:
        path: of the file, ending in ``.npz``.
        values: one row a target, without a unit.
        fingerprint: what they were made with.
        structures: where they come from, in the same order.

    Raises:
        ValueError: if the suffix, a length or the number of structures does not fit, or a number
            is not finite.
        OSError: if the file can't be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"expected fingerprints to be written to an .npz file, got {path}")
    values = np.asarray(values, dtype=np.float64)
    _check_values(values, fingerprint, path)
    content: dict[str, Any] = {
        "version": np.int64(VERSION),
        "values": values,
        "fingerprint": np.str_(fingerprint.to_json()),
    }
    if structures is not None:
        if len(structures) != len(values):
            raise ValueError(f"expected {len(values)} structures, got {len(structures)}")
        periodic = [is_periodic(atoms) for atoms in structures]
        # A free structure may have a box around it (in many data sets it has): that is no cell.
        cells = [
            atoms.cell.array if repeats else np.zeros((3, 3))
            for atoms, repeats in zip(structures, periodic, strict=True)
        ]
        content["formulas"] = np.array([str(atoms.symbols) for atoms in structures], dtype=np.str_)
        content["cells"] = np.array(cells, dtype=np.float64)
        content["pbc"] = np.array(periodic, dtype=np.bool_)
    with replacing(path) as draft:
        np.savez_compressed(draft, **content)


def read_fingerprints(path: str | os.PathLike[str]) -> FingerprintFile:
    """Read fingerprints from an .npz file of jaxrecon, or from a .csv file of numbers.

    A .csv has one target a row; blank lines and a first line of names are passed over.

    Args:
        path: of the file, ending in ``.npz`` or ``.csv``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not one of the two formats, by its suffix or by its content; is of
            another version; or holds a number that is not finite.
    """
    path = existing(path, "a file of fingerprints")
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".csv":
        values = _read_csv(path)
        _check_values(values, None, path)
        return FingerprintFile(values)
    raise ValueError(f"expected fingerprints in an .npz or .csv file, got {path}")


def _read_npz(path: Path) -> FingerprintFile:
    expected = f"expected an .npz file of fingerprints that jaxrecon wrote, got {path}"
    content = read_archive(path, expected)
    missing = sorted({"version", "values", "fingerprint"} - set(content))
    if missing:
        raise ValueError(f"{expected} without {missing}")
    check_version(content, VERSION, path)
    try:
        fingerprint = Fingerprint.from_json(str(content["fingerprint"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{expected} with unreadable parameters ({reason(error)})") from error
    values = member(content, "values", "f", (None, fingerprint.size), expected)
    _check_values(values, fingerprint, path)
    if not {"formulas", "cells", "pbc"} & set(content):
        return FingerprintFile(values, fingerprint)
    count = len(values)
    formulas = member(content, "formulas", "U", (count,), expected)
    cells = member(content, "cells", "f", (count, 3, 3), expected)
    periodic = member(content, "pbc", "b", (count,), expected)
    return FingerprintFile(
        values,
        fingerprint,
        formulas=[str(formula) for formula in formulas],
        cells=[cell if repeats else None for cell, repeats in zip(cells, periodic, strict=True)],
    )


def _read_csv(path: Path) -> np.ndarray:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, cells) for cells in reader if "".join(cells).strip()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"expected lines of comma-separated numbers in {path}, got {reason(error)}"
        ) from error
    if lines and all(_number(cell) is None for cell in lines[0][1]):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"expected lines of comma-separated numbers in {path}, got none")
    width = len(lines[0][1])
    values = np.empty((len(lines), width))
    for row, (line, cells) in enumerate(lines):
        for column, cell in enumerate(cells[:width]):
            number = _number(cell)
            if number is None:
                raise ValueError(
                    f"expected a number in row {row} (line {line}), column {column} of {path}, "
                    f"got {cell!r}"
                )
            values[row, column] = number
        if len(cells) != width:
            raise ValueError(
                f"expected columns 0-{width - 1} in row {row} (line {line}) of {path}, "
                f"got columns 0-{len(cells) - 1}"
            )
    return values


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _check_values(values: np.ndarray, fingerprint: Fingerprint | None, path: Path) -> None:
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(
            f"expected at least one row of numbers in {path}, got shape {values.shape}"
        )
    if fingerprint is not None and values.shape[1] != fingerprint.size:
        raise ValueError(
            f"expected fingerprints of length {fingerprint.size} in {path}, got {values.shape[1]}"
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"expected finite numbers, got {values[row, column]} in row {row}, column {column} "
            f"of {path}"
        )
