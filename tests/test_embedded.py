"""The clusters that come with the package."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase.data import covalent_radii

from jaxrecon.datasets import load
from jaxrecon.datasets.io import read_labelled, write_labelled


@pytest.fixture(scope="module")
def whole():
    return load("pt10")


@pytest.fixture(scope="module")
def references():
    return load("pt10_pbe")


def test_sizes_elements_and_energies(whole, references):
    assert (len(whole), len(references)) == (10161, 300)
    for labelled in (whole, references):
        assert {atoms.get_chemical_formula() for atoms in labelled.structures} == {"Pt10"}
        distances = [atoms.get_all_distances() for atoms in labelled.structures]
        pairs = np.triu_indices(10, 1)
        shortest = min(between[pairs].min() for between in distances)
        assert shortest / (2 * covalent_radii[78]) > 0.7 - 1e-3
        assert np.isfinite(labelled.energies).all()
        assert np.isfinite(labelled.forces).all()
        bulk = labelled.metadata["pbe"]["bulk_energies"]["Pt"]
        e_forms = labelled.energies / 10 - bulk
        np.testing.assert_allclose(labelled.formation_energies, e_forms, atol=1e-9)
        assert not any(atoms.pbc.any() for atoms in labelled.structures)
    assert 1.85 < whole.formation_energies.min() < 1.88
    assert 3.69 < whole.formation_energies.max() <= 3.7


def test_references_are_spread_and_low(references):
    parts, counts = np.unique(references.columns["part"], return_counts=True)
    expected = {"furthest": 150, "low": 50, "relaxed": 50, "guided": 50}
    assert dict(zip(parts.tolist(), counts.tolist(), strict=True)) == expected
    copies = np.isin(references.kinds, ["rattled", "strained", "displaced"])
    assert np.sum((references.formation_energies < 2.2) | copies) >= 150


def test_pbe_energies_are_the_same_in_both_sets(whole, references):
    known = np.isfinite(whole.columns["e_form_pbe"])
    assert known.sum() == np.sum(references.formation_energies <= 3.7)
    own = {
        atoms.positions.astype(np.float32).tobytes(): energy
        for atoms, energy in zip(references.structures, references.formation_energies, strict=True)
    }
    for row in np.flatnonzero(known):
        key = whole.structures[row].positions.astype(np.float32).tobytes()
        assert own[key] == pytest.approx(whole.columns["e_form_pbe"][row], abs=1e-12)
        assert whole.formation_energies[row] == pytest.approx(own[key], abs=0.01)


def test_forces_are_derivatives_of_energies(references):
    """Along relaxations by PBE, from each step to the next: the trapezoidal rule."""
    steps = np.flatnonzero(references.columns["part"] == "relaxed")
    work, change = [], []
    for pair in itertools.pairwise(steps):
        first, second = (references.structures[row] for row in pair)
        if len(set(references.trajectories[list(pair)])) == 1:
            forces = np.mean([references.forces[row] for row in pair], axis=0)
            work.append(-np.sum(forces * (second.positions - first.positions)))
            change.append(references.energies[pair[1]] - references.energies[pair[0]])
    assert len(work) == 45
    # No closer: forces belong to the free energy, energies are extrapolated to no smearing.
    assert np.corrcoef(work, change)[0, 1] > 0.9
    assert 0.7 < np.polyfit(work, change, 1)[0] < 1.1


def test_names_stand_for_files(tmp_path, monkeypatch, references):
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(
        read_labelled("pt10_pbe").formation_energies, references.formation_energies
    )
    with pytest.raises(FileNotFoundError, match=r"or a set among \['pt10', 'pt10_pbe'\], got pt11"):
        read_labelled("pt11")
    write_labelled(tmp_path / "few.npz", references.select(np.arange(3)))
    (tmp_path / "few.npz").rename(tmp_path / "pt10_pbe")
    with pytest.raises(ValueError, match="pt10_pbe"):
        read_labelled("pt10_pbe")
