"""Learning: a model of which fingerprints an energy has, and the other way, from a labelled set."""

import hashlib
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.fitting import Network, fit
from jaxrecon.models.generators.autoencoder import Autoencoder, Generator
from jaxrecon.models.scalings.principal_axes import SCALINGS
from jaxrecon.models.surrogates.ensemble import Ensemble, regressor_of
from jaxrecon.models.surrogates.gaussian_process import MOST, MOST_NUMBERS, GaussianProcess
from jaxrecon.models.surrogates.gradient_kernel import fingerprint_jacobians
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.versions import versions
from jaxrecon.search.guidance import Predictor
from jaxrecon.structures.formulas import composition_of

FEWEST = 50
"""Rows below which nothing is learned."""


def train(
    labelled: LabelledSet,
    config: TrainConfig | None = None,
    *,
    symbols: str | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool | ProgressFn = False,
) -> DesignModel:
    """Learn which fingerprints structures with some formation energy have.

    The equations are those of the generator (:mod:`jaxrecon.models.generators.autoencoder`) and of the surrogate
    (:mod:`~jaxrecon.models.surrogates.gaussian_process` or :mod:`~jaxrecon.models.surrogates.ensemble`) that the settings
    name.

    Args:
        labelled: structures of one composition with their formation energies in eV/atom; or
            fingerprints alone, made as the settings say.
        config: settings; None for the preset ``"default"``.
        symbols: formula of the structures, where there are fingerprints alone.
        store: folder of checkpoints, if training is to go on where it was when it is interrupted.
        progress: True shows a progress bar; a function is called between chunks of epochs with
            their number and that of the rows since its last call.

    Returns:
        Both, with the errors of the surrogate in eV/atom on the rows that were kept aside.

    Raises:
        ValueError: if there are fewer than 50 rows, a formation energy is not finite or all are the
            same, structures are of several compositions, the formula is missing, or the folder
            belongs to a training of something else.
        OSError: if a checkpoint can't be written.

    >>> from jaxrecon.datasets import load
    >>> model = train(load("pt10_pbe"))  # doctest: +SKIP
    >>> model.validation["mae"], model.sample(2.8, count=5).shape  # doctest: +SKIP
    >>> model.save("model")  # doctest: +SKIP
    """
    config = config or TrainConfig()
    symbols = _checked(labelled, symbols)
    fingerprint = Fingerprint.preset(
        config.fingerprint, composition_of(symbols), poolings=config.poolings
    )
    if labelled.structures is not None:
        labelled = replace(labelled, fingerprints=featurize(labelled.structures, fingerprint))
    rows, values = labelled.fingerprints, labelled.formation_energies
    assert rows is not None
    if rows.shape[1] != fingerprint.size:
        raise ValueError(
            f"expected fingerprints of {fingerprint.size} numbers, as {config.fingerprint} with "
            f"{config.poolings} has of {symbols}, got {rows.shape[1]}"
        )
    kept, aside = _split(labelled, config)
    if store is not None:
        _claim(Path(store), config, fingerprint, labelled)
    centre, width = values[kept].mean(), values[kept].std()
    scaling = SCALINGS[config.scaling].fit(fingerprint, rows[kept])
    with jax.enable_x64(True):
        scaled = np.asarray(jax.vmap(scaling.forward)(jnp.asarray(rows, jnp.float64)))
    fitted = partial(
        _fitted,
        items=(jnp.float32(scaled), jnp.float32((values - centre) / width)),
        split=(kept, aside),
        seed=config.seed,
        store=store,
    )
    units: dict[str, Any] = {
        "scaling": scaling,
        "centre": np.asarray(centre),
        "width": np.asarray(width),
    }
    by_network = config.surrogate == "network"
    epochs = config.generator_fit.epochs + by_network * config.surrogate_fit.epochs
    with reporter(progress, epochs, "training", "rows") as report:
        network = Autoencoder.of(config, scaling.size)
        weights = fitted("generator", network, config.generator_fit, 1, report=report)
        only = jax.tree.map(lambda array: array[0], weights)
        generator = Generator(network, only, **units)
        surrogate: Predictor
        if by_network:
            regressor = regressor_of(config, scaling.size)
            own = config.surrogate_fit
            weights = fitted("surrogate", regressor, own, config.members, report=report)
            surrogate = Ensemble(regressor, weights, **units)
        else:
            forces = _forces(labelled, fingerprint) if config.forces else {}
            surrogate = _process(fingerprint, rows, values, forces, kept)
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
    model = replace(model, validation=_errors(model, labelled.select(aside)))
    if by_network:
        return model
    # A process needs no rows to stop by: its error known, it learns from those aside as well. How
    # much larger than its deviations errors are off known trajectories is what it can't tell.
    whole = _process(fingerprint, rows, values, forces, slice(None))
    more = max(model.validation["ratio"] or 1.0, 1.0)
    whole = replace(whole, caution=np.asarray(more * whole.caution))
    return replace(model, surrogate=whole)


