"""DesignModel: what was learned of a labelled set, and fingerprints that have a wanted property."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.batching import featurize
from jaxrecon.compositions import composition_of
from jaxrecon.datasets import io
from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.gaussian_process import MOST_NUMBERS, GaussianProcess
from jaxrecon.models.generators import Generator, network_of
from jaxrecon.models.model_folder import read_model, write_model
from jaxrecon.models.network import Ensemble, regressor_of
from jaxrecon.models.predictors import Predictor
from jaxrecon.models.scaling import SCALINGS
from jaxrecon.models.slopes import slopes
from jaxrecon.progress import ProgressFn, reporter
from jaxrecon.results import versions
from jaxrecon.training import Network, fit

FEWEST = 50
"""Rows below which nothing is learned."""

TRIES = 20
"""How often a sample is drawn that the surrogate shall agree with."""

TOGETHER = 64
"""Fingerprints that are drawn or judged at once."""


@dataclass(frozen=True, eq=False, repr=False)
class DesignModel:
    """A generator of fingerprints, a surrogate of the property, and what they were fitted to.

    Attributes:
        fingerprint: what both are about.
        config: how they were fitted.
        generator: of fingerprints for a value of the property.
        surrogate: of the property, in eV/atom.
        training: the rows they were fitted to, with their fingerprints and, where they are known,
            the structures.
        symbols: formula of all structures.
        validation: of the surrogate on the ``rows`` that were kept aside, in eV/atom: ``mae`` and
            ``bias``; ``ratio``, the root mean square of error over deviation (1 if deviations are
            true); ``correlation`` of the size of the error with the deviation; ``deviation``, which
            95 % of the rows do not exceed. None where deviations are 0.
        versions: of the packages that decide the numbers.
    """

    fingerprint: Fingerprint
    config: TrainConfig
    generator: Generator
    surrogate: Predictor
    training: LabelledSet
    symbols: str
    validation: dict[str, float | int | None]
    versions: dict[str, str]

    def __repr__(self) -> str:
        return (
            f"<DesignModel of {len(self.training)} {self.symbols}: {self.config.generator}, "
            f"{self.config.surrogate}>"
        )

    @property
    def range(self) -> tuple[float, float]:
        """Least and largest property of the training rows, in eV/atom."""
        values = self.training.formation_energies
        return float(values.min()), float(values.max())

    def sample(
        self,
        value: float | Sequence[float] | np.ndarray,
        count: int,
        seed: int = 0,
        *,
        agree: float | None = None,
    ) -> Float[np.ndarray, "count p"]:
        """Fingerprints that structures with a property may have, without a unit.

        Sample i depends on the seed, its number and its value, not on how many there are.

        Args:
            value: of the property, in eV/atom: one for all samples, or one each. Beyond
                :attr:`range` there is a warning.
            count: of samples.
            seed: of the random numbers.
            agree: by how much the surrogate's prediction may be off, and how unsure it may be, in
                eV/atom: samples that exceed it are drawn again, up to 20 times; then the one that
                exceeded it least is taken. None for all as they are drawn.

        Raises:
            ValueError: if there is another number of values.
        """
        values = np.asarray(value, np.float64)
        if values.ndim and values.shape != (count,):
            raise ValueError(f"expected one value or {count}, got shape {values.shape}")
        self.warn_outside(*values.ravel())
        values = np.broadcast_to(values, (count,))
        if agree is None:
            return self._draw(seed, 0, np.arange(count), values)
        samples = np.empty((count, self.fingerprint.size))
        misses, pending = np.full(count, np.inf), np.arange(count)
        for attempt in range(TRIES):
            drawn = self._draw(seed, attempt, pending, values[pending])
            means, deviations = self.predict(drawn)
            missed = np.maximum(np.abs(means - values[pending]), deviations)
            better = missed < misses[pending]
            samples[pending[better]] = drawn[better]
            misses[pending[better]] = missed[better]
            pending = np.flatnonzero(misses > agree)
            if not len(pending):
                break
        return samples

    def predict(
        self, fingerprints: Float[np.ndarray, "n p"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The property that the surrogate predicts, and the standard deviation of its error.

        Args:
            fingerprints: one row each, without a unit.

        Returns:
            Both in eV/atom, computed in float64.
        """
        with jax.enable_x64(True):
            rows = jnp.asarray(_padded(fingerprints, 1.0), jnp.float64)
            means, deviations = _predicted(self.surrogate, rows)
            count = len(fingerprints)
            return np.asarray(means)[:count], np.asarray(deviations)[:count]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model to a folder; a model that is there is replaced by a whole one.

        Raises:
            FileExistsError: if there is something in the place that is no model.
            OSError: if it can't be written.
        """
        write_model(Path(folder), self)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "DesignModel":
        """Read a model from its folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is something else, or incomplete.
        """
        return cls(**read_model(Path(folder)))

    def warn_outside(self, *values: float) -> None:
        """Warn of values of the property, in eV/atom, that the training rows do not reach."""
        low, high = self.range
        outside = [value for value in values if not low <= value <= high]
        if outside:
            warnings.warn(
                f"expected a property between {low:.3f} and {high:.3f} eV/atom, the range of the "
                f"training data, got {outside[0]:g}",
                stacklevel=3,
            )

    def _draw(
        self, seed: int, attempt: int, numbers: Int[np.ndarray, " n"], values: np.ndarray
    ) -> Float[np.ndarray, "n p"]:
        key = jax.random.fold_in(jax.random.key(seed), attempt)
        lanes = jnp.asarray(_padded(numbers, 0)), jnp.asarray(_padded(values, 0.0), jnp.float32)
        drawn = _drawn(self.generator, key, *lanes)
        return np.asarray(drawn, np.float64)[: len(numbers)]


@jax.jit
def _drawn(
    generator: Generator, key: PRNGKeyArray, numbers: Int[Array, " n"], values: Float[Array, " n"]
) -> Float[Array, "n p"]:
    def one(lane: tuple[Int[Array, ""], Float[Array, ""]]) -> Float[Array, " p"]:
        number, value = lane
        return generator.sample(jax.random.fold_in(key, number), value)

    return jax.lax.map(one, (numbers, values), batch_size=TOGETHER)


@jax.jit
def _predicted(
    surrogate: Predictor, rows: Float[Array, "n p"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    return jax.lax.map(surrogate, rows, batch_size=TOGETHER)


def _padded(rows: np.ndarray, value: float) -> np.ndarray:
    """Rows filled up, so that few lengths are ever compiled for."""
    lanes = TOGETHER * (1 << (-(-len(rows) // TOGETHER) - 1).bit_length())
    missing = [(0, lanes - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows, missing, constant_values=value)


def train(
    labelled: LabelledSet,
    config: TrainConfig | None = None,
    *,
    symbols: str | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool | ProgressFn = False,
) -> DesignModel:
    """Learn which fingerprints structures with some formation energy have.

    Args:
        labelled: structures of one composition with their formation energies in eV/atom; or
            fingerprints alone, made as the settings say.
        config: settings; None for the preset ``"default"``.
        symbols: formula of the structures, where there are fingerprints alone.
        store: folder of checkpoints, if training is to go on where it was when it is interrupted.
        progress: True shows a progress bar; a function is called between chunks of epochs with
            their number and that of the rows since its last call.

    Raises:
        ValueError: if there are fewer than 50 rows, a formation energy is not finite or all are the
            same, structures are of several compositions, the formula is missing, or the folder
            belongs to a training of something else.
        OSError: if a checkpoint can't be written.
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
        network = network_of(config, scaling.size)
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
            forces = _forces(labelled.select(kept), fingerprint) if config.forces else {}
            surrogate = GaussianProcess.fit(fingerprint, rows[kept], values[kept], **forces)
    model = DesignModel(
        fingerprint=fingerprint,
        config=config,
        generator=generator,
        surrogate=surrogate,
        training=labelled.select(kept),
        symbols=symbols,
        validation={},
        versions=versions() | {name: version(name) for name in ("flax", "orbax-checkpoint")},
    )
    return replace(model, validation=_errors(model, labelled.select(aside)))


def _forces(labelled: LabelledSet, fingerprint: Fingerprint) -> dict[str, np.ndarray]:
    """What a Gaussian process learns of forces, where all are known and not too many."""
    structures, forces = labelled.structures, labelled.forces
    if structures is None or forces is None or not np.isfinite(forces).all():
        return {}
    gradients = -np.reshape(forces, (len(structures), -1)) / len(structures[0])
    if gradients.size + len(structures) > MOST_NUMBERS:
        return {}
    return {"slopes": slopes(structures, fingerprint), "gradients": gradients}


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
    io.write_json(path, own)


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
