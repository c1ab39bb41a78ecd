"""Ensembles of networks: mean and deviation of the members, and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_perceptron import by_hand, elu

from jaxrecon import Fingerprint
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.perceptron import Architecture
from jaxrecon.models.scalings.minmax import MinMax
from jaxrecon.models.surrogates.ensemble import Ensemble, Regressor

FINGERPRINT = Fingerprint.preset("default", ["Pt"], poolings=("mean",))


def test_the_regressor_of_the_paper():
    network = Regressor.of(TrainConfig.preset("fung2022"), 380).network
    assert network.sizes == (380, 256, 256, 256, 256, 256, 1)
    assert network.activation == "relu"
    own = TrainConfig(surrogate_fit=FitConfig(2, 3, 1e-3, 1, 1))
    assert Regressor.of(own, 4).network.sizes == (4, 3, 3, 1)


def ensemble(members: int) -> tuple[Ensemble, np.ndarray]:
    random = np.random.default_rng(0)
    rows = random.uniform(size=(20, FINGERPRINT.size))
    regressor = Regressor(Architecture((FINGERPRINT.size, 8, 1)))
    weights = jax.jit(jax.vmap(regressor.init))(jax.random.split(jax.random.key(0), members))
    scaling = MinMax.fit(FINGERPRINT, rows)
    return Ensemble(regressor, weights, scaling, np.asarray(2.5), np.asarray(0.4)), rows


def test_predictions_are_in_the_unit_of_the_property():
    predictor, rows = ensemble(4)
    row = jnp.asarray(rows[3], jnp.float32)
    scaled = np.asarray(predictor.scaling.forward(row))
    members = [jax.tree.map(lambda array, i=i: array[i], predictor.weights) for i in range(4)]
    predictions = np.array([by_hand(weights, scaled, elu)[0] for weights in members])
    mean, deviation = jax.jit(lambda predictor, row: predictor(row))(predictor, row)
    assert float(mean) == pytest.approx(2.5 + 0.4 * predictions.mean(), rel=1e-5)
    assert float(deviation) == pytest.approx(0.4 * predictions.std(), rel=1e-4)


@pytest.mark.parametrize("members", [1, 3])
def test_gradients_are_those_of_differences(members):
    predictor, rows = ensemble(members)
    with jax.enable_x64(True):
        row = jnp.asarray(rows[0])
        predict = jax.jit(lambda row: predictor(row))
        mean, deviation = predict(row)
        assert mean.dtype == deviation.dtype == np.float64
        assert (deviation == 0.0) == (members == 1)
        step = 1e-5 * jnp.asarray(np.random.default_rng(1).normal(size=row.shape))
        gradients = jax.jit(jax.jacobian(predict))(row)
        for gradient, upper, lower in zip(
            gradients, predict(row + step / 2), predict(row - step / 2), strict=True
        ):
            assert np.isfinite(gradient).all()
            expected = pytest.approx(float(upper - lower), rel=1e-4, abs=1e-12)
            assert float(gradient @ step) == expected


def test_the_loss_of_a_regressor_is_the_squared_error():
    regressor = Regressor(Architecture((2, 3, 1)))
    weights = jax.jit(regressor.init)(jax.random.key(0))
    predicted = regressor(weights, jnp.ones(2))
    loss = regressor.loss(weights, jax.random.key(1), (jnp.ones(2), jnp.asarray(0.7)))
    assert float(loss) == pytest.approx((float(predicted) - 0.7) ** 2)
