"""Elements as a few numbers of order one, and as points on a circle."""

import re

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float

_ORDER = (
    "He Ne Ar Kr Xe Rn Fr Cs Rb K Na Li Ra Ba Sr Ca Yb Eu Sc Lu Tm Er Ho Dy Y Tb Gd Sm Pm Nd Pr Ce "
    "La Lr No Md Fm Es Cf Bk Cm Am Pu Np U Pa Th Ac Zr Hf Ti Ta Nb V W Mo Cr Re Tc Mn Fe Ru Os Co "
    "Rh Ir Ni Pt Pd Au Ag Cu Mg Hg Cd Zn Be Tl In Al Ga Pb Sn Ge Si B Bi Sb As P Po Te Se S C At I "
    "Br Cl N O F H"
)

PETTIFOR = tuple(_ORDER.split())
"""All elements that have numbers here, in an order in which neighbours are chemically alike.

Source: the Mendeleev numbers of Pettifor, Solid State Commun. 51, 31 (1984).
"""

PERIOD_ENDS = (2, 10, 18, 36, 54, 86, 118)
"""Atomic numbers of the noble gases."""

GROUPS = 18
"""Number of groups of the periodic table."""

PROPERTIES = ("group", "period", "radius")
"""The properties of the periodic table that may be weights.

``"cos10"`` and ``"sin10"`` may be, too, with any number: the cosine and sine of so many times the
angle of :data:`ANGLES`. Multiples tell elements apart that are chemically alike.
"""

_MULTIPLE = re.compile(r"(cos|sin)([1-9][0-9]?)", re.ASCII)


def _group(number: int) -> float:
    """The group from 1 to 18; the 15 elements of an f block share group 3, in steps from 3 to 4."""
    last = next(end for end in PERIOD_ENDS if end >= number)
    before = ([0, *PERIOD_ENDS])[PERIOD_ENDS.index(last)]
    place, left = number - before, last - number
    if last - before == 32:
        # La to Lu and Ac to Lr stand in one column; Hf and Rf are the first of group 4.
        if 3 <= place <= 17:
            return 3.0 + (place - 3) / 15.0
        return float(place if place < 3 else place - 14)
    # The groups of short periods are counted from both ends. H is in group 1, He in group 18.
    return float(place if place <= min(2, last - before - 1) else GROUPS - left)


def _table() -> dict[str, tuple[float, ...]]:
    """The properties of each element, in the order of :data:`PROPERTIES`."""
    table: dict[str, tuple[float, ...]] = {}
    for symbol in PETTIFOR:
        number = atomic_numbers[symbol]
        period = 1 + next(i for i, end in enumerate(PERIOD_ENDS) if end >= number)
        table[symbol] = (
            2.0 * (_group(number) - 1.0) / (GROUPS - 1.0) - 1.0,
            (period - 4.0) / 3.0,
            (float(covalent_radii[number]) - 1.45) / 0.8,
        )
    return table


WEIGHTS = _table()
"""For each element group, period and covalent radius, moved and scaled into about -1 to 1.

Groups 1 to 18 and periods 1 to 7 become -1 to 1. Of the covalent radius (Cordero et al., Dalton
Trans. 2008, 2832) 1.45 Angstrom is taken away and the rest is divided by 0.8 Angstrom.
"""

ANGLES = {symbol: 2.0 * np.pi * place / len(PETTIFOR) for place, symbol in enumerate(PETTIFOR)}
"""For each element its angle on a circle, in radians, in the order of :data:`PETTIFOR`."""


def weights(properties: tuple[str, ...]) -> Float[np.ndarray, "119 k"]:
    """The weights of elements in channels, by atomic number.

    Args:
        properties: names among :data:`PROPERTIES`.

    Returns:
        1, then the properties, then the angle on the circle; 0 for numbers without an element here.
    """
    table = np.zeros((119, 2 + len(properties)))
    for symbol, angle in ANGLES.items():
        chosen = [_weight(symbol, name) for name in properties]
        table[atomic_numbers[symbol]] = [1.0, *chosen, angle]
    return table


def is_property(name: str) -> bool:
    """Whether a name is that of a property that may be a weight.

    >>> is_property("group"), is_property("sin10"), is_property("mass")
    (True, True, False)
    """
    return name in PROPERTIES or _MULTIPLE.fullmatch(name) is not None


def _weight(symbol: str, name: str) -> float:
    """One property of an element."""
    if multiple := _MULTIPLE.fullmatch(name):
        function = np.cos if multiple[1] == "cos" else np.sin
        return float(function(int(multiple[2]) * ANGLES[symbol]))
    return WEIGHTS[symbol][PROPERTIES.index(name)]
