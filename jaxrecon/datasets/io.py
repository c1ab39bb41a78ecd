"""Files: fingerprints as .npz and .csv, structures through ASE, results as JSON.

A fingerprint file carries what the inverse may know: the numbers, the parameters that they were
made with, formula and cell. It never carries positions. Every output is written to a draft in the
same directory and moved into place at the end, so that the file there is always a whole one.
"""

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.datasets.archives import check_version, member, read_archive, reason
from jaxrecon.descriptors.fingerprint import Fingerprint
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


def read_structures(path: str | os.PathLike[str]) -> list[Atoms]:
    """Read all structures of a file in any format of ASE; positions and cells in Angstrom.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if ASE can't read it, or there is no structure in it, or one without atoms.
    """
    path = existing(path, "a file of structures")
    try:
        frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True)
    # Every format of ASE has its own way to fail.
    except Exception as error:
        raise ValueError(
            f"expected structures that ASE can read, got {path} ({reason(error)})"
        ) from error
    structures = [frames] if isinstance(frames, Atoms) else list(frames)
    if not structures:
        raise ValueError(f"expected at least one structure in {path}, got none")
    for number, atoms in enumerate(structures):
        if len(atoms) == 0:
            raise ValueError(f"expected atoms in structure {number} of {path}, got none")
    return structures


def write_structures(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> None:
    """Write structures as extended XYZ (``.extxyz``, ``.xyz``) or in the format of the suffix.

    Args:
        path: of the file; ASE knows the format by its suffix.
        structures: one frame each; positions and cells in Angstrom.

    Raises:
        ValueError: if ASE has no such format or can't write these structures in it.
        OSError: if the file can't be written.
    """
    path = Path(path)
    with replacing(path) as draft:
        _write_frames(draft, structures)


def check_format(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> None:
    """Write structures somewhere else on trial, before hours of work hang on it.

    Args:
        path: of the file to be; only its name matters.
        structures: with the elements, cells and number of those to be written.

    Raises:
        ValueError: as :func:`write_structures`.
    """
    with tempfile.TemporaryDirectory() as directory:
        _write_frames(Path(directory) / Path(path).name, structures)


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write plain data as JSON; a number that is not finite becomes null, as JSON has no other.

    Raises:
        TypeError: if something is not plain data.
        OSError: if the file can't be written.
    """
    with replacing(Path(path)) as draft:
        draft.write_text(json.dumps(finite(data), indent=2, allow_nan=False) + "\n")


def check_output(
    path: str | os.PathLike[str], force: bool = False, *, suffix: str | None = None
) -> None:
    """Raise unless a file can be written here: to be called before the work, not after it.

    Args:
        path: of the file to be.
        force: whether a file that is there may be replaced.
        suffix: that the file has to have.

    Raises:
        ValueError: if it has another suffix.
        FileExistsError: if there is a file and no ``force``.
        OSError: if the directory is missing, something else than a file is in the place, or
            writing is not allowed.
    """
    if suffix is not None and Path(path).suffix != suffix:
        raise ValueError(f"expected an output ending in {suffix}, got {path}")
    real = Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise NotADirectoryError(f"expected a directory to write {path} to, got {real.parent}")
    if real.exists():
        if not real.is_file():
            raise IsADirectoryError(f"expected a file to write to, got {path}, which is none")
        if not force:
            raise FileExistsError(f"expected no file in the way or --force, got {path}")
    # An old file that is read-only is meant to stay, though its directory would let it go.
    if not os.access(real.parent, os.W_OK | os.X_OK) or not (
        os.access(real, os.W_OK) or not real.exists()
    ):
        raise PermissionError(f"expected permission to write {path}, got none")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file of the same name, in a directory of its own beside it, that replaces it at the end.

    ASE goes by the name, and some of its formats leave other files behind: both ask for a directory
    and not for another name.

    Args:
        path: of the file to be; what it links to is replaced.
    """
    real = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory(dir=real.parent, prefix=".jaxrecon-") as directory:
        draft = Path(directory) / real.name
        yield draft
        os.replace(draft, real)


def _write_frames(path: Path, structures: Sequence[Atoms]) -> None:
    kind = "extxyz" if path.suffix in {".extxyz", ".xyz"} else None
    try:
        ase.io.write(path, list(structures), format=kind)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"expected a file that ASE can write {len(structures)} structures to, like .extxyz, "
            f"got {path.name} ({reason(error)})"
        ) from error


def existing(path: str | os.PathLike[str], what: str) -> Path:
    """The path, if there is a file.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected {what}, got {path}, which does not exist")
    if not path.is_file():
        raise ValueError(f"expected {what}, got {path}, which is no file")
    return path


def finite(data: Any) -> Any:
    """Plain data with None in place of numbers that are not finite."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


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
