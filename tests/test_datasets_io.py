"""Files of other programs read as labelled sets, and messages for those that can't be read."""

from __future__ import annotations

import io as streams
import re
import tarfile
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from jaxrecon import Fingerprint, featurize
from jaxrecon.datasets.io import read_labelled

MODES = {"tar": "w:", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def with_energy(atoms: Atoms, energy: float, **info: object) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info.update(info)
    return atoms


def folder(place: Path, targets: str | None = "one,-1.5\ntwo,-2.5\n") -> Path:
    """Three structures in two formats, one of them without a target, and the table."""
    place.mkdir(parents=True, exist_ok=True)
    ase.io.write(place / "one.json", molecule("H2O"))
    ase.io.write(place / "two.xyz", molecule("CH4"))
    ase.io.write(place / "three.json", molecule("H2"))
    (place / "two.txt").write_text("notes")
    if targets is not None:
        (place / "targets.csv").write_text(targets, encoding="utf-8")
    return place


def packed(source: Path, path: Path, inside: str = "") -> Path:
    """An archive of the files of a folder."""
    files = sorted(source.iterdir())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, inside + file.name)
        return path
    with tarfile.open(path, MODES[path.name.split(".", 1)[1]]) as archive:
        for file in files:
            archive.add(file, inside + file.name)
    return path


def one_line(error: pytest.ExceptionInfo[ValueError]) -> bool:
    return "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["set.extxyz", "set.traj", "set.json"])
def test_formats_of_ase(tmp_path, name):
    crystal = bulk("Cu")
    crystal.calc = EMT()
    energy, forces = crystal.get_potential_energy(), crystal.get_forces()
    ase.io.write(tmp_path / name, [crystal, molecule("H2O")])
    found = read_labelled(tmp_path / name)
    np.testing.assert_allclose(found.energies, [energy, np.nan], atol=1e-8)
    np.testing.assert_allclose(found.forces[0], forces, atol=1e-7)
    assert np.isnan(found.forces[1]).all()
    assert np.isnan(found.formation_energies).all()
    assert [str(atoms.symbols) for atoms in found.structures] == ["Cu", "OH2"]
    assert found.structures[0].pbc.all()
    assert found.structures[0].calc is None
    assert found.trajectories.tolist() == [0, 1]


def test_structures_without_a_trajectory_leave_those_of_the_others(tmp_path):
    frames = [molecule("H2") for _ in range(6)]
    for atoms, number in zip(frames, (4, None, 4, 7, None, 7), strict=True):
        if number is not None:
            atoms.info["trajectory"] = number
    ase.io.write(tmp_path / "set.extxyz", frames)
    found = read_labelled(tmp_path / "set.extxyz").trajectories.tolist()
    assert (found[0], found[2], found[3], found[5]) == (4, 4, 7, 7)
    assert len(set(found)) == 4
    assert "trajectory" not in read_labelled(tmp_path / "set.extxyz").columns


def test_info_becomes_columns(tmp_path):
    frames = [molecule("H2"), molecule("O2"), molecule("N2")]
    frames[0].info = {"gap": 1.5, "id": 7, "good": True, "source": "here", "box": np.eye(3)}
    frames[1].info = {"gap": 2, "id": 8, "good": False, "source": "there", "some": 1}
    frames[2].info = {"id": 9, "good": True, "dipole": [1.0, 2.0], "mixed": "a"}
    frames[1].info["mixed"] = 3
    ase.io.write(tmp_path / "set.extxyz", frames)
    assert read_labelled(tmp_path / "set.extxyz").forces is None
    found = read_labelled(tmp_path / "set.extxyz").columns
    assert set(found) == {"gap", "id", "good", "source", "some"}
    np.testing.assert_array_equal(found["gap"], [1.5, 2.0, np.nan])
    np.testing.assert_array_equal(found["some"], [np.nan, 1.0, np.nan])
    assert found["id"].tolist() == [7, 8, 9]
    assert found["id"].dtype.kind == "i"
    assert found["good"].tolist() == [True, False, True]
    assert found["source"].tolist() == ["here", "there", ""]


