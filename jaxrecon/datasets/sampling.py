"""Which rows of a table stand for all: the furthest points, and one of each of near duplicates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import Precision
from jaxtyping import Bool, Float, Int

BLOCK = 2048
"""Rows that are compared with as many others at once: their distances fill a cache, not memory."""


def furthest_points(
    values: Float[np.ndarray, "n p"], count: int, first: int | None = None
) -> Int[np.ndarray, " count"]:
    """Rows that are spread out: each is the one furthest from those chosen before it.

    The distance to a set is that to its nearest member, Euclidean, in the units that the columns
    have; of rows that are equally far the first is taken. Source: Gonzalez, Theor. Comput. Sci. 38,
    293 (1985). Work grows with ``n p count``, memory with ``n p``.

    Args:
        values: one row a structure, like fingerprints.
        count: how many to choose.
        first: where to begin; None for the row that is furthest from the mean.

    Returns:
        Indices in the order of the choice: the first k of them are the choice of k.

    Raises:
        ValueError: if there are not so many rows, or a number is not finite.

    >>> furthest_points(np.array([[0.0], [1.0], [5.0], [2.0]]), 3).tolist()
    [2, 0, 3]
    """
    values = _checked(values)
    if not 1 <= count <= len(values):
        raise ValueError(f"expected count among 1-{len(values)}, got {count}")
    if first is not None and not 0 <= first < len(values):
        raise ValueError(f"expected first among 0-{len(values) - 1}, got {first}")
    with jax.enable_x64(values.dtype == np.float64):
        # Rows lie side by side, as many as a vector of the processor holds.
        columns = jnp.asarray(values.T)
        if first is None:
            first = int(jnp.argmax(_squares(columns, columns.mean(axis=1))))
        return np.asarray(_furthest(columns, first, count), np.int64)


def distinct(values: Float[np.ndarray, "n p"], tolerance: float) -> Int[np.ndarray, " kept"]:
    """Rows without near duplicates: of none of them is an earlier one that is kept too similar.

    Two rows are near duplicates if the root mean square of their difference, over the columns, is
    below the tolerance. Memory grows with ``n p``, work with ``p`` times the square of the number
    of rows that are kept.

    Args:
        values: one row a structure, like fingerprints.
        tolerance: in the units that the columns have.

    Returns:
        Indices in ascending order.

    Raises:
        ValueError: if the tolerance is not positive, or a number is not finite.

    >>> distinct(np.array([[0.0], [0.9], [1.8], [0.1]]), 1.0).tolist()
    [0, 2]
    """
    values = _checked(values)
    if not 0.0 < tolerance < np.inf:
        raise ValueError(f"expected tolerance > 0, got {tolerance}")
    limit = tolerance**2 * values.shape[1]
    # A product of matrices leaves the digits of the largest numbers: those around 0 have most.
    rows = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    rows = np.pad(rows, ((0, -len(rows) % BLOCK), (0, 0)))
    kept: list[int] = []
    chosen = np.zeros_like(rows)
    with jax.enable_x64(True):
        for start in range(0, len(rows), BLOCK):
            block, count = rows[start : start + BLOCK], min(BLOCK, len(values) - start)
            free = np.ones(BLOCK, bool)
            for other in range(0, len(kept), BLOCK):
                there = min(BLOCK, len(kept) - other)
                free &= ~np.asarray(_covered(block, chosen[other : other + BLOCK], there, limit))
            near = np.triu(np.asarray(_near(block, block, limit)), 1)[:count]
            for row in np.flatnonzero(near.any(axis=1)):
                if free[row]:
                    free &= ~near[row]
            new = start + np.flatnonzero(free[:count])
            chosen[len(kept) : len(kept) + len(new)] = rows[new]
            kept.extend(new.tolist())
    return np.array(kept, np.int64)


@partial(jax.jit, static_argnames="count")
def _furthest(
    columns: Float[Array, "p n"], first: int | Int[Array, ""], count: int
) -> Int[Array, " count"]:
    def step(
        state: tuple[Int[Array, ""], Float[Array, " n"]], _: None
    ) -> tuple[tuple[Int[Array, ""], Float[Array, " n"]], Int[Array, ""]]:
        chosen, nearest = state
        nearest = jnp.minimum(nearest, _squares(columns, columns[:, chosen]))
        # Where all that is left are copies of the chosen, none is taken twice.
        nearest = nearest.at[chosen].set(-1.0)
        return (jnp.argmax(nearest), nearest), chosen

    far = jnp.full(columns.shape[1], jnp.inf, columns.dtype)
    start = jnp.asarray(first, jnp.argmax(far).dtype)
    return jax.lax.scan(step, (start, far), length=count)[1]


def _squares(columns: Float[Array, "p n"], point: Float[Array, " p"]) -> Float[Array, " n"]:
    return jnp.sum((columns - point[:, None]) ** 2, axis=0)


@jax.jit
def _near(
    rows: Float[np.ndarray | Array, "b p"],
    others: Float[np.ndarray | Array, "c p"],
    limit: float | Float[Array, ""],
) -> Bool[Array, "b c"]:
    """Whether the square of their distance is below the limit."""
    left, right = jnp.asarray(rows), jnp.asarray(others)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :]
    return squares - 2.0 * jnp.matmul(left, right.T, precision=Precision.HIGHEST) < limit


@jax.jit
def _covered(
    rows: Float[np.ndarray | Array, "b p"],
    others: Float[np.ndarray | Array, "c p"],
    there: int | Int[Array, ""],
    limit: float | Float[Array, ""],
) -> Bool[Array, " b"]:
    """Whether any of the first others is near."""
    return (_near(rows, others, limit) & (jnp.arange(len(others)) < there)[None, :]).any(axis=1)


def _checked(values: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
    values = np.asarray(values, None if values.dtype == np.float32 else np.float64)
    if not len(values) or not values.shape[1]:
        raise ValueError(f"expected at least one row of numbers, got shape {values.shape}")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"expected finite numbers, got {values[row, column]} in row {row}, column {column}"
        )
    return values
