"""Store: a database that takes every result as soon as it is found, so that none is lost."""

import hashlib
from typing import Any

import jax
import numpy as np

from jaxrecon.runtime.run_store import Row, RunStore
from jaxrecon.runtime.versions import versions
from jaxrecon.search.certificate import Certificate
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.problems import Problem
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.search.solutions import Solution

LATER = ("patience", "position_tolerance")
"""Settings that stores of earlier versions have no word of."""


class Store(RunStore[int, Result]):
    """The results of one run in an ASE database, one row for each target.

    A result is durable when its commit returns. Positions, cell and residual come back bit for bit;
    from a server, except for the sign of a zero. The work on a target that was interrupted is lost:
    ``seconds`` counts from its last start. A run may be continued with other versions of the
    packages, as its residual certifies a result; with more ``hops``, where targets that were not
    solved are searched again from their beginning; and with further targets after those it has.
    Its results are those of a run that was begun with these.

    Several processes may use one store for the same run. The first result of a target is stored,
    and later ones are ignored. A SQLite file must be on a local disk, as network file systems do
    not lock reliably.

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

    >>> from jaxrecon import Store, reconstruct
    >>> store = Store("found.db", resume=True)
    >>> run = reconstruct(targets, fingerprint, symbols="Pt10", store=store)  # doctest: +SKIP
    """

    PIECE = "target"
    LIMITS = ("config.hops",)
    LISTS = ("targets", "fingerprints", "symbols", "cells", "positions", "indices", "noise")

    def _rows(self, value: Result) -> list[Row]:
        """Convert a result to its one row."""
        pairs: dict[str, Any] = {
            "residual": float(value.residual),
            "result_code": value.code.name.lower(),
            "hops": int(value.hops),
            "evaluations": sum(value.evaluations.values()),
            "seconds": float(value.seconds),
        }
        if value.tolerance is not None:
            pairs["tolerance"] = float(value.tolerance)
        if value.certificate is not None:
            pairs["position_error"] = float(value.position_error)
        data = {
            "evaluations": value.evaluations,
            "others": [{**each._asdict(), **_certificate(each)} for each in value.others],
            **_certificate(value),
        }
        return [Row(value.atoms, pairs, data)]

    def _value(self, rows: list[Row]) -> Result:
        """Convert such a row back."""
        [(atoms, values, data)] = rows
        return Result(
            atoms=atoms,
            residual=values["residual"],
            code=ResultCode[values["result_code"].upper()],
            hops=values["hops"],
            evaluations=dict(data["evaluations"]),
            seconds=values["seconds"],
            others=tuple(Solution(**_with_certificate(other)) for other in data["others"]),
            certificate=_with_certificate(data)["certificate"],
            tolerance=values.get("tolerance"),
        )

    def _same(self, key: int, value: Result, known: dict[str, Any], more: set[str]) -> bool:
        """Whether the search for a target ended before its limit, with all solutions."""
        if "config.hops" not in more:
            return True
        config = known["config"]
        residuals = [value.residual, *(other.residual for other in value.others)]
        tolerance = value.tolerance or config["tolerance"]
        solved = sum(residual <= tolerance for residual in residuals)
        # With more hops in all than the limit, several compositions were tried, each up to it.
        return bool(solved >= config["solutions"] and value.hops <= config["hops"])


def _certificate(value: Result | Solution) -> dict[str, Any]:
    """A certificate as plain data by name, for a store."""
    own = value.certificate
    return {"certificate": None if own is None else own._asdict()}


def _with_certificate(data: dict[str, Any]) -> dict[str, Any]:
    """The same with a certificate again; stores of earlier versions have none."""
    own = data.get("certificate")
    if own is None:
        return {**data, "certificate": None}
    bars = tuple(own.get("error_bars", ()))
    return {**data, "certificate": Certificate(**{**own, "error_bars": bars})}


def description(
    alternatives: list[list[Problem]], config: ReconstructConfig, seed: int
) -> dict[str, Any]:
    """Everything that determines the results of a run, as plain data for :meth:`Store.begin`.

    Args:
        alternatives: the problems of each target, one for each composition that it may have.
        config: settings of the search.
        seed: seed of the random numbers.

    Returns:
        The description, by name.
    """
    # Targets and guidance may be large: hashes show as well whether they are the same.
    problems = [possible[0] for possible in alternatives]
    targets = [hashlib.sha256(problem.target.tobytes()).hexdigest()[:16] for problem in problems]
    fingerprints = list(dict.fromkeys(problem.fingerprint for problem in problems))
    known = [problem.positions for problem in problems]
    guidance = problems[0].guidance if problems else None
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(guidance)]
    guided = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
    noises = [p.noise for p in problems if p.noise is not None]
    noise = [hashlib.sha256(each.tobytes()).hexdigest()[:16] for each in noises]
    # Settings that earlier versions did not have count as their defaults.
    defaults, settings = ReconstructConfig().to_dict(), config.to_dict()
    for name in LATER:
        if settings[name] == defaults[name]:
            del settings[name]
    return {
        **({} if guidance is None else {"guidance": guided}),
        **({"noise": noise} if noises else {}),
        "fingerprints": [fingerprint.to_dict() for fingerprint in fingerprints],
        "config": settings,
        "seed": seed,
        "targets": targets,
        "symbols": [" ".join("".join(p.symbols) for p in possible) for possible in alternatives],
        "cells": [
            None if p.cell is None else "unknown" if p.volume is not None else p.cell.tolist()
            for p in problems
        ],
        "positions": [None if x is None else np.nan_to_num(x, nan=1e300).tolist() for x in known],
        "indices": [problem.identity for problem in problems],
        "versions": versions(),
    }
