"""Scores of generated structures: predictions, distances of atoms, and whether they are new."""

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from jaxtyping import Float
from scipy.spatial.distance import pdist

from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.config import GenerateConfig, info_of, miss
from jaxrecon.inverse_design.rigidities import attach
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.surrogates.local import OfAtoms
from jaxrecon.structures.collection import Collection, duplicates
from jaxrecon.structures.packing import compact_volume
from jaxrecon.structures.primitive import primitive

Goal = tuple[DesignModel, tuple[float, float]]
"""A model and the wanted range of its property."""

REACH = 1.5
"""Largest distance of neighbours in a crystal, in units of twice the largest covalent radius."""

TIGHTEST = 0.05
"""Smallest volume of a cell, in units of that of a compact structure."""


def shortest_distance(atoms: Atoms) -> float:
    """Return the smallest distance of two atoms in units of the sum of their covalent radii.

    Args:
        atoms: a structure; in a crystal the images of an atom count too. Infinite for a free single
            atom, and where no two atoms of a crystal are near.
    """
    radii = covalent_radii[atoms.numbers]
    if atoms.pbc.any():
        from ase.neighborlist import neighbor_list

        first, second, distances = neighbor_list("ijd", atoms, 2.0 * REACH * radii.max())
        return float(np.min(distances / (radii[first] + radii[second]), initial=np.inf))
    first, second = np.triu_indices(len(atoms), 1)
    return float(np.min(pdist(atoms.positions) / (radii[first] + radii[second]), initial=np.inf))


def scored(
    found: Sequence[Atoms],
    targets: Float[np.ndarray, "n p"] | None,
    goals: Sequence[Goal],
    config: GenerateConfig,
) -> tuple[list[Atoms], Float[np.ndarray, "n p"]]:
    """Predict the properties of structures, and find out whether they are reasonable and new.

    Args:
        found: structures, with NaN where a search found none; positions and cells in Angstrom.
        targets: the fingerprints that were drawn for them; None for none.
        goals: the models, and the wanted range of the property of each.
        config: settings, of which ``tolerance`` and ``shortest`` are used.

    Returns:
        The structures with ``info`` as in :class:`~jaxrecon.inverse_design.generated.Generated`,
        crystals in their primitive cells; and their fingerprints, NaN where there is no structure.
    """
    model, wanted = goals[0]
    training = model.training.structures
    # A search that was never finite leaves no structure, and its numbers stay NaN.
    rows = [row for row, atoms in enumerate(found) if _possible(atoms)]
    places = set(rows)
    found = [primitive(atoms) if row in places else atoms for row, atoms in enumerate(found)]
    fingerprints = np.full((len(found), model.fingerprint.size), np.nan)
    predicted = np.full((len(goals), 2, len(found)), np.nan)
    whole = [found[row] for row in rows]
    each: list[dict[int, OfAtoms]] = [{} for _ in goals]
    if rows:
        fingerprints[rows] = featurize(whole, model.fingerprint)
        for number, (other, _) in enumerate(goals):
            *both, parts = other.predict_structures(whole, fingerprints[rows])
            predicted[number][:, rows] = both
            each[number] = dict(zip(rows, parts or (), strict=parts is not None))
    earlier = dict(zip(rows, duplicates(whole), strict=True))
    library = Collection(training or ())
    structures = []
    for row, original in enumerate(found):
        atoms = Atoms(
            original.numbers,
            original.positions,
            cell=original.cell,
            pbc=original.pbc,
            info=info_of(wanted),
        )
        info = atoms.info
        # The predictions of all properties have to be near enough and certain enough.
        accepted = True
        for number, (other, ends) in enumerate(goals):
            mean, deviation = predicted[number, :, row].tolist()
            suffix = f"_{number + 1}" if number else ""
            info[f"predicted{suffix}"], info[f"deviation{suffix}"] = mean, deviation
            if (part := each[number].get(row)) is not None:
                attach(atoms, part, suffix)
            accepted &= abs(miss(mean, ends)) <= config.tolerance
            accepted &= deviation <= other.validation["deviation"]
        if targets is not None:
            info["residual"] = float(np.mean(np.abs(fingerprints[row] - targets[row])))
        # The structure has to be reasonable and new.
        possible = row in places
        info["shortest"] = shortest_distance(atoms) if possible else math.nan
        info["duplicate"] = earlier.get(row) is not None
        if training is not None:
            info["known"] = possible and library.find(atoms) is not None
        accepted &= info["shortest"] >= config.shortest
        new = not (info["duplicate"] or info.get("known", False))
        info["accepted"] = bool(accepted and new)
        structures.append(atoms)
    return structures, fingerprints


def _possible(atoms: Atoms) -> bool:
    """Whether a search left a structure: finite, in a cell that holds its atoms."""
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        return False
    least = TIGHTEST * compact_volume(list(atoms.symbols))
    return not atoms.pbc.any() or bool(atoms.get_volume() > least)
