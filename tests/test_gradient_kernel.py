"""Gradients as observations: derivatives of the kernel, errors left out, gain by forces."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jaxrecon import ACSF, Fingerprint, featurize
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.examples import Examples, fingerprint_jacobians
from jaxrecon.models.surrogates import gaussian_process
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.models.surrogates.gradient_kernel import (
    Covariances,
    Observed,
    gradient_noise,
    posterior,
)

FINGERPRINT = Fingerprint(
    ACSF(("Pt",), 8.0, g2_eta=(1.0,), g2_r_s=(1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)),
    ("mean", "moment2"),
)
KERNEL = np.array([0.8, 2.0, 0.3, 1e-3])


def energy(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy of springs and its gradient."""
    vectors = atoms.positions[:, None] - atoms.positions[None]
    lengths = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
    stretch = np.where(np.eye(len(atoms)) > 0, 0.0, np.exp(-((lengths - 2.6) ** 2)))
    pull = -2.0 * (lengths - 2.6) * stretch / lengths
    return -0.5 * stretch.sum(), -(pull[:, :, None] * vectors).sum(axis=1)


@pytest.fixture(scope="module")
def clusters() -> list[Atoms]:
    return [random_cluster("Pt4", seed) for seed in range(60)]


@pytest.fixture(scope="module")
def data(clusters: list[Atoms]) -> Examples:
    energies = [energy(atoms) for atoms in clusters]
    return Examples.of(
        FINGERPRINT,
        featurize(clusters, FINGERPRINT).astype(float),
        np.array([value for value, _ in energies]),
        structures=clusters,
        gradients=np.array([gradient.ravel() for _, gradient in energies]),
    )


def first(data: Examples, count: int) -> Examples:
    """Only some of the examples are for training."""
    return replace(data, training=np.arange(count))


@pytest.fixture(scope="module")
def observed() -> Observed:
    rng = np.random.default_rng(0)
    shapes = {"inputs": (5, 3), "jacobians": (5, 3, 2), "outputs": (5,), "gradients": (5, 2)}
    return Observed(**{name: rng.normal(size=shape) for name, shape in shapes.items()})


def test_jacobians_are_those_of_differences(clusters: list[Atoms]) -> None:
    atoms, step = clusters[0], 1e-4
    found = fingerprint_jacobians([atoms, clusters[1]], FINGERPRINT)[0]
    for unknown in (0, 4, 11):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[unknown // 3, unknown % 3] += sign * step
            ends.append(featurize(moved, FINGERPRINT)[0])
        np.testing.assert_allclose(found[:, unknown], (ends[0] - ends[1]) / (2 * step), atol=2e-5)


def test_covariances_are_derivatives_of_the_kernel(observed: Observed, x64: None) -> None:
    a, length, b, _ = KERNEL

    def kernel(u: jax.Array, v: jax.Array) -> jax.Array:
        return a * jnp.exp(-jnp.sum((u - v) ** 2) / (2 * length**2)) + b * (u @ v + 1)

    found = Covariances(observed)(KERNEL, 0.1)
    u, by_positions = observed.inputs, observed.jacobians
    once = jax.jit(jax.grad(kernel, 1))
    twice = jax.jit(jax.jacfwd(jax.grad(kernel, 0), 1))
    for i, j in ((0, 0), (1, 3), (4, 2)):
        one, other = slice(5 + 2 * i, 7 + 2 * i), slice(5 + 2 * j, 7 + 2 * j)
        value = jax.jit(kernel)(u[i], u[j]) + (KERNEL[3] if i == j else 0.0)
        mixed = np.asarray(once(u[i], u[j])) @ by_positions[j]
        both = by_positions[i].T @ np.asarray(twice(u[i], u[j])) @ by_positions[j]
        np.testing.assert_allclose(found[i, j], value, rtol=1e-10)
        np.testing.assert_allclose(found[i, other], mixed, rtol=1e-9)
        np.testing.assert_allclose(found[other, i], mixed, rtol=1e-9)
        np.testing.assert_allclose(
            found[one, other], both + (0.1 * np.eye(2) if i == j else 0.0), rtol=1e-9
        )


def test_errors_left_out_are_those_of_fits_without_a_structure(observed: Observed) -> None:
    _, _, left_out = posterior(observed, KERNEL, 0.1)
    matrix, observations = Covariances(observed)(KERNEL, 0.1), observed.observations
    for number in range(5):
        out = [number, 5 + 2 * number, 6 + 2 * number]
        rest = np.setdiff1d(np.arange(15), out)
        weights = np.linalg.solve(matrix[np.ix_(rest, rest)], observations[rest])
        predicted = matrix[number, rest] @ weights
        np.testing.assert_allclose(left_out[number], observations[number] - predicted, rtol=1e-8)


def test_forces_tell_more_than_energies(data: Examples, x64: None) -> None:
    both = GaussianProcess.fit(first(data, 30))
    alone = GaussianProcess.fit(first(data, 30), TrainConfig(forces=False))
    assert alone.gradient_weights is None
    test = jnp.asarray(data.fingerprints[30:])
    errors, ratios = [], []
    for process in (both, alone):
        means, deviations = jax.jit(jax.vmap(process))(test)
        error = np.asarray(means) - data.values[30:]
        errors.append(np.abs(error).mean())
        ratios.append(np.sqrt(np.mean((error / deviations) ** 2)))
    assert errors[0] < 0.7 * errors[1]
    assert 0.3 < ratios[0] < 2.0


def test_its_gradient_is_that_of_the_property(data: Examples, x64: None) -> None:
    process = GaussianProcess.fit(first(data, 40))
    row, jacobian = jnp.asarray(data.fingerprints[3]), data.jacobians[3]
    derivative = np.asarray(jax.jit(jax.grad(lambda value: process(value)[0]))(row))
    found = derivative @ jacobian
    assert data.gradients is not None
    known = data.gradients[3]
    assert np.corrcoef(found, known)[0, 1] > 0.97
    step, feature = 1e-5, 2
    predict = jax.jit(lambda value: process(value)[0])
    ends = [predict(row.at[feature].add(sign * step)) for sign in (1, -1)]
    np.testing.assert_allclose(derivative[feature], (ends[0] - ends[1]) / (2 * step), rtol=1e-4)


def test_too_many_gradients_are_not_used(data: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian_process, "MAX_OBSERVATIONS", 60 * 13 - 1)
    assert GaussianProcess.fit(data).gradient_weights is None
    monkeypatch.setattr(gaussian_process, "MAX_OBSERVATIONS", 60 * 13)
    assert GaussianProcess.fit(data).gradient_weights is not None
    # The limit is for all examples, so that the fit and the later refit use the same forces.
    monkeypatch.setattr(gaussian_process, "MAX_EXAMPLES", 59)
    assert GaussianProcess.fit(first(data, 30)).gradient_weights is None


@pytest.mark.parametrize("width", [0.02, 0.2])
def test_the_noise_of_gradients_is_found(width):
    """The function fits the kernel; its gradients have a known noise."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(40, 2))
    turns = random.normal(size=(40, 2, 3))
    exact = np.stack([np.cos(inputs[:, 0]), -np.sin(inputs[:, 1])], axis=1)
    gradients = np.einsum("nd,ndx->nx", exact, turns)
    noisy = gradients + width * random.normal(size=gradients.shape)
    outputs = np.sin(inputs[:, 0]) + np.cos(inputs[:, 1])
    observed = Observed(inputs, turns, outputs, noisy)
    found = gradient_noise(observed, np.array([1.0, 1.5, 0.01, 1e-6]))
    assert found == pytest.approx(width**2, rel=0.6)
