"""Fingerprints as functions: their numbers and derivatives."""

from __future__ import annotations

import dataclasses
from functools import partial

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from fingerprints import FOUR, SMALL, compiled, placed, small, whole
from pooled import by_name
from reference import acsf_rows
from strategies import random_cluster, random_crystal

from jaxrecon import Fingerprint, from_ase
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.search.objectives import mean_absolute_residual
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.structure import Bounds, Structure

pytestmark = pytest.mark.usefixtures("strict_types")

# Numbers


@pytest.mark.parametrize("per_element", [False, True])
@pytest.mark.parametrize("space", ["free", "minimum"])
def test_numbers_are_those_that_their_names_describe(
    per_element: bool, space: str, x64: None
) -> None:
    """Against loops over atoms; with padding, without one of the elements, and for a slab."""
    fingerprint = whole(FOUR, per_element=per_element, images="minimum")
    if space == "free":
        structures = [random_cluster(5, 5), random_cluster(6, 3)]
    else:
        structures = [random_crystal(5, 5), random_crystal(7, 4)]
        structures[1].pbc = (True, True, False)
    for atoms in structures:
        value = compiled(fingerprint, from_ase(atoms, 6))
        expected = by_name(fingerprint, atoms)
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-13)


def test_smooth_extremes_have_the_temperature(x64: None) -> None:
    atoms = random_cluster(5, 5)
    values = []
    for temperature in (0.01, 1.0):
        fingerprint = small(poolings=("smooth_max", "smooth_min"), temperature=temperature)
        values.append(compiled(fingerprint, from_ase(atoms)))
        expected = by_name(fingerprint, atoms)
        np.testing.assert_allclose(values[-1], expected, rtol=1e-10, atol=1e-13)
    assert np.abs(values[0] - values[1]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "changes"),
    [("free", {}), ("all", {"per_element": True}), ("free", {"weighted": True})],
    ids=str,
)
def test_channels_of_the_present_elements(space: str, changes: dict, x64: None) -> None:
    """They give the same numbers as the channels of all elements, with an unused channel or not."""
    fingerprint = whole(FOUR, **changes)
    cluster, crystal = random_cluster(8, 5, ("O", "Pt")), random_crystal(8, 3, ("Na", "H"))
    for atoms in [cluster] if space == "free" else [crystal]:
        assert len(set(atoms.symbols)) == 2
        bounds = Bounds(5) if space == "free" else bounds_of([atoms], 5.0)
        full = from_ase(atoms, 6, bounds)
        expected = np.asarray(compiled(fingerprint, full))
        for elements in (2, 3):
            few = dataclasses.replace(bounds, elements=elements)
            local = dataclasses.replace(full, bounds=few)
            value = compiled(fingerprint, local)
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)
            assert not jax.jit(fingerprint.overflow)(local)
        assert not np.array_equal(expected, 0.0 * expected)


