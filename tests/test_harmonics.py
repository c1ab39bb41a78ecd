"""Solid harmonics: against SciPy, the addition theorem and automatic derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from numpy.polynomial.legendre import Legendre

from jaxrecon.descriptors import harmonics

L_MAX = 12
# Random vectors, the poles, two axes, nearly the pole, and no distance.
VECTORS = np.vstack(
    [
        np.random.default_rng(0).normal(size=(5, 3)),
        [[0, 0, 1], [0, 0, -2], [1, 0, 0], [0, -1, 0], [1e-9, 0, 1], [0, 0, 0]],
    ]
).T


@pytest.fixture(autouse=True)
def in_float64() -> object:
    with jax.enable_x64(True):
        yield


def test_values_are_those_of_scipy() -> None:
    x, y, z = VECTORS
    r = np.linalg.norm(VECTORS, axis=0)
    theta, phi = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    expected = []
    for l in range(L_MAX + 1):
        for m in range(-l, l + 1):
            # SciPy's have the sign of Condon and Shortley.
            value = (-1) ** m * scipy.special.sph_harm_y(l, abs(m), theta, phi)
            real = value.real if m >= 0 else value.imag
            expected.append(r**l * real * (1 if m == 0 else np.sqrt(2)))
    found = np.asarray(jax.jit(harmonics.solid_harmonics, static_argnums=1)(VECTORS, L_MAX))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * np.abs(found).max())


def test_products_are_legendre_polynomials() -> None:
    """The addition theorem, on which every power spectrum rests."""
    first, second = VECTORS[:, :4], VECTORS[:, 1:5]
    products = harmonics.solid_harmonics(jnp.asarray(first), L_MAX) * harmonics.solid_harmonics(
        jnp.asarray(second), L_MAX
    )
    lengths = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    cosine = np.sum(first * second, axis=0) / lengths
    for l in range(L_MAX + 1):
        found = np.asarray(products)[harmonics.degrees(L_MAX) == l].sum(axis=0)
        expected = (2 * l + 1) / (4 * np.pi) * lengths**l * Legendre.basis(l)(cosine)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * lengths.max() ** l)


def test_gradients_are_those_of_jax() -> None:
    """At the poles and at no distance too."""
    values = jax.jit(harmonics.solid_harmonics, static_argnums=1)

    def at(vector: jax.Array) -> jax.Array:
        return values(vector, 6)

    expected = jax.jit(jax.vmap(jax.jacfwd(at), in_axes=1, out_axes=-1))(jnp.asarray(VECTORS))
    found = jax.jit(harmonics.gradients, static_argnums=1)(jnp.asarray(VECTORS), 6)
    np.testing.assert_allclose(found, np.moveaxis(expected, 1, 0), rtol=1e-12, atol=1e-12)
