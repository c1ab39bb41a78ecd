"""The Jacobian from the selected atoms alone, against that from all entries."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import partial

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from rows import PLAIN, SHIFTED, WEIGHTED
from strategies import random_cluster, random_crystal, seeds

from jaxrecon import ACSF, Fingerprint, from_ase
from jaxrecon.structures.neighbors import neighbors
from jaxrecon.structures.structure import Bounds, Structure

SMALL = ACSF(
    ("H", "O", "Pt"),
    5.0,
    g1=True,
    g2_eta=(0.5, 2.0),
    g2_r_s=(0.5, 1.5),
    g3_kappa=(0.7,),
    g4_zeta=(1.5,),
    g4_eta=(0.1,),
    g5_zeta=(1, 4),
    g5_eta=(0.1,),
)
SETS = {
    "plain": replace(PLAIN, elements=("Pt",)),
    "shifted": replace(SHIFTED, elements=("O",)),
    "weighted": WEIGHTED,
    "channels": replace(SHIFTED, elements=("O", "Pt")),
    "all channels": SMALL,
    "two-body": replace(SMALL, g4_zeta=(), g5_zeta=()),
    "three-body": replace(SMALL, g1=False, g2_eta=(), g3_kappa=()),
}


@partial(jax.jit, static_argnums=0)
def single_entries(
    config: ACSF, structure: Structure, atom: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The closed form, and forward mode through the plain rows of ``dense``."""

    def rows(positions: jax.Array) -> jax.Array:
        return dense.rows(config, neighbors(dataclasses.replace(structure, positions=positions)))

    entries = jax.jacfwd(rows)(structure.positions)
    selected = entries.at[atom, jnp.arange(config.size)[None]].get(mode="fill", fill_value=0.0)
    return config.selected_jacobian(neighbors(structure), atom), selected


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_derivatives_of_single_entries(name: str) -> None:
    """With random selected atoms, among them padding and an index without an atom."""
    largest = []

    @given(seed=seeds)
    @settings(max_examples=10)
    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        atoms = random_cluster(seed, 6, ("H", "O", "Pt", "C"))
        atoms.positions *= rng.choice([0.5, 1.0])
        if rng.random() < 0.3:
            atoms.positions[1] = atoms.positions[0]
        with jax.enable_x64(True):
            structure = from_ase(atoms, 8)
            atom = jnp.asarray(rng.integers(0, 9, (3, SETS[name].size)))
            found, expected = map(np.asarray, single_entries(SETS[name], structure, atom))
        largest.append(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * max(largest[-1], 1))
        assert not found[np.asarray(atom) >= 6].any()

    check()
    assert max(largest) > 0.1


def close_by(seed: int, atoms: int, elements: tuple[str, ...]) -> Atoms:
    """A cluster in which all atoms are neighbours of each other."""
    cluster = random_cluster(seed, atoms, elements)
    cluster.positions *= 0.5
    return cluster


# The functions are tested above: few of them are enough to test which entries are taken.
TINY = replace(SMALL, g2_eta=(0.5,), g3_kappa=(), g4_zeta=(), g5_zeta=(4,))
CHAIN = Atoms("OOO", [(-1.5, 0, 0), (0, 0, 0), (1.5, 0, 0)])
CASES = {
    "one element": (Fingerprint(replace(SMALL, elements=("O",))), random_cluster(1, 6, ("O",)), {}),
    "smallest, padded": (
        Fingerprint(replace(TINY, elements=("Pt",)), ("min",)),
        close_by(2, 5, ("Pt",)),
        {"size": 9},
    ),
    "weighted, by elements": (
        Fingerprint(replace(TINY, weighted=True), ("min", "max"), per_element=True),
        random_cluster(4, 7, ("H", "Pt")),
        {"size": 12},
    ),
    "channels": (Fingerprint(SMALL, ("max", "min")), random_cluster(5, 6), {"size": 8}),
    "channels, by elements": (
        Fingerprint(TINY, ("max",), per_element=True),
        random_cluster(6, 6, ("O", "Pt")),
        {"size": 7},
    ),
    "unused channel": (
        Fingerprint(TINY, ("min",), per_element=True),
        close_by(6, 6, ("O", "Pt", "C")),
        {"size": 7, "bounds": Bounds(7, elements=2)},
    ),
    "weighted, with fewer elements": (
        Fingerprint(replace(TINY, weighted=True), ("max",), per_element=True),
        random_cluster(6, 6, ("Pt",)),
        {"size": 7, "bounds": Bounds(7, elements=2)},
    ),
    "minimum image": (
        Fingerprint(TINY, images="minimum"),
        random_crystal(2, 5),
        {"size": 8},
    ),
    "ties": (
        Fingerprint(replace(SMALL, elements=("O",))),
        CHAIN + Atoms("O", [(100, 0, 0)]),
        {"size": 6},
    ),
}


