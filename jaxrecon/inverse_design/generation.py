"""Generation: structures with a wanted value of a property, from a trained model.

The generator draws fingerprints for the wanted value, and a search looks for structures that have
them. Each structure is scored at its own fingerprint, not at the one that was drawn for it.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from jaxtyping import Float
from scipy.spatial.distance import pdist

from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.config import GenerateConfig, Wanted, info_of, miss, range_of
from jaxrecon.inverse_design.generated import Generated, diversity, widths_of
from jaxrecon.inverse_design.rigidities import attach
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.surrogates.local import LocalSurrogate, OfAtoms
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.runtime.versions import versions
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.reconstruct import reconstruct
from jaxrecon.search.store import Store
from jaxrecon.structures.duplicates import Library, duplicates
from jaxrecon.structures.formulas import composition_of

Also = Sequence[tuple[DesignModel, Wanted]]
"""Models of further properties, with the wanted value of each."""

Goal = tuple[DesignModel, tuple[float, float]]
"""A model and the wanted range of its property."""


def generate(
    model: DesignModel,
    wanted: Wanted,
    count: int,
    *,
    also: Also = (),
    symbols: str | None = None,
    seed: int = 0,
    config: GenerateConfig | None = None,
    store: Store | None = None,
    progress: bool | ProgressFn = False,
    **settings: Any,
) -> Generated:
    """Make structures with a wanted value of a property, and predict the property of each.

    The search minimises the equation of :mod:`jaxrecon.search.guidance`. Without guidance it
    minimises the difference from a drawn fingerprint alone, as in Fung et al., arXiv 2207.13227.

    A surrogate of energies of atoms guides the search by these, and each structure then has the
    energy, the standard deviation and the local prediction rigidity of every atom in its arrays.

    A structure is accepted if the prediction is within the tolerance of the wanted value, if it is
    as certain as for most validation examples, if no two atoms are too close, and if the structure
    is the same neither as an earlier one nor as a training structure. All structures are returned;
    :meth:`~jaxrecon.inverse_design.generated.Generated.screened` selects the accepted ones.

    The drawn fingerprints depend on the seed alone. The structures are the same for the same number
    of devices; with another number the search rounds differently and may find others, as in
    :func:`~jaxrecon.search.reconstruct.reconstruct`.

    Args:
        model: model of the property; its generator is used unless ``config.sampled`` is False.
        wanted: a value of the property, or a range in its unit, of which one end may be infinite.
            For a range, fingerprints are drawn at values of the training data in it.
        count: number of structures.
        also: models of further properties, with the wanted value of each.
        symbols: formula of the structures; None for that of the model. Another number of atoms
            needs surrogates of energies of atoms, and no drawn fingerprints (``sampled=False``).
        seed: seed of the random numbers.
        config: settings; None for the default ones.
        store: store to which each structure is committed when it is found, and from which those of
            an interrupted run are taken; None for none.
        progress: as for :func:`~jaxrecon.search.reconstruct.reconstruct`.
        **settings: changes to ``config`` by name, like ``guided=False``.

    Returns:
        The structures in the order of their samples, with positions in Angstrom.

    Raises:
        ValueError: if a setting or a range is invalid, or the models have different fingerprints.
        OSError: if a structure can't be committed to the store.

    >>> from jaxrecon import load_model
    >>> model = load_model("model")  # doctest: +SKIP
    >>> made = generate(model, (2.7, 2.9), 100)  # doctest: +SKIP
    >>> [atoms.info["predicted"] for atoms in made.screened()]  # doctest: +SKIP
    """
    config, seed = (config or GenerateConfig()).replace(**settings), checked_seed(seed)
    if count < 1:
        raise ValueError(f"expected count >= 1, got {count}")
    _check_alike(model, also)
    symbols = _checked_symbols(symbols, model, also, config)
    goals = [(model, range_of(wanted)), *((other, range_of(value)) for other, value in also)]
    known, energies = model.training.fingerprints, model.training.formation_energies
    assert known is not None, "a model has the fingerprints of its training set"
    widths, started = widths_of(known), time.perf_counter()
    # Draw the targets of the search, if it has any.
    targets = None
    if config.sampled:
        values = _values(model, goals[0][1], count, seed)
        targets = model.sample(values, count, seed, agree=config.agree)
    else:
        model.warn_outside(*(end for end in goals[0][1] if np.isfinite(end)))
    guidance = _guidance(goals, widths, config) if config.guided else None
    # Search for the structures, and score them at the fingerprints that they have.
    found = reconstruct(
        np.zeros((count, model.fingerprint.size)) if targets is None else targets,
        model.fingerprint,
        symbols=symbols,
        guidance=guidance,
        config=config.search,
        seed=seed,
        store=store,
        progress=progress,
    )
    structures, fingerprints = _scored(
        [result.atoms for result in found], targets, goals, model.training.structures, config
    )
    # Record the diversity of the training data, in all and near the wanted value, to compare with.
    low, high = goals[0][1]
    near = (energies >= low - config.tolerance) & (energies <= high + config.tolerance)
    metadata = {
        "wanted": [list(ends) for _, ends in goals],
        "seed": seed,
        "config": config.to_dict(),
        "model": model.config.to_dict(),
        "training": {
            "structures": len(known),
            "diversity": diversity(known, widths),
            "diversity_within": diversity(known[near], widths),
        },
        "seconds": time.perf_counter() - started,
        "versions": versions(),
    }
    return Generated(structures, fingerprints, widths, metadata)


def shortest_distance(atoms: Atoms) -> float:
    """Return the smallest distance of two atoms in units of the sum of their covalent radii.

    Args:
        atoms: a free structure; for a single atom the distance is infinite.
    """
    radii = covalent_radii[atoms.numbers]
    first, second = np.triu_indices(len(atoms), 1)
    return float(np.min(pdist(atoms.positions) / (radii[first] + radii[second]), initial=np.inf))


def _check_alike(model: DesignModel, also: Also) -> None:
    """Raise ValueError unless all models have the same fingerprint."""
    for other, _ in also:
        if differences := model.fingerprint.differences(other.fingerprint):
            raise ValueError(
                f"expected models of one fingerprint, got others: {'; '.join(differences)}"
            )


def _checked_symbols(
    symbols: str | None, model: DesignModel, also: Also, config: GenerateConfig
) -> str:
    """The formula of the structures, or ValueError if the models can't predict for it."""
    if symbols is None or sorted(composition_of(symbols)) == sorted(composition_of(model.symbols)):
        return symbols or model.symbols
    if set(composition_of(symbols)) != set(composition_of(model.symbols)):
        raise ValueError(f"expected a formula of the elements of {model.symbols}, got {symbols}")
    whole = not all(
        isinstance(one.surrogate, LocalSurrogate) for one in (model, *(other for other, _ in also))
    )
    if whole or config.sampled:
        raise ValueError(
            f"expected {model.symbols} for fingerprints, got {symbols}: other sizes need a "
            "surrogate of energies of atoms (local-gpr) and no drawn fingerprints (--direct)"
        )
    return symbols


