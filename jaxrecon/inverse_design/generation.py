"""Generation: structures that have a property, from a trained model.

Fingerprints are drawn at the property, structures are searched for that have them, and each is
judged by the fingerprint that it really has, not by the one that was asked for.
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
from jaxrecon.inverse_design.config import GenerateConfig, Wanted, miss, range_of, told
from jaxrecon.inverse_design.generated import Generated, diversity, widths_of
from jaxrecon.models.design_model import DesignModel
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.runtime.versions import versions
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.reconstruct import reconstruct
from jaxrecon.search.store import Store
from jaxrecon.structures.duplicates import Library, duplicates

Also = Sequence[tuple[DesignModel, Wanted]]
"""Models of further properties, with what is wanted of each."""


def generate(
    model: DesignModel,
    wanted: Wanted,
    count: int,
    *,
    also: Also = (),
    seed: int = 0,
    config: GenerateConfig | None = None,
    store: Store | None = None,
    progress: bool | ProgressFn = False,
    **settings: Any,
) -> Generated:
    """Make structures that have a property, and say of each what is known of it.

    What is minimised is the equation of :mod:`jaxrecon.search.guidance`; unguided it is, as in
    Fung et al., arXiv 2207.13227, the difference from a sampled fingerprint alone.

    A structure is kept if its prediction is within the tolerance of what is wanted and as sure as
    those of most validation structures, if no atoms are too close, and if it is neither the same
    as an earlier one nor as a training structure. None is left out: see
    :meth:`~jaxrecon.inverse_design.generated.Generated.screened`.

    Args:
        model: of the property; its generator, unless ``config.sampled`` is False.
        wanted: a value of the property, or from where to where, in its unit; infinities stand for
            at least and at most. Where it is a range, fingerprints are drawn at the values that
            the training set has there.
        count: structures to make.
        also: models of further properties, with what is wanted of each.
        seed: of the random numbers.
        config: settings.
        store: where each structure is kept as soon as it is there, and those of before are found.
        progress: as for :func:`~jaxrecon.search.reconstruct.reconstruct`.
        **settings: changes to ``config``, by name: ``guided=False``.

    Returns:
        ``count`` structures in the order in which they were drawn, positions in Angstrom.

    Raises:
        ValueError: if a setting or a range is none, or the models have different fingerprints.
        OSError: if a structure can't be kept.

    >>> from jaxrecon import DesignModel
    >>> model = DesignModel.load("model")  # doctest: +SKIP
    >>> made = generate(model, (2.7, 2.9), 100)  # doctest: +SKIP
    >>> [atoms.info["predicted"] for atoms in made.screened()]  # doctest: +SKIP
    """
    config = (config or GenerateConfig()).replace(**settings)
    if count < 1:
        raise ValueError(f"expected count >= 1, got {count}")
    _check_alike(model, also)
    wishes = [(model, range_of(wanted)), *((other, range_of(each)) for other, each in also)]
    rows, energies = model.training.fingerprints, model.training.formation_energies
    assert rows is not None, "a model has the fingerprints of its training set"
    widths, started = widths_of(rows), time.perf_counter()
    targets = None
    if config.sampled:
        values = _values(model, wishes[0][1], count, seed)
        targets = model.sample(values, count, seed, agree=config.agree)
    else:
        model.warn_outside(*(end for end in wishes[0][1] if np.isfinite(end)))
    guidance = None
    if config.guided:
        guidance = Guidance.towards(
            [other.surrogate for other, _ in wishes],
            [each for _, each in wishes],
            widths=widths,
            trust=config.trust,
            pull=config.pull if config.sampled else 0.0,
        )
    found = reconstruct(
        np.zeros((count, model.fingerprint.size)) if targets is None else targets,
        model.fingerprint,
        symbols=model.symbols,
        guidance=guidance,
        config=config.search,
        seed=seed,
        store=store,
        progress=progress,
    )
    structures, fingerprints = _scored(
        [result.atoms for result in found], targets, wishes, model.training.structures, config
    )
    low, high = wishes[0][1]
    like = (energies >= low - config.tolerance) & (energies <= high + config.tolerance)
    metadata = {
        "wanted": [list(each) for _, each in wishes],
        "seed": seed,
        "config": config.to_dict(),
        "model": model.config.to_dict(),
        "training": {
            "structures": len(rows),
            "diversity": diversity(rows, widths),
            "diversity_within": diversity(rows[like], widths),
        },
        "seconds": time.perf_counter() - started,
        "versions": versions(),
    }
    return Generated(structures, fingerprints, widths, metadata)


def shortest_distance(atoms: Atoms) -> float:
    """Least distance of two atoms by the sum of their covalent radii; infinity of one atom."""
    radii = covalent_radii[atoms.numbers]
    first, second = np.triu_indices(len(atoms), 1)
    return float(np.min(pdist(atoms.positions) / (radii[first] + radii[second]), initial=np.inf))


def _check_alike(model: DesignModel, also: Also) -> None:
    for other, _ in also:
        if differences := model.fingerprint.differences(other.fingerprint):
            raise ValueError(
                f"expected models of one fingerprint, got others: {'; '.join(differences)}"
            )


def _values(
    model: DesignModel, wanted: tuple[float, float], count: int, seed: int
) -> Float[np.ndarray, " n"]:
    """Of the property, at which to draw: in a range those that the training set has there."""
    low, high = wanted
    known = model.training.formation_energies
    inside = known[(known >= low) & (known <= high)]
    if low == high or not len(inside):
        return np.full(count, low if np.isfinite(low) else high)
    return np.random.default_rng(seed).choice(inside, count)


def _scored(
    found: Sequence[Atoms],
    targets: Float[np.ndarray, "n p"] | None,
    wishes: Sequence[tuple[DesignModel, tuple[float, float]]],
    training: Sequence[Atoms] | None,
    config: GenerateConfig,
) -> tuple[list[Atoms], Float[np.ndarray, "n p"]]:
    """The structures with their ``info``, and the fingerprints that they have."""
    model, wanted = wishes[0]
    there = [row for row, atoms in enumerate(found) if np.isfinite(atoms.positions).all()]
    values = np.full((len(found), model.fingerprint.size), np.nan)
    if there:
        values[there] = featurize([found[row] for row in there], model.fingerprint)
    earlier = dict(zip(there, duplicates([found[row] for row in there]), strict=True))
    library = None if training is None else Library(training)
    predicted = np.full((len(wishes), 2, len(found)), np.nan)
    if there:
        for number, (other, _) in enumerate(wishes):
            predicted[number][:, there] = other.predict(values[there])
    structures = []
    for row, original in enumerate(found):
        atoms = Atoms(original.numbers, original.positions, info=told(wanted))
        info = atoms.info
        good = True
        for number, (other, wish) in enumerate(wishes):
            mean, deviation = predicted[number, :, row].tolist()
            end = f"_{number + 1}" if number else ""
            info[f"predicted{end}"], info[f"deviation{end}"] = mean, deviation
            good &= abs(miss(mean, wish)) <= config.tolerance
            good &= deviation <= other.validation["deviation"]
        if targets is not None:
            info["residual"] = float(np.mean(np.abs(values[row] - targets[row])))
        info["shortest"] = shortest_distance(atoms)
        info["duplicate"] = earlier.get(row) is not None
        if library is not None:
            info["known"] = row in earlier and library.find(atoms) is not None
        good &= info["shortest"] >= config.shortest
        info["kept"] = bool(good and not info["duplicate"] and not info.get("known", False))
        structures.append(atoms)
    return structures, values
