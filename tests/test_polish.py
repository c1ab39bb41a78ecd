"""Polishing: how many rounds it takes, and that it reaches targets along flat valleys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from inverting import CONFIG, fingerprint_of
from strategies import random_cluster, random_crystal

import jaxrecon.search.batches
import jaxrecon.search.polishing
from jaxrecon import (
    Fingerprint,
    ReconstructConfig,
    ResultCode,
    certificates,
    featurize,
    reconstruct,
)
from jaxrecon.datasets.clusters import relaxed
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.levenberg_marquardt import DAMPING_START
from jaxrecon.search.polishing import (
    NEAR_TARGET,
    RATIO_ABOVE_TOLERANCE,
    RATIO_BELOW_TOLERANCE,
    certificate_of,
    local_model,
    polished,
    with_larger_bounds,
)
from jaxrecon.search.soft_directions import soft_step
from jaxrecon.search.target_state import TargetState
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.matching import rmsd

TOLERANCE = 1e-6
FEW = Fingerprint.preset("default", ["Pt"])


def rounds_of(residuals: Iterator[float], monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of rounds of polishing, if their residuals are these."""
    rounds = 0

    def compiled_polish(*_: Any) -> Any:
        def polish(
            task: Any, coordinates: Any, guidance: Any, steps: Any, damping: Any
        ) -> tuple[Any, Any, None, Any]:
            nonlocal rounds
            # Without steps it is asked for a certificate.
            rounds += int(steps) > 0
            return coordinates, jnp.asarray(next(residuals) if steps else 0.0), None, damping

        return polish

    def compiled_hop(*_: Any) -> Any:
        return lambda keys, tasks, populations, guidance, weights: (
            np.ones((1, 2, 3, 3), np.float32),
            np.full((1, 2), 0.5, np.float32),
        )

    monkeypatch.setattr(jaxrecon.search.polishing, "compiled_polish", compiled_polish)
    monkeypatch.setattr(jaxrecon.search.batches, "compiled_hop", compiled_hop)
    config = ReconstructConfig(replicas=2, hops=1, tolerance=TOLERANCE)
    reconstruct(np.ones(FEW.size), FEW, symbols="Pt3", config=config)
    return rounds


def shrinking(start: float, factor: float) -> Iterator[float]:
    """Residuals that fall by a factor in every round."""
    while True:
        yield start
        start *= factor


def test_far_from_the_target_there_is_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds_of(shrinking(1.01 * NEAR_TARGET * TOLERANCE, 0.1), monkeypatch) == 1


def test_near_the_target_there_are_rounds_as_long_as_they_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = 0.99 * NEAR_TARGET * TOLERANCE
    assert rounds_of(shrinking(start, 1.01 * RATIO_ABOVE_TOLERANCE), monkeypatch) == 2
    steady = 0.99 * RATIO_ABOVE_TOLERANCE
    to_the_target = int(np.ceil(np.log(TOLERANCE / start) / np.log(steady)))
    # The round that reaches the tolerance gains too little for another one.
    assert rounds_of(shrinking(start, steady), monkeypatch) == to_the_target + 1


def test_below_the_tolerance_there_are_rounds_as_long_as_they_help_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ratio = RATIO_BELOW_TOLERANCE
    closer = iter([0.5 * TOLERANCE, 0.4 * ratio * TOLERANCE, 0.3 * ratio**2 * TOLERANCE, 0.0, 0.0])
    assert rounds_of(closer, monkeypatch) == 5
    slower = iter([0.5 * TOLERANCE, 0.6 * ratio * TOLERANCE])
    assert rounds_of(slower, monkeypatch) == 2


