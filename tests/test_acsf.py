"""Rows of all symmetry functions against NumPy loops and DScribe, and the order of the features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read
from hypothesis import example, given
from reference import acsf_rows, displacements, dscribe_rows
from rows import PADDED, PLAIN, SETS, assert_rows, in_both_precisions, rows
from strategies import clusters, crystals, random_cluster, random_crystal

from jaxrecon import ACSF, Fingerprint, featurize
from jaxrecon.descriptors import blocks
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.neighbors import Neighbors, neighbors
from jaxrecon.structures.structure import from_ase


@pytest.mark.parametrize("name", SETS)
@given(atoms=clusters(largest=PADDED))
@example(atoms=random_cluster(0, PADDED))
@example(atoms=random_cluster(1, 2))
def test_clusters(name: str, atoms: Atoms) -> None:
    in_both_precisions(SETS[name], atoms, acsf_rows(SETS[name], atoms))


@pytest.mark.parametrize("name", ["plain", "weighted"])
@given(atoms=crystals(largest=PADDED))
@example(atoms=random_crystal(0, PADDED))
def test_crystals_in_the_minimum_image(name: str, atoms: Atoms) -> None:
    in_both_precisions(SETS[name], atoms, acsf_rows(SETS[name], atoms))


@pytest.mark.parametrize("atoms", [2, 5, PADDED])
def test_dscribe(atoms: int) -> None:
    cluster = random_cluster(atoms, atoms)
    in_both_precisions(PLAIN, cluster, dscribe_rows(PLAIN, cluster))


def test_dscribe_of_the_published_set() -> None:
    config = ACSF(elements=("Pt",))
    cluster = random_cluster(0, PADDED, ("Pt",))
    in_both_precisions(config, cluster, dscribe_rows(config, cluster))


def test_dscribe_with_all_images() -> None:
    """In cells narrower than the cutoff an atom has its own images, and several of others, near."""
    crystals = [random_crystal(seed, 1 + 2 * seed) for seed in range(4)]
    bounds = bounds_of(crystals, PLAIN.r_cut)
    for atoms in crystals:
        in_both_precisions(PLAIN, atoms, dscribe_rows(PLAIN, atoms), size=7, bounds=bounds)


def test_weighted_sums_of_dscribe() -> None:
    """Weighted functions are sums over DScribe's channels, weighted by the atomic numbers."""
    weighted = replace(PLAIN, weighted=True)
    numbers = [float(atomic_numbers[symbol]) for symbol in PLAIN.elements]
    radial, angular = 9, 2 * 2 * 2 + 2 * 3 * 3
    for atoms in [random_cluster(7, PADDED), random_crystal(7, 5)]:
        channels = dscribe_rows(PLAIN, atoms)
        split = channels[:, : 3 * radial].reshape(len(atoms), 3, radial)
        pairs = channels[:, 3 * radial :].reshape(len(atoms), 6, angular)
        products = [numbers[a] * numbers[b] for a in range(3) for b in range(a, 3)]
        expected = np.concatenate(
            [np.einsum("c,icf->if", numbers, split), np.einsum("p,ipf->if", products, pairs)],
            axis=1,
        )
        bounds = bounds_of([atoms], PLAIN.r_cut) if atoms.pbc.any() else None
        with jax.enable_x64(True):
            assert_rows(weighted, from_ase(atoms, bounds=bounds), expected)


@pytest.mark.parametrize("name", ["qm7_500", "mp_200", "perov5_200"])
def test_published_structures(name: str, data: Path) -> None:
    """Molecules and crystals of many elements through ``featurize``, against DScribe."""
    structures = read(data / f"{name}.extxyz", ":")
    config = ACSF(
        elements=elements_of(structures),
        r_cut=6.0,
        g1=True,
        g2_eta=(4.0,),
        g2_r_s=(2.5,),
        g3_kappa=(1.5,),
        g4_zeta=(4,),
        g4_eta=(0.03,),
        g5_zeta=(1, 4),
        g5_lam=(1,),
        g5_eta=(0.03,),
    )
    most = max(map(len, structures))
    values = featurize(structures, Fingerprint(config, ("none",), max_atoms=most))
    for value, atoms in zip(values.reshape(len(values), most, -1), structures, strict=True):
        expected = dscribe_rows(config, atoms)
        np.testing.assert_allclose(value[: len(atoms)], expected, rtol=1e-9, atol=1e-11)
        assert not value[len(atoms) :].any()


