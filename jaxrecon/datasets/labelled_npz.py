"""Labelled sets as .npz files: atoms of all structures one after the other, in a few arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.runtime.archives import check_version, member, read_archive, reason
from jaxrecon.runtime.files import existing, replacing

VERSION = 1
"""Of the format; a change that an older jaxrecon would misread raises it."""

COLUMN = "column:"
"""What the names of further columns begin with."""


def write_npz(path: Path, labelled: LabelledSet) -> None:
    """Write a set, positions and forces in float32, everything else as it is.

    Args:
        path: of the file; one that is there is replaced by a whole one.
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
        frames, none = labelled.structures, np.zeros((0, 3))
        numbers = np.concatenate([np.zeros(0), *(atoms.numbers for atoms in frames)])
        content["atoms"] = np.array([len(atoms) for atoms in frames], np.int64)
        content["numbers"] = numbers.astype(np.uint8)
        content["positions"] = np.float32(np.vstack([none, *(atoms.positions for atoms in frames)]))
        content["cells"] = np.reshape([atoms.cell.array for atoms in frames], (-1, 3, 3))
        content["pbc"] = np.reshape([atoms.pbc for atoms in frames], (-1, 3)).astype(np.bool_)
        if labelled.forces is not None:
            content["forces"] = np.float32(np.vstack([none, *labelled.forces]))
    if labelled.fingerprints is not None:
        content["fingerprints"] = labelled.fingerprints
    with replacing(path) as draft:
        np.savez_compressed(draft, **content)


def read_npz(path: Path) -> LabelledSet:
    """Read a set.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a set that jaxrecon wrote.
    """
    path = existing(path, "a labelled set")
    expected = f"expected an .npz file of labelled structures that jaxrecon wrote, got {path}"
    content = read_archive(path, expected)
    missing = sorted({"version", "energy", "e_form", "trajectory", "kind", "metadata"} - {*content})
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
    structures, forces = _atoms(content, len(energies), expected)
    return LabelledSet.of(
        structures,
        energies=energies,
        formation_energies=member(content, "e_form", "f", count, expected),
        trajectories=member(content, "trajectory", "i", count, expected),
        kinds=member(content, "kind", "U", count, expected).tolist(),
        forces=forces,
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
) -> tuple[list[Atoms] | None, list[np.ndarray] | None]:
    """The structures and the forces, cut where each structure ends."""
    if "atoms" not in content:
        return None, None
    sizes = member(content, "atoms", "i", (count,), expected)
    total = len(content.get("numbers", ()))
    if (sizes < 1).any() or sizes.sum() != total:
        raise ValueError(f"{expected} with {total} atoms in structures of {sizes.tolist()}")
    ends = np.cumsum(sizes)[:-1]
    kinds = member(content, "numbers", "u", (total,), expected)
    if total and not 1 <= kinds.min() <= kinds.max() < len(chemical_symbols):
        raise ValueError(f"{expected} with atomic numbers {kinds.min()}-{kinds.max()}")
    positions = np.split(member(content, "positions", "f", (total, 3), expected), ends)
    cells = member(content, "cells", "f", (count, 3, 3), expected)
    periodic = member(content, "pbc", "b", (count, 3), expected)
    forces = None
    if "forces" in content:
        forces = np.split(member(content, "forces", "f", (total, 3), expected), ends)
    structures = [
        Atoms(own, places, cell=cell, pbc=repeats)
        for own, places, cell, repeats in zip(
            np.split(kinds, ends), positions, cells, periodic, strict=False
        )
    ]
    return structures, forces
