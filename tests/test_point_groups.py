"""Inversion: point groups of random starts, which descents keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import random_start
from pymatgen.core import Molecule
from pymatgen.symmetry.analyzer import PointGroupAnalyzer

from jaxrecon import ACSF, Fingerprint, ReconstructConfig
from jaxrecon.search import moves, point_groups
from jaxrecon.search.descent import descend
from jaxrecon.search.point_groups import ORDERS, SECOND, Group
from jaxrecon.search.task import Task

GROUPS = {
    f"{k}, {name}": Group(
        jnp.asarray(k), jnp.asarray(diagonal, jnp.float32), jnp.asarray(kept, jnp.float32)
    )
    for k in ORDERS
    for name, (diagonal, kept) in SECOND.items()
}
SPECIES = np.array([78] * 23 + [0] * 2)
ATOMS = SPECIES > 0
POSITIONS = 3.0 * jax.random.normal(jax.random.key(1), (len(SPECIES), 3))


def start_of(group: Group, seed: int = 0) -> np.ndarray:
    chances = jax.random.uniform(jax.random.key(seed), (len(SPECIES), 2))
    return np.asarray(
        point_groups.symmetric(chances, POSITIONS, jnp.asarray(SPECIES), jnp.asarray(ATOMS), group)
    )


def generators(group: Group) -> list[np.ndarray]:
    angle = 2 * np.pi / int(group.order)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    return [np.array(turn), np.diag(np.asarray(group.second, float))]


def deviation(positions: np.ndarray, group: Group) -> float:
    """Largest distance in Angstrom between the image of an atom and the nearest atom."""
    atoms = np.asarray(positions, float)[ATOMS]
    worst = 0.0
    for matrix in generators(group):
        distances = np.linalg.norm((atoms @ matrix.T)[:, None] - atoms[None], axis=-1)
        worst = max(worst, distances.min(axis=0).max(), distances.min(axis=1).max())
    return worst


@pytest.mark.parametrize("name", GROUPS)
def test_a_symmetric_start_has_its_group(name: str) -> None:
    """Rings, pairs and single atoms on the axis occur: 23 atoms are no multiple of any order."""
    group = GROUPS[name]
    for seed in range(4):
        positions = start_of(group, seed)
        assert deviation(positions, group) < 1e-5
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        assert distances[ATOMS][:, ATOMS][np.triu_indices(23, 1)].min() > 1e-4


@pytest.mark.parametrize("name", ["3, rotation", "2, vertical plane", "5, none", "4, inversion"])
def test_pymatgen_finds_the_operations(name: str) -> None:
    group = GROUPS[name]
    molecule = Molecule(["H"] * 23, start_of(group)[ATOMS], charge=1)
    found = len(PointGroupAnalyzer(molecule, tolerance=1e-3).get_symmetry_operations())
    assert found == int(group.order) * (1 if name.endswith("none") else 2)


def test_elements_are_not_images_of_each_other() -> None:
    species = jnp.array([78, 29] * 6)
    positions = 3.0 * jax.random.normal(jax.random.key(2), (12, 3))
    chances = jnp.ones((12, 2))
    start = np.asarray(
        point_groups.symmetric(chances, positions, species, species > 0, GROUPS["3, none"])
    )
    [turn, _] = generators(GROUPS["3, none"])
    for kind in (78, 29):
        own = start[np.asarray(species) == kind]
        distances = np.linalg.norm((own @ turn.T)[:, None] - own[None], axis=-1)
        assert distances.min(axis=1).max() < 1e-5


def test_the_trivial_group_changes_nothing() -> None:
    group = GROUPS["1, none"]
    np.testing.assert_array_equal(start_of(group), POSITIONS)
    step = jax.random.normal(jax.random.key(0), POSITIONS.shape)
    averaged = point_groups.keeping(group, POSITIONS, jnp.asarray(SPECIES), jnp.asarray(ATOMS))
    np.testing.assert_array_equal(averaged(step), step)


def test_as_many_groups_are_drawn_as_wanted() -> None:
    chances = (jnp.arange(5800) + 0.5) / 5800

    def counts(share: float) -> np.ndarray:
        drawn = jax.vmap(lambda chance: point_groups.drawn(chance, share))(chances)
        rows = np.concatenate([np.asarray(drawn.order)[:, None], drawn.second], axis=1)
        return np.unique(rows, axis=0, return_counts=True)[1]

    assert counts(0.0).tolist() == [5800]
    assert sorted(counts(0.5)) == [100] * 29 + [2900]
    assert counts(1.0).tolist() == [200] * 29


@pytest.mark.parametrize("name", GROUPS)
def test_averaged_steps_keep_the_group(name: str) -> None:
    group = GROUPS[name]
    start = start_of(group)
    averaged = point_groups.keeping(
        group, jnp.asarray(start), jnp.asarray(SPECIES), jnp.asarray(ATOMS)
    )
    step = averaged(0.3 * jax.random.normal(jax.random.key(3), start.shape))
    assert deviation(start + np.asarray(step), group) < 1e-5
    # What has the symmetry already is left as it is.
    np.testing.assert_allclose(averaged(step), step, atol=1e-6)
    assert np.abs(np.asarray(step)[ATOMS]).max() > 0.01


def test_steps_of_a_structure_without_the_group_are_left_alone() -> None:
    averaged = point_groups.keeping(
        GROUPS["3, rotation"], POSITIONS, jnp.asarray(SPECIES), jnp.asarray(ATOMS)
    )
    step = jax.random.normal(jax.random.key(3), POSITIONS.shape)
    np.testing.assert_array_equal(averaged(step), step)


def test_a_descent_keeps_the_group_and_would_lose_it() -> None:
    group = GROUPS["4, rotation"]
    fingerprint = Fingerprint(
        ACSF(("Pt",), r_cut=6.0, g2_eta=(1.0,), g2_r_s=(2.0, 3.0, 4.0, 5.0), g5_eta=()),
        ("mean", "moment2"),
    )
    task = Task(
        jnp.full(fingerprint.size, 1.5), jnp.asarray(SPECIES), None, mask=jnp.asarray(ATOMS)
    )
    config = ReconstructConfig(refine_steps=20)
    start = jnp.asarray(start_of(group))
    kept, _ = jax.jit(lambda x: descend(fingerprint, config, task, x, group))(start)
    lost, _ = jax.jit(lambda x: descend(fingerprint, config, task, x))(start)
    assert np.abs(np.asarray(kept - start)).max() > 0.3
    assert deviation(np.asarray(kept), group) < 1e-3
    assert deviation(np.asarray(lost), group) > 0.1


def test_random_starts_of_a_search_have_the_group() -> None:
    task = Task(jnp.ones(3), jnp.asarray(SPECIES), None, mask=jnp.asarray(ATOMS))
    chances = jax.random.uniform(jax.random.key(0), (moves.start_draws(len(SPECIES)),))
    group, config = GROUPS["5, vertical plane"], ReconstructConfig()
    start = moves.random_start(chances, config, task, group)
    assert deviation(np.asarray(start), group) < 1e-5
    assert deviation(np.asarray(random_start(jax.random.key(0), config, task)), group) > 0.1


def test_known_atoms_and_crystals_have_no_point_groups() -> None:
    free = Task(jnp.ones(3), jnp.asarray(SPECIES), None)
    known = Task(jnp.ones(3), jnp.asarray(SPECIES), None, fixed=jnp.asarray(ATOMS))
    crystal = Task(jnp.ones(3), jnp.asarray(SPECIES), jnp.eye(3))
    assert [task.may_be_symmetric for task in (free, known, crystal)] == [True, False, False]
