"""The conditional autoencoder: its layers, its loss and its samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.fitting import fit
from jaxrecon.models.generators.autoencoder import Autoencoder

SMALL = TrainConfig(generator_fit=FitConfig(2, 16, 3e-3, 300, 64), latent=2)


def test_layers_narrow_as_in_the_published_program():
    network = Autoencoder.of(TrainConfig.preset("fung2022"), 380)
    assert network.encoder.sizes == (381, 128, 93, 59, 2 * 25)
    assert network.decoder.sizes == (26, 60, 94, 128, 380)
    assert (network.encoder.activation, network.decoder.activation) == ("elu", "elu")
    assert (network.latent, network.beta) == (25, 0.75)


@pytest.mark.parametrize("beta", [0.0, 0.75])
def test_the_loss_is_squares_and_divergence(beta):
    """The divergence of two normal distributions is computed by integration."""
    network = Autoencoder.of(SMALL.replace(beta=beta), 3)
    weights = jax.jit(network.init)(jax.random.key(0))
    scaled, value = jnp.asarray([0.5, -1.0, 2.0]), jnp.asarray(0.3)
    key = jax.random.key(1)
    means, logarithms = jax.jit(network.encode)(weights, scaled, value)
    divergence = 0.0
    for mean, logarithm in zip(np.asarray(means), np.asarray(logarithms), strict=True):
        own, normal = stats.norm(mean, np.exp(logarithm / 2)), stats.norm()
        divergence += integrate.quad(
            lambda z, own=own, normal=normal: own.pdf(z) * (own.logpdf(z) - normal.logpdf(z)),
            -15,
            15,
        )[0]
    latent = means + jnp.exp(logarithms / 2) * jax.random.normal(key, (2,))
    squares = np.sum((jax.jit(network.decode)(weights, latent, value) - scaled) ** 2)
    found = jax.jit(network.loss)(weights, key, (scaled, value))
    assert divergence > 0.01
    assert float(found) == pytest.approx(float(squares) + beta * divergence, rel=1e-4)


@pytest.mark.slow
def test_samples_have_the_wanted_property():
    """The examples are points on a noisy line; the property is the place on it."""
    random = np.random.default_rng(0)
    values = random.normal(size=200)
    rows = np.stack([values, -2.0 * values], axis=1) + 0.1 * random.normal(size=(200, 2))
    items = jnp.float32(rows), jnp.float32(values)
    network = Autoencoder.of(SMALL, 2)
    training, validation = np.arange(160)[None], np.arange(160, 200)[None]
    fitted = fit(network, items, training, validation, SMALL.generator_fit).weights
    weights = jax.tree.map(lambda array: array[0], fitted)
    draw = jax.jit(jax.vmap(network.draw, (None, 0, None)))
    keys = jax.random.split(jax.random.key(0), 200)
    for value in (-1.0, 1.5):
        drawn = draw(weights, keys, jnp.asarray(value, jnp.float32))
        np.testing.assert_allclose(drawn.mean(axis=0), [value, -2.0 * value], atol=0.3)
