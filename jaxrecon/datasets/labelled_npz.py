"""Labelled sets as ``.npz`` files: a few arrays with the atoms of all structures in sequence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.runtime.archives import check_version, member, read_archive
from jaxrecon.runtime.files import existing, replacing
from jaxrecon.runtime.messages import reason

VERSION = 1
"""Version of the format, to be raised by changes that older versions of jaxrecon would misread."""

COLUMN = "column:"
"""Prefix of the names of arrays that hold further columns."""


def write_npz(path: Path, labelled: LabelledSet) -> None:
    """Write a set, with positions and labels of atoms in float32 and everything else unchanged.

    Args:
        path: file to write; an existing one is replaced only by a complete one.
        labelled: the set.

    Raises:
        OSError: if the file can't be written.
    """
    content: dict[str, Any] = {
        "version": np.int64(VERSION),
        "energy": labelled.energies,
        "e_form": labelled.formation_energies,
        "trajectory": labelled.trajectories,
        "kind": np.array(labelled.kinds, dtype=np.str_),
        "metadata": np.str_(json.dumps(labelled.metadata)),
        **{COLUMN + name: values for name, values in labelled.columns.items()},
    }
    if labelled.structures is not None:
        # The empty arrays keep the shapes right where there is no structure to join.
        frames, empty = labelled.structures, np.zeros((0, 3))
        numbers = np.concatenate([np.zeros(0), *(atoms.numbers for atoms in frames)])
        content["atoms"] = np.array([len(atoms) for atoms in frames], np.int64)
        content["numbers"] = numbers.astype(np.uint8)
        content["positions"] = np.float32(
            np.vstack([empty, *(atoms.positions for atoms in frames)])
        )
        content["cells"] = np.reshape([atoms.cell.array for atoms in frames], (-1, 3, 3))
        content["pbc"] = np.reshape([atoms.pbc for atoms in frames], (-1, 3)).astype(np.bool_)
        if labelled.forces is not None:
            content["forces"] = np.float32(np.vstack([empty, *labelled.forces]))
        if labelled.local_energies is not None:
            content["local_energy"] = np.float32(
                np.concatenate([np.zeros(0), *labelled.local_energies])
            )
    if labelled.fingerprints is not None:
        content["fingerprints"] = labelled.fingerprints
    with replacing(path) as draft:
        np.savez_compressed(draft, **content)


def read_npz(path: Path) -> LabelledSet:
    """Read a set that :func:`write_npz` wrote.

    Args:
        path: file to read.

    Returns:
        Positions in Angstrom, energies in eV and eV/atom, forces in eV/Angstrom, in float64.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged, or jaxrecon did not write it.
    """
    # Every array is checked before it is used: the file may come from anywhere.
    path = existing(path, "a labelled set")
    expected = f"expected an .npz file of labelled structures that jaxrecon wrote, got {path}"
    content = read_archive(path, expected)
    missing = sorted({"version", "energy", "e_form", "trajectory", "kind", "metadata"} - {*content})
    if missing and {"values", "fingerprint"} <= {*content}:
        raise ValueError(f"{expected}, which has fingerprints without structures")
    if missing:
        raise ValueError(f"{expected} without {missing}")
    check_version(content, VERSION, path)
    energies = member(content, "energy", "f", (None,), expected)
    count = (len(energies),)
    fingerprints = None
    if "fingerprints" in content:
        fingerprints = member(content, "fingerprints", "f", (*count, None), expected)
    try:
        metadata = dict(json.loads(str(content["metadata"])))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{expected} with unreadable metadata ({reason(error)})") from error
    structures, forces, local = _atoms(content, len(energies), expected)
    return LabelledSet.of(
        structures,
        energies=energies,
        formation_energies=member(content, "e_form", "f", count, expected),
        trajectories=member(content, "trajectory", "i", count, expected),
        kinds=member(content, "kind", "U", count, expected).tolist(),
        forces=forces,
        local_energies=local,
        fingerprints=fingerprints,
        columns={
            name.removeprefix(COLUMN): values
            for name, values in content.items()
            if name.startswith(COLUMN)
        },
        metadata=metadata,
    )


def _atoms(
    content: dict[str, np.ndarray], count: int, expected: str
) -> tuple[list[Atoms] | None, list[np.ndarray] | None, list[np.ndarray] | None]:
    """Structures, forces and local energies: arrays of all atoms cut where a structure ends."""
    if "atoms" not in content:
        return None, None, None
    sizes = member(content, "atoms", "i", (count,), expected)
    total = len(content.get("numbers", ()))
    if (sizes < 1).any() or sizes.sum() != total:
        raise ValueError(f"{expected} with {total} atoms in structures of {sizes.tolist()}")
    ends = np.cumsum(sizes)[:-1]
    numbers = member(content, "numbers", "u", (total,), expected)
    if total and not 1 <= numbers.min() <= numbers.max() < len(chemical_symbols):
        raise ValueError(f"{expected} with atomic numbers {numbers.min()}-{numbers.max()}")
    positions = member(content, "positions", "f", (total, 3), expected)
    cells = member(content, "cells", "f", (count, 3, 3), expected)
    periodic = member(content, "pbc", "b", (count, 3), expected)
    forces = None
    if "forces" in content:
        forces = np.split(member(content, "forces", "f", (total, 3), expected), ends)
    local = None
    if "local_energy" in content:
        local = np.split(member(content, "local_energy", "f", (total,), expected), ends)
    # Not strict: for no structures np.split returns one empty part.
    structures = [
        Atoms(elements, places, cell=cell, pbc=pbc)
        for elements, places, cell, pbc in zip(
            np.split(numbers, ends), np.split(positions, ends), cells, periodic, strict=False
        )
    ]
    return structures, forces, local
