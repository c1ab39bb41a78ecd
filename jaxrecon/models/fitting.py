"""Fitting of networks: whole epochs run on the device, and an interrupted fit continues."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxrecon.models import checkpoints
from jaxrecon.models.config import FitConfig
from jaxrecon.models.epochs import Network, Rate, State, advance
from jaxrecon.models.examples import Examples
from jaxrecon.runtime.progress import ProgressFn

CHUNK = 50
"""Number of epochs between two reports and checkpoints."""

MIN_VALIDATION_LOSSES = 256
"""Smallest number of losses in the validation loss of an epoch.

Fewer validation examples are repeated, each time with another random key."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Result of a fit.

    Attributes:
        weights: weights of each member at its epoch with the least validation loss.
        epochs: index of that epoch for each member.
        losses: mean training loss and mean validation loss of each epoch.
    """

    weights: Any
    epochs: Int[np.ndarray, " m"]
    losses: Float[np.ndarray, "m epochs 2"]


def fit_members(
    network: Network,
    examples: Examples,
    config: FitConfig,
    *,
    members: int = 1,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    report: ProgressFn = lambda epochs, examples: None,
) -> Any:
    """Fit all members of an ensemble to the same training examples.

    Args:
        network: network to fit to scaled fingerprints and standardised values.
        examples: the data, with at least one validation example.
        config: settings of the fit.
        members: number of members, which differ in their random numbers.
        seed: seed of all random numbers.
        folder: folder of checkpoints, as for :func:`fit`.
        report: as for :func:`fit`.

    Returns:
        The weights of all members, stacked along the first axis.

    Raises:
        ValueError: as for :func:`fit`, or if there is no validation example.
        OSError: if a checkpoint can't be written.
    """
    if not len(examples.validation):
        raise ValueError("expected validation examples to choose the best epoch by, got none")
    training, validation = (
        np.tile(indices, (members, 1)) for indices in (examples.training, examples.validation)
    )
    return fit(
        network,
        examples.items,
        training,
        validation,
        config,
        seed=seed,
        folder=folder,
        report=report,
    ).weights


def fit(
    network: Network,
    items: Any,
    training: Int[np.ndarray, "m t"],
    validation: Int[np.ndarray, "m v"],
    config: FitConfig,
    *,
    seed: int = 0,
    decay: bool = False,
    chunk: int | None = None,
    start: Any = None,
    folder: str | os.PathLike[str] | None = None,
    report: ProgressFn = lambda epochs, examples: None,
) -> Fit:
    """Fit several networks at once: members of an ensemble, or different seeds, splits or sizes.

    Adam minimises the mean loss on shuffled batches. A member depends on the seed, its index and
    its examples, not on the other members. A last batch that is not full counts by its size. One
    program serves all splits of as many examples.

    Args:
        network: network to fit.
        items: tree of arrays; the first axis is that of the examples.
        training: indices of each member's training examples; -1 for padding.
        validation: indices of the examples that decide each member's best epoch; -1 for padding.
        config: settings of the fit.
        seed: seed of the initial weights, the order of the examples and the draws of the loss.
        decay: whether the learning rate falls to 0, along half a cosine.
        chunk: number of epochs between two reports and checkpoints; None for :data:`CHUNK`.
        start: weights of all members to begin with; None for random ones.
        folder: folder of checkpoints; a fit that was interrupted continues from the latest one.
            None for no checkpoints.
        report: called after each chunk of epochs with the epochs and training examples done since
            the last call.

    Returns:
        The best weights of each member and the losses.

    Raises:
        ValueError: if the validation loss of a member was never finite, or the folder has
            checkpoints of something else.
        OSError: if a checkpoint can't be written.
    """
    # Every member has a key of its own, whatever the number of members.
    members = len(training)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(members))
    batch = min(config.batch, training.shape[1])
    rate = Rate(config.learning_rate, config.epochs if decay else None)
    weights = _initial(network)(keys) if start is None else start
    state = State(
        epoch=jnp.zeros((), int),
        weights=weights,
        moments=jax.vmap(rate.optimiser(jnp.ones((), int)).init)(weights),
        best=weights,
        # Explicit types: a weak type would make the first chunk another program than the rest.
        best_epoch=jnp.full(members, -1, int),
        losses=jnp.full((members, config.epochs, 2), jnp.inf, float),
    )
    # Continue from the latest checkpoint.
    if folder is not None:
        saved = checkpoints.latest(folder, state)
        state = state if saved is None else State(*jax.tree.map(jnp.asarray, saved))
    # Padding up to the number of all examples, whatever the split.
    count = max(len(jax.tree.leaves(items)[0]), training.shape[1], validation.shape[1])
    missing = count - training.shape[1]
    padded = np.pad(training.astype(int), ((0, 0), (0, missing)), constant_values=-1)
    blocks = _validation_blocks(validation, count, max(batch, MIN_VALIDATION_LOSSES // 4))
    indices = jnp.asarray(padded), jnp.asarray(blocks)
    done = int(state.epoch)
    report(done, 0)
    # Each chunk is one call of one compiled program.
    while done < config.epochs:
        until = min(done + (chunk or CHUNK), config.epochs)
        state = advance(network, rate, batch, state, until, keys, items, *indices)
        if folder is not None:
            checkpoints.save(folder, until, state)
        # The conversion waits for the device, so that a report comes after the work.
        done, since = int(state.epoch), done
        report(done - since, (done - since) * int((training >= 0).sum()))
    if np.any(failed := np.asarray(state.best_epoch) < 0):
        raise ValueError(
            f"expected validation losses that are finite, got none of member {np.argmax(failed)}"
        )
    return Fit(state.best, np.asarray(state.best_epoch), np.asarray(state.losses))


def _validation_blocks(
    validation: Int[np.ndarray, "m v"], count: int, size: int
) -> Int[np.ndarray, "m k b"]:
    """Cut the validation examples of each member, few ones several times, into blocks.

    Padding comes last, up to a number of examples.
    """
    number = math.ceil(max(count, MIN_VALIDATION_LOSSES) / size)
    blocks = np.full((len(validation), number, size), -1)
    for row, given in zip(blocks.reshape(len(validation), -1), validation, strict=True):
        own = given[given >= 0]
        own = np.tile(own, max(1, MIN_VALIDATION_LOSSES // max(1, len(own))))
        row[: len(own)] = own
    return blocks


@lru_cache(maxsize=16)
def _initial(network: Network) -> Callable[[Key[Array, " m"]], Any]:
    """A program that draws the initial weights of all members."""
    # It runs once in a fit: optimised, it takes seconds to compile and saves milliseconds.
    on_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(jax.vmap(network.init), compiler_options=options)
