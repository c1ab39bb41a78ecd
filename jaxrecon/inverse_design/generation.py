"""Generation: structures with a wanted value of a property, from a trained model.

The generator draws fingerprints for the wanted value, and a search looks for structures that have
them. Each structure is scored at its own fingerprint, not at the one that was drawn for it.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxrecon.inverse_design.compositions import Allowed
from jaxrecon.inverse_design.config import GenerateConfig, Wanted, range_of
from jaxrecon.inverse_design.generated import Generated, diversity, widths_of
from jaxrecon.inverse_design.scoring import Goal, scored
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.surrogates.local import LocalSurrogate
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.runtime.versions import versions
from jaxrecon.search.arguments import Symbols
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.reconstruct import reconstruct
from jaxrecon.search.store import Store
from jaxrecon.structures.formulas import composition_of

Also = Sequence[tuple[DesignModel, Wanted]]
"""Models of further properties, with the wanted value of each."""


def generate(
    model: DesignModel,
    wanted: Wanted,
    count: int,
    *,
    also: Also = (),
    symbols: str | None = None,
    elements: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    atoms: int | range | None = None,
    seed: int = 0,
    config: GenerateConfig | None = None,
    store: Store | None = None,
    progress: bool | ProgressFn = False,
    **settings: Any,
) -> Generated:
    """Make structures with a wanted value of a property, and predict the property of each.

    The search minimises the equation of :mod:`jaxrecon.search.guidance`. Without guidance it
    minimises the difference from a drawn fingerprint alone, as in Fung et al., arXiv 2207.13227.

    A model of several compositions draws those too, among the allowed ones
    (:mod:`jaxrecon.inverse_design.compositions`). A model of crystals makes crystals, whose cells
    are found with the positions; they are returned as primitive cells.

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
            needs surrogates of energies of atoms, and no drawn fingerprints (``sampled=False``). Of
            a model of several compositions, None for any of them.
        elements: elements that structures may have; None for all of a model of several
            compositions.
        exclude: elements that they must not have.
        atoms: numbers of atoms that they may have, like ``range(5, 11)``; None for those of the
            training structures.
        seed: seed of the random numbers.
        config: settings; None for the default ones.
        store: store to which each structure is committed when it is found, and from which those of
            an interrupted run are taken; None for none.
        progress: as for :func:`~jaxrecon.search.reconstruct.reconstruct`.
        **settings: changes to ``config`` by name, like ``guided=False``.

    Returns:
        The structures in the order of their samples, with positions in Angstrom.

    Raises:
        ValueError: if a setting or a range is invalid, the models have different fingerprints, or
            the training set has none of the elements or numbers of atoms that are asked for.
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
    allowed = None
    if model.symbols is None:
        if not config.sampled and symbols is None:
            raise ValueError(
                "expected a formula where no fingerprints are drawn and the model has several "
                "compositions, got none"
            )
        allowed = Allowed.of(
            model, symbols=symbols, elements=elements, exclude=exclude, atoms=atoms
        )
    elif elements is not None or tuple(exclude) or atoms is not None:
        raise ValueError(
            "expected no choice of elements or numbers of atoms, as the model makes "
            f"{model.symbols} alone, got one"
        )
    else:
        models = (model, *(other for other, _ in also))
        symbols = _checked_symbols(symbols, model.symbols, models, config)
    _check_compositions(model, also)
    goals = [(model, range_of(wanted)), *((other, range_of(value)) for other, value in also)]
    known, energies = model.training.fingerprints, model.training.formation_energies
    assert known is not None, "a model has the fingerprints of its training set"
    widths, started = widths_of(known), time.perf_counter()
    # Draw the targets of the search, if it has any.
    targets: np.ndarray | None = None
    formulas: Symbols | None = symbols
    if config.sampled:
        values = _values(model, goals[0][1], count, seed)
        adjust = None if allowed is None else allowed.adjusted
        targets = model.sample(values, count, seed, agree=config.agree, adjust=adjust)
        formulas = symbols if allowed is None else allowed.compositions(targets)
    else:
        model.warn_outside(*(end for end in goals[0][1] if np.isfinite(end)))
    guidance = _guidance(goals, widths, config) if config.guided else None
    # Search for the structures, and score them at the fingerprints that they have.
    found = reconstruct(
        np.zeros((count, model.fingerprint.size)) if targets is None else targets,
        model.fingerprint,
        symbols=formulas,
        cell="unknown" if model.crystals else None,
        guidance=guidance,
        config=config.search,
        seed=seed,
        store=store,
        progress=progress,
    )
    structures, fingerprints = scored([result.atoms for result in found], targets, goals, config)
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


def _check_alike(model: DesignModel, also: Also) -> None:
    """Raise ValueError unless all models have the same fingerprint."""
    for other, _ in also:
        if differences := model.fingerprint.differences(other.fingerprint):
            raise ValueError(
                f"expected models of one fingerprint, got others: {'; '.join(differences)}"
            )


def _check_compositions(model: DesignModel, also: Also) -> None:
    """Raise ValueError if a surrogate of a whole fingerprint has learned another composition."""
    for other, _ in also:
        if isinstance(other.surrogate, LocalSurrogate):
            continue
        own, its = (one.symbols and sorted(composition_of(one.symbols)) for one in (model, other))
        if own != its:
            raise ValueError(
                f"expected models of {model.symbols or 'several compositions'}, got one of "
                f"{other.symbols or 'several'}"
            )


def _checked_symbols(
    symbols: str | None, own: str, models: Sequence[DesignModel], config: GenerateConfig
) -> str:
    """The formula of the structures, or ValueError if models of one formula can't predict it."""
    if symbols is None or sorted(composition_of(symbols)) == sorted(composition_of(own)):
        return symbols or own
    if set(composition_of(symbols)) != set(composition_of(own)):
        raise ValueError(f"expected a formula of the elements of {own}, got {symbols}")
    whole = not all(isinstance(model.surrogate, LocalSurrogate) for model in models)
    if whole or config.sampled:
        raise ValueError(
            f"expected {own} for fingerprints, got {symbols}: other sizes need a surrogate of "
            "energies of atoms (local-gpr) and no drawn fingerprints (--direct)"
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
