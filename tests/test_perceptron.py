"""Perceptrons: layers computed by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.models.perceptron import Architecture


def by_hand(weights, inputs, activation):
    layers = [weights["layers"][number] for number in range(len(weights["layers"]))]
    for number, layer in enumerate(layers):
        inputs = inputs @ np.asarray(layer["kernel"]) + np.asarray(layer.get("bias", 0.0))
        if number < len(layers) - 1:
            inputs = activation(inputs)
    return inputs


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0.0, x, np.expm1(x))


@pytest.mark.parametrize(
    ("name", "activation", "bias"),
    [
        ("relu", lambda x: np.maximum(x, 0.0), True),
        ("elu", elu, True),
        ("sigmoid", lambda x: 1.0 / (1.0 + np.exp(-x)), False),
    ],
)
def test_layers_are_what_their_sizes_say(name, activation, bias):
    architecture = Architecture((5, 7, 6, 2), name, bias=bias)
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
