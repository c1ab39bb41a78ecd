"""Structures in the forms in which users have them: of ASE, of pymatgen, in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from pymatgen.core import Lattice, Molecule, Structure

import jaxrecon
from jaxrecon import Fingerprint, featurize, from_ase
from jaxrecon.structures.compare import compare
from jaxrecon.structures.inputs import as_atoms, as_structures

FINGERPRINT = Fingerprint.preset("crystal", "NaCl", r_cut=4.0)


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64)


def of_pymatgen(atoms: Atoms, species: list[Any] | None = None) -> Structure:
    return Structure(atoms.cell.array, species or list(atoms.symbols), atoms.get_scaled_positions())


def test_all_forms_have_one_fingerprint(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "salt.extxyz", salt())
    (tmp_path / "folder").mkdir()
    ase.io.write(tmp_path / "folder" / "salt.cif", salt())
    expected = featurize(salt(), FINGERPRINT)
    for form in (
        [salt()],
        (salt(),),
        of_pymatgen(salt()),
        [of_pymatgen(salt())],
        tmp_path / "salt.extxyz",
        str(tmp_path / "salt.extxyz"),
        [tmp_path / "salt.extxyz"],
        tmp_path / "folder",
        from_ase(salt()),
    ):
        np.testing.assert_allclose(featurize(form, FINGERPRINT), expected, atol=1e-5)
    mixed = [salt(), of_pymatgen(salt()), tmp_path / "salt.extxyz"]
    assert featurize(mixed, FINGERPRINT).shape == (3, FINGERPRINT.size)
    assert jaxrecon.batch(mixed, FINGERPRINT).positions.shape[0] == 3
    assert [len(indices) for indices, _ in jaxrecon.batches(mixed, FINGERPRINT)] == [3]
    assert all(pair.tight for pair in compare(mixed, [salt()] * 3))


def test_structures_of_pymatgen() -> None:
    crystal = as_atoms(of_pymatgen(salt()))
    np.testing.assert_allclose(crystal.cell.array, salt().cell.array)
    assert jaxrecon.rmsd(crystal, salt()) < 1e-12
    assert crystal.pbc.all()
    water = molecule("H2O")
    free = as_atoms(Molecule(list(water.symbols), water.positions))
    assert str(free.symbols) == "OH2"
    assert not free.pbc.any()
    slab = Structure(Lattice.cubic(4.0, pbc=(True, True, False)), ["Na"], [[0, 0, 0]])
    assert as_atoms(slab).pbc.tolist() == [True, True, False]
    charged = of_pymatgen(salt(), ["Na+", "Cl-"])
    assert str(as_atoms(charged).symbols) == "NaCl"
    assert str(as_atoms(of_pymatgen(salt(), ["D", "Cl"])).symbols) == "HCl"
    half = of_pymatgen(salt(), [{"Na": 0.5}, "Cl"])
    with pytest.raises(ValueError, match=r"full occupancies, got Na:0\.5.*OrderDisordered"):
        as_atoms(half)
    dummy = of_pymatgen(salt(), ["X", "Cl"])
    with pytest.raises(ValueError, match="expected a structure of chemical elements, got 'X'"):
        as_atoms(dummy)


def test_structures_of_ase_stay_the_same_objects() -> None:
    items = [molecule("H2O"), molecule("CO")]
    assert all(a is b for a, b in zip(as_structures(items), items, strict=True))
    assert as_structures([]) == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: featurize(3, FINGERPRINT), "as ASE Atoms, pymatgen Structures or names of files"),
        (lambda: featurize([1.0], FINGERPRINT), "expected a structure as ASE Atoms .*, got float"),
        (lambda: featurize({"a": salt()}, FINGERPRINT), "expected structures as .*, got dict"),
        (lambda: featurize("none.xyz", FINGERPRINT), "expected a file of structures, got none.xyz"),
        (lambda: FINGERPRINT(salt()), "a structure of jaxrecon, got Atoms: jaxrecon.featurize"),
        (lambda: from_ase("salt.cif"), "expected ASE Atoms, got str: jaxrecon.featurize also"),
        (lambda: from_ase(of_pymatgen(salt())), "expected ASE Atoms, got Structure"),
        (lambda: jaxrecon.rmsd("a.xyz", "b.xyz"), "the name of a file, 'a.xyz': read it by"),
        (
            lambda: jaxrecon.reconstruct("salt.npz", FINGERPRINT, symbols="NaCl"),
            "numbers, got str: use jaxrecon.descriptors.io.read_fingerprints",
        ),
        (
            lambda: jaxrecon.reconstruct(salt(), FINGERPRINT, symbols="NaCl"),
            "numbers, got Atoms: use .* jaxrecon.featurize for structures",
        ),
        (
            lambda: jaxrecon.train("set.npz"),
            "expected a labelled set, got str: use .*read_labelled",
        ),
        (
            lambda: jaxrecon.train([salt()]),
            "expected a labelled set, got list: use .*LabelledSet.of",
        ),
    ],
)
def test_elsewhere_the_remedy_is_named(call: Any, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call()
