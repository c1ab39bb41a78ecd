"""Files come back as they were written, without positions, and are never partial."""

import json
import os
import re
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxrecon.descriptors.acsf.acsf import ACSF
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import read_fingerprints, write_fingerprints
from jaxrecon.runtime.files import check_output, write_json
from jaxrecon.structures.io import check_format, read_structures, write_structures

SMALL = Fingerprint(ACSF(("H", "O"), r_cut=6.0, g2_eta=(0.5,), g2_r_s=(0.0, 1.5), g5_zeta=()))
WATER = molecule("H2O")
ONES = np.ones((1, SMALL.size))
FINITE = st.floats(allow_nan=False, allow_infinity=False)

# Every example replaces the file of the previous one.
in_one_directory = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def structures(draw: st.DrawFn) -> Atoms:
    """Structures with atoms in any order: free, free in a box, or periodic."""
    symbols = draw(st.lists(st.sampled_from(["H", "O"]), min_size=1, max_size=12))
    axes = [False, True, (True, True, False), (False, False, True)]
    boxed, periodic = draw(st.sampled_from([(False, False), *((True, pbc) for pbc in axes)]))
    shape = draw(arrays(np.float64, (3, 3), elements=st.floats(-0.4, 0.4)))
    return Atoms(
        symbols,
        np.zeros((len(symbols), 3)),
        cell=4.0 * np.eye(3) + shape if boxed else None,
        pbc=periodic,
    )


