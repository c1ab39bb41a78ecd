"""Poolings by NumPy and SciPy, and a fingerprint computed from the names of its numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import scipy
from ase import Atoms
from reference import acsf_rows

from jaxrecon import Fingerprint


def mellow(entries: np.ndarray, temperature: float, sign: float) -> np.ndarray:
    summed = scipy.special.logsumexp(sign * entries / temperature, axis=0)
    return sign * temperature * (summed - np.log(len(entries)))


PLAIN: dict[str, Callable[..., np.ndarray]] = {
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
    "sum": np.sum,
    "moment2": partial(scipy.stats.moment, order=2),
    "moment3": partial(scipy.stats.moment, order=3),
    "moment4": partial(scipy.stats.moment, order=4),
}
SMOOTH = {"smooth_max": 1.0, "smooth_min": -1.0}


def pooled(kind: str, entries: np.ndarray, max_atoms: int, temperature: float) -> np.ndarray:
    """Pool the entries of at least one atom, to shape ``(1 or max_atoms, features)``."""
    if kind in PLAIN:
        with warnings.catch_warnings(action="ignore"):  # SciPy warns of moments of equal entries
            return PLAIN[kind](entries, axis=0)[None]
    if kind in SMOOTH:
        return mellow(entries, temperature, SMOOTH[kind])[None]
    selected = {"sorted": np.sort(entries, axis=0)[::-1], "none": entries}[kind]
    return np.pad(selected, [(0, max_atoms - len(entries)), (0, 0)])


def by_name(fingerprint: Fingerprint, atoms: Atoms) -> np.ndarray:
    """Compute each number from its name, like ``'sorted3[O] G2[H] eta=4 r_s=1'``; 0 for no atom."""
    rows, symbols = acsf_rows(fingerprint.descriptor, atoms), np.array(atoms.get_chemical_symbols())
    features = {name: column for column, name in enumerate(fingerprint.descriptor.names)}
    numbers = []
    for name in fingerprint.names:
        label, feature = name.split(" ", 1)
        kind, index, element = re.fullmatch(r"(sorted|atom|.*?)(\d*)(?:\[(\w+)\])?", label).groups()
        if kind == "moment":
            kind, index = kind + index, ""
        group = np.full(len(atoms), True) if element is None else symbols == element
        entries = rows[group][:, [features[feature]]]
        if not len(entries):
            numbers.append(0.0)
            continue
        kind = "none" if kind == "atom" else kind
        values = pooled(kind, entries, fingerprint.max_atoms or 1, fingerprint.temperature)
        numbers.append(values[int(index or 0), 0])
    return np.array(numbers)
