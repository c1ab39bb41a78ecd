"""Latent vectors of new crystals, and which compositions have possible oxidation states.

The ways to draw are those of Noh et al., Matter 1, 1370 (2019): along great circles between known
crystals, from a normal distribution, and close to one crystal.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from jaxtyping import Float

BETWEEN = 19
"""Number of points between two known crystals."""

CLOSE, COPIES = 0.001, 30
"""Distance from a crystal, and number of vectors around it, by which it is found again."""

PARALLEL = 1e-6
"""Angle under which a great circle is a straight line."""


def slerp(
    first: Float[np.ndarray, " z"], second: Float[np.ndarray, " z"], parts: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "k z"]:
    r"""Interpolate along a great circle.

    .. math:: \frac{\sin((1 - t) \omega)}{\sin \omega} a + \frac{\sin(t \omega)}{\sin \omega} b

    Source: Shoemake, SIGGRAPH 1985; White, arXiv 1609.04468.

    Args:
        first: the vector a at t = 0.
        second: the vector b at t = 1.
        parts: the numbers t.

    Returns:
        One vector for each t; on a straight line where a and b are parallel.

    >>> slerp(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.5])).round(4).tolist()
    [[0.7071, 0.7071]]
    """
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    cosine = np.clip(first @ second / max(lengths, np.finfo(float).tiny), -1.0, 1.0)
    angle, t = np.arccos(cosine), parts[:, None]
    if np.sin(angle) < PARALLEL:
        return (1.0 - t) * first + t * second
    curved: np.ndarray = np.sin((1.0 - t) * angle) * first + np.sin(t * angle) * second
    return curved / np.sin(angle)


def between(latent: Float[np.ndarray, "n z"], points: int = BETWEEN) -> Float[np.ndarray, "k z"]:
    """Draw vectors between all pairs of known crystals, along great circles.

    Args:
        latent: latent vectors of the known crystals.
        points: number of vectors between two of them.

    Returns:
        The vectors, pair by pair, without those of the known crystals.

    Raises:
        ValueError: if there are fewer than two crystals.
    """
    if len(latent) < 2:
        raise ValueError(f"expected at least two crystals to draw between, got {len(latent)}")
    parts = np.arange(1, points + 1) / (points + 1)
    pairs = combinations(latent, 2)
    return np.concatenate([slerp(first, second, parts) for first, second in pairs])


def gaussian(
    latent: Float[np.ndarray, "n z"], count: int, *, seed: int = 0
) -> Float[np.ndarray, "count z"]:
    """Draw vectors from the normal distribution with the means and deviations of known crystals.

    Args:
        latent: latent vectors of the known crystals.
        count: number of vectors.
        seed: seed of the random numbers.

    Returns:
        The vectors.
    """
    noise = np.random.default_rng(seed).normal(size=(count, latent.shape[1]))
    return latent.mean(axis=0) + latent.std(axis=0) * noise


def around(
    latent: Float[np.ndarray, "n z"],
    count: int = COPIES,
    *,
    distance: float = CLOSE,
    seed: int = 0,
) -> Float[np.ndarray, "k z"]:
    """Draw vectors at a distance from each crystal, in random directions.

    Args:
        latent: latent vectors of the crystals.
        count: number of vectors around each.
        distance: the distance, without a unit.
        seed: seed of the random numbers.

    Returns:
        The vectors, crystal by crystal.
    """
    noise = np.random.default_rng(seed).normal(size=(len(latent), count, latent.shape[1]))
    noise *= distance / np.linalg.norm(noise, axis=2, keepdims=True)
    return (latent[:, None] + noise).reshape(-1, latent.shape[1])


def has_valid_oxidation(
    symbols: Sequence[str],
    states: Mapping[str, tuple[float, float]] | None = None,
    anions: Mapping[str, int] | None = None,
) -> bool:
    """Whether a composition lets an element have a possible mean oxidation state.

    Args:
        symbols: chemical symbols of all atoms.
        states: smallest and largest oxidation state of the element; None for +2 to +5 of V.
        anions: charges of the other elements; None for -2 of O.

    Returns:
        Whether the atoms of the element can balance the charges of the others; false without
        atoms of it.

    Raises:
        ValueError: if an atom is of no element with a charge.

    >>> [has_valid_oxidation(["V"] * n + ["O"] * m) for n, m in ((2, 5), (2, 1), (1, 1), (1, 3))]
    [True, False, True, False]
    """
    states = states or {"V": (2, 5)}
    anions = anions or {"O": -2}
    if unknown := sorted({*symbols} - {*states} - {*anions}):
        raise ValueError(f"expected elements with a charge, got {', '.join(unknown)}")
    ((cation, (low, high)),) = states.items()
    count = list(symbols).count(cation)
    if not count:
        return False
    charge = -sum(anions[symbol] for symbol in symbols if symbol in anions)
    return bool(low <= Fraction(charge, count) <= high)