def test_more_unknowns_than_numbers() -> None:
    """From 0.01 Angstrom off, 54 unknowns converge to a target of 46 numbers, in several rounds."""
    truth = relaxed("Pt20", seed=2)
    with jax.enable_x64(True):
        target = featurize(truth, FEW)[0]
    noise = 0.01 * np.random.default_rng(0).normal(size=(20, 3))
    near = Atoms(truth.symbols, truth.positions + noise)
    assert rmsd(truth, near) > 0.01
    config = ReconstructConfig(replicas=2, hops=1)
    [[problem]] = problems_of(target, FEW, "Pt20", None, None, None)
    state = TargetState(problem, config)
    assert state.polish(near.positions)
    [(found, residual, _)] = state.solutions.found
    assert residual <= config.tolerance
    assert rmsd(truth, found) < rmsd(truth, near)
    assert ResultCode.of(residual, config.tolerance, overflow=False) is ResultCode.CONVERGED


def test_a_round_goes_on_with_the_damping_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    residuals, dampings = iter([1e-8, 1e-9, 1e-9]), []

    def polish(task: Any, coordinates: Any, guidance: Any, steps: Any, damping: Any) -> Any:
        if not steps:
            return coordinates, jnp.asarray(0.0), None, damping
        dampings.append(float(damping))
        return coordinates, jnp.asarray(next(residuals)), None, 0.1 * damping

    monkeypatch.setattr(jaxrecon.search.polishing, "compiled_polish", lambda *_: polish)
    [[problem]] = problems_of(np.ones((1, FEW.size)), FEW, "Pt3", None, None, None)
    polished(problem, ReconstructConfig(), np.eye(3))
    np.testing.assert_allclose(dampings, [DAMPING_START, 0.1 * DAMPING_START, 1e-4], rtol=1e-12)


@pytest.mark.parametrize(
    "kind",
    [
        "free",
        "noisy",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("fixed", "known", "unknown")),
    ],
)
def test_certificates_are_those_of_a_program_of_their_own(kind: str) -> None:
    """The program that polishes leaves absent elements out, pads atoms and has a cell's strain."""
    atoms = random_crystal(3, 3, ("O", "Pt")) if "known" in kind else random_cluster(3, 7, ("Pt",))
    fingerprint = fingerprint_of("H", "O", "Pt", poolings=("max", "mean"))
    target = featurize(atoms, fingerprint)
    cell = {"known": atoms.cell.array, "unknown": "unknown"}.get(kind)
    held = [np.where(np.arange(len(atoms))[:, None] < 3, atoms.positions, np.nan)]
    positions = held if kind == "fixed" else None
    symbols = [atoms.get_chemical_symbols()]
    noise = None
    if kind == "noisy":
        noise = 1e-3 * np.random.default_rng(0).uniform(0.1, 3.0, fingerprint.size)
    [[problem]] = problems_of(target, fingerprint, symbols, cell, positions, None, noise=noise)
    moved = atoms.copy()
    moved.positions[3 if kind == "fixed" else 0, 0] += 1e-7
    found = certificate_of(problem, CONFIG, moved, 1e-7)
    assert found is not None
    (wanted,) = certificates(
        moved, fingerprint, targets=target, noise=noise, cell_known=kind != "unknown"
    )
    if kind == "fixed":
        # Six numbers of three fixed atoms hold all rigid motions of the others.
        assert (found.unknowns, wanted.unknowns) == (12, 15)
        assert 1e-8 < found.position_error < 1e-4
    else:
        assert found[:2] == wanted[:2]
        if noise is None:
            np.testing.assert_allclose(found[2:5], wanted[2:5], rtol=1e-6)
        np.testing.assert_allclose(found.error_bars, wanted.error_bars, rtol=1e-6)
    assert certificate_of(problem, CONFIG, moved, 1e-3) is None


