"""Predictors: what a property is, and how sure that is, from a fingerprint."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float

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
