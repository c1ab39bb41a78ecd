"""First-order descent: a fixed number of steps of Adam."""

from collections.abc import Callable

import jax
import optax
from jaxtyping import Array, Float


def adam(
    loss: Callable[[Float[Array, "n 3"]], Float[Array, ""]],
    positions: Float[Array, "n 3"],
    *,
    steps: int,
    learning_rate: float,
) -> Float[Array, "n 3"]:
    """Minimise a loss over positions with Adam.

    The learning rate falls along a cosine to 5 % of its first value. Each step evaluates the
    gradient once. Source: Kingma and Ba, arXiv 1412.6980, as implemented by optax.

    Args:
        loss: scalar function of the positions.
        positions: start, in Angstrom.
        steps: number of updates; 0 returns the start.
        learning_rate: learning rate of the first step, in Angstrom: about how far a coordinate
            moves in it.

    Returns:
        The positions after the last step, in Angstrom.

    >>> import jax.numpy as jnp
    >>> far = jnp.full((1, 3), 2.0)
    >>> bool(abs(adam(lambda x: (x**2).sum(), far, steps=200, learning_rate=0.1)).max() < 0.1)
    True
    """
    if steps == 0:
        return positions
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps, alpha=0.05))

    def step(
        carry: tuple[Array, optax.OptState], _: None
    ) -> tuple[tuple[Array, optax.OptState], None]:
        positions, state = carry
        gradient = jax.grad(loss)(positions)
        # optax mixes types of numbers, which a user may have forbidden.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(positions, updates), state), None

    (positions, _), _ = jax.lax.scan(step, (positions, optimizer.init(positions)), length=steps)
    return positions
