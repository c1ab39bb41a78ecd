"""Three-body functions against jax-md and DScribe, and their derivatives in closed form."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from reference import dscribe_rows
from rows import PLAIN, SHIFTED
from strategies import random_cluster

from jaxrecon import ACSF
from jaxrecon.descriptors.acsf import angular, triplets
from jaxrecon.descriptors.acsf.angular import Angular
from jaxrecon.descriptors.environment import (
    Environment,
    element_channels,
    environment,
    weighted_channel,
)
from jaxrecon.structures.neighbors import displacement, neighbors
from jaxrecon.structures.structure import from_ase

R_CUT = 4.0
SPECIES = np.array([1, 8, 78, 8, 6, 1, 78])
MASK = np.array([True] * 6 + [False])
COUNTED = [0, 1, 2, 3, 5]


def environment_of(
    vectors: jax.Array, cutoff: str, elements: tuple[int, ...], weighted: bool = False
) -> Environment:
    parts = map(jnp.asarray, (SPECIES, MASK, elements))
    channels = weighted_channel if weighted else element_channels
    channel = channels(*parts, dtype=vectors.dtype)
    return environment(vectors, channel, cutoff=cutoff, r_cut=R_CUT)


def random_vectors() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)) * 1.4)


@pytest.mark.parametrize("kind", ["G4", "G5"])
@pytest.mark.parametrize(("cutoff", "weighted"), [("cosine", False), ("tanh3", True)])
def test_closed_form_derivatives(kind: str, cutoff: str, weighted: bool) -> None:
    """They are those of JAX, and 0 for padding and for an element without a channel."""
    functions = Angular(
        kind, (1, 1.5, 2, 2.5, 16), (-1, 0.5, 1), (0.05, 0.3), (0.0, 1.5, 2.0), cutoff, R_CUT
    )
    at = partial(environment_of, cutoff=cutoff, elements=(1, 8, 78), weighted=weighted)

    @jax.jit
    def compute(vectors: jax.Array) -> tuple[jax.Array, ...]:
        def values(vectors: jax.Array) -> jax.Array:
            return angular.values(functions, at(vectors))

        closed = angular.values_and_jacobian(functions, at(vectors))
        return values(vectors), *closed, jax.jacfwd(values)(vectors)

    with jax.enable_x64(True):
        values, same, closed, by_autodiff = map(np.asarray, compute(random_vectors()))
    assert values.shape == (1 if weighted else 6, functions.size)
    np.testing.assert_allclose(values, same, rtol=1e-11, atol=1e-13)
    assert np.abs(closed[:, :, COUNTED]).max(axis=(0, 1, 3)).min() > 1e-2
    assert not closed[:, :, [4, 6]].any()
    scale = np.abs(closed).max()
    np.testing.assert_allclose(closed, by_autodiff, rtol=1e-10, atol=1e-13 * scale)


@pytest.mark.parametrize("kind", ["G4", "G5"])
def test_a_loop_over_neighbours_equals_matrix_products(kind: str) -> None:
    functions = Angular(kind, (1, 2.5), (-1, 1), (0.05, 0.3), (0.0, 1.5), "cosine", R_CUT)
    with jax.enable_x64(True):
        at = environment_of(random_vectors(), "cosine", (8, 78), weighted=True)
        one_lane = jax.tree.map(lambda part: part[..., None], at)
        scanned = jax.jit(partial(triplets.values, functions))(one_lane)
        at_once = np.asarray(jax.jit(partial(angular.values, functions))(at))
    np.testing.assert_allclose(scanned[:, 0], at_once[0], rtol=1e-12)
    assert at_once.all()


@pytest.mark.parametrize("cell", [None, np.diag([12.0, 11.0, 10.0]) + 0.4])
def test_jax_md(cell: np.ndarray | None) -> None:
    """G4 of jax-md sums over ordered pairs, so that pairs of one element count twice.

    It takes one list of parameter combinations. It adds 1e-7 Angstrom to distances in its angles,
    and therefore gets lengths in another unit, in which that is negligible. (Its version with
    neighbour lists takes species 0, 1, ..., and returns zeros for atomic numbers.)
    """
    from jax_md._nn.behler_parrinello import angular_symmetry_functions

    positions = 0.6 * random_cluster(1, 8).positions
    atoms = Atoms("OHPtHOPtOPt", positions, cell=cell, pbc=cell is not None)
    config = ACSF(
        ("H", "O", "Pt"),
        5.0,
        g2_eta=(),
        g4_zeta=(1, 2, 16),
        g4_lam=(-1, 1),
        g4_eta=(0.02, 0.2),
        g5_zeta=(),
    )
    zetas, lams, etas = np.array([*product(config.g4_zeta, config.g4_lam, config.g4_eta)]).T
    unit = 1e6
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        structure = from_ase(atoms)
        oracle = angular_symmetry_functions(
            displacement(None if cell is None else structure.cell * unit),
            structure.species,
            *map(jnp.asarray, (etas / unit**2, lams, zetas)),
            5.0 * unit,
        )
        expected = np.asarray(jax.jit(oracle)(structure.positions * unit)).reshape(8, 6, -1)
        values = np.asarray(jax.jit(config)(neighbors(structure))).reshape(8, 6, -1)
    equal = np.array([a == b for a, b in angular.pairs_of(3)])
    expected = expected / np.where(equal, 2.0, 1.0)[None, :, None]
    assert np.abs(expected).max(axis=(0, 2)).min() > 1e-3
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
def test_shifts_from_dscribe(weighted: bool) -> None:
    """Functions with r_s, which DScribe does not have, from its G1, G2, G4 and G5 of three atoms.

    Of three different atoms alone, G2 / G1 is the Gaussian of one side for any r_s. The product of
    these with G4 or G5 at eta = 0, summed over all triples, gives the shifted functions.
    """
    config = replace(SHIFTED, cutoff="cosine", g5_zeta=(1, 2), weighted=weighted)
    triple = replace(
        PLAIN,
        g2_eta=config.g4_eta + config.g5_eta,
        g2_r_s=config.g4_r_s + config.g5_r_s,
        g4_eta=(0,),
        g5_zeta=(1, 2),
        g5_eta=(0,),
    )
    atoms = Atoms("OHPtHOPt", 0.4 * random_cluster(9, 6).positions)
    expected = {name: np.zeros(len(atoms)) for name in config.names if name[:2] in ("G4", "G5")}
    for i in range(len(atoms)):
        for j, k in combinations([j for j in range(len(atoms)) if j != i], 2):
            a, b = sorted((j, k), key=lambda atom: atoms.numbers[atom])
            alone = Atoms("HOPt", atoms.positions[[i, a, b]])
            of_i, of_a, _ = (
                dict(zip(triple.names, row, strict=True)) for row in dscribe_rows(triple, alone)
            )
            pair = "Z,Z" if weighted else f"{atoms.symbols[a]},{atoms.symbols[b]}"
            weight = float(atoms.numbers[a] * atoms.numbers[b]) if weighted else 1.0
            for name in expected:
                kind, zeta, lam, eta, r_s = name.split()
                if kind[3:-1] != pair:
                    continue
                sides = [(of_i, "O"), (of_i, "Pt"), (of_a, "Pt")][: 3 if kind[:2] == "G4" else 2]
                term = weight * of_i[f"{kind[:2]}[O,Pt] {zeta} {lam} eta=0"]
                for row, end in sides:
                    if row[f"G1[{end}]"]:
                        term *= row[f"G2[{end}] {eta} {r_s}"] / row[f"G1[{end}]"]
                expected[name][i] += term
    with jax.enable_x64(True):
        values = np.asarray(jax.jit(config)(neighbors(from_ase(atoms))))
    three_body = values[:, config.size - len(expected) :]
    np.testing.assert_allclose(three_body, np.array([*expected.values()]).T, rtol=1e-9, atol=1e-14)
    assert np.abs(three_body).max(axis=0).min() > 0


def test_names_and_size() -> None:
    centred = Angular("G4", (1, 16), (-1, 0.5), (0.1, 1), (0,), "cosine", R_CUT)
    assert centred.size == 8
    assert centred.names("O,Pt")[:3] == [
        "G4[O,Pt] zeta=1 lam=-1 eta=0.1",
        "G4[O,Pt] zeta=1 lam=-1 eta=1",
        "G4[O,Pt] zeta=1 lam=0.5 eta=0.1",
    ]
    shifted = centred._replace(kind="G5", r_s=(0, 2))
    assert shifted.size == 16
    assert shifted.names("Z,Z")[-1] == "G5[Z,Z] zeta=16 lam=0.5 eta=1 r_s=2"
    assert len(set(shifted.names("Z,Z"))) == 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_opposite_neighbours(dtype: str) -> None:
    """At 180 degrees the factor of lambda = 1 is 0 at any power, and so are its derivatives.

    Round-off makes cosines smaller than -1 there, but no function negative.
    """
    functions = Angular("G5", (1, 1.5, 2), (1,), (0.1,), (0,), "cosine", R_CUT)

    @jax.jit
    @jax.vmap
    def compute(vectors: jax.Array) -> tuple[jax.Array, ...]:
        def at(vectors: jax.Array) -> Environment:
            channel = jnp.ones((2, 1), vectors.dtype)
            return environment(vectors, channel, cutoff="cosine", r_cut=R_CUT)

        def values(vectors: jax.Array) -> jax.Array:
            return angular.values(functions, at(vectors))

        closed = angular.values_and_jacobian(functions, at(vectors))
        return values(vectors), *closed, jax.jacrev(values)(vectors)

    lines = np.random.default_rng(0).normal(size=(50, 1, 3))
    with jax.enable_x64(dtype == "float64"):
        vectors = jnp.asarray(lines * np.array([[[0.7], [-0.9]]]))
        values, same, closed, backward = map(np.asarray, compute(vectors))
    small = 10 * np.finfo(dtype).eps
    assert values.dtype == dtype
    for array in (values, same):
        assert (array >= 0).all()
        assert (array <= small).all()
    for array in (closed, backward):
        np.testing.assert_allclose(array, 0.0, atol=100 * small)