def save(path: Path, **changes: object) -> Path:
    """An intact file of one water molecule, with some members changed or (None) left out."""
    write_fingerprints(path, ONES, SMALL, [WATER])
    with np.load(path) as archive:
        content = {**archive, **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@in_one_directory
@given(st.lists(structures(), min_size=1, max_size=4), st.data())
def test_npz_returns_what_was_written(tmp_path, frames, data):
    values = data.draw(arrays(np.float64, (len(frames), SMALL.size), elements=FINITE))
    write_fingerprints(tmp_path / "fp.npz", values, SMALL, frames)
    file = read_fingerprints(tmp_path / "fp.npz")
    assert file.values.tobytes() == values.tobytes()
    assert file.fingerprint == SMALL
    assert file.formulas == [str(atoms.symbols) for atoms in frames]
    assert file.cells is not None
    assert file.pbc == [tuple(atoms.pbc.tolist()) for atoms in frames]
    for cell, atoms in zip(file.cells, frames, strict=True):
        if atoms.pbc.any():
            np.testing.assert_array_equal(cell, atoms.cell.array)
        else:
            assert cell is None


def test_npz_never_has_positions(tmp_path):
    moved = WATER.copy()
    moved.rattle(0.5, seed=1)
    write_fingerprints(tmp_path / "water.npz", ONES, SMALL, [WATER])
    write_fingerprints(tmp_path / "moved.npz", ONES, SMALL, [moved])
    with np.load(tmp_path / "water.npz") as first, np.load(tmp_path / "moved.npz") as second:
        assert set(first) == {"version", "values", "fingerprint", "formulas", "cells", "pbc"}
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize("name", ["fp.csv", "fp.npy"])
def test_tables_and_arrays_have_the_numbers_alone(tmp_path, name):
    values = np.random.default_rng(0).normal(size=(2, SMALL.size))
    write_fingerprints(tmp_path / name, values, SMALL)
    file = read_fingerprints(tmp_path / name)
    assert (file.values.tobytes(), file.fingerprint) == (values.tobytes(), None)


def test_npz_without_structures_says_so(tmp_path):
    write_fingerprints(tmp_path / "fp.npz", ONES, SMALL)
    file = read_fingerprints(tmp_path / "fp.npz")
    assert (file.fingerprint, file.formulas, file.cells) == (SMALL, None, None)


@in_one_directory
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=FINITE))
def test_csv_returns_what_was_written(tmp_path, values):
    lines = [",".join(map(repr, row)) for row in values.tolist()]
    file = read_fingerprints(write(tmp_path / "fp.csv", "\n".join(lines)))
    assert file.values.tobytes() == values.tobytes()
    assert (file.fingerprint, file.formulas, file.cells) == (None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4",
        "1,2\r\n3,4\r\n",
        "\ufeff1,2\n3,4\n",
        '"max G5[Cl,Na] eta=1",min G2\n 1 , 2e0\n\n  \n3,4\n\n',
    ],
    ids=["plain", "windows", "byte order mark", "names and blank lines"],
)
def test_csv_dialects(tmp_path, text):
    file = read_fingerprints(write(tmp_path / "fp.csv", text))
    assert file.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_first_line_that_counts_the_columns_is_a_header(tmp_path):
    """As pandas writes frames without names. Numbers like them, written as floats, are data."""
    counted = read_fingerprints(write(tmp_path / "fp.csv", "0,1,2\n5,6,7\n"))
    assert counted.values.tolist() == [[5.0, 6.0, 7.0]]
    data = read_fingerprints(write(tmp_path / "fp.csv", "0.0,1.0,2.0\n5,6,7\n"))
    assert data.values.tolist() == [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]
    two = read_fingerprints(write(tmp_path / "fp.csv", "0,1\n5,6\n"))
    assert two.values.tolist() == [[0.0, 1.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3," + "x" * 999, "column 1 of FILE, got 'xxxxxxxxxxxxxxxxxx ... xxxxxxxxxxxxxxxxx'"),
        ("a,b\n1,2\n3,x\n", "row 1 (line 3), column 1 of FILE, got 'x'"),
        ("1,2\n3,\n", "expected finite numbers, got nan in row 1, column 1 of FILE"),
        ("1,2\n,\n5,6\n", "expected finite numbers, got nan in row 1, column 0 of FILE"),
        ("NA,N/A\n5,6\n", "expected finite numbers, got nan in row 0, column 0 of FILE"),
        (",\n5,6\n", "expected finite numbers, got nan in row 0, column 0 of FILE"),
        ("a,1\n5,6\n", "expected a number in row 0 (line 1), column 0 of FILE, got 'a'"),
        (",0,1\n0,5,6\n", "expected fingerprints without an index in FILE, got a column of one"),
        ("1e0 2\n3 4\n", "expected commas between the numbers in row 0 (line 1) of FILE, got b"),
        ("0,1,2\n", "expected lines of comma-separated numbers in FILE, got none"),
        ("1,2\n3;4,5\n", "row 1 (line 2), column 0 of FILE, got '3;4'"),
        ("1,2\n3\n", "expected columns 0-1 in row 1 (line 2) of FILE, got columns 0-0"),
        ("1,2\n3,4,5\n", "expected columns 0-1 in row 1 (line 2) of FILE, got columns 0-2"),
        ("1,2\n3,nan\n", "expected finite numbers, got nan in row 1, column 1 of FILE"),
        ("inf,2\n", "expected finite numbers, got inf in row 0, column 0 of FILE"),
        ("", "expected lines of comma-separated numbers in FILE, got none"),
        ("a,b\n\n", "expected lines of comma-separated numbers in FILE, got none"),
        (b"\xff\xfe1,2", "expected lines of comma-separated numbers in FILE, got Unicode"),
    ],
)
def test_csv_errors_name_the_place(tmp_path, text, message):
    path = write(tmp_path / "fp.csv", text)
    with pytest.raises(ValueError, match=re.escape(message.replace("FILE", str(path)))):
        read_fingerprints(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "expected version 2 of the format"),
        ({"values": None}, "without ['values']"),
        ({"version": None, "fingerprint": None}, "without ['fingerprint', 'version']"),
        ({"pbc": None}, "without ['pbc']"),
        ({"values": np.ones((1, 3))}, "with values of shape (1, 3)"),
        ({"values": np.full((1, SMALL.size), "a")}, "and type <U1"),
        ({"values": np.ones((0, SMALL.size))}, "expected at least one row of numbers"),
        ({"values": np.full((1, SMALL.size), np.nan)}, "got nan in row 0, column 0"),
        ({"formulas": np.array(["H2O", "H2O"])}, "with formulas of shape (2,)"),
        ({"cells": np.ones((1, 3))}, "with cells of shape (1, 3)"),
        ({"fingerprint": "not JSON"}, "with unreadable settings"),
        ({"fingerprint": "[1]"}, "with unreadable settings"),
        (
            {"fingerprint": '{"descriptor": "soap"}'},
            "expected settings of a descriptor by name, got 'soap'",
        ),
        ({"values": np.array([[object()]])}, "Object arrays cannot be loaded"),
    ],
)
def test_npz_of_somebody_else_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_fingerprints(save(tmp_path / "fp.npz", **changes))


