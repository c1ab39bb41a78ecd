"""Labelled sets out of files that others wrote: structures with energies, databases, tables."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from ase import Atoms

from jaxrecon.datasets.frames import from_frames
from jaxrecon.datasets.labelled import LabelledSet, Quantity, load, names
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.runtime.archives import reason
from jaxrecon.runtime.files import existing
from jaxrecon.structures.io import read_structures


def read_labelled(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    targets: str | os.PathLike[str] | None = None,
    quantity: Quantity = "e_form",
    bulk: Mapping[str, float] | None = None,
) -> LabelledSet:
    """Read structures, or fingerprints, and what is known of them.

    By its name a path is one of these:

    - ``pt10`` or ``pt10_pbe``, where there is no such file: a set that comes with the package;
    - ``.npz``: a set that jaxrecon wrote;
    - ``.csv``: fingerprints, one row each, with the numbers that they are for in another file,
      ``name_y.csv`` beside ``name_x.csv``;
    - a folder, ``.tar``, ``.tar.gz``, ``.tgz`` or ``.zip``: one file a structure (any format of
      ASE), and ``targets.csv`` of lines ``name,number,...``, as MatDeepLearn has them;
    - ``.db``: a database of ASE;
    - anything else: structures in a format of ASE, like ``.extxyz``. Of these and of a database all
      numbers, flags and words that belong to a structure become columns.

    Args:
        path: of the file or folder.
        key: name of the total energies in eV, where they are not the calculator's.
        targets: for ``.csv`` the file of numbers, if it has another name.
        quantity: of the first numbers of ``.csv`` and ``targets.csv``: total energies in eV, or
            formation energies in eV/atom.
        bulk: energies of the elements in eV/atom, to get formation energies from total ones.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read as what its name says, or what is asked for is not there.

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
        from jaxrecon.datasets.labelled_npz import read_npz

        labelled = read_npz(path)
    else:
        frames = _read_database(path) if path.suffix == ".db" else read_structures(path)
        labelled = from_frames(frames, path, key=key)
    return labelled if bulk is None else _referred(labelled, bulk, path)


ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""How the names of archives end that are read like folders."""


def _read_database(path: Path) -> list[Atoms]:
    from ase.db import connect

    path = existing(path, "a database of ASE")
    try:
        rows = list(connect(path, type="db").select())
        frames = [row.toatoms() for row in rows]
    # SQLite, JSON and ASE fail each in their own way.
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
    """Fingerprints in one file of numbers, and what they are for in another."""
    if targets is None:
        if not path.stem.endswith("_x"):
            raise ValueError(f"expected a file of fingerprints like name_x.csv, got {path}")
        targets = path.with_name(path.stem.removesuffix("_x") + "_y.csv")
    values = read_fingerprints(path).values
    other = existing(targets, f"the numbers that {path} is for")
    numbers = read_fingerprints(other).values
    if numbers.shape != (len(values), 1):
        raise ValueError(
            f"expected {len(values)} rows of one number in {other}, as {path} has, got shape "
            f"{numbers.shape}"
        )
    return LabelledSet.of(
        fingerprints=values,
        energies=numbers[:, 0] if quantity == "energy" else None,
        formation_energies=numbers[:, 0] if quantity == "e_form" else None,
    )


def _referred(labelled: LabelledSet, bulk: Mapping[str, float], path: Path) -> LabelledSet:
    """The set with formation energies from the total ones."""
    from jaxrecon.potentials.energies import formation_energy

    if labelled.structures is None:
        raise ValueError(f"expected structures to refer to the bulk, got none in {path}")
    values = [
        formation_energy(energy, atoms.symbols, bulk)
        for energy, atoms in zip(labelled.energies, labelled.structures, strict=True)
    ]
    return replace(labelled, formation_energies=np.array(values))