def selected_suffice(fingerprint: Fingerprint, structure: Structure) -> bool:
    """Whether the selected atoms alone are used, which needs no number."""
    answers = []

    def ask(structure: Structure) -> None:
        answers.append(fingerprint._selected_suffice(fingerprint.view(structure)))

    jax.eval_shape(ask, structure)
    return answers[0]


def both(fingerprint: Fingerprint, structure: Structure) -> list[tuple[np.ndarray, ...]]:
    """Values and Jacobian from the selected atoms alone and from all entries."""
    found = []
    for by_selected in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not by_selected:
                patch.setattr(Fingerprint, "_selected_suffice", lambda self, view: False)
            assert selected_suffice(fingerprint, structure) == by_selected
            # A new function, for which a program is compiled anew.
            compiled = jax.jit(lambda structure: fingerprint.with_jacobian(structure))
            found.append(tuple(map(np.asarray, compiled(structure))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_jacobian_of_the_selected_atoms(name: str, x64: None) -> None:
    fingerprint, atoms, sizes = CASES[name]
    structure = from_ase(atoms, **sizes)
    (value, jacobian), (same, expected) = both(fingerprint, structure)
    np.testing.assert_allclose(value, same, rtol=1e-12, atol=1e-14)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(jacobian, expected, rtol=1e-11, atol=1e-13 * scale)
    assert scale > 0.1
    assert jacobian.shape == (fingerprint.size, len(structure.mask), 3)
    assert not jacobian[:, len(atoms) :].any()


def test_of_equal_entries_that_of_the_first_atom_is_selected(x64: None) -> None:
    """Both ends of a chain have equal rows, with larger entries than those of a distant atom."""
    fingerprint, atoms, sizes = CASES["ties"]
    structure = from_ase(atoms, **sizes)
    entries = np.asarray(jax.jit(fingerprint.descriptor)(neighbors(structure)))
    size = fingerprint.descriptor.size
    np.testing.assert_array_equal(entries[0], entries[2])
    tied = np.flatnonzero(entries[0] > entries[[1, 3]].max(axis=0) + 1e-3)
    assert len(tied) > 1
    first = jnp.zeros((1, size), int)
    expected = np.asarray(single_entries(fingerprint.descriptor, structure, first)[1])[0, tied]
    other = np.asarray(single_entries(fingerprint.descriptor, structure, first + 2)[1])[0, tied]
    assert np.abs(expected - other).max() > 1e-3
    for _, jacobian in both(fingerprint, structure):
        np.testing.assert_allclose(jacobian[tied], expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("per_element", [False, True])
def test_derivatives_are_zero_without_atoms(per_element: bool, x64: None) -> None:
    fingerprint = Fingerprint(replace(TINY, weighted=True), ("max",), per_element=per_element)
    structure = from_ase(random_cluster(1, 6, ("H",)), 7)
    empty = dataclasses.replace(structure, mask=jnp.zeros(7, bool))
    for value, jacobian in both(fingerprint, empty):
        assert not value.any()
        assert not jacobian.any()


@pytest.mark.parametrize(
    ("fingerprint", "atoms"),
    [
        (Fingerprint(TINY, ("max", "mean")), 12),
        (Fingerprint(TINY, ("max", "sorted"), max_atoms=12), 12),
        (Fingerprint(TINY, ("max", "min"), per_element=True), 11),
        (Fingerprint(TINY), 49),
    ],
)
def test_all_entries_are_used_where_they_are_needed(fingerprint: Fingerprint, atoms: int) -> None:
    """For other poolings, for many groups of few atoms, and for many atoms."""
    assert not selected_suffice(fingerprint, from_ase(random_cluster(0, atoms)))


def test_all_entries_are_used_where_neighbours_are_images() -> None:
    crystal = random_crystal(0, 12)
    structure = from_ase(crystal, bounds=Bounds(30, counts=(3, 3, 3)))
    assert not selected_suffice(Fingerprint(TINY), structure)
