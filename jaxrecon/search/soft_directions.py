r"""Soft directions: how far a structure may move where the first order says little or nothing.

A displacement d = t v along a unit vector v with the slope s changes the numbers by
:math:`s t + \tfrac12 t^2 k`, where k is the part of the second derivative H[v, v] that no firm
displacement makes up for. Within a residual r, t reaches as far as
:math:`|s t - \tfrac12 |k| t^2| \le r` allows; where s = 0, as in symmetric structures, that is
:math:`\sqrt{2 r / |k|}`. The second derivatives along all combinations of the soft directions
follow from the Jacobians on both sides along each of them.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.search.unknowns import Unknowns, largest

Jacobians = Callable[[Sequence[Atoms]], Sequence[Float[np.ndarray, "q y 3"]]]
"""Function of structures of the same atoms, of their derivatives by positions and strain."""

STEP = 1e-3
"""Displacement of an atom in Angstrom for second derivatives by differences."""

ROUND_OFF = 1e-14
"""Smallest difference of two numbers in float64, as a part of the length of all numbers."""

FLAT = 1e-6
"""Curvatures below this part of the whole curvature along the same direction count as zero."""

MOST_SOFT = 12
"""Largest number of soft directions, the softest ones, of which all combinations are looked at."""

MIXED, KEPT, ROUNDS = 256, 16, 12
"""Combinations that are tried at once, the best of them that are moved on, and how often."""


class Softest(NamedTuple):
    """The combination of soft directions along which a structure may move farthest.

    Attributes:
        reach: how far an atom may move along it, in Angstrom; infinite if nothing holds it.
        slope: change of the numbers to first order along it, in 1/Angstrom.
        curvature: change to second order that nothing makes up for, in 1/Angstrom^2.
        width: largest displacement of an atom along a step of 1.
    """

    reach: float
    slope: float
    curvature: float
    width: float


def softest(
    unknowns: Unknowns,
    motions: Float[np.ndarray, "k x 3"],
    singular: Float[np.ndarray, " k"],
    firm: Float[np.ndarray, "q f"],
    jacobians: Jacobians,
    *,
    size: float,
    scale: float,
) -> Softest:
    """Find how far a structure may move along soft directions.

    Args:
        unknowns: the unknowns of the structure.
        motions: the soft directions, orthonormal, the softest last.
        singular: singular value of each, in 1/Angstrom.
        firm: an orthonormal basis of the changes of the numbers by all other directions.
        jacobians: function to evaluate displaced structures with.
        size: change of the numbers that a displacement may leave, without a unit.
        scale: largest singular value, or length of all numbers.
    """
    motions, singular = motions[-MOST_SOFT:], singular[-MOST_SOFT:]
    count = len(motions)
    bent, error = second_derivatives(unknowns, motions, jacobians, scale)
    # The derivative along a combination w is the sum over pairs of w_a w_b H[a, b], each pair
    # counted twice. Lengths of these sums follow from the products of all pairs.
    first, second = np.triu_indices(count)
    pairs = bent[first, second]
    own = pairs - pairs @ firm @ firm.T
    gram, whole = own @ own.T, pairs @ pairs.T

    def curvatures(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
        parts = weights[:, first] * weights[:, second] * np.where(first == second, 1.0, 2.0)
        lengths, totals = (
            np.sqrt(np.maximum(((parts @ g) * parts).sum(1), 0)) for g in (gram, whole)
        )
        return np.where(lengths <= np.maximum(FLAT * totals, error), 0.0, lengths)

    def slopes(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
        return np.linalg.norm(weights * singular, axis=1)

    def widths(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
        return largest(np.tensordot(weights, motions, axes=1))

    def reaches(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
        return widths(weights) * reach(slopes(weights), curvatures(weights), size)

    best, farthest = _farthest(reaches, count)
    slope, curvature, width = (float(f(best[None])[0]) for f in (slopes, curvatures, widths))
    return Softest(farthest, slope, curvature, width)


def second_derivatives(
    unknowns: Unknowns, motions: Float[np.ndarray, "k x 3"], jacobians: Jacobians, scale: float
) -> tuple[Float[np.ndarray, "k k q"], float]:
    """Second derivatives of the numbers along pairs of directions, and their error.

    Args:
        unknowns: the unknowns of the structure.
        motions: the directions.
        jacobians: function to evaluate displaced structures with.
        scale: largest singular value, or length of all numbers.

    Returns:
        The derivatives by differences of Jacobians, in 1/Angstrom^2, and a bound of what round-off
        adds to their lengths.
    """
    steps = STEP / largest(motions)
    shifts = [sign * step * v for v, step in zip(motions, steps, strict=True) for sign in (1, -1)]
    found = jacobians([unknowns.moved(shift) for shift in shifts])
    slopes = np.stack(
        [
            unknowns.along(jacobian, motions, shift).T
            for jacobian, shift in zip(found, shifts, strict=True)
        ]
    )
    bent = (slopes[::2] - slopes[1::2]) / (2.0 * steps)[:, None, None]
    # Differences along either direction of a pair give the same up to their errors.
    bent = (bent + bent.transpose(1, 0, 2)) / 2.0
    return bent, 4.0 * ROUND_OFF * scale / float(steps.min())


def reach(
    slopes: Float[np.ndarray, " j"], curvatures: Float[np.ndarray, " j"], size: float
) -> Float[np.ndarray, " j"]:
    """The largest t near 0 with a residual of :math:`|s t - k t^2 / 2|` within the size.

    Up to the residual :math:`s^2 / 2 k`, the height between the two roots, t is near the first one;
    above it anything between them and beyond the second one has a residual within the size.

    Args:
        slopes: s, in 1/Angstrom.
        curvatures: k, in 1/Angstrom^2.
        size: the residual, without a unit.

    Returns:
        t in Angstrom; infinite where both are 0.
    """
    reach = np.full(len(slopes), math.inf)
    np.divide(size, slopes, out=reach, where=slopes > 0.0)
    bent = curvatures > 0.0
    k = np.where(bent, curvatures, 1.0)
    height = slopes**2 / (2.0 * k)
    below = (slopes - np.sqrt(np.maximum(slopes**2 - 2.0 * k * size, 0.0))) / k
    above = (slopes + np.sqrt(slopes**2 + 2.0 * k * size)) / k
    # The difference of two close numbers is no better than the first order.
    below = np.maximum(below, reach)
    return np.where(bent, np.where(height >= size, below, above), reach)


def _farthest(
    reaches: Callable[[Float[np.ndarray, "j k"]], Float[np.ndarray, " j"]], count: int
) -> tuple[Float[np.ndarray, " k"], float]:
    """The combination of directions that leads farthest: the best of many, moved uphill."""
    random = np.random.default_rng(0)
    tried = np.concatenate([np.eye(count), random.normal(size=(MIXED * (count - 1), count))])
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    for spread in np.geomspace(0.5, 0.01, ROUNDS):
        values = reaches(tried)
        best = tried[np.argsort(values)[-KEPT:]]
        near = np.repeat(best, MIXED // KEPT, axis=0)
        near = near + spread * random.normal(size=near.shape) / count**0.5
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        tried = np.concatenate([best, near])
    values = reaches(tried)
    farthest = int(np.argmax(values))
    return tried[farthest], float(values[farthest])
