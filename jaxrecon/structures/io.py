"""Reading and writing of structures in the file formats of ASE.

What is read is checked: symbols that are no elements and sites that are only partly occupied are
refused by file, frame and place, because ASE would drop or replace them without a word.
"""

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from jaxrecon.runtime.files import existing, replacing
from jaxrecon.runtime.messages import reason, shortened
from jaxrecon.structures.structure import right_handed

Source = str | os.PathLike[str]
"""A file, a folder of files, or ``"-"`` for standard input."""

ISOTOPES = {"D": 1, "T": 1}
"""Symbols of deuterium and tritium, which are read as hydrogen."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

NO_STRUCTURES = frozenset({".csv", ".txt", ".md", ".py", ".yml", ".yaml", ".html", ".png", ".pdf"})
"""Endings of files that hold no structure, though they may have the name of one."""

DETAILS = frozenset({".json", ".db"})
"""Endings of files that jaxrecon writes beside a file of structures."""

FULL = 1e-3
"""Largest deviation from 1 of the occupancy of a site that counts as fully occupied."""


def read_structures(source: Source | Sequence[Source]) -> list[Atoms]:
    """Read all structures of files in any format of ASE.

    Deuterium and tritium become hydrogen. Left-handed cells get the right-handed vectors of the
    same lattice, with a warning.

    Args:
        source: a file, a folder for :func:`files_of`, ``"-"`` for standard input, or several of
            these.

    Returns:
        The structures in order; positions and cells in Angstrom.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if ASE can't read a file, or if it has no structure, one without atoms, a symbol
            that is no element, or a site that is only partly occupied.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    structures: list[Atoms] = []
    for one in sources:
        if os.fspath(one) == "-":
            structures += _read_standard_input()
            continue
        for path in files_of(one):
            structures += _read_file(path, str(path))
    return structures


def files_of(source: Source) -> list[Path]:
    """The files of a source of structures.

    Args:
        source: a file, or a folder.

    Returns:
        The file; or the visible files of the folder that may hold structures, in the order of their
        names. Tables and notes hold none, which a warning names. Files that jaxrecon writes beside
        an output are left out: its settings, and its details in .json and .db.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if the folder has no such files.
    """
    path = Path(source)
    if not path.is_dir():
        return [existing(path, "a file of structures")]
    visible = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
    names = {file.name for file in visible}
    visible = [file for file in visible if file.suffix != ".yaml" or file.stem not in names]
    found = [file for file in visible if file.suffix not in NO_STRUCTURES]
    main = {file.stem for file in found if file.suffix not in DETAILS}
    found = [file for file in found if file.suffix not in DETAILS or file.stem not in main]
    if not found:
        raise ValueError(f"expected files of structures in the folder {path}, got none")
    others = [file.name for file in visible if file.suffix in NO_STRUCTURES]
    if others:
        warnings.warn(
            f"files that hold no structures are left out of the folder {path}: "
            f"{shortened(', '.join(others), 80)}",
            stacklevel=2,
        )
    return found


