"""JAX computes correctly, and no version is installed that is known to compute wrongly."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.contract

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
EXCLUDED = ("0.10.2", "0.11.0", "0.11.1")
SUPPORTED = ("0.10.1", "0.12.0")


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        *[("float32", rows) for rows in (100, 32_767, 32_768, 32_769, 33_000, 40_000, 65_537)],
        *[("float64", rows) for rows in (100, 16_383, 16_384, 16_385, 17_000, 32_769)],
    ],
)
def test_matrix_vector_products_are_summed_right(dtype: str, rows: int) -> None:
    """JAX issue 39103: jax 0.10.2 silently drops terms beyond 128 KiB of a column."""

    @jax.jit
    def lengths(x: jax.Array, matrix: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(x)

    counting = np.zeros((rows, 3))
    counting[:, 0] = np.arange(rows)
    rng = np.random.default_rng(0)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    with jax.enable_x64(dtype == "float64"):
        for x, matrix in [(counting, np.eye(3)), (rng.normal(size=(rows, 3)), rng.random((3, 3)))]:
            x, matrix = x.astype(dtype), matrix.astype(dtype)
            result = np.asarray(lengths(jnp.asarray(x), jnp.asarray(matrix)))
            assert result.dtype == dtype
            expected = ((x.astype(float) @ matrix.astype(float).T) ** 2).sum(1)
            np.testing.assert_allclose(result, expected, rtol=tolerance)


@pytest.mark.parametrize("package", ["jax", "jaxlib"])
def test_wrong_versions_are_excluded(package: str) -> None:
    listed = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    requirements = [Requirement(text) for text in listed]
    [allowed] = [item.specifier for item in requirements if item.name == package]
    assert not [version for version in EXCLUDED if version in allowed]
    assert all(version in allowed for version in SUPPORTED)
    installed = importlib.metadata.version(package)
    assert installed in allowed, f"{package} {installed} is outside {allowed}"
