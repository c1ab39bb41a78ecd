r"""Conditional flow matching: fingerprints carried along by a velocity that has been learned.

Between noise :math:`z_0` and a scaled fingerprint :math:`z_1` lie straight paths
:math:`z_t = (1 - t) z_0 + t z_1`. A network of :math:`z_t`, the time t and the property y is fitted
to their velocities by

.. math:: |v(z_t, t, y) - (z_1 - z_0)|^2,

which makes it the velocity of a flow that turns the normal distribution into that of the
fingerprints (Lipman et al., arXiv 2210.02747). Heun's method follows it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.models.config import TrainConfig
from jaxrecon.models.network import Architecture

STEPS = 32
"""Of Heun's method, from noise to fingerprint."""

WAVES = 4
"""Sines and cosines that tell the network the time."""


@dataclass(frozen=True)
class Velocity:
    """The velocity but for its weights: hashable, static under ``jit``.

    Attributes:
        network: of place, time and property.
    """

    network: Architecture

    @classmethod
    def of(cls, config: TrainConfig, size: int) -> "Velocity":
        """That of fingerprints of some scaled size."""
        fit = config.generator_fit
        inputs = size + 2 * WAVES + 1
        return cls(Architecture((inputs, *[fit.hidden] * fit.layers, size)))

    @property
    def size(self) -> int:
        """Scaled numbers of a fingerprint."""
        return self.network.sizes[-1]

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """First weights."""
        return self.network.init(key)

    def __call__(
        self,
        weights: dict[str, Any],
        place: Float[Array, " k"],
        time: Float[Array, ""],
        value: Float[Array, ""],
    ) -> Float[Array, " k"]:
        """The velocity at a place and a time, for a standardised property."""
        angles = np.pi * jnp.arange(1, WAVES + 1) * time
        inputs = [place, jnp.sin(angles), jnp.cos(angles), value[None]]
        return self.network(weights, jnp.concatenate(inputs))

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, " k"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Of a scaled fingerprint and its standardised property."""
        end, value = item
        one, other = jax.random.split(key)
        start = jax.random.normal(one, end.shape, end.dtype)
        time = jax.random.uniform(other, (), end.dtype)
        velocity = self(weights, (1.0 - time) * start + time * end, time, value)
        return jnp.sum((velocity - (end - start)) ** 2)

    def draw(
        self, weights: dict[str, Any], key: PRNGKeyArray, value: Float[Array, ""]
    ) -> Float[Array, " k"]:
        """A scaled fingerprint for a standardised property."""
        length = 1.0 / STEPS

        def step(place: Float[Array, " k"], time: Float[Array, ""]) -> tuple[Array, None]:
            first = self(weights, place, time, value)
            second = self(weights, place + length * first, time + length, value)
            return place + length * (first + second) / 2.0, None

        start = jax.random.normal(key, (self.size,), value.dtype)
        times = length * jnp.arange(STEPS, dtype=value.dtype)
        return jax.lax.scan(step, start, times)[0]
