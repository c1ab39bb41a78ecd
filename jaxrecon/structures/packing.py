"""How much space atoms take."""

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, covalent_radii

PACKING = 0.7
"""Volume of the covalent spheres over that of a compact structure: 15 Angstrom^3 an atom for Pt."""


def compact_volume(symbols: Sequence[str]) -> float:
    """Volume in Angstrom^3 of a compact structure of some atoms.

    Args:
        symbols: of all atoms.

    >>> round(compact_volume(["Pt"]), 1)
    15.1
    """
    radii = covalent_radii[[atomic_numbers[symbol] for symbol in symbols]]
    return float(np.sum(4.0 / 3.0 * np.pi * radii**3) / PACKING)