def test_energies_of_another_name_and_formation_energies(tmp_path):
    frames = [molecule("H2"), molecule("H2O")]
    for atoms, energy in zip(frames, (-7.0, -14.0), strict=True):
        atoms.info["dft"] = energy
    ase.io.write(tmp_path / "set.extxyz", frames)
    found = read_labelled(tmp_path / "set.extxyz", energy_key="dft", bulk={"H": -3.0, "O": -5.0})
    assert found.energies.tolist() == [-7.0, -14.0]
    np.testing.assert_allclose(found.formation_energies, [-0.5, -1.0])
    assert found.columns == {}
    with pytest.raises(ValueError, match=re.escape("expected energies of the bulk of ['O']")):
        read_labelled(tmp_path / "set.extxyz", energy_key="dft", bulk={"H": -3.0})
    with pytest.raises(ValueError, match=r"expected a number 'pbe' of structure 0 of .*, got none"):
        read_labelled(tmp_path / "set.extxyz", energy_key="pbe")


def test_database(tmp_path):
    with connect(tmp_path / "set.db") as database:
        database.write(
            with_energy(molecule("H2O"), -14.0), trajectory=3, kind="minimum", e_form=1.5
        )
        database.write(molecule("O2"), trajectory=4, kind="rattled", step=2)
    found = read_labelled(tmp_path / "set.db")
    np.testing.assert_array_equal(found.energies, [-14.0, np.nan])
    np.testing.assert_array_equal(found.formation_energies, [1.5, np.nan])
    assert found.trajectories.tolist() == [3, 4]
    assert found.kinds == ["minimum", "rattled"]
    np.testing.assert_array_equal(found.columns["step"], [np.nan, 2.0])


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\x00" + bytes(100)])
def test_files_that_are_no_database(tmp_path, content):
    (tmp_path / "set.db").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"expected (a database that ASE can read|at least one st)"
    ):
        read_labelled(tmp_path / "set.db")
    with pytest.raises(FileNotFoundError, match="expected a database of ASE, got"):
        read_labelled(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_pairs_of_tables(tmp_path):
    (tmp_path / "pt_x.csv").write_text("1,2,3\n4,5,6\n")
    (tmp_path / "pt_y.csv").write_text("0.5\n1.5\n")
    found = read_labelled(tmp_path / "pt_x.csv")
    assert found.structures is None
    assert found.fingerprints.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert found.formation_energies.tolist() == [0.5, 1.5]
    assert np.isnan(found.energies).all()
    (tmp_path / "other.csv").write_text("-1\n-2\n")
    found = read_labelled(tmp_path / "pt_x.csv", targets=tmp_path / "other.csv", quantity="energy")
    assert found.energies.tolist() == [-1.0, -2.0]
    assert np.isnan(found.formation_energies).all()
    with pytest.raises(ValueError, match="expected structures to refer to the bulk, got none in"):
        read_labelled(tmp_path / "pt_x.csv", bulk={"Pt": -6.1})


def test_pairs_of_tables_that_do_not_fit(tmp_path):
    path = tmp_path / "pt_x.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(FileNotFoundError, match=r"of the fingerprints in .*pt_x.csv, got .*pt_y"):
        read_labelled(path)
    for text in ("1\n", "1,2\n3,4\n"):
        (tmp_path / "pt_y.csv").write_text(text)
        with pytest.raises(ValueError, match="expected 2 rows of one number in"):
            read_labelled(path)
    (tmp_path / "pt_y.csv").write_text("1\nx\n")
    with pytest.raises(ValueError, match="expected a number in row 1"):
        read_labelled(path)
    path.rename(tmp_path / "pt.csv")
    with pytest.raises(ValueError, match=re.escape("fingerprints like name_x.csv, got")):
        read_labelled(tmp_path / "pt.csv")
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        read_labelled(path)


@pytest.mark.parametrize("inside", ["", "deep/data/"])
@pytest.mark.parametrize("ending", [*MODES, "zip", "folder"])
def test_folders_and_archives(tmp_path, ending, inside):
    source = folder(tmp_path / "source" / inside)
    if ending == "folder":
        path = tmp_path / "source"
    else:
        path = packed(source, tmp_path / f"set.{ending}", inside)
    found = read_labelled(path)
    assert found.formation_energies.tolist() == [-1.5, -2.5]
    assert [str(atoms.symbols) for atoms in found.structures] == ["OH2", "CH4"]
    np.testing.assert_allclose(found.structures[0].positions, molecule("H2O").positions)
    assert found.columns["name"].tolist() == ["one", "two"]
    assert read_labelled(path, quantity="energy").energies.tolist() == [-1.5, -2.5]


def test_tables_with_more_numbers_titles_and_endings(tmp_path):
    path = folder(tmp_path / "set", "\ufefftwo.xyz, 1 ,2\n\n one,3,4\r\n")
    found = read_labelled(path)
    assert found.formation_energies.tolist() == [1.0, 3.0]
    assert found.columns["target_1"].tolist() == [2.0, 4.0]
    found = read_labelled(folder(path, "id,energy,gap\ntwo,1,2\n"), quantity="energy")
    assert found.energies.tolist() == [1.0]
    assert found.columns["gap"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "expected one targets.csv in PATH, got 0"),
        ("one,1\n", "expected one targets.csv in PATH, got 2"),
        ("", "expected lines name,number in targets.csv of PATH, got none"),
        ("one\n", "expected lines name,number in targets.csv of PATH, got none"),
        (
            "one,1\ntwo,x\n",
            "a name and 1 numbers in every line of targets.csv of PATH, got 'two,x'",
        ),
        ("one,1\ntwo\n", "a name and 1 numbers in every line of targets.csv of PATH, got 'two'"),
        ("one,1\nfour,2\n", "one file of the structure 'four' of targets.csv in PATH, got 0"),
        ("bad,1\n", "expected a structure that ASE can read as 'bad' of PATH, got none (JSON"),
        ("many,1\n", "expected one structure in 'many' of PATH, got 2"),
        ("twin,1\n", "one file of the structure 'twin' of targets.csv in PATH, got 2"),
    ],
)
def test_folders_that_are_not_whole(tmp_path, targets, message):
    path = folder(tmp_path / "set", targets)
    (path / "bad.json").write_text("{")
    ase.io.write(path / "many.xyz", [molecule("H2"), molecule("O2")])
    ase.io.write(path / "twin.json", molecule("H2"))
    ase.io.write(path / "twin.cif", bulk("Pt"))
    if targets == "one,1\n":
        folder(path / "again")
    archive = packed(path, tmp_path / "set.tar")
    # A folder without a table is one of structures.
    for source in (path, archive) if targets is not None else (archive,):
        wanted = re.escape(message.replace("PATH", str(source)))
        with pytest.raises(ValueError, match=wanted) as error:
            read_labelled(source)
        assert one_line(error)


