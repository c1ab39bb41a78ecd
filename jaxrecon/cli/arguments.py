"""What the words of the command line mean: rows, cells, formulas, presets, energies."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import FingerprintFile
from jaxrecon.inverse_design.config import Wanted
from jaxrecon.models.config import TrainConfig
from jaxrecon.search.problems import UNKNOWN
from jaxrecon.structures.formulas import composition_of
from jaxrecon.structures.structure import checked_cell


def parse_rows(text: str | None, count: int) -> list[int]:
    """The rows, counted from 0, that ``"0-29"`` or ``"3,7"`` or a mixture of these asks for.

    Args:
        text: what was given; None for all rows.
        count: how many there are.

    Raises:
        ValueError: if it can't be read or a row is not there.

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
    """The cell, vectors as rows in Angstrom, from lengths, lengths and angles, or vectors.

    Args:
        text: 3, 6 or 9 numbers between blanks or commas, in Angstrom and degrees; or ``unknown``,
            which is handed on.

    Raises:
        ValueError: if it can't be read, or such a cell is singular, left-handed or impossible.

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
    """Which of how many processes this is and where they meet, for
    :func:`jaxrecon.runtime.distributed.connect`.

    Args:
        text: ``auto``, or ``HOST:PORT,P,I``.

    Raises:
        ValueError: if it can't be read.

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


def formulas_of(file: FingerprintFile, symbols: str | None, rows: Sequence[int]) -> list[str]:
    """The formula of each target: the one given, or those in the file.

    Args:
        file: with the targets.
        symbols: what was given; None for what the file says.
        rows: where the targets are in their file, to name them.

    Raises:
        ValueError: if there is no formula, it can't be read, or it has another number of atoms.
    """
    if symbols is None:
        if file.formulas is None:
            raise ValueError(
                "expected --symbols with a formula like Pt10, as this file has no formulas, "
                "got none"
            )
        return file.formulas
    atoms = len(composition_of(symbols))
    for row, formula in zip(rows, file.formulas or [], strict=False):
        if len(composition_of(formula)) != atoms:
            raise ValueError(
                f"expected --symbols with {len(composition_of(formula))} atoms, as {formula} in "
                f"row {row}, got {symbols} with {atoms}"
            )
    return [symbols] * len(file)


def fingerprint_of(
    file: FingerprintFile, preset: str | None, default: str, formulas: Sequence[str]
) -> Fingerprint:
    """The parameters that the targets were made with.

    Args:
        file: with the targets.
        preset: what was given; None for what the file says.
        default: the preset if neither says anything.
        formulas: of the targets; they name the elements if the file does not.

    Raises:
        ValueError: if there is no such preset, or the file has parameters and they are others.
    """
    if file.fingerprint is None:
        elements = {symbol for formula in formulas for symbol in composition_of(formula)}
        return Fingerprint.preset(preset or default, elements)
    if preset is not None:
        other = Fingerprint.preset(preset, file.fingerprint.descriptor.elements)
        if differences := file.fingerprint.differences(other):
            raise ValueError(
                f"expected the parameters that the file was made with, got --preset {preset}: "
                f"{'; '.join(differences)}"
            )
    return file.fingerprint


def placeholders(formulas: Sequence[str], cells: Sequence[np.ndarray | str | None]) -> list[Atoms]:
    """Structures as the results will be but for their positions, to try out a format with."""
    structures = []
    for formula, cell in zip(formulas, cells, strict=True):
        symbols = composition_of(formula)
        positions = np.arange(3.0 * len(symbols)).reshape(-1, 3)
        box = 9.0 * np.eye(3) if isinstance(cell, str) else cell
        atoms = Atoms(symbols, positions, cell=box, pbc=box is not None)
        atoms.info.update(residual=1.0, result_code="stalled")
        structures.append(atoms)
    return structures


def energies_of(text: str | None) -> dict[str, float] | None:
    """Energies of bulk crystals in eV/atom, by element.

    Args:
        text: what was given for ``--bulk``; None for none.

    Raises:
        ValueError: if it can't be read.

    >>> energies_of("Pt=-5.83,Au=-3.2")
    {'Pt': -5.83, 'Au': -3.2}
    """
    if text is None:
        return None
    energies = {}
    for word in text.split(","):
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s*=\s*([-+]?[0-9.]+)\s*", word, re.ASCII)
        try:
            symbol, number = match.groups() if match else ("", "")
            energies[symbol] = float(number)
        except ValueError:
            raise ValueError(f"expected --bulk like Pt=-5.83,Au=-3.2, got {text!r}") from None
    return energies


def learning_of(name: str) -> "TrainConfig":
    """Settings of models: those of a name, or all of those in a .json file.

    Raises:
        ValueError: if there are none of this name, or those in the file can't be read.
        OSError: if there is no such file.
    """
    if not name.endswith(".json"):
        return TrainConfig.preset(name)
    try:
        return TrainConfig.from_dict(json.loads(Path(name).read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"expected settings of models in {name}, got {error}") from error


def wanted(target: float | None, at_least: float | None, at_most: float | None) -> Wanted:
    """The energies that are wanted, in eV/atom: one, or a range.

    Args:
        target: that one.
        at_least: lower end of a range; None for none.
        at_most: its upper end; None for none.

    Raises:
        ValueError: if nothing is wanted, or both.
    """
    if target is None and at_least is None and at_most is None:
        raise ValueError("expected --target, --at-least or --at-most, got none")
    if target is None:
        low, high = at_least, at_most
        return (-math.inf if low is None else low, math.inf if high is None else high)
    if at_least is not None or at_most is not None:
        raise ValueError("expected --target or a range, got both")
    return target
