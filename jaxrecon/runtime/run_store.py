"""Store of the results of a run, each of which is committed to a database when it is complete.

The store is an ASE database, for ``ase db``, ``ase gui`` and ``ase.db.connect``, with a row for
each structure. Each piece of work is one transaction, and its rows have unique names. So the
database is consistent after any end of the process, and several processes can work on one run.
"""

import json
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ase import Atoms

from jaxrecon.runtime.database import Database
from jaxrecon.runtime.descriptions import difference, digest, growth

KEY = "jaxrecon"
"""Key of the description of the run in the metadata of the database."""

K = TypeVar("K", int, str)
V = TypeVar("V")


class Row(NamedTuple):
    """Content of one row of the database.

    Attributes:
        atoms: the structure; positions and cell in Angstrom.
        pairs: numbers and words by which rows can be selected.
        data: other plain data.
    """

    atoms: Atoms
    pairs: dict[str, Any]
    data: dict[str, Any]


class RunStore(ABC, Generic[K, V]):
    """Pieces of work of one run in an ASE database, committed one by one.

    A commit is durable when it returns. Positions and cells come back bit for bit; from a server,
    except for the sign of a zero.

    Several processes may use one store for the same run. The first result of a piece is stored,
    and later ones are ignored. A SQLite file must be on a local disk, as network file systems do
    not lock reliably.

    A run may be continued with larger limits, those of :attr:`LIMITS` and :attr:`LISTS`, as if it
    had been begun with them. Pieces that ended because of a smaller limit are then done again from
    their beginning; ``repeated`` is their number.

    A subclass binds the types of keys and results, and converts results to rows and back.

    Attributes:
        repeated: number of pieces that were in the database and are done again with larger limits.

    Args:
        url: a file ending in ``.db`` (SQLite), or ``postgresql://user:password@host/name``, for
            which ASE needs the package ase-db-backends.
        resume: continue an existing run, if there is one.
        force: replace an existing run when a new one begins.

    Raises:
        ValueError: if it is another kind of file or address, or both options are given.
        FileExistsError: if the file exists and neither option is given.
        OSError: if the directory is missing, the path exists and is no file, or writing is not
            allowed.
    """

    PIECE: ClassVar[str]
    """Name of the key of a piece in its rows."""

    LIMITS: ClassVar[tuple[str, ...]] = ()
    """Places of numbers in descriptions that only say how long a run goes on."""

    LISTS: ClassVar[tuple[str, ...]] = ()
    """Places of lists in descriptions whose items are independent pieces, in order."""

    def __init__(
        self, url: str | os.PathLike[str], *, resume: bool = False, force: bool = False
    ) -> None:
        if resume and force:
            raise ValueError("expected --resume or --force, got both")
        self._database = Database(url)
        self._resume, self._force = resume, force
        self._run = ""
        self._description: dict[str, Any] = {}
        self._committed: set[K] = set()
        self._new = False
        self.repeated = 0
        if self._database.file is not None and self.begun and not resume and not force:
            raise self._in_the_way()

    def __str__(self) -> str:
        """The address of the database, without the password."""
        return str(self._database)

    @property
    def begun(self) -> bool:
        """Whether there may be a run already: False if the file does not exist."""
        return self._database.file is None or self._database.file.exists()

    @property
    def committed(self) -> int:
        """Number of pieces of the run that this store has read or written."""
        return len(self._committed)

    @abstractmethod
    def _rows(self, value: V) -> list[Row]:
        """Convert the result of a piece to one row or more."""

    @abstractmethod
    def _value(self, rows: list[Row]) -> V:
        """Convert such rows back. Any exception means that another program wrote them."""

    def _same(self, key: K, value: V, known: dict[str, Any], more: set[str]) -> bool:
        """Whether a result stays the same with larger limits.

        Args:
            key: the key of the piece.
            value: its result.
            known: the description with the smaller limits.
            more: places of the limits and lists that grow.
        """
        return True

    def begin(self, description: dict[str, Any]) -> dict[K, V]:
        """Make the database, or read the results that it has of the same run.

        Args:
            description: all settings that decide the results, as plain data for JSON. They have to
                be those with which the run was begun, except for larger limits, and for
                ``versions``, of which the database has the first.

        Returns:
            The results in the database, by key.

        Raises:
            ValueError: if it is no database, was not made by jaxrecon, or has another run. The
                database is not changed then.
            FileExistsError: if there is a run, and neither ``resume`` nor ``force`` is set.
            OSError: if it can't be read or written, or other processes lock it for a minute.
        """
        # A short digest of the settings becomes a part of the names of all rows.
        wanted = json.loads(json.dumps(description))
        self._run, self._description = digest(wanted), wanted
        self._open()
        with self._database.transaction() as database:
            known = database.metadata.get(KEY)
            if known is None and database.count():
                raise ValueError(
                    f"expected a database of jaxrecon, got {self} with structures of another "
                    "program"
                )
            if known is not None and not self._resume and not self._force:
                raise self._in_the_way()
            if self._force:
                self._database.clear()
            self._new = known is None or self._force
            if self._new:
                database.metadata = {KEY: wanted}
            else:
                less, more = growth(known, wanted, self.LIMITS, self.LISTS)
                if other := difference(known, less):
                    raise ValueError(
                        f"expected the run that {self} was begun with, got another: {other}"
                    )
                if more:
                    self._prolong(database, known, wanted, more)
            done = self._read(database)
        self._committed = set(done)
        return done

    def join(self, description: dict[str, Any]) -> None:
        """Take part in a run that another process has begun.

        Args:
            description: the description with which that process has begun it.

        Raises:
            ValueError: if the run does not exist, for example because each process has a file of
                its own.
            OSError: if it can't be read or written, or other processes lock it for a minute.
        """
        if not self.begun:
            raise ValueError(f"expected {self} where all processes find it, got one without it")
        self._resume, self._force = True, False
        self.begin(description)

    def commit(self, key: K, value: V) -> None:
        """Write the result of a piece, unless the database has one already.

        Args:
            key: the key of the piece.
            value: its result.

        Raises:
            OSError: if it can't be written; earlier commits are not affected.
        """
        from ase.db.core import now
        from ase.db.row import AtomsRow, atoms2dict

        # Another process may have discarded the run before its first piece.
        if not self.begun:
            self._open()
        with self._database.transaction() as database:
            if KEY not in database.metadata:
                database.metadata = {KEY: self._description}
            if not database.count(unique_id=self._name(key, 0)):
                for number, (atoms, pairs, data) in enumerate(self._rows(value)):
                    about = {"ctime": now(), "user": os.environ.get("USER")}
                    name = self._name(key, number)
                    row = AtomsRow({**atoms2dict(atoms), **about, "unique_id": name})
                    database.write(row, {self.PIECE: key, **pairs}, data)
        self._committed.add(key)

    def discard(self) -> None:
        """Remove the file of a run that was begun here and has no piece.

        So a run that ends by an error in its input, before its first piece, is in nobody's way.
        Processes that take part in it begin it again with their first piece.
        """
        if not self._new or self._database.file is None:
            return
        # The error that led here is the one to tell.
        with suppress(OSError, ValueError), self._database.transaction() as database:
            if not database.count():
                self._database.remove()

    def _prolong(
        self, database: Any, known: dict[str, Any], wanted: dict[str, Any], more: set[str]
    ) -> None:
        """Give the results that stay to the run with larger limits, and remove the others."""
        self._run, prolonged = digest(known), self._run
        done = self._read(database)
        same = {key for key, value in done.items() if self._same(key, value, known, more)}
        self.repeated = len(done) - len(same)
        names, removed = {}, []
        for row in database.select():
            name = row["unique_id"]
            if name.startswith(f"{self._run}-"):
                if row.key_value_pairs[self.PIECE] in same:
                    names[name] = name.replace(self._run, prolonged, 1)
                else:
                    removed.append(row.id)
        self._database.change_rows(names, removed)
        self._run = prolonged
        # The versions are those of the first results.
        database.metadata = {KEY: {**wanted, "versions": known.get("versions")}}

    def _open(self) -> None:
        """Open the database; with ``force``, replace a file that is none."""
        try:
            self._database.open()
        except ValueError:
            if not self._force or self._database.file is None:
                raise
            self._database.remove()
            self._database.open()

    def _name(self, key: K, number: int) -> str:
        """The unique name of a row; it contains the run, in case two runs use one database."""
        return f"{self._run}-{key}.{number}" if number else f"{self._run}-{key}"

    def _read(self, database: Any) -> dict[K, V]:
        """The results of this run; rows of other runs are checked and left out."""
        pieces: dict[K, list[Row]] = {}
        values: dict[K, V] = {}
        for row in database.select(sort="id"):
            pairs = dict(row.key_value_pairs)
            try:
                # The rows of a piece have ascending numbers: this is the next one, or of another
                # run.
                key = pairs.pop(self.PIECE)
                before: list[Row] = pieces.get(key, [])
                ours = row["unique_id"] == self._name(key, len(before))
                piece = Row(row.toatoms(), pairs, dict(row.data))
                rows = [*before, piece] if ours else [piece]
                value = self._value(rows)
            # A row that was changed by hand fails in ASE, NumPy or here, with any exception.
            except Exception as error:
                raise ValueError(
                    f"expected rows that jaxrecon wrote in {self}, got row {row.id} "
                    f"({type(error).__name__}: {error})"
                ) from error
            if ours:
                pieces[key], values[key] = rows, value
        return values

    def _in_the_way(self) -> FileExistsError:
        """The error for a database that exists already."""
        return FileExistsError(f"expected no file in the way, --resume or --force, got {self}")
