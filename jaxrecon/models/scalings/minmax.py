"""Min-max scaling: each feature from 0 to 1, as Fung et al. (arXiv 2207.13227) scale."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.scalings.base import Scaling
from jaxrecon.pytrees import register_dataclass

CONSTANT = 10.0 * np.finfo(np.float64).eps
"""Range of a feature below which it counts as constant, as in scikit-learn."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class MinMax(Scaling):
    """Each feature scaled from 0 to 1 over the training examples; a constant feature becomes 0.

    Values outside that range are clipped to it: where a feature hardly varies, one validation
    example can be a million ranges away and would alone decide which epoch is the best.

    Attributes:
        low: smallest value of each feature.
        width: range of each feature; 1 for a constant one.
    """

    low: Float[np.ndarray | Array, " p"]
    width: Float[np.ndarray | Array, " p"]

    @classmethod
    def fit(cls, fingerprint: Fingerprint, fingerprints: Float[np.ndarray, "n p"]) -> "MinMax":
        """Fit the scaling to training examples; it makes no use of what the features are.

        Args:
            fingerprint: parameters of the fingerprints.
            fingerprints: one row per training example, without a unit.

        Returns:
            The fitted scaling.
        """
        width = np.ptp(fingerprints, axis=0)
        return cls(fingerprints.min(axis=0), np.where(width < CONSTANT, 1.0, width))

    @classmethod
    def restore(cls, arrays: dict[str, Any], fingerprint: Fingerprint) -> "MinMax":
        """Make a fitted scaling from the arrays that were saved.

        Args:
            arrays: the fields by name.
            fingerprint: parameters of the fingerprints.

        Returns:
            The scaling that was saved.
        """
        return cls(**arrays)

    @property
    def size(self) -> int:
        """Number of scaled numbers: as many as features."""
        return len(self.low)

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " p"]:
        """Scale one fingerprint.

        Args:
            fingerprint: numbers without a unit.

        Returns:
            Numbers between 0 and 1.
        """
        dtype = fingerprint.dtype
        scaled = (fingerprint - jnp.asarray(self.low, dtype)) / jnp.asarray(self.width, dtype)
        return jnp.clip(scaled, 0.0, 1.0)

    def backward(self, scaled: Float[Array, " p"]) -> Float[Array, " p"]:
        """Undo the scaling.

        Args:
            scaled: any scaled numbers.

        Returns:
            A fingerprint that may be impossible: a maximum can be smaller than the minimum.
        """
        dtype = scaled.dtype
        return jnp.asarray(self.low, dtype) + scaled * jnp.asarray(self.width, dtype)
