"""Values and ranges of properties as options of the command line give them."""

import math
from pathlib import Path

from jaxrecon.inverse_design.config import Wanted


def wanted_energy(target: float | None, at_least: float | None, at_most: float | None) -> Wanted:
    """The energy that is wanted, or the range of energies, in eV/atom.

    Args:
        target: value of ``--target``.
        at_least: lower end of the range; None for no lower end.
        at_most: upper end of the range; None for no upper end.

    Returns:
        The energy, or both ends of the range.

    Raises:
        ValueError: if there is neither an energy nor a range, or both.
    """
    if target is None and at_least is None and at_most is None:
        raise ValueError("expected --target, --at-least or --at-most, got none")
    if target is None:
        low, high = at_least, at_most
        return (-math.inf if low is None else low, math.inf if high is None else high)
    if at_least is not None or at_most is not None:
        raise ValueError("expected --target or a range, got both")
    return target


def parse_also(text: str) -> tuple[Path, Wanted]:
    """The model of a further property, and the value or the range that is wanted of it.

    Args:
        text: a value of ``--also``.

    Returns:
        The folder of the model, and the value or both ends of the range.

    Raises:
        ValueError: if the text is neither.

    >>> parse_also("gaps=1.5")[1], parse_also("gaps=1.5:")[1]
    (1.5, (1.5, inf))
    """
    folder, sign, value = text.rpartition("=")
    ends = value.split(":")
    try:
        numbers = [float(end) if end else None for end in ends]
    except ValueError:
        numbers = []
    if not folder or not sign or len(numbers) not in (1, 2) or not any(ends):
        raise ValueError(f"expected --also like MODEL=1.5 or MODEL=1.5:2.5, got {text!r}")
    if len(numbers) == 1:
        return Path(folder), wanted_energy(numbers[0], None, None)
    return Path(folder), wanted_energy(None, numbers[0], numbers[1])
