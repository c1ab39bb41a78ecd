"""Rigidities against scikit-matter, and against what they mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.models.calibration import calibrated, calibrated_with_floor
from jaxrecon.models.rigidity import (
    PredictionRigidity,
    Rigidity,
    componentwise_prediction_rigidity,
    local_prediction_rigidity,
)

metrics = pytest.importorskip("skmatter.metrics")


@pytest.fixture
def structures() -> list[np.ndarray]:
    """Correlated features of atoms of twelve structures of different sizes."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(10, 10)) * np.logspace(0, -3, 10)[None]
    return [rng.normal(size=(3 + number % 5, 10)) @ mixing + 1.0 for number in range(12)]


@pytest.mark.parametrize("alpha", [1e-8, 1e-3, 1.0])
def test_scikit_matter_finds_the_same(structures: list[np.ndarray], alpha: float) -> None:
    train, test = structures[:8], structures[8:]
    expected, rank = metrics.local_prediction_rigidity(train, test, alpha)
    found, own_rank = local_prediction_rigidity(train, test, alpha)
    assert rank == own_rank
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7 if alpha < 1e-6 else 1e-10)


def test_scikit_matter_finds_the_same_components(structures: list[np.ndarray]) -> None:
    train, test = structures[:8], structures[8:]
    parts = np.array([4, 1, 5])
    expected = metrics.componentwise_prediction_rigidity(train, test, 1e-3, parts)
    found = componentwise_prediction_rigidity(train, test, 1e-3, parts)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    assert found[2] == expected[2]


def test_directions_that_nothing_holds_are_left_out(structures: list[np.ndarray]) -> None:
    train = structures[:4]
    expected, rank = metrics.local_prediction_rigidity(train, train, 0.0)
    found, own_rank = local_prediction_rigidity(train, train, 0.0)
    assert rank == own_rank == 6
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), rtol=1e-4)


def test_features_that_are_equal_in_training_alone() -> None:
    # Round-off decides whether a Cholesky factorisation of their matrix fails.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        train = [rng.normal(size=(4, 6))[:, [0, 1, 2, 3, 4, 5, 0]] for _ in range(30)]
        test = [rng.normal(size=(4, 7)) for _ in range(3)]
        expected, rank = metrics.local_prediction_rigidity(train, test, 0.0)
        found, own_rank = local_prediction_rigidity(train, test, 0.0)
        assert rank == own_rank == 1
        np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), rtol=1e-8)


def test_it_is_what_a_constrained_prediction_costs(structures: list[np.ndarray]) -> None:
    # The loss after a refit with the prediction of one atom moved by delta, by Lagrange.
    mu, delta = 0.1, 0.3
    means = np.stack([rows.mean(axis=0) for rows in structures])
    values = np.random.default_rng(1).normal(size=len(means))
    row = structures[3][1]
    matrix = means.T @ means + mu * np.eye(10)
    weights = np.linalg.solve(matrix, means.T @ values)

    def loss(weights: np.ndarray) -> float:
        return float(np.sum((means @ weights - values) ** 2) + mu * np.sum(weights**2))

    system = np.block([[2 * matrix, row[:, None]], [row[None], np.zeros((1, 1))]])
    right = np.concatenate([2 * means.T @ values, [row @ weights + delta]])
    moved = np.linalg.solve(system, right)[:10]
    with jax.enable_x64(True):
        rigidity = float(Rigidity.of(means, mu)(jnp.asarray(row[None]))[0])
    assert (loss(moved) - loss(weights)) / delta**2 == pytest.approx(rigidity, rel=1e-8)


def test_copies_of_a_single_environment_hold_it_as_many_times() -> None:
    # Of equal atoms the mean is the row of each: alone, LPR = (k + mu / |x|^2).
    row, mu = np.array([0.3, -1.2, 0.5]), 0.01
    with jax.enable_x64(True):
        found = [
            float(Rigidity.of(np.tile(row, (copies, 1)), mu)(jnp.asarray(row[None]))[0])
            for copies in (1, 2, 5)
        ]
    np.testing.assert_allclose(found, np.array([1, 2, 5]) + mu / (row @ row), rtol=1e-10)


