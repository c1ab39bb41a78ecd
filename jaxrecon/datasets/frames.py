"""Labelled sets as ASE structures that carry what is known of them, and back."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet

E_FORM, TRAJECTORY, KIND, METADATA = "e_form", "trajectory", "kind", "metadata"
"""What these are called in ``info``."""


def to_frames(labelled: LabelledSet) -> list[Atoms]:
    """As :meth:`~jaxrecon.datasets.labelled.LabelledSet.to_atoms`.

    Raises:
        ValueError: if the set has no structures.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    if labelled.structures is None:
        raise ValueError("expected a set of structures, got one of fingerprints alone")
    frames = []
    for number, original in enumerate(labelled.structures):
        atoms = Atoms(original.numbers, original.positions, cell=original.cell, pbc=original.pbc)
        known: dict[str, Any] = {}
        if np.isfinite(labelled.energies[number]):
            known["energy"] = float(labelled.energies[number])
        if labelled.forces is not None and np.isfinite(labelled.forces[number]).all():
            known["forces"] = labelled.forces[number]
        if known:
            atoms.calc = SinglePointCalculator(atoms, **known)
        if np.isfinite(labelled.formation_energies[number]):
            atoms.info[E_FORM] = float(labelled.formation_energies[number])
        atoms.info[TRAJECTORY] = int(labelled.trajectories[number])
        atoms.info[KIND] = labelled.kinds[number]
        for name, values in labelled.columns.items():
            value = values[number].item()
            if value == value:
                atoms.info[name] = value
        frames.append(atoms)
    if frames and labelled.metadata:
        frames[0].info[METADATA] = labelled.metadata
    return frames


def from_frames(
    frames: Sequence[Atoms], source: str | os.PathLike[str], *, key: str | None = None
) -> LabelledSet:
    """A set of ASE structures: the inverse of :func:`to_frames`.

    Args:
        frames: with ``info`` and, where energies are known, a calculator that has them.
        source: what to call them in a message.
        key: name of the total energies in ``info``, where they are not the calculator's.

    Raises:
        ValueError: if a structure has no number of this name.
    """
    infos = [dict(atoms.info) for atoms in frames]
    metadata = infos[0].pop(METADATA, {}) if infos else {}
    results = [{} if atoms.calc is None else atoms.calc.results for atoms in frames]
    energies = [_number(known.get("energy", np.nan)) for known in results]
    if key is not None:
        energies = [_number(info.pop(key, np.nan)) for info in infos]
        if np.isnan(energies).any():
            number = int(np.isnan(energies).argmax())
            raise ValueError(
                f"expected a number {key!r} of structure {number} of {source}, got none"
            )
    forces = [
        np.asarray(known.get("forces", np.full((len(atoms), 3), np.nan)), np.float64)
        for atoms, known in zip(frames, results, strict=True)
    ]
    formation = [_number(info.pop(E_FORM, np.nan)) for info in infos]
    columns = {name: _column(infos, name) for name in sorted({n for info in infos for n in info})}
    trajectories, kinds = columns.pop(TRAJECTORY, None), columns.pop(KIND, None)
    return LabelledSet.of(
        [_bare(atoms) for atoms in frames],
        energies=energies,
        formation_energies=formation,
        trajectories=trajectories if _is(trajectories, "i") else None,
        kinds=kinds.tolist() if kinds is not None and _is(kinds, "U") else None,
        forces=forces if any(np.isfinite(each).any() for each in forces) else None,
        columns={name: values for name, values in columns.items() if values is not None},
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _is(values: np.ndarray | None, kind: str) -> bool:
    return values is not None and values.dtype.kind == kind


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _column(infos: Sequence[dict[str, Any]], name: str) -> np.ndarray | None:
    """Numbers, flags or words of one name, NaN or nothing where there is none; else None."""
    values = [info.get(name) for info in infos]
    there = {np.asarray(value).dtype.kind for value in values if value is not None}
    if any(np.asarray(value).ndim for value in values) or not there:
        return None
    if there == {"U"}:
        return np.array(["" if value is None else value for value in values])
    if there <= {"b", "i", "u", "f"}:
        whole = len(there) == 1 and None not in values
        return np.array([np.nan if v is None else v for v in values], None if whole else np.float64)
    return None


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
