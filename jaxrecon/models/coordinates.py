r"""Coordinates of a fingerprint: any vector of coordinates stands for a possible fingerprint.

Many numbers of a fingerprint can't be negative: pooled values of features that are never negative,
and even central moments. Such a number R has the coordinate

.. math:: u = \sqrt{R + \epsilon} - \sqrt\epsilon, \qquad R = u^2 + 2 u \sqrt\epsilon,

and a negative u counts as 0 on the way back. Like a square root, this spreads small numbers apart,
but its slope is finite at 0. A maximum is never below the minimum: where both are pooled, R is the
difference of the two in the coordinate of the maximum.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint

EPSILON = 1e-6
"""Below this value of a feature (no unit) its coordinate is linear in it."""

MIN_WIDTH = 1e-5
"""Coordinates with a smaller standard deviation than this (no unit) count as constant."""

EVEN = ("moment2", "moment4")
"""Poolings that are never negative, whatever the features are."""

SIGNED = ("moment3",)
"""Poolings that can be negative even where the features can't."""


@dataclass(frozen=True)
class Coordinates:
    """The map between fingerprints and their coordinates; hashable, so static under ``jit``.

    Attributes:
        rooted: for each number, whether its coordinate is the root above; otherwise it is the
            number itself.
        above: for each number, the index of the minimum that is subtracted first; -1 for none.

    >>> import jax.numpy as jnp
    >>> fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    >>> coordinates = Coordinates.of(fingerprint)
    >>> anything = jnp.linspace(-3.0, 2.0, 380)
    >>> possible = coordinates.backward(anything)
    >>> bool((possible >= 0).all()), bool((possible[:190] >= possible[190:]).all())
    (True, True)
    """

    rooted: tuple[bool, ...]
    above: tuple[int, ...]

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> "Coordinates":
        """Derive the map from the poolings of a fingerprint and the signs of its features.

        Args:
            fingerprint: parameters of the fingerprints.

        Returns:
            The map for fingerprints with these parameters.
        """
        features, numbers = fingerprint.descriptor.features, fingerprint.features
        smallest = {number[1:]: i for i, number in enumerate(numbers) if number.pooling == "min"}
        above = tuple(
            smallest.get(number[1:], -1) if number.pooling == "max" else -1 for number in numbers
        )
        rooted = tuple(
            number.pooling in EVEN
            or lowest >= 0
            or (number.pooling not in SIGNED and features[number.feature].nonnegative)
            for number, lowest in zip(numbers, above, strict=True)
        )
        return cls(rooted, above)

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " p"]:
        """Compute the coordinates of a fingerprint.

        Args:
            fingerprint: numbers without a unit; impossible ones are moved to the nearest possible.

        Returns:
            The coordinates, without a unit.
        """
        rooted, above = np.array(self.rooted), np.array(self.above)
        lowest = jnp.where(above >= 0, fingerprint[above], 0.0)
        distance = jnp.maximum(jnp.where(rooted, fingerprint - lowest, 0.0), 0.0)
        # Equal to the difference of the roots, but without cancellation where R is small.
        root = distance / (jnp.sqrt(distance + EPSILON) + EPSILON**0.5)
        return jnp.where(rooted, root, fingerprint)

    def forward_many(self, fingerprints: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
        """Compute the coordinates of many fingerprints in float64.

        Args:
            fingerprints: one row per structure, without a unit.

        Returns:
            The coordinates, one row per structure.
        """
        with jax.enable_x64(True):
            return np.asarray(jax.vmap(self.forward)(jnp.asarray(fingerprints, jnp.float64)))

    def backward(self, coordinates: Float[Array, " p"]) -> Float[Array, " p"]:
        """Compute the fingerprint of any coordinates.

        Args:
            coordinates: any numbers; negative ones count as 0 where the coordinate is a root.

        Returns:
            A fingerprint in which no such number is negative and no maximum below its minimum.
        """
        rooted, above = np.array(self.rooted), np.array(self.above)
        root = jnp.maximum(coordinates, 0.0)
        numbers = jnp.where(rooted, root * (root + 2.0 * EPSILON**0.5), coordinates)
        return numbers + jnp.where(above >= 0, numbers[above], 0.0)
