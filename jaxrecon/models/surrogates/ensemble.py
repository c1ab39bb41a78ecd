"""Networks: multilayer perceptrons, and an ensemble of them that predicts a property."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.models.config import TrainConfig
from jaxrecon.models.scalings.principal_axes import Scaling
from jaxrecon.numerics import safe_norm

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"elu": nnx.elu, "relu": nnx.relu}


class Perceptron(nnx.Module):
    """Dense layers with an activation between them.

    Args:
        sizes: units of the input, of each hidden layer and of the output.
        activation: one of :data:`ACTIVATIONS`.
        rngs: of the first weights.
    """

    def __init__(self, sizes: Sequence[int], activation: str, *, rngs: nnx.Rngs) -> None:
        self.activation = activation
        self.layers = nnx.List([nnx.Linear(*ends, rngs=rngs) for ends in pairwise(sizes)])

    def __call__(self, inputs: Float[Array, " i"]) -> Float[Array, " o"]:
        """The output for one input."""
        for layer in self.layers[:-1]:
            inputs = ACTIVATIONS[self.activation](layer(inputs))
        return self.layers[-1](inputs)


@dataclass(frozen=True)
class Architecture:
    """What a :class:`Perceptron` is but for its weights: hashable, static under ``jit``.

    Attributes:
        sizes: units of the input, of each hidden layer and of the output.
        activation: one of :data:`ACTIVATIONS`.
    """

    sizes: tuple[int, ...]
    activation: str = "elu"

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """First weights, as a tree of arrays."""
        network = Perceptron(self.sizes, self.activation, rngs=nnx.Rngs(key))
        return nnx.to_pure_dict(nnx.state(network))

    def __call__(self, weights: dict[str, Any], inputs: Float[Array, " i"]) -> Float[Array, " o"]:
        """The output for one input."""
        return nnx.merge(_skeleton(self), weights)(inputs)


@dataclass(frozen=True)
class Regressor:
    """A perceptron that tells a standardised property: hashable, static under ``jit``.

    Attributes:
        network: of a scaled fingerprint.
    """

    network: Architecture

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """First weights."""
        return self.network.init(key)

    def __call__(self, weights: dict[str, Any], scaled: Float[Array, " k"]) -> Float[Array, ""]:
        """The property of a scaled fingerprint."""
        return self.network(weights, scaled)[0]

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, " k"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Squared error for a scaled fingerprint and its standardised property."""
        scaled, value = item
        return (self(weights, scaled) - value) ** 2


def regressor_of(config: TrainConfig, size: int) -> Regressor:
    """The one that the settings ask for, of fingerprints of some scaled size."""
    fit = config.surrogate_fit
    return Regressor(Architecture((size, *[fit.hidden] * fit.layers, 1), "relu"))


@lru_cache
def _skeleton(architecture: Architecture) -> Any:
    def network() -> Perceptron:
        return Perceptron(architecture.sizes, architecture.activation, rngs=nnx.Rngs(0))

    return nnx.graphdef(nnx.eval_shape(network))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Ensemble:
    """Perceptrons that differ in their first weights: a predictor of one property.

    Attributes:
        network: of each.
        weights: of all, the first axis that of members.
        scaling: of fingerprints.
        centre: mean of the property in the training rows, in its unit.
        width: its standard deviation.
    """

    network: Regressor = field(metadata={"static": True})
    weights: dict[str, Any]
    scaling: Scaling
    centre: Float[np.ndarray | Array, ""]
    width: Float[np.ndarray | Array, ""]

    def __call__(
        self, fingerprint: Float[Array, " p"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The property, and the standard deviation among members: 0 of one alone."""
        dtype = fingerprint.dtype
        scaled = self.scaling.forward(fingerprint)
        said = jax.vmap(self.network, (0, None))(self.weights, scaled)
        spread = safe_norm(said - said.mean()) / len(said) ** 0.5
        centre, width = jnp.asarray(self.centre, dtype), jnp.asarray(self.width, dtype)
        return centre + width * said.mean(), width * spread
