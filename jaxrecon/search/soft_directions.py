r"""Soft directions: how far a structure may move where the first order says little or nothing.

A displacement d = t v along a unit vector v with the slope s changes the numbers by
:math:`s t + \tfrac12 t^2 k`, where k is the part of the second derivative H[v, v] that no firm
displacement makes up for. Within a residual r, t reaches as far as
:math:`|s t - \tfrac12 |k| t^2| \le r` allows; where s = 0, as in symmetric structures, that is
:math:`\sqrt{2 r / |k|}`. The second derivatives along all combinations of the soft directions
follow from the Jacobians on both sides along each of them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrecon.search.local_model import LocalModel, one_thread
from jaxrecon.search.unknowns import largest

FLAT = 1e-6
"""Curvatures below this part of the whole curvature along the same direction count as zero."""

FIRST, MIXED, KEPT, ROUNDS = 2816, 256, 16, 12
"""Combinations that are tried at first and then at once, the best of them that are moved on, and
how often."""

STARTS = 6
"""Points from which the best step along soft directions is looked for."""


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


def softest(model: LocalModel, size: float) -> Softest:
    """Find how far a structure may move along soft directions.

    Args:
        model: the fingerprint around the structure.
        size: change of the numbers that a displacement may leave, without a unit.
    """
    motions, firm = model.soft, model.span
    count = len(motions)
    singular = model.singular[-count:]
    bent, error = model.second_derivatives
    # The derivative along a combination w is the sum over pairs of w_a w_b H[a, b], each pair
    # counted twice.
    first, second = np.triu_indices(count)
    pairs = bent[first, second] * np.where(first == second, 1.0, 2.0)[:, None]
    # Only lengths count: few numbers stand for many.
    own, whole = (np.linalg.qr(each.T)[1].T for each in (pairs - pairs @ firm @ firm.T, pairs))

    def curvatures(weights: Float[np.ndarray, "j k"]) -> Float[np.ndarray, " j"]:
        parts = weights[:, first] * weights[:, second]
        lengths, totals = (np.linalg.norm(parts @ each, axis=1) for each in (own, whole))
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


@one_thread()
def soft_step(model: LocalModel) -> Float[np.ndarray, "x 3"]:
    r"""The displacement that makes the residual smallest, to second order along soft directions.

    Along a flat valley, or at a saddle of the residual, Gauss-Newton steps hardly move, as they
    leave the second order out. Firm displacements make up for all within their span, so that what
    is left to minimise over combinations w of the soft ones is

    .. math:: |P\,(r - S w - 	frac12 H[w, w])|,

    where S has the slopes along them and P takes the span of the firm ones away.

    Args:
        model: the fingerprint around the structure; some of its directions are soft.

    Returns:
        Displacements of the atoms in Angstrom and, where the cell is unknown, of the cell.
    """
    from scipy.optimize import least_squares

    motions, firm = model.soft, model.span
    count = len(motions)
    bent, _ = model.second_derivatives
    # The last singular values are 0 where there are fewer numbers than unknowns.
    slopes = np.zeros((count, len(model.residual)))
    if model.left.shape[1] == len(model.singular):
        slopes = model.singular[-count:, None] * model.left[:, -count:].T
    terms = np.concatenate([model.residual[None], -slopes, -bent.reshape(count**2, -1)])
    # Only lengths count: few numbers stand for many.
    few = np.linalg.qr((terms - terms @ firm @ firm.T).T)[1]
    few = np.concatenate([few, np.zeros((max(0, count - len(few)), few.shape[1]))])
    constant, linear = few[:, 0], few[:, 1 : 1 + count]
    square = few[:, 1 + count :].reshape(-1, count, count)

    def left(w: Float[np.ndarray, " k"]) -> Float[np.ndarray, " j"]:
        return constant + (linear + square @ w / 2.0) @ w

    def slope(w: Float[np.ndarray, " k"]) -> Float[np.ndarray, "j k"]:
        return linear + square @ w

    # Start at the structure, and around it where the second order would make up for the residual.
    curvature = max(float(np.linalg.norm(square)) / count, 1e-300)
    radius = (float(np.linalg.norm(model.residual)) / curvature) ** 0.5
    starts = np.random.default_rng(0).normal(size=(STARTS, count)) * radius / count**0.5
    starts[0] = 0.0
    tries = [least_squares(left, start, slope, method="lm", max_nfev=200) for start in starts]
    best = min(tries, key=lambda each: each.cost).x
    rest = np.concatenate([[1.0], best, np.outer(best, best).ravel() / 2.0]) @ terms
    return np.tensordot(best, motions, axes=1) + model.firm_step(rest)


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
    tried = np.concatenate([np.eye(count), random.normal(size=(FIRST * (count > 1), count))])
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
