"""Ensemble of networks: a surrogate whose uncertainty is the spread among its members."""

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
from jaxrecon.models.perceptron import Architecture
from jaxrecon.models.registry import SCALINGS
from jaxrecon.models.scalings.base import Scaling
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.numerics import safe_norm
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.search.guidance import Prediction


@dataclass(frozen=True)
class Regressor:
    """A perceptron that predicts the standardised property; hashable, so static under ``jit``.

    Attributes:
        network: perceptron with a scaled fingerprint as input and one output.
    """

    network: Architecture

    @classmethod
    def of(cls, config: TrainConfig, size: int) -> "Regressor":
        """Choose the layers from the settings.

        Args:
            config: settings of the model.
            size: number of scaled numbers of a fingerprint.

        Returns:
            The regressor without weights.
        """
        fit = config.surrogate_fit
        return cls(Architecture((size, *[fit.hidden] * fit.layers, 1), "relu"))

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights."""
        return self.network.init(key)

    def __call__(self, weights: dict[str, Any], scaled: Float[Array, " k"]) -> Float[Array, ""]:
        """Predict the standardised property of a scaled fingerprint.

        Args:
            weights: weights as from :meth:`init`.
            scaled: scaled fingerprint.

        Returns:
            The standardised property.
        """
        return self.network(weights, scaled)[0]

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, " k"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Compute the loss of one example.

        Args:
            weights: weights as from :meth:`init`.
            key: random key, which is not used.
            item: scaled fingerprint and standardised property.

        Returns:
            The squared error.
        """
        scaled, value = item
        return (self(weights, scaled) - value) ** 2


@register_dataclass
@dataclass(frozen=True, eq=False)
class Ensemble(Surrogate):
    """Fitted perceptrons that differ in their initial weights and the order of their batches.

    Attributes:
        network: the perceptron without its weights.
        weights: weights of all members, stacked along the first axis.
        scaling: scaling of the fingerprints.
        centre: mean of the property over the training examples, in its unit.
        width: standard deviation of the property over the training examples, in its unit.
    """

    network: Regressor = field(metadata={"static": True})
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
    ) -> "Ensemble":
        """Fit all members to the training examples.

        Args:
            examples: data to fit to; the epoch of each member with its least validation loss is
                chosen.
            config: settings; ``surrogate_fit``, ``members`` and ``seed`` are used.
            folder: folder of its own for checkpoints; None for none.
            report: called with the epochs and training examples done since the last call.

        Returns:
            The fitted ensemble.

        Raises:
            ValueError: if the loss of a member is never finite, or the folder belongs to another
                fit.
        """
        network = Regressor.of(config, examples.scaling.size)
        weights = fit_members(
            network,
            examples,
            config.surrogate_fit,
            members=config.members,
            seed=config.seed,
            folder=folder,
            report=report,
        )
        return cls(
            network=network,
            weights=weights,
            scaling=examples.scaling,
            centre=np.asarray(examples.centre),
            width=np.asarray(examples.width),
        )

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """Predict the property.

        Args:
            fingerprint: numbers without a unit.

        Returns:
            Mean and standard deviation of the members' predictions, in the unit of the property;
            the deviation of a single member is 0.
        """
        dtype = fingerprint.dtype
        scaled = self.scaling.forward(fingerprint)
        predictions = jax.vmap(self.network, (0, None))(self.weights, scaled)
        mean = predictions.mean()
        # The norm instead of the standard deviation: its gradient is finite where members agree.
        spread = safe_norm(predictions - mean) / len(predictions) ** 0.5
        centre, width = jnp.asarray(self.centre, dtype), jnp.asarray(self.width, dtype)
        return centre + width * mean, width * spread

    @classmethod
    def restore(
        cls, arrays: dict[str, Any], fingerprint: Fingerprint, config: TrainConfig
    ) -> "Ensemble":
        """Make a fitted ensemble from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name.
            fingerprint: parameters of the fingerprints.
            config: settings that it was fitted with.

        Returns:
            The ensemble that was saved.
        """
        scaling = SCALINGS[config.scaling].restore(arrays["scaling"], fingerprint)
        return cls(Regressor.of(config, scaling.size), **{**arrays, "scaling": scaling})

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """Number of epochs that :meth:`fit` reports.

        Args:
            config: settings of the fit.
        """
        return config.surrogate_fit.epochs
