"""First-order descent: Adam for a fixed number of steps, one ``lax.scan``."""

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
    """Minimise a loss over positions by Adam, its learning rate falling to 5 % along a cosine.

    One gradient evaluation a step; ``steps = 0`` returns the positions as they are.

    Source: Kingma and Ba, arXiv 1412.6980, as optax implements it.

    Args:
        loss: scalar function of the positions.
        positions: start, in Angstrom.
        steps: how many updates.
        learning_rate: first step length, in Angstrom.

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
        updates, state = optimizer.update(jax.grad(loss)(positions), state)
        return (optax.apply_updates(positions, updates), state), None

    (positions, _), _ = jax.lax.scan(step, (positions, optimizer.init(positions)), length=steps)
    return positions
