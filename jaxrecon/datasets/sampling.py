"""Selection of rows of a table: furthest points, and one row of every group of near duplicates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import Precision
from jaxtyping import Bool, Float, Int

from jaxrecon.runtime.memory import check_memory

BLOCK = 2048
"""Number of rows that are compared with as many others at once, so that distances fit a cache."""


def furthest_points(
    values: Float[np.ndarray, "n p"], count: int, first: int | None = None
) -> Int[np.ndarray, " count"]:
    """Choose rows that are spread out: the next row is the one furthest from those chosen before.

    The distance of a row to a set is its Euclidean distance to the nearest member, in the units of
    the columns. The first of several equally distant rows is chosen. Time grows as ``n p count``,
    memory as ``n p``.

    Source: Gonzalez, Theor. Comput. Sci. 38, 293 (1985).

    Args:
        values: one row per structure, like fingerprints.
        count: number of rows to choose.
        first: index of the first row; None for the row furthest from the mean.

    Returns:
        Indices in the order of choice; the first k of them are the choice of k rows.

    Raises:
        ValueError: if ``count`` or ``first`` is out of range, or a number is not finite.

    >>> furthest_points(np.array([[0.0], [1.0], [5.0], [2.0]]), 3).tolist()
    [2, 0, 3]
    """
    values = _checked(values)
    if not 1 <= count <= len(values):
        raise ValueError(f"expected count among 1-{len(values)}, got {count}")
    if first is not None and not 0 <= first < len(values):
        raise ValueError(f"expected first among 0-{len(values) - 1}, got {first}")
    with jax.enable_x64(values.dtype == np.float64):
        # Batch-last layout: one feature of neighbouring rows fills a vector of the processor.
        columns = jnp.asarray(values.T)
        if first is None:
            first = int(jnp.argmax(_squares(columns, columns.mean(axis=1))))
        return np.asarray(_furthest(columns, first, count), np.int64)


def distinct(values: Float[np.ndarray, "n p"], tolerance: float) -> Int[np.ndarray, " selected"]:
    """Select rows such that no two of them are near duplicates; of duplicates the first stays.

    Two rows are near duplicates if the root mean square of their difference over the columns is
    below the tolerance. Rows are taken in order, and a row is compared with the selected rows
    before it. Memory grows as ``n p``, time as ``p`` times the square of the number of selected
    rows.

    Args:
        values: one row per structure, like fingerprints.
        tolerance: smallest difference of two selected rows, in the units of the columns.

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
    # Distances come from products, which round relative to the largest numbers: columns centred at
    # 0 have the smallest numbers.
    rows = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    rows = np.pad(rows, ((0, -len(rows) % BLOCK), (0, 0)))
    selected: list[int] = []
    chosen = np.zeros_like(rows)
    with jax.enable_x64(True):
        for start in range(0, len(rows), BLOCK):
            block, count = rows[start : start + BLOCK], min(BLOCK, len(values) - start)
            free = np.ones(BLOCK, bool)
            # First against the rows selected from earlier blocks, in blocks of one shape.
            for other in range(0, len(selected), BLOCK):
                present = min(BLOCK, len(selected) - other)
                others = chosen[other : other + BLOCK]
                free &= ~np.asarray(_covered(block, others, present, limit))
            # Then within the block, in order: a row that is not selected itself excludes no other.
            near = np.triu(np.asarray(_near(block, block, limit)), 1)[:count]
            for row in np.flatnonzero(near.any(axis=1)):
                if free[row]:
                    free &= ~near[row]
            new = start + np.flatnonzero(free[:count])
            chosen[len(selected) : len(selected) + len(new)] = rows[new]
            selected.extend(new.tolist())
    return np.array(selected, np.int64)


@partial(jax.jit, static_argnames="count")
def _furthest(
    columns: Float[Array, "p n"], first: int | Int[Array, ""], count: int
) -> Int[Array, " count"]:
    """Choose furthest points, with the distance of every row to the chosen ones as the state."""

    def step(
        state: tuple[Int[Array, ""], Float[Array, " n"]], _: None
    ) -> tuple[tuple[Int[Array, ""], Float[Array, " n"]], Int[Array, ""]]:
        chosen, nearest = state
        nearest = jnp.minimum(nearest, _squares(columns, columns[:, chosen]))
        # Below the 0 of its copies, so that a chosen row is never chosen again.
        nearest = nearest.at[chosen].set(-1.0)
        return (jnp.argmax(nearest), nearest), chosen

    far = jnp.full(columns.shape[1], jnp.inf, columns.dtype)
    start = jnp.asarray(first, jnp.argmax(far).dtype)
    return jax.lax.scan(step, (start, far), length=count)[1]


def _squares(columns: Float[Array, "p n"], point: Float[Array, " p"]) -> Float[Array, " n"]:
    """Return the squared distances of all rows to a point."""
    return jnp.sum((columns - point[:, None]) ** 2, axis=0)


@jax.jit
def _near(
    rows: Float[np.ndarray | Array, "b p"],
    others: Float[np.ndarray | Array, "c p"],
    limit: float | Float[Array, ""],
) -> Bool[Array, "b c"]:
    """Return for every pair whether its squared distance is below the limit."""
    left, right = jnp.asarray(rows), jnp.asarray(others)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :]
    return squares - 2.0 * jnp.matmul(left, right.T, precision=Precision.HIGHEST) < limit


@jax.jit
def _covered(
    rows: Float[np.ndarray | Array, "b p"],
    others: Float[np.ndarray | Array, "c p"],
    present: int | Int[Array, ""],
    limit: float | Float[Array, ""],
) -> Bool[Array, " b"]:
    """Return for every row whether one of the others is near; only ``present`` of them are rows."""
    return (_near(rows, others, limit) & (jnp.arange(len(others)) < present)[None, :]).any(axis=1)


def _checked(values: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
    """Return the rows as floating-point numbers, after checking that they are finite."""
    values = np.asarray(values, None if values.dtype == np.float32 else np.float64)
    if not len(values) or not values.shape[1]:
        raise ValueError(f"expected at least one row of numbers, got shape {values.shape}")
    # Two copies are made: one in another order, and one for the device.
    check_memory(
        2 * values.nbytes,
        f"copies of {len(values)} rows of {values.shape[1]} numbers",
        "use shorter rows, as of a preset with weighted elements (gastegger2018)",
    )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"expected finite numbers, got {values[row, column]} in row {row}, column {column}"
        )
    return values
