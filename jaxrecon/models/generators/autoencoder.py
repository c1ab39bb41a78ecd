r"""Conditional variational autoencoder: a generator of fingerprints with a wanted property.

As in Fung et al. (arXiv 2207.13227), an encoder maps a scaled fingerprint f and the property y to
the mean :math:`\mu` and the variance :math:`\sigma^2` of a latent vector z, and a decoder maps z
and y back to f. Both are fitted by minimising

.. math:: |f - \hat f|^2 - \tfrac{\beta}{2} \sum_i (1 + \ln \sigma_i^2 - \mu_i^2 - \sigma_i^2),

with z drawn from that distribution (Kingma and Welling, arXiv 1312.6114; Sohn et al., NeurIPS
2015). A new fingerprint is decoded from a z drawn from the standard normal distribution. As in the
published program, the number of units decreases evenly from ``hidden`` to the size of the latent
space.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.examples import Examples
from jaxrecon.models.fitting import fit_members
from jaxrecon.models.generators.base import Generator
from jaxrecon.models.perceptron import Architecture
from jaxrecon.models.registry import SCALINGS
from jaxrecon.models.scalings.base import Scaling
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn


@dataclass(frozen=True)
class Autoencoder:
    """Encoder and decoder without their weights; hashable, so static under ``jit``.

    Attributes:
        encoder: from a scaled fingerprint and the property to the mean and the logarithm of the
            variance of the latent vector.
        decoder: from a latent vector and the property to a scaled fingerprint.
        beta: weight of the Kullback-Leibler divergence.
    """

    encoder: Architecture
    decoder: Architecture
    beta: float

    @classmethod
    def of(cls, config: TrainConfig, size: int) -> "Autoencoder":
        """Choose the layers from the settings.

        Args:
            config: settings of the model.
            size: number of scaled numbers of a fingerprint.

        Returns:
            The autoencoder without weights.
        """
        fit, latent = config.generator_fit, config.latent
        # The property is one more input of both networks.
        down = np.linspace(fit.hidden, latent, fit.layers + 1).astype(int)[:-1].tolist()
        up = np.linspace(latent + 1, fit.hidden, fit.layers + 1).astype(int)[1:].tolist()
        return cls(
            encoder=Architecture((size + 1, *down, 2 * latent)),
            decoder=Architecture((latent + 1, *up, size)),
            beta=config.beta,
        )

    @property
    def latent(self) -> int:
        """Number of dimensions of the latent space."""
        return self.encoder.sizes[-1] // 2

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights of both networks."""
        encoder_key, decoder_key = jax.random.split(key)
        return {
            "encoder": self.encoder.init(encoder_key),
            "decoder": self.decoder.init(decoder_key),
        }

    def encode(
        self, weights: dict[str, Any], scaled: Float[Array, " k"], value: Float[Array, ""]
    ) -> tuple[Float[Array, " z"], Float[Array, " z"]]:
        """Compute the distribution of the latent vector.

        Args:
            weights: weights as from :meth:`init`.
            scaled: scaled fingerprint.
            value: standardised property.

        Returns:
            Mean and logarithm of the variance.
        """
        output = self.encoder(weights["encoder"], jnp.append(scaled, value))
        return output[: self.latent], output[self.latent :]

    def decode(
        self, weights: dict[str, Any], latent: Float[Array, " z"], value: Float[Array, ""]
    ) -> Float[Array, " k"]:
        """Compute the scaled fingerprint of a latent vector.

        Args:
            weights: weights as from :meth:`init`.
            latent: latent vector.
            value: standardised property.

        Returns:
            The scaled fingerprint.
        """
        return self.decoder(weights["decoder"], jnp.append(latent, value))

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, " k"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Compute the loss of one example.

        Args:
            weights: weights as from :meth:`init`.
            key: random key of the latent vector.
            item: scaled fingerprint and standardised property.

        Returns:
            Squared error plus weighted divergence.
        """
        scaled, value = item
        mean, log_variance = self.encode(weights, scaled, value)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        decoded = self.decode(weights, mean + jnp.exp(log_variance / 2.0) * noise, value)
        divergence = -0.5 * jnp.sum(1.0 + log_variance - mean**2 - jnp.exp(log_variance))
        return jnp.sum((scaled - decoded) ** 2) + self.beta * divergence

    def draw(
        self, weights: dict[str, Any], key: PRNGKeyArray, value: Float[Array, ""]
    ) -> Float[Array, " k"]:
        """Draw a scaled fingerprint.

        Args:
            weights: weights as from :meth:`init`.
            key: random key.
            value: standardised property.

        Returns:
            The scaled fingerprint.
        """
        return self.decode(weights, jax.random.normal(key, (self.latent,), value.dtype), value)


@register_dataclass
@dataclass(frozen=True, eq=False)
class AutoencoderGenerator(Generator):
    """A fitted conditional autoencoder with the scaling of its input and output.

    Attributes:
        network: encoder and decoder without their weights.
        weights: weights of both.
        scaling: scaling of the fingerprints.
        centre: mean of the property over the training examples, in its unit.
        width: standard deviation of the property over the training examples, in its unit.
    """

    network: Autoencoder = field(metadata={"static": True})
    weights: dict[str, Any]
    scaling: Scaling
    centre: Float[np.ndarray | Array, ""]
    width: Float[np.ndarray | Array, ""]

    @classmethod
    def fit(
        cls,
        examples: Examples,
        config: TrainConfig,
        *,
        folder: str | os.PathLike[str] | None = None,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "AutoencoderGenerator":
        """Fit the autoencoder to the training examples.

        Args:
            examples: data to fit to; the epoch with the least validation loss is chosen.
            config: settings; ``generator_fit``, ``latent``, ``beta`` and ``seed`` are used.
            folder: folder of its own for checkpoints; None for none.
            report: called with the epochs and training examples done since the last call.

        Returns:
            The fitted generator.

        Raises:
            ValueError: if the loss is never finite, or the folder belongs to another fit.
        """
        network = Autoencoder.of(config, examples.scaling.size)
        weights = fit_members(
            network, examples, config.generator_fit, seed=config.seed, folder=folder, report=report
        )
        return cls(
            network=network,
            weights=jax.tree.map(lambda array: array[0], weights),
            scaling=examples.scaling,
            centre=np.asarray(examples.centre),
            width=np.asarray(examples.width),
        )

    def sample(self, key: PRNGKeyArray, value: Float[Array, ""]) -> Float[Array, " p"]:
        """Draw one fingerprint.

        Args:
            key: random key.
            value: wanted value of the property, in its unit.

        Returns:
            A fingerprint without a unit.
        """
        centre = jnp.asarray(self.centre, value.dtype)
        width = jnp.asarray(self.width, value.dtype)
        return self.scaling.backward(self.network.draw(self.weights, key, (value - centre) / width))

    @classmethod
    def restore(
        cls, arrays: dict[str, Any], fingerprint: Fingerprint, config: TrainConfig
    ) -> "AutoencoderGenerator":
        """Make a fitted generator from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name.
            fingerprint: parameters of the fingerprints.
            config: settings that it was fitted with.

        Returns:
            The generator that was saved.
        """
        scaling = SCALINGS[config.scaling].restore(arrays["scaling"], fingerprint)
        return cls(Autoencoder.of(config, scaling.size), **{**arrays, "scaling": scaling})

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """Number of epochs that :meth:`fit` reports.

        Args:
            config: settings of the fit.
        """
        return config.generator_fit.epochs
