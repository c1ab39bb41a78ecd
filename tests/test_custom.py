"""Descriptors by a function of the user: rows, derivatives, refusals, and the inverse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from fingerprints import compiled
from inverting import CONFIG, compact
from strategies import random_cluster, random_crystal

from jaxrecon import ACSF, Custom, Fingerprint, batch, featurize, from_ase, reconstruct
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.search.gauss_newton import bound_equations, normal_equations
from jaxrecon.structures import matching

R_CUT = 5.0
CENTRES = (0.5, 1.5, 2.5, 3.5)
SMOOTH: dict[str, Any] = {"poolings": ("mean", "moment2"), "per_element": True}


def gaussians(env: Any) -> jax.Array:
    """The weighted G2 of ACSF with eta = 0.5."""
    off = env.r[:, None] - jnp.asarray(CENTRES, env.r.dtype)[None, :]
    weight = env.cutoff * env.channel[:, 0]
    return jnp.sum(jnp.exp(-0.5 * off**2) * weight[:, None], axis=0)


def moments(env: Any) -> jax.Array:
    """Sums, dipoles and quadrupoles of shells, divided by a distance: not finite at distance 0."""
    off = env.r[None, :] - jnp.asarray(CENTRES, env.r.dtype)[:, None]
    weight = env.cutoff * jnp.sqrt(env.channel[:, 0]) / env.r
    shells = jnp.exp(-(off**2)) * weight[None, :] / 2.0
    first = jnp.einsum("nm,ma->na", shells, env.direction)
    second = jnp.einsum("nm,ma,mb->nab", shells, env.direction, env.direction)
    return jnp.concatenate([shells.sum(1), (first**2).sum(1), (second**2).sum((1, 2))])


@dataclass(frozen=True)
class Shell:
    centre: float

    def __call__(self, env: Any) -> jax.Array:
        return jnp.sum(env.cutoff * (env.r - self.centre) ** 2, keepdims=True)


def fingerprint_of(function: Any, *elements: str, **changes: Any) -> Fingerprint:
    return Fingerprint(Custom(function, elements, r_cut=R_CUT), **changes)


STRUCTURES = {
    "cluster": random_cluster(3, 7, ("H", "O")),
    "crystal": random_crystal(4, 3, ("H", "O")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"), [("cluster", {"poolings": ("max", "min")}), ("crystal", SMOOTH)]
)
def test_it_equals_the_symmetry_functions_that_it_writes_out(name: str, changes: Any) -> None:
    own = fingerprint_of(gaussians, "O", "H", **changes)
    known = ACSF(("H", "O"), R_CUT, g2_eta=(0.5,), g2_r_s=CENTRES, g5_zeta=(), weighted=True)
    peer = Fingerprint(known, **changes)
    atoms = STRUCTURES[name]
    values = featurize(atoms, own)
    assert np.abs(values).max() > 0.1
    np.testing.assert_allclose(values, featurize(atoms, peer), rtol=1e-12, atol=1e-13)
    with jax.enable_x64(True):
        structure = batch([atoms], own, size=8)
        first = jax.tree.map(lambda leaf: leaf[0], structure)
        target = jnp.zeros(own.size)
        strain = None if first.cell is None else 10.0
        for equations in (normal_equations, bound_equations):
            program = jax.jit(partial(equations, strain_length=strain), static_argnums=0)
            for mine, yours in zip(
                program(own, first, target), program(peer, first, target), strict=True
            ):
                assert (mine is None) == (yours is None)
                if mine is not None:
                    np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 9])
def test_derivatives_are_difference_quotients(count: int) -> None:
    """With fewer and with more unknowns than features: JAX takes another mode for each."""
    fingerprint = fingerprint_of(moments, "H", "O", poolings=POOLINGS, max_atoms=9)
    with jax.enable_x64(True):
        structure = from_ase(random_cluster(5, count, ("H", "O")))
        value, jacobian = jax.jit(fingerprint.with_jacobian)(structure)
        np.testing.assert_allclose(value, compiled(fingerprint, structure), rtol=1e-12)
        step = 1e-5 * np.random.default_rng(0).normal(size=(count, 3))
        ahead, back = (
            np.asarray(compiled(fingerprint, from_ase(moved(structure, sign * step))))
            for sign in (1, -1)
        )
        along = np.einsum("pnx,nx->p", jacobian, step)
    assert np.abs(along).max() > 1e-6
    np.testing.assert_allclose(along, (ahead - back) / 2.0, rtol=1e-6, atol=1e-12)


def moved(structure: Any, step: np.ndarray) -> Atoms:
    return Atoms(np.asarray(structure.species), np.asarray(structure.positions) + step)


def test_padding_changes_nothing() -> None:
    fingerprint = fingerprint_of(moments, "H", "O", **SMOOTH)
    atoms = STRUCTURES["cluster"]
    padded = jax.tree.map(lambda leaf: leaf[0], batch([atoms], fingerprint, size=12))
    value, jacobian = jax.jit(fingerprint.with_jacobian)(padded)
    plain, derivatives = jax.jit(fingerprint.with_jacobian)(from_ase(atoms))
    np.testing.assert_allclose(value, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jacobian[:, : len(atoms)], derivatives, rtol=1e-4, atol=1e-5)
    assert not np.any(jacobian[:, len(atoms) :])


@pytest.mark.slow
def test_inverse_of_a_crystal() -> None:
    """That of a cluster is among the tests of every family."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    fingerprint = fingerprint_of(moments, "Na", "Cl", **SMOOTH)
    target = featurize(atoms, fingerprint)
    run = reconstruct(
        target, fingerprint, symbols="NaCl", cell=atoms.cell, config=CONFIG.replace(hops=40)
    )
    assert run.converged == 1
    assert matching.rmsd(atoms, run[0].atoms) < 1e-3
    assert run.to_dict()["fingerprints"][0]["descriptor"]["function"] == "test_custom:moments"


