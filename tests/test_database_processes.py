"""Several processes with one database, some of which are killed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import ase.db
import pytest
from ase.db.core import Database
from ase.db.sqlite import SQLite3Database
from stored import DESCRIPTION, assert_same, result, script

import jaxrecon.runtime.database
from jaxrecon.search.store import Store

ROOT = Path(__file__).parents[1]


def test_others_are_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "found.db"
    store = Store(path)
    store.begin(DESCRIPTION)
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(jaxrecon.runtime.database, "LOCK_TIMEOUT", 0.3)
    for use in (
        lambda: store.commit(0, result(0)),
        lambda: Store(path, resume=True).begin(DESCRIPTION),
    ):
        started = time.perf_counter()
        with pytest.raises(OSError, match="got database is locked; committed results are safe"):
            use()
        assert 0.2 < time.perf_counter() - started < 10.0
    other.rollback()
    other.close()
    store.commit(0, result(0))
    assert store.committed == 1


def test_the_lock_file_of_a_killed_process_stops_nobody(tmp_path: Path) -> None:
    """ASE would wait for ever until that file is removed."""
    (tmp_path / "found.db.lock").touch()
    store = Store(tmp_path / "found.db")
    store.begin(DESCRIPTION)
    store.commit(0, result(0))


def test_a_commit_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "found.db")
    store.begin(DESCRIPTION)

    def interrupted(self: Database, *words: Any, **options: Any) -> None:
        self.connection.execute("INSERT INTO keys VALUES ('target', 1)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.commit(0, result(0))
    assert store.committed == 0
    store.commit(0, result(0))
    connection = sqlite3.connect(tmp_path / "found.db")
    assert connection.execute("SELECT COUNT(*) FROM keys WHERE key = 'target'").fetchone() == (1,)
    connection.close()


def test_one_process_at_a_time_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the lock from the check for an existing run until its own run is written."""
    path, read = tmp_path / "found.db", SQLite3Database.metadata.fget

    def watched(self: SQLite3Database) -> Any:
        other = sqlite3.connect(path, timeout=0.0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
        return read(self)

    looked = property(watched, SQLite3Database.metadata.fset)
    monkeypatch.setattr(SQLite3Database, "metadata", looked)
    for _ in range(2):
        assert Store(path, resume=True).begin(DESCRIPTION) == {}


@pytest.mark.slow
def test_processes_that_share_a_store(tmp_path: Path) -> None:
    """Three begin at once without a file, and commit own targets and targets of all three."""
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from stored import DESCRIPTION, result
        from jaxrecon.search.store import Store

        number = int(sys.argv[1])
        store = Store("found.db", resume=True)
        Path(f"ready{{number}}").touch()
        while not Path("go").exists():
            time.sleep(0.001)
        store.begin(DESCRIPTION)
        for target in [*range(10 * number, 10 * number + 10), *range(100, 110)]:
            store.commit(target, result(target))
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    processes = [subprocess.Popen([*words, str(number)], cwd=tmp_path) for number in range(3)]
    while len(list(tmp_path.glob("ready*"))) < 3:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    found = Store(tmp_path / "found.db", resume=True).begin(DESCRIPTION)
    assert sorted(found) == [*range(30), *range(100, 110)]
    for target, each in found.items():
        assert_same(each, result(target))
    assert ase.db.connect(tmp_path / "found.db").count() == 40


def test_a_run_that_another_process_begins_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one begins when ASE ends the transaction in which it makes the tables."""
    path, calls = tmp_path / "found.db", []
    make_tables = jaxrecon.runtime.database._make_tables

    def slow(handle: object) -> None:
        make_tables(handle)
        calls.append(handle)
        if len(calls) == 1:
            other = Store(path, resume=True)
            assert other.begin(DESCRIPTION) == {}
            other.commit(3, result(3))

    monkeypatch.setattr(jaxrecon.runtime.database, "_make_tables", slow)
    [(target, found)] = Store(path, resume=True).begin(DESCRIPTION).items()
    assert target == 3
    assert_same(found, result(3))
    assert len(calls) > 2


KILLED = """
    import os, random, signal, time
    from pathlib import Path
    from stored import DESCRIPTION, result
    from jaxrecon.search.store import Store

    def child(channel, targets):
        store = Store("found.db", resume=True)
        done = store.begin(DESCRIPTION)
        for target in range(targets):
            if target not in done:
                store.commit(target, result(target))
                os.write(channel, bytes([target]))
        os._exit(0)

    def run(targets, limit):
        # The targets that it reported as committed, and whether it was killed before its end.
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            child(writer, targets)
        os.close(writer)
        if limit is not None:
            time.sleep(limit)
            os.kill(process, signal.SIGKILL)
        killed = os.waitpid(process, 0)[1] != 0
        reported = set(os.read(reader, 1000))
        os.close(reader)
        return reported, killed

    chance, kills = random.Random(0), 0
    for targets, wanted, parts in [(0, 10, 1), (40, 20, 4)]:
        started = time.perf_counter()
        run(targets, None)
        longest = (time.perf_counter() - started) / parts
        while kills < wanted:
            Path("found.db").unlink()
            reported, killed, limit = set(), True, longest
            longest *= 0.9  # the machine may have become faster
            while killed:
                new, killed = run(targets, chance.uniform(0.0, limit))
                limit *= 1.1  # or slower
                reported, kills = reported | new, kills + killed
                found = Store("found.db", resume=True).begin(DESCRIPTION)
                # No committed target is lost; the last one may be committed and not yet reported.
                assert reported <= set(found), (reported, set(found))
            assert sorted(found) == list(range(targets))
"""


def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Kills come while the database is made, between transactions and within them."""
    said = script(KILLED, folder=tmp_path)
    assert said.returncode == 0, said.stderr
    found = Store(tmp_path / "found.db", resume=True).begin(DESCRIPTION)
    for target, each in found.items():
        assert_same(each, result(target))
    assert ase.db.connect(tmp_path / "found.db").count() == len(found) == 40


@pytest.mark.slow
def test_runs_that_are_interrupted_end_as_if_they_were_not(tmp_path: Path) -> None:
    """Two kills as in benchmarks/interruptions.py, which makes twenty, and Ctrl-C."""
    words = "--targets 5 --sizes 3 --kills 2 --stops 0 --cold 0 --commits 1 -o results"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "interruptions.py", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "results" / "interruptions.json").read_text())
    assert report["SIGKILL"].pop("whole runs") >= 1
    assert sum(report["SIGKILL"].values()) == 2
