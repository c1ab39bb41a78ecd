"""Gaussian processes: scikit-learn's own predictions, derivatives, many examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import Fingerprint, featurize
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.models.examples import Examples
from jaxrecon.models.surrogates import gaussian_process
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess

FINGERPRINT = Fingerprint.preset("default", ["Pt"])


def energies(rows: np.ndarray) -> np.ndarray:
    """A nonlinear function of the fingerprint, as if in eV/atom."""
    return 3.0 - 0.8 * np.sqrt(rows[:, 2]) + 0.1 * np.sin(4.0 * rows[:, 3])


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return featurize([random_cluster("Pt5", seed) for seed in range(90)], FINGERPRINT).astype(float)


@pytest.fixture(scope="module")
def process(rows: np.ndarray) -> GaussianProcess:
    return GaussianProcess.fit(Examples.of(FINGERPRINT, rows[:60], energies(rows[:60])))


def predicted(process: GaussianProcess, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means, deviations = jax.jit(jax.vmap(process))(jnp.asarray(rows))
    return np.asarray(means), np.asarray(deviations)


def test_predictions_of_new_structures(process: GaussianProcess, rows: np.ndarray) -> None:
    mean, _ = predicted(process, rows[60:])
    wrong = np.abs(mean - energies(rows[60:]))
    assert wrong.mean() < 0.2 * energies(rows[60:]).std()


def test_same_as_scikit_learn(process: GaussianProcess, rows: np.ndarray, x64: None) -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    values = energies(rows[:60])
    root = np.sqrt(rows + 1e-6) - 1e-3
    centre, width = root[:60].mean(0), root[:60].std(0)
    inputs = (root - centre) / np.where(width > 1e-5, width, np.inf)
    a, length, b, noise = process.kernel
    kernel = ConstantKernel(a) * RBF(length) + ConstantKernel(b) * DotProduct(1.0)
    oracle = GaussianProcessRegressor(kernel + WhiteKernel(noise), optimizer=None)
    oracle.fit(inputs[:60], (values - values.mean()) / values.std())
    mean, deviation = oracle.predict(inputs, return_std=True)
    ours, spread = predicted(process, rows)
    np.testing.assert_allclose(ours, values.mean() + values.std() * mean, atol=1e-6)
    np.testing.assert_allclose(spread, values.std() * deviation, rtol=1e-3, atol=1e-6)


def test_float32_keeps_the_digits(process: GaussianProcess, rows: np.ndarray) -> None:
    low = predicted(process, rows.astype(np.float32))
    with jax.enable_x64(True):
        high = predicted(process, rows)
    assert low[0].dtype == np.float32
    np.testing.assert_allclose(low[0], high[0], atol=2e-3 * energies(rows).std())
    np.testing.assert_allclose(low[1], high[1], rtol=0.05)


def test_far_from_the_data_the_deviation_is_large(
    process: GaussianProcess, rows: np.ndarray
) -> None:
    inside, outside = predicted(process, rows[:60])[1], predicted(process, rows[:60] * 4.0)[1]
    assert inside.max() < outside.min()


def test_gradients_are_those_of_differences(
    process: GaussianProcess, rows: np.ndarray, x64: None
) -> None:
    row, step = jnp.asarray(rows[70]), 1e-6
    for part in (0, 1):
        jacobians = jax.jit(jax.grad(lambda value, part=part: process(value)[part]))(row)
        for feature in (0, 11, 40):
            upper, lower = row.at[feature].add(step), row.at[feature].add(-step)
            difference = (process(upper)[part] - process(lower)[part]) / (2.0 * step)
            np.testing.assert_allclose(jacobians[feature], difference, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("most", [100, 50])
def test_with_many_examples_a_sample_decides_the_variance(
    most: int, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch, x64: None
) -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    monkeypatch.setattr(gaussian_process, "MAX_EXAMPLES", 30)
    monkeypatch.setattr(gaussian_process, "MAX_OBSERVATIONS", most)
    values = energies(rows[:80])
    process = GaussianProcess.fit(Examples.of(FINGERPRINT, rows[:80], values))
    raw = np.asarray(jax.vmap(process.coordinates.forward)(jnp.asarray(rows)))
    inputs, learned = (raw - process.centre) * process.inverse_width, process.inputs
    which = np.array([np.argmin(((inputs[:80] - point) ** 2).sum(axis=1)) for point in learned])
    assert len(set(which)) == len(learned) == min(most, 80)

    a, length, b, noise = process.kernel
    kernel = ConstantKernel(a) * RBF(length) + ConstantKernel(b) * DotProduct(1.0)
    oracle = GaussianProcessRegressor(kernel + WhiteKernel(noise), optimizer=None)
    outputs = (values - values.mean()) / values.std()
    mean = oracle.fit(learned, outputs[which]).predict(inputs)
    few = oracle.fit(learned[:30], outputs[which[:30]])
    ours, deviations = predicted(process, rows)
    np.testing.assert_allclose(ours, values.mean() + values.std() * mean, atol=1e-6)
    expected = values.std() * few.predict(inputs, return_std=True)[1]
    np.testing.assert_allclose(deviations, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, values: (rows, np.ones_like(values)), "values that differ, got 1.0 for all"),
        (lambda rows, values: (rows, values / 0.0), "finite"),
        (lambda rows, values: (rows * np.nan, values), "finite"),
    ],
)
def test_useless_data_are_refused(change, message, rows: np.ndarray) -> None:
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        GaussianProcess.fit(Examples.of(FINGERPRINT, *change(rows, energies(rows))))
