"""Parsing of arguments: rows, cells, numbers of atoms, distances, energies and processes."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.search.arguments import UNKNOWN
from jaxrecon.structures.structure import checked_cell


def parse_rows(text: str | None, count: int) -> list[int]:
    """Parse row numbers such as ``"0-29"``, ``"3,7"`` or a mixture of these.

    Args:
        text: value of the option; None for all rows.
        count: number of rows in the file.

    Returns:
        The rows, counted from 0, in the order given.

    Raises:
        ValueError: if the text can't be parsed or a row does not exist.

    >>> parse_rows("7,0-2", count=10)
    [7, 0, 1, 2]
    """
    if text is None:
        return list(range(count))
    rows: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
        if match is None:
            raise ValueError(f"expected --rows like 0-29 or 3,7, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < count:
            raise ValueError(f"expected --rows among 0-{count - 1}, first to last, got {text!r}")
        rows.extend(range(first, last + 1))
    return rows


def parse_cell(text: str) -> np.ndarray | str:
    """Parse a cell given by lengths, by lengths and angles, or by vectors.

    Args:
        text: 3, 6 or 9 numbers in Angstrom and degrees, separated by blanks or commas; or
            ``unknown``.

    Returns:
        The lattice vectors as rows in Angstrom, shape ``(3, 3)``; or ``"unknown"``.

    Raises:
        ValueError: if the text can't be parsed, or the cell is singular or impossible.

    >>> parse_cell("3 4 5").diagonal().tolist()
    [3.0, 4.0, 5.0]
    """
    if text == UNKNOWN:
        return UNKNOWN
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) not in {3, 6, 9}:
        raise ValueError(f"expected --cell of 3, 6 or 9 numbers or {UNKNOWN!r}, got {text!r}")
    # Absurd lengths overflow before they are refused.
    with np.errstate(all="ignore"):
        return checked_cell(np.reshape(numbers, (3, 3)) if len(numbers) == 9 else numbers)


def parse_processes(text: str) -> dict[str, Any]:
    """Parse the number of this process, the number of all, and the address of the first.

    Args:
        text: ``auto``, or ``HOST:PORT,P,I``.

    Returns:
        Arguments of :func:`jaxrecon.runtime.distributed.connect`; none for ``auto``.

    Raises:
        ValueError: if the text can't be parsed.

    >>> parse_processes("node1:1234,8,0")
    {'coordinator_address': 'node1:1234', 'num_processes': 8, 'process_id': 0}
    >>> parse_processes("auto")
    {}
    """
    if text == "auto":
        return {}
    match = re.fullmatch(r"([^\s,]+:\d+),(\d+),(\d+)", text, re.ASCII)
    if match is None or int(match[3]) >= int(match[2]):
        raise ValueError(
            f"expected --distributed auto or HOST:PORT,P,I with process I of P from 0, got {text!r}"
        )
    return {
        "coordinator_address": match[1],
        "num_processes": int(match[2]),
        "process_id": int(match[3]),
    }


def parse_distances(words: Sequence[str]) -> dict[str, float]:
    """Parse smallest distances of elements.

    Args:
        words: values of ``--min-distance``, in Angstrom.

    Returns:
        The distances in Angstrom by pairs of elements, which are checked where they are used.

    Raises:
        ValueError: if a word can't be parsed.

    >>> parse_distances(["V-O=1.2", "O-O=1.3"])
    {'V-O': 1.2, 'O-O': 1.3}
    """
    distances = {}
    for word in words:
        pair, _, number = (part.strip() for part in word.partition("="))
        try:
            distances[pair] = float(number)
        except ValueError as error:
            raise ValueError(
                f"expected --min-distance as two elements and Angstrom like V-O=1.2, got {word!r}"
            ) from error
    return distances


def parse_bulk_energies(text: str | None) -> dict[str, float] | None:
    """Parse the energies of bulk crystals.

    Args:
        text: value of ``--bulk``, in eV/atom; None if it is not given.

    Returns:
        The energies in eV/atom by element; None if they are not given.

    Raises:
        ValueError: if the text can't be parsed.

    >>> parse_bulk_energies("Pt=-5.83,Au=-3.2")
    {'Pt': -5.83, 'Au': -3.2}
    """
    if text is None:
        return None
    energies: dict[str, float] = {}
    for word in text.split(","):
        symbol, _, number = (part.strip() for part in word.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        # The same energy may stand there twice, another one not.
        known = energies.get(symbol, value)
        if not atomic_numbers.get(symbol) or not math.isfinite(value) or known != value:
            raise ValueError(f"expected --bulk like Pt=-5.83,Au=-3.2, got {text!r}")
        energies[symbol] = value
    return energies


def parse_range(text: str) -> tuple[float, float]:
    """Parse a lowest and a highest number.

    Args:
        text: like ``"1.0-3.5"``.

    Returns:
        The two numbers.

    Raises:
        ValueError: if the text is something else.

    >>> parse_range("2000-4000")
    (2000.0, 4000.0)
    """
    try:
        low, high = map(float, text.split("-"))
    except ValueError as error:
        raise ValueError(f"expected two numbers like 1.0-3.5, got {text!r}") from error
    return low, high


def parse_atoms(text: str) -> int | range:
    """Parse a number of atoms, or a range of them.

    Args:
        text: like ``"5"`` or ``"2-20"``.

    Returns:
        The number, or all numbers of the range.

    Raises:
        ValueError: if the text is something else.

    >>> parse_atoms("5"), parse_atoms("2-20")
    (5, range(2, 21))
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text, re.ASCII)
    first, last = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
    if not 1 <= first <= last:
        raise ValueError(f"expected --atoms like 5 or 2-20, from 1 on, got {text!r}")
    return first if first == last else range(first, last + 1)


def parse_noise(text: str, rows: Sequence[int]) -> float | np.ndarray:
    """Parse the noise of targets: a number, or a file of numbers.

    Args:
        text: like ``"1e-3"``, or a .npy or .csv file with a row for all targets, or for each.
        rows: the rows of the targets in their file.

    Returns:
        One standard deviation, or one for each number of each target.

    Raises:
        ValueError: if it is neither, or can't be read.
    """
    try:
        return float(text)
    except ValueError:
        if Path(text).suffix not in (".npy", ".csv"):
            raise ValueError(f"expected --noise SIGMA or FILE.npy or .csv, got {text!r}") from None
    values = read_fingerprints(Path(text)).values
    if len(values) == 1:
        return np.asarray(values[0])
    if len(values) <= max(rows):
        raise ValueError(f"expected --noise with 1 row or {max(rows) + 1}, got {len(values)}")
    return values[rows]
