"""Rigidities of structures: how firmly the training set of a model holds its predictions."""

import numpy as np
from ase import Atoms

from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.surrogates.local import LocalSurrogate, OfAtoms
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.inputs import Structures, as_structures

ARRAYS = ("local_energies", "local_deviations", "local_rigidities")
"""Names of the numbers of each atom in the arrays of a structure."""


def with_rigidities(model: DesignModel, structures: Structures) -> list[Atoms]:
    """Predict the energies of structures and of their atoms, and how far they can be trusted.

    Args:
        model: a model whose surrogate gives each atom an energy, ``local_gpr`` or
            ``local_network``.
        structures: as for :func:`jaxrecon.featurize`: of any sizes, of the model's elements.

    Returns:
        Copies of the structures. Their ``info`` has ``predicted`` and its standard ``deviation`` in
        eV/atom and ``rigidity``, the smallest local prediction rigidity of the atoms; their arrays
        have the numbers of every atom: ``local_energies`` and ``local_deviations`` in eV, and
        ``local_rigidities``.

    Raises:
        ValueError: if the surrogate does not know atoms, there is no structure, a position is not
            finite, or the model has not learned an element.

    >>> from jaxrecon import load_model
    >>> model = load_model("model")  # doctest: +SKIP
    >>> found = with_rigidities(model, "clusters.extxyz")  # doctest: +SKIP
    >>> found[0].arrays["local_rigidities"].min() == found[0].info["rigidity"]  # doctest: +SKIP
    """
    if not isinstance(model.surrogate, LocalSurrogate):
        raise ValueError(
            "expected a model that gives each atom an energy, got one with the surrogate "
            f"{model.config.surrogate}: train with --surrogate local-gpr or local-network"
        )
    items = as_structures(structures)
    if not items:
        raise ValueError("expected at least one structure, got none")
    known = model.fingerprint.descriptor.elements
    if foreign := sorted(set(elements_of(items)) - set(known)):
        raise ValueError(
            f"expected structures of {', '.join(known)}, which the model has learned, got "
            f"{', '.join(foreign)}"
        )
    for number, atoms in enumerate(items):
        if not np.isfinite(atoms.positions).all():
            raise ValueError(f"expected finite positions of structure {number}, got others")
    means, deviations, each = model.surrogate.predict(items)
    found = []
    for atoms, mean, deviation, part in zip(items, means, deviations, each, strict=True):
        copy = atoms.copy()
        copy.calc = atoms.calc
        copy.info["predicted"], copy.info["deviation"] = float(mean), float(deviation)
        attach(copy, part)
        found.append(copy)
    return found


def attach(atoms: Atoms, part: OfAtoms, suffix: str = "") -> None:
    """Put what is predicted of the atoms into a structure.

    Args:
        atoms: the structure, which is changed.
        part: the numbers of its atoms.
        suffix: end of the names.
    """
    atoms.info[f"rigidity{suffix}"] = float(part.rigidities.min())
    for name, values in zip(ARRAYS, part, strict=True):
        atoms.arrays[f"{name}{suffix}"] = np.asarray(values)
