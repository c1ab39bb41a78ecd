r"""A generator of crystals on top of the codes of their images.

As in Noh et al., Matter 1, 1370 (2019), the codes of the cell and of all elements are the channels
of one sequence, which a variational autoencoder makes from a latent vector z. It is fitted by
minimising the mean squared error of a number, with the Kullback-Leibler divergence of the latent
distribution from the standard normal one and the cross entropy of a classifier,

.. math:: \langle (c - \hat c)^2 \rangle + 10^{-6} D_{KL} + 5 \cdot 10^{-7} H,

which says from z whether the formation energy of the crystal is at most 0.5 eV/atom.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

DIVERGENCE, CLASSIFICATION = 1e-6, 5e-7
"""Weights of the divergence and of the cross entropy in the loss."""

KERNEL, STRIDE, TIMES = 4, 2, 3
"""Kernel, stride and number of the convolutions along the sequence."""

SLOPE = 0.2
"""Slope of the activation for negative numbers."""

FULL = jax.lax.Precision.HIGHEST
"""Precision of products: accelerators would round float32 factors to 10 bits otherwise."""


@dataclass(frozen=True)
class MaterialsNetwork:
    """The autoencoder of codes and its classifier without weights; hashable.

    Attributes:
        channels: number of channels of the sequence: one for the cell and one for each element.
        length: its length, a multiple of 8.
        latent: number of dimensions of the latent space.
        width: number of channels of the convolutions.
        inner: number of channels of the shortest sequence.
        hidden: number of units of the classifier.

    Raises:
        ValueError: if the length is no multiple of 8.
    """

    channels: int
    length: int = 200
    latent: int = 500
    width: int = 100
    inner: int = 50
    hidden: int = 500

    def __post_init__(self) -> None:
        if self.length % STRIDE**TIMES or self.length <= 0:
            raise ValueError(
                f"expected basis_code to be a multiple of {STRIDE**TIMES}, got {self.length}"
            )

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights.

        Args:
            key: random key.

        Returns:
            The weights as nested dictionaries of arrays.
        """
        return nnx.to_pure_dict(nnx.state(_Layers(self, rngs=nnx.Rngs(key))))

    def encode(
        self, weights: dict[str, Any], sequences: Float[Array, "batch length channels"]
    ) -> tuple[Float[Array, "batch z"], Float[Array, "batch z"]]:
        """Compute the distributions of latent vectors.

        Args:
            weights: weights as from :meth:`init`.
            sequences: sequences of codes.

        Returns:
            Means and logarithms of variances.
        """
        return self._with(weights).encode(sequences)

    def decode(
        self, weights: dict[str, Any], latent: Float[Array, "batch z"]
    ) -> Float[Array, "batch length channels"]:
        """Compute the sequences of latent vectors.

        Args:
            weights: weights as from :meth:`init`.
            latent: latent vectors.

        Returns:
            Sequences of codes, from -1 to 1.
        """
        return self._with(weights).decode(latent)

    def classify(
        self, weights: dict[str, Any], latent: Float[Array, "batch z"]
    ) -> Float[Array, " batch"]:
        """Compute the logits of the classifier: above 0, a crystal is more likely stable.

        Args:
            weights: weights as from :meth:`init`.
            latent: latent vectors.

        Returns:
            Logarithms of odds.
        """
        return self._with(weights).classify(latent)

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, "length channels"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Compute the loss of one example, the equation of the module.

        Args:
            weights: weights as from :meth:`init`.
            key: random key of the latent vector.
            item: the sequence of a crystal, and 1 if it is stable, 0 if it is not, -1 where this is
                unknown.

        Returns:
            The loss.
        """
        sequence, stable = item
        mean, log_variance = self.encode(weights, sequence[None])
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        latent = mean + jnp.exp(log_variance / 2.0) * noise
        error = jnp.mean((self.decode(weights, latent)[0] - sequence) ** 2)
        divergence = -0.5 * jnp.sum(1.0 + log_variance - mean**2 - jnp.exp(log_variance))
        logit = self.classify(weights, latent)[0]
        entropy = jnp.where(stable < 0.0, 0.0, jnp.logaddexp(0.0, logit) - stable * logit)
        return error + DIVERGENCE * divergence + CLASSIFICATION * entropy

    def _with(self, weights: dict[str, Any]) -> Any:
        """All layers with these weights."""
        return nnx.merge(_skeleton(self), weights)


class _Layers(nnx.Module):
    """All layers of the generator and its classifier."""

    def __init__(self, network: MaterialsNetwork, *, rngs: nnx.Rngs) -> None:
        one = network
        self.short = one.length // STRIDE**TIMES
        linear = partial(nnx.Linear, precision=FULL, rngs=rngs)
        common: dict[str, Any] = {"padding": "SAME", "precision": FULL, "rngs": rngs}
        kernel, stride = (KERNEL,), (STRIDE,)
        ends = [one.channels, *[one.width] * TIMES]
        self.down = nnx.List(
            [nnx.Conv(end, one.width, kernel, strides=stride, **common) for end in ends[:-1]]
        )
        self.narrow = nnx.Conv(one.width, one.inner, (1,), **common)
        self.inner = linear(self.short * one.inner, 2 * one.latent)
        self.outer = linear(one.latent, self.short * one.inner)
        self.widen = nnx.Conv(one.inner, one.width, (1,), **common)
        self.up = nnx.List(
            [
                nnx.ConvTranspose(one.width, end, kernel, strides=stride, **common)
                for end in reversed(ends[:-1])
            ]
        )
        self.seen, self.said = linear(one.latent, one.hidden), linear(one.hidden, 1)

    def encode(self, values: Array) -> tuple[Array, Array]:
        """Means and logarithms of variances."""
        for layer in (*self.down, self.narrow):
            values = nnx.leaky_relu(layer(values), SLOPE)
        mean, log_variance = jnp.split(self.inner(values.reshape(len(values), -1)), 2, axis=1)
        return mean, log_variance

    def decode(self, latent: Array) -> Array:
        """Sequences from -1 to 1."""
        values = nnx.leaky_relu(self.outer(latent), SLOPE)
        values = self.widen(values.reshape(len(latent), self.short, -1))
        for layer in self.up:
            values = layer(nnx.leaky_relu(values, SLOPE))
        return jnp.tanh(values)

    def classify(self, latent: Array) -> Array:
        """Logits."""
        return self.said(jnp.tanh(self.seen(latent)))[:, 0]


@lru_cache
def _skeleton(network: MaterialsNetwork) -> Any:
    """The graph of the layers without arrays, which never changes."""
    return nnx.graphdef(nnx.eval_shape(lambda: _Layers(network, rngs=nnx.Rngs(0))))
