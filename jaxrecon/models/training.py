"""Training: fit a generator and a surrogate to a labelled set."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models import checkpoints
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.examples import Examples
from jaxrecon.models.registry import GENERATORS, SURROGATES
from jaxrecon.models.surrogates.local import LocalSurrogate
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.versions import versions
from jaxrecon.search.stoichiometry import reads_compositions
from jaxrecon.structures.formulas import composition_of, elements_of

MIN_EXAMPLES = 50
"""Smallest number of structures in a labelled set to learn from."""

CERTAIN = 0.95
"""Fraction of the validation examples whose predicted deviation is not above ``deviation``."""

WORDS = ("training", "examples")
"""Name of the work, and of what is counted, on the progress bar."""


def train(
    labelled: LabelledSet,
    config: TrainConfig | None = None,
    *,
    fingerprint: Fingerprint | None = None,
    symbols: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | ProgressFn = False,
) -> DesignModel:
    """Fit a generator and a surrogate of the formation energy to a labelled set.

    The settings name the kinds of both. Their equations are in
    :mod:`~jaxrecon.models.generators.autoencoder`,
    :mod:`~jaxrecon.models.surrogates.gaussian_process` and
    :mod:`~jaxrecon.models.surrogates.ensemble`.

    Args:
        labelled: structures with their formation energies in eV/atom, or fingerprints alone, which
            must be those that are named here. Structures of several compositions need a fingerprint
            that tells compositions, like the preset ``"universal"``, and are all free or all
            crystals.
        config: settings; None for the preset ``"default"``.
        fingerprint: what to learn with, of any descriptor family; None for the preset and the
            poolings that the settings name.
        symbols: chemical formula of the structures, if they have one; needed for fingerprints
            alone.
        folder: folder of checkpoints, from which an interrupted training continues; None for none.
        progress: True shows a progress bar; a function is called after each chunk of epochs with
            the epochs and the training examples since its last call.

    Returns:
        The model, with the errors of its surrogate on the validation examples in eV/atom.

    Raises:
        ValueError: if there are fewer than 50 examples, a formation energy is not finite, all are
            equal, there are several compositions or crystals and the fingerprint does not serve
            them, the formula is missing, the fingerprint lacks an element, or the folder belongs to
            another training.
        OSError: if a checkpoint can't be written.

    >>> from jaxrecon import save_model
    >>> from jaxrecon.datasets import load
    >>> model = train(load("pt10_pbe"))  # doctest: +SKIP
    >>> model.validation["mae"], model.sample(2.8, count=5).shape  # doctest: +SKIP
    >>> save_model(model, "model")  # doctest: +SKIP
    """
    config = config or TrainConfig()
    symbols = checked_formula(labelled, symbols)
    elements = composition_of(symbols) if symbols else elements_of(labelled.structures or [])
    if fingerprint is None:
        fingerprint = Fingerprint.preset(config.fingerprint, elements, poolings=config.poolings)
    elif foreign := sorted(set(elements) - set(fingerprint.descriptor.elements)):
        raise ValueError(f"expected a fingerprint with elements {foreign}, got one without them")
    else:
        fingerprint = fingerprint.restricted(elements)
    if symbols is None:
        _check_several(fingerprint, config)
    if labelled.structures is not None:
        labelled = replace(labelled, fingerprints=featurize(labelled.structures, fingerprint))
    examples = _examples(labelled, fingerprint, config, symbols)
    if folder is not None:
        _claim(Path(folder), config, fingerprint, labelled)
    # Fit both models. The registries name the classes.
    generator_kind, surrogate_kind = GENERATORS[config.generator], SURROGATES[config.surrogate]
    parts = {
        part: None if folder is None else Path(folder) / part for part in ("generator", "surrogate")
    }
    with reporter(progress, total_epochs(config), *WORDS) as report:
        generator = generator_kind.fit(examples, config, folder=parts["generator"], report=report)
        surrogate = surrogate_kind.fit(examples, config, folder=parts["surrogate"], report=report)
    model = DesignModel(
        fingerprint=fingerprint,
        config=config,
        generator=generator,
        surrogate=surrogate,
        training=labelled,
        symbols=symbols,
        validation={},
        versions=versions("flax", "orbax-checkpoint"),
    )
    # Only now that the error on the validation examples is known may the surrogate learn from them.
    validation = _errors(model, labelled.select(examples.validation))
    calibration = float(validation["calibration"] or 1.0)
    surrogate = surrogate.refit(examples, config, calibration)
    # Deviations of structures to come are compared with those of these examples.
    if surrogate.inflated:
        validation["deviation"] = float(validation["deviation"] or 0.0) * max(calibration, 1.0)
    return replace(model, surrogate=surrogate, validation=validation)


def checked_formula(labelled: LabelledSet, symbols: str | None) -> str | None:
    """Check that models can learn from a labelled set.

    Args:
        labelled: the set, as for :func:`train`.
        symbols: chemical formula; needed for fingerprints alone.

    Returns:
        The formula of all structures; None if they have several.

    Raises:
        ValueError: as :func:`train`.
    """
    if not isinstance(labelled, LabelledSet):
        raise ValueError(
            f"expected a labelled set, got {type(labelled).__name__}: use "
            "jaxrecon.datasets.read_labelled for a file and LabelledSet.of for structures"
        )
    # There have to be enough energies, all of them known, that are not all equal.
    values = labelled.formation_energies
    if len(labelled) < MIN_EXAMPLES:
        raise ValueError(
            f"expected at least {MIN_EXAMPLES} examples to learn from, got {len(labelled)}"
        )
    if len(unknown := np.flatnonzero(~np.isfinite(values))):
        total = np.isfinite(labelled.energies[unknown]).all()
        remedy = "" if total else "the name of the total energies by --energy-key and "
        raise ValueError(
            f"expected formation energies of all {len(labelled)} examples, got "
            f"{values[unknown[0]]} for {len(unknown)} of them, the first at index {unknown[0]}: "
            f"give {remedy}the energies of the elements by --bulk, in Python energy_key and bulk "
            "of read_labelled"
        )
    if np.ptp(values) == 0.0:
        raise ValueError(f"expected formation energies that differ, got {values[0]} for all")
    # Fingerprints alone don't tell a composition to a network.
    if labelled.structures is None:
        if symbols is None:
            raise ValueError("expected the formula of fingerprints without structures, got none")
        composition_of(symbols)
        return symbols
    if len({tuple(atoms.pbc) for atoms in labelled.structures}) > 1:
        raise ValueError("expected free structures alone or crystals alone, got both")
    formulas = {atoms.get_chemical_formula() for atoms in labelled.structures}
    if len(formulas) > 1:
        if symbols is not None:
            raise ValueError(f"expected structures of {symbols}, got {sorted(formulas)[:4]}")
        return None
    found = formulas.pop()
    if symbols is not None and sorted(composition_of(symbols)) != sorted(composition_of(found)):
        raise ValueError(f"expected structures of {symbols}, got {found}")
    return found


def _check_several(fingerprint: Fingerprint, config: TrainConfig) -> None:
    """Raise ValueError unless models can learn from structures of several compositions."""
    if not reads_compositions(fingerprint):
        raise ValueError(
            "expected structures of one composition for a fingerprint that does not tell it, got "
            "several: learn with the preset 'universal' (--learning universal)"
        )
    if issubclass(SURROGATES[config.surrogate], LocalSurrogate):
        raise ValueError(
            "expected a surrogate of the whole fingerprint for several compositions, such as "
            f"'gaussian_process', got {config.surrogate!r}"
        )


def total_epochs(config: TrainConfig) -> int:
    """Number of epochs that a training reports.

    Args:
        config: settings of the training.
    """
    return GENERATORS[config.generator].epochs(config) + SURROGATES[config.surrogate].epochs(config)


def _examples(
    labelled: LabelledSet, fingerprint: Fingerprint, config: TrainConfig, symbols: str | None
) -> Examples:
    """Split a labelled set with fingerprints into training and validation examples."""
    assert labelled.fingerprints is not None, "structures have been featurized"
    if labelled.fingerprints.shape[1] != fingerprint.size:
        raise ValueError(
            f"expected fingerprints of {fingerprint.size} numbers, as the settings give for "
            f"{symbols or 'these elements'}, got {labelled.fingerprints.shape[1]}"
        )
    # The property is an energy per atom, whose derivatives are minus the forces per atom.
    structures, gradients = labelled.structures, None
    if structures is not None and labelled.forces is not None and symbols is not None:
        gradients = -np.reshape(labelled.forces, (len(structures), -1)) / len(structures[0])
    if config.split == "trajectory":
        training, validation = split_by_trajectory(labelled, config.validation, config.seed)
    else:
        order = np.random.default_rng(config.seed).permutation(len(labelled))
        count = max(1, round(config.validation * len(labelled)))
        training, validation = np.sort(order[count:]), np.sort(order[:count])
    return Examples(
        fingerprint=fingerprint,
        fingerprints=labelled.fingerprints,
        values=labelled.formation_energies,
        training=training,
        validation=validation,
        structures=structures,
        gradients=gradients,
        scaling_name=config.scaling,
    )


def _claim(
    folder: Path, config: TrainConfig, fingerprint: Fingerprint, labelled: LabelledSet
) -> None:
    """Write into the folder which training its checkpoints belong to, or raise ValueError."""
    assert labelled.fingerprints is not None, "structures have been featurized"
    data = (labelled.fingerprints, labelled.formation_energies, labelled.trajectories)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in data))
    own = {
        "config": config.to_dict(),
        "fingerprint": json.loads(fingerprint.to_json()),
        "data": digest.hexdigest(),
    }
    checkpoints.begin(folder, own)


def _errors(model: DesignModel, validation: LabelledSet) -> dict[str, float | int | None]:
    """Compute the error of the surrogate on the validation examples."""
    assert validation.fingerprints is not None, "structures have been featurized"
    if validation.structures is None:
        means, deviations = model.predict(validation.fingerprints)
    else:
        means, deviations, _ = model.predict_structures(
            validation.structures, validation.fingerprints
        )
    errors = means - validation.formation_energies
    sizes = np.abs(errors)
    known = deviations.min() > 0.0
    # A correlation needs numbers that vary.
    varied = known and len(errors) > 1 and np.ptp(deviations) > 0.0
    return {
        "examples": len(errors),
        "mae": float(sizes.mean()),
        "bias": float(errors.mean()),
        "calibration": float(np.sqrt(np.mean((errors / deviations) ** 2))) if known else None,
        "correlation": float(np.corrcoef(sizes, deviations)[0, 1]) if varied else None,
        "deviation": float(np.quantile(deviations, CERTAIN)),
    }
