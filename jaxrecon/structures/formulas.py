"""Elements and compositions, from structures and from chemical formulas."""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols


def elements_of(structures: Iterable[Atoms]) -> tuple[str, ...]:
    """Chemical symbols that occur in any of the structures, sorted by atomic number."""
    found = {symbol for atoms in structures for symbol in atoms.symbols}
    return tuple(sorted(found, key=lambda symbol: atomic_numbers[symbol]))


def composition_of(symbols: str | Sequence[str] | Sequence[int]) -> tuple[str, ...]:
    """Chemical symbols of all atoms, from a formula or a list of symbols or atomic numbers.

    Args:
        symbols: a formula like ``"TiO2"``, or the symbols or atomic numbers of the atoms.

    Returns:
        The symbol of each atom, in the order given.

    Raises:
        ValueError: if the formula can't be read or an element is unknown.

    >>> composition_of("TiO2")
    ('Ti', 'O', 'O')
    """
    from ase.symbols import Symbols, string2symbols

    try:
        if isinstance(symbols, str):
            listed = string2symbols(symbols)
        else:
            listed = [
                chemical_symbols[max(item, 0)] if isinstance(item, (int, np.integer)) else str(item)
                for item in symbols
            ]
        Symbols.fromsymbols(listed)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"expected a chemical formula like 'Pt10' or 'TiO2', got {symbols!r}"
        ) from error
    if not listed or "X" in listed:
        raise ValueError(f"expected a chemical formula like 'Pt10' or 'TiO2', got {symbols!r}")
    return tuple(listed)
