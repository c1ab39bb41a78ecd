"""Coordinates: the way back, possible fingerprints for any coordinates, finite derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from jaxrecon import Fingerprint, featurize
from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.models.coordinates import EPSILON, Coordinates

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
