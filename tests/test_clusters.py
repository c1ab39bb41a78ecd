"""Random clusters: smallest distances, seeds, and that all shapes occur."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import atomic_numbers, covalent_radii
from ase.optimize import FIRE
from hypothesis import given
from hypothesis import strategies as st

from jaxrecon.datasets import clusters
from jaxrecon.datasets.clusters import random_cluster

SEEDS = range(60)


def closest(atoms) -> float:
    """Smallest distance in units of the sum of the covalent radii."""
    radii = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in atoms.symbols])
    ratios = atoms.get_all_distances() / (radii[:, None] + radii[None, :])
    return ratios[~np.eye(len(atoms), dtype=bool)].min(initial=np.inf)


def widths(atoms) -> np.ndarray:
    """Standard deviations along the principal axes, ascending, in Angstrom."""
    return np.sqrt(np.linalg.eigvalsh(np.cov(atoms.positions.T)).clip(0.0))


@given(
    symbols=st.sampled_from(["Pt", "Pt2", "Pt10", "H8Cs2", "CuAu3", "Pt40"]),
    seed=st.integers(0, 2**32 - 1),
    container=st.sampled_from([None, "ball", "box"]),
    size=st.none() | st.floats(0.05, 4.0),
    least=st.floats(0.0, 1.1),
)
def test_atoms_are_apart_centred_and_decided_by_the_seed(symbols, seed, container, size, least):
    made = random_cluster(symbols, seed, container=container, size=size, least=least)
    again = random_cluster(symbols, seed, container=container, size=size, least=least)
    assert made.positions.tobytes() == again.positions.tobytes()
    assert str(made.symbols) == symbols
    assert not made.pbc.any()
    assert closest(made) >= least
    np.testing.assert_allclose(made.positions.mean(axis=0), 0.0, atol=1e-12)
    assert made.info["container"] == container or container is None
    assert made.info["size"] == size or (size is None and 0.9 <= made.info["size"] <= 2.6)


def test_seeds_differ_and_arguments_change_no_other_choice():
    first, second = random_cluster("Pt10", 0), random_cluster("Pt10", 1)
    assert not np.allclose(first.positions, second.positions)
    given_all = random_cluster("Pt10", 0, **first.info)
    assert given_all.positions.tobytes() == first.positions.tobytes()


def test_balls_are_round_and_as_large_as_asked_for():
    places = np.concatenate(
        [random_cluster("Pt10", seed, container="ball", size=3.0).positions for seed in SEEDS]
    )
    radius = 3.0 * (10 * covalent_radii[78] ** 3 / 0.6) ** (1 / 3)
    # The mean square of a uniform ball, less that of the centre of ten atoms.
    np.testing.assert_allclose((places**2).sum(axis=1).mean(), 0.6 * radius**2 * 0.9, rtol=0.08)
    np.testing.assert_allclose(places.std(axis=0), places.std(), rtol=0.1)


def test_a_container_grows_no_more_than_it_has_to():
    extents = [
        random_cluster("Pt10", seed, container="ball", size=0.05).get_all_distances().max()
        for seed in SEEDS[:20]
    ]
    # Ten spheres of 1.9 Angstrom have their centres within about 5 Angstrom, packed at random.
    assert np.mean(extents) < 5.3


def test_compact_and_dissociated_clusters_chains_and_plates_occur():
    made = [random_cluster("Pt10", seed) for seed in range(400)]
    axes = np.array([widths(atoms) for atoms in made])
    chains = axes[:, 1] < 0.3 * axes[:, 2]
    plates = axes[:, 0] < 0.3 * axes[:, 1]
    sizes = np.array([atoms.info["size"] for atoms in made])
    assert min(chains.sum(), plates.sum()) > 8
    assert min(np.mean(sizes < 1.2), np.mean(sizes > 2.0)) > 0.15
    extents = [atoms.get_all_distances().max() for atoms in made]
    assert max(extents) < 25.0


def test_relaxed_energies_reach_from_compact_to_falling_apart():
    crystal = bulk("Pt")
    crystal.calc = EMT()
    energies = {}
    for size in (0.9, 2.4):
        atoms = random_cluster("Pt10", 3, container="ball", size=size)
        atoms.calc = EMT()
        FIRE(atoms, logfile=None).run(fmax=0.05, steps=200)
        energies[size] = atoms.get_potential_energy() / 10 - crystal.get_potential_energy()
    # EMT is about 1 eV/atom below PBE: 0.8 and 2 eV/atom here are 1.8 and 3 by PBE.
    assert energies[0.9] < 1.0
    assert energies[2.4] > 1.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": "Xx2"}, "expected a chemical formula like 'Pt10' or 'TiO2', got 'Xx2'"),
        ({"size": 0.0}, "expected size > 0, got 0.0"),
        ({"size": float("nan")}, "expected size > 0, got nan"),
        ({"size": float("inf")}, "expected size > 0, got inf"),
        ({"least": -0.1}, "expected least >= 0, got -0.1"),
        ({"container": "tube"}, "expected container 'ball' or 'box', got 'tube'"),
    ],
)
def test_bad_arguments(unchecked, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        random_cluster(**{"symbols": "Pt2", "seed": 0, **arguments})


def test_four_atoms_relax_to_a_tetrahedron():
    distances = clusters.relaxed("Pt4", seed=1).get_all_distances()[np.triu_indices(4, 1)]
    # A tetrahedron, whose bonds are shorter than the 2.77 of the crystal.
    np.testing.assert_allclose(distances, 2.50, atol=0.01)
    with pytest.raises(ValueError, match="expected elements among"):
        clusters.relaxed("Fe4")
