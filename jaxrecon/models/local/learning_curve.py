"""Learning curves: the error of models of local energies against the number of environments.

Source: figures 3 and 5 of Gardner, Faure Beaulieu and Deringer, Digital Discovery 2, 651 (2023).
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.curve_store import Point, Store
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.network import NetworkModel
from jaxrecon.models.registry import LOCAL_MODELS
from jaxrecon.runtime.progress import ProgressFn, reporter

FINE_RATE = 0.1
"""Learning rate of fine-tuning, relative to that of learning from nothing."""

WORDS = ("learning", "models")
"""Name of the work, and of what is counted, on the progress bar."""

Measured = tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"], float]
"""The errors and energies of tested examples in eV, and the time of the fit in seconds."""

Measure = Callable[[str, Int[np.ndarray, " l"], Int[np.ndarray, " t"]], Measured]
"""Fits the model of a name to some examples and tests it on others, both given by indices."""


def learning_curve(
    environments: Environments,
    *,
    models: Sequence[str] = ("kernel", "network", "deep_kernel"),
    sizes: Sequence[int] = (100, 1000),
    folds: int = 5,
    config: LocalConfig | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool | ProgressFn = False,
) -> list[Point]:
    """Measure the errors of local energies after learning from more and more environments.

    The data are split by trajectory into folds. Each fold is tested on once, with models that have
    learned from a random sample of the others; a larger sample has all of a smaller one.

    Args:
        environments: the data, with local energies.
        models: keys of :data:`~jaxrecon.models.registry.LOCAL_MODELS`.
        sizes: numbers of training environments.
        folds: number of folds, at least 2.
        config: settings of all models; its seed decides folds and samples too.
        store: JSON file to which each point is written as soon as it is known, and from which an
            interrupted run continues.
        resume: whether to continue; False replaces the file with the first point.
        progress: as for :func:`jaxrecon.train`.

    Returns:
        One point for each fold, size and model, in this order.

    Raises:
        ValueError: if local energies are not known, a model has no such name, a size is below 1 or
            above the number of environments outside of a fold, or the store is of another run.
        OSError: if the store can't be written.
    """
    config = config or LocalConfig()
    if environments.energies is None:
        raise ValueError("expected local energies for a learning curve, got none")
    if unknown := sorted(set(models) - set(LOCAL_MODELS)):
        raise ValueError(f"expected models among {tuple(LOCAL_MODELS)}, got {unknown}")
    folded = fold_members(environments, folds, config.seed)
    own = {"config": config.to_dict(), "folds": folds, "environments": _identity(environments)}
    known = Store(store, {"task": "learning curve", **own}, resume)
    # The examples are atoms here, and not structures.
    parts = [np.flatnonzero(np.isin(environments.owner, part)) for part in folded]

    def measure(name: str, learned: np.ndarray, tested: np.ndarray) -> Measured:
        began = time.perf_counter()
        model = LOCAL_MODELS[name].fit(environments.sample(learned), config)
        seconds = time.perf_counter() - began
        others = environments.sample(tested)
        assert others.energies is not None, "local energies are known"
        return model.predict(others) - others.energies, others.energies, seconds

    return _measured(known, parts, sizes, models, config.seed, measure, progress)


def pretraining_curve(
    synthetic: Environments,
    labelled: Environments,
    *,
    sizes: Sequence[int] = (25, 50, 100),
    folds: int = 5,
    config: LocalConfig | None = None,
    store: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool | ProgressFn = False,
) -> list[Point]:
    """Compare networks that have learned synthetic local energies before with ones that have not.

    A network first learns the local energies of a teacher. For each fold and size it is then fitted
    on the total energies of some labelled structures, beside a network with random weights.

    Args:
        synthetic: environments with the local energies of a teacher.
        labelled: structures with total energies, in environments of the same descriptor.
        sizes: numbers of labelled structures to learn from.
        folds: number of folds of the labelled structures, at least 2.
        config: settings of the networks; fine-tuning has a tenth of the learning rate.
        store: as for :func:`learning_curve`.
        resume: as for :func:`learning_curve`.
        progress: as for :func:`jaxrecon.train`.

    Returns:
        Errors of the energy per atom, for each fold, size, and of direct and pre-trained networks.

    Raises:
        ValueError: if the descriptors differ, energies are not known, a size is below 1 or above
            the number of structures outside of a fold, or the store is of another run.
        OSError: if the store can't be written.
    """
    config = config or LocalConfig()
    if synthetic.descriptor != labelled.descriptor:
        raise ValueError("expected environments of one descriptor, got two different ones")
    if labelled.totals is None:
        raise ValueError("expected total energies of the labelled structures, got none")
    parts = fold_members(labelled, folds, config.seed)
    identities = [_identity(synthetic), _identity(labelled)]
    own = {"config": config.to_dict(), "folds": folds, "environments": identities}
    known = Store(store, {"task": "pretraining", **own}, resume)
    direct = replace(config, targets="total")
    fine = replace(direct, learning_rate=FINE_RATE * config.learning_rate)

    # A run that has all points of pre-trained networks already needs no teacher.
    @cache
    def teacher() -> NetworkModel:
        return NetworkModel.fit(synthetic, replace(config, targets="local"))

    def measure(name: str, learned: np.ndarray, tested: np.ndarray) -> Measured:
        start, settings = (None, direct) if name == "direct" else (teacher(), fine)
        began = time.perf_counter()
        model = NetworkModel.fit(labelled.select(learned), settings, start=start)
        seconds = time.perf_counter() - began
        others = labelled.select(tested)
        assert others.totals is not None, "totals are known"
        atoms = others.counts.sum(axis=1)
        return (model.totals(others) - others.totals) / atoms, others.totals / atoms, seconds

    names = ("direct", "pretrained")
    return _measured(known, parts, sizes, names, config.seed, measure, progress)


def fold_members(environments: Environments, folds: int, seed: int) -> list[Int[np.ndarray, " s"]]:
    """Split structures into folds of similar size, with whole trajectories in each.

    Args:
        environments: atoms of the structures.
        folds: number of folds.
        seed: decides the order of the trajectories.

    Returns:
        Indices of the structures of each fold, ascending.

    Raises:
        ValueError: if there are fewer than two folds, or fewer trajectories than folds.
    """
    names, sizes = np.unique(environments.trajectories, return_counts=True)
    if len(names) < 2:
        raise ValueError(
            f"expected at least two trajectories to split, got {len(names)}: structures of one are "
            "alike"
        )
    if not 2 <= folds <= len(names):
        raise ValueError(
            f"expected from 2 to {len(names)} folds, the number of trajectories, got {folds}"
        )
    # Each trajectory joins the fold that has the fewest structures so far.
    members: list[list[int]] = [[] for _ in range(folds)]
    counts = np.zeros(folds, int)
    for place in np.random.default_rng(seed).permutation(len(names)):
        fold = int(np.argmin(counts))
        members[fold].append(int(names[place]))
        counts[fold] += sizes[place]
    return [np.flatnonzero(np.isin(environments.trajectories, part)) for part in members]


def summary(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Average the errors over folds.

    Args:
        points: as from :func:`learning_curve`.

    Returns:
        For each model and size: mean and standard deviation of both errors in eV, the error
        relative to the spread of the energies, and the mean time in seconds.
    """
    table = []
    for name, size in sorted({(point.model, point.size) for point in points}):
        own = [point for point in points if (point.model, point.size) == (name, size)]
        mae, rmse, spread, seconds = np.asarray([point[3:] for point in own]).T
        table.append(
            {
                "model": name,
                "size": size,
                "folds": len(own),
                "mae": float(mae.mean()),
                "mae_deviation": float(mae.std()),
                "rmse": float(rmse.mean()),
                "rmse_deviation": float(rmse.std()),
                "relative_mae": float((mae / spread).mean()),
                "seconds": float(seconds.mean()),
            }
        )
    return table


