"""Inversion: the centres of symmetry of starts and moves, according to spglib."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spglib
from ase.data import atomic_numbers
from drawing import moved as moved_by
from drawing import random_start
from hypothesis import given
from hypothesis import strategies as st

from jaxrecon import ACSF, Fingerprint, ReconstructConfig
from jaxrecon.search.moves import Situation
from jaxrecon.search.symmetry import centrosymmetric, images, partners
from jaxrecon.search.task import Task
from jaxrecon.structures.bounds import bounds_within
from jaxrecon.structures.formulas import composition_of

CELL = np.array([[6.1, 0.0, 0.0], [1.3, 5.7, 0.0], [-0.9, 1.1, 6.6]])
EVEN, ODD = "Na4Cl2O6", "Na3Cl1O5"
KEYS = jax.random.split(jax.random.key(3), 64)
MEANS = Fingerprint(
    ACSF(("Na", "Cl", "O"), r_cut=4.0, g2_eta=(1.0,), g2_r_s=(1.0, 2.0), g5_eta=()),
    ("mean",),
    images="all",
)


def numbers(formula: str) -> np.ndarray:
    return np.array([atomic_numbers[symbol] for symbol in composition_of(formula)])


def task_of(formula: str) -> Task:
    species = jnp.asarray(numbers(formula))
    bounds = bounds_within(CELL, 4.0, len(species))
    return Task(jnp.ones(MEANS.size), species, jnp.asarray(CELL, jnp.float32), bounds=bounds)


def has_inversion(positions: np.ndarray, species: np.ndarray, symprec: float = 1e-3) -> bool:
    cell = (CELL, positions @ np.linalg.inv(CELL), species)
    symmetry = spglib.get_symmetry(cell, symprec=symprec)
    return any((rotation == -np.eye(3)).all() for rotation in symmetry["rotations"])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_partners_are_mutual_and_of_one_element(species: list[int]) -> None:
    kinds = np.asarray(species)
    partner = np.asarray(jax.jit(partners)(jnp.asarray(kinds), jnp.asarray(kinds > 0)))
    np.testing.assert_array_equal(partner[partner], np.arange(len(kinds)))
    np.testing.assert_array_equal(kinds[partner], kinds)
    for kind in range(1, 4):
        single = np.flatnonzero((kinds == kind) & (partner == np.arange(len(kinds))))
        assert len(single) == (kinds == kind).sum() % 2
    assert (partner[kinds == 0] == np.flatnonzero(kinds == 0)).all()


@pytest.mark.parametrize("formula", [EVEN, ODD])
def test_as_many_starts_have_a_centre_as_wanted(formula: str) -> None:
    task, species = task_of(formula), numbers(formula)

    def fraction(inversion: float) -> float:
        config = ReconstructConfig(inversion=inversion)
        starts = jax.jit(jax.vmap(lambda key: random_start(key, config, task)))(KEYS)
        return float(np.mean([has_inversion(np.asarray(start), species) for start in starts]))

    assert fraction(0.0) == 0.0
    assert fraction(1.0) == 1.0
    assert 0.3 < fraction(0.5) < 0.7


def test_atoms_on_centres_are_on_different_ones() -> None:
    species = jnp.asarray(numbers("Na1Cl1O1S1"))

    @jax.jit
    @jax.vmap
    def made(key: jax.Array) -> jax.Array:
        partner = partners(species, species > 0)
        chances = jax.random.uniform(key, (8, 2))
        return centrosymmetric(chances, jnp.zeros((4, 3)), jnp.asarray(CELL), partner)

    for positions in np.asarray(made(KEYS[:8])):
        halves = 2.0 * positions @ np.linalg.inv(CELL)
        np.testing.assert_allclose(halves, halves.round(), atol=1e-5)
        assert len(np.unique(halves.round(), axis=0)) == 4


def test_some_pairs_lie_on_centres() -> None:
    species = jnp.asarray(numbers(EVEN))
    partner = jax.jit(partners)(species, species > 0)
    general = jax.random.uniform(jax.random.key(0), (12, 3)) @ jnp.asarray(CELL)

    def on_centre(key: jax.Array) -> jax.Array:
        made = centrosymmetric(
            jax.random.uniform(key, (12, 2)), general, jnp.asarray(CELL), partner
        )
        halves = 2.0 * made @ jnp.linalg.inv(jnp.asarray(CELL))
        return (jnp.abs(halves - jnp.round(halves)) < 1e-4).all(1)

    single = np.asarray(jax.jit(jax.vmap(on_centre))(jax.random.split(jax.random.key(1), 2000)))
    np.testing.assert_array_equal(single, single[:, np.asarray(partner)])
    assert 0.06 < single.mean() < 0.10


def test_images_are_those_of_a_centre_and_none_without_it() -> None:
    species = jnp.asarray(numbers(ODD))
    atoms = jnp.ones(9, bool)
    partner = jax.jit(partners)(species, atoms)
    chances = jax.random.uniform(jax.random.key(5), (9, 2)).at[0, 0].set(0.0)
    # The random number 0 puts the first two atoms of Na on centres.
    general = jax.random.uniform(jax.random.key(6), (9, 3)) @ jnp.asarray(CELL)
    positions = jax.jit(centrosymmetric)(chances, general, jnp.asarray(CELL), partner)
    elsewhere = positions.at[4].add(jnp.asarray(2.0 * CELL[0] - CELL[2], jnp.float32))
    of_atoms = jax.jit(lambda x, atoms: images(x, jnp.asarray(CELL), partner, atoms))
    image, holds = of_atoms(elsewhere, atoms)
    assert holds
    assert image.tolist() == [0, 1, 2, 3, 5, 4, 7, 6, 8]
    near, far = positions.at[4, 0].add(0.04), positions.at[4, 0].add(0.06)
    assert of_atoms(near, atoms)[1]
    assert not of_atoms(far, atoms)[1]
    assert of_atoms(far, atoms.at[jnp.array([4, 5])].set(False))[1]


@pytest.mark.parametrize("formula", [EVEN, ODD])
def test_moves_preserve_a_centre_if_the_settings_say_so(formula: str) -> None:
    task, species = task_of(formula), numbers(formula)
    uniform = jnp.ones(len(species))

    def moved(inversion: float) -> tuple[np.ndarray, ...]:
        config = ReconstructConfig(inversion=inversion)

        def both(key: jax.Array) -> tuple[jax.Array, ...]:
            start = random_start(key, ReconstructConfig(inversion=1.0), task)
            situation = Situation(MEANS, config, task, uniform)
            return (
                start,
                moved_by("relocate", key, situation, start),
                moved_by("shake", key, situation, start),
            )

        return tuple(map(np.asarray, jax.jit(jax.vmap(both))(KEYS[:24])))

    starts, relocated, shaken = moved(1.0)
    changed = (starts != relocated).any(2).sum(1)
    for positions, atoms_moved in zip(relocated, changed, strict=True):
        assert atoms_moved in {1, 2}
        # An atom that is its own image moves alone, and the centre is lost.
        assert has_inversion(positions, species) or atoms_moved == 1
    assert (changed == 2).mean() > 0.3
    assert all(has_inversion(positions, species) for positions in shaken)
    assert np.median(np.linalg.norm(shaken - starts, axis=2)) > 0.02

    starts, relocated, shaken = moved(0.0)
    assert ((starts != relocated).any(2).sum(1) == 1).all()
    assert not any(has_inversion(positions, species) for positions in shaken)


def test_a_known_image_stays() -> None:
    task, species = task_of(EVEN), numbers(EVEN)
    config = ReconstructConfig(inversion=1.0)
    start = jax.jit(lambda key: random_start(key, config, task))(KEYS[0])
    fixed = np.zeros(len(species), bool)
    fixed[[1, 3, 5, 7, 9, 11]] = True
    known = dataclasses.replace(task, fixed=jnp.asarray(fixed), known=start)
    situation = Situation(MEANS, config, known, jnp.ones(len(species)))
    moved = jax.jit(jax.vmap(lambda key: moved_by("relocate", key, situation, start)))(KEYS[:24])
    changed = (np.asarray(moved) != np.asarray(start)).any(2)
    assert (changed.sum(1) == 1).all()
    assert not changed[:, fixed].any()
