"""Scalings: scikit-learn's numbers, the way back, and constant features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from jaxrecon import Fingerprint, featurize
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.scalings.minmax import MinMax
from jaxrecon.models.scalings.principal_axes import PrincipalAxes

FINGERPRINT = Fingerprint.preset("default", ["Pt"], r_cut=5.0, poolings=("max", "min", "mean"))
MEANS = 2 * FINGERPRINT.size // 3
"""Index of the first mean."""


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    random = np.random.default_rng(0)
    frames = [Atoms("Pt4", 1.5 * random.normal(size=(4, 3))) for _ in range(60)]
    return featurize(frames, FINGERPRINT)


def of_rows(function, rows) -> np.ndarray:
    return np.asarray(jax.vmap(function)(jnp.asarray(rows)))


def test_minmax_is_that_of_scikit_learn(x64, rows):
    rows = np.column_stack([rows, np.full(len(rows), 3.0), 1e-13 * rows[:, 0]])
    training, other = rows[:40], rows[40:]
    expected = MinMaxScaler(clip=True).fit(training)
    scaling = MinMax.fit(FINGERPRINT, training)
    assert scaling.size == rows.shape[1]
    np.testing.assert_allclose(
        of_rows(scaling.forward, other), expected.transform(other), atol=1e-12
    )
    assert (MinMaxScaler().fit(training).transform(other) > 1.0).any()
    np.testing.assert_allclose(
        of_rows(scaling.backward, of_rows(scaling.forward, training)), training
    )
    assert np.ptp(of_rows(scaling.forward, training)[:, -1]) == pytest.approx(1.0)


def test_principal_axes_are_that_of_scikit_learn(x64, rows):
    training, other = rows[:40], rows[40:]
    coordinates = Coordinates.of(FINGERPRINT)
    scaler = StandardScaler().fit(of_rows(coordinates.forward, training))
    varies = np.sqrt(scaler.var_) > 1e-5
    assert 30 < varies.sum() < FINGERPRINT.size
    standardised, others = (
        scaler.transform(of_rows(coordinates.forward, part)) * varies for part in (training, other)
    )
    scaling = PrincipalAxes.fit(FINGERPRINT, training)
    expected = PCA().fit(standardised)
    assert scaling.size == np.sum(
        expected.explained_variance_ > 1e-3 * expected.explained_variance_[0]
    )
    components = expected.components_[: scaling.size]
    signs = np.sign(np.sum(scaling.axes * components, axis=1))
    # Variances of scikit-learn divide by one less.
    unit = np.sqrt(expected.explained_variance_[: scaling.size].mean() * 39 / 40)
    wanted = others @ components.T * signs / unit
    np.testing.assert_allclose(of_rows(scaling.forward, other), wanted, atol=1e-7)
    covariance = np.cov(of_rows(scaling.forward, training).T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-8)
    assert np.trace(covariance) == pytest.approx(scaling.size)


def test_the_way_back_loses_only_the_dropped_axes(x64, rows):
    coordinates = Coordinates.of(FINGERPRINT)
    scaling = PrincipalAxes.fit(FINGERPRINT, rows)
    assert 5 < scaling.size < FINGERPRINT.size
    back = of_rows(scaling.backward, of_rows(scaling.forward, rows))
    widths = of_rows(coordinates.forward, rows).std(axis=0)
    change = of_rows(coordinates.forward, back) - of_rows(coordinates.forward, rows)
    varies = widths > 1e-5
    lost = np.mean((change[:, varies] / widths[varies]) ** 2)
    assert 1e-4 < lost < 0.02


def test_constant_features_come_back_as_their_mean(x64, rows):
    constant, nearly = MEANS, MEANS + 1
    flat = rows.copy()
    flat[:, constant] = 0.25
    flat[:, nearly] = 0.5 + 1e-7 * flat[:, nearly]
    scaling = PrincipalAxes.fit(FINGERPRINT, flat)
    assert scaling.width[constant] == scaling.width[nearly] == 0.0
    random = jnp.asarray(np.random.default_rng(0).normal(size=scaling.size))
    back = np.asarray(scaling.backward(random))
    assert back[constant] == pytest.approx(0.25)
    assert back[nearly] == pytest.approx(0.5, abs=1e-6)
    row = jnp.asarray(flat[0])
    np.testing.assert_array_equal(scaling.forward(row.at[constant].add(5.0)), scaling.forward(row))


def test_equal_fingerprints_have_no_axes(rows):
    with pytest.raises(ValueError, match="that differ, got the same for all 5"):
        PrincipalAxes.fit(FINGERPRINT, np.tile(rows[:1], (5, 1)))


def test_any_scaled_numbers_give_a_possible_fingerprint(rows):
    scaling = PrincipalAxes.fit(FINGERPRINT, rows)
    random = 10.0 * np.random.default_rng(0).normal(size=(100, scaling.size)).astype(np.float32)
    back = of_rows(scaling.backward, random)
    assert back.min() >= 0.0
    assert (back[:, : MEANS // 2] >= back[:, MEANS // 2 : MEANS]).all()
    features = np.ones((1, FINGERPRINT.size), np.float32) * random[:, :1]
    assert of_rows(MinMax.fit(FINGERPRINT, rows).backward, features).min() < 0.0
