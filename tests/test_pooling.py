"""Poolings and their derivatives against NumPy, SciPy and JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from pooled import pooled as by_numpy
from strategies import seeds

from jaxrecon.descriptors.derivatives import ByVectors, by_positions, entries_by_positions
from jaxrecon.descriptors.pooling import (
    EXTREMES,
    PER_ATOM,
    POOLINGS,
    SELECTING,
    Pool,
    deviations,
    jacobian,
    pooled,
    selection,
    weights,
)
from jaxrecon.structures.neighbors import Neighbors

ATOMS, FEATURES, MAX_ATOMS, TEMPERATURE = 7, 4, 9, 0.3
AVERAGING = [kind for kind in POOLINGS if kind not in SELECTING]
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}

compiled = jax.jit(pooled, static_argnums=0)
compiled_deviations = jax.jit(deviations, static_argnums=0)
compiled_weights = jax.jit(weights, static_argnums=0)


def pool_of(kind: str, temperature: float = TEMPERATURE) -> Pool:
    return Pool(kind, MAX_ATOMS, temperature)


def random_rows(seed: int, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Rows and a group of at least one atom; the entries of all other atoms are very large."""
    rng = np.random.default_rng(seed)
    group = rng.random(ATOMS) < 0.6
    group[rng.integers(ATOMS)] = True
    rows = np.where(group[:, None], rng.normal(size=(ATOMS, FEATURES)), 1e3)
    return rows.astype(dtype), group


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", POOLINGS)
def test_pooling_equals_numpy_on_the_rows_of_the_group(kind: str, dtype: type) -> None:
    @given(seed=seeds)
    @settings(max_examples=10)
    def check(seed: int) -> None:
        rows, group = random_rows(seed, dtype)
        entries = rows[group].astype(np.float64)
        with jax.enable_x64(dtype == np.float64):
            value = np.asarray(compiled(pool_of(kind), rows, group))
            order = np.random.default_rng(seed).permutation(ATOMS)
            shuffled = np.asarray(compiled(pool_of(kind), rows[order], group[order]))
        assert value.dtype == dtype
        assert value.shape == (MAX_ATOMS if kind in PER_ATOM else 1, FEATURES)
        expected = by_numpy(kind, entries, MAX_ATOMS, TEMPERATURE)
        np.testing.assert_allclose(value, expected, atol=TOLERANCE[dtype])
        if kind == "none":
            expected = by_numpy(kind, rows[order][group[order]], MAX_ATOMS, TEMPERATURE)
        np.testing.assert_allclose(shuffled, expected, atol=TOLERANCE[dtype])

    check()


@given(seed=seeds)
def test_smooth_extremes_lie_between_mean_and_extreme(seed: int) -> None:
    with jax.enable_x64(True):
        rows, group = random_rows(seed)
        entries = rows[group]
        log_number = np.log(group.sum())
        for temperature in (1e-3, 0.3, 1e5):
            highest, lowest = (
                np.asarray(compiled(pool_of(kind, temperature), rows, group))[0]
                for kind in ("smooth_max", "smooth_min")
            )
            mean, slack = entries.mean(axis=0), 1e-9
            assert (highest <= entries.max(axis=0) + slack).all()
            assert (highest >= entries.max(axis=0) - temperature * log_number - slack).all()
            assert (lowest >= entries.min(axis=0) - slack).all()
            assert (lowest <= entries.min(axis=0) + temperature * log_number + slack).all()
            assert (highest >= mean - slack).all()
            assert (lowest <= mean + slack).all()
        # At the last, highest temperature both are the mean.
        np.testing.assert_allclose(highest, mean, atol=1e-4)
        np.testing.assert_allclose(lowest, mean, atol=1e-4)


def test_smooth_extremes_do_not_overflow() -> None:
    rows = jnp.array([[500.0], [-500.0], [499.0]])
    group = jnp.ones(3, bool)
    assert np.isclose(pooled(pool_of("smooth_max", 1e-2), rows, group), 500.0, atol=0.02)
    assert np.isclose(pooled(pool_of("smooth_min", 1e-2), rows, group), -500.0, atol=0.02)


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_group_without_atoms_gives_zero_with_zero_derivatives(kind: str) -> None:
    pool, group = pool_of(kind), jnp.zeros(3, bool)

    @jax.jit
    def everything(rows: jax.Array) -> tuple[jax.Array, ...]:
        value, pull_back = jax.vjp(lambda x: pooled(pool, x, group), rows)
        own = weights if kind in AVERAGING else selection
        made = own(pool, rows, group)
        made = made if kind in AVERAGING else made.present
        return value, *pull_back(jnp.ones_like(value)), made

    assert not any(np.asarray(array).any() for array in everything(jnp.ones((3, 2))))


