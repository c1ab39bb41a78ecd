"""Generators: what is drawn has the property that was asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.generators import NETWORKS, network_of
from jaxrecon.training import fit

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = TrainConfig(generator_fit=FitConfig(2, 16, 3e-3, 300, 64), latent=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_samples_have_what_they_are_asked_for(name):
    """Of points on a noisy line, the property says where."""
    random = np.random.default_rng(0)
    values = random.normal(size=200)
    rows = np.stack([values, -2.0 * values], axis=1) + 0.1 * random.normal(size=(200, 2))
    items = jnp.float32(rows), jnp.float32(values)
    network = network_of(SMALL.replace(generator=name), 2)
    kept, aside = np.arange(160)[None], np.arange(160, 200)[None]
    weights = fit(network, items, kept, aside, SMALL.generator_fit).weights
    only = jax.tree.map(lambda array: array[0], weights)
    draw = jax.jit(jax.vmap(network.draw, (None, 0, None)))
    keys = jax.random.split(jax.random.key(0), 200)
    for value in (-1.0, 1.5):
        drawn = draw(only, keys, jnp.asarray(value, jnp.float32))
        np.testing.assert_allclose(drawn.mean(axis=0), [value, -2.0 * value], atol=0.3)
        if name == "flow":
            # The decoder of an autoencoder tells the mean; a flow the spread as well.
            assert 0.03 < drawn[:, 0].std() < 0.4
