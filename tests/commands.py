"""Helpers for tests of the command line: in this process or another one, with input files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule

from jaxrecon.cli import main
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import write_fingerprints

PLATINUM = Fingerprint.preset("fung2022", ["Pt"])
OLD = b"the old file"


def run(line: str) -> int:
    """Run a command line in this process, and return its exit code."""
    return main.main(shlex.split(line))


def python(
    *arguments: str, folder: Path, own_cache: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process, with the cache of all tests or a cache in the folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    if own_cache:
        for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
            environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def process(
    line: str, folder: Path, *, own_cache: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a new process."""
    words = ("-m", "jaxrecon.cli.main", *shlex.split(line))
    return python(*words, folder=folder, own_cache=own_cache)


def contents(folder: Path) -> dict[str, bytes]:
    """The content of all files of a folder; folders other than the cache count as empty."""
    paths = [path for path in folder.iterdir() if path.name != "cache"]
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in paths}


def flawed(folder: Path) -> dict[str, bytes]:
    """Write fingerprints, structures, old outputs, and files with one flaw each to this folder.

    Return the content of the folder.
    """
    values = np.outer([1.0, 2.0], np.linspace(0.1, 1.0, PLATINUM.size))
    clusters = [Atoms("Pt10", np.zeros((10, 3)))] * 2
    write_fingerprints("pt10.npz", values, PLATINUM, clusters)
    wide = Fingerprint(replace(PLATINUM.descriptor, r_cut=6.0))
    write_fingerprints("wide.npz", values, wide, clusters)
    nan = values.copy()
    nan[1, 7] = np.nan
    for name, rows in {"pt10": values, "nan": nan, "short": values[:, 1:]}.items():
        np.savetxt(f"{name}.csv", rows, delimiter=",")
    ase.io.write("water.xyz", molecule("H2O"))
    Path("word.csv").write_text("1,2\n3,four\n")
    for name in ("text.npz", "text.xyz"):
        Path(name).write_text("hello")
    for name in ("old.npz", "old.extxyz", "details.json", "kept.db"):
        Path(name).write_bytes(OLD)
    for name in ("folder", "folder.db"):
        Path(name).mkdir()
    return contents(folder)
