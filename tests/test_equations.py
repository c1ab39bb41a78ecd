"""The two sets of normal equations of a fingerprint, against autodiff and on ties."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from strategies import random_cluster, random_crystal

from jaxrecon import Fingerprint, Structure, featurize, from_ase
from jaxrecon.compositions import elements_of
from jaxrecon.datasets import prototypes
from jaxrecon.pooling import deviations
from jaxrecon.refine import levenberg_marquardt, refine
from jaxrecon.space import bounds_of


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("every_atom", [False, True])
def test_gram_and_gradient_are_those_of_the_residual_vector(
    every_atom: bool, periodic: bool
) -> None:
    atoms = random_crystal(1, 3) if periodic else random_cluster(1, 5)
    fingerprint = Fingerprint.preset("crystal", elements_of([atoms]))
    with jax.enable_x64(True):
        images = bounds_of([atoms], fingerprint.descriptor.r_cut) if periodic else None
        structure = from_ase(atoms, bounds=bounds)
        target = fingerprint(structure) * 1.01 + 0.001

        def at(positions: jax.Array) -> Structure:
            return Structure(positions, structure.species, structure.mask, structure.cell, images)

        def residuals(positions: jax.Array) -> jax.Array:
            if not every_atom:
                return fingerprint(at(positions)) - target
            rows = fingerprint.descriptor(fingerprint._neighbors(at(positions)))
            difference, bound = deviations(rows, target, structure.mask, fingerprint.poolings)
            return jnp.where(bound, difference, 0.0).ravel()

        model = fingerprint.bound_equations if every_atom else fingerprint.normal_equations
        equations = jax.jit(model)(structure, target)
        jacobian = np.asarray(jax.jacfwd(residuals)(structure.positions))
        vector = np.asarray(residuals(structure.positions))
    flat = jacobian.reshape(len(vector), -1)
    scale = np.abs(flat.T @ flat).max()
    np.testing.assert_allclose(equations.gram, flat.T @ flat, atol=1e-11 * scale)
    np.testing.assert_allclose(equations.gradient, vector @ flat, atol=1e-11 * scale)
    np.testing.assert_allclose(equations.squared, vector @ vector, rtol=1e-11)


def test_ties_of_a_symmetric_structure_do_not_stop_the_last_steps() -> None:
    truth = prototypes.load("dodecahedron")
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    target = featurize(truth, fingerprint)[0]
    with jax.enable_x64(True):
        structure = from_ase(truth)
        noise = 0.05 * np.random.default_rng(0).normal(size=truth.positions.shape)

        @jax.jit
        def polish(positions: jax.Array) -> jax.Array:
            refinement = levenberg_marquardt(
                lambda x: fingerprint.bound_equations(
                    Structure(x, structure.species, structure.mask), jnp.asarray(target)
                ),
                max_step=0.3,
            )
            return refine(refinement, positions, steps=20)[1]

        assert polish(structure.positions + noise) < 1e-9
