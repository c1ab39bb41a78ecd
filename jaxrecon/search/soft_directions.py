r"""Soft directions: how far a structure may move where the first order says little or nothing.

A displacement d = t v along a unit vector v with the slope s changes the numbers by
:math:`s t + \tfrac12 t^2 k`, where k is the part of the second derivative H[v, v] that no firm
displacement makes up for. Within a residual r, t reaches as far as
:math:`|s t - \tfrac12 |k| t^2| \le r` allows; where s = 0, as in symmetric structures, that is
:math:`\sqrt{2 r / |k|}`. The second derivatives along all combinations of the soft directions
follow from the Jacobians on both sides along each of them.

Where nearly all directions are soft, the quadratic :math:`S w + \tfrac12 H[w, w]` may have a second
root, a twin: another structure near by with the same numbers. Roots at w = 0 are left out by
dividing it by :math:`|w|` (deflation; Farrell, Birkisson & Funke, SIAM J. Sci. Comput. 37, A2026
(2015)).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrecon.search.local_model import LocalModel, one_thread
from jaxrecon.search.unknowns import largest
from jaxrecon.structures.matching import rmsd

FLAT = 1e-6
"""Curvatures below this part of the whole curvature along the same direction count as zero."""

FIRST, MIXED, KEPT, ROUNDS = 2816, 256, 16, 12
"""Combinations that are tried at first and then at once, the best of them that are moved on, and
how often."""

STARTS = 6
"""Points from which the best step along soft directions, and a twin, is looked for."""

RAYS = 512
"""Directions along which a twin is looked for at first."""

MOST_TWINNED = 24
"""Largest number of soft directions, the softest ones, along which a twin is looked for."""

MOST_STEPS = 60
"""Largest number of steps from each point towards a twin."""

TWIN = 0.05
"""Displacement in Angstrom up to which the second order shows a twin."""

SETTLING, NEAR = 6, 0.3
"""Steps of Newton's method to a twin, and their largest length in units of its displacement."""

SAME = 0.1
"""RMSD in units of the largest displacement up to which both structures are the same."""

CURVED = 1e-6
"""Smallest curvature, as a part of the largest one, of directions along which a centre may lie."""

