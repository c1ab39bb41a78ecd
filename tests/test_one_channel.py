"""Rows of a single channel and their derivatives, against matrix products and JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from rows import PLAIN, SHIFTED, WEIGHTED
from strategies import random_cluster, seeds

from jaxrecon import ACSF, Fingerprint, from_ase, lanes
from jaxrecon.descriptors.acsf import one_channel
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.neighbors import Neighbors, image_neighbors, neighbors
from jaxrecon.structures.structure import Structure, padded

pytestmark = pytest.mark.usefixtures("strict_types")

R_CUT = PLAIN.r_cut
TWO_BODY = ACSF(("Pt",), R_CUT, g2_eta=(0.3,), g2_r_s=(1.0, 2.0), g3_kappa=(1.5,), g5_zeta=())
THREE_BODY = ACSF(
    ("Pt",),
    R_CUT,
    g2_eta=(),
    g4_zeta=(1.5, 1),
    g4_eta=(0.1,),
    g5_zeta=(),
    g4_r_s=(0, 1),
    cutoff="tanh3",
)
SETS = {
    "plain": replace(PLAIN, elements=("Pt",)),
    "shifted": replace(SHIFTED, elements=("Pt",)),
    "weighted": WEIGHTED,
    "two-body": TWO_BODY,
    "three-body": THREE_BODY,
    "one wave": replace(TWO_BODY, g2_eta=(), g3_kappa=(0.7,)),
    "few": replace(THREE_BODY, g1=True, g2_eta=(0.1, 2.0), g2_r_s=(1.0,)),
}
FEW = SETS["few"]


def random_neighbors(seed: int, m: int, atoms: int = 3) -> Neighbors:
    """Neighbours with padding, unknown elements, atoms beyond the cutoff and coincident atoms."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(atoms, m, 3)) * 1.6
    vectors[rng.random((atoms, m)) < 0.1] *= 4.0
    same = rng.random((atoms, m)) < 0.1
    vectors[same] = np.broadcast_to(vectors[:, :1], vectors.shape)[same]
    vectors[rng.random((atoms, m)) < 0.1] = 0.0
    species = rng.choice([78, 78, 78, 8, 1, 6], (atoms, m))
    mask = rng.random((atoms, m)) < 0.8
    return Neighbors(*map(jnp.asarray, (vectors, species, mask)))


@partial(jax.jit, static_argnums=0)
def both(config: ACSF, environments: Neighbors, weights: jax.Array) -> tuple[tuple, tuple]:
    """Rows, and the derivatives of their weighted sum by the vectors: fast ones and plain ones."""

    def differentiate(rows: object) -> tuple[jax.Array, jax.Array]:
        values, pull_back = jax.vjp(
            lambda vectors: rows(environments._replace(vectors=vectors)), environments.vectors
        )
        return values, *pull_back(weights)

    return differentiate(config), differentiate(partial(dense.rows, config))


def assert_both(config: ACSF, environments: Neighbors) -> float:
    """Compare fast and plain rows to the round-off of float64, and return the largest number."""
    shape = (len(environments.vectors), config.size)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    (found, pulled), (expected, gradient) = jax.tree.map(
        np.asarray, both(config, environments, weights)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(pulled, gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max())
    assert not pulled[~np.asarray(environments.mask)].any()
    return np.abs(expected).max(initial=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_rows_and_reverse_mode_are_those_of_matrix_products(name: str) -> None:
    largest = []

    @given(seed=seeds)
    @settings(max_examples=15)
    def check(seed: int) -> None:
        with jax.enable_x64(True):
            largest.append(assert_both(SETS[name], random_neighbors(seed, 7)))

    check()
    assert max(largest) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("m", [1, 31, 32, one_channel.MOST_NEIGHBORS])
def test_any_number_of_neighbours(m: int, x64: None) -> None:
    """One, the most that XLA adds one by one (31), one more, and the most allowed."""
    for seed in range(3):
        environments = random_neighbors(seed, m)
        largest = assert_both(replace(WEIGHTED, g5_eta=(0.05,), g4_eta=(0.02,)), environments)
        assert largest > 0.1 or not environments.mask.all()


def test_reverse_mode_gives_difference_quotients(x64: None) -> None:
    """This also tests what fast and plain rows have in common."""
    environments, step = random_neighbors(3, 5, 1), 1e-6
    environments = environments._replace(
        vectors=jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 3)) * 1.5)
    )
    weights = jnp.asarray(np.random.default_rng(1).normal(size=WEIGHTED.size))
    value = jax.jit(lambda x: (WEIGHTED(environments._replace(vectors=x)) @ weights)[0])
    gradient = jax.jit(jax.grad(value))(environments.vectors)
    moves = step * np.eye(15).reshape(15, 1, 5, 3)
    quotients = [
        (value(environments.vectors + d) - value(environments.vectors - d)) / (2 * step)
        for d in moves
    ]
    assert np.abs(gradient).max() > 10
    np.testing.assert_allclose(gradient.ravel(), quotients, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "m", "fast"),
    [
        (SETS["plain"], one_channel.MOST_NEIGHBORS, True),
        (SETS["plain"], one_channel.MOST_NEIGHBORS + 1, False),
        (WEIGHTED, 3, True),
        (PLAIN, 3, False),
    ],
)
def test_matrix_products_are_used_where_they_are_faster(
    config: ACSF, m: int, fast: bool, x64: None
) -> None:
    environments = random_neighbors(0, m)
    assert ("name=rows" in str(jax.make_jaxpr(config)(environments))) == fast
    if not fast and config.weighted:
        assert_both(config, environments)


