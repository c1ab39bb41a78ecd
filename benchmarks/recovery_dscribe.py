"""Vectors of another program: averages of SOAP by DScribe, written by it and read from .npy files.

The settings are those of DScribe's tutorials (r_cut 6 Angstrom, n_max 8, l_max 6) with the defaults
of everything else and ``average="outer"``, which the preset ``average_dscribe`` describes.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms

from jaxrecon import Fingerprint
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.structures.formulas import elements_of

PRESET = "average_dscribe"
"""What describes these vectors."""

SETTINGS = {"r_cut": 6.0, "n_max": 8, "l_max": 6}
"""What DScribe has no defaults for."""


def vectors(structures: Sequence[Atoms]) -> list[tuple[Fingerprint, np.ndarray]]:
    """What describes each vector, and the numbers as DScribe has written them.

    There is one file for each set of elements, as the length of a vector depends on them.

    Raises:
        ModuleNotFoundError: if DScribe is not installed.
    """
    from dscribe.descriptors import SOAP

    together: dict[tuple[str, ...], list[int]] = {}
    for number, atoms in enumerate(structures):
        together.setdefault(tuple(elements_of([atoms])), []).append(number)
    found: dict[int, tuple[Fingerprint, np.ndarray]] = {}
    with TemporaryDirectory() as folder:
        for elements, numbers in together.items():
            path = Path(folder) / ("".join(elements) + ".npy")
            theirs = SOAP(species=elements, average="outer", periodic=False, **SETTINGS)
            np.save(path, theirs.create([structures[number] for number in numbers]))
            fingerprint = Fingerprint.preset(PRESET, elements)
            for number, values in zip(numbers, read_fingerprints(path).values, strict=True):
                found[number] = fingerprint, values
    return [found[number] for number in range(len(structures))]
