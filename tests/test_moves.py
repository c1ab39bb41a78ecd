"""The moves of a hop: each does what its name says, and results are always finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import covalent_radii
from drawing import moved as moved_by
from drawing import proposed

from jaxrecon import ACSF, Fingerprint, ReconstructConfig
from jaxrecon.search import gauss_newton
from jaxrecon.search.descent import descend, residual
from jaxrecon.search.initialize import EDGE_RANGE, compact_edge
from jaxrecon.search.moves import MOVES, Situation, move_weights
from jaxrecon.search.task import Task
from jaxrecon.structures.bounds import bounds_within

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("strict_types")]

FINGERPRINT = Fingerprint(
    ACSF(
        elements=("O", "Pt"),
        r_cut=6.0,
        g2_eta=(0.5,),
        g2_r_s=(1.0, 2.0, 3.0),
        g5_zeta=(1,),
        g5_lam=(1,),
        g5_eta=(0.1,),
    )
)
CONFIG = ReconstructConfig(candidates=8, refine_steps=5, adam_steps=2)
NUMBERS = {1: [78], 2: [8, 78], 5: [8, 78, 8, 78, 78]}
CELL = np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.5, -0.5, 5.5]])
TRUTH = np.array([(0, 0, 0), (2, 0.1, 0), (0.2, 2, 0.3), (2.2, 2, 1), (1, 1, 2.4)])
KEYS = jax.random.split(jax.random.key(7), 64)


def task_of(count: int, *, crystal: bool) -> Task:
    """A task whose target is the fingerprint of the first atoms of TRUTH."""
    species = jnp.array(NUMBERS[count])
    cell = jnp.asarray(CELL, jnp.float32) if crystal else None
    bounds = bounds_within(CELL, 6.0, count) if crystal else None
    empty = Task(jnp.zeros(FINGERPRINT.size), species, cell, bounds=bounds)
    target = jax.jit(FINGERPRINT)(empty.structure(jnp.asarray(TRUTH[:count], jnp.float32)))
    return Task(target, species, cell, bounds=bounds)


def attribution_of(task: Task, parent: jax.Array) -> jax.Array:
    """How much of the residual each atom is responsible for, as a hop computes it for all moves."""
    return jax.jit(partial(gauss_newton.attribution, FINGERPRINT))(
        task.structure(parent), task.target
    )


def many(move: Callable[[jax.Array], jax.Array]) -> np.ndarray:
    """The result of a move for each of the keys."""
    return np.asarray(jax.jit(jax.vmap(move))(KEYS))


def misplaced(count: int = 5) -> jax.Array:
    """The truth with its third atom in a wrong place."""
    positions = TRUTH[:count].copy()
    positions[2] += (3.0, -1.0, 2.0)
    return jnp.asarray(positions, jnp.float32)


@pytest.mark.parametrize("crystal", [False, True])
def test_relocate_moves_one_atom_to_a_site(crystal: bool) -> None:
    """The first site is anywhere in the cell or ball, the second at a bonding distance."""
    task, parent = task_of(5, crystal=crystal), np.asarray(misplaced())
    centre, radii = parent.mean(axis=0), covalent_radii[NUMBERS[5]]
    reach = np.linalg.norm(parent - centre, axis=1).max()
    attributions = attribution_of(task, jnp.asarray(parent))
    for sites in (1, 2):
        config = CONFIG.replace(candidates=sites)
        situation = Situation(FINGERPRINT, config, task, attributions)
        moved = many(lambda key, s=situation: moved_by("relocate", key, s, jnp.asarray(parent)))
        changed = (moved != parent).any(axis=-1)
        assert (changed.sum(axis=1) == 1).all()
        atom = changed.argmax(axis=1)
        site = moved[np.arange(len(KEYS)), atom]
        lengths = np.linalg.norm(site[:, None] - parent[None], axis=-1)
        ratio = lengths / (radii[atom][:, None] + radii[None])
        bonded = ((ratio > 0.8 - 1e-4) & (ratio < 1.5 + 1e-4)).any(axis=1)
        fractions = site @ np.linalg.inv(CELL)
        inside = ((fractions > -1e-4) & (fractions < 1 + 1e-4)).all(axis=1)
        if not crystal:
            inside = np.linalg.norm(site - centre, axis=1) <= reach + radii[atom] + 1e-4
        assert (inside | bonded).all()
        if sites == 1:
            assert inside.all()
            assert not bonded.all()
        elif crystal:
            assert (bonded & ~inside).any()


def test_relocate_draws_the_atom_by_its_attribution() -> None:
    task, parent = task_of(5, crystal=False), misplaced()
    moved = many(
        lambda key: proposed(key, FINGERPRINT, CONFIG, task, parent, weighted(1.0, 0.0, 0.0, 0.0))
    )
    atoms = (moved != np.asarray(parent)).any(axis=-1).argmax(axis=1)
    fractions = np.bincount(atoms, minlength=5) / len(KEYS)
    attribution = np.asarray(attribution_of(task, parent))
    expected = attribution / attribution.sum()
    assert expected.max() > 0.5
    deviation = np.sqrt(expected * (1 - expected) / len(KEYS))
    assert (np.abs(fractions - expected) < 4 * deviation).all()


def test_relocate_takes_the_best_of_its_sites() -> None:
    """The best of many sites is much better than a single one."""
    task, parent = task_of(5, crystal=False), misplaced()
    attributions = attribution_of(task, parent)
    medians = []
    for sites in (1, 24):
        config = CONFIG.replace(candidates=sites)

        def screened(key: jax.Array, config: ReconstructConfig = config) -> jax.Array:
            situation = Situation(FINGERPRINT, config, task, attributions)
            return residual(FINGERPRINT, task, moved_by("relocate", key, situation, parent))

        medians.append(np.median(many(screened)))
    assert medians[0] > 1.3 * medians[1]


def test_a_fresh_start_is_the_best_of_some() -> None:
    task, parent = task_of(5, crystal=False), misplaced()
    medians = []
    for count in (1, 24):
        config = CONFIG.replace(candidates=count)

        def started(key: jax.Array, config: ReconstructConfig = config) -> jax.Array:
            fresh = weighted(0.0, 0.0, 0.0, 1.0)
            return residual(
                FINGERPRINT, task, proposed(key, FINGERPRINT, config, task, parent, fresh)
            )

        medians.append(np.median(many(started)))
    assert medians[0] > 1.3 * medians[1]


@pytest.mark.parametrize("crystal", [False, True])
def test_swap_exchanges_two_atoms_of_different_elements(crystal: bool) -> None:
    task, parent = task_of(5, crystal=crystal), jnp.asarray(TRUTH, jnp.float32)
    situation = Situation(FINGERPRINT, CONFIG, task, attribution_of(task, parent))
    moved = many(lambda key: moved_by("swap", key, situation, parent))
    numbers = np.array(NUMBERS[5])
    pairs = set()
    for positions in moved:
        changed = np.flatnonzero((positions != np.asarray(parent)).any(axis=-1))
        assert len(changed) == 2
        np.testing.assert_array_equal(positions[changed], np.asarray(parent)[changed[::-1]])
        assert numbers[changed[0]] != numbers[changed[1]]
        pairs.add(tuple(changed))
    assert len(pairs) > 2


def test_swap_draws_one_of_the_two_by_its_attribution() -> None:
    """With all attribution on one atom of oxygen, this is exchanged with any atom of platinum."""
    task, parent = task_of(5, crystal=False), jnp.asarray(TRUTH, jnp.float32)
    situation = Situation(FINGERPRINT, CONFIG, task, jnp.eye(5)[2])
    moved = many(lambda key: moved_by("swap", key, situation, parent))
    changed = (moved != np.asarray(parent)).any(axis=-1).sum(axis=0)
    assert changed[2] == changed.sum() / 2 == len(KEYS)
    assert (changed > 0).tolist() == [False, True, True, True, True]


def test_shake_moves_all_by_a_width_within_its_range() -> None:
    config = CONFIG.replace(shake_range=(0.02, 1.0))
    parent = jnp.zeros((400, 3))
    task = Task(jnp.zeros(FINGERPRINT.size), jnp.full(400, 78), None)
    situation = Situation(FINGERPRINT, config, task, jnp.ones(400))
    moved = many(lambda key: moved_by("shake", key, situation, parent))
    assert (moved != 0).all()
    widths = moved.std(axis=(1, 2))
    assert widths.min() > 0.02 * 0.9
    assert widths.max() < 1.0 * 1.1
    logarithms = (np.log(widths) - np.log(0.02)) / (np.log(1.0) - np.log(0.02))
    # They are uniform: mean 1/2 and deviation 1/sqrt(12), here of 64 numbers.
    assert logarithms.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * 64))
    assert logarithms.std() == pytest.approx(1 / np.sqrt(12), abs=0.08)
    situation = situation._replace(config=CONFIG.replace(shake_range=(0.1, 0.1)))
    single = many(lambda key: moved_by("shake", key, situation, parent))
    np.testing.assert_allclose(single.std(axis=(1, 2)), 0.1, rtol=0.1)


def weighted(relocate: float, swap: float, shake: float, fresh: float) -> np.ndarray:
    """Weights of the moves for :func:`propose`."""
    moves = {"relocate": relocate, "swap": swap, "shake": shake, "fresh": fresh}
    return move_weights(CONFIG.replace(moves=moves))


def test_propose_makes_the_moves_by_their_weights() -> None:
    task, parent = task_of(5, crystal=False), jnp.asarray(TRUTH, jnp.float32)
    edge = EDGE_RANGE[1] * float(compact_edge(task.radius))

    config = CONFIG.replace(shake_range=(1e-3, 2e-3))

    def kinds(weights: np.ndarray) -> np.ndarray:
        moved = many(lambda key: proposed(key, FINGERPRINT, config, task, parent, weights))
        displacements = moved - np.asarray(parent)
        changed = (displacements != 0).any(axis=-1).sum(axis=1)
        near = np.linalg.norm(displacements, axis=-1).max(axis=1) < 0.02
        box = ((moved >= 0) & (moved <= edge)).all(axis=(1, 2))
        names = np.select(
            [changed == 1, changed == 2, near, box], ["relocate", "swap", "shake", "fresh"], "?"
        )
        return np.array([(names == name).mean() for name in ("relocate", "swap", "shake", "fresh")])

    for weights in [(4.0, 3.0, 2.0, 1.0), (0.0, 0.0, 0.1, 0.3)]:
        expected = np.array(weights) / sum(weights)
        fractions = kinds(weighted(*weights))
        assert fractions.sum() == 1.0
        assert (np.abs(fractions - expected) <= 4 * np.sqrt(expected * (1 - expected) / 64)).all()


def test_swaps_of_one_element_are_never_proposed() -> None:
    task = task_of(5, crystal=False)
    alike = Task(task.target, jnp.full(5, 78), None)
    parent = jnp.asarray(TRUTH, jnp.float32)
    weights = weighted(0.0, 1e6, 1.0, 0.0)
    moved = many(lambda key: proposed(key, FINGERPRINT, CONFIG, alike, parent, weights))
    assert ((moved != np.asarray(parent)).any(axis=-1).sum(axis=1) == 5).all()


@pytest.mark.parametrize("crystal", [False, True])
@pytest.mark.parametrize("name", MOVES)
def test_every_move_is_a_pure_function_of_one_form(name: str, crystal: bool) -> None:
    """The contract of the registry: finite coordinates like the parent's, by the key alone."""
    task, move = task_of(5, crystal=crystal), MOVES[name]
    known = jnp.array([False, False, False, False, True])
    task = replace(task, mask=jnp.ones(5, bool), fixed=known, known=jnp.asarray(TRUTH, jnp.float32))
    parent = misplaced()
    situation = Situation(FINGERPRINT, CONFIG, task, attribution_of(task, parent))
    moved = many(lambda key: moved_by(name, key, situation, parent))
    again = many(lambda key: moved_by(name, key, situation, parent))
    np.testing.assert_array_equal(moved, again)
    assert moved.shape == (len(KEYS), 5, 3)
    assert moved.dtype == np.float32
    assert np.isfinite(moved).all()
    assert (moved != np.asarray(parent)).any(axis=(1, 2)).all()
    assert len(np.unique(moved, axis=0)) > 3
    np.testing.assert_array_equal(moved[:, 4], np.tile(np.float32(TRUTH[4]), (len(KEYS), 1)))
    assert jnp.asarray(move.applies(task)).shape == ()
    assert move.weight >= 0


