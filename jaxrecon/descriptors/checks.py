"""Checks of the settings that all descriptor families have."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.formula import Formula

from jaxrecon.runtime.messages import shortened

Elements = str | Iterable[Any]
"""Elements as a formula or list in a text, or as symbols, atomic numbers or atoms."""


def element_symbols(elements: Elements) -> tuple[str, ...]:
    """Chemical symbols of elements in any form.

    Args:
        elements: symbols, atomic numbers or atoms of ASE or elements of pymatgen in any order; or a
            text with a formula or with symbols between commas or blanks.

    Returns:
        The symbols without repetitions, in the order given.

    Raises:
        ValueError: if one of them is not a chemical symbol, or if there are none.

    >>> element_symbols("H, O"), element_symbols("H2O"), element_symbols([1, "O"])
    (('H', 'O'), ('H', 'O'), ('H', 'O'))
    """
    given = elements
    try:
        if isinstance(elements, str):
            # A formula is counted and not written out: it may have any number of atoms.
            words = re.split(r"[\s,;]+", elements.strip(" \t\n,;"))
            elements = [symbol for word in words for symbol in Formula(word, strict=True).count()]
        symbols = tuple(dict.fromkeys(_symbol(item) for item in elements))
        if not symbols:
            raise ValueError("expected elements, got none")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected elements as chemical symbols, got {shortened(repr(given), 80)}: write them "
            "like 'H,O' or ['H', 'O']"
        ) from error
    return symbols


def checked_elements(elements: Elements) -> tuple[str, ...]:
    """Check elements, remove repetitions, and sort them by atomic number.

    Args:
        elements: as for :func:`element_symbols`.

    Returns:
        The sorted symbols.

    Raises:
        ValueError: as :func:`element_symbols`.
    """
    return tuple(sorted(element_symbols(elements), key=lambda symbol: atomic_numbers[symbol]))


def _symbol(item: Any) -> str:
    """The chemical symbol of an element in any form; a ValueError if it is none."""
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        symbol = chemical_symbols[item] if 0 < item < len(chemical_symbols) else ""
    else:
        symbol = str(getattr(item, "symbol", item)).strip()
    if atomic_numbers.get(symbol, 0) == 0:
        raise ValueError(f"expected a chemical symbol, got {item!r}")
    return symbol


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
