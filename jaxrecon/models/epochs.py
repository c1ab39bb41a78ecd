"""Epochs of several fits at once, in one compiled program: Adam, and the best weights so far."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

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


@partial(jax.jit, static_argnums=(0, 1, 2))
def advance(
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
    """Run all members until a number of epochs is done.

    Args:
        network: network to fit.
        rate: learning rate.
        batch: number of examples in a batch.
        state: where to begin.
        until: this number of epochs.
        keys: a random key for each member.
        items: tree of arrays; the first axis is that of the examples.
        training: indices of each member's training examples; -1 for padding.
        validation: indices of its validation examples in k blocks of b, each of which is computed
            at once; -1 for padding, which comes last.

    Returns:
        The state after these epochs.
    """
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
