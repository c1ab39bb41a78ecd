"""Coordinates: the way back, possible fingerprints for any coordinates, finite derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from jaxrecon import SOAP, Fingerprint, featurize
from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.roots import EPSILON, root, squared

SMALL = ACSF(("H", "O"), r_cut=5.0, g2_eta=(0.1, 1.0), g2_r_s=(1,), g3_kappa=(1.5,), g5_zeta=(2,))
EVERY = Fingerprint(SMALL, poolings=POOLINGS, per_element=True, max_atoms=4)
NAMES, BACKWARD = EVERY.names, jax.jit(Coordinates.of(EVERY).backward)


def rows(fingerprint: Fingerprint, count: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    frames = [Atoms("H2O2", 1.2 * random.normal(size=(4, 3))) for _ in range(count)]
    return featurize(frames, fingerprint)


@pytest.mark.parametrize("poolings", [("max", "min"), ("min", "mean"), POOLINGS])
def test_the_way_back_gives_the_fingerprint(x64, poolings):
    fingerprint = Fingerprint(SMALL, poolings=poolings, per_element=True, max_atoms=4)
    coordinates = Coordinates.of(fingerprint)
    assert hash(coordinates) == hash(Coordinates.of(fingerprint))
    there_and_back = jax.jit(lambda row: coordinates.backward(coordinates.forward(row)))
    for row in rows(fingerprint):
        np.testing.assert_allclose(there_and_back(jnp.asarray(row)), row, atol=1e-13)


def test_coordinates_are_those_of_the_formula(x64):
    row = rows(EVERY, 1)[0]
    found = np.asarray(Coordinates.of(EVERY).forward(jnp.asarray(row)))
    names, value = EVERY.names, dict(zip(EVERY.names, row, strict=True))
    signed = 0
    for name, coordinate in zip(names, found, strict=True):
        number = value[name]
        if name.startswith("max"):
            number -= value[name.replace("max", "min")]
        elif name.startswith("moment3") or (
            " G3" in name and not name.startswith(("moment2", "moment4"))
        ):
            assert coordinate == number
            signed += number < 0
            continue
        assert coordinate == pytest.approx(np.sqrt(number + EPSILON) - EPSILON**0.5, abs=1e-12)
    assert signed > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-9, 1e-3, 1.0, 30.0]))
def test_any_coordinates_give_a_possible_fingerprint(dtype, seed, scale):
    with jax.enable_x64(True):
        anything = scale * np.random.default_rng(seed).normal(size=EVERY.size)
        back = np.asarray(BACKWARD(jnp.asarray(anything, dtype)))
    assert back.dtype == dtype
    values = dict(zip(NAMES, back, strict=True))
    for name, value in values.items():
        if name.startswith("max"):
            assert value >= values[name.replace("max", "min")]
        elif name.startswith(("moment2", "moment4")) or " G3" not in name:
            assert value >= 0.0 or name.startswith("moment3")


def test_derivatives_are_those_of_differences_and_finite_at_zero(x64):
    coordinates, random = Coordinates.of(EVERY), np.random.default_rng(0)
    row = coordinates.backward(jnp.asarray(random.uniform(0.1, 1.0, EVERY.size)))
    step = 1e-6 * jnp.asarray(random.normal(size=row.shape))
    lower, upper = (coordinates.forward(row + sign * step) for sign in (-0.5, 0.5))
    jacobian = jax.jacobian(coordinates.forward)(row)
    np.testing.assert_allclose(jacobian @ step, upper - lower, rtol=1e-6, atol=1e-12)
    at_zero = np.asarray(jax.jacobian(coordinates.forward)(jnp.zeros(EVERY.size)))
    assert np.isfinite(at_zero).all()
    assert np.abs(at_zero).max() <= 0.5 / EPSILON**0.5 + 1e-9


def test_impossible_numbers_are_moved_to_the_nearest_possible_ones(x64):
    fingerprint = Fingerprint(ACSF(("H",), g2_eta=(1,), g2_r_s=(1,)), poolings=("max", "min"))
    coordinates = Coordinates.of(fingerprint)
    row = jnp.ones(fingerprint.size).at[0].set(0.5).at[1].set(-1.0)
    row = row.at[fingerprint.size // 2 + 1].set(-2.0)
    back = np.asarray(coordinates.backward(coordinates.forward(row)))
    assert back[:2].tolist() == pytest.approx([1.0, 1.0])
    assert back[fingerprint.size // 2 + 1] == 0.0


# Matrices of scalar products.


def spectra(**changes) -> Fingerprint:
    settings = {"n_max": 2, "l_max": 1, "sigma": 0.5, **changes}
    return Fingerprint(SOAP(("H", "O"), 4.0, **settings), ("mean", "sum", "moment2"))


CONVENTIONS = [
    {"convention": "dscribe"},
    {"convention": "featomic"},
    {"convention": "quippy", "normalize": True},
    {"compression": "crossover"},
    {"compression": "mu2", "weights": {"H": (1.0, 0.2), "O": (0.3, -1.0)}},
]


def matrices_of(fingerprint: Fingerprint, values: np.ndarray) -> dict[tuple, np.ndarray]:
    """The matrices by pooling and place, from the entries that the features name."""
    found: dict[tuple, np.ndarray] = {}
    for number, value in zip(fingerprint.features, values, strict=True):
        gram = fingerprint.descriptor.features[number.feature].gram
        if number.pooling != "moment2":
            matrix = found.setdefault((number.pooling, *gram.matrix), np.full((4, 4), np.nan))
            matrix[gram.row, gram.column] = matrix[gram.column, gram.row] = value / gram.scale
    for key, matrix in found.items():
        whole = ~np.isnan(np.diag(matrix))
        found[key] = matrix[np.ix_(whole, whole)]
    return found


@pytest.mark.parametrize("changes", CONVENTIONS)
def test_spectra_are_matrices_without_negative_eigenvalues(x64, changes):
    """Those of structures and those of any coordinates; the way back gives the numbers."""
    fingerprint = spectra(**changes)
    coordinates = Coordinates.of(fingerprint)
    assert hash(coordinates) == hash(Coordinates.of(fingerprint))
    forward, backward = jax.jit(coordinates.forward), jax.jit(coordinates.backward)
    # The last one has no O atom, so that most of its matrices are singular.
    random = np.random.default_rng(0)
    frames = [Atoms("H2O2", 1.2 * random.normal(size=(4, 3))), Atoms("H2", [(0, 0, 0), (1, 0, 0)])]
    values = featurize(frames, fingerprint, dtype=np.float64)
    anything = random.normal(size=(5, fingerprint.size))
    drawn = np.array([backward(jnp.asarray(row)) for row in anything])
    for row in values:
        np.testing.assert_allclose(backward(forward(jnp.asarray(row))), row, rtol=1e-9, atol=1e-8)
    for row in drawn:
        np.testing.assert_allclose(backward(forward(jnp.asarray(row))), row, rtol=1e-9, atol=1e-8)
    count = 4 if changes.get("compression") == "crossover" else 2
    for row in [*values, *drawn]:
        matrices = matrices_of(fingerprint, row)
        assert len(matrices) == 2 * count
        for matrix in matrices.values():
            assert np.linalg.eigvalsh(matrix).min() > -1e-9 * max(1.0, np.abs(matrix).max())
        assert row[-fingerprint.descriptor.size :].min() >= 0.0
    # Without the matrices such numbers would be impossible.
    lowest = [
        np.linalg.eigvalsh(matrix).min()
        for row in anything
        for matrix in matrices_of(fingerprint, row).values()
    ]
    assert min(lowest) < -0.1


def test_products_of_different_factors_are_no_such_matrices():
    assert Coordinates.of(spectra(compression="mu1nu1")).matrices == ()
    assert Coordinates.of(EVERY).matrices == ()


@pytest.mark.parametrize("function", [root, squared])
@pytest.mark.parametrize("values", [(2.0, 0.5, 1e-3), (1.0, 0.3, -0.2), (1.0, 1.0, 0.2)])
def test_derivatives_of_roots_are_those_of_differences(x64, function, values):
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    matrix = jnp.asarray(turn @ np.diag(values) @ turn.T)
    change = jnp.asarray(random.normal(size=(3, 3)))
    change = change + change.T
    _, found = jax.jvp(function, (matrix,), (change,))
    step = 1e-6
    ends = (function(matrix + sign * step * change) for sign in (0.5, -0.5))
    expected = (next(ends) - next(ends)) / step
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_of_roots_are_finite_where_matrices_are_singular(dtype):
    with jax.enable_x64(True):
        for matrix in (np.zeros((3, 3)), np.ones((3, 3)), np.eye(3), np.diag([1.0, 0.0, -1.0])):
            for function in (root, squared):
                found = jax.jacrev(function)(jnp.asarray(matrix, dtype))
                assert found.dtype == dtype
                assert np.isfinite(found).all()
                assert np.abs(found).max() <= max(0.5 / EPSILON**0.5, 4.0) * (1 + 1e-5)


def test_the_root_of_a_number_is_that_of_other_coordinates(x64):
    number = 0.3
    expected = np.sqrt(number + EPSILON) - EPSILON**0.5
    assert float(root(jnp.full((1, 1), number))[0, 0]) == pytest.approx(expected, rel=1e-12)
    whole = np.asarray(root(jnp.diag(jnp.array([number, 4.0])))).diagonal()
    assert whole.tolist() == pytest.approx([expected, np.sqrt(4 + EPSILON) - EPSILON**0.5])
