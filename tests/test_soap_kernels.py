"""Kernels of SOAP: against those of DScribe; sparse points against scikit-matter's own order."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dscribe.kernels import AverageKernel, REMatchKernel

from jaxrecon.descriptors.soap.kernels import (
    average_kernel,
    environment_kernel,
    normalized,
    rematch_kernel,
    sparse_points,
)


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


RNG = np.random.default_rng(0)
ROWS = unit(RNG.uniform(size=(4, 6))), unit(RNG.uniform(size=(3, 6)))


def padded(rows: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """The rows and two more, of zeros and of anything, with their mask."""
    more = np.vstack([rows, np.zeros((1, 6)), RNG.uniform(size=(1, 6))])
    return jnp.asarray(more), jnp.arange(len(more)) < len(rows)


@pytest.mark.parametrize("zeta", [1, 4])
def test_kernels_of_structures_are_those_of_dscribe(zeta: int) -> None:
    def local(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (one @ other.T) ** zeta

    one, two = map(padded, ROWS)
    rows, mask = one
    pairs = {
        "average": (AverageKernel, average_kernel, {}),
        "rematch": (REMatchKernel, rematch_kernel, {"alpha": 0.3, "threshold": 1e-14}),
    }
    for reference, kernel, settings in pairs.values():
        peer = reference(metric="polynomial", degree=zeta, gamma=1, coef0=0, **settings)
        expected = peer.create(list(ROWS))

        def of(a: tuple, b: tuple, kernel: object = kernel, settings: dict = settings) -> float:
            arguments = {"gamma": settings["alpha"]} if settings else {}
            return kernel(environment_kernel(a[0], b[0], zeta), a[1], b[1], **arguments)

        found = normalized(of(one, two), of(one, one), of(two, two))
        assert float(found) == pytest.approx(expected[0, 1], rel=1e-9)
        assert np.isfinite(jax.grad(lambda x, of=of: of((x, mask), two))(rows)).all()


def test_environments_of_no_atom_have_no_similarity() -> None:
    found = environment_kernel(jnp.zeros((1, 6)), jnp.asarray(ROWS[0]))
    np.testing.assert_array_equal(found, 0.0)


def test_sparse_points_are_the_farthest_ones() -> None:
    pytest.importorskip("skmatter", reason="scikit-matter is not installed")
    rows = np.array([[0.0, 0], [0.1, 0], [5, 0], [0, 3], [5.1, 0.1]])
    chosen = sparse_points(rows, 3)
    assert sorted(chosen.tolist()) in ([0, 3, 4], [0, 2, 3])
    assert len(set(sparse_points(rows + 1, 2, "cur").tolist())) == 2


def test_more_points_than_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="expected count from 1 to 4 environments, got 9"):
        sparse_points(ROWS[0], 9)
