"""Reductions over atoms and their derivatives, against NumPy and explicit sums."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from jaxrecon.pooling import POOLINGS, by_positions, deviations, pool, winners

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
    n, r, m = 4, 6, 9 if images else 4
    jacobian = rng.normal(size=(r, m, 3))
    centre = rng.integers(0, n, r)
    source = rng.integers(0, n, (n, m)) if images else None
    with jax.enable_x64(True):
        derivative = by_positions(
            jnp.asarray(jacobian),
            jnp.asarray(centre),
            None if source is None else jnp.asarray(source),
        )
    expected = np.zeros((r, n, 3))
    for entry in range(r):
        for neighbor in range(m):
            end = neighbor if source is None else source[centre[entry], neighbor]
            expected[entry, end] += jacobian[entry, neighbor]
            expected[entry, centre[entry]] -= jacobian[entry, neighbor]
    np.testing.assert_allclose(derivative, expected, atol=1e-13)


def test_a_target_binds_winners_and_all_beyond_it() -> None:
    rows = jnp.array([[1.0], [2.0], [3.0], [9.0]])
    mask = jnp.array([True, True, True, False])
    difference, bound = deviations(rows, jnp.array([1.5, 2.5]), mask, ("max", "min"))
    assert difference[:, :3, 0].tolist() == [[-0.5, 0.5, 1.5], [-1.5, -0.5, 0.5]]
    # Largest wanted 1.5: atoms 1 and 2 exceed it. Smallest wanted 2.5: atoms 0 and 1 fall short.
    assert bound[:, :, 0].tolist() == [[False, True, True, False], [True, True, False, False]]
    # Out of reach from below, the winner alone is bound.
    _, bound = deviations(rows, jnp.array([5.0, 0.0]), mask, ("max", "min"))
    assert bound[:, :, 0].tolist() == [[False, False, True, False], [True, False, False, False]]
