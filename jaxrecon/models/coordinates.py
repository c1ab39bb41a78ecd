r"""Coordinates of a fingerprint: any vector of coordinates stands for a possible fingerprint.

Many numbers of a fingerprint can't be negative: pooled values of features that are never negative,
and even central moments. Such a number R has the coordinate

.. math:: u = \sqrt{R + \epsilon} - \sqrt\epsilon, \qquad R = u^2 + 2 u \sqrt\epsilon,

and a negative u counts as 0 on the way back. Like a square root, this spreads small numbers apart,
but its slope is finite at 0. A maximum is never below the minimum: where both are pooled, R is the
difference of the two in the coordinate of the maximum.

Scalar products, as in a power spectrum, form matrices that have no negative eigenvalues, and means
and sums of such matrices have none either. Their coordinates are the entries of the matrix that has
the same eigenvectors and the root above of each eigenvalue; see :mod:`jaxrecon.models.roots`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.feature import Feature
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.layout import PooledFeature
from jaxrecon.models.roots import root, root_of, square_of, squared

MIN_WIDTH = 1e-5
"""Coordinates with a smaller standard deviation than this (no unit) count as constant."""

EVEN = ("moment2", "moment4")
"""Poolings that are never negative, whatever the features are."""

SIGNED = ("moment3",)
"""Poolings that can be negative even where the features can't."""

ADDING = ("mean", "sum")
"""Poolings of which positive semidefinite matrices stay so."""


class Matrix(NamedTuple):
    """Numbers of a fingerprint that together form a positive semidefinite matrix.

    Attributes:
        number: index in the fingerprint of each number that is an entry of the matrix.
        place: where it stands among the entries of the matrix, row by row.
        scale: what the entry is multiplied by to give the number.
        source: for each entry, one of the indices above that holds it, row by row.
    """

    number: tuple[int, ...]
    place: tuple[int, ...]
    scale: tuple[float, ...]
    source: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of rows."""
        return round(len(self.source) ** 0.5)

    def of(self, numbers: Float[Array, " p"]) -> Float[Array, "n n"]:
        """The matrix, from the numbers of a fingerprint or from their coordinates."""
        entries = numbers[np.array(self.number)] / jnp.asarray(self.scale, numbers.dtype)
        matrix = entries[np.array(self.source)].reshape(self.size, self.size)
        # A program may list both of two equal entries.
        return (matrix + matrix.T) / 2.0

    def put(self, numbers: Float[Array, " p"], matrix: Float[Array, "n n"]) -> Float[Array, " p"]:
        """The numbers with those of the matrix in their places."""
        entries = matrix.ravel()[np.array(self.place)] * jnp.asarray(self.scale, numbers.dtype)
        return numbers.at[np.array(self.number)].set(entries)


@dataclass(frozen=True)
class Coordinates:
    """The map between fingerprints and their coordinates; hashable, so static under ``jit``.

    Attributes:
        rooted: for each number, whether its coordinate is the root above; otherwise it is the
            number itself.
        above: for each number, the index of the minimum that is subtracted first; -1 for none.
        matrices: numbers whose coordinates are the entries of the root of a matrix.

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
    matrices: tuple[Matrix, ...] = ()

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
        matrices = tuple(_matrices(features, numbers))
        inside = {index for matrix in matrices for index in matrix.number}
        rooted = tuple(
            number.pooling in EVEN
            or lowest >= 0
            or (
                number.pooling not in SIGNED
                and features[number.feature].nonnegative
                and index not in inside
            )
            for index, (number, lowest) in enumerate(zip(numbers, above, strict=True))
        )
        return cls(rooted, above, matrices)

    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " p"]:
        """Compute the coordinates of a fingerprint.

        Args:
            fingerprint: numbers without a unit; impossible ones are moved to the nearest possible.

        Returns:
            The coordinates, without a unit.
        """
        rooted, above = np.array(self.rooted), np.array(self.above)
        lowest = jnp.where(above >= 0, fingerprint[above], 0.0)
        roots = root_of(jnp.where(rooted, fingerprint - lowest, 0.0))
        coordinates = jnp.where(rooted, roots, fingerprint)
        for matrix in self.matrices:
            coordinates = matrix.put(coordinates, root(matrix.of(fingerprint)))
        return coordinates

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
            A fingerprint in which no such number is negative, no maximum below its minimum, and no
            matrix has a negative eigenvalue.
        """
        rooted, above = np.array(self.rooted), np.array(self.above)
        numbers = jnp.where(rooted, square_of(coordinates), coordinates)
        for matrix in self.matrices:
            numbers = matrix.put(numbers, squared(matrix.of(coordinates)))
        return numbers + jnp.where(above >= 0, numbers[above], 0.0)


def _matrices(features: Sequence[Feature], numbers: Sequence[PooledFeature]) -> Iterator[Matrix]:
    """The matrices whose entries are all among the numbers."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, number in enumerate(numbers):
        gram = features[number.feature].gram
        if gram is not None and number.pooling in ADDING:
            groups.setdefault((number.pooling, number.center, gram.matrix), []).append(index)
    for members in groups.values():
        entries = [features[numbers[index].feature].gram for index in members]
        known = [entry for entry in entries if entry is not None]
        order = sorted({at for entry in known for at in (entry.row, entry.column)})
        size, place_of = len(order), {at: i for i, at in enumerate(order)}
        source = np.full((size, size), -1)
        # Where only one of two equal entries is listed it stands for both.
        pairs = [(place_of[entry.row], place_of[entry.column]) for entry in known]
        for position, (row, column) in enumerate(pairs):
            source[row, column] = position
        source = np.where(source < 0, source.T, source)
        if (source < 0).any():
            continue
        yield Matrix(
            number=tuple(members),
            place=tuple(row * size + column for row, column in pairs),
            scale=tuple(entry.scale for entry in known),
            source=tuple(source.ravel().tolist()),
        )
