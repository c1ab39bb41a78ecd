r"""Coordinates of a fingerprint in which every vector stands for numbers that are possible.

Symmetry functions but G3 are sums of terms that are never negative, so their extremes, means, sums
and smooth extremes are not, and nor are even central moments; and a largest value is not below the
smallest. A number R that can't be negative becomes

.. math:: u = \sqrt{R + \epsilon} - \sqrt\epsilon, \qquad R = u^2 + 2 u \sqrt\epsilon,

with u taken as 0 where it is below: like a square root, which draws small numbers apart, but with
a slope that is finite at 0. Where both extremes of a feature are pooled, the coordinate of the
largest is that of its distance from the smallest.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint

EPSILON = 1e-6
"""Of a feature, without a unit: below it coordinates are linear."""

EVEN = ("moment2", "moment4")
SIGNED = ("moment3",)


@dataclass(frozen=True)
class Coordinates:
    """The map between fingerprints and such coordinates: hashable, static under ``jit``.

    Attributes:
        rooted: by feature, whether its coordinate is a root, of the feature or of a distance.
        above: by feature, index of the smallest value from which the distance is taken; -1 for
            none.

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
        """The coordinates that belong to what is pooled, and of which functions."""
        features, numbers = fingerprint.descriptor.features, fingerprint.numbers
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
        """The coordinates of a fingerprint, without a unit."""
        rooted, above = np.array(self.rooted), np.array(self.above)
        lowest = jnp.where(above >= 0, fingerprint[above], 0.0)
        distance = jnp.maximum(jnp.where(rooted, fingerprint - lowest, 0.0), 0.0)
        # The same as the difference of the roots, with all digits where the distance is small.
        root = distance / (jnp.sqrt(distance + EPSILON) + EPSILON**0.5)
        return jnp.where(rooted, root, fingerprint)

    def backward(self, coordinates: Float[Array, " p"]) -> Float[Array, " p"]:
        """The fingerprint of any coordinates: a possible one, as far as is said above."""
        rooted, above = np.array(self.rooted), np.array(self.above)
        root = jnp.maximum(coordinates, 0.0)
        numbers = jnp.where(rooted, root * (root + 2.0 * EPSILON**0.5), coordinates)
        return numbers + jnp.where(above >= 0, numbers[above], 0.0)
