"""A run and its results with numbers of all digits, for tests of the store."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.certificate import Certificate
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.search.solutions import Solution

PLATINUM = Fingerprint.preset("fung2022", ["Pt"])
DESCRIPTION = {
    "fingerprint": PLATINUM.to_dict(),
    "config": ReconstructConfig().to_dict(),
    "seed": 3,
    "targets": "0123456789abcdef" * 4,
    "symbols": ["Pt3", "PtO2"],
    "cells": [None, [[4.0, 0.0, 0.0], [0.1, 5.0, 0.0], [0.2, 0.3, 6.0]]],
    "indices": [0, 1],
    "versions": {"jax": "0.10.1"},
}


def result(number: int = 0, **changes: Any) -> Result:
    """A result with numbers of all digits, which a short text would lose."""
    random = np.random.default_rng(number)
    cell = random.normal(size=(3, 3)) if number % 2 else None
    values = {
        "atoms": Atoms("PtO2", random.normal(size=(3, 3)), cell=cell, pbc=cell is not None),
        "residual": random.uniform() / 3e7,
        "code": ResultCode.CONVERGED,
        "hops": number + 1,
        "evaluations": {"values": 7, "gradients": 0, "jacobians": number},
        "seconds": random.uniform(),
        "certificate": Certificate(3, number % 2, random.uniform(), np.inf, random.uniform()),
        "tolerance": 1e-5 / 3,
    }
    return Result(**{**values, **changes})


def solution(number: int) -> Solution:
    each = result(number)
    return Solution(each.atoms, each.residual, each.certificate if number % 2 else None)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The description with another value at a place like ``config.hops``."""
    description = copy.deepcopy(DESCRIPTION)
    *outer, last = path.split(".")
    place: Any = description
    for key in outer:
        place = place[key]
    place[last] = value
    return description


def assert_same(found: Result, expected: Result) -> None:
    """Assert that two results are equal bit for bit."""
    pairs = [(found, expected), *zip(found.others, expected.others, strict=True)]
    for one, other in pairs:
        for value, wanted in (
            (one.atoms.positions, other.atoms.positions),
            (one.atoms.cell.array, other.atoms.cell.array),
            (np.float64(one.residual), np.float64(other.residual)),
        ):
            assert value.dtype == wanted.dtype == np.float64
            assert value.tobytes() == wanted.tobytes()
        assert one.certificate == other.certificate
        assert one.atoms.numbers.tolist() == other.atoms.numbers.tolist()
        assert one.atoms.pbc.tolist() == other.atoms.pbc.tolist()
    assert type(found.code) is type(expected.code)
    assert json.dumps(found.to_dict()) == json.dumps(expected.to_dict())


def script(code: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process, with the names of this module."""
    helpers = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    return subprocess.run(
        [sys.executable, "-c", f"{helpers}\n{textwrap.dedent(code)}", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
