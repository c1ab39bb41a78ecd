"""Committed results survive the end of the process, a full disk and other accidents."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from stored import DESCRIPTION, changed, result, script, solution

from jaxrecon.search.store import Store

ROOT = Path(__file__).parents[1]


def foreign_structures(path: Path) -> None:
    ase.db.connect(path).write(Atoms("Au"))


def foreign_tables(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE birds (name TEXT)")
    connection.commit()
    connection.close()


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def hand_made(path: Path) -> None:
    Store(path).begin(DESCRIPTION)
    ase.db.connect(path).write(Atoms("Au"), target=0)


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize(
    ("make", "said", "replaced"),
    [
        (foreign_structures, "a database of jaxrecon, got .* with structures of another", False),
        (foreign_tables, r"expected a database of ASE, got .* with \['birds'\]", False),
        (hand_made, r"rows that jaxrecon wrote in .*, got row 1 \(KeyError: 'residual'\)", True),
        (garbage, r"expected a database of jaxrecon, got .* \(file is not a database\)", True),
    ],
)
def test_what_jaxrecon_did_not_make(tmp_path: Path, make: Any, said: str, replaced: bool) -> None:
    path = tmp_path / "found.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=said):
        Store(path, resume=True).begin(DESCRIPTION)
    assert path.read_bytes() == before
    forced = Store(path, force=True)
    if replaced:
        assert forced.begin(DESCRIPTION) == {}
        forced.commit(0, result(0))
        assert sorted(Store(path, resume=True).begin(DESCRIPTION)) == [0]
    else:
        with pytest.raises(ValueError, match=said):
            forced.begin(DESCRIPTION)
        assert path.read_bytes() == before


def test_a_damaged_database_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "found.db"
    store = Store(path)
    store.begin(DESCRIPTION)
    for number in range(20):
        store.commit(number, result(number))
    whole = path.read_bytes()
    cut = [whole[:size] for size in np.linspace(1, len(whole) - 1, 25).astype(int)]
    pages = range(4096, len(whole), 4096)
    for content in [*cut, *(whole[:page] + bytes(4096) + whole[page + 4096 :] for page in pages)]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="expected a database of jaxrecon, got"):
            Store(path, resume=True).begin(DESCRIPTION)
        assert path.read_bytes() == content
    path.write_bytes(b"")  # the file of a process that was killed before it wrote anything
    assert Store(path, resume=True).begin(DESCRIPTION) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("found.json", "a database like found.db or postgresql://.*, got .*found.json"),
        ("found", "a database like found.db or postgresql://.*, got .*found"),
        ("https://me:secret@host/a.db", r"got https://me:\*\*\*@host/a.db"),
        ("folder.db", "expected a file to write to, got .*folder.db, which is none"),
        ("none/found.db", "expected a directory to write .*found.db to"),
    ],
)
def test_places_where_no_store_can_be(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.db").mkdir()
    place = name if "://" in name else tmp_path / name
    for options in ({"resume": True}, {"force": True}):
        with pytest.raises((ValueError, OSError), match=said):
            Store(place, **options)


def test_a_server_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase_db_backends.postgresql", None)
    store = Store("postgresql://me:secret@localhost/name", resume=True)
    with pytest.raises(ValueError, match=r"expected ase-db-backends for .*me:\*\*\*@localhost"):
        store.begin(DESCRIPTION)


@pytest.mark.skipif(
    "JAXRECON_POSTGRESQL" not in os.environ,
    reason="needs an empty database on a server: JAXRECON_POSTGRESQL=postgresql://...",
)
def test_a_server() -> None:
    url = os.environ["JAXRECON_POSTGRESQL"]
    lost = Atoms("Pt3", [[np.nan] * 3, [np.inf] * 3, [5e-324, 1 / 3, 1e308]])
    results = [
        result(0, others=(solution(1),)),
        result(1),
        result(2, atoms=lost, residual=np.inf),
    ]
    store = Store(url, force=True)
    assert store.begin(DESCRIPTION) == {}
    for index in (2, 0, 1, 0):
        store.commit(index, results[index])
    found = Store(url, resume=True).begin(DESCRIPTION)
    assert sorted(found) == [0, 1, 2]
    for index, each in enumerate(results):
        np.testing.assert_array_equal(found[index].atoms.positions, each.atoms.positions)
        np.testing.assert_array_equal(found[index].atoms.cell.array, each.atoms.cell.array)
        assert found[index].to_dict() == each.to_dict()
    with pytest.raises(FileExistsError, match="in the way"):
        Store(url).begin(DESCRIPTION)
    with pytest.raises(ValueError, match="seed: 3 != 4"):
        Store(url, resume=True).begin(changed("seed", 4))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(PermissionError, match="expected permission to write"):
        Store(tmp_path / "found.db")


def test_a_full_disk(tmp_path: Path) -> None:
    """Files of this process may not grow past 120 kB: the first failure is that of a commit."""
    path = tmp_path / "found.db"
    code = """
        import resource
        from stored import DESCRIPTION, result
        from jaxrecon.search.store import Store

        store = Store("found.db")
        store.begin(DESCRIPTION)
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
        for number in range(1000):
            try:
                store.commit(number, result(number))
            except OSError as error:
                print(number, store.committed, error, sep="|")
                break
    """
    said = script(code, folder=tmp_path)
    failed, committed, message = said.stdout.strip().split("|")
    assert int(failed) == int(committed) > 10
    assert message.startswith("expected to read and write found.db, got ")
    assert message.endswith("; committed results are safe, and --resume continues from them")
    store = Store(path, resume=True)
    assert sorted(store.begin(DESCRIPTION)) == list(range(int(failed)))
    store.commit(int(failed), result(int(failed)))
    assert ase.db.connect(path).count() == int(failed) + 1


def test_a_full_disk_in_the_words_of_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "found.db")
    store.begin(DESCRIPTION)
    connect = sqlite3.connect

    def full(*words: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*words, **options)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", full)
        large = result(0, atoms=Atoms("Pt900", np.zeros((900, 3))))
        with pytest.raises(
            OSError, match="got database or disk is full; committed results are safe"
        ):
            store.commit(0, large)
    assert store.committed == 0
    store.commit(0, large)
    assert sorted(Store(tmp_path / "found.db", resume=True).begin(DESCRIPTION)) == [0]
