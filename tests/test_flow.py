"""Conditional flow matching: paths to a known distribution, what the loss asks for, learning."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.flow import WAVES, Velocity

SMALL = TrainConfig(generator="flow", generator_fit=FitConfig(2, 16, 3e-3, 300, 64))
MEAN, WIDTH = np.array([2.0, -1.0], np.float32), np.array([0.5, 0.05], np.float32)


@dataclass(frozen=True)
class Exact(Velocity):
    """That of the flow to a normal distribution around the property times a mean, in closed form.

    Straight paths between two normal distributions: the velocity is the expected difference of the
    ends where a path passes at some time.
    """

    factor: float = 1.0

    def __call__(self, weights, place, time, value):
        rest = 1.0 - time
        variance = rest**2 + (time * WIDTH) ** 2
        slope = (time * WIDTH**2 - rest) / variance
        return self.factor * (value * MEAN + slope * (place - time * value * MEAN))


EXACT = Exact.of(SMALL, 2)


def test_the_network_gets_place_time_and_property():
    network = Velocity.of(TrainConfig.preset("default"), 380).network
    assert network.sizes == (380 + 2 * WAVES + 1, 128, 128, 128, 380)
    velocity = Velocity.of(SMALL, 2)
    weights = jax.jit(velocity.init)(jax.random.key(0))
    place, other = jnp.ones(2), jnp.asarray(0.5)
    found = velocity(weights, place, other, other)
    for changed in (
        velocity(weights, place + 1.0, other, other),
        velocity(weights, place, other + 0.1, other),
        velocity(weights, place, other, other + 0.1),
    ):
        assert np.abs(changed - found).min() > 1e-5


def test_noise_is_carried_to_the_distribution():
    """The flow between two normal distributions is linear: every sample is known."""
    keys = jax.random.split(jax.random.key(0), 50)
    draw = jax.jit(jax.vmap(EXACT.draw, (None, 0, None)))
    for value in (1.0, -0.5):
        drawn = draw({}, keys, jnp.asarray(value))
        starts = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
        np.testing.assert_allclose(drawn, value * MEAN + WIDTH * np.asarray(starts), atol=0.02)


def test_the_loss_is_least_for_the_exact_velocity():
    random = np.random.default_rng(0)
    values = jnp.float32(random.normal(size=20_000))
    ends = values[:, None] * MEAN[None] + WIDTH[None] * jnp.float32(random.normal(size=(20_000, 2)))
    keys = jax.random.split(jax.random.key(0), len(values))

    def mean(velocity) -> float:
        losses = jax.jit(jax.vmap(velocity.loss, (None, 0, 0)))({}, keys, (ends, values))
        return float(losses.mean())

    least = mean(EXACT)
    for factor in (0.9, 1.1):
        other = Exact(EXACT.network, factor)
        # The loss is that of the exact velocity and the square of the difference from it.
        assert mean(other) > least + 0.01
    assert mean(Exact(EXACT.network, 1.1)) == pytest.approx(
        mean(Exact(EXACT.network, 0.9)), rel=0.02
    )
