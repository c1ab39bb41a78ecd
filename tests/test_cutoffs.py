"""Cutoff functions against NumPy: values, and derivatives by complex steps and by JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.descriptors.cutoffs import CUTOFFS

# The cosine cutoff is also the square of a cosine: cos(x)^2 = (1 + cos(2 x)) / 2.
FORMULAS = {
    "cosine": lambda x: np.cos(np.pi * x / 2) ** 2,
    "tanh3": lambda x: np.tanh(1 - x) ** 3,
}
AT_ZERO = {"cosine": 1.0, "tanh3": np.tanh(1.0) ** 3}


@pytest.mark.parametrize("r_cut", [3.0, 20.0])
@pytest.mark.parametrize("name", CUTOFFS)
def test_value_and_derivative(name: str, r_cut: float) -> None:
    r = np.linspace(0.0, 1.5 * r_cut, 301)
    with jax.enable_x64(True):
        value, derivative = map(np.asarray, CUTOFFS[name](jnp.asarray(r), r_cut))
        by_autodiff = jax.vmap(jax.grad(lambda r: CUTOFFS[name](r, r_cut)[0]))(jnp.asarray(r))
    inside = r < r_cut
    expected = np.where(inside, FORMULAS[name](r / r_cut), 0.0)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-15)
    step = 1e-30
    complex_step = FORMULAS[name](r / r_cut + 1j * step).imag / (step * r_cut)
    np.testing.assert_allclose(derivative, np.where(inside, complex_step, 0.0), rtol=0, atol=1e-15)
    np.testing.assert_allclose(derivative, by_autodiff, rtol=0, atol=1e-15)
    assert not value[~inside].any()
    assert not derivative[~inside].any()
    assert value[0] == pytest.approx(AT_ZERO[name], rel=1e-15)


@pytest.mark.parametrize("name", CUTOFFS)
def test_smooth_at_the_cutoff(name: str) -> None:
    """Value and derivative are continuous; for tanh3 the curvature is continuous too."""
    distance = 1e-4
    with jax.enable_x64(True):
        value, derivative = map(float, CUTOFFS[name](jnp.asarray(3.0 - distance), 3.0))
        curvature = float(jax.grad(lambda r: CUTOFFS[name](r, 3.0)[1])(3.0 - distance))
    assert 0 < value < distance**2
    assert -10 * distance < derivative < 0
    assert (abs(curvature) < 10 * distance) == (name == "tanh3")


@pytest.mark.parametrize("name", CUTOFFS)
def test_float32_and_far_away(name: str) -> None:
    r = np.array([0.0, 1.0, 2.0, 2.9999998, 3.0, 1e4, 1e12], np.float32)
    value, derivative = CUTOFFS[name](jnp.asarray(r), 3.0)
    assert value.dtype == derivative.dtype == np.float32
    expected = np.where(r < 3, FORMULAS[name](r.astype(float) / 3), 0.0)
    np.testing.assert_allclose(value, expected, rtol=0, atol=2e-7)
    assert not np.asarray(value)[4:].any()
    assert np.isfinite(derivative).all()
