"""Rigidity of models of local energies."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from copper import rattled
from jaxtyping import Array

from jaxrecon import SOAP
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.inputs import Standard
from jaxrecon.models.local.network import AtomicNetworks, NetworkModel
from jaxrecon.models.local.uncertainty import LocalRigidity, _variances
from jaxrecon.models.perceptron import Architecture
from jaxrecon.models.registry import LOCAL_MODELS

metrics = pytest.importorskip("skmatter.metrics")
DESCRIPTOR = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2)
CONFIG = LocalConfig(targets="total", sigma_total=0.02, points=30, zeta=2)


def crystals(first: int, count: int) -> Environments:
    seeds = range(first, first + count)
    items = [rattled(3.5 + 0.02 * (seed % 10), 0.15, seed) for seed in seeds]
    return Environments.of(
        items,
        DESCRIPTOR,
        energies=[atoms.get_potential_energies() for atoms in items],
        dtype=np.float64,
    )


@pytest.fixture(scope="module")
def train() -> Environments:
    return crystals(0, 40)


@pytest.fixture(scope="module")
def test() -> Environments:
    return crystals(100, 10)


@pytest.mark.parametrize("name", ["linear", "kernel"])
def test_it_is_the_rigidity_of_scikit_matter(
    name: str, train: Environments, test: Environments
) -> None:
    model = LOCAL_MODELS[name].fit(train, CONFIG)
    found = LocalRigidity.of(model, train, CONFIG).local(test)
    with jax.enable_x64(True):
        features = model.last_features()
        inside, outside = (
            np.asarray(features(jnp.asarray(part.rows), jnp.asarray(part.kinds)))
            for part in (train, test)
        )
    # scikit-matter scales the features; all structures have four atoms.
    scale = np.sqrt(np.mean(inside**2, axis=0).sum())
    alpha = CONFIG.sigma_total**2 / 4 / scale**2
    expected, _ = metrics.local_prediction_rigidity(
        np.split(inside, 40), np.split(outside, 10), alpha
    )
    np.testing.assert_allclose(found, 4 * np.concatenate(expected), rtol=1e-5)


def test_a_network_without_activations_is_a_linear_model(
    train: Environments, test: Environments
) -> None:
    # Without a hidden layer, the last layer sees the standardised rows.
    networks = AtomicNetworks(Architecture((DESCRIPTOR.size, 1)), 1)
    standard = Standard.of(train)
    weights = jax.tree.map(lambda array: array[None], networks.init(jax.random.key(0)))
    model = NetworkModel(DESCRIPTOR, np.zeros(1), networks, weights, standard)
    found = LocalRigidity.of(model, train, CONFIG)
    with jax.enable_x64(True):
        inputs = [np.asarray(standard.inputs(jnp.asarray(part.rows))) for part in (train, test)]
    inside, outside = (np.c_[part, np.ones(len(part))] * standard.width for part in inputs)
    sums = inside.reshape(40, 4, -1).sum(axis=1) / (CONFIG.sigma_total * 2)
    inverse = np.linalg.inv(np.eye(outside.shape[1]) + sums.T @ sums)
    expected = np.einsum("nf,fg,ng->n", outside, inverse, outside)
    np.testing.assert_allclose(found.deviations(test) ** 2, expected, rtol=1e-6)


def test_similar_numbers_of_atoms_share_a_program(train: Environments, test: Environments) -> None:
    rigidity = LocalRigidity.of(LOCAL_MODELS["linear"].fit(train, CONFIG), train, CONFIG)
    whole, programs = rigidity.deviations(test), _variances._cache_size()
    some = test.select(np.arange(9))
    np.testing.assert_allclose(rigidity.deviations(some), whole[: len(some)], rtol=1e-9)
    assert _variances._cache_size() == programs


@pytest.mark.parametrize("name", ["linear", "kernel", "network"])
def test_deviations_are_calibrated_and_grow_far_away(
    name: str, train: Environments, test: Environments
) -> None:
    config = LocalConfig(points=30, zeta=2, hidden=16, layers=1, epochs=40, batch=16)
    model = LOCAL_MODELS[name].fit(train, config)
    found = LocalRigidity.of(model, train, config).calibrated(model, test)
    z = (model.predict(test) - test.energies) / found.deviations(test)
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0, rel=1e-6)
    # A row unlike all others is held less firmly.
    far = replace(test, rows=test.rows[::-1] * np.linspace(0.5, 1.5, test.rows.shape[1]))
    assert np.median(found.deviations(far)) > 1.5 * np.median(found.deviations(test))
    assert np.median(found.local(far)) < np.median(found.local(test))


def test_the_deviation_of_a_sum_has_all_correlations(
    train: Environments, test: Environments
) -> None:
    model = LOCAL_MODELS["linear"].fit(train, CONFIG)
    found = LocalRigidity.of(model, train, CONFIG)
    single, total = found.deviations(test), found.total_deviations(test)
    assert (total <= np.bincount(test.owner, single) * (1 + 1e-9)).all()

    def variance(rows: Array) -> Array:
        return found.variance(rows, jnp.zeros(len(rows), int)).sum()

    gradient = jax.jit(jax.grad(variance))(jnp.asarray(test.rows, jnp.float32))
    assert np.isfinite(gradient).all()


def test_a_model_of_totals_is_calibrated_by_totals(train: Environments, test: Environments) -> None:
    model = LOCAL_MODELS["linear"].fit(train, CONFIG)
    found = LocalRigidity.of(model, train, CONFIG).calibrated(model, test)
    z = (model.totals(test) - test.totals) / found.total_deviations(test)
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0, rel=1e-6)
    with pytest.raises(ValueError, match="expected total energies to calibrate by"):
        found.calibrated(model, replace(test, totals=None))


def test_a_deep_kernel_says_that_it_needs_none(train: Environments) -> None:
    config = LocalConfig(hidden=8, layers=1, epochs=2, inducing=5)
    model = LOCAL_MODELS["deep_kernel"].fit(train, config)
    with pytest.raises(ValueError, match="standard deviations of its own"):
        LocalRigidity.of(model, train, config)
