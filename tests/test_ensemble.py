"""Perceptrons, their ensemble, and slopes by the fingerprint."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import Fingerprint
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.scalings.principal_axes import MinMax
from jaxrecon.models.surrogates.ensemble import Architecture, Ensemble, Regressor, regressor_of

FINGERPRINT = Fingerprint.preset("default", ["Pt"], poolings=("mean",))


def by_hand(weights, inputs, activation):
    layers = [weights["layers"][number] for number in range(len(weights["layers"]))]
    for number, layer in enumerate(layers):
        inputs = inputs @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        if number < len(layers) - 1:
            inputs = activation(inputs)
    return inputs


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0.0, x, np.expm1(x))


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("relu", lambda x: np.maximum(x, 0.0)),
        ("elu", elu),
    ],
)
def test_layers_are_what_their_sizes_say(name, activation):
    architecture = Architecture((5, 7, 6, 2), name)
    init = jax.jit(architecture.init)
    weights = init(jax.random.key(0))
    shapes = [weights["layers"][number]["kernel"].shape for number in range(3)]
    assert shapes == [(5, 7), (7, 6), (6, 2)]
    inputs = np.random.default_rng(0).normal(size=5).astype(np.float32)
    found = jax.jit(architecture)(weights, jnp.asarray(inputs))
    np.testing.assert_allclose(found, by_hand(weights, inputs, activation), rtol=1e-5)
    assert (
        init(jax.random.key(1))["layers"][0]["kernel"][0, 0] != weights["layers"][0]["kernel"][0, 0]
    )


def test_the_regressor_of_the_paper():
    network = regressor_of(TrainConfig.preset("fung2022"), 380).network
    assert network.sizes == (380, 256, 256, 256, 256, 256, 1)
    assert network.activation == "relu"
    own = TrainConfig(surrogate_fit=FitConfig(2, 3, 1e-3, 1, 1))
    assert regressor_of(own, 4).network.sizes == (4, 3, 3, 1)


def ensemble(members: int) -> tuple[Ensemble, np.ndarray]:
    random = np.random.default_rng(0)
    rows = random.uniform(size=(20, FINGERPRINT.size))
    regressor = Regressor(Architecture((FINGERPRINT.size, 8, 1)))
    weights = jax.jit(jax.vmap(regressor.init))(jax.random.split(jax.random.key(0), members))
    scaling = MinMax.fit(FINGERPRINT, rows)
    return Ensemble(regressor, weights, scaling, np.asarray(2.5), np.asarray(0.4)), rows


def test_an_ensemble_tells_mean_and_deviation_in_the_unit_of_the_property():
    predictor, rows = ensemble(4)
    row = jnp.asarray(rows[3], jnp.float32)
    scaled = np.asarray(predictor.scaling.forward(row))
    members = [jax.tree.map(lambda array, i=i: array[i], predictor.weights) for i in range(4)]
    said = np.array([by_hand(each, scaled, elu)[0] for each in members])
    mean, deviation = jax.jit(lambda predictor, row: predictor(row))(predictor, row)
    assert float(mean) == pytest.approx(2.5 + 0.4 * said.mean(), rel=1e-5)
    assert float(deviation) == pytest.approx(0.4 * said.std(), rel=1e-4)


@pytest.mark.parametrize("members", [1, 3])
def test_slopes_by_the_fingerprint(members):
    predictor, rows = ensemble(members)
    with jax.enable_x64(True):
        row = jnp.asarray(rows[0])
        told = jax.jit(lambda row: predictor(row))
        mean, deviation = told(row)
        assert mean.dtype == deviation.dtype == np.float64
        assert (deviation == 0.0) == (members == 1)
        step = 1e-5 * jnp.asarray(np.random.default_rng(1).normal(size=row.shape))
        slopes = jax.jit(jax.jacobian(told))(row)
        for slope, upper, lower in zip(
            slopes, told(row + step / 2), told(row - step / 2), strict=True
        ):
            assert np.isfinite(slope).all()
            assert float(slope @ step) == pytest.approx(float(upper - lower), rel=1e-4, abs=1e-12)


def test_the_loss_of_a_regressor_is_the_squared_error():
    regressor = Regressor(Architecture((2, 3, 1)))
    weights = jax.jit(regressor.init)(jax.random.key(0))
    said = regressor(weights, jnp.ones(2))
    loss = regressor.loss(weights, jax.random.key(1), (jnp.ones(2), jnp.asarray(0.7)))
    assert float(loss) == pytest.approx((float(said) - 0.7) ** 2)
