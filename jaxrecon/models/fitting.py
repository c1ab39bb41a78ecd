"""Fitting of networks: whole epochs run on the device, and an interrupted fit continues."""

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
from jaxrecon.models.examples import Examples
from jaxrecon.runtime.progress import ProgressFn

CHUNK = 50
"""Number of epochs between two reports and checkpoints."""

MIN_VALIDATION_LOSSES = 256
"""Smallest number of losses in the validation loss of an epoch.

Fewer validation examples are repeated, each time with another random key."""

Loss = Callable[[Any, PRNGKeyArray, Any], Float[Array, ""]]
"""Loss as a function of the weights, a random key and one example."""


@runtime_checkable
class Network(Protocol):
    """A network that can be fitted: hashable, with its weights in a separate tree of arrays."""

    def init(self, key: PRNGKeyArray) -> Any:
        """Draw initial weights."""
        ...

    def loss(self, weights: Any, key: PRNGKeyArray, item: Any) -> Float[Array, ""]:
        """Compute the loss of one example; its mean is minimised."""
        ...


class State(NamedTuple):
    """State of a fit of m members; all arrays but ``epoch`` have a first axis of length m.

    Attributes:
        epoch: number of epochs done.
        weights: current weights.
        moments: state of Adam.
        best: weights of the epoch with the least validation loss so far.
        best_epoch: index of that epoch; -1 before the first.
        losses: training and validation loss of each epoch; infinite for epochs to come.
    """

    epoch: Int[Array, ""]
    weights: Any
    moments: Any
    best: Any
    best_epoch: Int[Array, " m"]
    losses: Float[Array, "m epochs 2"]