@pytest.mark.parametrize("kind", AVERAGING)
def test_weights_are_derivatives(kind: str) -> None:
    """They equal forward mode, and no feature depends on the entries of another."""
    with jax.enable_x64(True):
        rows, group = map(jnp.asarray, random_rows(3))
        found = compiled_weights(pool_of(kind), rows, group)
        derivatives = jax.jit(jax.jacfwd(lambda x: pooled(pool_of(kind), x, group)[0]))(rows)
    derivatives = np.asarray(derivatives)
    np.testing.assert_allclose(found, np.einsum("fif->if", derivatives), atol=1e-12)
    assert np.abs(found).max() > 0.1
    assert not np.asarray(found)[~np.asarray(group)].any()
    assert np.count_nonzero(derivatives) <= np.count_nonzero(found)


def test_selected_atoms_have_the_extremes() -> None:
    rows = jnp.array([[9.0, -9.0], [1.0, 2.0], [3.0, 2.0], [2.0, 0.5]])
    group = jnp.array([False, True, True, True])
    # Of equal entries that of the first atom is selected.
    assert selection(Pool("max"), rows, group).atom.tolist() == [[2, 1]]
    assert selection(Pool("min"), rows, group).atom.tolist() == [[1, 3]]
    order = selection(Pool("sorted", max_atoms=5), rows, group)
    assert order.atom[:3].tolist() == [[2, 1], [3, 2], [1, 3]]
    assert order.present.tolist() == [[True] * 2] * 3 + [[False] * 2] * 2
    unsorted = selection(Pool("none", max_atoms=2), rows, group)
    assert unsorted.atom.tolist() == [[1, 1], [2, 2]]
    assert unsorted.present.all()


def test_entries_that_a_target_binds() -> None:
    """The entry of the selected atom and those beyond the target; none outside the group."""
    rows = jnp.array([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0], [99.0, -99.0]])
    group = jnp.array([True, True, True, False])
    highest, lowest = jnp.array([1.5, 9.0]), jnp.array([2.5, 3.0])
    difference, bound = deviations(Pool("max"), rows, highest, group)
    np.testing.assert_array_equal(difference, rows - highest[None])
    # The target 1.5 binds the two entries above it; the target 9 binds the largest, which is below.
    np.testing.assert_array_equal(bound, [[False, True], [True, False], [True, False], [False] * 2])
    # An entry at the target is not beyond it.
    _, bound = deviations(Pool("max"), rows, jnp.array([2.0, 4.0]), group)
    np.testing.assert_array_equal(bound, [[False, True], [False] * 2, [True, False], [False] * 2])
    difference, bound = deviations(Pool("min"), rows, lowest, group)
    np.testing.assert_array_equal(difference, rows - lowest[None])
    # The target 2.5 binds the two entries below it; the target 3 binds the smallest, which has it.
    np.testing.assert_array_equal(bound, [[True, False], [True, False], [False, True], [False] * 2])


@pytest.mark.parametrize("kind", EXTREMES)
@given(seed=seeds)
def test_deviations_are_zero_exactly_at_the_target(kind: str, seed: int) -> None:
    rows, group = map(jnp.asarray, random_rows(seed, np.float32))
    target = compiled(Pool(kind), rows, group)[0]
    at_target, bound = compiled_deviations(Pool(kind), rows, target, group)
    assert not (at_target * bound).any()
    for column in range(FEATURES):
        for shift in (-0.1, 0.1):
            off = target.at[column].add(shift)
            difference, bound = compiled_deviations(Pool(kind), rows, off, group)
            off = jnp.abs(jnp.where(bound, difference, 0.0)).max(axis=0)
            np.testing.assert_allclose(off[column], 0.1, rtol=1e-4)
            assert np.flatnonzero(off).tolist() == [column]


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize(
    "kinds", [("min",), ("mean",), ("sum", "max", *POOLINGS[::-1]), ("none", "max", "sorted")]
)
def test_jacobian_is_that_of_jax(kinds: tuple[str, ...], images: bool) -> None:
    """For rows that are linear in the vectors; three groups, one without atoms, and other atoms."""
    rng = np.random.default_rng(0)
    m = 9 if images else ATOMS
    by_vectors, start = rng.normal(size=(ATOMS, FEATURES, m, 3)), rng.normal(size=(ATOMS, FEATURES))
    source = rng.integers(0, ATOMS, (ATOMS, m))
    groups, pools = np.zeros((3, ATOMS), bool), tuple(map(pool_of, kinds))
    groups[0, [0, 3, 4]], groups[2, [1, 6]] = True, True
    with jax.enable_x64(True):
        end = jnp.asarray(source if images else np.tile(np.arange(ATOMS), (ATOMS, 1)))

        def rows(positions: jax.Array) -> jax.Array:
            vectors = positions[end] - positions[:, None, :]
            return start + jnp.einsum("ifmx,imx->if", by_vectors, vectors)

        def numbers(positions: jax.Array) -> jax.Array:
            values = [
                pooled(pool, rows(positions), jnp.asarray(group)).ravel()
                for pool in pools
                for group in groups
            ]
            return jnp.concatenate(values)

        positions = jnp.asarray(rng.normal(size=(ATOMS, 3)) / 10)
        environments = neighbors_of(positions, end, images=images)

        @jax.jit
        def pulled(rows: jax.Array, by_vectors: jax.Array, groups: jax.Array) -> jax.Array:
            return jacobian(pools, rows, ByVectors(by_vectors, environments, strain=False), groups)

        closed = pulled(rows(positions), jnp.asarray(by_vectors), jnp.asarray(groups))
        expected = jax.jit(jax.jacfwd(numbers))(positions)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(closed, expected, atol=1e-12)