def test_what_misses_the_target_gets_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate takes long to compute, and nobody reads that of a structure on the way."""
    monkeypatch.delattr(jaxrecon.search.polishing, "certified")
    salt = bulk("NaCl", "cesiumchloride", a=4.1)
    fingerprint = fingerprint_of("Na", "Cl", poolings=("mean",))
    target = featurize(salt, fingerprint) + 1e-5
    [[problem]] = problems_of(target, fingerprint, "NaCl", salt.cell.array, None, None)
    _, residual, certificate = polished(problem, CONFIG, problem.coordinates(salt))
    assert CONFIG.tolerance < residual < 2e-5
    assert certificate is None


def test_steps_to_second_order_leave_a_flat_valley() -> None:
    """A salt whose atoms are off their places: no number of the perfect one points there."""
    perfect = bulk("NaCl", "cesiumchloride", a=4.1)
    salt = perfect.copy()
    salt.positions += 2e-3 * np.random.default_rng(1).normal(size=(2, 3))
    fingerprint = fingerprint_of("Na", "Cl", poolings=("mean",))
    target = featurize(salt, fingerprint)
    [[problem]] = problems_of(target, fingerprint, "NaCl", salt.cell.array, None, None)
    model = local_model(problem, CONFIG, problem.atoms(problem.coordinates(perfect[[0, 1]])))
    assert model is not None
    # At the centre of symmetry no number changes to first order: there is no way downhill.
    assert (model.singular < 1e-9 * model.scale).all()
    moved = model.unknowns.moved(soft_step(model))
    left = [np.abs(featurize(atoms, fingerprint) - target).mean() for atoms in (perfect, moved)]
    assert left[0] > 1e-9
    assert left[1] < 0.01 * left[0]
    # Shifts of that length into other directions have the same numbers but for the fourth order:
    # the certificate sees such twins, 1e-3 Angstrom off.
    coordinates, residual, certificate = polished(problem, CONFIG, problem.coordinates(perfect))
    assert certificate is not None
    assert 1e-4 < certificate.position_error < 1e-2
    assert residual < 1e-3 * CONFIG.tolerance
    difference = np.abs(featurize(problem.atoms(coordinates), fingerprint) - target)
    assert difference.mean() == pytest.approx(residual, abs=1e-14)


@pytest.mark.parametrize("length", [1e-3, 1e-2])
def test_a_curved_valley_is_followed_and_its_length_stated(length: float) -> None:
    """A salt whose atoms are off their places, and a start that is off in another direction.

    Numbers of both are the same to the third order: the direction is all that is to be found.
    """
    salt, start = (bulk("NaCl", "cesiumchloride", a=4.1) for _ in range(2))
    salt.positions[1] += length * np.array([0.8, 0.6, 0.0])
    start.positions[1] += length * np.array([0.36, 0.48, 0.8])
    fingerprint = fingerprint_of("Na", "Cl")
    target = featurize(salt, fingerprint, dtype=np.float64)
    [[problem]] = problems_of(target, fingerprint, "NaCl", salt.cell.array, None, None)
    coordinates, residual, certificate = polished(problem, CONFIG, problem.coordinates(start))
    assert residual < 1e-14
    assert certificate is not None
    deviation = rmsd(problem.atoms(coordinates), salt)
    assert deviation <= certificate.position_error < length
    # Round-off leaves the shorter displacement as it is.
    assert deviation < rmsd(start, salt) * (0.1 if length > 2e-3 else 1.0)


def test_a_flat_cell_gets_the_images_that_it_needs() -> None:
    salt = bulk("NaCl", "cesiumchloride", a=4.1)
    fingerprint = fingerprint_of("Na", "Cl")
    [[problem]] = problems_of(
        featurize(salt, fingerprint), fingerprint, "NaCl", "unknown", None, None
    )
    assert with_larger_bounds(problem, problem.coordinates(salt)) is problem
    # Not more neighbours, but neighbours that are more images away.
    salt.set_cell(salt.cell.array * [[3.0], [1.0], [0.33]], scale_atoms=True)
    needed = bounds_of([salt], fingerprint.descriptor.r_cut)
    assert needed.capacity <= problem.bounds.capacity
    found = with_larger_bounds(problem, problem.coordinates(salt))
    assert np.greater_equal(found.bounds.counts, needed.counts).all()
    assert found.bounds.capacity == problem.bounds.capacity
    # A cell as flat as that has endless images.
    salt.set_cell(salt.cell.array * [[30.0], [1.0], [0.03]], scale_atoms=True)
    assert with_larger_bounds(problem, problem.coordinates(salt)) is problem
