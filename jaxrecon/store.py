"""Store: every result in a database as soon as it is there, so that no interruption loses it.

The database is one of ASE: a row a target, for ``ase db``, ``ase gui`` and ``ase.db.connect``. A
transaction a row, and a name that only one row can have, make it whole after any end of the
process, and let several processes work on one run.
"""

import hashlib
import json
import os
from typing import Any

from jaxrecon.database import Database
from jaxrecon.results import Result, ResultCode
from jaxrecon.solutions import Solution

KEY = "jaxrecon"
"""Of the description of the run, in the metadata of the database."""


class Store:
    """Results of one run in an ASE database, committed target by target.

    Every commit is durable when it returns. Positions, cell and residual come back bit for bit (of
    a server: but for the sign of a zero). What a target has cost before an interruption is lost
    with it: ``seconds`` are those from its last start to its end.

    Several processes may have the same run in one store: a target is kept once, as whoever was
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

    >>> from jaxrecon import Store, reconstruct
    >>> store = Store("found.db", resume=True)
    >>> run = reconstruct(targets, fingerprint, symbols="Pt10", store=store)  # doctest: +SKIP
    """

    def __init__(
        self, url: str | os.PathLike[str], *, resume: bool = False, force: bool = False
    ) -> None:
        if resume and force:
            raise ValueError("expected --resume or --force, got both")
        self._database = Database(url)
        self._resume, self._force = resume, force
        self._run = ""
        self._kept: set[int] = set()
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
        """How many targets of the run this store has read or written."""
        return len(self._kept)

    def begin(self, description: dict[str, Any]) -> dict[int, Result]:
        """Make the database, or read what it has of the same run.

        Args:
            description: all that decides the results, as plain data for JSON. Everything has to be
                as it was but ``versions``, of which the database keeps the first: a result is
                certified by its residual, whatever has found it.

        Returns:
            The results that are there, by position of the target in the run.

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
            done = self._results(database)
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

    def commit(self, index: int, result: Result) -> None:
        """Write the result of a target, unless it is there already.

        Args:
            index: position of the target in the run.
            result: what was found.

        Raises:
            OSError: if it can't be written; what was committed before stays.
        """
        from ase.db.core import now
        from ase.db.row import AtomsRow, atoms2dict

        name = self._name(index)
        about = {"unique_id": name, "ctime": now(), "user": os.environ.get("USER")}
        row = AtomsRow({**atoms2dict(result.atoms), **about})
        pairs = {
            "target": int(index),
            "residual": float(result.residual),
            "result_code": result.code.name.lower(),
            "hops": int(result.hops),
            "evaluations": sum(result.evaluations.values()),
            "seconds": float(result.seconds),
        }
        with self._database.transaction() as database:
            if not database.count(unique_id=name):
                others = [other._asdict() for other in result.others]
                database.write(row, pairs, {"evaluations": result.evaluations, "others": others})
        self._kept.add(index)

    def _open(self) -> None:
        try:
            self._database.open()
        except ValueError:
            if not self._force or self._database.file is None:
                raise
            self._database.remove()
            self._database.open()

    def _name(self, index: int) -> str:
        """Of a row: the database has it only once. It says which run, in case two have met here."""
        return f"{self._run}-{index}"

    def _results(self, database: Any) -> dict[int, Result]:
        results = {}
        for row in database.select():
            try:
                values = row.key_value_pairs
                index = values["target"]
                result = Result(
                    atoms=row.toatoms(),
                    residual=values["residual"],
                    code=ResultCode[values["result_code"].upper()],
                    hops=values["hops"],
                    evaluations=dict(row.data["evaluations"]),
                    seconds=values["seconds"],
                    others=tuple(Solution(**other) for other in row.data["others"]),
                )
            # What somebody has changed by hand fails in ASE, NumPy or here, each in its own way.
            except Exception as error:
                raise ValueError(
                    f"expected rows that jaxrecon wrote in {self}, got row {row.id} "
                    f"({type(error).__name__}: {error})"
                ) from error
            if row["unique_id"] == self._name(index):
                results[index] = result
        return results

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
