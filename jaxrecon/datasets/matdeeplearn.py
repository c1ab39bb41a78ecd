"""Folders and archives in the layout of MatDeepLearn: one file per structure, and a table.

No path that an archive names is ever written to: its files get numbers as names in a temporary
folder, where ASE reads them.
"""

import csv
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet, Quantity
from jaxrecon.runtime.files import existing
from jaxrecon.runtime.messages import reason, shortened
from jaxrecon.structures.io import NO_STRUCTURES, read_structures

TARGETS = "targets.csv"
"""Name of the table of targets."""

NAME = "name"
"""Column of the names of structures."""


def read_folder(path: Path, quantity: Quantity) -> LabelledSet:
    """Read a folder or an archive with a file ``targets.csv`` of lines ``name,number,...``.

    The file of a structure is ``name.json`` or has another ending that ASE knows; files that the
    table does not name are ignored. Numbers after the first become columns, ``target_1`` and so on,
    unless the first line names them. Lines that repeat a structure with the same numbers are one
    trajectory, so that they never are training and validation examples.

    Args:
        path: folder, or tar or zip archive.
        quantity: whether the first numbers are total energies in eV, ``"energy"``, or formation
            energies in eV/atom, ``"e_form"``.

    Returns:
        The structures in the order of the table, with their names as a column.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if the table is missing or can't be read, a target has no structure or several,
            a structure has different targets, ASE can't read a file, or an archive has links or
            names outside of it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = _folder(path) if path.is_dir() else _archive(path, Path(scratch))
        tables = [name for name in files if name.name == TARGETS]
        if len(tables) != 1:
            raise ValueError(f"expected one {TARGETS} in {path}, got {len(tables)}")
        names, numbers, titles = _table(files[tables[0]], f"{TARGETS} of {path}")
        candidates = _by_name(files, tables[0].parent)
        structures, trajectories = [], []
        first: dict[Path, int] = {}
        for number, name in enumerate(names):
            matches = candidates.get(name, [])
            if len(matches) != 1:
                raise ValueError(
                    f"expected one file of the structure {name!r} of {TARGETS} in {path}, got "
                    f"{len(matches)}"
                )
            # A structure may be named twice, with its ending and without.
            before = first.setdefault(matches[0], number)
            if not np.array_equal(numbers[before], numbers[number], equal_nan=True):
                raise ValueError(
                    f"expected one line of {names[before]!r} in {TARGETS} of {path}, got "
                    f"{_listed(numbers[before])} for {names[before]!r} in row {before} and "
                    f"{_listed(numbers[number])} for {name!r} in row {number}"
                )
            trajectories.append(before)
            structures.append(_structure(matches[0], name, path))
    columns = {title: numbers[:, 1 + place] for place, title in enumerate(titles[1:])}
    columns[NAME] = np.array(names)
    return LabelledSet.of(
        structures,
        energies=numbers[:, 0] if quantity == "energy" else None,
        formation_energies=numbers[:, 0] if quantity == "e_form" else None,
        trajectories=trajectories,
        columns=columns,
    )


def _folder(path: Path) -> dict[PurePosixPath, Path]:
    """Return the files of a folder by their names relative to it."""
    return {
        PurePosixPath(file.relative_to(path).as_posix()): file
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def _archive(path: Path, scratch: Path) -> dict[PurePosixPath, Path]:
    """Copy the files of an archive to a folder, and return the copies by their names inside it."""
    path = existing(path, "a folder or an archive of structures")
    files = {}
    try:
        for number, (name, content) in enumerate(_members(path)):
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(f"expected names within the archive {path}, got {name}")
            copy = scratch / f"{number}{name.suffix}"
            copy.write_bytes(content)
            files[name] = copy
    except ValueError:
        raise
    # A damaged archive raises exceptions of tarfile, zipfile, gzip, zlib or lzma.
    except Exception as error:
        raise ValueError(
            f"expected an archive of structures, got {path} ({reason(error)})"
        ) from error
    return files


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the name and the content of every file in an archive; anything but files raises."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as zipped:
            for entry in zipped.infolist():
                if not entry.is_dir():
                    yield PurePosixPath(entry.filename), zipped.read(entry)
        return
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                yield PurePosixPath(member.name), content.read()
            elif not member.isdir():
                raise ValueError(
                    f"expected plain files in {path}, got {member.name}, which is none"
                )


def _table(file: Path, source: str) -> tuple[list[str], np.ndarray, list[str]]:
    """Read the table: names of structures, their numbers, and titles of the numbers."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"expected lines name,number in {source}, got {reason(error)}") from error
    width = len(lines[0]) if lines else 0
    titles = ["target", *(f"target_{place}" for place in range(1, width - 1))]
    # A first line without numbers holds the titles.
    if lines and not any(map(_is_number, lines[0][1:])):
        titles = lines.pop(0)[1:]
    if not lines or width < 2:
        raise ValueError(f"expected lines name,number in {source}, got none")
    twice = [title for place, title in enumerate(titles) if title in [*titles[:place], NAME]]
    if twice:
        raise ValueError(
            f"expected titles that differ from each other and from {NAME!r} in {source}, got "
            f"{twice[0]!r}"
        )
    for line in lines:
        if len(line) != width or not all(map(_is_number, line[1:])):
            raise ValueError(
                f"expected a name and {width - 1} numbers in every line of {source}, got "
                f"{','.join(line)!r}"
            )
    return (
        [line[0] for line in lines],
        np.array([[*map(float, line[1:])] for line in lines]),
        titles,
    )


def _listed(numbers: np.ndarray) -> str:
    """The targets of a structure, for messages."""
    return shortened(",".join(f"{number:g}" for number in numbers), 40)


def _is_number(cell: str) -> bool:
    """Return whether a cell of the table is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _by_name(files: dict[PurePosixPath, Path], folder: PurePosixPath) -> dict[str, list[Path]]:
    """Return the files that a name in the table may mean, with their ending or without."""
    candidates: dict[str, list[Path]] = {}
    for name, file in files.items():
        if name.suffix in NO_STRUCTURES or not name.is_relative_to(folder):
            continue
        for word in {name.name, name.stem}:
            candidates.setdefault(word, []).append(file)
    return candidates


def _structure(file: Path, name: str, path: Path) -> Atoms:
    """Read one structure; a message names it as the table and the archive do."""
    try:
        frames = read_structures(file)
    except ValueError as error:
        why = reason(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)
        raise ValueError(
            f"expected a structure that ASE can read as {name!r} of {path}, got none ({why})"
        ) from error
    if len(frames) != 1:
        raise ValueError(f"expected one structure in {name!r} of {path}, got {len(frames)}")
    atoms = frames[0]
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