def test_a_single_environment_in_the_training_set_is_held(structures: list[np.ndarray]) -> None:
    row, mu = structures[0][0], 1e-3
    means = np.stack([row, *[rows.mean(axis=0) for rows in structures]])
    with jax.enable_x64(True):
        found = float(Rigidity.of(means, mu)(jnp.asarray(row[None]))[0])
    assert found >= 1.0 + mu / (row @ row)


def test_a_search_can_be_guided_by_it(structures: list[np.ndarray]) -> None:
    rigidity = Rigidity.of(np.stack([rows.mean(axis=0) for rows in structures]), 1e-2)
    rows = jnp.asarray(structures[0], jnp.float32)
    gradient = jax.jit(jax.grad(lambda rows: jnp.sqrt(rigidity.variance(rows)).sum()))(rows)
    assert np.isfinite(gradient).all()
    assert np.isfinite(jax.grad(lambda rows: rigidity.variance(rows).sum())(0.0 * rows)).all()


@pytest.mark.parametrize("method", ["squared", "absolute", "crps"])
def test_calibration_finds_the_factor(method: str) -> None:
    rng = np.random.default_rng(2)
    variances = rng.uniform(0.5, 2.0, 4000)
    errors = 0.3 * np.sqrt(variances) * rng.normal(size=4000)
    assert calibrated(variances, errors, method) == pytest.approx(0.3, rel=0.05)


def test_calibration_finds_factor_and_floor() -> None:
    rng = np.random.default_rng(3)
    variances = rng.uniform(0.1, 4.0, 20_000)
    errors = np.sqrt(0.5**2 * variances + 0.6**2) * rng.normal(size=20_000)
    assert calibrated_with_floor(variances, errors) == pytest.approx((0.5, 0.6), rel=0.1)
    errors = 0.5 * np.sqrt(variances) * rng.normal(size=20_000)
    assert calibrated_with_floor(variances, errors) == pytest.approx((0.5, 0.0), abs=0.02)


def test_bad_input_is_refused(structures: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="finite alpha >= 0, got -1"):
        PredictionRigidity(-1.0)
    with pytest.raises(ValueError, match="at least one structure"):
        PredictionRigidity(1.0).fit([])
    with pytest.raises(ValueError, match=r"components with 10 features in all, .* got \[3, 4\]"):
        PredictionRigidity(1.0, [3, 4]).fit(structures)
    with pytest.raises(ValueError, match=r"shape \(atoms, 10\)"):
        PredictionRigidity(1.0).fit(structures).predict([np.zeros((2, 3))])
    with pytest.raises(ValueError, match="'squared', 'absolute' or 'crps'"):
        calibrated(np.ones(2), np.ones(2), "best")
    with pytest.raises(ValueError, match="call fit"):
        PredictionRigidity(1.0).predict(structures)
    with pytest.raises(ValueError, match="at least one each"):
        PredictionRigidity(1.0, [11, -1]).fit(structures)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 10)), "features that are not all zero"),
        (np.zeros((0, 10)), "at least one atom in structure 0"),
        (np.full((2, 10), np.nan), "finite features of structure 0"),
    ],
)
def test_rows_that_say_nothing_are_refused(
    rows: np.ndarray, message: str, structures: list[np.ndarray]
) -> None:
    with pytest.raises(ValueError, match=message):
        PredictionRigidity(1.0).fit([rows])
    if rows.size == 0 or np.isnan(rows).any():
        with pytest.raises(ValueError, match=message):
            PredictionRigidity(1.0).fit(structures).predict([rows])


@pytest.mark.parametrize(
    ("variances", "errors", "message"),
    [
        (np.zeros(0), np.zeros(0), "at least one, got 0 and 0"),
        (np.ones(2), np.zeros(2), "errors that are not all zero"),
        (np.ones(2), np.array([1.0, np.nan]), "finite errors"),
        (-np.ones(2), np.ones(2), "variances > 0"),
    ],
)
def test_calibration_needs_errors(variances: np.ndarray, errors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrated(variances, errors, "crps")