def test_a_single_channel_of_several_elements(x64: None) -> None:
    """Asking for one of three elements by its number makes one channel and ignores the others."""
    environments, oxygen = random_neighbors(0, 7), jnp.array([8])
    few = replace(FEW, elements=("H", "O", "Pt"))
    single = replace(FEW, elements=("O",))
    rows, expected, alone = jax.jit(
        lambda elements: (
            few(environments, elements),
            dense.rows(few, environments, elements),
            single(environments),
        )
    )(oxygen)
    assert rows.shape == (3, FEW.size)
    np.testing.assert_allclose(rows, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(rows, alone, rtol=1e-12, atol=1e-14)
    assert rows.any()


def test_round_off_of_float32() -> None:
    """Round-off of some of the published functions, with powers of 64, from rounded positions.

    Over twelve clusters the largest error of a row was 73 float32 epsilons of the largest number of
    a function, that of a gradient 22 epsilons of its largest number; the same with matrix products.
    """
    config = ACSF(("Pt",), g2_eta=(0.01, 5.0), g5_zeta=(1, 64), g5_eta=(0.06, 1.0))
    for seed in (2, 3, 8):
        atoms = random_cluster(seed, 10, ("Pt",))
        weights = np.random.default_rng(seed).normal(size=(10, config.size))
        with jax.enable_x64(True):
            found = both(config, neighbors(from_ase(atoms)), jnp.asarray(weights))
            exact, gradient = map(np.asarray, found[1])
        found = both(config, neighbors(from_ase(atoms)), jnp.asarray(weights, jnp.float32))
        for rows, pulled in found:
            assert rows.dtype == pulled.dtype == np.float32
            unit = np.finfo(np.float32).eps
            off = np.abs(np.asarray(rows, float) - exact).max(axis=0)
            assert (off <= 100 * unit * exact.max(axis=0)).all()
            np.testing.assert_allclose(
                pulled, gradient, rtol=0.0, atol=30 * unit * np.abs(gradient).max()
            )


# Through fingerprints


def cluster_of(seed: int, atoms: int = 5, size: int | None = None) -> Structure:
    return from_ase(random_cluster(seed, atoms, ("Pt",)), size)


def placed(structure: Structure, positions: jax.Array) -> Structure:
    return dataclasses.replace(structure, positions=positions)


CURVED = Fingerprint(FEW, ("max", "mean", "min", "moment2"))


def loss(positions: jax.Array) -> jax.Array:
    """A squared distance to a target, for structures of five atoms."""
    structure = placed(cluster_of(1), positions)
    return jnp.sum((CURVED(structure) - jnp.linspace(0.1, 1.0, CURVED.size)) ** 2)


gradient = jax.jit(jax.grad(loss))
SECOND = [
    pytest.param(jax.jit(jax.jacfwd(jax.jacrev(loss))), id="forward over reverse"),
    pytest.param(jax.jit(jax.jacrev(jax.grad(loss))), id="reverse over reverse"),
    pytest.param(jax.jit(jax.jacrev(jax.jacfwd(loss))), id="reverse over forward"),
    pytest.param(jax.jit(jax.jacfwd(jax.jacfwd(loss))), id="forward over forward"),
]


FORWARD = {
    "one element": CURVED,
    "weighted": Fingerprint(replace(FEW, weighted=True, elements=("O", "Pt")), CURVED.poolings),
}


@pytest.mark.parametrize("name", FORWARD)
def test_forward_mode_equals_reverse_mode(name: str, x64: None) -> None:
    """Along one direction and in all directions, for one structure and for a batch."""
    fingerprint, structure = FORWARD[name], cluster_of(1)
    rng = np.random.default_rng(0)
    batch = jnp.stack([cluster_of(seed).positions for seed in range(3)])
    directions = jnp.asarray(rng.normal(size=batch.shape))

    def value(positions: jax.Array) -> jax.Array:
        return fingerprint(placed(structure, positions))

    def along(positions: jax.Array, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(value, (positions,), (direction,))

    reverse = jax.jit(jax.vmap(jax.jacrev(value)))(batch)
    assert_close = partial(np.testing.assert_allclose, rtol=1e-10)
    scale = 1e-12 * np.abs(reverse).max()
    assert scale > 0
    assert_close(jax.jit(jax.jacfwd(value))(batch[1]), reverse[1], atol=scale)
    assert_close(jax.jit(jax.vmap(jax.jacfwd(value)))(batch), reverse, atol=scale)
    expected = jnp.einsum("bpnx,bnx->bp", reverse, directions)
    found = jax.jit(jax.vmap(along))(batch, directions)[1]
    assert_close(found, expected, atol=10 * scale)
    # One direction for all structures, and several directions of one structure.
    same = jax.jit(jax.vmap(along, (0, None)))(batch, directions[0])[1]
    assert_close(same, jnp.einsum("bpnx,nx->bp", reverse, directions[0]), atol=10 * scale)
    same = jax.jit(jax.vmap(along, (None, 0)))(batch[0], directions)[1]
    assert_close(same, jnp.einsum("pnx,bnx->bp", reverse[0], directions), atol=10 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("second", SECOND)
def test_second_derivatives(second: Callable, x64: None) -> None:
    """They are difference quotients of the first ones, and finite where atoms coincide."""
    x, step = cluster_of(1).positions, 1e-5
    moves = step * np.eye(15).reshape(15, 5, 3)
    quotients = np.array([(gradient(x + d) - gradient(x - d)) / (2 * step) for d in moves])
    quotients = quotients.reshape(5, 3, 5, 3)
    largest = np.abs(quotients).max()
    assert largest > 0.1
    np.testing.assert_allclose(second(x), quotients, rtol=1e-6, atol=1e-8 * largest)
    for positions in (x.at[1].set(x[0]), jnp.zeros_like(x)):
        assert np.isfinite(second(positions)).all()


def test_more_atoms_than_in_a_block(x64: None) -> None:
    """Rows of 66 atoms are computed in two blocks, and again in reverse mode."""
    atoms = random_cluster(0, 66, ("Pt",))
    atoms.set_cell(np.eye(3) * 18.0)
    atoms.pbc = True
    structure = from_ase(atoms, bounds=bounds_of([atoms], R_CUT))
    assert structure.bounds.capacity <= one_channel.MOST_NEIGHBORS
    assert len(atoms) > 64
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(66, FEW.size)))

    @partial(jax.jit, static_argnums=0)
    def total(rows: object, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        def weighted(positions: jax.Array) -> jax.Array:
            return jnp.sum(weights * rows(image_neighbors(placed(structure, positions), R_CUT)))

        return jax.value_and_grad(weighted)(positions)

    ours, theirs = (total(rows, structure.positions) for rows in (FEW, Dense(FEW)))
    assert np.abs(theirs[1]).max() > 1
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-11)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9, atol=1e-11)


