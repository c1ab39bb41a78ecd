"""Summary of a labelled set: counts, the range of its energies, and its columns."""

from collections import Counter
from typing import Any

import numpy as np

from jaxrecon.datasets.frames import Keys
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.structures.formulas import elements_of


def summary(labelled: LabelledSet) -> dict[str, Any]:
    """Count the structures of a set, and describe their formation energies.

    Args:
        labelled: the set.

    Returns:
        ``structures``, ``kinds`` (counts by name), ``trajectories``, and
        ``least_median_largest_e_form`` in eV/atom, None if no energy is known.

    >>> from ase.build import molecule
    >>> pair = LabelledSet.of([molecule("H2"), molecule("O2")], formation_energies=[1.0, 2.0])
    >>> summary(pair)["least_median_largest_e_form"]
    [1.0, 1.5, 2.0]
    """
    known = labelled.formation_energies[np.isfinite(labelled.formation_energies)]
    return {
        "structures": len(labelled),
        "kinds": dict(sorted(Counter(labelled.kinds).items())),
        "trajectories": len(set(labelled.trajectories.tolist())),
        "least_median_largest_e_form": np.percentile(known, [0, 50, 100]).tolist()
        if len(known)
        else None,
    }


def text(labelled: LabelledSet) -> str:
    """The same in one line for people.

    Args:
        labelled: the set.

    Returns:
        The line, with formation energies in eV/atom.
    """
    data = summary(labelled)
    kinds = ", ".join(f"{count} {kind}" for kind, count in data["kinds"].items())
    line = f"{data['structures']} structures ({kinds}) of {data['trajectories']} trajectories"
    if data["least_median_largest_e_form"] is not None:
        low, median, high = data["least_median_largest_e_form"]
        line += f", E_form {low:.3f} to {high:.3f} eV/atom, median {median:.3f}"
    return line


def labels(labelled: LabelledSet, keys: Keys) -> dict[str, str]:
    """Describe the energies and forces of a set, and the names that they may have in its files.

    Args:
        labelled: the set.
        keys: the names, from :func:`~jaxrecon.datasets.io.read_with_keys`.

    Returns:
        Texts by name.

    >>> from ase import Atoms
    >>> alone = LabelledSet.of([Atoms("Pt")], energies=[-0.5])
    >>> labels(alone, Keys({"energy": 1}, {}))["energies"]
    'total energies of 1 of 1 structures in eV, -0.5 to -0.5'
    """
    count = len(labelled)
    texts = {}
    if labelled.structures is not None:
        texts["elements"] = ", ".join(elements_of(labelled.structures))
    for name, words, values in (
        ("energies", "total energies of {} structures in eV", labelled.energies),
        ("e_form", "formation energies of {} structures in eV/atom", labelled.formation_energies),
    ):
        known = values[np.isfinite(values)]
        texts[name] = words.format(f"{len(known)} of {count}") + _range(known)
    if not np.isfinite(labelled.formation_energies).any():
        texts["e_form"] += "; --bulk with the energy of each element gives them"
    norms = [np.linalg.norm(f, axis=1).max() for f in labelled.forces or [] if np.isfinite(f).all()]
    texts["forces"] = f"forces of {len(norms)} of {count} structures"
    if norms:
        texts["forces"] += f" in eV/Angstrom, largest {max(norms):.6g}"
    for name, found in (("--energy-key", keys.energies), ("--forces-key", keys.forces)):
        known = ", ".join(f"{key} ({number})" for key, number in found.items())
        texts[f"names for {name}"] = known or "none"
    return texts


def columns(labelled: LabelledSet) -> dict[str, str]:
    """Describe the further columns of a set.

    Args:
        labelled: the set.

    Returns:
        For each column the range of its numbers, or the number of its different values.
    """
    return {name: _describe(values) for name, values in labelled.columns.items()}


def _describe(values: np.ndarray) -> str:
    """The range of numbers, or the number of different values of other kinds."""
    if values.dtype.kind != "f":
        return f"{len(set(values.tolist()))} different values"
    known = values[np.isfinite(values)]
    return f"{len(known)} numbers{_range(known)}"


def _range(known: np.ndarray) -> str:
    """The smallest and the largest number as the end of a text."""
    return f", {known.min():.6g} to {known.max():.6g}" if len(known) else ""
