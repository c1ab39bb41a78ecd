"""Runs: what many pieces of work give, each in a database as soon as it is there.

The database is one of ASE, for ``ase db``, ``ase gui`` and ``ase.db.connect``: one row a structure.
A transaction a piece, and a name that only one row can have, make it whole after any end of the
process, and let several processes work on one run.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ase import Atoms

from jaxrecon.runtime.database import Database

KEY = "jaxrecon"
"""Of the description of the run, in the metadata of the database."""

K = TypeVar("K", int, str)
V = TypeVar("V")


class Row(NamedTuple):
    """What a database has in one row.

    Attributes:
        atoms: the structure.
        pairs: numbers and words to select it by.
        data: other plain data.
    """

    atoms: Atoms
    pairs: dict[str, Any]
    data: dict[str, Any]


class RunStore(ABC, Generic[K, V]):
    """Pieces of one run in an ASE database, committed one by one; each has one row or more.

    Every commit is durable when it returns. Positions and cells come back bit for bit (of a server:
    but for the sign of a zero).

    Several processes may have the same run in one store: a piece is kept once, as whoever was
    first has found it. For SQLite the file has to be on a local disk, as network file systems do
    not lock reliably.

    Args:
        url: a file ending in ``.db`` (SQLite), or ``postgresql://user:password@host/name``, for
            which ASE needs the package ase-db-backends.
        resume: go on with the run that is there, if there is one.
        force: replace the run that is there, once a new one begins.

    Raises:
        ValueError: if it is another kind of file or address, or both options are given.
        FileExistsError: if there is a file and neither option.
        OSError: if the directory is missing, something else than a file is in the place, or
            writing is not allowed.
    """

    PIECE: ClassVar[str]
    """What the key of a piece is called in its rows."""

    def __init__(
        self, url: str | os.PathLike[str], *, resume: bool = False, force: bool = False
    ) -> None:
        if resume and force:
            raise ValueError("expected --resume or --force, got both")
        self._database = Database(url)
        self._resume, self._force = resume, force
        self._run = ""
        self._kept: set[K] = set()
        if self._database.file is not None and self.begun and not resume and not force:
            raise self._in_the_way()

    def __str__(self) -> str:
        """The address of the database, without the password."""
        return str(self._database)

    @property
    def begun(self) -> bool:
        """Whether there may be a run already: False if the file is not there."""
        return self._database.file is None or self._database.file.exists()

    @property
    def committed(self) -> int:
        """How many pieces of the run this store has read or written."""
        return len(self._kept)

    @abstractmethod
    def _rows(self, value: V) -> list[Row]:
        """What is written for a piece: at least one row."""

    @abstractmethod
    def _value(self, rows: list[Row]) -> V:
        """The piece that was written so; whatever it raises says that somebody else wrote it."""

    def begin(self, description: dict[str, Any]) -> dict[K, V]:
        """Make the database, or read what it has of the same run.

        Args:
            description: all that decides the results, as plain data for JSON. Everything has to be
                as it was but ``versions``, of which the database keeps the first.

        Returns:
            The pieces that are there, by their keys.

        Raises:
            ValueError: if it is no database, one that jaxrecon did not make, or of another run;
                nothing in it has changed then.
            FileExistsError: if there is a run, and neither ``resume`` nor ``force``.
            OSError: if it can't be read or written, or others hold it for a minute.
        """
        wanted = json.loads(json.dumps(description))
        deciding = {key: value for key, value in wanted.items() if key != "versions"}
        self._run = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]
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
            if known is None or self._force:
                database.metadata = {KEY: wanted}
            elif difference := _difference(known, wanted):
                raise ValueError(
                    f"expected the run that {self} was begun with, got another: {difference}"
                )
            done = self._read(database)
        self._kept = set(done)
        return done

    def join(self, description: dict[str, Any]) -> None:
        """Take part in the run that another process has begun.

        Args:
            description: what that one has begun it with.

        Raises:
            ValueError: if the run is not there: the processes have a file each, say.
            OSError: if it can't be read or written, or others hold it for a minute.
        """
        if not self.begun:
            raise ValueError(f"expected {self} where all processes find it, got one without it")
        self._resume, self._force = True, False
        self.begin(description)

    def commit(self, key: K, value: V) -> None:
        """Write a piece, unless it is there already.

        Args:
            key: of the piece.
            value: what was found.

        Raises:
            OSError: if it can't be written; what was committed before stays.
        """
        from ase.db.core import now
        from ase.db.row import AtomsRow, atoms2dict

        with self._database.transaction() as database:
            if not database.count(unique_id=self._name(key, 0)):
                for number, (atoms, pairs, data) in enumerate(self._rows(value)):
                    about = {"ctime": now(), "user": os.environ.get("USER")}
                    name = self._name(key, number)
                    row = AtomsRow({**atoms2dict(atoms), **about, "unique_id": name})
                    database.write(row, {self.PIECE: key, **pairs}, data)
        self._kept.add(key)

    def _open(self) -> None:
        try:
            self._database.open()
        except ValueError:
            if not self._force or self._database.file is None:
                raise
            self._database.remove()
            self._database.open()

    def _name(self, key: K, number: int) -> str:
        """Of a row: the database has it only once. It says which run, in case two have met here."""
        return f"{self._run}-{key}.{number}" if number else f"{self._run}-{key}"

    def _read(self, database: Any) -> dict[K, V]:
        pieces: dict[K, list[Row]] = {}
        values: dict[K, V] = {}
        for row in database.select(sort="id"):
            pairs = dict(row.key_value_pairs)
            try:
                key = pairs.pop(self.PIECE)
                before: list[Row] = pieces.get(key, [])
                ours = row["unique_id"] == self._name(key, len(before))
                piece = Row(row.toatoms(), pairs, dict(row.data))
                rows = [*before, piece] if ours else [piece]
                value = self._value(rows)
            # What somebody has changed by hand fails in ASE, NumPy or here, each in its own way.
            except Exception as error:
                raise ValueError(
                    f"expected rows that jaxrecon wrote in {self}, got row {row.id} "
                    f"({type(error).__name__}: {error})"
                ) from error
            if ours:
                pieces[key], values[key] = rows, value
        return values

    def _in_the_way(self) -> FileExistsError:
        return FileExistsError(f"expected no file in the way, --resume or --force, got {self}")


def _difference(known: Any, wanted: Any, place: str = "") -> str | None:
    """The first thing that differs: where it is, and both values."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        # Of the targets there are no values to tell: only if all else is the same.
        keys = sorted({**known, **wanted}, key="targets".__eq__)
        pairs = [
            (f"{place}.{key}" if place else key, known.get(key), wanted.get(key))
            for key in keys
            if place or key != "versions"
        ]
    elif isinstance(known, list) and isinstance(wanted, list) and len(known) == len(wanted):
        pairs = [
            (f"{place}[{number}]", *items)
            for number, items in enumerate(zip(known, wanted, strict=True))
        ]
    else:
        same = json.dumps(known) == json.dumps(wanted)
        return None if same else f"{place}: {_short(known)} != {_short(wanted)}"
    differences = (_difference(first, second, where) for where, first, second in pairs)
    return next((difference for difference in differences if difference), None)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:30]}...{text[-7:]}"