THIRD = 1.0
"""Third derivatives, in units of the second ones, in 1/Angstrom, which a twin may leave."""


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

    .. math:: |P\,(r - S w - \tfrac12 H[w, w])|,

    where S has the slopes along them and P takes the span of the firm ones away.

    Args:
        model: the fingerprint around the structure; some of its directions are soft.

    Returns:
        Displacements of the atoms in Angstrom and, where the cell is unknown, of the cell.
    """
    from scipy.optimize import least_squares

    motions = model.soft
    count = len(motions)
    constant, linear, square = model.quadratic

    def left(w: Float[np.ndarray, " k"]) -> Float[np.ndarray, " j"]:
        return constant - (linear + square @ w / 2.0) @ w

    def slope(w: Float[np.ndarray, " k"]) -> Float[np.ndarray, "j k"]:
        return -(linear + square @ w)

    # Start at the structure, and around it where the second order would make up for the residual.
    curvature = max(float(np.linalg.norm(square)) / count, 1e-300)
    radius = (float(np.linalg.norm(model.residual)) / curvature) ** 0.5
    starts = np.random.default_rng(0).normal(size=(STARTS, count)) * radius / count**0.5
    starts[0] = 0.0
    tries = [least_squares(left, start, slope, method="lm", max_nfev=200) for start in starts]
    best = min(tries, key=lambda each: each.cost).x
    rest = np.concatenate([[1.0], -best, -np.outer(best, best).ravel() / 2.0]) @ model.terms
    return np.tensordot(best, motions, axes=1) + model.firm_step(rest)


@one_thread()
def twin(model: LocalModel, size: float) -> float:
    r"""How far another structure near by is that has the same numbers to second order.

    It is w with :math:`|P\,(S w + \tfrac12 H[w, w])|`, as in :func:`soft_step`, within the size and
    what the third order may add to the second.

    Args:
        model: the fingerprint around the structure.
        size: change of the numbers that a displacement may leave, without a unit.

    Returns:
        The largest displacement of an atom in Angstrom between the two; 0 if there is none.
    """
    from scipy.optimize import least_squares

    soft = model.soft[-MOST_TWINNED:]
    count, all_soft = len(soft), len(model.soft)
    keep = np.arange(all_soft - count, all_soft)
    _, linear, square = model.quadratic
    linear, square = linear[:, keep], square[:, keep[:, None], keep]

    def deflated(w: Float[np.ndarray, " k"]) -> Float[np.ndarray, " j"]:
        return (linear + square @ w / 2.0) @ w / np.linalg.norm(w)

    def slope(w: Float[np.ndarray, " k"]) -> Float[np.ndarray, "j k"]:
        length = np.linalg.norm(w)
        bent = square @ w
        value = (linear + bent / 2.0) @ w
        return (linear + bent) / length - np.outer(value, w) / length**3

    # Along each direction the second order makes up for the first at some t, more or less well.
    rays = np.random.default_rng(0).normal(size=(RAYS, count))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    slopes = rays @ linear.T
    bends = np.einsum("rk,jkl,rl->rj", rays, square, rays, optimize=True) / 2.0
    t = -(slopes * bends).sum(axis=1) / np.maximum((bends**2).sum(axis=1), 1e-300)
    missed = np.linalg.norm(slopes + t[:, None] * bends, axis=1)
    missed /= np.maximum(np.linalg.norm(t[:, None] * bends, axis=1), 1e-300)
    farthest = 0.0
    for start in np.argsort(missed)[:STARTS]:
        if t[start] == 0.0:
            continue
        begin, unit = t[start] * rays[start], abs(t[start])
        w = least_squares(deflated, begin, slope, method="lm", x_scale=unit, max_nfev=MOST_STEPS).x
        motion = np.tensordot(w, soft, axes=1)
        wide = float(largest(motion))
        left = np.linalg.norm((linear + square @ w / 2.0) @ w)
        second = np.linalg.norm((square @ w) @ w) / 2.0
        if farthest < wide <= TWIN and left <= size + THIRD * wide * second:
            if (root := _settled(model, motion, size)) is None:
                continue
            # Mirror images and equal atoms that change places are no other structure.
            wide = float(largest(root))
            if rmsd(model.unknowns.atoms, model.unknowns.moved(root)) > SAME * wide:
                farthest = max(farthest, wide)
    return farthest


@one_thread()
def valley(model: LocalModel, size: float) -> float:
    r"""How far a structure may move around a more symmetric one near by.

    At such a centre the numbers have no slopes. To second order they are the same for all
    displacements d from it with the same :math:`H[d, d]`, for example for d turned as a whole: a
    curved valley. Straight lines lead out of it, so that :func:`softest` does not see its length.
    Along the valley slopes are of the order :math:`|d|^3` and curvatures of the order
    :math:`|d|^2`. The centre is at the w with

    .. math:: P\,(S + H[w, \cdot]) = 0,

    found by least squares; other symbols are those of :func:`soft_step`.

    Args:
        model: the fingerprint around the structure.
        size: change of the numbers that a displacement may leave, without a unit.

    Returns:
        The displacement of an atom in Angstrom: what the smallest slope allows, twice, as it may
        fall to zero on the way, or what a curvature of :math:`|d|^2` allows, or the width of the
        valley, whichever is smallest.
    """
    motions = model.soft
    count = len(motions)
    _, linear, square = model.quadratic
    bent = square.transpose(1, 0, 2).reshape(-1, count)
    centre = np.linalg.lstsq(bent, -linear.T.ravel(), rcond=CURVED)[0]
    offset = float(largest(np.tensordot(centre, motions, axes=1)))
    slope = max(float(model.singular[-1]), 1e-300)
    return min(2.0 * offset, 2.0 * size / slope, (2.0 * size) ** 0.5 / max(offset, 1e-300))


def _settled(
    model: LocalModel, motion: Float[np.ndarray, "x 3"], size: float
) -> Float[np.ndarray, "x 3"] | None:
    """The displacement near a given one that leaves the numbers as they are, by Newton's method.

    Directions along which it would go far do not count: there the second order was misleading.
    """
    firm, wide = model.span, float(largest(motion))
    for _ in range(SETTLING):
        change, slopes = model.change(motion)
        left, slopes = (each - firm @ (firm.T @ each) for each in (change, slopes))
        if np.linalg.norm(left) <= size + model.scale * wide**5:
            return motion
        numbers, singular, directions = np.linalg.svd(slopes, full_matrices=False)
        steps = -(numbers.T @ left) / np.maximum(singular, 1e-300)
        steps = np.where(np.abs(steps) <= NEAR * np.linalg.norm(motion), steps, 0.0)
        motion = motion + np.tensordot(steps @ directions, model.soft, axes=1)
    return None


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
