"""Two-body functions against jax-md, and their derivatives in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from strategies import random_cluster

from jaxrecon import ACSF
from jaxrecon.descriptors.acsf import radial
from jaxrecon.descriptors.acsf.radial import Radial
from jaxrecon.descriptors.environment import (
    Environment,
    element_channels,
    environment,
    weighted_channel,
)
from jaxrecon.descriptors.feature import Feature
from jaxrecon.structures.neighbors import displacement, neighbors
from jaxrecon.structures.structure import from_ase

ALL = Radial(True, (0.05, 1.0), (0.0, 1.5, 3.0), (0.0, 0.7))


@pytest.mark.parametrize("cell", [None, np.diag([12.0, 11.0, 10.0]) + 0.4])
def test_jax_md(cell: np.ndarray | None) -> None:
    """jax-md has the same G2 in the same order, with r_s = 0 and a channel for each element."""
    from jax_md._nn.behler_parrinello import radial_symmetry_functions

    positions = 0.6 * random_cluster(1, 8).positions
    atoms = Atoms("OHPtHOPtOPt", positions, cell=cell, pbc=cell is not None)
    etas = (0.05, 0.3, 1.0)
    config = ACSF(("H", "O", "Pt"), 5.0, g2_eta=etas, g2_r_s=(0,), g5_zeta=())
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        structure = from_ase(atoms)
        oracle = radial_symmetry_functions(
            displacement(structure.cell), structure.species, jnp.array(etas), 5.0
        )
        expected = np.asarray(jax.jit(oracle)(structure.positions))
        values = np.asarray(jax.jit(config)(neighbors(structure)))
    assert expected.max(axis=0).min() > 0.01
    np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(("cutoff", "weighted"), [("cosine", False), ("tanh3", True)])
def test_closed_form_derivatives(cutoff: str, weighted: bool) -> None:
    """They are those of JAX, and 0 for padding and for an element without a channel."""
    rng = np.random.default_rng(0)
    species, mask = np.array([1, 8, 78, 8, 6, 1, 78]), np.array([True] * 6 + [False])

    @jax.jit
    def compute(vectors: jax.Array) -> tuple[jax.Array, ...]:
        def at(vectors: jax.Array) -> Environment:
            elements = jnp.array([1, 8, 78])
            parts = (jnp.asarray(species), jnp.asarray(mask), elements)
            channels = weighted_channel if weighted else element_channels
            channel = channels(*parts, dtype=vectors.dtype)
            return environment(vectors, channel, cutoff=cutoff, r_cut=4.0)

        by_autodiff = jax.jacfwd(lambda vectors: radial.values(ALL, at(vectors)))(vectors)
        return (
            radial.values(ALL, at(vectors)),
            *radial.values_and_jacobian(ALL, at(vectors)),
            by_autodiff,
        )

    with jax.enable_x64(True):
        values, same, closed, by_autodiff = compute(jnp.asarray(rng.normal(size=(7, 3)) * 1.4))
    assert values.shape == (1 if weighted else 3, ALL.size)
    np.testing.assert_array_equal(values, same)
    assert np.abs(closed[:, :, [0, 1, 2, 3, 5]]).max(axis=(0, 1, 3)).min() > 1e-3
    assert not np.asarray(closed)[:, :, [4, 6]].any()
    np.testing.assert_allclose(closed, by_autodiff, rtol=1e-11, atol=1e-13)


def features(functions: Radial) -> list[Feature]:
    return functions.features("Pt", ("Pt",), "cosine", 4.0)


def test_names_and_size() -> None:
    assert [feature.name for feature in features(ALL)] == [
        "G1[Pt]",
        *(f"G2[Pt] eta={eta:g} r_s={r_s:g}" for eta in ALL.eta for r_s in ALL.r_s),
        "G3[Pt] kappa=0",
        "G3[Pt] kappa=0.7",
    ]
    assert ALL.size == 9
    for empty in (Radial(False, (), (1.0,), ()), Radial(False, (1.0,), (), ())):
        assert (features(empty), empty.size) == ([], 0)
