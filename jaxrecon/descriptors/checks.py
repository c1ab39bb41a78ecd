"""Checks of the settings that all descriptor families have."""

from collections.abc import Iterable

import numpy as np
from ase.data import atomic_numbers


def checked_elements(elements: Iterable[str]) -> tuple[str, ...]:
    """Check chemical symbols, remove repetitions, and sort them by atomic number.

    Args:
        elements: chemical symbols in any order.

    Returns:
        The sorted symbols.

    Raises:
        ValueError: if one of them is not a chemical symbol, or if there are none.
    """
    symbols = tuple(elements)
    if not symbols or any(atomic_numbers.get(symbol, 0) == 0 for symbol in symbols):
        raise ValueError(f"expected elements as chemical symbols, got {symbols!r}")
    return tuple(sorted(set(symbols), key=lambda symbol: atomic_numbers[symbol]))


def checked_r_cut(r_cut: float) -> float:
    """Check a cutoff.

    Args:
        r_cut: cutoff in Angstrom.

    Returns:
        The cutoff as a float.

    Raises:
        ValueError: if the cutoff is not positive and finite.
    """
    if not 0 < r_cut < np.inf:
        raise ValueError(f"expected r_cut > 0 Angstrom, got {r_cut}")
    return float(r_cut)