def _values(
    model: DesignModel, wanted: tuple[float, float], count: int, seed: int
) -> Float[np.ndarray, " n"]:
    """Choose the values of the property for which to draw fingerprints."""
    low, high = wanted
    known = model.training.formation_energies
    inside = known[(known >= low) & (known <= high)]
    # A single value, or a range without training data, gets the same value for all samples.
    if low == high or not len(inside):
        return np.full(count, low if np.isfinite(low) else high)
    return np.random.default_rng(seed).choice(inside, count)


def _guidance(
    goals: Sequence[Goal], widths: Float[np.ndarray, " p"], config: GenerateConfig
) -> Guidance:
    """Make the guidance of the search towards all wanted ranges."""
    return Guidance.towards(
        [model.surrogate for model, _ in goals],
        [ends for _, ends in goals],
        widths=widths,
        trust=config.trust,
        pull=config.pull if config.sampled else 0.0,
    )


def _scored(
    found: Sequence[Atoms],
    targets: Float[np.ndarray, "n p"] | None,
    goals: Sequence[Goal],
    training: Sequence[Atoms] | None,
    config: GenerateConfig,
) -> tuple[list[Atoms], Float[np.ndarray, "n p"]]:
    """Return the structures with their ``info``, and their own fingerprints."""
    model, wanted = goals[0]
    # A search that was never finite leaves no structure, and its numbers stay NaN.
    finite = [row for row, atoms in enumerate(found) if np.isfinite(atoms.positions).all()]
    fingerprints = np.full((len(found), model.fingerprint.size), np.nan)
    predicted = np.full((len(goals), 2, len(found)), np.nan)
    whole = [found[row] for row in finite]
    each: list[dict[int, OfAtoms]] = [{} for _ in goals]
    if finite:
        fingerprints[finite] = featurize(whole, model.fingerprint)
        for number, (other, _) in enumerate(goals):
            *both, parts = other.predict_structures(whole, fingerprints[finite])
            predicted[number][:, finite] = both
            each[number] = dict(zip(finite, parts or (), strict=parts is not None))
    earlier = dict(zip(finite, duplicates(whole), strict=True))
    # Structures of another size than all that are known are new.
    same_size = training is not None and bool(found) and len(training[0]) == len(found[0])
    library = Library(training) if training is not None and same_size else None
    structures = []
    for row, original in enumerate(found):
        atoms = Atoms(original.numbers, original.positions, info=info_of(wanted))
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
        info["shortest"] = shortest_distance(atoms)
        info["duplicate"] = earlier.get(row) is not None
        if training is not None:
            near = library.find(atoms) if library is not None and row in earlier else None
            info["known"] = near is not None
        accepted &= info["shortest"] >= config.shortest
        new = not (info["duplicate"] or info.get("known", False))
        info["accepted"] = bool(accepted and new)
        structures.append(atoms)
    return structures, fingerprints
