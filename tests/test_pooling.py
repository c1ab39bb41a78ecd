"""Reductions over atoms and their derivatives, against NumPy and explicit sums."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from jaxrecon.pooling import POOLINGS, pool, pool_with_jacobian, winners

EXPECTED = {"max": np.max, "min": np.min}
KINDS = [("max",), ("min",), ("max", "min"), ("min", "max")]


def test_every_pooling_has_an_expectation_here() -> None:
    assert set(POOLINGS) == set(EXPECTED)


@given(seed=seeds, kinds=st.sampled_from(KINDS))
def test_pooling_is_numpys_on_the_kept_rows(seed: int, kinds: tuple[str, ...]) -> None:
    rng = np.random.default_rng(seed)
    rows, mask = rng.normal(size=(7, 4)).astype(np.float32), rng.random(7) < 0.5
    mask[rng.integers(7)] = True
    pooled = pool(jnp.asarray(rows), jnp.asarray(mask), kinds)
    expected = np.concatenate([EXPECTED[kind](rows[mask], axis=0) for kind in kinds])
    np.testing.assert_allclose(pooled, expected, rtol=1e-6)
    order = rng.permutation(7)
    again = pool(jnp.asarray(rows[order]), jnp.asarray(mask[order]), kinds)
    np.testing.assert_allclose(again, pooled, rtol=1e-6)


def test_winners_are_the_atoms_that_set_the_features() -> None:
    rows = jnp.array([[9.0, -9.0], [1.0, 2.0], [3.0, 2.0], [2.0, 0.5]])
    mask = jnp.array([False, True, True, True])
    # Of a tie, the first one.
    assert winners(rows, mask, ("max", "min")).tolist() == [2, 1, 1, 3]


@pytest.mark.parametrize("images", [False, True])
def test_derivatives_by_positions(images: bool) -> None:
    """A vector from centre i to atom s moves with s, and against i: each J counts for both."""
    rng = np.random.default_rng(0)
    n, f, m = 4, 5, 9 if images else 4
    mask = np.array([True, True, True, False])
    rows = rng.normal(size=(n, f))
    jacobian = rng.normal(size=(n, f, m, 3))
    source = rng.integers(0, 3, (n, m)) if images else None
    with jax.enable_x64(True):
        value, derivative = pool_with_jacobian(
            jnp.asarray(rows),
            jnp.asarray(jacobian),
            None if source is None else jnp.asarray(source),
            jnp.asarray(mask),
            ("max", "min"),
        )
        np.testing.assert_array_equal(
            value, pool(jnp.asarray(rows), jnp.asarray(mask), ("max", "min"))
        )
    expected = np.zeros((2 * f, n, 3))
    for p in range(2 * f):
        column = rows[mask, p % f]
        centre = column.argmax() if p < f else column.argmin()
        for neighbor in range(m):
            end = neighbor if source is None else source[centre, neighbor]
            expected[p, end] += jacobian[centre, p % f, neighbor]
            expected[p, centre] -= jacobian[centre, p % f, neighbor]
    np.testing.assert_allclose(derivative, expected, atol=1e-13)
