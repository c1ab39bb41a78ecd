"""Reading and writing of labelled sets: jaxrecon's own files, ASE's formats, tables, folders."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from ase import Atoms

from jaxrecon.datasets.embedded import load, names
from jaxrecon.datasets.frames import ENERGY, FORCES, Keys, from_frames, keys_of, to_frames
from jaxrecon.datasets.labelled import LabelledSet, Quantity, joined
from jaxrecon.datasets.labelled_npz import read_npz, write_npz
from jaxrecon.datasets.matdeeplearn import TARGETS, read_folder
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.runtime.files import existing
from jaxrecon.runtime.messages import reason, shortened
from jaxrecon.structures.io import Source, files_of, read_structures, write_structures

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
"""Endings of archives, which are read like folders."""


def read_labelled(
    source: Source | Sequence[Source],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    targets: str | os.PathLike[str] | None = None,
    quantity: Quantity | None = None,
    bulk: Mapping[str, float] | None = None,
) -> LabelledSet:
    """Read structures, or fingerprints, and their labels.

    The name of a source decides how it is read:

    - ``pt10`` or ``pt10_pbe``, if no such file exists: a set that comes with the package;
    - ``.npz``: a set that jaxrecon wrote;
    - ``.csv``: fingerprints, one row per structure, whose energies are in a second file,
      ``name_y.csv`` beside ``name_x.csv``;
    - a folder with ``targets.csv``, ``.tar``, ``.tar.gz``, ``.tgz`` or ``.zip``: one file per
      structure (any format of ASE) and ``targets.csv`` with lines ``name,number,...``, the layout
      of MatDeepLearn;
    - ``.db``: a database of ASE;
    - any other folder: all of its files, as by :func:`~jaxrecon.structures.io.read_structures`;
    - anything else: structures in a format of ASE, like ``.extxyz``, and ``"-"`` for such on
      standard input. From these and from a database, all numbers, flags and words that belong to a
      structure become columns.

    Several sources are joined; each has trajectories of its own.

    Args:
        source: a file, a folder, ``"-"`` or the name of an embedded set; or several of these.
        energy_key: name of the total energies in eV; None takes those of ASE's calculators, or for
            ``.npz`` those of the set. Formation energies of a file belong to the latter: with other
            energies they are unknown, unless ``bulk`` gives them.
        forces_key: name of the forces in eV/Angstrom; None takes those of the calculators, if they
            belong to the energies.
        targets: for ``.csv``, the file of energies if it is not ``name_y.csv``.
        quantity: for ``.csv`` and ``targets.csv``, whether the (first) numbers are total energies
            in eV, ``"energy"``, or formation energies in eV/atom, ``"e_form"``; None for total
            energies if ``bulk`` is given.
        bulk: energies of the elements in eV/atom; formation energies are then computed from the
            total ones.

    Returns:
        Positions in Angstrom, energies in eV and eV/atom, forces in eV/Angstrom; unknown numbers
        are NaN.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if the content does not match the name of the path, or an energy or forces that
            were asked for are missing.

    >>> read_labelled("set.extxyz", energy_key="dft", bulk={"Pt": -6.1})  # doctest: +SKIP
    """
    return read_with_keys(
        source,
        energy_key=energy_key,
        forces_key=forces_key,
        targets=targets,
        quantity=quantity,
        bulk=bulk,
    )[0]


def read_with_keys(
    source: Source | Sequence[Source],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    targets: str | os.PathLike[str] | None = None,
    quantity: Quantity | None = None,
    bulk: Mapping[str, float] | None = None,
) -> tuple[LabelledSet, Keys]:
    """Read a set like :func:`read_labelled`, and the names that energies and forces may have.

    Args:
        source: as for :func:`read_labelled`, like all other arguments.
        energy_key: name of the total energies.
        forces_key: name of the forces.
        targets: file of energies.
        quantity: meaning of numbers in tables.
        bulk: energies of the elements in eV/atom.

    Returns:
        The set, and the names that ``energy_key`` and ``forces_key`` may have.

    Raises:
        ValueError: as :func:`read_labelled`.
        FileNotFoundError: as :func:`read_labelled`.
    """
    if quantity is None:
        quantity = "e_form" if bulk is None else "energy"
    if quantity not in get_args(Quantity):
        raise ValueError(f"expected quantity among {get_args(Quantity)}, got {quantity!r}")
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    sets: dict[str, LabelledSet] = {}
    energies: Counter[str] = Counter()
    forces: Counter[str] = Counter()
    for item in sources:
        for part in _parts(item):
            labelled, keys = _read(part, energy_key, forces_key, targets, quantity)
            name = os.fspath(part)
            # A source that is given twice counts twice.
            sets[name if name not in sets else f"{name} ({len(sets)})"] = labelled
            energies.update(keys.energies)
            forces.update(keys.forces)
    labelled = joined(sets)
    if bulk is not None:
        labelled = with_formation_energies(labelled, bulk, ", ".join(map(str, sources)))
    return labelled, Keys(dict(energies), dict(forces))


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


def with_formation_energies(
    labelled: LabelledSet, bulk: Mapping[str, float], source: str = "the set"
) -> LabelledSet:
    """Compute the formation energies that the total energies give.

    Args:
        labelled: structures with total energies in eV.
        bulk: energies of the elements in eV/atom.
        source: file or other origin of the set, for error messages.

    Returns:
        The set with these formation energies in eV/atom, NaN where the total energy is.

    Raises:
        ValueError: if the set has fingerprints alone or no total energies, or ``bulk`` lacks an
            element.
    """
    from jaxrecon.potentials.energies import formation_energy

    if labelled.structures is None:
        raise ValueError(f"expected structures to refer to the bulk, got none in {source}")
    if not np.isfinite(labelled.energies).any():
        raise ValueError(
            f"expected total energies to refer to the bulk, got none in {source}: name them by "
            "--energy-key (energy_key in Python); `jaxrecon dataset info` lists the names"
        )
    values = [
        formation_energy(energy, atoms.symbols, bulk)
        for energy, atoms in zip(labelled.energies, labelled.structures, strict=True)
    ]
    return replace(labelled, formation_energies=np.array(values))


def _parts(source: Source) -> list[Source]:
    """The files of a folder of structures, or the source itself."""
    path = Path(source)
    if path.is_dir() and not (path / TARGETS).exists() and not any(path.rglob(TARGETS)):
        return list(files_of(path))
    return [source]


def _read(
    source: Source,
    energy_key: str | None,
    forces_key: str | None,
    targets: str | os.PathLike[str] | None,
    quantity: Quantity,
) -> tuple[LabelledSet, Keys]:
    """Read one source, and the names that energies and forces may have in it."""
    name, path = os.fspath(source), Path(source)
    if name != "-" and not path.exists() and not path.suffix:
        if name not in names():
            expected = f"expected a file, a folder or a set among {names()}"
            raise FileNotFoundError(f"{expected}, got {path}, which does not exist")
        return _with_keys(load(name), energy_key, forces_key, name)
    if path.is_dir() or path.name.endswith(ARCHIVES):
        return _with_keys(read_folder(path, quantity), energy_key, forces_key, name)
    if path.suffix == ".csv":
        return _with_keys(_read_pair(path, targets, quantity), energy_key, forces_key, name)
    if path.suffix == ".npz":
        return _with_keys(read_npz(path), energy_key, forces_key, name)
    frames = _read_database(path) if path.suffix == ".db" else read_structures(source)
    keys = keys_of(frames)
    source = "standard input" if name == "-" else path
    labelled = from_frames(frames, energy_key=energy_key, forces_key=forces_key, source=source)
    return labelled, keys


def _with_keys(
    labelled: LabelledSet, energy_key: str | None, forces_key: str | None, name: str
) -> tuple[LabelledSet, Keys]:
    """Choose the energies of a set that is not read from frames: its own, or a column."""
    numbers = {
        name: values for name, values in labelled.columns.items() if values.dtype.kind in "iuf"
    }
    candidates = {ENERGY: labelled.energies, **numbers}
    known = {key: int(np.isfinite(values).sum()) for key, values in candidates.items()}
    keys = Keys(
        {key: count for key, count in known.items() if count},
        {} if labelled.forces is None else {FORCES: len(labelled)},
    )
    if forces_key is not None and forces_key not in keys.forces:
        found = ", ".join(keys.forces) or "none"
        raise ValueError(f"expected forces {forces_key!r} in {name}, got {found}")
    if energy_key not in {None, ENERGY}:
        if keys.energies.get(energy_key) != len(labelled):
            found = shortened(", ".join(keys.energies), 80) or "none"
            raise ValueError(
                f"expected a number {energy_key!r} of every structure in {name}, got {found}"
            )
        labelled = replace(
            labelled,
            energies=np.asarray(numbers[energy_key], np.float64),
            formation_energies=np.full(len(labelled), np.nan),
            forces=labelled.forces if forces_key is not None else None,
            columns={key: values for key, values in labelled.columns.items() if key != energy_key},
        )
    return labelled, keys


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
