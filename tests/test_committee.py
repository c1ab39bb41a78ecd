"""Committees of linear models against refits, and rigidities of all weights of a network."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from copper import rattled
from jax.flatten_util import ravel_pytree

from jaxrecon import SOAP
from jaxrecon.models.local.committee import LocalCommittee
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.inputs import Standard
from jaxrecon.models.local.linear import LinearModel
from jaxrecon.models.local.network import AtomicNetworks, NetworkModel
from jaxrecon.models.local.uncertainty import LocalRigidity
from jaxrecon.models.perceptron import Architecture
from jaxrecon.models.rigidity import Rigidity

DESCRIPTOR = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2)
CONFIG = LocalConfig(targets="total", sigma_total=0.02)


@pytest.fixture(scope="module")
def known() -> Environments:
    items = [rattled(3.5 + 0.02 * (seed % 10), 0.15, seed) for seed in range(30)]
    return Environments.of(
        items,
        DESCRIPTOR,
        energies=[atoms.get_potential_energies() for atoms in items],
        dtype=np.float64,
    )


@pytest.mark.parametrize("targets", ["total", "local"])
def test_members_are_refits_to_structures_drawn_with_replacement(
    targets: str, known: Environments
) -> None:
    config = replace(CONFIG, targets=targets)
    model = LinearModel.fit(known, config)
    found = LocalCommittee.of(model, known, config, members=3, seed=5)
    drawn = np.random.default_rng(5).multinomial(30, np.full(30, 1 / 30), 3)
    with jax.enable_x64(True):
        rows = np.asarray(model.features(jnp.asarray(known.rows), jnp.asarray(known.kinds)))
        ours = np.asarray(found.members(jnp.asarray(known.rows), jnp.asarray(known.kinds)))
    assert known.energies is not None
    rest = known.energies - known.energies.mean()
    for member, often in zip(ours, drawn, strict=True):
        # Ridge regression on structures, repeated as often as they were drawn.
        chosen = np.repeat(np.arange(30), often)
        blocks = [rows[known.owner == number] for number in chosen]
        values = [rest[known.owner == number] for number in chosen]
        if targets == "total":
            left = np.stack([block.sum(axis=0) for block in blocks]) / 0.04
            right = np.array([part.sum() for part in values]) / 0.04
        else:
            left, right = np.concatenate(blocks) / 0.01, np.concatenate(values) / 0.01
        padded = np.concatenate([left, np.eye(rows.shape[1])])
        weights = np.linalg.lstsq(padded, np.r_[right, np.zeros(rows.shape[1])], rcond=None)[0]
        np.testing.assert_allclose(member, rows @ weights, atol=1e-7)
    np.testing.assert_allclose(found.deviations(known), ours.std(axis=0, ddof=1), rtol=1e-9)
    sums = np.stack([np.bincount(known.owner, one) for one in ours])
    np.testing.assert_allclose(found.total_deviations(known), sums.std(axis=0, ddof=1), rtol=1e-7)


def test_local_energies_that_are_not_learned_change_nothing(known: Environments) -> None:
    model = LinearModel.fit(known, CONFIG)
    expected = LocalCommittee.of(model, replace(known, energies=None), CONFIG, members=3)
    assert known.energies is not None
    other = replace(known, energies=known.energies - 1000.0)
    found = LocalCommittee.of(model, other, CONFIG, members=3)
    np.testing.assert_array_equal(found.deviations(known), expected.deviations(known))


def test_calibration_makes_errors_as_large_as_deviations(known: Environments) -> None:
    train, other = known.select(np.arange(20)), known.select(np.arange(20, 30))
    model = LinearModel.fit(train, CONFIG)
    found = LocalCommittee.of(model, train, CONFIG).calibrated(model, other)
    z = (model.totals(other) - other.totals) / found.total_deviations(other)
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0)


def test_bad_input_is_refused(known: Environments) -> None:
    model = LinearModel.fit(known, CONFIG)
    with pytest.raises(ValueError, match="at least two members, got 1"):
        LocalCommittee.of(model, known, CONFIG, members=1)
    found = LocalCommittee.of(model, known, CONFIG, members=2)
    with pytest.raises(ValueError, match="expected total energies to calibrate by"):
        found.calibrated(model, replace(known, totals=None))
    with pytest.raises(ValueError, match="expected environments of the model's descriptor"):
        found.deviations(replace(known, descriptor=replace(DESCRIPTOR, r_cut=5.0)))


def network(known: Environments, sizes: tuple[int, ...]) -> NetworkModel:
    networks = AtomicNetworks(Architecture(sizes, "celu"), 1)
    weights = jax.tree.map(lambda array: array[None], networks.init(jax.random.key(0)))
    return NetworkModel(DESCRIPTOR, np.zeros(1), networks, weights, Standard.of(known))


def test_all_weights_of_a_single_layer_are_the_last_layer(known: Environments) -> None:
    model = network(known, (DESCRIPTOR.size, 1))
    last = LocalRigidity.of(model, known, CONFIG)
    whole = LocalRigidity.of(model, known, CONFIG, layers="all")
    np.testing.assert_allclose(whole.local(known), last.local(known), rtol=1e-6)


def test_a_network_with_identity_activations_is_a_linear_model(known: Environments) -> None:
    # The energy x K1 K2 k3 has derivatives by all weights whose products for x and x' are x M x'
    # with the M below. So it is held as a model linear in x is, whose weights have the prior M.
    sizes = (DESCRIPTOR.size, 6, 5, 1)
    networks = AtomicNetworks(Architecture(sizes, "identity", bias=False), 1)
    weights = jax.tree.map(lambda array: array[None], networks.init(jax.random.key(3)))
    model = NetworkModel(DESCRIPTOR, np.zeros(1), networks, weights, Standard.of(known))
    first, second, third = (
        np.asarray(weights["layers"][number]["kernel"][0, 0], float) for number in range(3)
    )
    prior = (
        np.sum((second @ third) ** 2) * np.eye(DESCRIPTOR.size)
        + np.sum(third**2) * first @ first.T
        + (first @ second) @ (first @ second).T
    )
    with jax.enable_x64(True):
        inputs = np.asarray(model.standard.inputs(jnp.asarray(known.rows)))
        inputs = inputs * float(model.standard.width)
        # All structures have four atoms.
        means = inputs.reshape(30, 4, -1).sum(axis=1) / 2.0
        noise = CONFIG.sigma_total**2
        linear = Rigidity.of(means, noise * np.linalg.inv(prior))
        expected = np.asarray(linear(jnp.asarray(inputs)))
    found = LocalRigidity.of(model, known, CONFIG, layers="all").local(known)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_features_of_all_weights_are_differences_of_energies(
    known: Environments, x64: None
) -> None:
    model = network(known, (DESCRIPTOR.size, 4, 1))
    features = model.all_features()
    rows, kinds = jnp.asarray(known.rows[:3]), jnp.asarray(known.kinds[:3])
    found = np.asarray(features(rows, kinds))
    flat, back = ravel_pytree(
        jax.tree.map(lambda array: jnp.asarray(array[0], float), model.weights)
    )
    assert found.shape == (3, len(flat))

    def energies(weights: jax.Array) -> np.ndarray:
        moved = jax.tree.map(lambda array: array[None], back(weights))
        return np.asarray(replace(model, weights=moved).deviations(rows, kinds))

    for place in (0, 7, len(flat) - 1):
        step = jnp.zeros_like(flat).at[place].set(1e-5)
        difference = (energies(flat + step) - energies(flat - step)) / 2e-5
        np.testing.assert_allclose(found[:, place], difference, rtol=1e-6, atol=1e-9)
