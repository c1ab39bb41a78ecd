"""Fitting of networks: whole epochs run on the device, and an interrupted fit continues."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
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

    def __hash__(self) -> int:
        """The same for networks that are equal: they share compiled programs."""
        ...

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
        epochs: number of epochs in which it falls to 0, along half a cosine; None if it stays.
    """

    start: float
    epochs: int | None

    def optimiser(self, steps: Int[Array, ""]) -> optax.GradientTransformation:
        """Adam with this learning rate, for a number of steps in an epoch."""
        if self.epochs is None:
            return optax.adam(self.start)
        # optax's own cosine would compile the number of steps into the program.
        total = self.epochs * steps

        def falling(step: Int[Array, ""]) -> Float[Array, ""]:
            return 0.5 * self.start * (1.0 + jnp.cos(jnp.pi * jnp.minimum(step / total, 1.0)))

        return optax.adam(falling)


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
    padded = np.full((members, count), -1)
    padded[:, : training.shape[1]] = training
    blocks = _validation_blocks(validation, count, max(batch, MIN_VALIDATION_LOSSES // 4))
    indices = jnp.asarray(padded), jnp.asarray(blocks)
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
    loss = network.loss
    # Steps and blocks that are padding in all members are left out.
    own_steps = jnp.maximum(-(-(training >= 0).sum(axis=1) // batch), 1)
    steps, blocks = own_steps.max(), (validation >= 0).any(axis=(0, 2)).sum()

    def member_epoch(
        key: PRNGKeyArray,
        weights: Any,
        moments: Any,
        train: Int[Array, " t"],
        validate: Int[Array, "k b"],
        own_steps: Int[Array, ""],
        epoch: Int[Array, ""],
    ) -> tuple[Any, Any, Float[Array, " 2"]]:
        training_key, validation_key = jax.random.split(key)
        # One pass over the shuffled training examples.
        batches = _batches(jax.random.fold_in(training_key, epoch), train, batch)
        step = partial(_step, loss, rate.optimiser(own_steps), items, batches)
        none = jnp.zeros((), state.losses.dtype)
        weights, moments, total = jax.lax.fori_loop(0, steps, step, (weights, moments, none))
        # The validation loss has the same draws in all epochs. With others, the least loss would
        # be that of lucky draws instead of that of the best weights.
        drawn = jax.random.split(validation_key, validate.size).reshape(validate.shape)

        # Block after block: all examples at once may not fit into the memory.
        def add(number: Array, total: Array) -> Array:
            part = _summed_loss(loss, items, validate[number], drawn[number], weights)
            return total + part.astype(total.dtype)

        validated = jax.lax.fori_loop(0, blocks, add, none)
        return weights, moments, jnp.stack([_mean(total, train), _mean(validated, validate)])

    def epoch(state: State) -> State:
        weights, moments, losses = jax.vmap(member_epoch, (0,) * 6 + (None,))(
            keys, state.weights, state.moments, training, validation, own_steps, state.epoch
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
    batches: tuple[Int[Array, "s b"], Key[Array, " s"]],
    number: Int[Array, ""],
    carry: tuple[Any, Any, Float[Array, ""]],
) -> tuple[Any, Any, Float[Array, ""]]:
    """Take one step of Adam on one batch, and add up the losses of its examples."""
    weights, moments, total = carry
    indices = batches[0][number]
    keys = jax.random.split(batches[1][number], len(indices))

    def mean(weights: Any) -> Float[Array, ""]:
        return _mean(_summed_loss(loss, items, indices, keys, weights), indices)

    value, gradient = jax.value_and_grad(mean)(weights)
    # optax mixes types of numbers, which a user may have forbidden.
    with jax.numpy_dtype_promotion("standard"):
        updates, new_moments = optimiser.update(gradient, moments, weights)
    new_weights = optax.apply_updates(weights, updates)
    # A batch of padding alone has no gradient, but Adam's momentum would still move the weights.
    count = (indices >= 0).sum()
    changed = partial(jnp.where, count > 0)
    weights, moments = jax.tree.map(changed, (new_weights, new_moments), (weights, moments))
    return weights, moments, total + (value * count.astype(value.dtype)).astype(total.dtype)


def _summed_loss(
    loss: Loss, items: Any, indices: Int[Array, " b"], keys: Key[Array, " b"], weights: Any
) -> Float[Array, ""]:
    """Compute the sum of the losses of some examples, without padding."""
    selected = jax.tree.map(lambda array: array[indices], items)
    losses = jax.vmap(loss, (None, 0, 0))(weights, keys, selected)
    return jnp.sum(jnp.where(indices >= 0, losses, 0.0))


def _mean(total: Float[Array, ""], indices: Int[Array, " *b"]) -> Float[Array, ""]:
    """Divide a sum over examples by their number, without padding."""
    return total / jnp.maximum((indices >= 0).sum(), 1).astype(total.dtype)