class Rate(NamedTuple):
    """The learning rate of Adam.

    Attributes:
        start: learning rate of the first step.
        steps: number of steps in which it falls to 0, along half a cosine; None if it stays.
    """

    start: float
    steps: int | None

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with this learning rate."""
        if self.steps is None:
            return optax.adam(self.start)
        return optax.adam(optax.cosine_decay_schedule(self.start, self.steps))


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
    its examples, not on the other members. A last batch that is not full counts by its size.

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
    steps = config.epochs * math.ceil(training.shape[1] / batch)
    rate = Rate(config.learning_rate, steps if decay else None)
    weights = _initial(network, keys) if start is None else start
    state = State(
        epoch=jnp.zeros((), int),
        weights=weights,
        moments=jax.vmap(rate.optimiser.init)(weights),
        best=weights,
        # Explicit types: a weak type would make the first chunk another program than the rest.
        best_epoch=jnp.full(members, -1, int),
        losses=jnp.full((members, config.epochs, 2), jnp.inf, float),
    )
    # Continue from the latest checkpoint.
    if folder is not None:
        saved = checkpoints.latest(folder, state)
        state = state if saved is None else State(*jax.tree.map(jnp.asarray, saved))
    blocks = _validation_blocks(validation, max(batch, MIN_VALIDATION_LOSSES))
    indices = jnp.asarray(training), jnp.asarray(blocks)
    done = int(state.epoch)
    report(done, 0)
    # Each chunk is one call of one compiled program.
    while done < config.epochs:
        until = min(done + (chunk or CHUNK), config.epochs)
        state = _advance(network, rate, batch, state, until, keys, items, *indices)
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


def _validation_blocks(validation: Int[np.ndarray, "m v"], size: int) -> Int[np.ndarray, "m k b"]:
    """Cut the validation examples of each member, few ones several times, into padded blocks."""
    members = [row[row >= 0] for row in validation]
    members = [np.tile(own, max(1, MIN_VALIDATION_LOSSES // max(1, len(own)))) for own in members]
    blocks = np.full((len(members), math.ceil(max(1, *map(len, members)) / size), size), -1)
    for row, own in zip(blocks.reshape(len(members), -1), members, strict=True):
        row[: len(own)] = own
    return blocks


def _initial(network: Network, keys: Key[Array, " m"]) -> Any:
    """Draw the initial weights of all members."""
    # A program that runs once: optimised, it takes seconds to compile and saves milliseconds.
    on_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(jax.vmap(network.init), compiler_options=options)(keys)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _advance(
    network: Network,
    rate: Rate,
    batch: int,
    state: State,
    until: Int[Array, ""],
    keys: Key[Array, " m"],
    items: Any,
    training: Int[Array, "m t"],
    validation: Int[Array, "m k b"],
) -> State:
    """Run all members until a number of epochs is done."""
    loss, optimiser = network.loss, rate.optimiser

    def member_epoch(
        key: PRNGKeyArray,
        weights: Any,
        moments: Any,
        train: Int[Array, " t"],
        validate: Int[Array, "k b"],
        epoch: Int[Array, ""],
    ) -> tuple[Any, Any, Float[Array, " 2"]]:
        training_key, validation_key = jax.random.split(key)
        # One pass over the shuffled training examples.
        step = partial(_step, loss, optimiser, items)
        batches = _batches(jax.random.fold_in(training_key, epoch), train, batch)
        (weights, moments), (losses, counts) = jax.lax.scan(step, (weights, moments), batches)
        count = jnp.maximum(counts.sum(), 1).astype(losses.dtype)
        counts = counts.astype(losses.dtype)
        # The validation loss has the same draws in all epochs. With others, the least loss would
        # be that of lucky draws instead of that of the best weights.
        drawn = jax.random.split(validation_key, validate.size).reshape(validate.shape)
        # Block after block, as a step is: all examples at once may not fit into the memory.
        sums = jax.lax.map(lambda part: _summed_loss(loss, items, *part, weights), (validate, drawn))
        validated = sums.sum() / jnp.maximum((validate >= 0).sum(), 1).astype(sums.dtype)
        return weights, moments, jnp.stack([(losses * counts).sum() / count, validated])

    def epoch(state: State) -> State:
        weights, moments, losses = jax.vmap(member_epoch, (0, 0, 0, 0, 0, None))(
            keys, state.weights, state.moments, training, validation, state.epoch
        )
        # Remember the weights of members whose validation loss is the least so far.
        before = jnp.nanmin(state.losses[:, :, 1], axis=1)
        better = losses[:, 1] < before

        def select(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return State(
            epoch=state.epoch + 1,
            weights=weights,
            moments=moments,
            best=jax.tree.map(select, weights, state.best),
            best_epoch=jnp.where(better, state.epoch, state.best_epoch),
            losses=state.losses.at[:, state.epoch].set(losses),
        )

    return jax.lax.while_loop(lambda state: state.epoch < until, epoch, state)


def _batches(
    key: PRNGKeyArray, indices: Int[Array, " t"], batch: int
) -> tuple[Int[Array, "s b"], Key[Array, " s"]]:
    """Shuffle the examples into batches, padding last, with a random key for each batch."""
    order_key, batch_key = jax.random.split(key)
    places = jnp.where(indices >= 0, jax.random.uniform(order_key, indices.shape), jnp.inf)
    steps = math.ceil(len(indices) / batch)
    shuffled = jnp.pad(
        indices[jnp.argsort(places)], (0, steps * batch - len(indices)), constant_values=-1
    )
    return shuffled.reshape(steps, batch), jax.random.split(batch_key, steps)


def _step(
    loss: Loss,
    optimiser: Any,
    items: Any,
    carry: tuple[Any, Any],
    batch: tuple[Int[Array, " b"], PRNGKeyArray],
) -> tuple[tuple[Any, Any], tuple[Float[Array, ""], Int[Array, ""]]]:
    """Take one step of Adam on one batch."""
    weights, moments = carry
    indices, key = batch
    count, keys = (indices >= 0).sum(), jax.random.split(key, len(indices))

    def mean(weights: Any) -> Float[Array, ""]:
        total = _summed_loss(loss, items, indices, keys, weights)
        return total / jnp.maximum(count, 1).astype(total.dtype)

    value, gradient = jax.value_and_grad(mean)(weights)
    # optax mixes types of numbers, which a user may have forbidden.
    with jax.numpy_dtype_promotion("standard"):
        updates, new_moments = optimiser.update(gradient, moments, weights)
    new_weights = optax.apply_updates(weights, updates)
    # A batch of padding alone has no gradient, but Adam's momentum would still move the weights.
    carry = jax.tree.map(partial(jnp.where, count > 0), (new_weights, new_moments), carry)
    return carry, (value, count)


def _summed_loss(
    loss: Loss, items: Any, indices: Int[Array, " b"], keys: Key[Array, " b"], weights: Any
) -> Float[Array, ""]:
    """Compute the sum of the losses of some examples, without padding."""
    selected = jax.tree.map(lambda array: array[indices], items)
    losses = jax.vmap(loss, (None, 0, 0))(weights, keys, selected)
    return jnp.sum(jnp.where(indices >= 0, losses, 0.0))
