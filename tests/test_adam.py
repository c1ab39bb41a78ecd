"""Adam against optax and the published equations, and the loss that it lowers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from strategies import random_cluster

from jaxrecon import ACSF, Fingerprint, featurize, from_ase
from jaxrecon.search.adam import adam
from jaxrecon.search.objectives import mean_absolute_residual
from jaxrecon.structures.structure import Structure

RATE, STEPS = 0.1, 25


def scheduled_rates() -> np.ndarray:
    """Learning rates that fall along half a cosine to 5 % of the first one."""
    return RATE * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * np.arange(STEPS) / STEPS)))


def bumpy(x: jax.Array) -> jax.Array:
    """A function with many minima."""
    return jnp.sum((x - 1.0) ** 2) + jnp.sum(jnp.sin(5.0 * x)) + x[0, 0] * x[1, 2]


def test_adam_is_a_plain_optax_loop(x64: None) -> None:
    start = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    scale = optax.scale_by_adam()
    positions, state = start, scale.init(start)
    for rate in scheduled_rates():
        updates, state = scale.update(jax.grad(bumpy)(positions), state)
        positions = positions - rate * updates
    result = adam(bumpy, start, steps=STEPS, learning_rate=RATE)
    np.testing.assert_allclose(result, positions, rtol=1e-12)


def test_adam_is_the_published_recursion(x64: None) -> None:
    """Kingma and Ba, algorithm 1, in NumPy."""
    start = np.random.default_rng(1).normal(size=(3, 3))
    x, m, v = start.copy(), np.zeros((3, 3)), np.zeros((3, 3))
    for t, rate in enumerate(scheduled_rates(), start=1):
        gradient = np.asarray(jax.grad(bumpy)(jnp.asarray(x)))
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        x -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    result = adam(bumpy, jnp.asarray(start), steps=STEPS, learning_rate=RATE)
    np.testing.assert_allclose(result, x, rtol=1e-9)


@pytest.mark.parametrize("enabled", [False, True])
def test_the_dtype_is_that_of_the_start(enabled: bool) -> None:
    with jax.enable_x64(enabled):
        for dtype in ("float32", "float64") if enabled else ("float32",):
            start = jnp.ones((2, 3), dtype)
            assert adam(bumpy, start, steps=3, learning_rate=RATE).dtype == dtype


def test_without_steps_the_start_is_returned() -> None:
    start = jnp.ones((2, 3))
    assert adam(bumpy, start, steps=0, learning_rate=RATE) is start


@pytest.mark.usefixtures("strict_types")
def test_adam_lowers_the_loss_of_a_fingerprint() -> None:
    fingerprint = Fingerprint(ACSF(elements=("O",), g2_eta=(0.5,), g5_zeta=(1, 4), g5_eta=(0.1,)))
    atoms = random_cluster(0, 5, ("O",))
    target = jnp.asarray(featurize(atoms, fingerprint)[0], jnp.float32)
    structure = from_ase(atoms)
    noise = np.random.default_rng(0).normal(size=(5, 3)) * 0.2

    def loss(positions: jax.Array) -> jax.Array:
        moved = Structure(positions, structure.species, structure.mask)
        return mean_absolute_residual(fingerprint(moved), target)

    start = structure.positions + jnp.asarray(noise, jnp.float32)
    end = jax.jit(lambda x: adam(loss, x, steps=100, learning_rate=0.05))(start)
    assert loss(end) < 0.1 * loss(start)


def test_mean_absolute_residual_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    value, target = (rng.normal(size=50).astype(np.float32) for _ in range(2))
    arguments = jnp.asarray(value), jnp.asarray(target)
    expected = np.abs(value - target).mean()
    np.testing.assert_allclose(mean_absolute_residual(*arguments), expected, rtol=1e-6)
    gradient = jax.grad(mean_absolute_residual)(*arguments)
    np.testing.assert_allclose(gradient, np.sign(value - target) / 50, rtol=1e-6)
    # At a certified solution many residuals are exactly zero.
    assert np.isfinite(jax.grad(mean_absolute_residual)(arguments[0], arguments[0])).all()
