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


def test_what_a_target_binds() -> None:
    """A winner, and whoever is beyond the target; never padding."""
    rows = jnp.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [99.0, -99.0]])
    mask = jnp.array([True, True, True, False])
    target = jnp.array([1.5, 9.0, 2.5, 3.0])
    difference, bound = deviations(rows, target, mask, ("max", "min"))
    np.testing.assert_array_equal(difference[0], rows - target[None, :2])
    np.testing.assert_array_equal(difference[1], rows - target[None, 2:])
    # The largest is to be 1.5: two are above. It is to be 9: the nearest, the winner, must grow.
    np.testing.assert_array_equal(
        bound[0], [[False, True], [True, False], [True, False], [False] * 2]
    )
    # The smallest is to be 2.5: two are below. It is to be 3: the winner has it already.
    np.testing.assert_array_equal(
        bound[1], [[True, False], [True, False], [False, True], [False] * 2]
    )


@given(seed=seeds, kinds=st.sampled_from(KINDS))
def test_nothing_bound_is_off_exactly_at_the_target(seed: int, kinds: tuple[str, ...]) -> None:
    rng = np.random.default_rng(seed)
    rows, mask = jnp.asarray(rng.normal(size=(5, 4)), jnp.float32), jnp.asarray(rng.random(5) < 0.6)
    mask = mask.at[0].set(True)
    pooled = pool(rows, mask, kinds)
    at_target, bound = deviations(rows, pooled, mask, kinds)
    assert not (at_target * bound).any()
    for column in range(pooled.size):
        difference, bound = deviations(rows, pooled.at[column].add(0.1), mask, kinds)
        off = jnp.where(bound, difference, 0.0).reshape(len(kinds), 5, 4)
        assert jnp.abs(off).max() > 0.09
        assert (jnp.abs(off).max(axis=1).ravel() > 0).tolist() == (
            np.arange(pooled.size) == column
        ).tolist()


@pytest.mark.parametrize("images", [False, True])
def test_derivatives_by_positions(images: bool) -> None:
    """A vector from centre i to atom s moves with s, and against i: each J counts for both."""
    rng = np.random.default_rng(0)
    n, entries, m = 4, 11, 9 if images else 4
    jacobian = rng.normal(size=(entries, m, 3))
    centre = rng.integers(0, n, entries)
    source = rng.integers(0, n, (n, m)) if images else None
    with jax.enable_x64(True):
        derivative = by_positions(
            jnp.asarray(jacobian),
            jnp.asarray(centre),
            None if source is None else jnp.asarray(source),
        )
    expected = np.zeros((entries, n, 3))
    for entry, neighbor in np.ndindex(entries, m):
        end = neighbor if source is None else source[centre[entry], neighbor]
        expected[entry, end] += jacobian[entry, neighbor]
        expected[entry, centre[entry]] -= jacobian[entry, neighbor]
    np.testing.assert_allclose(derivative, expected, atol=1e-13)
