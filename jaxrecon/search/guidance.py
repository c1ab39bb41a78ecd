r"""Guidance: a search that wants properties, not (only) a fingerprint.

.. math:: \min_x\ \sum_k h_k(\mu_k(R(x)))^2 + \sum_k (t\,\sigma_k(R(x)))^2
          + \frac{s^2}{P} \sum_p \left(\frac{R_p(x) - R^*_p}{w_p}\right)^2

Predictors give a property :math:`\mu_k` and the standard deviation :math:`\sigma_k` of its error at
the fingerprint of a structure that is really there, so that the fingerprint is always a possible
one; h is how far the property is outside the wanted range. The search for a fingerprint of Fung et
al., arXiv 2207.13227, has the last sum alone, and nothing couples it to the property.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Prediction = tuple[Float[Array, ""], Float[Array, ""]]
"""A property and the standard deviation of its error, both in the property's unit."""


@runtime_checkable
class Predictor(Protocol):
    """A pytree that is a pure function of one fingerprint: ``jit``, ``vmap`` and ``grad`` take it.

    Its arrays may be NumPy's in float64; it computes in the precision of the fingerprint.
    """

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """What is told of the structure that has this fingerprint."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Guidance:
    """What is wanted of a structure besides its fingerprint; all energies in the property's unit.

    Attributes:
        predictors: of the properties.
        low: what each property is at least; minus infinity for anything.
        high: what it is at most; infinity for anything.
        trust: t, how many standard deviations count as much as a miss: keeps to what is known.
        pull: s, the miss that a fingerprint counts as that is off by one width in each number; 0
            where there is no target.
        widths: w, what differences of the fingerprint are measured in; infinite for what is not.
        columns: of the whole fingerprint, those that the search computes; None for all.
    """

    predictors: tuple[Predictor, ...]
    low: Float[np.ndarray | Array, " k"]
    high: Float[np.ndarray | Array, " k"]
    trust: Float[np.ndarray | Array, ""]
    pull: Float[np.ndarray | Array, ""]
    widths: Float[np.ndarray | Array, " p"]
    columns: Int[np.ndarray | Array, " q"] | None = field(default=None)

    @classmethod
    def towards(
        cls,
        predictors: Predictor | Sequence[Predictor],
        wanted: float | tuple[float, float] | Sequence[tuple[float, float]],
        *,
        widths: Float[np.ndarray, " p"],
        trust: float = 1.0,
        pull: float = 0.0,
    ) -> "Guidance":
        """Guidance to a value or a range of one property, or to ranges of several.

        Args:
            predictors: one, or one a property.
            wanted: a number that one property is to be; or from where to where it may be, with
                infinities for at least and at most; or such a range for each property.
            widths: typical differences of fingerprints; what has 0 is not looked at. Numbers that
                hardly differ drown all others: see
                :func:`jaxrecon.inverse_design.generated.widths_of`.
            trust: how many standard deviations of the prediction count as much as a miss.
            pull: the miss that a fingerprint off by one width counts as.

        Raises:
            ValueError: if a range is none, a number is out of range or lengths differ.
        """
        several = tuple(predictors) if isinstance(predictors, Sequence) else (predictors,)
        ranges = np.asarray(wanted, np.float64)
        if ranges.ndim == 0:
            ranges = np.array([[ranges, ranges]])
        ranges = ranges.reshape(-1, 2) if ranges.size % 2 == 0 else np.full((0, 2), np.nan)
        if len(ranges) != len(several):
            raise ValueError(
                f"expected a range for each of {len(several)} properties, got {wanted}"
            )
        if np.isnan(ranges).any() or (ranges[:, 0] > ranges[:, 1]).any():
            raise ValueError(f"expected ranges from low to high, got {wanted}")
        for name, value in (("trust", trust), ("pull", pull)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"expected {name} >= 0, got {value}")
        widths = np.asarray(widths, np.float64)
        return cls(
            predictors=several,
            low=ranges[:, 0],
            high=ranges[:, 1],
            trust=np.asarray(trust, np.float64),
            pull=np.asarray(pull, np.float64),
            widths=np.where(widths > 0.0, widths, np.inf),
        )

    def told(self, fingerprint: Float[Array, " q"]) -> Float[Array, " m"]:
        """How far each property is outside, and the deviations times their trust.

        Args:
            fingerprint: R(x), the numbers that the search computes.
        """
        dtype, columns = fingerprint.dtype, self.columns
        if columns is not None:
            whole = jnp.zeros(len(self.widths), dtype)
            fingerprint = whole.at[jnp.asarray(columns)].set(fingerprint)
        told = [predictor(fingerprint) for predictor in self.predictors]
        means, deviations = (jnp.stack(each) for each in zip(*told, strict=True))
        high, low = jnp.asarray(self.high, dtype), jnp.asarray(self.low, dtype)
        outside = jnp.maximum(means - high, 0.0) - jnp.maximum(low - means, 0.0)
        return jnp.concatenate([outside, jnp.asarray(self.trust, dtype) * deviations])

    def scales(self, dtype: jnp.dtype) -> Float[Array, " q"]:
        """What differences from the target are multiplied by."""
        widths = jnp.asarray(self.widths, dtype)
        scales = jnp.asarray(self.pull, dtype) / (widths * len(widths) ** 0.5)
        return scales if self.columns is None else scales[jnp.asarray(self.columns)]

    def objective(
        self, fingerprint: Float[Array, " q"], target: Float[Array, " q"]
    ) -> Float[Array, ""]:
        """The root of the sum of squares, in the property's unit."""
        off = self.scales(fingerprint.dtype) * (fingerprint - target)
        return jnp.sqrt(jnp.sum(self.told(fingerprint) ** 2) + jnp.sum(off**2))
