"""Random starts: their ranges and distributions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import covalent_radii
from scipy.stats import kstest

from jaxrecon.search.initialize import (
    EDGE_RANGE,
    PACKING,
    compact_edge,
    normal,
    radii,
    random_positions,
)

CELL = np.array([[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [-1.0, 0.5, 6.0]])
PT10 = jnp.full(10, 78)
FLOAT32 = jnp.dtype("float32")


def drawn(count: int, species: jax.Array, cell: np.ndarray | None) -> np.ndarray:
    """Random positions from several keys, all derived from one."""
    cell = None if cell is None else jnp.asarray(cell, FLOAT32)
    keys = jax.random.split(jax.random.key(0), count)
    shape = (len(species) + 1, 3)
    draw = jax.jit(
        jax.vmap(
            lambda key: random_positions(
                jax.random.uniform(key, shape), radii(species, FLOAT32), cell
            )
        )
    )
    return np.asarray(draw(keys))


def test_radii_are_those_of_ase() -> None:
    np.testing.assert_allclose(
        radii(jnp.array([1, 8, 78]), FLOAT32), covalent_radii[[1, 8, 78]], rtol=1e-6
    )


def test_the_compact_cube_has_the_packing() -> None:
    for numbers in ([78] * 10, [1, 1, 8], [6]):
        edge = float(compact_edge(radii(jnp.array(numbers), FLOAT32)))
        spheres = (4 / 3 * np.pi * covalent_radii[numbers] ** 3).sum()
        assert spheres / edge**3 == pytest.approx(PACKING, rel=1e-5)


def test_positions_in_a_cell_are_uniform() -> None:
    positions = drawn(400, jnp.array([8, 8, 1]), CELL)
    fractions = positions.reshape(-1, 3) @ np.linalg.inv(CELL)
    assert fractions.min() > -1e-5
    assert fractions.max() < 1 + 1e-5
    for axis in range(3):
        assert kstest(fractions[:, axis], "uniform").pvalue > 1e-3
    # Atoms and axes are independent.
    correlation = np.corrcoef(fractions.reshape(400, 9), rowvar=False) - np.eye(9)
    assert np.abs(correlation).max() < 0.2


def test_free_starts_fill_cubes_of_many_sizes() -> None:
    positions = drawn(500, PT10, None)
    edge = float(compact_edge(radii(PT10, FLOAT32)))
    low, high = EDGE_RANGE
    assert positions.min() >= 0
    assert positions.max() <= high * edge
    # The largest of ten uniform numbers is at 10/11 of the edge on average.
    edges = positions.max(axis=1).mean(axis=1) * 11 / 10 / edge
    assert edges.min() < low + 0.15
    assert edges.max() > high - 0.25
    assert edges.mean() == pytest.approx((low + high) / 2, abs=0.05)


@pytest.mark.parametrize("cell", [None, CELL])
def test_the_key_decides_the_positions(cell: np.ndarray | None) -> None:
    first, second = drawn(2, PT10, cell)
    np.testing.assert_array_equal(drawn(2, PT10, cell)[0], first)
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [None, CELL])
def test_the_dtype_is_that_of_the_radii(cell: np.ndarray | None, dtype: str) -> None:
    with jax.enable_x64(True):
        cell = None if cell is None else jnp.asarray(cell, dtype)
        positions = random_positions(
            jax.random.uniform(jax.random.key(0), (2, 3), jnp.dtype(dtype)),
            radii(jnp.array([78]), jnp.dtype(dtype)),
            cell,
        )
        assert positions.dtype == dtype
        assert positions.shape == (1, 3)
        assert np.isfinite(positions).all()


def test_normal_numbers() -> None:
    """They are standard normal, and finite for the smallest and largest uniform numbers."""
    chances = jax.random.uniform(jax.random.key(3), (4000,))
    assert kstest(np.asarray(normal(chances)), "norm").pvalue > 1e-3
    ends = np.asarray(normal(jnp.asarray([0.0, 0.5, 1.0 - 2.0**-23], FLOAT32)))
    assert np.isfinite(ends).all()
    assert -6.0 < ends[0] < -4.0 < 4.0 < ends[2] < 6.0
    assert abs(ends[1]) < 1e-6
