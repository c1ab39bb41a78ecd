"""Duplicates: the bounds hold, and the pairs that they rule out don't match."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.stats import ortho_group

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.structures import duplicates as duplicates_module
from jaxrecon.structures.collection import duplicates
from jaxrecon.structures.duplicates import Library
from jaxrecon.structures.matching import rmsd


def copies(formula: str, widths: list[float], seed: int) -> list[Atoms]:
    """Copies of two clusters: rattled, turned or mirrored, moved, and reordered."""
    random, found = np.random.default_rng(seed), []
    for base in (random_cluster(formula, seed), random_cluster(formula, seed + 100)):
        for width in widths:
            atoms = base.copy()
            atoms.positions += random.normal(0.0, width, atoms.positions.shape)
            atoms.positions = atoms.positions @ ortho_group.rvs(3, random_state=random) + 5.0
            found.append(atoms[random.permutation(len(atoms))])
    return found


@pytest.mark.parametrize("formula", ["Pt6", "Pt3Cu3", "Pt2Cu2Au2"])
def test_both_bounds_hold_and_the_second_is_the_higher(formula: str) -> None:
    structures = copies(formula, [0.0, 0.02, 0.08, 0.3], seed=3)
    tight = []
    for a in structures:
        for b in structures:
            (rows, flat), (others, other) = (
                duplicates_module._distances(a),
                duplicates_module._distances(b),
            )
            scale = np.sqrt(2.0) * len(a)
            first = np.linalg.norm(flat - other) / scale
            second = duplicates_module._assigned(rows, others) / scale
            true = rmsd(a, b)
            assert first <= second + 1e-9
            assert second <= true + 1e-9
            if 1e-6 < true < 0.2:
                tight.append(second / true)
    # The bounds are high enough to rule pairs out.
    assert np.median(tight) > 0.5


def test_the_bound_is_reached() -> None:
    """For two atoms the difference of the distances is twice the deviation of each atom."""
    a, b = (Atoms("Pt2", [(0, 0, 0), (0, 0, z)]) for z in (2.5, 2.9))
    assert rmsd(a, b) == pytest.approx(0.2)
    (rows, flat), (others, other) = duplicates_module._distances(a), duplicates_module._distances(b)
    scale = np.sqrt(2.0) * len(a)
    assert np.linalg.norm(flat - other) / scale == pytest.approx(0.2)
    assert duplicates_module._assigned(rows, others) / scale == pytest.approx(0.2)


@pytest.mark.parametrize("formula", ["Pt6", "Pt3Cu3"])
def test_as_brute_force_finds_them(formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [atoms for seed in range(3, 6) for atoms in copies(formula, [0.0, 0.03], seed)]
    asked = [atoms for seed in range(4, 7) for atoms in copies(formula, [0.06, 0.15, 0.4], seed)]
    library, calls = Library(known), []

    def counted(a: Atoms, b: Atoms) -> float:
        calls.append(1)
        return rmsd(a, b)

    monkeypatch.setattr(duplicates_module, "rmsd", counted)
    same = 0
    for atoms in asked:
        found = library.find(atoms, 0.12)
        deviations = [rmsd(atoms, other) for other in known]
        assert (found is not None) == (min(deviations) <= 0.12)
        if found is not None:
            same += 1
            assert deviations[found] <= 0.12
    assert 3 <= same < len(asked)
    assert len(calls) < 3 * same


def test_duplicates_are_those_of_the_first_one() -> None:
    first, second = (random_cluster("Pt5", seed) for seed in (0, 1))
    mirrored = Atoms("Pt5", first.positions[::-1] * [1.0, 1.0, -1.0] + 2.0)
    given = [first, mirrored, second, mirrored, second]
    assert duplicates(given) == [None, 0, None, 0, 2]
    near, far = first.copy(), first.copy()
    near.positions[0] += [0.08, 0.0, 0.0]
    far.positions[0] += [0.12, 0.0, 0.0]
    # The last one is more similar to the second, which is itself a duplicate.
    assert duplicates([first, near, far], tolerance=0.06) == [None, 0, 0]
    assert duplicates([]) == []
    assert Library().find(first) is None


def test_the_tolerance_counts_as_the_same() -> None:
    a, b = (Atoms("Pt2", [(0, 0, 0), (0, 0, z)]) for z in (2.5, 2.75))
    deviation = rmsd(a, b)
    assert Library([a]).find(b, deviation + 1e-6) == 0
    assert Library([a]).find(b, deviation - 1e-6) is None


def test_what_is_not_comparable_is_refused() -> None:
    library = Library([random_cluster("Pt3", 0)])
    with pytest.raises(ValueError, match="one composition, got Pt3 and CuPt2"):
        library.find(random_cluster("Pt2Cu", 0))
    with pytest.raises(ValueError, match="one composition, got Pt3 and Pt4"):
        library.add(random_cluster("Pt4", 0))
    with pytest.raises(ValueError, match=r"free structures, got pbc \[True, True, True\]"):
        Library([bulk("Pt")])
    assert len(library) == 1
