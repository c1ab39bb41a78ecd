"""Guidance: its objective and derivatives, and guided searches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, molecule

import jaxrecon
from jaxrecon import ACSF, Fingerprint, Store, featurize, from_ase, reconstruct
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.pytrees import register_dataclass
from jaxrecon.search.gauss_newton import guided_equations
from jaxrecon.search.guidance import Guidance
from jaxrecon.structures.bounds import bounds_of

pytestmark = pytest.mark.usefixtures("strict_types")

FINGERPRINT = Fingerprint.preset("default", ["Pt"])
SMALL = ACSF(("H", "Pt"), 4.0, g2_eta=(0.5,), g2_r_s=(0.5, 1.5), g5_zeta=(2,), g5_eta=(0.1,))
SETTINGS = {"hops": 3, "replicas": 8, "refine_steps": 15, "tolerance": 1e-4, "polish_steps": 5}


@register_dataclass
@dataclass(frozen=True)
class Line:
    """A predictor that is linear in logarithms; its uncertainty grows with the first numbers."""

    coefficients: np.ndarray
    uncertainty: float = 0.0

    def __call__(self, fingerprint: jax.Array) -> tuple[jax.Array, jax.Array]:
        coefficients = jnp.asarray(self.coefficients, fingerprint.dtype)
        deviation = self.uncertainty * jnp.sum(fingerprint[:3] ** 2)
        return jnp.log(fingerprint + 1.0) @ coefficients, deviation


@pytest.fixture(scope="module")
def line() -> Line:
    return Line(np.random.default_rng(0).normal(size=FINGERPRINT.size) / 5)


def predicted(line: Line, structures: list) -> np.ndarray:
    """The predictions for some structures."""
    rows = featurize(structures, FINGERPRINT)
    return np.array([float(line(jnp.asarray(row))[0]) for row in rows])


@pytest.fixture(scope="module")
def usual(line: Line) -> float:
    """A value of the property that clusters of Pt4 can have."""
    return float(predicted(line, [random_cluster("Pt4", seed) for seed in range(5)]).mean())


def test_a_property_is_reached(line: Line, usual: float) -> None:
    targets = np.zeros((3, FINGERPRINT.size))
    guidance = Guidance.towards(line, usual, widths=np.ones(FINGERPRINT.size))
    run = reconstruct(targets, FINGERPRINT, symbols="Pt4", guidance=guidance, seed=0, **SETTINGS)
    np.testing.assert_allclose(predicted(line, run.to_atoms()), usual, atol=2e-4)
    assert max(result.residual for result in run) <= 1e-4
    first, second, _ = run.to_atoms()
    assert jaxrecon.rmsd(first, second) > 0.05


def test_a_property_is_at_most_a_limit(line: Line, usual: float) -> None:
    range_ = (-np.inf, usual - 0.3)
    guidance = Guidance.towards(line, range_, widths=np.ones(FINGERPRINT.size))
    run = reconstruct(
        np.zeros(FINGERPRINT.size), FINGERPRINT, symbols="Pt4", guidance=guidance, **SETTINGS
    )
    assert predicted(line, run.to_atoms())[0] <= usual - 0.3 + 2e-4


def test_a_search_is_pulled_to_its_target(line: Line, usual: float) -> None:
    wanted = random_cluster("Pt4", 11)
    target = featurize(wanted, FINGERPRINT)
    widths = np.where(np.arange(FINGERPRINT.size) == 4, 0.0, 0.1)
    guidance = Guidance.towards(
        Line(0.0 * np.asarray(line.coefficients)), 0.0, widths=widths, pull=1.0, trust=0.0
    )
    run = reconstruct(target, FINGERPRINT, symbols="Pt4", guidance=guidance, hops=20, replicas=8)
    assert jaxrecon.rmsd(run[0].atoms, wanted) < 0.01


def test_trust_avoids_uncertain_predictions(line: Line, usual: float) -> None:
    def found(trust: float) -> float:
        uncertain = Line(line.coefficients, uncertainty=1e-3)
        guidance = Guidance.towards(uncertain, usual, widths=np.ones(FINGERPRINT.size), trust=trust)
        run = reconstruct(
            np.zeros(FINGERPRINT.size), FINGERPRINT, symbols="Pt4", guidance=guidance, **SETTINGS
        )
        rows = featurize(run[0].atoms, FINGERPRINT)
        return float(uncertain(jnp.asarray(rows[0]))[1])

    assert found(3.0) < 0.5 * found(0.0)


@pytest.mark.parametrize("space", ["free", "periodic"])
def test_equations_are_those_of_automatic_derivatives(space: str, x64: None) -> None:
    fingerprint = Fingerprint(SMALL, ("mean", "moment2"), per_element=True)
    atoms = random_cluster("Pt4", 0) if space == "free" else bulk("Pt") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    elements = 1 if space == "periodic" else None
    bounds = dataclasses.replace(bounds_of([atoms], SMALL.r_cut), elements=elements)
    structure = from_ase(atoms, len(atoms) + 1, bounds)
    rng = np.random.default_rng(0)
    predictor = Line(rng.normal(size=fingerprint.size), uncertainty=0.1)
    target = jnp.asarray(rng.random(fingerprint.size))
    value = float(predictor(jax.jit(fingerprint)(structure))[0])
    guidance = Guidance.towards(
        [predictor, predictor],
        [(value + 0.2, value + 0.5), (-np.inf, value - 0.1)],
        widths=rng.random(fingerprint.size) + 0.5,
        trust=2.0,
        pull=0.7,
    )

    def terms_of(positions: jax.Array) -> jax.Array:
        numbers = fingerprint(dataclasses.replace(structure, positions=positions))
        distances = 0.7 * (numbers - target) / guidance.widths / fingerprint.size**0.5
        energy, deviation = predictor(numbers)
        outside = jnp.stack([energy - value - 0.2, energy - value + 0.1])
        return jnp.concatenate([outside, jnp.full(2, 2.0 * deviation), distances])

    equations = jax.jit(
        lambda structure: guided_equations(fingerprint, structure, target, guidance=guidance)
    )(structure)
    positions = structure.positions
    terms = jax.jit(terms_of)(positions)
    jacobian = np.asarray(jax.jit(jax.jacrev(terms_of))(positions)).reshape(len(terms), -1)
    np.testing.assert_allclose(equations.squared, terms @ terms, rtol=1e-9)
    np.testing.assert_allclose(equations.residual, np.sqrt(terms @ terms), rtol=1e-9)
    scale = np.abs(jacobian.T @ jacobian).max()
    np.testing.assert_allclose(equations.gram / scale, jacobian.T @ jacobian / scale, atol=1e-9)
    np.testing.assert_allclose(equations.gradient, terms @ jacobian, atol=1e-9 * scale)


def test_predictors_see_zeros_for_absent_elements() -> None:
    descriptor = dataclasses.replace(SMALL, elements=("H", "C", "O"))
    fingerprint = Fingerprint(descriptor, ("mean", "moment2"), per_element=True)
    water = molecule("H2O")
    row = featurize(water, fingerprint)[0]
    shapes: list[tuple[int, ...]] = []

    @register_dataclass
    @dataclass(frozen=True)
    class Recorder:
        def __call__(self, value: jax.Array) -> tuple[jax.Array, jax.Array]:
            shapes.append(value.shape)
            return value @ jnp.asarray(row, value.dtype), jnp.zeros((), value.dtype)

    guidance = Guidance.towards(
        Recorder(), float(row @ row), widths=np.ones(fingerprint.size), trust=0.0
    )
    run = reconstruct(row, fingerprint, symbols="H2O", guidance=guidance, **SETTINGS)
    again = featurize(run[0].atoms, fingerprint)[0]
    assert set(shapes) == {(fingerprint.size,)}
    np.testing.assert_allclose(again @ row, row @ row, rtol=1e-4)


def test_a_stored_run_belongs_to_its_guidance(line: Line, usual: float, tmp_path: Path) -> None:
    target = np.zeros(FINGERPRINT.size)

    def run(value: float, **options: bool) -> jaxrecon.Reconstruction:
        return reconstruct(
            target,
            FINGERPRINT,
            symbols="Pt4",
            guidance=Guidance.towards(line, value, widths=np.ones(FINGERPRINT.size)),
            store=Store(str(tmp_path / "run.db"), **options),
            **SETTINGS,
        )

    first = run(usual)
    again = run(usual, resume=True)
    np.testing.assert_array_equal(first[0].atoms.positions, again[0].atoms.positions)
    with pytest.raises(ValueError, match="guidance"):
        run(usual + 0.1, resume=True)


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        ((2.0, 1.0), {}, "expected ranges from low to high, got"),
        (np.nan, {}, "expected ranges from low to high, got nan"),
        ([(0.0, 1.0), (0.0, 1.0)], {}, "expected a range for each of 1 properties"),
        (1.0, {"trust": -1.0}, "expected a finite trust >= 0, got -1.0"),
        (1.0, {"pull": np.inf}, "expected a finite pull >= 0, got inf"),
    ],
)
def test_impossible_arguments_are_refused(
    line: Line, wanted: object, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Guidance.towards(line, wanted, widths=np.ones(46), **options)


def test_there_is_one_width_for_each_number_of_the_fingerprint(line: Line) -> None:
    guidance = Guidance.towards(line, 1.0, widths=np.ones(45))
    with pytest.raises(
        ValueError, match="expected guidance for fingerprints of 46 numbers, got 45"
    ):
        reconstruct(np.zeros(46), FINGERPRINT, symbols="Pt4", guidance=guidance)
