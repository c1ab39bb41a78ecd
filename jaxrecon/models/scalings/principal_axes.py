"""Principal axes: uncorrelated numbers that always stand for a possible fingerprint."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.coordinates import MIN_WIDTH, Coordinates
from jaxrecon.models.scalings.base import Scaling
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass

MIN_VARIANCE = 1e-3
"""Axes with a smaller variance than this, in units of the largest one, are dropped."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class PrincipalAxes(Scaling):
    """Principal components of the standardised coordinates of a fingerprint.

    The coordinates (:mod:`jaxrecon.models.coordinates`) are standardised and rotated to their
    principal axes. Constant coordinates and axes with little variance are dropped: the way back
    gives them the mean of the training examples. All axes are divided by the same unit and keep
    their proportions. Scaled to the same variance each, the many axes that hardly vary would be
    most of what a network learns.

    Attributes:
        coordinates: map between fingerprints and coordinates.
        centre: mean of each coordinate over the training examples.
        width: standard deviation of each coordinate; 0 for a constant one.
        axes: principal axes of the standardised coordinates, one per row.
        unit: root mean square of the training examples along an axis.
    """

    coordinates: Coordinates = field(metadata={"static": True})
    centre: Float[np.ndarray | Array, " p"]
    width: Float[np.ndarray | Array, " p"]
    axes: Float[np.ndarray | Array, "k p"]
    unit: Float[np.ndarray | Array, ""]

    @classmethod
    def fit(
        cls, fingerprint: Fingerprint, fingerprints: Float[np.ndarray, "n p"]
    ) -> "PrincipalAxes":
        """Fit the scaling to training examples.

        Args:
            fingerprint: parameters of the fingerprints.
            fingerprints: one row per training example, without a unit.

        Returns:
            The fitted scaling.

        Raises:
            ValueError: if all examples have the same fingerprint.
        """
        coordinates = Coordinates.of(fingerprint)
        # Standardise the coordinates. A constant one becomes 0.
        values = coordinates.forward_many(fingerprints)
        centre, width = values.mean(axis=0), values.std(axis=0)
        varies = width > MIN_WIDTH
        if not varies.any():
            raise ValueError(
                f"expected fingerprints that differ, got the same for all {len(fingerprints)} "
                "training examples"
            )
        width = np.where(varies, width, 0.0)
        standardised = (values - centre) / np.where(varies, width, np.inf)
        # The right singular vectors are the principal axes, in descending order of variance.
        _, singular, axes = np.linalg.svd(standardised, full_matrices=False)
        variances = singular**2 / len(fingerprints)
        retained = variances > MIN_VARIANCE * variances[0]
        unit = np.sqrt(variances[retained].mean())
        return cls(coordinates, centre, width, axes[retained], np.asarray(unit))

    @classmethod
    def restore(cls, arrays: dict[str, Any], fingerprint: Fingerprint) -> "PrincipalAxes":
        """Make a fitted scaling from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name.
            fingerprint: parameters of the fingerprints.

        Returns:
            The scaling that was saved.
        """
        return cls(coordinates=Coordinates.of(fingerprint), **arrays)

    @property
    def size(self) -> int:
        """Number of scaled numbers: as many as axes."""
        return len(self.axes)

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " k"]:
        """Project one fingerprint on the axes.

        Args:
            fingerprint: numbers without a unit.

        Returns:
            The components along the axes.
        """
        centre, width, axes, unit = self._arrays(fingerprint)
        varies = width > 0
        difference = self.coordinates.forward(fingerprint) - centre
        standardised = jnp.where(varies, difference / jnp.where(varies, width, 1.0), 0.0)
        return product(axes, standardised) / unit

    def backward(self, scaled: Float[Array, " k"]) -> Float[Array, " p"]:
        """Undo the scaling.

        Args:
            scaled: any components along the axes.

        Returns:
            A possible fingerprint, as far as :mod:`jaxrecon.models.coordinates` ensures it.
        """
        centre, width, axes, unit = self._arrays(scaled)
        standardised = product(unit * scaled, axes)
        return self.coordinates.backward(centre + width * standardised)

    def _arrays(self, like: Float[Array, " q"]) -> tuple[Array, Array, Array, Array]:
        """The arrays in the precision of another one."""
        centre, width, axes, unit = (
            jnp.asarray(array, like.dtype)
            for array in (self.centre, self.width, self.axes, self.unit)
        )
        return centre, width, axes, unit