def test_the_jacobian_in_channels_of_the_present_elements(x64: None) -> None:
    fingerprint = whole(FOUR, per_element=True)
    full = from_ase(random_cluster(8, 5, ("O", "Pt")), 6)
    local = dataclasses.replace(full, bounds=Bounds(5, elements=3))
    for ours, expected in zip(
        jax.jit(fingerprint.with_jacobian)(local),
        jax.jit(fingerprint.with_jacobian)(full),
        strict=True,
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


def test_what_does_not_fit_gives_nan() -> None:
    """Atoms, elements, neighbours and images beyond a static size; and sizes one larger."""
    cluster = Atoms("HO2Pt", [(0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 2)])
    crystal = Atoms("Pt", cell=2.8 * np.eye(3), pbc=True)
    enough = bounds_of([crystal], 5.0)
    together = small(poolings=("sorted",), max_atoms=4, g2_r_s=(1.0,), g5_zeta=())
    apart = dataclasses.replace(together, per_element=True)

    @partial(jax.jit, static_argnums=0)
    def everything(fingerprint: Fingerprint, structure: Structure) -> tuple[jax.Array, ...]:
        value, jacobian = fingerprint.with_jacobian(structure)
        return fingerprint.overflow(structure), fingerprint(structure), value, jacobian

    for fingerprint, atoms, bounds, fits in [
        (dataclasses.replace(together, max_atoms=3), cluster, None, False),
        (together, cluster, None, True),
        (dataclasses.replace(apart, max_atoms=1), cluster, None, False),
        (dataclasses.replace(apart, max_atoms=2), cluster, None, True),
        (together, cluster, Bounds(4, elements=1), False),
        (apart, cluster, Bounds(4, elements=2), False),
        (apart, cluster, Bounds(4, elements=3), True),
        (together, crystal, dataclasses.replace(enough, capacity=17), False),
        (together, crystal, dataclasses.replace(enough, counts=(2, 1, 2)), False),
        (together, crystal, enough, True),
    ]:
        with jax.debug_nans(False):
            overflow, *numbers = everything(fingerprint, from_ase(atoms, 5, bounds))
        assert bool(overflow) == (not fits)
        for array in numbers:
            assert np.isfinite(array).all() if fits else np.isnan(array).all()


# Derivatives


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "changes"),
    [
        ("free", {}),
        ("minimum", {"per_element": True, "images": "minimum"}),
        ("all", {"per_element": True, "weighted": True}),
    ],
    ids=str,
)
def test_jacobian_by_positions(space: str, changes: dict, x64: None) -> None:
    """The closed form equals forward mode, and reverse mode of a weighted sum, for all poolings.

    Forward mode goes through the plain rows of ``dense``, which share no derivative with the fast
    ones.
    """
    fingerprint = whole(**changes)
    elements = ("H", "O")
    atoms = random_cluster(1, 5, elements) if space == "free" else random_crystal(2, 4, elements)
    assert len(set(atoms.symbols)) == 2
    structure = from_ase(atoms, len(atoms) + 1, bounds_of([atoms], 5.0))
    value, closed = map(np.asarray, jax.jit(fingerprint.with_jacobian)(structure))
    by_autodiff = jax.jit(jax.jacfwd(lambda x: dense.numbers(fingerprint, placed(structure, x))))
    jacobian = np.asarray(by_autodiff(structure.positions))
    np.testing.assert_allclose(value, compiled(fingerprint, structure), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(closed, jacobian, rtol=1e-10, atol=1e-12)
    weights = np.random.default_rng(0).normal(size=fingerprint.size)
    pull = jax.jit(jax.grad(lambda x: weights @ fingerprint(placed(structure, x))))
    pulled, expected = pull(structure.positions), np.einsum("p,pnx->nx", weights, jacobian)
    np.testing.assert_allclose(pulled, expected, rtol=1e-10, atol=1e-11)
    # A translation of all atoms changes nothing.
    np.testing.assert_allclose(closed.sum(axis=1) / np.abs(closed).max(), 0, atol=1e-12)
    for pooling in POOLINGS:
        indices = fingerprint.find(f"{'atom' if pooling == 'none' else pooling}* *")
        assert np.abs(closed[indices]).max() > 1e-3


@pytest.mark.parametrize("images", ["all", "minimum"])
def test_gradients_are_difference_quotients(images: str, x64: None) -> None:
    """By positions and cell, for all poolings, in a triclinic crystal with several elements."""
    fingerprint = whole(images=images, max_atoms=4)
    atoms = random_crystal(3, 4)
    assert len(set(atoms.symbols)) > 1
    structure = from_ase(atoms, bounds=bounds_of([atoms], 5.1))
    step, rng = 1e-5, np.random.default_rng(0)

    @jax.jit
    def value(positions: jax.Array, cell: jax.Array) -> jax.Array:
        return fingerprint(dataclasses.replace(structure, positions=positions, cell=cell))

    # One weighted sum for each pooling.
    start, weights = 0, np.zeros((len(POOLINGS), fingerprint.size))
    for row, pool in zip(weights, fingerprint.pools, strict=True):
        end = start + pool.size * fingerprint.descriptor.size
        row[start:end] = rng.normal(size=end - start)
        start = end

    @jax.jit
    def gradients(positions: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, pull = jax.vjp(value, positions, cell)
        return jax.vmap(pull)(jnp.asarray(weights))

    arguments = (np.array(structure.positions), np.array(structure.cell))
    closed = jax.jit(fingerprint.with_jacobian)(structure)[1]
    for which, found in enumerate(gradients(*arguments)):
        quotients = np.zeros((fingerprint.size, *arguments[which].shape))
        for index in np.ndindex(*arguments[which].shape):
            high, low = ([array.copy() for array in arguments] for _ in range(2))
            high[which][index] += step
            low[which][index] -= step
            difference = np.asarray(value(*high)) - np.asarray(value(*low))
            quotients[(slice(None), *index)] = difference / (2 * step)
        expected = np.einsum("gp,pnx->gnx", weights, quotients)
        assert np.abs(expected).max(axis=(1, 2)).min() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        if which == 0:
            np.testing.assert_allclose(closed, quotients, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_at_singular_structures_are_finite(dtype: str) -> None:
    fingerprint = whole(("H", "O"), per_element=True, max_atoms=3)
    with jax.enable_x64(dtype == "float64"):
        for positions in (
            [(0, 0, 0)],
            [(0, 0, 0), (1.5, 0, 0)],
            [(1, 1, 1), (1, 1, 1)],
            [(0, 0, 0), (0, 0, 0), (1, 1, 0)],
            [(-1.5, 0, 0), (0, 0, 0), (1.5, 0, 0)],
            [(0, 0, 0), (5.0, 0, 0), (9.0, 0, 0)],
        ):
            structure = from_ase(Atoms(f"O{len(positions)}", positions), size=3)
            for derivative in derivatives(fingerprint, structure):
                assert derivative.dtype == dtype
                assert np.isfinite(derivative).all()


@partial(jax.jit, static_argnums=0)
def derivatives(fingerprint: Fingerprint, structure: Structure) -> tuple[jax.Array, ...]:
    def value(positions: jax.Array) -> jax.Array:
        return fingerprint(placed(structure, positions))

    x, target = structure.positions, jnp.ones(fingerprint.size, structure.positions.dtype)
    loss = jax.grad(lambda x: mean_absolute_residual(value(x), target))(x)
    return loss, jax.jacfwd(value)(x), fingerprint.with_jacobian(structure)[1]


def test_the_rows_of_a_view_are_those_of_the_descriptor(x64: None) -> None:
    atoms = molecule("H2O")
    view = SMALL.view(from_ase(atoms, 4))
    rows = np.asarray(SMALL.rows(view))
    np.testing.assert_allclose(rows[:3], acsf_rows(SMALL.descriptor, atoms), rtol=1e-12)
    assert not rows[3].any()
