r"""Fingerprints that structures with a wanted property may have: a conditional autoencoder.

As Fung et al. have it, an encoder maps a scaled fingerprint f and the property y to mean
:math:`\mu` and variance :math:`\sigma^2` of a latent vector z, a decoder maps z and y back to f.
Both are fitted by

.. math:: |f - \hat f|^2 - \tfrac{\beta}{2} \sum_i (1 + \ln \sigma_i^2 - \mu_i^2 - \sigma_i^2),

with z drawn from that distribution (Kingma and Welling, arXiv 1312.6114; Sohn et al., NeurIPS
2015). New fingerprints are what z from a standard normal distribution is decoded to. As in the
published program the layers narrow evenly, from ``hidden`` units to those of the latent space.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.models.config import TrainConfig
from jaxrecon.models.scalings.principal_axes import Scaling
from jaxrecon.models.surrogates.ensemble import Architecture


@dataclass(frozen=True)
class Autoencoder:
    """Encoder and decoder but for their weights: hashable, static under ``jit``.

    Attributes:
        encoder: to mean and logarithm of the variance.
        decoder: from latent vector and property.
        beta: weight of the divergence.
    """

    encoder: Architecture
    decoder: Architecture
    beta: float

    @classmethod
    def of(cls, config: TrainConfig, size: int) -> "Autoencoder":
        """The two for fingerprints of some scaled size."""
        fit, latent = config.generator_fit, config.latent
        down = np.linspace(fit.hidden, latent, fit.layers + 1).astype(int)[:-1].tolist()
        up = np.linspace(latent + 1, fit.hidden, fit.layers + 1).astype(int)[1:].tolist()
        return cls(
            encoder=Architecture((size + 1, *down, 2 * latent)),
            decoder=Architecture((latent + 1, *up, size)),
            beta=config.beta,
        )

    @property
    def latent(self) -> int:
        """Dimensions of the latent space."""
        return self.encoder.sizes[-1] // 2

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """First weights."""
        one, other = jax.random.split(key)
        return {"encoder": self.encoder.init(one), "decoder": self.decoder.init(other)}

    def encode(
        self, weights: dict[str, Any], scaled: Float[Array, " k"], value: Float[Array, ""]
    ) -> tuple[Float[Array, " z"], Float[Array, " z"]]:
        """Mean and logarithm of the variance of the latent vector."""
        output = self.encoder(weights["encoder"], jnp.append(scaled, value))
        return output[: self.latent], output[self.latent :]

    def decode(
        self, weights: dict[str, Any], latent: Float[Array, " z"], value: Float[Array, ""]
    ) -> Float[Array, " k"]:
        """The scaled fingerprint of a latent vector."""
        return self.decoder(weights["decoder"], jnp.append(latent, value))

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, " k"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Of a scaled fingerprint and its standardised property."""
        scaled, value = item
        mean, logarithm = self.encode(weights, scaled, value)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        decoded = self.decode(weights, mean + jnp.exp(logarithm / 2.0) * noise, value)
        divergence = -0.5 * jnp.sum(1.0 + logarithm - mean**2 - jnp.exp(logarithm))
        return jnp.sum((scaled - decoded) ** 2) + self.beta * divergence

    def draw(
        self, weights: dict[str, Any], key: PRNGKeyArray, value: Float[Array, ""]
    ) -> Float[Array, " k"]:
        """A scaled fingerprint for a standardised property."""
        return self.decode(weights, jax.random.normal(key, (self.latent,), value.dtype), value)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Generator:
    """A fitted autoencoder and the units of what goes in and comes out: a pytree.

    Attributes:
        network: what draws scaled fingerprints.
        weights: of it.
        scaling: of fingerprints.
        centre: mean of the property in the training rows, in its unit.
        width: its standard deviation.
    """

    network: Autoencoder = field(metadata={"static": True})
    weights: dict[str, Any]
    scaling: Scaling
    centre: Float[np.ndarray | Array, ""]
    width: Float[np.ndarray | Array, ""]

    def sample(self, key: PRNGKeyArray, value: Float[Array, ""]) -> Float[Array, " p"]:
        """A fingerprint for a value of the property, in its unit."""
        centre = jnp.asarray(self.centre, value.dtype)
        width = jnp.asarray(self.width, value.dtype)
        return self.scaling.backward(self.network.draw(self.weights, key, (value - centre) / width))