@settings(parent=in_one_directory, max_examples=150)
@given(st.data())
def test_a_damaged_npz_is_refused_or_read_unharmed(tmp_path, data):
    path = tmp_path / "fp.npz"
    write_fingerprints(path, ONES, SMALL, [WATER])
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :])
    try:
        file = read_fingerprints(path)
    except ValueError:
        return
    np.testing.assert_array_equal(file.values, ONES)
    assert file.fingerprint == SMALL


def test_what_is_no_fingerprint_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        read_fingerprints(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="which is no file"):
        read_fingerprints(tmp_path)
    with pytest.raises(ValueError, match=re.escape("in an .npz, .csv or .npy file")):
        read_fingerprints(write(tmp_path / "fp.txt", "1,2"))
    with pytest.raises(ValueError, match="which is no zip archive"):
        read_fingerprints(write(tmp_path / "text.npz", "1,2"))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ValueError, match=re.escape("without ['fingerprint', 'values', 'version']")):
        read_fingerprints(tmp_path / "other.npz")


def test_what_can_not_be_written_as_fingerprints(tmp_path):
    with pytest.raises(ValueError, match=re.escape("in an .npz, .csv or .npy file")):
        write_fingerprints(tmp_path / "fp.txt", ONES, SMALL)
    with pytest.raises(ValueError, match=f"of length {SMALL.size}"):
        write_fingerprints(tmp_path / "fp.npz", np.ones((1, 3)), SMALL)
    with pytest.raises(ValueError, match="expected 1 structures, got 2"):
        write_fingerprints(tmp_path / "fp.npz", ONES, SMALL, [WATER, WATER])
    with pytest.raises(ValueError, match="expected finite numbers"):
        write_fingerprints(tmp_path / "fp.npz", np.inf * ONES, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_select_keeps_the_order_asked_for(tmp_path):
    salt = bulk("OH", "rocksalt", a=4.0)
    values = np.outer([1.0, 2.0, 3.0], np.ones(SMALL.size))
    write_fingerprints(tmp_path / "fp.npz", values, SMALL, [WATER, salt, molecule("OH")])
    part = read_fingerprints(tmp_path / "fp.npz").select([1, 0])
    assert part.values[:, 0].tolist() == [2.0, 1.0]
    assert part.formulas == ["OH", "OH2"]
    assert part.cells is not None
    assert part.cells[1] is None
    np.testing.assert_array_equal(part.cells[0], salt.cell.array)
    with pytest.raises(ValueError, match="expected rows among 0-1, got 2"):
        part.select([2])


@pytest.mark.parametrize("name", ["out.extxyz", "out.xyz", "out.traj", "o@1.cif"])
def test_structures_return(tmp_path, name):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    frames = [salt, salt * (2, 1, 1)]
    write_structures(tmp_path / name, frames)
    found = read_structures(tmp_path / name)
    assert [str(atoms.symbols) for atoms in found] == [str(atoms.symbols) for atoms in frames]
    for atoms, original in zip(found, frames, strict=True):
        np.testing.assert_allclose(atoms.cell.cellpar(), original.cell.cellpar(), atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_free_structures_keep_their_info(tmp_path):
    atoms = WATER.copy()
    atoms.info = {"residual": 1e-9, "result_code": "converged"}
    write_structures(tmp_path / "out.extxyz", [atoms])
    found = read_structures(tmp_path / "out.extxyz")[0]
    assert found.info == atoms.info
    assert not found.pbc.any()
    assert found.cell.rank == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "hello\n", "that ASE can read"),
        ("a.xyz", "", "Empty file"),
        ("a.xyz", "3\n\nH 0 0\n", "expected 3"),
        ("a.cif", "garbage\n", "AssertionError"),
        ("a.cif", "data_x\n_cell_length_a 3\n", "expected at least one structure"),
        ("a.xyz", "0\n\n", "expected atoms in structure 0"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "that ASE can read"),
    ],
)
def test_what_is_no_structure(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_structures(write(tmp_path / name, text))


def test_no_structure_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        read_structures(tmp_path / "none.xyz")


@pytest.mark.parametrize("name", ["out.foo", "out.vasp", "out"])
def test_formats_that_can_not_hold_the_structures(tmp_path, name):
    old = write(tmp_path / name, "old")
    for attempt in (write_structures, check_format):
        with pytest.raises(ValueError, match="expected a file that ASE can write 2 structures to"):
            attempt(old, [WATER, WATER])
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_check_format_writes_nothing(tmp_path):
    check_format(tmp_path / "out.extxyz", [WATER, WATER])
    assert list(tmp_path.iterdir()) == []


def test_json_has_no_nan(tmp_path):
    data = {"residuals": [1.5, float("nan"), (float("inf"),)], "code": "stalled", "none": None}
    write_json(tmp_path / "out.json", data)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == {"residuals": [1.5, None, [None]], "code": "stalled", "none": None}


class Interrupted(BaseException):
    """Like KeyboardInterrupt, this is no subclass of Exception."""


@pytest.mark.parametrize("error", [OSError("no space left on device"), Interrupted()])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, error):
    def fail(path: Path, *_: object, **__: object) -> None:
        Path(path).write_text("half a fi")
        raise error

    monkeypatch.setattr(ase.io, "write", fail)
    monkeypatch.setattr(np, "savez_compressed", fail)
    old = [write(tmp_path / name, "old") for name in ("out.extxyz", "out.npz")]
    with pytest.raises(type(error)):
        write_structures(old[0], [WATER])
    with pytest.raises(type(error)):
        write_fingerprints(old[1], ONES, SMALL)
    assert sorted(tmp_path.iterdir()) == old
    assert all(path.read_text() == "old" for path in old)


