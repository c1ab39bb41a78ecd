"""The scales of numbers in a descent: what they are, and that every hop descends by them."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import molecule
from drawing import random_start

from jaxrecon import ACSF, Fingerprint, ReconstructConfig
from jaxrecon.search.compiled import NO_HOP, Population, hop
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.moves import move_weights
from jaxrecon.search.scaling import LEAST, inverse_roots, scaled
from jaxrecon.search.task import Task

WATER = molecule("H2O")
FINGERPRINT = Fingerprint(
    ACSF(("H", "O"), 4.0, g2_eta=(0.002, 0.05, 4.0), g2_r_s=(0.0, 1.5), g5_zeta=(1,), g5_eta=(0.1,))
)
CONFIG = ReconstructConfig(replicas=4, refine_steps=2, candidates=2)
KEY = jax.random.key(5)


def task() -> Task:
    """The task to find water."""
    species = jnp.asarray(WATER.numbers)
    empty = Task(jnp.zeros(FINGERPRINT.size), species, None)
    target = FINGERPRINT(empty.structure(jnp.asarray(WATER.positions, jnp.float32)))
    return replace(empty, target=target)


def test_weights_even_out_how_much_numbers_vary() -> None:
    """Divided by the root of its deviation, a number deviates by that root."""
    given = task()
    weights = np.asarray(scaled(KEY, FINGERPRINT, CONFIG, given).weights)
    starts = jax.vmap(lambda key: random_start(key, CONFIG, given))(jax.random.split(KEY, 400))
    values = np.asarray(jax.vmap(lambda x: FINGERPRINT(given.structure(x)))(starts))
    deviations = values.std(axis=0)
    varies = deviations > 10 * LEAST * deviations.max()
    assert varies.sum() > 10
    assert deviations[varies].max() > 3 * deviations[varies].min()
    # Of 32 structures and of 400 others: equal but for chance.
    root = (weights * deviations**0.5)[varies]
    np.testing.assert_allclose(root, np.median(root), rtol=0.2)
    np.testing.assert_allclose(weights.mean(), 1.0, rtol=1e-5)


def test_rows_that_are_not_finite_and_numbers_that_do_not_vary() -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * (1.0, 9.0, 0.0)
    values[7, 1] = np.inf
    kept = np.delete(values, 7, axis=0).std(axis=0)
    expected = 1.0 / np.sqrt(np.maximum(kept, LEAST * kept.max()))
    found = jax.jit(inverse_roots)(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)
    for nothing in (np.ones((4, 2)), np.full((4, 2), np.inf)):
        found = jax.jit(inverse_roots)(np.asarray(nothing, np.float32))
        np.testing.assert_array_equal(found, 1.0)


def test_errors_of_the_numbers_count_too_and_guided_tasks_stay() -> None:
    given = task()
    own = jnp.linspace(0.5, 1.5, FINGERPRINT.size)
    weighted = scaled(KEY, FINGERPRINT, CONFIG, replace(given, weights=own)).weights
    alone = scaled(KEY, FINGERPRINT, CONFIG, given).weights
    assert weighted is not None
    assert alone is not None
    np.testing.assert_allclose(weighted, own * alone, rtol=1e-6)
    none = np.zeros(0)
    guided = replace(
        given,
        guidance=Guidance(
            (), none, none, np.asarray(0.0), np.asarray(0.0), np.ones(FINGERPRINT.size)
        ),
    )
    assert scaled(KEY, FINGERPRINT, CONFIG, guided) is guided


def test_every_hop_descends_by_the_same_scales() -> None:
    """Residuals are those of weighted differences, by weights that no hop changes."""
    given = task()
    weights = scaled(jax.random.fold_in(KEY, NO_HOP), FINGERPRINT, CONFIG, given).weights
    assert weights is not None
    replicas = jnp.arange(CONFIG.replicas, dtype=jnp.int32)
    population = Population(
        jnp.zeros((CONFIG.replicas, 3, 3)), jnp.full(CONFIG.replicas, jnp.inf), jnp.asarray(0)
    )
    made = jax.jit(
        lambda population: hop(
            KEY, FINGERPRINT, CONFIG, given, population, replicas, jnp.asarray(move_weights(CONFIG))
        )
    )
    for number in range(3):
        coordinates, residuals = made(population)
        values = jax.vmap(lambda x: FINGERPRINT(given.structure(x)))(coordinates)
        differences = np.abs(np.asarray(weights[None] * (values - given.target[None])))
        np.testing.assert_allclose(residuals, differences.mean(axis=1), rtol=1e-3, atol=1e-8)
        plain = np.abs(np.asarray(values - given.target[None])).mean(axis=1)
        assert not np.allclose(residuals, plain, rtol=0.1)
        population = Population(coordinates, residuals, jnp.asarray(number + 1))
