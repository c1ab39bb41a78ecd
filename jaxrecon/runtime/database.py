"""Database: transactions on one of ASE's databases that hold whatever becomes of the process.

ASE's own lock file outlives a process that is killed and stops all others for ever, so the locks
are those of the database: SQLite's on the file, or a server's.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from jaxrecon.runtime.files import check_output

LOCK_TIMEOUT = 60.0
"""Seconds to wait for other processes that write."""
SERVERS = ("postgresql://", "postgres://")
DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


class Database:
    """An ASE database in a file or on a server, opened for each transaction anew.

    Args:
        url: a file ending in ``.db`` (SQLite), or ``postgresql://user:password@host/name``.

    Raises:
        ValueError: if it is another kind of file or address.
        OSError: if the directory is missing, something else than a file is in the place, or
            writing is not allowed.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self._address = os.path.expanduser(os.fspath(url))
        self.file = None if self._address.startswith(SERVERS) else Path(self._address)
        self._handle: Any = None
        if self.file is None:
            return
        if self.file.suffix != ".db" or "://" in self._address:
            raise ValueError(
                f"expected a database like found.db or postgresql://user:password@host/name, "
                f"got {self}"
            )
        check_output(self.file, force=True)

    def __str__(self) -> str:
        """Its address without the password."""
        return without_password(self._address)

    def open(self) -> None:
        """Have what is there now read at the next transaction.

        Raises:
            ValueError: if there is a file that is no database, or a damaged one.
            OSError: if it can't be read.
        """
        from ase.db import connect

        if self.file is not None and self.file.exists():
            self._check(self.file)
        with self._explained():
            self._handle = connect(self._address, use_lock_file=False)

    def remove(self) -> None:
        """Remove the file. A journal of it may stay: SQLite drops one that a new file has."""
        assert self.file is not None
        self.file.unlink()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """ASE's database, for this process alone: all is written at the end, or nothing.

        Raises:
            ValueError: if it is a database of something else than ASE, or a damaged one.
            OSError: if it can't be read or written, or others hold it for a minute.
        """
        handle = self._handle
        with self._explained():
            # Left by hand, as ASE's connection to a server can't be rolled back: closing does it.
            handle.__enter__()
            try:
                self._lock(handle)
                yield handle
                handle.connection.commit()
            finally:
                handle.connection.close()
                handle.connection = None

    def clear(self) -> None:
        """Delete all rows: to be called in a transaction, and a part of it."""
        from ase.db.sqlite import all_tables

        for table in reversed(all_tables):
            self._handle.connection.cursor().execute(f"DELETE FROM {table}")

    def _check(self, file: Path) -> None:
        with self._explained(), closing(sqlite3.connect(file, LOCK_TIMEOUT)) as connection:
            connection.execute("BEGIN")  # nobody writes between the questions
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            pages, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size")
            )
            # SQLite takes a file of a few bytes for an empty one, and makes up what a page lacks.
            if verdict == "ok" and file.stat().st_size != pages * size:
                verdict = f"{file.stat().st_size} bytes, not {pages} pages of {size}"
        if verdict != "ok":
            raise self._damaged(verdict)

    def _lock(self, handle: Any) -> None:
        cursor = handle.connection.cursor()
        if self.file is None:
            _make_tables(handle)
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT * 1000:.0f}")
            cursor.execute("LOCK TABLE systems IN EXCLUSIVE MODE")
            return
        cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT * 1000:.0f}")
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in cursor.fetchall()}
        if tables and "systems" not in tables:
            raise ValueError(f"expected a database of ASE, got {self} with {sorted(tables)[:3]}")
        _make_tables(handle)
        if not handle.connection.in_transaction:
            cursor.execute("BEGIN IMMEDIATE")
            # Another process may have begun a run meanwhile: ASE keeps the metadata that it met.
            handle.initialized = False
            _make_tables(handle)

    def _damaged(self, reason: object) -> ValueError:
        return ValueError(f"expected a database of jaxrecon, got {self} ({reason})")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What a database says, as the errors that are promised."""
        try:
            yield
        except ImportError as error:
            raise ValueError(f"expected ase-db-backends for {self}, got none ({error})") from error
        except Exception as error:
            if getattr(error, "sqlite_errorname", "").startswith(DAMAGED):
                raise self._damaged(error) from error
            if type(error).__module__.partition(".")[0] in {"sqlite3", "psycopg2"}:
                said = " ".join(str(error).split())
                raise OSError(
                    f"expected to read and write {self}, got {said}; what was committed is kept, "
                    "and --resume goes on from there"
                ) from error
            raise


def _make_tables(handle: Any) -> None:
    """Let ASE do so, if there are none, as it does at its first connection.

    It then ends the transaction: a process that is killed there leaves a database without rows
    and metadata.
    """
    with handle.managed_connection():
        pass


def without_password(text: str) -> str:
    """The text with asterisks for the passwords of all addresses in it.

    >>> without_password("postgresql://me:secret@host/name")
    'postgresql://me:***@host/name'
    """
    return re.sub(r"(://[^\s:/@]*:)[^\s/]*@", r"\1***@", text)