def test_json_that_can_not_be_written_leaves_the_old_file(tmp_path):
    old = write(tmp_path / "out.json", "old")
    with pytest.raises(TypeError):
        write_json(old, {"a": object()})
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "out.json"
    link.symlink_to(tmp_path / "folder" / "real.json")
    check_output(link)
    write_json(link, 1)
    assert link.is_symlink()
    assert (tmp_path / "folder" / "real.json").read_text() == "1\n"


def test_new_files_have_the_usual_permissions(tmp_path):
    write_json(tmp_path / "out.json", 1)
    usual = write(tmp_path / "usual", "")
    assert (tmp_path / "out.json").stat().st_mode == usual.stat().st_mode


def test_check_output(tmp_path, monkeypatch):
    old = write(tmp_path / "old.npz", "old")
    check_output(tmp_path / "new.npz", suffix=".npz")
    check_output(old, force=True)
    with pytest.raises(FileExistsError, match="expected no file in the way or --force"):
        check_output(old)
    with pytest.raises(ValueError, match=re.escape("ending in .npz")):
        check_output(tmp_path / "new.csv", suffix=".npz")
    for missing in (tmp_path / "none" / "new.npz", old / "new.npz"):
        with pytest.raises(NotADirectoryError, match="expected a directory to write"):
            check_output(missing)
    for no_file in (tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match="which is none"):
            check_output(no_file, force=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match="expected permission to write"):
        check_output(tmp_path / "new.npz")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != old)
    with pytest.raises(PermissionError, match="expected permission to write"):
        check_output(old, force=True)
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_output_asks_the_system(tmp_path):
    old = write(tmp_path / "old.npz", "old")
    old.chmod(0o444)
    with pytest.raises(PermissionError, match="expected permission to write"):
        check_output(old, force=True)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="expected permission to write"):
        check_output(tmp_path / "new.npz")
    tmp_path.chmod(0o755)