@dataclasses.dataclass(frozen=True)
class Dense:
    """The plain rows as a hashable function."""

    config: ACSF

    def __call__(self, environments: Neighbors) -> jax.Array:
        return dense.rows(self.config, environments)


# Last, as it clears what is compiled


@partial(jax.jit, static_argnums=0)
def compute(fingerprint: Fingerprint, structures: Structure) -> tuple[jax.Array, ...]:
    """The fingerprints of a batch, the gradients of sums over them, and their Jacobians."""

    def of_structure(structure: Structure) -> tuple[jax.Array, ...]:
        def total(positions: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(fingerprint(placed(structure, positions))))

        gradient = jax.grad(total)(structure.positions)
        return fingerprint(structure), gradient, *fingerprint.with_jacobian(structure)

    return jax.vmap(of_structure)(structures)


@pytest.mark.slow
@pytest.mark.parametrize("fewest", [lanes.FEWEST, 5])
def test_a_batch_equals_single_structures(
    fewest: int, monkeypatch: pytest.MonkeyPatch, x64: None
) -> None:
    """In more lanes, at once and in blocks of which the last is not full."""
    monkeypatch.setattr(lanes, "FEWEST", fewest)
    if fewest == 5:
        monkeypatch.setattr(lanes, "INPUT_OF_BLOCK", 1)
        jax.clear_caches()
    # A different setting in both cases: they do not share a compiled program.
    fingerprint = Fingerprint(FEW, temperature=float(fewest))
    batch = padded(clusters_of_a_batch(), 6)
    assert "scan" in str(jax.make_jaxpr(jax.vmap(fingerprint))(batch))
    found = compute(fingerprint, batch)
    for i, (value, jacobian) in enumerate(zip(*one_by_one(), strict=True)):
        gradient = np.einsum("p,pnx->nx", np.cos(value), jacobian)
        for ours, theirs in zip(found, (value, gradient, value, jacobian), strict=True):
            np.testing.assert_allclose(ours[i], theirs, rtol=1e-10, atol=1e-12)


def clusters_of_a_batch() -> list[Atoms]:
    return [random_cluster(seed, 4 + seed, ("Pt",)) for seed in range(3)]


@lru_cache
def one_by_one() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Fingerprints and Jacobians of each cluster alone, by matrix products and forward mode."""
    fingerprint = Fingerprint(FEW)

    @jax.jit
    def of_structure(structure: Structure) -> tuple[jax.Array, jax.Array]:
        def numbers(positions: jax.Array) -> jax.Array:
            return dense.numbers(fingerprint, placed(structure, positions))

        return numbers(structure.positions), jax.jacfwd(numbers)(structure.positions)

    both = [of_structure(from_ase(atoms, 6)) for atoms in clusters_of_a_batch()]
    values, jacobians = zip(*both, strict=True)
    return list(map(np.asarray, values)), list(map(np.asarray, jacobians))