def text(points: Sequence[Point]) -> Iterator[str]:
    """Lines of a table of the errors in meV for people."""
    yield f"{'model':12} {'N':>9} {'MAE':>14} {'RMSE':>14} {'MAE/spread':>10} {'seconds':>8}"
    for row in summary(points):
        mae = f"{1e3 * row['mae']:.1f} +- {1e3 * row['mae_deviation']:.1f}"
        rmse = f"{1e3 * row['rmse']:.1f} +- {1e3 * row['rmse_deviation']:.1f}"
        yield (
            f"{row['model']:12} {row['size']:9,} {mae:>14} {rmse:>14} "
            f"{row['relative_mae']:10.3f} {row['seconds']:8.1f}"
        )


def _identity(environments: Environments) -> dict[str, Any]:
    """What tells whether environments are the same: their descriptor, and a hash of the labels."""
    hashed = hashlib.sha256()
    labels = environments.energies, environments.totals
    for array in (environments.species, environments.owner, environments.trajectories, *labels):
        hashed.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return {"descriptor": environments.descriptor.to_dict(), "sha256": hashed.hexdigest()}


def _measured(
    known: Store,
    parts: Sequence[Int[np.ndarray, " _"]],
    sizes: Sequence[int],
    names: Sequence[str],
    seed: int,
    measure: Measure,
    progress: bool | ProgressFn,
) -> list[Point]:
    """Measure the points that are not known yet, and return all of them.

    The parts are the examples of each fold.
    """
    count = sum(map(len, parts))
    most = count - max(map(len, parts))
    if wrong := [size for size in sizes if not 1 <= size <= most]:
        raise ValueError(
            f"expected sizes from 1 to {most}, the number of examples outside of the largest fold, "
            f"got {wrong[0]}"
        )
    calls = list(product(range(len(parts)), dict.fromkeys(sizes), dict.fromkeys(names)))
    with reporter(progress, len(calls), *WORDS) as report:
        for fold, size, name in calls:
            if not known.has(name, size, fold):
                others = np.delete(np.arange(count), parts[fold])
                order = np.random.default_rng([seed, fold]).permutation(others)
                found = measure(name, np.sort(order[:size]), parts[fold])
                known.add(_point(name, size, fold, *found))
            report(1, 1)
    return [known.get(name, size, fold) for fold, size, name in calls]


def _point(
    name: str, size: int, fold: int, errors: np.ndarray, energies: np.ndarray, seconds: float
) -> Point:
    """The errors as a point."""
    mae, rmse = np.abs(errors).mean(), np.sqrt(np.mean(errors**2))
    return Point(name, size, fold, float(mae), float(rmse), float(energies.std()), seconds)
