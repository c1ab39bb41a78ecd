"""Store: every result in a database as soon as it is there, so that no interruption loses it.

A row a target; see :mod:`jaxrecon.runtime.run_store` for what is promised.
"""

import hashlib
from typing import Any

import jax
import numpy as np

from jaxrecon.runtime.run_store import Row, RunStore
from jaxrecon.runtime.versions import versions
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.problems import Problem
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.search.solutions import Solution


class Store(RunStore[int, Result]):
    """Results of one run in an ASE database, committed target by target.

    Every commit is durable when it returns. Positions, cell and residual come back bit for bit (of
    a server: but for the sign of a zero). What a target has cost before an interruption is lost
    with it: ``seconds`` are those from its last start to its end. A result is certified by its
    residual, whatever versions have found it.

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

    PIECE = "target"

    def _rows(self, value: Result) -> list[Row]:
        pairs: dict[str, Any] = {
            "residual": float(value.residual),
            "result_code": value.code.name.lower(),
            "hops": int(value.hops),
            "evaluations": sum(value.evaluations.values()),
            "seconds": float(value.seconds),
        }
        others = [other._asdict() for other in value.others]
        return [Row(value.atoms, pairs, {"evaluations": value.evaluations, "others": others})]

    def _value(self, rows: list[Row]) -> Result:
        [(atoms, values, data)] = rows
        return Result(
            atoms=atoms,
            residual=values["residual"],
            code=ResultCode[values["result_code"].upper()],
            hops=values["hops"],
            evaluations=dict(data["evaluations"]),
            seconds=values["seconds"],
            others=tuple(Solution(**other) for other in data["others"]),
        )


def description(
    alternatives: list[list[Problem]], config: ReconstructConfig, seed: int
) -> dict[str, Any]:
    """All that decides the results of a run, as plain data: what a store is begun with.

    Args:
        alternatives: the problems of each target.
        config: settings of the search.
        seed: of the random numbers.
    """
    problems = [possible[0] for possible in alternatives]
    numbers = hashlib.sha256(b"".join(problem.target.tobytes() for problem in problems))
    fingerprints = list(dict.fromkeys(problem.fingerprint for problem in problems))
    known = [problem.positions for problem in problems]
    guidance = problems[0].guidance if problems else None
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(guidance)]
    guided = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
    return {
        **({} if guidance is None else {"guidance": guided}),
        "fingerprints": [fingerprint.to_dict() for fingerprint in fingerprints],
        "config": config.to_dict(),
        "seed": seed,
        "targets": numbers.hexdigest(),
        "symbols": [" ".join("".join(p.symbols) for p in possible) for possible in alternatives],
        "cells": [
            None if p.cell is None else "unknown" if p.volume is not None else p.cell.tolist()
            for p in problems
        ],
        "positions": [None if x is None else np.nan_to_num(x, nan=1e300).tolist() for x in known],
        "indices": [problem.identity for problem in problems],
        "versions": versions(),
    }
