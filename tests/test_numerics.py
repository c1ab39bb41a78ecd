"""The NaN-safe primitives at and away from their singular points, against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from jaxrecon.numerics import (
    FEW_UNKNOWNS,
    inverse_3x3,
    masked_max,
    masked_min,
    safe_divide,
    safe_norm,
    solve_positive_definite,
)

pytestmark = pytest.mark.contract

DTYPES = ("float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1.0, 1e3, 1e12])
def test_norm_is_numpys(dtype: str, size: float) -> None:
    x = (np.random.default_rng(0).normal(size=(4, 5, 3)) * size).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        norm = np.asarray(safe_norm(jnp.asarray(x)))
        slope = np.asarray(jax.grad(lambda v: safe_norm(v).sum())(jnp.asarray(x)))
    expected = np.linalg.norm(x.astype(float), axis=-1)
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm, expected, rtol=3 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope, x / expected[..., None], atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-13])
def test_norm_of_nothing_has_no_slope(dtype: str, length: float) -> None:
    with jax.enable_x64(dtype == "float64"):
        x = jnp.array([0.0, length, 0.0], dtype)
        assert safe_norm(x) == 0.0
        for derivative in (jax.grad, jax.jacfwd, jax.jacrev, jax.hessian):
            np.testing.assert_array_equal(jax.jit(derivative(safe_norm))(x), 0.0)


def test_division_is_safe_in_value_and_slope() -> None:
    numerator, denominator = jnp.array([6.0, 1.0, 0.0, -1.0]), jnp.array([3.0, 0.0, 0.0, 4.0])
    np.testing.assert_allclose(safe_divide(numerator, denominator), [2.0, 0.0, 0.0, -0.25])
    by_numerator, by_denominator = jax.grad(lambda a, b: safe_divide(a, b).sum(), (0, 1))(
        numerator, denominator
    )
    np.testing.assert_allclose(by_numerator, [1 / 3, 0.0, 0.0, 0.25])
    np.testing.assert_allclose(by_denominator, [-6 / 9, 0.0, 0.0, 1 / 16])


@given(seed=seeds, rows=st.integers(1, 8))
def test_masked_extremes_are_those_of_the_kept_rows(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(size=(rows, 5)).astype(np.float32), rng.random(rows) < 0.5
    mask[rng.integers(rows)] = True
    largest, smallest = (
        f(jnp.asarray(values), jnp.asarray(mask)) for f in (masked_max, masked_min)
    )
    np.testing.assert_array_equal(largest, values[mask].max(axis=0))
    np.testing.assert_array_equal(smallest, values[mask].min(axis=0))


def test_masked_extremes_have_slopes_at_the_extreme_alone() -> None:
    rows = jnp.array([[1.0, -5.0], [3.0, -1.0], [9.0, -9.0]])
    mask = jnp.array([True, True, False])
    for extreme, where in [(masked_max, [[0, 0], [1, 1], [0, 0]]), (masked_min, [[1, 1], [0, 0]])]:
        slope = jax.grad(lambda x, f=extreme: f(x, mask).sum())(rows)
        np.testing.assert_array_equal(slope[: len(where)], where)
        np.testing.assert_array_equal(slope[2], 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 6, 15, 30])
def test_elimination_is_numpys_solve(dtype: str, size: int) -> None:
    rng = np.random.default_rng(size)
    root = rng.normal(size=(3, size, size + 5))
    matrices = (root @ root.swapaxes(1, 2) + 0.1 * np.eye(size)).astype(dtype)
    right = rng.normal(size=(3, size)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        solve = jax.jit(jax.vmap(solve_positive_definite))
        solved = np.asarray(solve(jnp.asarray(matrices), jnp.asarray(right)))
    assert solved.dtype == dtype
    for matrix, b, x in zip(matrices.astype(float), right.astype(float), solved, strict=True):
        bound = 10 * np.finfo(dtype).eps * np.linalg.cond(matrix)
        expected = np.linalg.solve(matrix, b)
        assert np.linalg.norm(x - expected) <= bound * np.linalg.norm(expected)


@pytest.mark.parametrize("size", [1, FEW_UNKNOWNS, FEW_UNKNOWNS + 1])
def test_elimination_of_batches_of_batches(size: int, x64: None) -> None:
    """Side by side or one system after the other; some matrices or right-hand sides for all."""
    rng = np.random.default_rng(size)
    root = rng.normal(size=(3, 2, size, size + 5))
    matrices, right = root @ root.swapaxes(-1, -2), rng.normal(size=(3, 2, size))
    one = solve_positive_definite
    for solve, a, b in [
        (jax.vmap(jax.vmap(one)), matrices, right),
        (jax.vmap(jax.vmap(one, (None, 0)), (0, None)), matrices[:, :1], right[:1]),
        (jax.vmap(jax.vmap(one, (0, None)), (None, 0)), matrices[:1], right[:, :1]),
    ]:
        whole = np.broadcast_to(a, matrices.shape), np.broadcast_to(b, right.shape)
        expected = np.linalg.solve(whole[0], whole[1][..., None])[..., 0]
        given = (
            jnp.asarray(array).squeeze([i for i in (0, 1) if array.shape[i] == 1])
            for array in (a, b)
        )
        solved = jax.jit(solve)(*given)
        np.testing.assert_allclose(solved, expected, rtol=1e-8)


def test_elimination_of_a_badly_scaled_matrix() -> None:
    """Columns of Jacobians differ by orders of magnitude; the diagonal alone must not matter."""
    scale = np.logspace(-8, 8, 9)
    root = np.random.default_rng(0).normal(size=(9, 14))
    matrix = scale[:, None] * (root @ root.T) * scale[None, :]
    right = np.random.default_rng(1).normal(size=9)
    with jax.enable_x64(True):
        x = np.asarray(solve_positive_definite(jnp.asarray(matrix), jnp.asarray(right)))
    expected = np.linalg.solve(root @ root.T, right / scale) / scale
    np.testing.assert_allclose(x, expected, rtol=1e-9)


@given(seed=seeds, dtype=st.sampled_from(DTYPES))
def test_inverse_is_numpys(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    matrix = (rng.normal(size=(3, 3)) * 10.0 ** rng.uniform(-3, 3, (3, 1))).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        found = np.asarray(inverse_3x3(jnp.asarray(matrix)))
    assert found.dtype == dtype
    # Rows of any length will do: what counts are their directions.
    lengths = np.linalg.norm(matrix.astype(float), axis=1)
    rows = matrix / lengths[:, None]
    expected = np.linalg.inv(rows) / lengths[None, :]
    bound = 20 * np.finfo(dtype).eps * np.linalg.cond(rows) ** 2
    assert (np.abs(found - expected) <= bound * np.linalg.norm(expected, axis=0)).all()


@given(seed=seeds)
@settings(max_examples=5)
def test_slope_of_the_inverse(seed: int) -> None:
    """dA^-1 = -A^-1 dA A^-1."""
    matrix, step = np.random.default_rng(seed).normal(size=(2, 3, 3))
    with jax.enable_x64(True):
        _, slope = jax.jvp(inverse_3x3, (jnp.asarray(matrix),), (jnp.asarray(step),))
    inverse = np.linalg.inv(matrix)
    bound = 1e-13 * np.linalg.cond(matrix) ** 2 * np.linalg.norm(inverse) ** 2
    assert np.abs(np.asarray(slope) + inverse @ step @ inverse).max() <= bound
