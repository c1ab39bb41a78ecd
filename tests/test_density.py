"""G5 by moments and by early sums over images, against sums over pairs and JAX's derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from jaxrecon import ACSF, Fingerprint, batch, from_ase
from jaxrecon.descriptors.acsf import angular, positions, radial, three_body
from jaxrecon.descriptors.acsf.angular import Angular
from jaxrecon.descriptors.acsf.one_channel import Functions
from jaxrecon.descriptors.acsf.radial import Radial
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.derivatives import RowDerivatives
from jaxrecon.descriptors.environment import Environment
from jaxrecon.descriptors.view import View

R_CUT = 4.0
KIND = Angular("G5", (1, 2, 4, 16), (-1, 0.5, 1), (0.05, 0.3), (0.0, 1.5), "cosine", R_CUT)
FUNCTIONS = Functions(Radial(True, (0.3,), (1.0, 2.0), (0.7,)), (KIND,), "cosine", R_CUT)
ALWAYS, NEVER = 0.0, 1e9


def random_environment(*, weighted: bool = False) -> Environment:
    """Neighbours of two elements and of others, with padding, beyond the cutoff and coincident."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 3)) * 1.4
    vectors[3], vectors[4], vectors[5] = vectors[2], 5.0, 0.0
    channel = np.eye(3)[rng.integers(0, 3, 20), :2]
    channel[-3:] = 0.0
    if weighted:
        channel = channel @ [[8.0], [22.0]]
    return FUNCTIONS.environment(jnp.asarray(vectors), jnp.asarray(channel))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("neighbors", [ALWAYS, NEVER])
