"""Perceptrons: dense layers with an activation between them, as functions of their weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": nnx.elu,
    "relu": nnx.relu,
    "celu": nnx.celu,
    "sigmoid": nnx.sigmoid,
    "identity": nnx.identity,
}
"""Activation functions by name; with ``"identity"`` all layers together are linear."""


class Perceptron(nnx.Module):
    """Dense layers with an activation between them.

    Args:
        sizes: number of units of the input, of each hidden layer and of the output.
        activation: a key of :data:`ACTIVATIONS`.
        bias: whether layers add a constant.
        rngs: random numbers for the initial weights.
    """

    def __init__(
        self, sizes: Sequence[int], activation: str, *, bias: bool = True, rngs: nnx.Rngs
    ) -> None:
        self.activation = activation
        # Accelerators would round float32 factors to 10 bits otherwise.
        full = jax.lax.Precision.HIGHEST
        layers = [
            nnx.Linear(*ends, use_bias=bias, precision=full, rngs=rngs) for ends in pairwise(sizes)
        ]
        self.layers = nnx.List(layers)

    def __call__(
        self, inputs: Float[Array, " i"], dropout: float = 0.0, key: PRNGKeyArray | None = None
    ) -> Float[Array, " o"]:
        """Compute the output for one input, with dropout if there is a key."""
        return self.layers[-1](self.hidden(inputs, dropout, key))

    def hidden(
        self, inputs: Float[Array, " i"], dropout: float = 0.0, key: PRNGKeyArray | None = None
    ) -> Float[Array, " h"]:
        """Compute the values of the last hidden layer, as the call does."""
        for number, layer in enumerate(self.layers[:-1]):
            inputs = ACTIVATIONS[self.activation](layer(inputs))
            if dropout and key is not None:
                present = jax.random.bernoulli(
                    jax.random.fold_in(key, number), 1.0 - dropout, inputs.shape
                )
                inputs = jnp.where(present, inputs / (1.0 - dropout), 0.0)
        return inputs


@dataclass(frozen=True)
class Architecture:
    """A :class:`Perceptron` without its weights; hashable, so static under ``jit``.

    Attributes:
        sizes: number of units of the input, of each hidden layer and of the output.
        activation: a key of :data:`ACTIVATIONS`.
        dropout: fraction of the hidden units that are left out where a key is given.
        bias: whether layers add a constant.
    """

    sizes: tuple[int, ...]
    activation: str = "elu"
    dropout: float = 0.0
    bias: bool = True

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights.

        Args:
            key: random key.

        Returns:
            The weights as nested dictionaries of arrays.
        """
        network = Perceptron(self.sizes, self.activation, bias=self.bias, rngs=nnx.Rngs(key))
        return nnx.to_pure_dict(nnx.state(network))

    def __call__(
        self, weights: dict[str, Any], inputs: Float[Array, " i"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " o"]:
        """Compute the output for one input.

        Args:
            weights: weights as from :meth:`init`.
            inputs: numbers without a unit.
            key: random key for dropout; None for no dropout.

        Returns:
            The output of the last layer.
        """
        weights = jax.tree.map(lambda array: jnp.asarray(array, inputs.dtype), weights)
        return nnx.merge(_skeleton(self), weights)(inputs, self.dropout, key)

    def hidden(self, weights: dict[str, Any], inputs: Float[Array, " i"]) -> Float[Array, " h"]:
        """Compute the values of the last hidden layer for one input.

        Args:
            weights: weights as from :meth:`init`.
            inputs: numbers without a unit.

        Returns:
            The values, which the last layer multiplies.
        """
        weights = jax.tree.map(lambda array: jnp.asarray(array, inputs.dtype), weights)
        return nnx.merge(_skeleton(self), weights).hidden(inputs)


@lru_cache
def _skeleton(architecture: Architecture) -> Any:
    """Return the graph of a perceptron without arrays, which never changes."""

    def network() -> Perceptron:
        return Perceptron(
            architecture.sizes, architecture.activation, bias=architecture.bias, rngs=nnx.Rngs(0)
        )

    return nnx.graphdef(nnx.eval_shape(network))
