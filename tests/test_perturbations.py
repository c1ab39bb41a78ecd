"""Perturbed copies: their kinds and sizes, smallest distances, and seeds."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.cluster import Icosahedron
from ase.data import covalent_radii
from hypothesis import given
from strategies import lattices, random_cluster, seeds

from jaxrecon.datasets.perturbations import perturbed

COPIES = 400


def balanced(name: str) -> list[tuple[Atoms, Atoms]]:
    """A cluster without close contacts, paired with its copies of one kind."""
    parent = Icosahedron("Pt", 2)
    parent.pbc = False
    parent.calc = None
    copies = [perturbed(parent, seed) for seed in range(COPIES)]
    return [(parent, copy) for copy in copies if copy.info["kind"] == name]


def closest(atoms: Atoms) -> float:
    radii = covalent_radii[atoms.numbers]
    ratios = atoms.get_all_distances(mic=bool(atoms.pbc.any())) / (radii[:, None] + radii[None, :])
    return ratios[np.triu_indices(len(atoms), 1)].min(initial=np.inf)


@given(seed=seeds)
def test_a_pure_function_that_leaves_its_argument_alone(seed):
    parent = random_cluster(seed, 8)
    before = parent.positions.copy()
    copies = [perturbed(parent, seed) for _ in range(2)]
    assert copies[0].positions.tobytes() == copies[1].positions.tobytes()
    assert copies[0].info == copies[1].info
    assert parent.positions.tobytes() == before.tobytes()
    assert parent.info == {}
    assert not np.allclose(copies[0].positions, before)
    assert copies[0].numbers.tolist() == parent.numbers.tolist()


@given(seed=seeds)
def test_atoms_keep_their_distance(seed):
    # Some parents have closer pairs already, which may not come closer still.
    parent = random_cluster(seed, 12)
    assert closest(perturbed(parent, seed)) >= min(0.7, closest(parent))


def test_atoms_keep_their_distance_across_a_face():
    parent = Atoms("Pt2", [[0, 0, 0], [0, 0, 5.8]], cell=[8, 8, 8], pbc=True)
    assert min(closest(perturbed(parent, seed)) for seed in range(100)) >= 0.7


def test_all_kinds_are_as_frequent():
    counts = [len(balanced(name)) for name in ("rattled", "displaced", "strained")]
    assert sum(counts) == COPIES
    assert min(counts) > COPIES / 4


def test_rattles_are_log_uniform():
    sigmas = [np.std(copy.positions - parent.positions) for parent, copy in balanced("rattled")]
    assert min(sigmas) > 0.013
    assert max(sigmas) < 0.4
    # Half of them are below the geometric mean of 0.02 and 0.3.
    np.testing.assert_allclose(np.median(sigmas), np.sqrt(0.02 * 0.3), rtol=0.25)


def test_one_atom_is_displaced_up_to_1_5_angstrom():
    lengths = []
    for parent, copy in balanced("displaced"):
        moves = np.linalg.norm(copy.positions - parent.positions, axis=1)
        assert np.count_nonzero(moves) == 1
        lengths.append(moves.max())
    assert max(lengths) <= 1.5
    assert max(lengths) > 1.2
    assert min(lengths) < 0.3


def test_strains_are_symmetric_and_up_to_8_percent():
    largest = 0.0
    for parent, copy in balanced("strained"):
        strain = np.linalg.lstsq(parent.positions, copy.positions, rcond=None)[0] - np.eye(3)
        np.testing.assert_allclose(parent.positions @ (strain + np.eye(3)), copy.positions)
        np.testing.assert_allclose(strain, strain.T, atol=1e-12)
        largest = max(largest, np.abs(strain).max())
    assert 0.07 < largest <= 0.08


@given(atoms=lattices())
def test_a_cell_is_strained_with_its_atoms(atoms):
    copy = next(
        candidate
        for candidate in (perturbed(atoms, seed) for seed in range(100))
        if candidate.info["kind"] == "strained"
    )
    assert copy.pbc.tolist() == atoms.pbc.tolist()
    if atoms.cell.rank == 3:
        np.testing.assert_allclose(
            copy.get_scaled_positions(wrap=False),
            atoms.get_scaled_positions(wrap=False),
            atol=1e-9,
        )
        assert not np.allclose(copy.cell, atoms.cell)


@pytest.mark.parametrize("atoms", [Atoms("Pt"), molecule("H2"), bulk("Pt")])
def test_small_structures(atoms):
    copies = [perturbed(atoms, seed) for seed in range(30)]
    assert all(np.isfinite(copy.positions).all() for copy in copies)
    assert {copy.info["kind"] for copy in copies} == {"rattled", "displaced", "strained"}
