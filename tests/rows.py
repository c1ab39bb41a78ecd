"""Three sets of symmetry functions of all kinds, and their compiled rows and derivatives."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import dense
import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from jaxrecon import ACSF
from jaxrecon.structures.neighbors import Neighbors, image_neighbors, neighbors
from jaxrecon.structures.structure import Structure, from_ase

# All parameters differ, so that a test notices if two of them are exchanged.
PLAIN = ACSF(
    elements=("H", "O", "Pt"),
    r_cut=5.0,
    g1=True,
    g2_eta=(0.05, 1.0),
    g2_r_s=(0.0, 1.5, 3.0),
    g3_kappa=(0.7, 2.0),
    g4_zeta=(1, 4),
    g4_lam=(-1, 1),
    g4_eta=(0.02, 0.2),
    g5_zeta=(2, 16),
    g5_lam=(-1, 0.5, 1),
    g5_eta=(0.05, 0.3, 0.1),
)
SHIFTED = replace(
    PLAIN,
    g4_r_s=(0.0, 1.5),
    g5_zeta=(1.5, 16),
    g5_eta=(0.05, 0.3),
    g5_r_s=(2.5, 0.5),
    cutoff="tanh3",
)
WEIGHTED = replace(SHIFTED, weighted=True)
SETS = {"plain": PLAIN, "shifted": SHIFTED, "weighted": WEIGHTED}
PADDED = 12


@partial(jax.jit, static_argnums=0)
def rows(config: ACSF, structure: Structure) -> jax.Array:
    if structure.bounds is None:
        return config(neighbors(structure))
    return config(image_neighbors(structure, config.r_cut))


def assert_rows(config: ACSF, structure: Structure, expected: np.ndarray) -> None:
    """Compare rows: in float64 each number to 1e-9, in float32 to 1e-5 of the largest number."""
    n = len(expected)
    values = np.asarray(rows(config, structure))[:n]
    largest = np.abs(expected).max(initial=1.0)
    if values.dtype == np.float64:
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-13 * largest)
    else:
        np.testing.assert_allclose(values, expected, rtol=0.0, atol=1e-5 * largest)


def in_both_precisions(config: ACSF, atoms: Atoms, expected: np.ndarray, **sizes: object) -> None:
    for double in (True, False):
        with jax.enable_x64(double):
            assert_rows(config, from_ase(atoms, **{"size": PADDED, **sizes}), expected)


@partial(jax.jit, static_argnums=0)
def derivatives(config: ACSF, environments: Neighbors) -> tuple[jax.Array, ...]:
    """Rows and Jacobian in closed form; rows; the Jacobian by forward mode; one reverse-mode pass.

    Forward mode goes through the plain rows of ``dense``, as the fast ones only have reverse mode.
    """

    def row(vectors: jax.Array, species: jax.Array, mask: jax.Array) -> jax.Array:
        return dense.rows(config, Neighbors(vectors[None], species[None], mask[None]))[0]

    def rows(vectors: jax.Array) -> jax.Array:
        return config(environments._replace(vectors=vectors))

    vectors, species, mask = environments.vectors, environments.species, environments.mask
    forward = jax.vmap(jax.jacfwd(row))(vectors, species, mask)
    values, pull_back = jax.vjp(rows, vectors)
    return *config.with_jacobian(environments), values, forward, *pull_back(jnp.ones_like(values))