def write_structures(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> None:
    """Write structures as extended XYZ (``.extxyz``, ``.xyz``) or in the format of the suffix.

    Positions and cells in extended XYZ come back bit for bit; other formats have fewer digits.

    Args:
        path: the file to write; its suffix names the format.
        structures: the frames; positions and cells in Angstrom.

    Raises:
        ValueError: if ASE has no such format or can't write these structures in it.
        OSError: if the file can't be written.
    """
    path = Path(path)
    with replacing(path) as draft:
        _write_frames(draft, structures)


def check_format(path: str | os.PathLike[str], structures: Sequence[Atoms]) -> None:
    """Try to write such structures to a temporary file, before hours of work depend on it.

    Args:
        path: the file that will be written; only its name matters.
        structures: structures with the elements and cells of those that will be written, and as
            many.

    Raises:
        ValueError: as :func:`write_structures`.
    """
    with tempfile.TemporaryDirectory() as directory:
        _write_frames(Path(directory) / Path(path).name, structures)


def _read_standard_input() -> list[Atoms]:
    """The structures on standard input: XYZ, CIF, or what else ASE recognises by its content."""
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise ValueError("expected structures on standard input, got nothing")
    text = content.removeprefix(BYTE_ORDER_MARK).lstrip()
    # A file of XYZ starts with the number of atoms, one of CIF with the name of a block.
    is_xyz = text.split(b"\n", 1)[0].strip().isdigit()
    is_cif = re.match(rb"(#.*\n|\s)*data_", text) is not None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"stdin{'.extxyz' if is_xyz else '.cif' if is_cif else ''}"
        path.write_bytes(content)
        return _read_file(path, "standard input")


def _read_file(path: Path, name: str) -> list[Atoms]:
    """The checked structures of a file, which messages call by a name."""
    try:
        with _without_byte_order_mark(path) as plain, _isotopes():
            frames = ase.io.read(plain, index=":", do_not_split_by_at_sign=True)
    # Each format of ASE fails with exceptions of its own.
    except Exception as error:
        _check_symbols_of_xyz(path, name)
        raise ValueError(
            f"expected structures that ASE can read, got {name} ({reason(error)})"
        ) from error
    structures = [frames] if isinstance(frames, Atoms) else list(frames)
    if not structures:
        raise ValueError(f"expected at least one structure in {name}, got none")
    for number, atoms in enumerate(structures):
        if len(atoms) == 0:
            raise ValueError(f"expected atoms in structure {number} of {name}, got none")
        if not atoms.numbers.all():
            _check_symbols_of_xyz(path, name)
            site = int(np.flatnonzero(atoms.numbers == 0)[0])
            raise ValueError(
                f"expected a chemical symbol for atom {site} of structure {number} of {name}, got X"
            )
        _check_occupancies(atoms, number, name)
    turned = sum([right_handed(atoms) for atoms in structures])
    if turned:
        warnings.warn(
            f"{turned} of {len(structures)} cells in {name} are left-handed: the same lattice is "
            "described by the right-handed vectors -a, -b, -c",
            stacklevel=3,
        )
    return structures


@contextmanager
def _without_byte_order_mark(path: Path) -> Iterator[Path]:
    """The file, or a copy without the mark that some editors write before the first line."""
    with path.open("rb") as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            yield path
            return
        content = file.read()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / path.name
        copy.write_bytes(content)
        yield copy


@contextmanager
def _isotopes() -> Iterator[None]:
    """Let ASE take the symbols of heavy hydrogen for hydrogen."""
    added = {symbol: z for symbol, z in ISOTOPES.items() if symbol not in atomic_numbers}
    atomic_numbers.update(added)
    try:
        yield
    finally:
        for symbol in added:
            del atomic_numbers[symbol]


def _check_symbols_of_xyz(path: Path, name: str) -> None:
    """Raise if a file of XYZ has a symbol that is no element, with its frame and line.

    Whatever else is wrong with a file is left to ASE's own message.
    """
    known = {*chemical_symbols[1:], *ISOTOPES}
    if path.suffix not in {".xyz", ".extxyz"}:
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = enumerate(file, start=1)
        frame = 0
        for _, header in lines:
            if not header.strip().isdigit():
                return
            comment = next(lines, (0, ""))[1]
            column = _species_column(comment)
            for _ in range(int(header)):
                number, line = next(lines, (0, ""))
                words = line.split()
                if column is None or len(words) <= column:
                    continue
                if words[column].capitalize() not in known:
                    raise ValueError(
                        f"expected a chemical symbol in frame {frame} of {name} (line {number}), "
                        f"got {words[column]!r}"
                    )
            frame += 1


def _species_column(comment: str) -> int | None:
    """The word of a line that is the symbol, by the comment of extended XYZ; None for none."""
    properties = re.search(r"Properties=\"?([^\s\"]+)", comment)
    if properties is None:
        return 0
    column = 0
    fields = properties[1].split(":")
    for field, count in zip(fields[::3], fields[2::3], strict=False):
        if field == "species":
            return column
        column += int(count) if count.isdigit() else 1
    return None


def _check_occupancies(atoms: Atoms, number: int, name: str) -> None:
    """Raise if a site is shared by several elements or is empty part of the time."""
    sites = atoms.info.get("occupancy")
    if isinstance(sites, dict):
        for site, occupancies in sites.items():
            values = occupancies.values() if isinstance(occupancies, dict) else ()
            # ASE leaves what is no number as it is in the file.
            numbers = [isinstance(value, int | float) for value in values]
            # Comparing is exact for integers of any size too.
            full = (1.0 - FULL <= value <= 1.0 + FULL for value in values)
            if not all(numbers) or not all(full):
                found = ", ".join(f"{symbol} {value}" for symbol, value in occupancies.items())
                raise _partial(found, site, number, name)
    column = np.asarray(atoms.arrays.get("occupancy", ()))
    # Some programs write zeros for all atoms, which say nothing.
    if column.dtype.kind == "f" and column.any():
        wrong = np.flatnonzero(~(np.abs(column - 1.0) <= FULL))
        if len(wrong):
            found = f"{atoms.symbols[wrong[0]]} {column[wrong[0]]:g}"
            raise _partial(found, wrong[0], number, name)


def _partial(found: str, site: object, number: int, name: str) -> ValueError:
    return ValueError(
        f"expected full occupancies, got {found} on site {site} of structure {number} of {name}: "
        "order it first, for instance by pymatgen's OrderDisorderedStructureTransformation"
    )


def _write_frames(path: Path, structures: Sequence[Atoms]) -> None:
    """Write structures by ASE, and report its failures as a ``ValueError``."""
    kind = "extxyz" if path.suffix in {".extxyz", ".xyz"} else None
    try:
        ase.io.write(path, list(structures), format=kind)
        if kind == "extxyz":
            _write_all_digits(path, structures)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"expected a file that ASE can write {len(structures)} structures to, like .extxyz, "
            f"got {path.name} ({reason(error)})"
        ) from error


def _write_all_digits(path: Path, structures: Sequence[Atoms]) -> None:
    """Put positions with all digits in place of the eight decimals of ASE's extended XYZ."""
    lines = path.read_text().split("\n")
    row = 0
    for atoms in structures:
        row += 2  # the number of atoms, and the comment
        for place in atoms.positions.tolist():
            symbol, _, _, _, *others = lines[row].split(maxsplit=4)
            words = [f"{symbol:<2}", *(f"{x!r:>20}" for x in place), *others]
            lines[row] = " ".join(words)
            row += 1
    path.write_text("\n".join(lines))
