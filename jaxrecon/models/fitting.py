"""Training: whole epochs on the device, the best of them kept, to be gone on with after any end."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxrecon.models import checkpoints
from jaxrecon.models.config import FitConfig
from jaxrecon.runtime.progress import ProgressFn

CHUNK = 50
"""Epochs between two reports and checkpoints."""

JUDGED = 256
"""Losses by which an epoch is judged at least: of few rows each counts several times."""

Loss = Callable[[Any, PRNGKeyArray, Any], Float[Array, ""]]
"""Of weights, random numbers and one item."""


@runtime_checkable
class Network(Protocol):
    """What can be fitted: hashable, its weights a tree of arrays."""

    def init(self, key: PRNGKeyArray) -> Any:
        """First weights."""
        ...

    def loss(self, weights: Any, key: PRNGKeyArray, item: Any) -> Float[Array, ""]:
        """Of one item, to be small in the mean."""
        ...


class State(NamedTuple):
    """Where the training of all members stands; the first axis of all but ``epoch`` is theirs.

    Attributes:
        epoch: epochs that are done.
        weights: as they are.
        moments: of Adam.
        best: weights of the best epoch by validation loss.
        best_epoch: which that is; -1 for none.
        losses: of each epoch, in training and in validation; infinite to come.
    """

    epoch: Int[Array, ""]
    weights: Any
    moments: Any
    best: Any
    best_epoch: Int[Array, " m"]
    losses: Float[Array, "m epochs 2"]


@dataclass(frozen=True, eq=False)
class Fit:
    """What training has led to.

    Attributes:
        weights: of each member, at its best epoch by validation loss.
        epochs: that epoch of each.
        losses: mean loss of each epoch, in training and in validation.
    """

    weights: Any
    epochs: Int[np.ndarray, " m"]
    losses: Float[np.ndarray, "m epochs 2"]


def fit(
    network: Network,
    items: Any,
    training: Int[np.ndarray, "m t"],
    validation: Int[np.ndarray, "m v"],
    config: FitConfig,
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    report: ProgressFn = lambda epochs, rows: None,
) -> Fit:
    """Fit some networks at once: all members of an ensemble, or several seeds, splits or sizes.

    Adam on shuffled batches; what a member gets depends on the seed, its number and its rows.
    A batch at the end that is not full counts as what it has.

    Args:
        network: to be fitted.
        items: a tree of arrays, the first axis that of the rows.
        training: numbers of the rows that each member is fitted to; -1 for none.
        validation: numbers of the rows that each of its epochs is judged by; -1 for none.
        config: epochs, batch and learning rate.
        seed: of the first weights, the order of rows and what the loss draws.
        folder: where checkpoints are kept, and those of before are gone on from: of the same call.
        report: called between chunks of epochs with the epochs and rows done since its last call.

    Raises:
        ValueError: if the validation loss of a member was never finite, or the folder has
            checkpoints of something else.
        OSError: if a checkpoint can't be written.
    """
    members = len(training)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(members))
    rate, batch = config.learning_rate, min(config.batch, training.shape[1])
    weights = jax.jit(jax.vmap(network.init))(keys)
    state = State(
        epoch=jnp.zeros((), int),
        weights=weights,
        moments=jax.vmap(optax.adam(rate).init)(weights),
        best=weights,
        # With types of their own: weak ones would be another program than what comes back.
        best_epoch=jnp.full(members, -1, int),
        losses=jnp.full((members, config.epochs, 2), jnp.inf, float),
    )
    if folder is not None:
        kept = checkpoints.latest(folder, state)
        state = state if kept is None else State(*jax.tree.map(jnp.asarray, kept))
    rows = jnp.asarray(training), jnp.asarray(validation)
    done = int(state.epoch)
    report(done, 0)
    while done < config.epochs:
        until = min(done + CHUNK, config.epochs)
        state = _advance(network, rate, batch, state, until, keys, items, *rows)
        if folder is not None:
            checkpoints.save(folder, until, state)
        # Not before it is computed, which the conversion waits for.
        done, since = int(state.epoch), done
        report(done - since, (done - since) * int((training >= 0).sum()))
    if np.any(lost := np.asarray(state.best_epoch) < 0):
        raise ValueError(
            f"expected validation losses that are finite, got none of member {np.argmax(lost)}"
        )
    return Fit(state.best, np.asarray(state.best_epoch), np.asarray(state.losses))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(
    network: Network,
    rate: float,
    batch: int,
    state: State,
    until: Int[Array, ""],
    keys: Key[Array, " m"],
    items: Any,
    training: Int[Array, "m t"],
    validation: Int[Array, "m v"],
) -> State:
    """All members, up to some epoch."""
    loss, optimiser = network.loss, optax.adam(rate)

    def one(
        key: PRNGKeyArray,
        weights: Any,
        moments: Any,
        train: Int[Array, " t"],
        judge: Int[Array, " v"],
        epoch: Int[Array, ""],
    ) -> tuple[Any, Any, Float[Array, " 2"]]:
        # The same draws in all epochs: only then is the least loss that of the best weights.
        drawn, judging = jax.random.split(key)
        step = partial(_step, loss, optimiser, items)
        batches = _batches(jax.random.fold_in(drawn, epoch), train, batch)
        (weights, moments), (losses, counts) = jax.lax.scan(step, (weights, moments), batches)
        count = jnp.maximum(counts.sum(), 1)
        often = jnp.tile(judge, max(1, JUDGED // len(judge)))
        judged = _mean_loss(loss, items, often, judging, weights)
        return weights, moments, jnp.stack([(losses * counts).sum() / count, judged])

    def epoch(state: State) -> State:
        weights, moments, losses = jax.vmap(one, (0, 0, 0, 0, 0, None))(
            keys, state.weights, state.moments, training, validation, state.epoch
        )
        before = jnp.nanmin(state.losses[:, :, 1], axis=1)
        better = losses[:, 1] < before

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return State(
            epoch=state.epoch + 1,
            weights=weights,
            moments=moments,
            best=jax.tree.map(chosen, weights, state.best),
            best_epoch=jnp.where(better, state.epoch, state.best_epoch),
            losses=state.losses.at[:, state.epoch].set(losses),
        )

    return jax.lax.while_loop(lambda state: state.epoch < until, epoch, state)


def _batches(
    key: PRNGKeyArray, rows: Int[Array, " t"], batch: int
) -> tuple[Int[Array, "s b"], Key[Array, " s"]]:
    """Rows in random order, those that are none last, and random numbers for each batch."""
    one, other = jax.random.split(key)
    places = jnp.where(rows >= 0, jax.random.uniform(one, rows.shape), jnp.inf)
    steps = math.ceil(len(rows) / batch)
    shuffled = jnp.pad(
        rows[jnp.argsort(places)], (0, steps * batch - len(rows)), constant_values=-1
    )
    return shuffled.reshape(steps, batch), jax.random.split(other, steps)


def _step(
    loss: Loss,
    optimiser: Any,
    items: Any,
    carry: tuple[Any, Any],
    some: tuple[Int[Array, " b"], PRNGKeyArray],
) -> tuple[tuple[Any, Any], tuple[Float[Array, ""], Int[Array, ""]]]:
    weights, moments = carry
    rows, key = some
    count = (rows >= 0).sum()
    value, gradient = jax.value_and_grad(partial(_mean_loss, loss, items, rows, key))(weights)
    updates, later = optimiser.update(gradient, moments, weights)
    moved = optax.apply_updates(weights, updates)
    # Adam would move on without any row.
    carry = jax.tree.map(partial(jnp.where, count > 0), (moved, later), carry)
    return carry, (value, count)


def _mean_loss(
    loss: Loss, items: Any, rows: Int[Array, " b"], key: PRNGKeyArray, weights: Any
) -> Float[Array, ""]:
    some = jax.tree.map(lambda array: array[rows], items)
    losses = jax.vmap(loss, (None, 0, 0))(weights, jax.random.split(key, len(rows)), some)
    there = rows >= 0
    return jnp.sum(jnp.where(there, losses, 0.0)) / jnp.maximum(there.sum(), 1)
