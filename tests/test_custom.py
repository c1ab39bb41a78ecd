"""Descriptors by a function of one's own: rows, slopes, refusals, and the inverse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from fingerprints import compiled
from inverting import CONFIG, compact
from strategies import random_cluster, random_crystal

from jaxrecon import ACSF, Custom, Fingerprint, batch, featurize, from_ase, reconstruct
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.search.gauss_newton import bound_equations, normal_equations
from jaxrecon.structures import matching

pytestmark = pytest.mark.usefixtures("quick_compile")

R_CUT = 5.0
CENTRES = (0.5, 1.5, 2.5, 3.5)
SMOOTH: dict[str, Any] = {"poolings": ("mean", "moment2"), "per_element": True}


def gaussians(seen: Any) -> jax.Array:
    """Sums that the weighted G2 of ACSF with eta = 0.5 are as well."""
    off = seen.r[:, None] - jnp.asarray(CENTRES, seen.r.dtype)[None, :]
    weight = seen.cutoff * seen.channel[:, 0]
    return jnp.sum(jnp.exp(-0.5 * off**2) * weight[:, None], axis=0)


def moments(seen: Any) -> jax.Array:
    """Counts, dipoles and quadrupoles of shells, over the distance: no number at no distance."""
    off = seen.r[None, :] - jnp.asarray(CENTRES, seen.r.dtype)[:, None]
    weight = seen.cutoff * jnp.sqrt(seen.channel[:, 0]) / seen.r
    shells = jnp.exp(-(off**2)) * weight[None, :] / 2.0
    first = jnp.einsum("nm,ma->na", shells, seen.direction)
    second = jnp.einsum("nm,ma,mb->nab", shells, seen.direction, seen.direction)
    return jnp.concatenate([shells.sum(1), (first**2).sum(1), (second**2).sum((1, 2))])


@dataclass(frozen=True)
class Shell:
    centre: float

    def __call__(self, seen: Any) -> jax.Array:
        return jnp.sum(seen.cutoff * (seen.r - self.centre) ** 2, keepdims=True)


def of(function: Any, *elements: str, **changes: Any) -> Fingerprint:
    return Fingerprint(Custom(function, elements, r_cut=R_CUT), **changes)


STRUCTURES = {
    "cluster": random_cluster(3, 7, ("H", "O")),
    "crystal": random_crystal(4, 3, ("H", "O")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"), [("cluster", {"poolings": ("max", "min")}), ("crystal", SMOOTH)]
)
def test_same_as_the_symmetry_functions_that_it_spells_out(name: str, changes: Any) -> None:
    own = of(gaussians, "O", "H", **changes)
    known = ACSF(("H", "O"), R_CUT, g2_eta=(0.5,), g2_r_s=CENTRES, g5_zeta=(), weighted=True)
    peer = Fingerprint(known, **changes)
    atoms = STRUCTURES[name]
    values = featurize(atoms, own)
    assert np.abs(values).max() > 0.1
    np.testing.assert_allclose(values, featurize(atoms, peer), rtol=1e-12, atol=1e-13)
    with jax.enable_x64(True):
        structure = batch([atoms], own, size=8)
        one = jax.tree.map(lambda leaf: leaf[0], structure)
        target = jnp.zeros(own.size)
        strain = None if one.cell is None else 10.0
        for equations in (normal_equations, bound_equations):
            program = jax.jit(partial(equations, strain_length=strain), static_argnums=0)
            for mine, yours in zip(
                program(own, one, target), program(peer, one, target), strict=True
            ):
                np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 9])
def test_slopes_are_those_of_finite_differences(count: int) -> None:
    """Of fewer and of more unknowns than features."""
    fingerprint = of(moments, "H", "O", poolings=POOLINGS, max_atoms=9)
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
    fingerprint = of(moments, "H", "O", **SMOOTH)
    atoms = STRUCTURES["cluster"]
    padded = jax.tree.map(lambda leaf: leaf[0], batch([atoms], fingerprint, size=12))
    value, jacobian = jax.jit(fingerprint.with_jacobian)(padded)
    plain, slopes = jax.jit(fingerprint.with_jacobian)(from_ase(atoms))
    np.testing.assert_allclose(value, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jacobian[:, : len(atoms)], slopes, rtol=1e-4, atol=1e-5)
    assert not np.any(jacobian[:, len(atoms) :])


@pytest.mark.slow
@pytest.mark.parametrize("atoms", [molecule("H2O"), bulk("NaCl", "rocksalt", a=5.64)], ids=str)
def test_inverse(atoms: Atoms) -> None:
    """Of a molecule and a crystal."""
    fingerprint = of(moments, *set(atoms.symbols), **SMOOTH)
    formula, cell = atoms.get_chemical_formula(), atoms.cell.array if atoms.pbc.all() else None
    target = featurize(atoms, fingerprint)
    run = reconstruct(
        target, fingerprint, symbols=formula, cell=cell, config=CONFIG.replace(hops=40)
    )
    assert run.converged == 1
    assert matching.rmsd(atoms, run[0].atoms) < 1e-3
    assert run.to_dict()["fingerprints"][0]["descriptor"]["function"] == "test_custom:moments"


@pytest.mark.slow
def test_nothing_is_compiled_again() -> None:
    traced = []

    def counted(seen: Any) -> jax.Array:
        traced.append(seen.r.shape)
        return gaussians(seen)

    def once(seed: int) -> None:
        fingerprint = of(counted, "Pt", **SMOOTH)
        target = featurize(compact(4), fingerprint)
        reconstruct(target, fingerprint, symbols="Pt4", seed=seed, config=CONFIG.replace(hops=1))

    once(0)
    before = len(traced)
    once(1)
    assert len(traced) == before > 0


def test_equal_parameters_of_a_function_are_equal_descriptors() -> None:
    assert of(Shell(2.0), "Pt") == of(Shell(2.0), "Pt")
    assert of(Shell(2.0), "Pt") != of(Shell(3.0), "Pt")
    assert of(Shell(2.0), "Pt").names[0] == "max Shell 0"


def test_settings_name_the_function_where_it_can_be_imported() -> None:
    own, other = of(gaussians, "Pt"), Fingerprint.preset("default", ["Pt"])
    assert own.to_dict()["descriptor"]["function"] == "test_custom:gaussians"
    assert Fingerprint.from_json(own.to_json()) == own
    assert "family: custom != acsf" in own.differences(other)
    assert "family: acsf != custom" in other.differences(own)


def test_a_function_that_can_not_be_imported_is_refused_with_what_was_expected() -> None:
    def local(seen: Any) -> jax.Array:
        return seen.cutoff.sum(keepdims=True)

    for function in (local, Shell(2.0)):
        text = of(function, "Pt").to_json()
        with pytest.raises(ValueError, match="expected the descriptor's function in a module that"):
            Fingerprint.from_json(text)
    assert of(Shell(2.0), "Pt").differences(of(Shell(3.0), "Pt"))


def no_row(seen: Any) -> jax.Array:
    return seen.cutoff.sum()


def neighbours(seen: Any) -> jax.Array:
    return seen.r * seen.cutoff


def turned(seen: Any) -> jax.Array:
    return seen.cutoff @ seen.direction


def ordered(seen: Any) -> jax.Array:
    return (seen.cutoff * jnp.arange(len(seen.r))).sum(keepdims=True)


def padded(seen: Any) -> jax.Array:
    return seen.r.sum(keepdims=True)


def undefined(seen: Any) -> jax.Array:
    return jnp.log(seen.cutoff).sum(keepdims=True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_row, r"expected no_row to give a row of numbers, shape \(f,\), got shape \(\)"),
        (lambda seen: 1.0, "expected <lambda> to give a row .* got float"),
        (neighbours, "expected neighbours to give as many numbers .* got 5 for 5 and 7 for 7"),
        (turned, "expected turned to give numbers that a rotation, .* got .* for number"),
        (ordered, "expected ordered to give numbers that a rotation, .* got"),
        (padded, "expected padded to give numbers that a rotation, .* got"),
    ],
)
def test_functions_that_are_no_descriptors(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(function, "Pt")


@pytest.mark.usefixtures("unchecked")
def test_no_functions() -> None:
    for wrong in (3, ["a"]):
        with pytest.raises(ValueError, match="expected a hashable function of the environment"):
            of(wrong, "Pt")


def test_numbers_that_are_none() -> None:
    jax.config.update("jax_debug_nans", False)
    try:
        with pytest.raises(ValueError, match="expected undefined to give numbers that"):
            of(undefined, "Pt")
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