@pytest.mark.parametrize("kinds", [("mean",), ("max", "moment2"), ("none", "sum")])
def test_jacobian_by_the_strain_is_that_of_jax(kinds: tuple[str, ...]) -> None:
    """For rows that are linear in the vectors, which a strain rotates and stretches."""
    rng = np.random.default_rng(1)
    by_vectors = jnp.asarray(rng.normal(size=(ATOMS, FEATURES, 9, 3)), jnp.float32)
    source = jnp.asarray(rng.integers(0, ATOMS, (ATOMS, 9)))
    pools, groups = tuple(map(pool_of, kinds)), jnp.ones((1, ATOMS), bool)
    environments = neighbors_of(
        jnp.asarray(rng.normal(size=(ATOMS, 3)), jnp.float32), source, images=True
    )
    environments = environments._replace(mask=environments.mask.at[:, 4:6].set(False))
    vectors = jnp.where(environments.mask[:, :, None], environments.vectors, 0.0)

    def numbers(strain: jax.Array) -> jax.Array:
        strained = vectors @ (jnp.eye(3) + (strain + strain.T) / 2.0)
        rows = jnp.einsum("ifmx,imx->if", by_vectors, strained)
        return jnp.concatenate([pooled(pool, rows, groups[0]).ravel() for pool in pools])

    @jax.jit
    def everything(strain: jax.Array) -> tuple[jax.Array, ...]:
        rows = jnp.einsum("ifmx,imx->if", by_vectors, vectors)
        closed, alone = (
            jacobian(pools, rows, ByVectors(by_vectors, environments, strain=by_strain), groups)
            for by_strain in (True, False)
        )
        return jax.jacfwd(numbers)(strain), closed, alone

    expected, closed, alone = map(np.asarray, everything(jnp.zeros((3, 3))))
    np.testing.assert_array_equal(closed[:, :-3], alone)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(closed[:, -3:], expected, atol=2e-5)


def neighbors_of(positions: jax.Array, source: jax.Array, *, images: bool) -> Neighbors:
    """Environments in which the neighbours of each atom are these atoms."""
    vectors = positions[source] - positions[:, None, :]
    mask = jnp.ones(source.shape, bool)
    return Neighbors(vectors, source, mask, source if images else None)


@pytest.mark.parametrize("images", [False, True])
def test_derivatives_by_positions(images: bool) -> None:
    """A vector from centre i to atom s changes with the position of s, and oppositely with i."""
    rng = np.random.default_rng(0)
    n, f, m = 4, 3, 9 if images else 4
    by_vectors = rng.normal(size=(n, f, m, 3))
    source = rng.integers(0, n, (n, m)) if images else None
    centre = np.repeat(np.arange(n), f)[::-1].copy()
    flat = by_vectors.reshape(n * f, m, 3)[::-1].copy()
    with jax.enable_x64(True):
        end = jnp.asarray(np.tile(np.arange(n), (n, 1)) if source is None else source)
        environments = neighbors_of(jnp.zeros((n, 3)), end, images=images)
        derivative = by_positions(jnp.asarray(flat), jnp.asarray(centre), environments)
        entries = entries_by_positions(jnp.asarray(by_vectors), environments)
    expected = np.zeros((n, f, n, 3))
    for i, feature, neighbor in np.ndindex(n, f, m):
        end = neighbor if source is None else source[i, neighbor]
        expected[i, feature, end] += by_vectors[i, feature, neighbor]
        expected[i, feature, i] -= by_vectors[i, feature, neighbor]
    np.testing.assert_allclose(entries, expected, atol=1e-13)
    np.testing.assert_allclose(derivative, expected.reshape(-1, n, 3)[::-1], atol=1e-13)


def test_names_and_sizes() -> None:
    assert Pool("max").names("") == ["max"]
    assert Pool("moment2").names("O") == ["moment2[O]"]
    assert Pool("sorted", max_atoms=2).names("O") == ["sorted0[O]", "sorted1[O]"]
    assert Pool("none", max_atoms=3).names("") == ["atom0", "atom1", "atom2"]
    for kind in POOLINGS:
        assert len(pool_of(kind).names("O")) == pool_of(kind).size
