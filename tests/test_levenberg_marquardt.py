"""Levenberg-Marquardt against SciPy, and on fingerprints down to round-off."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from scipy.optimize import least_squares
from strategies import random_cluster

from jaxrecon import ACSF, Fingerprint, featurize, from_ase
from jaxrecon.search.gauss_newton import bound_equations, normal_equations
from jaxrecon.search.levenberg_marquardt import (
    NormalEquations,
    Refinement,
    RefineState,
    levenberg_marquardt,
    refine,
)
from jaxrecon.structures.matching import rmsd
from jaxrecon.structures.structure import Structure, padded

TIMES = np.linspace(0.0, 3.0, 24)
FINGERPRINT = Fingerprint(
    ACSF(
        elements=("H", "O"),
        r_cut=8.0,
        g2_eta=(0.2, 1.0),
        g2_r_s=(0.0, 1.0, 2.0, 3.0),
        g5_zeta=(1, 4),
        g5_eta=(0.05, 0.2),
    )
)


def decay(positions: jax.Array) -> jax.Array:
    """Two decays with an offset: a least-squares problem in six unknowns."""
    (a, b, c), (d, e, f) = positions
    t = jnp.asarray(TIMES, positions.dtype)
    return a * jnp.exp(-b * t) + c + d * jnp.exp(-((e * t) ** 2)) * jnp.cos(f * t)


def model_of(function: Callable, target: jax.Array) -> Callable[[jax.Array], NormalEquations]:
    """The normal equations of any residual vector, by forward differentiation."""

    def model(x: jax.Array) -> NormalEquations:
        residual = function(x) - target
        jacobian = jax.jacfwd(function)(x).reshape(residual.size, -1)
        return NormalEquations(
            gram=jacobian.T @ jacobian,
            gradient=jacobian.T @ residual,
            squared=residual @ residual,
            residual=jnp.abs(residual).mean(),
        )

    return model


TRUTH = np.array([[2.0, 1.3, 0.5], [1.0, 0.6, 4.0]])


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_known_problem_has_the_solution_of_scipy(noise: float, x64: None) -> None:
    rng = np.random.default_rng(0)
    target = np.asarray(decay(jnp.asarray(TRUTH))) + noise * rng.normal(size=TIMES.size)
    start = TRUTH + rng.normal(size=(2, 3)) * 0.1
    algorithm = levenberg_marquardt(model_of(decay, jnp.asarray(target)), max_step=2.0)
    state = _run(algorithm, jnp.asarray(start), 40)[-1]
    expected = least_squares(
        lambda x: np.asarray(decay(jnp.asarray(x.reshape(2, 3)))) - target,
        start.ravel(),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    assert (expected.cost > 1e-3) == (noise > 0)
    np.testing.assert_allclose(state.positions.ravel(), expected.x, atol=1e-7)
    np.testing.assert_allclose(state.model.squared / 2, expected.cost, rtol=1e-9, atol=1e-20)


def _run(algorithm: Refinement, start: jax.Array, steps: int) -> list[RefineState]:
    state = jax.jit(algorithm.init)(start)
    step, states = jax.jit(algorithm.step), [state]
    for _ in range(steps):
        states.append(step(states[-1]))
    return states


@pytest.mark.parametrize("max_step", [0.01, 0.1])
def test_no_atom_moves_further_than_max_step(max_step: float, x64: None) -> None:
    target, start = decay(jnp.asarray(TRUTH)), jnp.asarray(TRUTH + 0.4)
    limited, free = (
        _run(levenberg_marquardt(model_of(decay, target), max_step=limit), start, 12)
        for limit in (max_step, 1e6)
    )
    moves = np.diff([state.positions for state in limited], axis=0)
    longest = np.linalg.norm(moves, axis=-1).max(axis=-1)
    assert longest.max() <= max_step * (1 + 1e-12)
    # The limit is reached: without it, the steps would have been longer.
    assert longest.max() >= max_step * (1 - 1e-12)
    # A limited step is shorter than the free one and has the same direction. The first step only
    # evaluates the start; the second one is accepted with and without the limit.
    whole, shortened = np.ravel(free[2].positions - start), np.ravel(moves[1])
    assert np.linalg.norm(whole) > 3 * np.linalg.norm(shortened) > 0
    cosine = whole @ shortened / np.linalg.norm(whole) / np.linalg.norm(shortened)
    assert cosine == pytest.approx(1.0, abs=1e-12)


def test_a_minimum_without_a_slope_is_reached_in_proportion_to_the_steps(x64: None) -> None:
    """Every step about halves the distance, down to round-off and not to a fixed damping."""

    def flat(x: jax.Array) -> jax.Array:
        return jnp.stack([10.0 * x[0, 0], x[0, 1] ** 2, x[0, 2] - x[0, 0]])

    algorithm = levenberg_marquardt(model_of(flat, jnp.zeros(3)), max_step=1.0)
    end = _run(algorithm, jnp.asarray([[0.1, 0.02, -0.1]]), 23)[-1]
    np.testing.assert_allclose(end.positions, 0.0, atol=1e-7)


def test_accepted_steps_go_down_and_the_best_point_is_returned(x64: None) -> None:
    rng = np.random.default_rng(3)
    target = decay(jnp.asarray(TRUTH)) + jnp.asarray(rng.normal(size=TIMES.size) * 0.3)
    algorithm = levenberg_marquardt(model_of(decay, target), max_step=2.0)
    compiled = Refinement(jax.jit(algorithm.init), jax.jit(algorithm.step))
    whole = jax.jit(partial(refine, algorithm, steps=24))
    for _ in range(3):
        states = _run(compiled, jnp.asarray(rng.normal(size=(2, 3)) * 3), 25)
        squared = np.array([state.model.squared for state in states])
        damping = np.array([state.damping for state in states])
        assert (squared[1:] <= squared[:-1]).all()
        lowered = squared[1:] < squared[:-1]
        assert lowered.any()
        assert (~lowered).any()
        ratio = damping[1:] / damping[:-1]
        assert (ratio[lowered] <= 1).all()
        assert (ratio[~lowered] >= 1).all()
        assert ratio.min() < 1 < ratio.max()
        best = np.array([state.best_residual for state in states])
        assert (best[1:] <= best[:-1]).all()
        for state in states[1:]:
            np.testing.assert_allclose(
                jnp.abs(decay(state.best_positions) - target).mean(), state.best_residual
            )
        # The first step evaluates the start.
        assert np.isinf(squared[0])
        np.testing.assert_array_equal(states[1].positions, states[0].positions)
        end, residual = whole(states[0].positions)
        np.testing.assert_allclose(residual, best[-1], rtol=1e-9)
        np.testing.assert_allclose(end, states[-1].best_positions, rtol=1e-9)


@partial(jax.jit, static_argnums=3)
def refined(
    start: jax.Array, target: jax.Array, structure: Structure, steps: int
) -> tuple[jax.Array, jax.Array]:
    algorithm = levenberg_marquardt(
        lambda x: normal_equations(
            FINGERPRINT, Structure(x, structure.species, structure.mask), target
        ),
        max_step=0.5,
    )
    return refine(algorithm, start, steps=steps)


def cluster() -> Atoms:
    return Atoms(
        "OHOHH", [(0, 0, 0), (0.9, 0.3, 0), (1.4, -1.0, 0.4), (-0.4, 1.2, 0.8), (-1, -0.7, 1.1)]
    )


@pytest.mark.parametrize(("dtype", "floor"), [("float32", 1e-6), ("float64", 1e-12)])
def test_from_nearby_back_to_the_truth(dtype: str, floor: float) -> None:
    atoms = cluster()
    target = featurize(atoms, FINGERPRINT)[0]
    with jax.enable_x64(dtype == "float64"):
        structure = from_ase(atoms)
        for seed in range(4):
            noise = np.random.default_rng(seed).normal(size=(5, 3)) * 0.02
            start = structure.positions + jnp.asarray(noise, dtype)
            end, residual = refined(start, jnp.asarray(target, dtype), structure, 30)
            assert end.dtype == residual.dtype == dtype
            assert residual <= floor
            found = Atoms(atoms.symbols, np.asarray(end, dtype=float))
            # The residual that it returns is that of a computation in float64.
            again = np.abs(featurize(found, FINGERPRINT)[0] - target).mean()
            assert again == pytest.approx(
                float(residual), abs=1e-6 if dtype == "float32" else 1e-14
            )
            assert rmsd(atoms, found) < (1e-4 if dtype == "float32" else 1e-9)


def test_never_worse_than_the_start() -> None:
    """From any start, also where atoms coincide."""
    atoms = cluster()
    structure = from_ase(atoms)
    target = jnp.asarray(featurize(atoms, FINGERPRINT)[0], jnp.float32)
    for seed in range(6):
        start = np.random.default_rng(seed).normal(size=(5, 3)) * (0.3 + 0.5 * seed)
        start[1] = start[0] if seed % 2 else start[1]
        start = jnp.asarray(start, jnp.float32)
        _, at_start = refined(start, target, structure, 0)
        end, residual = refined(start, target, structure, 30)
        value = FINGERPRINT(Structure(start, structure.species, structure.mask))
        np.testing.assert_allclose(at_start, jnp.abs(value - target).mean(), rtol=1e-5)
        assert np.isfinite(end).all()
        assert residual <= at_start


def test_a_flat_landscape_is_left_alone() -> None:
    """Atoms without neighbours have a singular model: there is no step and no NaN."""
    atoms = Atoms("OHOHH", np.arange(15.0).reshape(5, 3) * 100)
    structure = from_ase(atoms)
    target = jnp.asarray(featurize(cluster(), FINGERPRINT)[0], jnp.float32)
    end, residual = refined(structure.positions, target, structure, 30)
    np.testing.assert_array_equal(end, structure.positions)
    assert np.isfinite(residual)


def test_the_dtype_is_that_of_the_start_with_float64_enabled(x64: None) -> None:
    atoms = cluster()
    structure = from_ase(atoms)
    target = jnp.asarray(featurize(atoms, FINGERPRINT)[0], jnp.float32)
    start = structure.positions.astype(jnp.float32) + 0.01
    end, residual = refined(start, target, structure, 5)
    assert end.dtype == residual.dtype == np.float32


def test_random_clusters_of_ten() -> None:
    """Clusters of the published size reach the round-off of float32 too."""
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    clusters = [random_cluster(seed, 10, ("Pt",)) for seed in (4, 5, 6)]
    target = jnp.asarray(featurize(clusters, fingerprint), jnp.float32)

    @jax.jit
    @jax.vmap
    def reached(start: Structure, target: jax.Array) -> jax.Array:
        algorithm = levenberg_marquardt(
            lambda x: normal_equations(
                fingerprint, Structure(x, start.species, start.mask), target
            ),
            max_step=0.5,
        )
        return refine(algorithm, start.positions, steps=30)[1]

    for i, atoms in enumerate(clusters):
        atoms.positions += np.random.default_rng(i).normal(size=(10, 3)) * 0.02
    assert reached(padded(clusters, 10), target).max() <= 1e-6


@pytest.mark.parametrize(
    "positions",
    [
        list(product((0.0, 2.0), repeat=3)),
        [(0, 0, 0), *(tuple(2.0 * sign * row) for row in np.eye(3) for sign in (1, -1))],
    ],
    ids=["cube", "octahedron"],
)
def test_symmetric_structures(positions: list[tuple[float, float, float]], x64: None) -> None:
    """Where atoms tie, the equations of all bound entries lead to the target."""
    atoms = Atoms(f"O{len(positions)}", positions)
    target, structure = jnp.asarray(featurize(atoms, FINGERPRINT)[0]), from_ase(atoms)

    @jax.jit
    def end(start: jax.Array) -> jax.Array:
        algorithm = levenberg_marquardt(
            lambda x: bound_equations(
                FINGERPRINT, Structure(x, structure.species, structure.mask), target
            ),
            max_step=0.3,
        )
        return refine(algorithm, start, steps=20)[1]

    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=structure.positions.shape) * 0.05
        assert end(structure.positions + jnp.asarray(noise)) <= 1e-9


def test_unknowns_without_curvature_change_no_step() -> None:
    """Padding and fixed atoms leave zeros in the matrix, which don't count for the damping."""
    start = jnp.array([[1.0, 0.5, 0.2], [1.0, 0.5, 3.0]])
    target = decay(jnp.array([[2.0, 1.5, 0.3], [1.2, 0.8, 2.5]]))
    more = jnp.concatenate([start, jnp.ones((3, 3))])
    own, _ = refine(levenberg_marquardt(model_of(decay, target), max_step=1.0), start, steps=2)
    padded_model = model_of(lambda x: decay(x[:2]), target)
    found, _ = refine(levenberg_marquardt(padded_model, max_step=1.0), more, steps=2)
    np.testing.assert_allclose(found[:2], own, atol=1e-5)
    np.testing.assert_array_equal(found[2:], 1.0)
    assert np.abs(own - start).max() > 0.1