def set_of(name: str, numbers: list[str]) -> ACSF:
    """The set with only the function that a name describes."""
    kind, channel = name.split()[0].rstrip("]").split("[")
    values = {key: (float(number),) for key, number in (text.split("=") for text in numbers)}
    own = {f"{kind.lower()}_{key}": value for key, value in values.items()}
    none = {"g2_eta": (), "g3_kappa": (), "g4_zeta": (), "g5_zeta": ()}
    weighted = channel in ("Z", "Z,Z")
    return ACSF(
        elements=PLAIN.elements if weighted else tuple(channel.split(",")),
        r_cut=PLAIN.r_cut,
        **{**none, **own},
        g1=kind == "G1",
        cutoff="tanh3",
        weighted=weighted,
    )


@pytest.mark.parametrize("name", ["shifted", "weighted"])
def test_one_feature_at_a_time(name: str) -> None:
    """Each feature of the full set equals the one that its name describes, computed alone."""
    config, atoms = SETS[name], random_cluster(3, 5)
    assert len(set(config.names)) == len(config.names) == config.size
    with jax.enable_x64(True):
        values = np.asarray(rows(config, from_ase(atoms, size=PADDED)))
    for feature, value in zip(config.names, values[: len(atoms)].T, strict=True):
        alone = set_of(feature, feature.split()[1:])
        expected = acsf_rows(alone, atoms)
        # A set for two elements has three pairs, of which the mixed one is in the middle.
        column = 1 if len(alone.elements) == 2 else 0
        np.testing.assert_allclose(value, expected[:, column], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("missing", [("g2_eta",), ("g5_zeta",), ("g2_r_s",), ("g5_lam",)])
def test_one_kind_alone(missing: tuple[str, ...]) -> None:
    """A set may have no two-body or no three-body functions."""
    config = ACSF(elements=("O", "Pt"), r_cut=5.0, **dict.fromkeys(missing, ()))
    atoms = random_cluster(2, 4, ("O", "Pt"))
    with jax.enable_x64(True):
        structure = from_ase(atoms)
        values, jacobian = jax.jit(config.with_jacobian)(neighbors(structure))
        assert_rows(config, structure, acsf_rows(config, atoms))
    assert values.shape == (4, config.size)
    assert jacobian.shape == (4, config.size, 4, 3)
    np.testing.assert_allclose(values, acsf_rows(config, atoms), rtol=1e-10, atol=1e-14)


def test_more_atoms_than_in_a_block() -> None:
    """Rows that are computed in several blocks equal those that are computed in one."""
    config = ACSF(
        elements=("H", "Pt"),
        r_cut=5.0,
        g2_eta=(1.0,),
        g2_r_s=(0, 2),
        g4_zeta=(1,),
        g4_eta=(0.1,),
        g5_zeta=(),
    )
    cluster = random_cluster(0, blocks.BLOCK + 6, ("H", "Pt"))
    # Eight neighbours of each atom are enough.
    near = np.argsort(np.linalg.norm(displacements(cluster), axis=-1), axis=1)[:, 1:9]

    @jax.jit
    def compute(environments: Neighbors) -> tuple[jax.Array, ...]:
        def rows(vectors: jax.Array) -> jax.Array:
            return config(environments._replace(vectors=vectors))

        values, pull_back = jax.vjp(rows, environments.vectors)
        return values, *config.with_jacobian(environments), *pull_back(jnp.ones_like(values))

    with jax.enable_x64(True):
        vectors = jnp.asarray(np.take_along_axis(displacements(cluster), near[:, :, None], axis=1))
        species = jnp.asarray(cluster.numbers[near], jnp.int32)
        whole = compute(Neighbors(vectors, species, jnp.ones(near.shape, bool)))
        half = len(cluster) // 2
        pieces = [
            compute(Neighbors(vectors[part], species[part], jnp.ones((half, 8), bool)))
            for part in (slice(half), slice(half, None))
        ]
    assert np.abs(whole[0]).max() > 1
    for array, parts in zip(whole, zip(*pieces, strict=True), strict=True):
        np.testing.assert_allclose(array, np.concatenate(parts), rtol=1e-11, atol=1e-12)
