"""Transactions on an ASE database that survive any end of the process.

ASE's own lock file outlives a process that is killed, and then blocks all others for ever. So the
locks are those of the database: SQLite's on the file, or those of a server.
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
"""Longest time to wait for other processes that write, in seconds."""

SERVERS = ("postgresql://", "postgres://")
"""Beginnings of the addresses of databases on a server."""

DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
"""Beginnings of SQLite's names of errors that mean a damaged file."""


class Database:
    """An ASE database in a file or on a server, which is opened anew for each transaction.

    Args:
        url: a file ending in ``.db`` (SQLite), or ``postgresql://user:password@host/name``.

    Raises:
        ValueError: if it is another kind of file or address.
        OSError: if the directory is missing, the path exists and is no file, or writing is not
            allowed.
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
        """The address without the password."""
        return without_password(self._address)

    def open(self) -> None:
        """Check an existing file, and read its current content in the next transaction.

        Raises:
            ValueError: if the file is no database, or a damaged one.
            OSError: if it can't be read.
        """
        from ase.db import connect

        if self.file is not None and self.file.exists():
            self._check(self.file)
        with self._explained():
            self._handle = connect(self._address, use_lock_file=False)

    def remove(self) -> None:
        """Remove the file. Its journal may stay: SQLite drops the journal of a new file."""
        assert self.file is not None
        self.file.unlink()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Lock the database for this process, and write all changes at the end or none.

        Yields:
            ASE's database object.

        Raises:
            ValueError: if the database was not made by ASE, or is damaged.
            OSError: if it can't be read or written, or other processes lock it for a minute.
        """
        handle = self._handle
        with self._explained():
            # Not by a with statement: ASE can't roll back a connection to a server. Closing the
            # connection does.
            handle.__enter__()
            try:
                self._lock(handle)
                yield handle
                handle.connection.commit()
            finally:
                handle.connection.close()
                handle.connection = None

    def clear(self) -> None:
        """Delete all rows, as a part of the current transaction."""
        from ase.db.sqlite import all_tables

        for table in reversed(all_tables):
            self._handle.connection.cursor().execute(f"DELETE FROM {table}")

    def change_rows(self, names: dict[str, str], removed: list[int]) -> None:
        """Rename and remove rows, as a part of the current transaction.

        Args:
            names: new unique names by the former ones.
            removed: numbers of the rows to remove.
        """
        from ase.db.sqlite import all_tables

        cursor = self._handle.connection.cursor()
        for before, after in names.items():
            cursor.execute("UPDATE systems SET unique_id = ? WHERE unique_id = ?", (after, before))
        # ASE's own method ends the transaction.
        for table in reversed(all_tables):
            for number in removed:
                cursor.execute(f"DELETE FROM {table} WHERE id = ?", (number,))

    def _check(self, file: Path) -> None:
        """Raise if SQLite finds the file damaged, or its length does not fit."""
        with self._explained(), closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT)) as connection:
            connection.execute("BEGIN")  # no other process writes between the queries
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            pages, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size")
            )
            # SQLite takes a file of a few bytes for an empty one, and completes a page that is cut.
            if verdict == "ok" and file.stat().st_size != pages * size:
                verdict = f"{file.stat().st_size} bytes, not {pages} pages of {size}"
        if verdict != "ok":
            raise self._damaged(verdict)

    def _lock(self, handle: Any) -> None:
        """Begin an exclusive transaction, in a database that has ASE's tables."""
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
            # Making the tables ended the transaction, and another process may have begun a run
            # meanwhile: have ASE read the metadata again.
            handle.initialized = False
            _make_tables(handle)

    def _damaged(self, reason: object) -> ValueError:
        """The error for a file that is no database of jaxrecon."""
        return ValueError(f"expected a database of jaxrecon, got {self} ({reason})")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of a database into ``ValueError`` and ``OSError`` with an explanation."""
        try:
            yield
        except ImportError as error:
            raise ValueError(f"expected ase-db-backends for {self}, got none ({error})") from error
        except Exception as error:
            if getattr(error, "sqlite_errorname", "").startswith(DAMAGED):
                raise self._damaged(error) from error
            if type(error).__module__.partition(".")[0] in {"sqlite3", "psycopg2"}:
                message = " ".join(str(error).split())
                raise OSError(
                    f"expected to read and write {self}, got {message}; committed results are "
                    "safe, and --resume continues from them"
                ) from error
            raise


def _make_tables(handle: Any) -> None:
    """Have ASE make its tables if they are missing, as it does at its first connection.

    ASE then ends the transaction: a process that is killed at this point leaves a database without
    rows and metadata.
    """
    with handle.managed_connection():
        pass


def without_password(text: str) -> str:
    """Replace the passwords of all addresses in a text by asterisks.

    >>> without_password("postgresql://me:secret@host/name")
    'postgresql://me:***@host/name'
    """
    return re.sub(r"(://[^\s:/@]*:)[^\s/]*@", r"\1***@", text)
