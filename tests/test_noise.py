"""Targets with errors: weighted least squares, error bars, and what a run says of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from commands import run
from strategies import random_crystal

from jaxrecon import (
    Fingerprint,
    ReconstructConfig,
    Store,
    featurize,
    from_ase,
    reconstruct,
    rmsd,
)
from jaxrecon.datasets.clusters import random_cluster, relaxed
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.runtime.descriptions import difference, growth
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.gauss_newton import normal_equations
from jaxrecon.search.noise import error_bars, expected_residual, noise_of_each_target, weights_of
from jaxrecon.search.store import description
from jaxrecon.search.unknowns import Unknowns

FINGERPRINT = Fingerprint.preset("default", ["Pt"])


@pytest.fixture(scope="module")
def cluster() -> Atoms:
    return relaxed("Pt5", seed=1)


def test_weighted_equations_are_those_of_weighted_numbers(cluster: Atoms) -> None:
    fingerprint = Fingerprint.preset("default", ["Pt", "Cu"])
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        structure = from_ase(cluster)
        value, jacobian = map(np.asarray, jax.jit(fingerprint.with_jacobian)(structure))
        target = value + random.normal(size=len(value))
        weights = random.uniform(0.1, 3.0, len(value))
        found = jax.jit(
            lambda target, weights: normal_equations(
                fingerprint, structure, target, linear=True, weights=weights
            )
        )(target, weights)
    flat = (weights[:, None, None] * jacobian).reshape(len(value), -1)
    difference = weights * (value - target)
    np.testing.assert_allclose(found.gram, flat.T @ flat, atol=1e-10)
    np.testing.assert_allclose(found.gradient, difference @ flat, atol=1e-10)
    np.testing.assert_allclose(found.squared, (difference**2).sum(), rtol=1e-12)
    np.testing.assert_allclose(found.residual, np.abs(difference).mean(), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(found.linear.residual), -difference, atol=1e-12)


def test_the_expected_residual_is_that_of_random_regressions() -> None:
    random = np.random.default_rng(0)
    noise, unknowns = 0.01, 12
    left = []
    for _ in range(400):
        matrix = random.normal(size=(46, unknowns))
        errors = noise * random.normal(size=46)
        left.append(np.abs(errors - matrix @ np.linalg.lstsq(matrix, errors)[0]).mean())
    limit = expected_residual(np.full(46, noise), unknowns)
    assert 0.98 < np.mean(np.array(left) <= limit) <= 1.0
    assert limit < 1.5 * np.mean(left)
    assert expected_residual(np.full(10, noise), unknowns) == 0.0


@pytest.mark.parametrize("known", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", ["free", "crystal", "unknown"])
def test_known_atoms_are_no_unknowns_of_the_expected_residual(kind: str, known: int) -> None:
    atoms = random_crystal(3, 7, ("Pt",)) if kind != "free" else random_cluster("Pt7", 0)
    cell = {"crystal": atoms.cell.array, "unknown": "unknown"}.get(kind)
    places = np.where(np.arange(7)[:, None] < known, atoms.positions, np.nan)
    fixed = np.arange(7) < known if kind != "unknown" else None
    [[problem]] = problems_of(
        np.ones((1, FINGERPRINT.size)),
        Fingerprint.preset("default", ["Pt"], images="all"),
        "Pt7",
        cell,
        None if fixed is None else [places],
        None,
        noise=1e-3,
    )
    unknowns = len(Unknowns.of(atoms, strained=kind == "unknown", fixed=fixed).basis)
    assert problem.unknowns == unknowns
    config = ReconstructConfig()
    left = expected_residual(np.full(FINGERPRINT.size, 1e-3), unknowns)
    assert problem.adapted(config).tolerance == pytest.approx(config.tolerance + left)


@pytest.mark.slow
def test_error_bars_are_the_spread_of_repeated_searches() -> None:
    """Many targets with other errors: the atoms spread as far as one certificate says."""
    cluster = random_cluster("Pt5", 3, container="ball", size=1.0)
    exact = featurize(cluster, FINGERPRINT)[0].astype(float)
    noise = 1e-5 * np.random.default_rng(1).uniform(0.5, 2.0, exact.shape)
    targets = exact + noise * np.random.default_rng(0).normal(size=(60, exact.size))
    found = reconstruct(targets, FINGERPRINT, symbols="Pt5", noise=noise, hops=4)
    deviations = np.array([rmsd(cluster, result.atoms) for result in found])
    bars = np.array([result.certificate.error_bars for result in found])
    near = deviations < 0.1
    assert near.mean() > 0.9
    assert found.converged >= 57
    spread = np.mean(deviations[near] ** 2) ** 0.5
    assert 0.85 < spread / np.mean(bars[near] ** 2) ** 0.5 < 1.15


def test_a_noisy_target_is_solved_within_its_noise(cluster: Atoms, tmp_path: Path) -> None:
    """By the command line: the code, the position error, and error bars in the file."""
    exact = featurize(cluster, FINGERPRINT)
    noisy = exact + 1e-3 * np.random.default_rng(0).normal(size=exact.shape)
    write_fingerprints(tmp_path / "noisy.npz", noisy, FINGERPRINT, [cluster])
    base = f"reconstruct {tmp_path}/noisy.npz --hops 2 --quiet"
    run(f"{base} -o {tmp_path}/exact.extxyz")
    assert ase.io.read(tmp_path / "exact.extxyz").info["result_code"] == "stalled"
    run(f"{base} -o {tmp_path}/found.extxyz --noise 1e-3")
    found = ase.io.read(tmp_path / "found.extxyz")
    assert found.info["result_code"] == "converged"
    (told,) = json.loads((tmp_path / "found.json").read_text())["targets"]
    unknowns = 3 * len(cluster) - 6
    noise = np.full(FINGERPRINT.size, 1e-3)
    assert told["tolerance"] == pytest.approx(1e-6 + expected_residual(noise, unknowns))
    bars = found.arrays["error_bar"]
    assert bars.shape == (5,)
    assert found.info["position_error"] >= bars.max() * (1.0 - 1e-6)
    assert rmsd(cluster, found) < 3.0 * bars.max()
    # The same noise for each number, from a file.
    np.save(tmp_path / "noise.npy", np.full((1, FINGERPRINT.size), 1e-3))
    run(f"{base} -o {tmp_path}/again.extxyz --noise {tmp_path}/noise.npy")
    again = ase.io.read(tmp_path / "again.extxyz")
    np.testing.assert_allclose(again.positions, found.positions, atol=1e-8)


def test_noise_of_targets_of_different_lengths() -> None:
    found = noise_of_each_target([np.full(2, 0.1), np.array([0.2, 0.3, 0.4])], [2, 3])
    assert [each.tolist() for each in found] == [[0.1, 0.1], [0.2, 0.3, 0.4]]


def test_a_run_with_noise_goes_on_with_further_targets(cluster: Atoms) -> None:
    values = featurize([cluster, cluster], FINGERPRINT)

    def described(count: int, noise: float | None) -> dict[str, object]:
        arguments = (values[:count], FINGERPRINT, "Pt5", None, None, None)
        return description(problems_of(*arguments, noise=noise), ReconstructConfig(), 0)

    known, wanted = described(1, 0.1), described(2, 0.1)
    less, more = growth(known, wanted, Store.LIMITS, Store.LISTS)
    assert difference(known, less) is None
    assert {"targets", "noise"} <= more
    for other in (0.2, None):
        assert "noise" in (difference(known, described(1, other)) or "")


def test_weights_are_one_in_the_mean() -> None:
    noise = np.array([0.1, 0.2, 0.4])
    weights = weights_of(noise)
    assert weights.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights * noise, (weights * noise)[0])
    assert weights_of(np.full(3, 0.2)) is None


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (0.0, "expected noise > 0, got 0.0"),
        ([0.1, 0.2], "expected noise as one number or 3"),
        (np.ones((3, 3)), "expected noise of 2 targets, got that of 3"),
        (float("nan"), "expected noise > 0"),
    ],
)
def test_bad_noise_is_refused(noise: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_of_each_target(noise, [3, 3])


def test_noise_moves_what_no_number_holds_without_end(unchecked: None) -> None:
    """More soft directions than get a second order: the first of them are not held at all."""
    directions, softest = 15, 2
    singular = np.array([1.0, 0.5] + [0.0] * (directions - 4) + [0.1, 0.1])
    motions = np.random.default_rng(0).normal(size=(directions, 5, 3))
    model: Any = SimpleNamespace(
        firm=2,
        motions=motions,
        singular=singular,
        soft=motions[-softest:],
        second_derivatives=np.zeros((1, softest, softest, 7)),
        span=np.eye(7)[:, :2],
        unknowns=SimpleNamespace(atoms=np.arange(5)),
    )
    for rubbish in (1.0, 2.0):
        np.full(directions, rubbish)  # memory that may be used again
        assert np.isinf(error_bars(model, 1e-3)).all()
