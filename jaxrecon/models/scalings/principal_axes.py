"""Scalings: fingerprints as networks like them, numbers of one size, and back."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.coordinates import Coordinates

DEAD = 1e-5
"""Standard deviation of a coordinate below which it says nothing."""

FLAT = 1e-3
"""Variance along an axis, in units of the largest, below which it is left out."""


@runtime_checkable
class Scaling(Protocol):
    """A pytree that maps one fingerprint; it computes in the precision of what it is given."""

    @property
    def size(self) -> int:
        """How many scaled numbers there are."""
        ...

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " k"]:
        """Scaled numbers of a fingerprint."""
        ...

    def backward(self, scaled: Float[Array, " k"]) -> Float[Array, " p"]:
        """The fingerprint of scaled numbers."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class MinMax:
    """Every feature from 0 to 1 over the training rows, as Fung et al. scale; constant ones to 0.

    What other rows have beyond that counts as its end: where a feature hardly varies, one of them
    may be a million ranges away, and would alone decide which epoch is the best.

    Attributes:
        low: smallest value of each feature.
        width: its range; 1 if it is constant.
    """

    low: Float[np.ndarray | Array, " p"]
    width: Float[np.ndarray | Array, " p"]

    @classmethod
    def fit(cls, fingerprint: Fingerprint, rows: Float[np.ndarray, "n p"]) -> "MinMax":
        """The scaling of training rows, whatever their features are."""
        width = np.ptp(rows, axis=0)
        constant = width < 10.0 * np.finfo(np.float64).eps
        return cls(rows.min(axis=0), np.where(constant, 1.0, width))

    @property
    def size(self) -> int:
        """As many as features."""
        return len(self.low)

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " p"]:
        """From the features."""
        dtype = fingerprint.dtype
        scaled = (fingerprint - jnp.asarray(self.low, dtype)) / jnp.asarray(self.width, dtype)
        return jnp.clip(scaled, 0.0, 1.0)

    def backward(self, scaled: Float[Array, " p"]) -> Float[Array, " p"]:
        """To features that may be impossible: nothing keeps largest above smallest values."""
        dtype = scaled.dtype
        return jnp.asarray(self.low, dtype) + scaled * jnp.asarray(self.width, dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    r"""Uncorrelated numbers of one unit, from coordinates.

    Coordinates (:mod:`jaxrecon.models.coordinates`) are standardised, dead ones left out, and
    turned to their principal axes; those along which little varies are left out. On the way back
    what was left out is as in the mean of the training rows. Axes keep their proportions: stretched
    to the same variance, the many that hardly vary would be most of what a network learns.

    Attributes:
        coordinates: of the fingerprint.
        centre: mean of each coordinate in the training rows.
        width: its standard deviation; 0 for a dead one.
        axes: principal axes of the standardised coordinates, one a row.
        unit: root mean square of the training rows along an axis.
    """

    coordinates: Coordinates = field(metadata={"static": True})
    centre: Float[np.ndarray | Array, " p"]
    width: Float[np.ndarray | Array, " p"]
    axes: Float[np.ndarray | Array, "k p"]
    unit: Float[np.ndarray | Array, ""]

    @classmethod
    def fit(cls, fingerprint: Fingerprint, rows: Float[np.ndarray, "n p"]) -> "PrincipalAxes":
        """The scaling of training rows.

        Raises:
            ValueError: if they are all the same.
        """
        coordinates = Coordinates.of(fingerprint)
        with jax.enable_x64(True):
            values = np.asarray(jax.vmap(coordinates.forward)(jnp.asarray(rows, jnp.float64)))
        centre, width = values.mean(axis=0), values.std(axis=0)
        alive = width > DEAD
        if not alive.any():
            raise ValueError("expected fingerprints that differ, got the same in all rows")
        width = np.where(alive, width, 0.0)
        standardised = (values - centre) / np.where(alive, width, np.inf)
        _, singular, axes = np.linalg.svd(standardised, full_matrices=False)
        variances = singular**2 / len(rows)
        kept = variances > FLAT * variances[0]
        unit = np.sqrt(variances[kept].mean())
        return cls(coordinates, centre, width, axes[kept], np.asarray(unit))

    @property
    def size(self) -> int:
        """As many as axes."""
        return len(self.axes)

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " k"]:
        """Along the axes."""
        centre, width, axes, unit = self._arrays(fingerprint)
        alive = width > 0
        difference = self.coordinates.forward(fingerprint) - centre
        standardised = jnp.where(alive, difference / jnp.where(alive, width, 1.0), 0.0)
        return jnp.matmul(axes, standardised, precision=Precision.HIGHEST) / unit

    def backward(self, scaled: Float[Array, " k"]) -> Float[Array, " p"]:
        """To a fingerprint that is possible, whatever the scaled numbers are."""
        centre, width, axes, unit = self._arrays(scaled)
        standardised = jnp.matmul(unit * scaled, axes, precision=Precision.HIGHEST)
        return self.coordinates.backward(centre + width * standardised)

    def _arrays(self, like: Float[Array, " q"]) -> tuple[Array, Array, Array, Array]:
        centre, width, axes, unit = (
            jnp.asarray(each, like.dtype)
            for each in (self.centre, self.width, self.axes, self.unit)
        )
        return centre, width, axes, unit


SCALINGS: dict[str, type[MinMax] | type[PrincipalAxes]] = {
    "minmax": MinMax,
    "principal": PrincipalAxes,
}
