"""Coordinates of a search: known atoms stay, and atoms move with an unknown cell."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import covalent_radii
from drawing import proposed, random_start
from scipy.spatial.transform import Rotation

from jaxrecon import ACSF, Fingerprint, ReconstructConfig
from jaxrecon.search.contacts import with_contacts
from jaxrecon.search.descent import descend, model, residual
from jaxrecon.search.gauss_newton import bound_equations, normal_equations
from jaxrecon.search.initialize import VOLUME_RANGE, random_cell
from jaxrecon.search.levenberg_marquardt import NormalEquations
from jaxrecon.search.moves import move_weights
from jaxrecon.search.task import STRAIN_LENGTH, Task
from jaxrecon.structures.bounds import bounds_within
from jaxrecon.structures.structure import Structure

CELL = np.array([[4.0, 0.0, 0.0], [1.0, 4.5, 0.0], [0.5, -0.5, 5.0]])
POSITIONS = np.array([(0, 0, 0), (2, 0.1, 0.3), (0.2, 2, 2.3)])
NUMBERS = jnp.array([8, 78, 78])
BOUNDS = bounds_within(CELL, 6.0, 3)
CONFIG = ReconstructConfig(candidates=4, refine_steps=20)
WEIGHTS = move_weights(CONFIG)
KEYS = jax.random.split(jax.random.key(3), 32)


def fingerprint_of(*poolings: str) -> Fingerprint:
    descriptor = ACSF(
        elements=("O", "Pt"),
        r_cut=6.0,
        g2_eta=(0.5,),
        g2_r_s=(1, 2, 3, 4, 5),
        g5_zeta=(1, 4, 16),
        g5_eta=(0.05,),
    )
    return Fingerprint(descriptor, poolings=poolings, per_element=True)


MEANS = fingerprint_of("mean", "moment2")


def unknown_cell(fingerprint: Fingerprint = MEANS) -> tuple[Task, jax.Array]:
    """A crystal with an unknown cell, and its coordinates."""
    truth = jnp.asarray(np.concatenate([POSITIONS, CELL]))
    task = Task(
        jnp.zeros(fingerprint.size, truth.dtype),
        NUMBERS,
        jnp.eye(3, dtype=truth.dtype),
        volume=jnp.asarray(np.linalg.det(CELL), truth.dtype),
        variable=True,
        bounds=BOUNDS,
    )
    target = jax.jit(fingerprint)(task.structure(truth))
    return Task(target, NUMBERS, task.cell, volume=task.volume, variable=True, bounds=BOUNDS), truth


def test_a_strain_moves_the_cell_and_the_atoms_alike() -> None:
    task, truth = unknown_cell()
    step = np.zeros((6, 3), np.float32)
    step[3:] = STRAIN_LENGTH * np.array([[0.1, 0.04, 0.0], [0.0, -0.2, 0.02], [0.0, 0.0, 0.05]])
    moved = np.asarray(task.moved(truth, jnp.asarray(step)), np.float64)
    inside = np.linalg.solve(moved[3:].T, moved[:3].T).T
    np.testing.assert_allclose(inside, np.linalg.solve(CELL.T, POSITIONS.T).T, atol=1e-5)
    # The antisymmetric part of the strain, which would only rotate the crystal, has no effect.
    strain = np.linalg.solve(CELL, moved[3:]) - np.eye(3)
    expected = [[0.1, 0.02, 0.0], [0.02, -0.2, 0.01], [0.0, 0.01, 0.05]]
    np.testing.assert_allclose(strain, expected, atol=1e-5)
    step = np.concatenate([np.ones((3, 3)), np.zeros((3, 3))])
    moved = np.asarray(task.moved(truth, jnp.asarray(step, jnp.float32)))
    np.testing.assert_allclose(moved - np.asarray(truth), step, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("equations", [normal_equations, bound_equations])
@pytest.mark.parametrize("poolings", [("mean", "moment2"), ("max", "min")])
def test_equations_of_an_unknown_cell(equations: object, poolings: tuple[str, ...]) -> None:
    """The gradient of half the sum of squares agrees with difference quotients."""
    fingerprint = fingerprint_of(*poolings)
    with jax.enable_x64(True):
        task, truth = unknown_cell(fingerprint)
        off = task.moved(truth, 0.02 * jax.random.normal(KEYS[0], (6, 3), truth.dtype))
        at = jax.jit(model(equations, fingerprint, CONFIG, task))
        gradient = np.asarray(at(off).gradient).reshape(6, 3)
        assert at(truth).residual < 1e-12 < 1e-4 < at(off).residual
        for row, axis in [(0, 1), (2, 2), (3, 0), (4, 0), (5, 1), (5, 2)]:
            unit = jnp.zeros((6, 3), truth.dtype).at[row, axis].set(1e-5)
            ahead, back = (at(task.moved(off, sign * unit)).squared for sign in (1.0, -1.0))
            quotient = float(ahead - back) / 4e-5
            np.testing.assert_allclose(gradient[row, axis], quotient, rtol=2e-5, atol=1e-7)
        np.testing.assert_allclose(gradient[3:], gradient[3:].T, atol=1e-12)


def test_a_descent_finds_the_cell() -> None:
    task, truth = unknown_cell()
    start = task.moved(truth, 0.1 * jax.random.normal(KEYS[1], (6, 3)))
    begin = jax.jit(partial(residual, MEANS, task))(start)
    found, reached = jax.jit(partial(descend, MEANS, CONFIG, task))(start)
    assert reached < 2e-5 < 1e-3 < begin
    lengths = [np.linalg.norm(np.asarray(cell), axis=1) for cell in (found[3:], CELL)]
    np.testing.assert_allclose(*lengths, atol=2e-3)


def test_random_cells() -> None:
    """They are right-handed, of many shapes that are not too flat, and of about the volume."""
    cells = np.asarray(
        jax.vmap(lambda key: random_cell(jax.random.uniform(key, (4, 3)), jnp.asarray(80.0)))(KEYS)
    )
    volumes = np.linalg.det(cells) / 80.0
    low, high = VOLUME_RANGE
    assert low - 1e-5 <= volumes.min() < low + 0.3 * (high - low)
    assert high + 1e-5 >= volumes.max() > high - 0.3 * (high - low)
    lengths = np.linalg.norm(cells, axis=-1)
    shapes = lengths.max(axis=1) / lengths.min(axis=1)
    assert shapes.min() < 1.7 < 2.5 < shapes.max()
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cells), axis=1)
    assert heights.min() > 80.0 ** (1 / 3) / 4.0


def test_known_atoms_stay_in_every_move_and_descent() -> None:
    known = np.where(np.array([[True], [False], [True]]), POSITIONS, 0.0)
    fixed = jnp.array([True, False, True])
    cell = jnp.asarray(CELL, jnp.float32)
    empty = Task(jnp.zeros(MEANS.size), NUMBERS, cell, bounds=BOUNDS)
    target = jax.jit(MEANS)(empty.structure(jnp.asarray(POSITIONS, jnp.float32)))
    task = Task(
        target, NUMBERS, cell, fixed=fixed, known=jnp.asarray(known, jnp.float32), bounds=BOUNDS
    )

    @jax.jit
    @jax.vmap
    def hop(key: jax.Array) -> tuple[jax.Array, ...]:
        parent = random_start(key, CONFIG, task)
        moved = proposed(key, MEANS, CONFIG, task, parent, WEIGHTS)
        return parent, moved, *descend(MEANS, CONFIG, task, moved)

    parents, moved, ends, reached = map(np.asarray, hop(KEYS))
    for coordinates in (parents, moved, ends):
        np.testing.assert_array_equal(
            coordinates[:, [0, 2]], np.float32(known)[None, [0, 2]].repeat(32, 0)
        )
        assert np.ptp(coordinates[:, 1], axis=0).min() > 0.5
    assert (reached < 1e-5).sum() >= 2
    difference = ends[reached.argmin(), 1] - POSITIONS[1]
    fractional = np.linalg.solve(CELL.T, difference)
    np.testing.assert_allclose(fractional, np.round(fractional), atol=1e-4)


def test_padding_changes_nothing() -> None:
    """Padding has no gradient and no influence on others, and no move changes only padding."""
    small = Task(jnp.zeros(MEANS.size), NUMBERS, None)
    target = jax.jit(MEANS)(small.structure(jnp.asarray(POSITIONS, jnp.float32)))
    small = Task(target, NUMBERS, None)
    radii = jnp.asarray([*covalent_radii[[8, 78, 78]], 0.0], jnp.float32)
    mask = jnp.array([True, True, True, False])
    large = Task(target, jnp.append(NUMBERS, 0), None, radii, mask)
    turned = Rotation.from_euler("xyz", [0.3, -0.2, 0.9]).apply(POSITIONS) + 0.3
    three = jnp.asarray(turned + 0.05 * POSITIONS**2, jnp.float32)
    four = jnp.concatenate([three, jnp.full((1, 3), 9.0)])
    ours, theirs = (
        jax.jit(model(normal_equations, MEANS, CONFIG, task))(x)
        for task, x in ((small, three), (large, four))
    )
    np.testing.assert_allclose(theirs.gram[:9, :9], ours.gram, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(theirs.gradient[:9], ours.gradient, rtol=1e-4, atol=1e-6)
    assert not theirs.gram[9:].any()
    assert not theirs.gradient[9:].any()
    np.testing.assert_allclose(theirs.residual, ours.residual, rtol=1e-5)
    moved = np.asarray(
        jax.jit(jax.vmap(lambda key: proposed(key, MEANS, CONFIG, large, four, WEIGHTS)))(KEYS)
    )
    changed = (moved[:, :3] != np.asarray(three)).any(axis=(1, 2))
    assert changed.all()
    # No site is at a bonding distance from padding, nor does padding enlarge the ball of sites.
    assert np.abs(moved[:, :3]).max() < 8.0


def test_a_search_keeps_atoms_apart() -> None:
    """If atoms of the target are too close, the target itself is no solution."""
    close = 0.9 * POSITIONS
    positions = jnp.asarray(close, jnp.float32)
    task = Task(jnp.zeros(MEANS.size), NUMBERS, None)
    task = Task(jax.jit(MEANS)(task.structure(positions)), NUMBERS, None)
    free, apart = (
        jax.jit(model(normal_equations, MEANS, CONFIG.replace(min_distance=limit), task))(positions)
        for limit in (0.0, 0.99)
    )
    lengths = np.linalg.norm(close[:, None] - close, axis=-1)[np.triu_indices(3, 1)]
    radii = covalent_radii[np.asarray(NUMBERS)]
    overlaps = np.maximum(0.99 * np.add.outer(radii, radii)[np.triu_indices(3, 1)] - lengths, 0.0)
    assert overlaps.sum() > 0.01
    # Every pair counts twice, once for each of its atoms.
    assert float(apart.residual - free.residual) == pytest.approx(2.0 * overlaps.sum(), rel=1e-4)


@pytest.mark.parametrize("strain", [None, 5.0])
def test_contacts_push_apart(strain: float | None) -> None:
    """Sum of squared overlaps with all images, and its gradient against difference quotients."""
    radii = jnp.array([1.0, 1.4, 1.4])

    def nothing(size: int) -> NormalEquations:
        zero = jnp.zeros(())
        return NormalEquations(jnp.zeros((size, size)), jnp.zeros(size), zero, zero)

    with jax.enable_x64(True):

        def at(positions: jax.Array, cell: jax.Array) -> NormalEquations:
            structure = Structure(positions, NUMBERS, jnp.ones(3, bool), cell, bounds=BOUNDS)
            size = 9 if strain is None else 18
            return with_contacts(nothing(size), MEANS.view(structure).neighbors, radii, strain)

        compiled = jax.jit(at)
        positions, cell = jnp.asarray(POSITIONS), jnp.asarray(CELL)
        found = compiled(positions, cell)
        vectors = POSITIONS[None] - POSITIONS[:, None]
        shifts = np.stack(np.meshgrid(*[range(-2, 3)] * 3), -1).reshape(-1, 3) @ CELL
        lengths = np.linalg.norm(vectors[:, :, None] + shifts, axis=-1)
        overlap = np.maximum(np.add.outer(radii, radii)[:, :, None] - lengths, 0.0)
        overlap[lengths < 1e-9] = 0.0
        assert found.squared == pytest.approx((overlap**2).sum())
        assert found.residual == pytest.approx(overlap.sum())
        assert found.residual > 0.1
        for atom, axis in [(0, 0), (1, 2), (2, 1)]:
            step = np.zeros((3, 3))
            step[atom, axis] = 1e-6
            ahead, back = (compiled(positions + s * step, cell).squared for s in (1, -1))
            derivative = found.gradient[3 * atom + axis]
            np.testing.assert_allclose(derivative, (ahead - back) / 4e-6, rtol=1e-5, atol=1e-8)
        if strain is not None:
            stretch = np.eye(3)
            stretch[1, 1] += 1e-6
            back = 2 * np.eye(3) - stretch
            both = [compiled(positions @ f, cell @ f).squared for f in (stretch, back)]
            quotient = (both[0] - both[1]) / 4e-6 / strain
            np.testing.assert_allclose(found.gradient[13], quotient, rtol=1e-5)
        wide = compiled(10.0 * positions, 10.0 * cell)
        assert (wide.residual, wide.squared) == (0.0, 0.0)
        assert not wide.gram.any()


def test_random_atoms_are_around_the_known_ones() -> None:
    known = np.where(np.array([[True], [False], [True]]), POSITIONS + 40.0, np.nan)
    fixed = jnp.array([True, False, True])
    task = Task(
        jnp.zeros(MEANS.size), NUMBERS, None, fixed=fixed, known=jnp.asarray(known, jnp.float32)
    )
    starts = np.asarray(jax.vmap(lambda key: random_start(key, CONFIG, task))(KEYS))
    np.testing.assert_array_equal(starts[:, 0], np.float32(known)[None, 0].repeat(32, 0))
    far = np.linalg.norm(starts[:, 1] - np.nanmean(known, axis=0), axis=1)
    assert 0.5 < far.mean() < 4.0
    assert far.max() < 8.0
