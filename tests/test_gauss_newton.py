"""The normal equations of a fingerprint, against automatic differentiation and at ties."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from pooled import by_name
from reference import acsf_rows
from strategies import random_cluster, random_crystal

from jaxrecon import ACSF, Fingerprint, featurize, from_ase
from jaxrecon.datasets import prototypes
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.search.gauss_newton import attribution, bound_equations, normal_equations
from jaxrecon.search.levenberg_marquardt import levenberg_marquardt, refine
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.structure import Bounds, Structure

pytestmark = pytest.mark.usefixtures("strict_types")

SQUARE = [(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (1, 1, 1.7)]


def small(*poolings: str, elements: tuple[str, ...] = ("H", "O"), **changes: object) -> Fingerprint:
    descriptor = ACSF(elements, 4.0, g2_eta=(0.5,), g2_r_s=(0.5, 1.5), g5_zeta=(2,), g5_eta=(0.1,))
    return Fingerprint(descriptor, poolings, max_atoms=5, **changes)


CASES = [
    pytest.param(small("max", "min"), "tied", id="tied"),
    pytest.param(small("min", "mean", "max"), "all", id="mixed"),
    pytest.param(
        small("max", "sorted", "min", "smooth_max", per_element=True), "free", id="elements"
    ),
    pytest.param(small(*POOLINGS, images="minimum", per_element=True), "minimum", id="everything"),
    pytest.param(small("sum", "none", "moment3"), "all", id="no extremes"),
]


def problem(fingerprint: Fingerprint, space: str) -> tuple[Structure, jax.Array]:
    """A padded structure, and a target that differs from its fingerprint."""
    atoms = {
        "tied": Atoms("O4H", SQUARE),
        "free": random_cluster(1, 5, ("H", "O")),
        "minimum": random_crystal(1, 4, ("H", "O")),
        "all": random_crystal(1, 3, ("H", "O")),
    }[space]
    structure = from_ase(atoms, len(atoms) + 1, bounds_of([atoms], 4.0))
    noise = np.random.default_rng(0).normal(size=fingerprint.size)
    return structure, jax.jit(fingerprint)(structure) + jnp.asarray(noise) / 3


def assert_close(equations: object, rows: np.ndarray, residuals: np.ndarray) -> None:
    """Check that the equations are those of residuals with these derivatives."""
    scale = np.abs(rows.T @ rows).max()
    assert scale > 1e-3
    np.testing.assert_allclose(equations.gram, rows.T @ rows, atol=1e-11 * scale)
    np.testing.assert_allclose(equations.gradient, residuals @ rows, atol=1e-11 * scale)
    np.testing.assert_allclose(equations.squared, residuals @ residuals, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("fingerprint", "space"), CASES)
def test_equations_are_those_of_the_residuals(
    fingerprint: Fingerprint, space: str, x64: None
) -> None:
    structure, target = problem(fingerprint, space)

    def rows(positions: jax.Array) -> jax.Array:
        view = fingerprint.view(dataclasses.replace(structure, positions=positions))
        return fingerprint.rows(view)

    @jax.jit
    def everything(structure: Structure, target: jax.Array) -> tuple:
        x = structure.positions
        models = (normal_equations, bound_equations)
        equations = [model(fingerprint, structure, target) for model in models]
        # Among equal entries round-off decides which is the extreme: take it from the same rows.
        view = fingerprint.view(structure)
        entries, _ = fingerprint.descriptor.with_derivatives(view.neighbors, view.elements)
        return *fingerprint.with_jacobian(structure), entries, jax.jacfwd(rows)(x), *equations

    *arrays, equations, of_bounds = everything(structure, target)
    value, jacobian, entries, by_positions = map(np.asarray, arrays)
    jacobian, residual = jacobian.reshape(len(value), -1), value - np.asarray(target)
    by_positions = by_positions.reshape(*entries.shape, -1)
    assert_close(equations, jacobian, residual)
    np.testing.assert_allclose(equations.residual, np.abs(residual).mean(), rtol=1e-12)

    # An extreme binds every atom that is selected or beyond the target; other numbers bind one
    # residual each.
    derivatives, residuals = [], []
    species, number = np.asarray(structure.species), 0
    for pool in fingerprint.pools:
        for symbol in (1, 8) if fingerprint.per_element else (None,):
            group = np.flatnonzero(species == symbol if symbol else species > 0)
            for feature in list(range(entries.shape[1])) * pool.size:
                if pool.kind in ("max", "min"):
                    sign = 1 if pool.kind == "max" else -1
                    column = sign * entries[group, feature]
                    wanted = sign * float(target[number])
                    for place, atom in enumerate(group):
                        if place == column.argmax() or column[place] > wanted:
                            derivatives.append(by_positions[atom, feature])
                            residuals.append(sign * (column[place] - wanted))
                else:
                    derivatives.append(jacobian[number])
                    residuals.append(residual[number])
                number += 1
    assert number == fingerprint.size
    assert_close(of_bounds, np.array(derivatives), np.array(residuals))
    np.testing.assert_allclose(of_bounds.residual, np.abs(residual).mean(), rtol=1e-12)


@pytest.mark.parametrize(
    ("per_element", "poolings"),
    [(False, ("min", "smooth_max", "max")), (True, ("max", "mean", "sorted"))],
)
def test_equations_of_the_elements_that_are_present(
    per_element: bool, poolings: tuple[str, ...], x64: None
) -> None:
    """They equal those of all elements: numbers of absent ones have residuals but no derivative."""
    fingerprint = small(*poolings, elements=("H", "C", "O", "Pt"), per_element=per_element)
    full = from_ase(random_cluster(1, 5, ("H", "O")))
    local = dataclasses.replace(full, bounds=Bounds(5, elements=3))
    value = np.asarray(jax.jit(fingerprint)(full))
    noise = np.random.default_rng(1).normal(size=value.size) / 3

    @jax.jit
    def everything(structure: Structure, target: jax.Array) -> tuple:
        models = normal_equations, bound_equations
        equations = [model(fingerprint, structure, target) for model in models]
        return equations, attribution(fingerprint, structure, target)

    # Residuals of numbers of absent elements are attributed differently, and squared differently if
    # they are bound. The second target has none of them and is compared in full, after the loop.
    for target in (value + noise, value + np.where(value, noise, 0.0)):
        found, found_attribution = everything(local, jnp.asarray(target))
        wanted, expected = everything(full, jnp.asarray(target))
        for ours, theirs in zip(found, wanted, strict=True):
            scale = np.abs(theirs.gram).max()
            np.testing.assert_allclose(ours.gram, theirs.gram, atol=1e-12 * scale)
            np.testing.assert_allclose(ours.gradient, theirs.gradient, atol=1e-12 * scale)
            np.testing.assert_allclose(ours.residual, np.abs(value - target).mean(), rtol=1e-12)
        np.testing.assert_allclose(found[0].squared, wanted[0].squared, rtol=1e-12)
    np.testing.assert_allclose(found_attribution, expected, rtol=1e-10)
    np.testing.assert_allclose(found[1].squared, wanted[1].squared, rtol=1e-12)


def test_what_a_number_weighs_it_is_attributed(x64: None) -> None:
    fingerprint = small("max", "mean", "moment2")
    structure, target = problem(fingerprint, "tied")
    weights = jnp.linspace(0.0, 2.0, fingerprint.size)
    attributed = jax.jit(attribution, static_argnums=0)
    # Differences that are so many times as large are attributed in the same way.
    value = jax.jit(fingerprint)(structure)
    expected = attributed(fingerprint, structure, value + weights * (target - value))
    found = attributed(fingerprint, structure, target, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert not np.allclose(found, attributed(fingerprint, structure, target))


def test_residuals_vanish_at_the_target_itself(x64: None) -> None:
    fingerprint = small("max", "none", "min", "moment2")
    structure, _ = problem(fingerprint, "tied")
    value = jax.jit(fingerprint)(structure)
    for model in (normal_equations, bound_equations):
        equations = jax.jit(model, static_argnums=0)(fingerprint, structure, value)
        np.testing.assert_allclose(equations.squared, 0.0, atol=1e-25)
        np.testing.assert_allclose(equations.residual, 0.0, atol=1e-15)
        np.testing.assert_allclose(equations.gradient, 0.0, atol=1e-13)
        assert equations.gram.any()


@pytest.mark.parametrize("model", [normal_equations, bound_equations])
def test_a_missing_neighbor_makes_the_residual_infinite(model: object) -> None:
    fingerprint = small("max", "mean")
    crystal = random_crystal(1, 3, ("H", "O"))
    enough = bounds_of([crystal], 4.0)
    compiled = jax.jit(model, static_argnums=0)
    for bounds, infinite in [(dataclasses.replace(enough, capacity=1), True), (enough, False)]:
        structure = from_ase(crystal, bounds=bounds)
        residual = compiled(fingerprint, structure, jnp.zeros(fingerprint.size)).residual
        assert bool(jnp.isinf(residual)) == infinite
        assert residual > 0


@pytest.mark.parametrize("per_element", [False, True])
def test_attribution_is_the_contribution_of_each_atom(per_element: bool, x64: None) -> None:
    fingerprint = small("max", "sorted", "mean", "min", "moment2", per_element=per_element)
    atoms = Atoms("O4H", np.array(SQUARE) + np.random.default_rng(0).normal(size=(5, 3)) / 5)
    # Entries without an atom have a residual too, which is attributed to no atom.
    target = jnp.asarray(by_name(fingerprint, atoms) + 0.1)
    atoms.positions[2] += (0.0, 0.5, 0.4)
    rows = acsf_rows(fingerprint.descriptor, atoms)
    error = np.abs(by_name(fingerprint, atoms) - np.asarray(target))
    expected, number = np.zeros(6), 0
    for pool in fingerprint.pools:
        for symbol in ("H", "O") if per_element else ("HO",):
            group = [i for i, element in enumerate(atoms.symbols) if element in symbol]
            for entry in range(pool.size):
                for column in rows.T:
                    largest_first = sorted(group, key=lambda i: -column[i])
                    responsible = {
                        "max": largest_first[:1],
                        "min": sorted(group, key=lambda i: column[i])[:1],
                        "sorted": largest_first[entry : entry + 1],
                    }.get(pool.kind, group)
                    for atom in responsible:
                        weight = 1 / len(group) if pool.kind == "mean" else 1.0
                        if pool.kind == "moment2":
                            weight = 2 * abs(column[atom] - column[group].mean()) / len(group)
                        expected[atom] += weight * error[number]
                    number += 1
    found = jax.jit(attribution, static_argnums=0)(fingerprint, from_ase(atoms, 6), target)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
    reached = jnp.asarray(by_name(fingerprint, atoms))
    found = jax.jit(attribution, static_argnums=0)(fingerprint, from_ase(atoms, 6), reached)
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_attribution_is_largest_for_the_misplaced_atom(x64: None) -> None:
    atoms = Atoms("O4", [(0, 0, 0), (1.5, 0, 0), (0, 1.5, 0), (0.5, 0.5, 1.3)])
    fingerprint = small("max", "moment2", "smooth_min", "min")
    target = jnp.asarray(by_name(fingerprint, atoms))
    atoms.positions[2] += (0, 2.5, 0)
    found = jax.jit(attribution, static_argnums=0)(fingerprint, from_ase(atoms), target)
    assert found.argmax() == 2


def test_ties_do_not_stop_the_last_steps_to_a_symmetric_structure() -> None:
    truth = prototypes.load("dodecahedron")
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    target = featurize(truth, fingerprint)[0]
    with jax.enable_x64(True):
        structure = from_ase(truth)
        noise = 0.05 * np.random.default_rng(0).normal(size=truth.positions.shape)

        @jax.jit
        def polish(positions: jax.Array) -> jax.Array:
            refinement = levenberg_marquardt(
                lambda x: bound_equations(
                    fingerprint,
                    Structure(x, structure.species, structure.mask),
                    jnp.asarray(target),
                ),
                max_step=0.3,
            )
            return refine(refinement, positions, steps=20)[1]

        assert polish(structure.positions + noise) < 1e-9
