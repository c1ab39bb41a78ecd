r"""Noise: targets whose numbers have errors, because they were measured or drawn by a model.

No structure has such numbers exactly. With independent errors of standard deviations
:math:`\sigma_p` the most likely structure is the one with the least squares

.. math:: \sum_p w_p^2 (R_p(x) - R^*_p)^2, \quad w_p = \sigma / \sigma_p ,

where :math:`\sigma` is the harmonic mean of all, so that the weights are 1 in the mean. At the
minimum the u unknowns have taken their part of the errors of the p numbers, and what is left is a
mean absolute residual of

.. math:: \sigma \sqrt{2 / \pi} \sqrt{(p - u) / p} \left(1 \pm \sqrt{\pi / 2 - 1} / \sqrt{p - u}
    \right) .

The covariance of the positions is :math:`\sigma^2 (J^T J)^{-1}`, with J the derivatives of the
weighted numbers (linear regression; any textbook of it).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxrecon.search.local_model import LocalModel
from jaxrecon.search.soft_directions import reach

Noise = float | Sequence[float] | Sequence[Sequence[float]] | Sequence[np.ndarray] | np.ndarray
"""Standard deviation of all numbers, of each number, or of each number of each target."""

DEVIATIONS = 3.0
"""Standard deviations by which the residual of a solution may exceed what is expected."""


def noise_of_each_target(
    noise: Noise | None, sizes: Sequence[int]
) -> list[Float[np.ndarray, " p"] | None]:
    """The standard deviations of the numbers of each target.

    Args:
        noise: as for :func:`jaxrecon.reconstruct`.
        sizes: how many numbers each target has.

    Raises:
        ValueError: if lengths do not fit, or a value is not a number above 0.

    >>> noise_of_each_target(0.01, [2, 3])[1].tolist()
    [0.01, 0.01, 0.01]
    """
    if noise is None:
        return [None] * len(sizes)
    if isinstance(noise, Sequence) and any(np.ndim(row) for row in noise):
        rows = [np.asarray(row, dtype=float) for row in noise]  # of different lengths, perhaps
    else:
        values = np.asarray(noise, dtype=float)
        rows = list(values) if values.ndim == 2 else [values]
    if len(rows) == 1:
        rows *= len(sizes)
    if len(rows) != len(sizes):
        raise ValueError(f"expected noise of {len(sizes)} targets, got that of {len(rows)}")
    found: list[Float[np.ndarray, " p"] | None] = []
    for index, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        if row.shape not in ((), (1,), (size,)):
            raise ValueError(
                f"expected noise as one number or {size}, got shape {row.shape} for target {index}"
            )
        if not (np.isfinite(row).all() and (row > 0.0).all()):
            raise ValueError(f"expected noise > 0, got {row.min()} for target {index}")
        found.append(np.broadcast_to(row, size).copy())
    return found


def level_of(noise: Float[np.ndarray, " p"]) -> float:
    """The harmonic mean of standard deviations: that of a number with the weight 1."""
    return float(1.0 / np.mean(1.0 / noise))


def weights_of(noise: Float[np.ndarray, " p"] | None) -> Float[np.ndarray, " p"] | None:
    """The weights of the numbers; None where all are 1."""
    if noise is None or np.all(noise == noise[0]):
        return None
    return level_of(noise) / noise


def expected_residual(noise: Float[np.ndarray, " p"], unknowns: int) -> float:
    """Mean absolute residual up to which a structure explains a noisy target.

    Args:
        noise: standard deviations of the numbers, without a unit.
        unknowns: number of unknowns of the structure.

    Returns:
        The expected one and three of its standard deviations; 0 where the numbers are no more than
        the unknowns, which can then make up for any noise.

    >>> round(expected_residual(np.full(46, 0.01), unknowns=24), 4)
    0.0082
    """
    numbers = len(noise)
    left = max(numbers - unknowns, 0)
    if not left:
        return 0.0
    mean = level_of(noise) * math.sqrt(2.0 / math.pi * left / numbers)
    return mean * (1.0 + DEVIATIONS * math.sqrt((math.pi / 2.0 - 1.0) / left))


def error_bars(model: LocalModel, level: float) -> Float[np.ndarray, " n"]:
    """Standard deviations of the places of the atoms, in Angstrom.

    Along soft directions the second order counts as well: t is how far the noise reaches.

    Args:
        model: the weighted fingerprint around the structure.
        level: standard deviation of a number with the weight 1, without a unit.

    Returns:
        The root of the summed variances along the three axes, for each atom; infinite where the
        numbers do not hold an atom.
    """
    firm, motions = model.firm, model.motions
    spread = np.full(len(motions), np.inf)
    spread[:firm] = level / model.singular[:firm]
    soft = len(model.soft) if firm < len(motions) else 0
    # Of very many soft directions the least soft ones have no second order.
    unseen = model.singular[firm : len(motions) - soft]
    np.divide(level, unseen, out=spread[firm : len(motions) - soft], where=unseen > 0.0)
    if soft:
        own = np.diagonal(model.second_derivatives[0]).T
        bent = np.linalg.norm(own - own @ model.span @ model.span.T, axis=1)
        spread[-soft:] = reach(model.singular[-soft:], bent, level)
    count = len(model.unknowns.atoms)
    moved = np.abs(motions[:, :count])
    with np.errstate(invalid="ignore"):  # what does not move has no part in an infinite spread
        parts = np.where(moved > 0.0, moved * spread[:, None, None], 0.0)
    return np.asarray(np.sqrt((parts**2).sum(axis=(0, 2))))
