"""Candidates by substitution into prototypes, and their strained copies."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from pymatgen.core import Structure

from jaxrecon.images import encode, substitution
from jaxrecon.structures.compare import match


def rock_salt(lattice: float = 5.0) -> Structure:
    return Structure.from_ase_atoms(bulk("NaCl", "rocksalt", a=lattice))


@pytest.fixture
def prototypes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rock salt, rutile's composition in a simple cell, and one whose cell is too long."""
    titania = Structure(
        np.diag([4.6, 4.6, 2.96]),
        ["Ti", "Ti", "O", "O", "O", "O"],
        [
            *([0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.3, 0]),
            *([0.7, 0.7, 0], [0.2, 0.8, 0.5], [0.8, 0.2, 0.5]),
        ],
    )
    long = Structure(np.diag([3.0, 3.0, 30.0]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.1]])
    named = [("rock salt", rock_salt()), ("rutile", titania), ("long", long)]
    monkeypatch.setattr(substitution, "_prototypes", lambda: named)


@pytest.mark.usefixtures("prototypes")
def test_both_elements_take_both_places() -> None:
    found = substitution.candidates("V,O")
    names = [(atoms.info["prototype"], atoms.get_chemical_formula()) for atoms in found]
    assert names == [
        ("rock salt", "OV"),
        ("rock salt", "OV"),
        ("rutile", "O4V2"),
        ("rutile", "O2V4"),
    ]
    assert [atoms.info["trajectory"] for atoms in found] == [0, 1, 2, 3]
    # As measured: V-O of VO is 2.05 Angstrom long, and VO2 as rutile has 59 A^3 in its cell.
    assert found[0].get_distance(0, 1, mic=True) == pytest.approx(2.05, rel=0.1)
    assert found[2].get_volume() == pytest.approx(59.0, rel=0.3)


@pytest.mark.usefixtures("prototypes")
def test_known_crystals_are_kept_out() -> None:
    known = [bulk("VO", "rocksalt", a=4.4), bulk("NaCl", "rocksalt", a=5.64)]
    found = substitution.candidates(["V", "O"], known=known)
    assert [atoms.info["prototype"] for atoms in found] == ["rutile", "rutile"]


def test_copies_are_strained_and_rattled() -> None:
    atoms = bulk("VO", "rocksalt", a=4.2)
    copies = substitution.variants(atoms, 40, seed=3)
    assert [copy.info["variant"] for copy in copies] == list(range(1, 41))
    strains = np.array([np.linalg.solve(atoms.cell.array, copy.cell.array) for copy in copies])
    strains -= np.eye(3)
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    diagonal, beside = strains[:, range(3), range(3)], strains[:, [0, 0, 1], [1, 2, 2]]
    assert diagonal.std() == pytest.approx(0.03, rel=0.2)
    assert beside.std() == pytest.approx(0.015, rel=0.2)
    rattles = np.array(
        [
            copy.positions - atoms.get_scaled_positions(wrap=False) @ copy.cell.array
            for copy in copies
        ]
    )
    assert rattles.std() == pytest.approx(0.05, rel=0.15)
    again = substitution.variants(atoms, 2, seed=3)
    assert np.array_equal(again[1].positions, copies[1].positions)
    assert not np.array_equal(substitution.variants(atoms, 1)[0].positions, copies[0].positions)
    assert atoms.info == {}


def test_other_settings_are_the_same_crystal(monkeypatch: pytest.MonkeyPatch) -> None:
    """StructureMatcher, which takes mirror images as one, and the handedness of the vectors."""
    monkeypatch.setattr(substitution, "STRAIN", 0.0)
    monkeypatch.setattr(substitution, "RATTLE", 0.0)
    atoms = Atoms("VO2", cell=[3.0, 3.4, 4.5, 80, 95, 105], pbc=True)
    atoms.set_scaled_positions([(0, 0, 0), (0.5, 0.5, 0.15), (0.4, 0.1, 0.5)])
    copies = substitution.variants(atoms, 24, seed=2, settings=True)
    assert all(match(atoms, copy).rmsd < 1e-6 for copy in copies)
    assert all(np.linalg.det(copy.cell.array) > 0.0 for copy in copies)
    lengths = {tuple(copy.cell.lengths().round(6)) for copy in copies}
    assert len(lengths) == 6
    fractions = np.array([copy.get_scaled_positions(wrap=False) for copy in copies])
    assert 0.0 <= fractions.min() <= fractions.max() < 1.0
    assert len(np.unique(fractions[:, 0].round(6), axis=0)) == 24
    images = encode(copies, elements="V,O")
    assert max(np.abs(one.basis - images[0].basis).max() for one in images[1:]) > 0.5


@pytest.mark.usefixtures("prototypes")
def test_a_set_has_candidates_and_their_copies() -> None:
    found = substitution.build("V,O", copies=2, seed=1)
    assert [atoms.info["variant"] for atoms in found] == [0, 1, 2] * 4
    assert [atoms.info["trajectory"] for atoms in found] == sorted([0, 1, 2, 3] * 3)
    assert len(encode(found, elements="V,O")) == 12


@pytest.mark.usefixtures("prototypes")
def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="expected two elements like 'V,O', got V"):
        substitution.candidates("V")
    with pytest.raises(ValueError, match="expected known crystals, periodic"):
        substitution.candidates("V,O", known=[molecule("H2O")])
    row = Atoms("O", cell=[25, 3, 3], pbc=True)
    with pytest.raises(ValueError, match="whose strained copies fit into the box"):
        substitution.variants(row, 1)


@pytest.mark.slow
def test_vanadium_oxides_are_as_many_as_stated() -> None:
    """The number depends on the prototypes that pymatgen has."""
    found = substitution.candidates("V,O")
    assert len(found) == 298
    assert max(map(len, found)) == 20
    assert max(atoms.cell.lengths().max() for atoms in found) <= 10.0
    assert not match(found[0], found[-1]).loose