def test_values_and_derivatives_are_those_of_sums_over_pairs(
    neighbors: float, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(three_body, "NEIGHBORS", neighbors)
    monkeypatch.setattr(three_body, "FEWEST", 1)
    with jax.enable_x64(True):
        env = random_environment(weighted=weighted)

        @jax.jit
        def both(env: Environment) -> tuple[jax.Array, ...]:
            found = positions.row_with_derivatives(
                FUNCTIONS, env, jnp.eye(len(env.r)), moved=env.channel
            )
            two_body = radial.values_and_jacobian(FUNCTIONS.radial, env)
            pairs = angular.values_and_jacobian(KIND, env)
            joined = [
                jnp.concatenate([a.reshape(-1, *a.shape[2:]), b.reshape(-1, *b.shape[2:])])
                for a, b in zip(two_body, pairs, strict=True)
            ]
            return *found, *joined

        row, derivatives, expected, jacobian = both(env)
        assert derivatives.shape == (len(row), 20, 3)
        for found, wanted in ((row, expected), (derivatives, jacobian)):
            assert np.abs(wanted).reshape(len(row), -1).max(axis=1).min() > 1e-5
            np.testing.assert_allclose(found, wanted, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("neighbors", [ALWAYS, NEVER])
def test_values_and_derivatives_without_positions(
    neighbors: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, gradients and their change in a direction are those of sums over pairs."""
    monkeypatch.setattr(three_body, "NEIGHBORS", neighbors)
    monkeypatch.setattr(three_body, "FEWEST", 1)
    with jax.enable_x64(True):
        env = random_environment()
        cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(3, KIND.size)))

        @partial(jax.jit, static_argnums=0)
        def derivatives(
            values: Callable[[Angular, Environment], jax.Array], vectors: jax.Array
        ) -> tuple[jax.Array, ...]:
            def total(vectors: jax.Array) -> jax.Array:
                at = FUNCTIONS.environment(vectors, env.channel)
                return jnp.sum(values(KIND, at) * cotangent)

            gradient, curvature = jax.jvp(jax.grad(total), (vectors,), (jnp.ones((20, 3)),))
            return total(vectors), gradient, curvature

        found = derivatives(three_body.values, env.vectors)
        for one, other in zip(found, derivatives(angular.values, env.vectors), strict=True):
            assert np.abs(other).max() > 0.1
            np.testing.assert_allclose(one, other, atol=1e-11 * np.abs(other).max())


def test_no_function_is_lost_by_the_choice() -> None:
    many = KIND._replace(zeta=(1, 2.5, 16, 2, 4))
    ways = three_body.parts(many, 48)
    assert [(way, part.zeta) for way, part in ways] == [
        (True, (1,)),
        (False, (2.5, 16)),
        (True, (2, 4)),
    ]
    assert three_body.parts(many, 31) == [(False, many)]


def crystal(fingerprint: Fingerprint, symbols: str) -> View:
    """A triclinic crystal, much narrower than the cutoff, in a padded structure."""
    cell = np.array([[3.1, 0, 0], [1.0, 2.9, 0], [-0.7, 0.5, 3.3]])
    fractions = np.random.default_rng(2).random((len(Atoms(symbols)), 3))
    atoms = Atoms(symbols, scaled_positions=fractions, cell=cell, pbc=True)
    atoms.positions[1] = atoms.positions[0]
    places = np.random.default_rng(3).random((8, 3)) * 9.0
    larger = Atoms(f"{fingerprint.descriptor.elements[0]}8", places, cell=[9] * 3, pbc=True)
    structures = batch([atoms, larger], fingerprint)
    return fingerprint.view(jax.tree.map(lambda leaf: leaf[0], structures))


@pytest.mark.parametrize("strain", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_images_of_a_crystal(strain: bool, weighted: bool) -> None:
    """Rows and derivatives are those without early sums, also where two atoms coincide."""
    descriptor = ACSF(
        ("Cu", "O", "Ti", "Sr"),
        6.0,
        g2_eta=(0.5,),
        g2_r_s=(1, 2, 3),
        g3_kappa=(0.4,),
        g5_zeta=(1, 4, 16),
        g5_eta=(0.02, 0.1),
        weighted=weighted,
    )
    with jax.enable_x64(True):
        view = crystal(Fingerprint(descriptor, ("mean",)), "SrTiO2")
        assert view.neighbors.mask.sum(axis=1).max() > 40
        assert not view.neighbors.mask[-1].any()
        rows, early = descriptor.with_derivatives(view.neighbors, view.elements, strain=strain)
        plain = partial(Descriptor.with_derivatives, strain=strain)
        expected, late = plain(descriptor, view.neighbors, view.elements)
        np.testing.assert_allclose(rows, expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(descriptor(view.neighbors, view.elements), rows, rtol=1e-11)
        wanted = late.entries()
        assert early.entries().shape == (8, 16 if weighted else 84, 8 + 3 * strain, 3)
        np.testing.assert_allclose(early.entries(), wanted, atol=1e-11 * np.abs(wanted).max())


def test_a_free_molecule() -> None:
    """Without images too the derivatives are those by the vectors, padding included."""
    fingerprint = Fingerprint.preset("default", ["H", "C", "O"])
    descriptor = fingerprint.descriptor
    with jax.enable_x64(True):
        view = fingerprint.view(from_ase(molecule("CH3CH2OH"), 10))
        rows, early = descriptor.with_derivatives(view.neighbors, view.elements)
        expected, late = Descriptor.with_derivatives(descriptor, view.neighbors, view.elements)
        np.testing.assert_allclose(rows, expected, rtol=1e-11, atol=1e-13)
        wanted = late.entries()
        assert np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(early.entries(), wanted, atol=1e-12)


def test_float32_has_its_round_off_and_no_more() -> None:
    """A crystal with 160 neighbours, and one whose atoms see nothing."""
    fingerprint = Fingerprint.preset("crystal", ["C"])
    descriptor = fingerprint.descriptor
    near = crystal(fingerprint, "C4")
    early, late = (
        with_derivatives(descriptor, near.neighbors, near.elements)
        for with_derivatives in (type(descriptor).with_derivatives, Descriptor.with_derivatives)
    )
    with jax.enable_x64(True):
        exact = crystal(fingerprint, "C4")
        rows, jacobian = Descriptor.with_derivatives(descriptor, exact.neighbors, exact.elements)
        scale = np.abs(jacobian.entries()).max(axis=(0, 2, 3))[None, :, None, None]

        def error(found: tuple[jax.Array, RowDerivatives]) -> tuple[float, float]:
            difference = (found[1].entries() - jacobian.entries()) / scale
            ratio = found[0][:4] / rows[:4] - 1.0
            return float(np.abs(ratio).max()), float(np.abs(difference).max())

        for own, other in zip(error(early), error(late), strict=True):
            assert own < min(2.0 * other, 1e-4)
    alone = Atoms("C", cell=[20.0] * 3, pbc=True)
    structure = jax.tree.map(lambda leaf: leaf[0], batch([alone], fingerprint))
    value, jacobian = fingerprint.with_jacobian(structure)
    assert not value.any()
    assert not jacobian.any()
