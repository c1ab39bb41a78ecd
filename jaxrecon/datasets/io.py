"""Reading and writing of labelled sets: jaxrecon's own files, ASE's formats, tables, folders."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from ase import Atoms

from jaxrecon.datasets.embedded import load, names
from jaxrecon.datasets.frames import from_frames, to_frames
from jaxrecon.datasets.labelled import LabelledSet, Quantity
from jaxrecon.datasets.labelled_npz import read_npz, write_npz
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.runtime.files import existing
from jaxrecon.runtime.messages import reason
from jaxrecon.structures.io import read_structures, write_structures

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""Endings of archives, which are read like folders."""


def read_labelled(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    targets: str | os.PathLike[str] | None = None,
    quantity: Quantity = "e_form",
    bulk: Mapping[str, float] | None = None,
) -> LabelledSet:
    """Read structures, or fingerprints, and their labels.

    The name of the path decides how it is read:

    - ``pt10`` or ``pt10_pbe``, if no such file exists: a set that comes with the package;
    - ``.npz``: a set that jaxrecon wrote;
    - ``.csv``: fingerprints, one row per structure, whose energies are in a second file,
      ``name_y.csv`` beside ``name_x.csv``;
    - a folder, ``.tar``, ``.tar.gz``, ``.tgz`` or ``.zip``: one file per structure (any format of
      ASE) and ``targets.csv`` with lines ``name,number,...``, the layout of MatDeepLearn;
    - ``.db``: a database of ASE;
    - anything else: structures in a format of ASE, like ``.extxyz``. From these and from a
      database, all numbers, flags and words that belong to a structure become columns.

    Args:
        path: the file, the folder or the name of an embedded set.
        key: name of the total energies in eV; None takes those of ASE's calculators.
        targets: for ``.csv``, the file of energies if it is not ``name_y.csv``.
        quantity: for ``.csv`` and ``targets.csv``, whether the (first) numbers are total energies
            in eV, ``"energy"``, or formation energies in eV/atom, ``"e_form"``.
        bulk: energies of the elements in eV/atom; formation energies are then computed from the
            total ones.

    Returns:
        Positions in Angstrom, energies in eV and eV/atom, forces in eV/Angstrom; unknown numbers
        are NaN.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if the content does not match the name of the path, or an energy that was asked
            for is missing.

    >>> read_labelled("clusters.extxyz", key="dft_energy", bulk={"Pt": -6.1})  # doctest: +SKIP
    """
    if quantity not in get_args(Quantity):
        raise ValueError(f"expected quantity among {get_args(Quantity)}, got {quantity!r}")
    name, path = os.fspath(path), Path(path)
    if not path.exists() and not path.suffix:
        if name not in names():
            expected = f"expected a file, a folder or a set among {names()}"
            raise FileNotFoundError(f"{expected}, got {path}, which does not exist")
        labelled = load(name)
    elif path.is_dir() or path.name.endswith(ARCHIVES):
        from jaxrecon.datasets.matdeeplearn import read_folder

        labelled = read_folder(path, quantity)
    elif path.suffix == ".csv":
        labelled = _read_pair(path, targets, quantity)
    elif path.suffix == ".npz":
        labelled = read_npz(path)
    else:
        frames = _read_database(path) if path.suffix == ".db" else read_structures(path)
        labelled = from_frames(frames, key=key, source=path)
    return labelled if bulk is None else _with_formation_energies(labelled, bulk, path)


def write_labelled(path: str | os.PathLike[str], labelled: LabelledSet) -> None:
    """Write a set as a compact ``.npz`` file or, for other programs, as ``.extxyz``.

    An ``.npz`` file has positions and forces in float32. An existing file is replaced only by a
    complete one.

    Args:
        path: file to write.
        labelled: the set.

    Raises:
        ValueError: if the suffix is another one, or a set of fingerprints is to go to ``.extxyz``.
        OSError: if the file can't be written.

    >>> write_labelled("clusters.npz", load("pt10_pbe").select(range(10)))  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix == ".npz":
        write_npz(path, labelled)
    elif path.suffix == ".extxyz":
        if labelled.fingerprints is not None:
            raise ValueError(f"expected an .npz file to write fingerprints to, got {path}")
        write_structures(path, to_frames(labelled))
    else:
        raise ValueError(f"expected a set to be written to .npz or .extxyz, got {path}")


def _read_database(path: Path) -> list[Atoms]:
    """Read the structures of an ASE database, with the key-value pairs of each row in ``info``."""
    from ase.db import connect

    path = existing(path, "a database of ASE")
    try:
        rows = list(connect(path, type="db").select())
        frames = [row.toatoms() for row in rows]
    # SQLite, JSON and ASE raise different exceptions for a damaged file.
    except Exception as error:
        raise ValueError(
            f"expected a database that ASE can read, got {path} ({reason(error)})"
        ) from error
    if not frames:
        raise ValueError(f"expected at least one structure in {path}, got none")
    for atoms, row in zip(frames, rows, strict=True):
        atoms.info = dict(row.key_value_pairs)
    return frames


def _read_pair(
    path: Path, targets: str | os.PathLike[str] | None, quantity: Quantity
) -> LabelledSet:
    """Read fingerprints from one table and their energies from a second one."""
    if targets is None:
        if not path.stem.endswith("_x"):
            raise ValueError(f"expected a file of fingerprints like name_x.csv, got {path}")
        targets = path.with_name(path.stem.removesuffix("_x") + "_y.csv")
    fingerprints = read_fingerprints(path).values
    targets = existing(targets, f"the energies of the fingerprints in {path}")
    energies = read_fingerprints(targets).values
    if energies.shape != (len(fingerprints), 1):
        raise ValueError(
            f"expected {len(fingerprints)} rows of one number in {targets}, as {path} has, got "
            f"shape {energies.shape}"
        )
    return LabelledSet.of(
        fingerprints=fingerprints,
        energies=energies[:, 0] if quantity == "energy" else None,
        formation_energies=energies[:, 0] if quantity == "e_form" else None,
    )


def _with_formation_energies(
    labelled: LabelledSet, bulk: Mapping[str, float], path: Path
) -> LabelledSet:
    """Replace the formation energies by those that the total energies give."""
    from jaxrecon.potentials.energies import formation_energy

    if labelled.structures is None:
        raise ValueError(f"expected structures to refer to the bulk, got none in {path}")
    values = [
        formation_energy(energy, atoms.symbols, bulk)
        for energy, atoms in zip(labelled.energies, labelled.structures, strict=True)
    ]
    return replace(labelled, formation_energies=np.array(values))