def test_weights_of_moves_are_the_settings_and_otherwise_the_defaults() -> None:
    defaults = [move.weight for move in MOVES.values()]
    np.testing.assert_array_equal(move_weights(CONFIG), defaults)
    changed = move_weights(CONFIG.replace(moves={"swap": 7.0}))
    assert changed.tolist() == [
        7.0 if name == "swap" else w for name, w in zip(MOVES, defaults, strict=True)
    ]
    with pytest.raises(ValueError, match=r"expected moves among \('relocate', .* got \['swop'\]"):
        move_weights(CONFIG.replace(moves={"swop": 1.0}))
    none = {name: 0.0 for name in MOVES if name != "swap"}
    # Swaps alone are not enough: they do not apply to structures of one element.
    with pytest.raises(ValueError, match="expected a positive weight of a move that applies"):
        move_weights(CONFIG.replace(moves=none))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "crystal"), [(1, False), (2, False), (1, True)])
def test_moves_and_descents_are_always_finite(count: int, crystal: bool) -> None:
    """This holds for parents whose atoms coincide too."""
    task = task_of(count, crystal=crystal)
    config = CONFIG.replace(refine_steps=3, adam_steps=1)

    @jax.jit
    def hop(parent: jax.Array) -> tuple[jax.Array, ...]:
        def hopped(key: jax.Array) -> tuple[jax.Array, ...]:
            moved = proposed(key, FINGERPRINT, config, task, parent, move_weights(config))
            return moved, *descend(FINGERPRINT, config, task, moved)

        return jax.vmap(hopped)(KEYS)

    for parent in (TRUTH[:count], np.zeros((count, 3)), TRUTH[:count] * 1e3):
        for result in hop(jnp.asarray(parent, jnp.float32)):
            assert np.isfinite(result).all()
            assert result.dtype == np.float32


@pytest.mark.parametrize("adam_steps", [0, 5])
def test_a_descent_ends_at_the_minimum(adam_steps: int) -> None:
    task = task_of(2, crystal=False)
    start = jnp.array([(0.0, 0.0, 0.0), (1.3, 1.4, 1.2)])
    config = CONFIG.replace(adam_steps=adam_steps, refine_steps=15)
    end, reached = jax.jit(lambda x: descend(FINGERPRINT, config, task, x))(start)
    assert reached < 1e-6 < 1e-2 < residual(FINGERPRINT, task, start)
    np.testing.assert_allclose(residual(FINGERPRINT, task, end), reached, atol=1e-6)


def test_the_residual_is_the_loss_of_the_paper() -> None:
    task = task_of(2, crystal=False)
    moved = jnp.asarray(TRUTH[:2] * 1.1, jnp.float32)
    value = np.asarray(FINGERPRINT(task.structure(moved)))
    expected = np.abs(value - np.asarray(task.target)).mean()
    np.testing.assert_allclose(residual(FINGERPRINT, task, moved), expected, rtol=1e-5)
    assert expected > 1e-3