@pytest.mark.parametrize("name", ["/etc/one.json", "../one.json", "data/../../one.json"])
@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_names_that_leave_the_archive_are_refused(tmp_path, name, ending):
    path = packed(folder(tmp_path / "source"), tmp_path / f"set.{ending}")
    before = sorted(tmp_path.rglob("*"))
    if ending == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, "{}")
    else:
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, streams.BytesIO(b"{}"))
    with pytest.raises(ValueError, match=f"^expected names within the archive .*, got {name}"):
        read_labelled(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_archives_are_refused(tmp_path, kind):
    path = packed(folder(tmp_path / "source"), tmp_path / "set.tar")
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("four.json")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(
        ValueError, match=r"^expected plain files in .*, got four.json, which is none"
    ):
        read_labelled(path)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "zip"])
def test_damaged_archives_are_refused(tmp_path, ending):
    whole = packed(folder(tmp_path / "source"), tmp_path / f"set.{ending}").read_bytes()
    path = tmp_path / f"half.{ending}"
    for content in (b"hello", whole[: 700 if ending == "tar" else len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"expected an archive of structures, got .*half"):
            read_labelled(path)
    with pytest.raises(FileNotFoundError, match="expected a folder or an archive of structures"):
        read_labelled(tmp_path / f"none.{ending}")


def test_other_quantities_are_refused(unchecked, tmp_path):
    with pytest.raises(ValueError, match=re.escape("among ('energy', 'e_form'), got 'gap'")):
        read_labelled(tmp_path, quantity="gap")


def test_published_pairs(data):
    found = read_labelled(data / "pt10_fps300_x.csv")
    assert found.fingerprints.shape == (300, 380)
    np.testing.assert_allclose(found.formation_energies[[0, 9]], [3.629, 2.569], atol=5e-4)


def test_published_clusters(data):
    found = read_labelled(data / "pt10_pbe1000.extxyz", energy_key="dft_energy", bulk={"Pt": -6.10})
    assert len(found) == 1000
    np.testing.assert_allclose(found.formation_energies, found.energies / 10 + 6.10)
    assert 1.7 < found.formation_energies.min() < found.formation_energies.max() < 2.6
    values = featurize(found.structures[:2], Fingerprint.preset("default", ["Pt"]))
    assert np.isfinite(values).all()