@pytest.mark.slow
def test_nothing_is_compiled_again() -> None:
    traced = []

    def counted(env: Any) -> jax.Array:
        traced.append(env.r.shape)
        return gaussians(env)

    def search(seed: int) -> None:
        fingerprint = fingerprint_of(counted, "Pt", **SMOOTH)
        target = featurize(compact(4), fingerprint)
        reconstruct(target, fingerprint, symbols="Pt4", seed=seed, config=CONFIG.replace(hops=1))

    search(0)
    before = len(traced)
    search(1)
    assert len(traced) == before > 0


def test_equal_parameters_of_a_function_are_equal_descriptors() -> None:
    assert fingerprint_of(Shell(2.0), "Pt") == fingerprint_of(Shell(2.0), "Pt")
    assert fingerprint_of(Shell(2.0), "Pt") != fingerprint_of(Shell(3.0), "Pt")
    assert fingerprint_of(Shell(2.0), "Pt").names[0] == "max Shell 0"


def test_settings_name_the_function_where_it_can_be_imported() -> None:
    own, other = fingerprint_of(gaussians, "Pt"), Fingerprint.preset("default", ["Pt"])
    assert own.to_dict()["descriptor"]["function"] == "test_custom:gaussians"
    assert Fingerprint.from_json(own.to_json()) == own
    assert "family: custom != acsf" in own.differences(other)
    assert "family: acsf != custom" in other.differences(own)


def test_a_function_that_can_not_be_imported_is_refused() -> None:
    def local(env: Any) -> jax.Array:
        return env.cutoff.sum(keepdims=True)

    for function in (local, Shell(2.0)):
        text = fingerprint_of(function, "Pt").to_json()
        with pytest.raises(ValueError, match="expected the descriptor's function in a module that"):
            Fingerprint.from_json(text)
    assert fingerprint_of(Shell(2.0), "Pt").differences(fingerprint_of(Shell(3.0), "Pt"))


def no_row(env: Any) -> jax.Array:
    return env.cutoff.sum()


def neighbours(env: Any) -> jax.Array:
    return env.r * env.cutoff


def directed(env: Any) -> jax.Array:
    return env.cutoff @ env.direction


def ordered(env: Any) -> jax.Array:
    return (env.cutoff * jnp.arange(len(env.r))).sum(keepdims=True)


def padded(env: Any) -> jax.Array:
    return env.r.sum(keepdims=True)


def undefined(env: Any) -> jax.Array:
    return jnp.log(env.cutoff).sum(keepdims=True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_row, r"expected no_row to give a row of numbers, shape \(f,\), got shape \(\)"),
        (lambda env: 1.0, "expected <lambda> to give a row .* got float"),
        (neighbours, "expected neighbours to give as many .* got 5 for 5 and 7 for 7"),
        (directed, "expected directed to give numbers that a rotation, .* got .* for number"),
        (ordered, "expected ordered to give numbers that a rotation, .* got"),
        (padded, "expected padded to give numbers that a rotation, .* got"),
    ],
)
def test_functions_that_are_no_descriptors_are_refused(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fingerprint_of(function, "Pt")


@pytest.mark.usefixtures("unchecked")
def test_objects_that_are_no_functions_are_refused() -> None:
    for wrong in (3, ["a"]):
        with pytest.raises(ValueError, match="expected a hashable function of the environment"):
            fingerprint_of(wrong, "Pt")


def test_rows_that_are_not_finite_are_refused() -> None:
    jax.config.update("jax_debug_nans", False)
    try:
        with pytest.raises(ValueError, match="expected undefined to give numbers that"):
            fingerprint_of(undefined, "Pt")
    finally:
        jax.config.update("jax_debug_nans", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ("Xx",)}, "expected elements as chemical symbols"),
        ({"r_cut": 0.0}, "expected r_cut > 0 Angstrom"),
        ({"cutoff": "none"}, "expected cutoff among"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_parameters_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Custom(gaussians, **{"elements": ("Pt",), **changes})


def test_numbers_that_are_not_finite_are_named() -> None:
    def mean_distance(env: Any) -> jax.Array:
        count = jnp.sum(env.cutoff, keepdims=True)
        return jnp.concatenate([count, jnp.sum(env.cutoff * env.r, keepdims=True) / count])

    fingerprint = fingerprint_of(mean_distance, "H", poolings=("mean",))
    expected = r"expected finite numbers, got nan in structure 1, feature 1 \("
    with jax.debug_nans(False), pytest.raises(ValueError, match=expected):
        featurize([Atoms("H2", [(0, 0, 0), (0, 0, 1)]), Atoms("H")], fingerprint)