def _process(
    fingerprint: Fingerprint,
    rows: np.ndarray,
    values: np.ndarray,
    forces: dict[str, np.ndarray],
    some: np.ndarray | slice,
) -> GaussianProcess:
    told = {name: known[some] for name, known in forces.items()}
    return GaussianProcess.fit(fingerprint, rows[some], values[some], **told)


def _forces(labelled: LabelledSet, fingerprint: Fingerprint) -> dict[str, np.ndarray]:
    """What a Gaussian process learns of forces, where all are known and not too many."""
    structures, forces = labelled.structures, labelled.forces
    if structures is None or forces is None or not np.isfinite(forces).all():
        return {}
    gradients = -np.reshape(forces, (len(structures), -1)) / len(structures[0])
    if len(structures) > MOST or gradients.size + len(structures) > MOST_NUMBERS:
        return {}
    return {"jacobians": fingerprint_jacobians(structures, fingerprint), "gradients": gradients}


def _fitted(
    part: str,
    network: Network,
    config: FitConfig,
    members: int,
    *,
    items: Any,
    split: tuple[np.ndarray, np.ndarray],
    seed: int,
    store: str | os.PathLike[str] | None,
    report: ProgressFn,
) -> Any:
    """Weights of the members, all fitted to the same rows."""
    kept, aside = (np.tile(rows, (members, 1)) for rows in split)
    folder = None if store is None else Path(store) / part
    done = fit(network, items, kept, aside, config, seed=seed, folder=folder, report=report)
    return done.weights


def _checked(labelled: LabelledSet, symbols: str | None) -> str:
    """The formula of all structures, if something can be learned of them."""
    values = labelled.formation_energies
    if len(labelled) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} rows to learn from, got {len(labelled)}")
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        raise ValueError(
            f"expected formation energies of all {len(labelled)} rows, got {values[bad[0]]} in "
            f"{len(bad)} of them, first in row {bad[0]}"
        )
    if np.ptp(values) == 0.0:
        raise ValueError(f"expected formation energies that differ, got {values[0]} in all rows")
    if labelled.structures is None:
        if symbols is None:
            raise ValueError("expected the formula of fingerprints without structures, got none")
        composition_of(symbols)
        return symbols
    formulas = {atoms.get_chemical_formula() for atoms in labelled.structures}
    if len(formulas) > 1:
        raise ValueError(f"expected structures of one composition, got {sorted(formulas)}")
    found = formulas.pop()
    if symbols is not None and sorted(composition_of(symbols)) != sorted(composition_of(found)):
        raise ValueError(f"expected structures of {symbols}, got {found}")
    return found


def _split(labelled: LabelledSet, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit to and rows to keep aside."""
    if config.split == "trajectory":
        return split_by_trajectory(labelled, config.validation, config.seed)
    order = np.random.default_rng(config.seed).permutation(len(labelled))
    aside = max(1, round(config.validation * len(labelled)))
    return np.sort(order[aside:]), np.sort(order[:aside])


def _claim(
    store: Path, config: TrainConfig, fingerprint: Fingerprint, labelled: LabelledSet
) -> None:
    """Say in the folder whose checkpoints it has, or raise if they are of something else."""
    assert labelled.fingerprints is not None
    data = (labelled.fingerprints, labelled.formation_energies, labelled.trajectories)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in data))
    own = {
        "config": config.to_dict(),
        "fingerprint": json.loads(fingerprint.to_json()),
        "data": digest.hexdigest(),
    }
    path = store / "training.json"
    if path.exists():
        try:
            found = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"expected how training was begun in {path}, got none") from error
        if differing := [name for name, value in own.items() if found.get(name) != value]:
            raise ValueError(
                f"expected {store} to be of the same training, got one with another "
                f"{' and '.join(differing)}"
            )
    store.mkdir(parents=True, exist_ok=True)
    write_json(path, own)


def _errors(model: DesignModel, aside: LabelledSet) -> dict[str, float | int | None]:
    """What the surrogate makes of the rows that were kept aside."""
    assert aside.fingerprints is not None
    means, deviations = model.predict(aside.fingerprints)
    errors = means - aside.formation_energies
    known = deviations.min() > 0.0
    sizes = np.abs(errors)
    varied = known and len(errors) > 1 and np.ptp(deviations) > 0.0
    return {
        "rows": len(errors),
        "mae": float(sizes.mean()),
        "bias": float(errors.mean()),
        "ratio": float(np.sqrt(np.mean((errors / deviations) ** 2))) if known else None,
        "correlation": float(np.corrcoef(sizes, deviations)[0, 1]) if varied else None,
        "deviation": float(np.quantile(deviations, 0.95)),
    }
