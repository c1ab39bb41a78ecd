"""Labelled sets as lists of ASE structures that carry their labels, and back."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.runtime.messages import shortened

E_FORM, TRAJECTORY, KIND, METADATA = "e_form", "trajectory", "kind", "metadata"
"""Keys of ``Atoms.info`` that hold these labels."""

ENERGY, FORCES, LOCAL = "energy", "forces", "energies"
"""Names of these results of ASE's calculators."""

NO_ENERGIES = frozenset({E_FORM, TRAJECTORY, KIND, METADATA})
"""Entries of ``Atoms.info`` that are other labels."""

NO_FORCES = frozenset({"positions", "momenta", "numbers", "initial_magmoms"})
"""Arrays of ``Atoms`` that are something else."""


def to_frames(labelled: LabelledSet) -> list[Atoms]:
    """Turn a set into ASE structures with all of their labels.

    Energies (eV), forces (eV/Angstrom) and energies of the atoms (eV) are the results of each
    structure's calculator; formation energy (eV/atom), trajectory, kind and further columns are in
    ``info``. Labels that are unknown are absent. The metadata of the set are in ``info`` of the
    first structure.

    Args:
        labelled: a set with structures.

    Returns:
        New structures, in the order of the set; those of the set stay as they are.

    Raises:
        ValueError: if the set has fingerprints alone.

    >>> frames = to_frames(LabelledSet.of([Atoms("Pt")], energies=[-0.5], kinds=["atom"]))
    >>> frames[0].get_potential_energy(), frames[0].info["kind"]
    (-0.5, 'atom')
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    if labelled.structures is None:
        raise ValueError("expected a set of structures, got one of fingerprints alone")
    frames = []
    for number, original in enumerate(labelled.structures):
        atoms = _bare(original)
        # ASE expects energies and forces in a calculator: other programs look for them there.
        results: dict[str, Any] = {}
        if np.isfinite(labelled.energies[number]):
            results["energy"] = float(labelled.energies[number])
        if labelled.forces is not None and np.isfinite(labelled.forces[number]).all():
            results["forces"] = labelled.forces[number]
        local = None if labelled.local_energies is None else labelled.local_energies[number]
        if local is not None and np.isfinite(local).all():
            results[LOCAL] = local
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        # All else goes to info as plain Python values, which every format of ASE can write.
        if np.isfinite(labelled.formation_energies[number]):
            atoms.info[E_FORM] = float(labelled.formation_energies[number])
        atoms.info[TRAJECTORY] = int(labelled.trajectories[number])
        atoms.info[KIND] = labelled.kinds[number]
        for name, values in labelled.columns.items():
            value = values[number].item()
            # Only NaN, which stands for an unknown number, differs from itself.
            if value == value:
                atoms.info[name] = value
        frames.append(atoms)
    if frames and labelled.metadata:
        frames[0].info[METADATA] = labelled.metadata
    return frames


def from_frames(
    frames: Sequence[Atoms],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    source: str | os.PathLike[str] = "the structures",
) -> LabelledSet:
    """Collect ASE structures and their labels into a set: the inverse of :func:`to_frames`.

    Numbers, flags and words in ``info`` become columns; entries of other types, or of different
    types in different structures, are left out. Energies of another name than those of the
    calculators have neither the formation energies nor the forces of these.

    Args:
        frames: structures, with labels in ``info`` and in the results of their calculators.
        energy_key: name of the total energies in eV, in ``info`` or among the results; None takes
            the ``energy`` of the calculators.
        forces_key: name of the forces in eV/Angstrom, in ``arrays`` or among the results; None
            takes the ``forces`` of the calculators.
        source: file or other origin of the structures, for error messages.

    Returns:
        The set; structures without a ``trajectory`` are trajectories of their own.

    Raises:
        ValueError: if a structure has no number under ``energy_key``, or no forces under
            ``forces_key``.

    >>> from_frames([Atoms("Pt", info={"dft": -0.5})], energy_key="dft").energies.tolist()
    [-0.5]
    """
    infos = [dict(atoms.info) for atoms in frames]
    metadata = infos[0].pop(METADATA, {}) if infos else {}
    results = [{} if atoms.calc is None else atoms.calc.results for atoms in frames]
    # A calculator may have no energy, but under a key every structure must have its own.
    energies = np.array([_number(known.get(ENERGY, np.nan)) for known in results])
    formation = np.array([_number(info.pop(E_FORM, np.nan)) for info in infos])
    forces = [
        _forces(known.get(FORCES), len(atoms)) for atoms, known in zip(frames, results, strict=True)
    ]
    local = [
        _local(known.get(LOCAL), len(atoms)) for atoms, known in zip(frames, results, strict=True)
    ]
    if energy_key is not None:
        chosen = np.array(
            [
                _number(info.pop(energy_key, known.get(energy_key, np.nan)))
                for info, known in zip(infos, results, strict=True)
            ]
        )
        if np.isnan(chosen).any():
            raise _missing("a number", energy_key, int(np.isnan(chosen).argmax()), frames, source)
        if not np.array_equal(chosen, energies):
            formation[:] = np.nan
            if np.isfinite(energies).any():
                forces = [_forces(None, len(atoms)) for atoms in frames]
                local = [_local(None, len(atoms)) for atoms in frames]
        energies = chosen
    if forces_key is not None:
        forces = [
            _forces(atoms.arrays.get(forces_key, known.get(forces_key)), len(atoms))
            for atoms, known in zip(frames, results, strict=True)
        ]
        lacking = [not np.isfinite(values).all() for values in forces]
        if any(lacking):
            raise _missing("forces", forces_key, lacking.index(True), frames, source)
    # What is left in info becomes columns; a trajectory or kind of another type is another
    # program's, and none of ours.
    _complete_trajectories(infos)
    columns = {name: _column(infos, name) for name in sorted({n for info in infos for n in info})}
    trajectories, kinds = columns.pop(TRAJECTORY, None), columns.pop(KIND, None)
    return LabelledSet.of(
        [_bare(atoms) for atoms in frames],
        energies=energies,
        formation_energies=formation,
        trajectories=trajectories if _is(trajectories, "i") else None,
        kinds=kinds.tolist() if kinds is not None and _is(kinds, "U") else None,
        forces=forces if any(np.isfinite(values).any() for values in forces) else None,
        local_energies=local if any(np.isfinite(values).any() for values in local) else None,
        columns={name: values for name, values in columns.items() if values is not None},
        metadata=metadata if isinstance(metadata, dict) else {},
    )


class Keys(NamedTuple):
    """Names under which structures have energies and forces.

    Attributes:
        energies: number of structures that have a number, by its name.
        forces: number of structures that have three numbers for each atom, by their name.
    """

    energies: dict[str, int]
    forces: dict[str, int]


def keys_of(frames: Sequence[Atoms]) -> Keys:
    """Find the names that ``energy_key`` and ``forces_key`` of :func:`from_frames` may have.

    Args:
        frames: structures, with labels in ``info``, in ``arrays`` and in the results of their
            calculators.

    Returns:
        The names, most frequent first.

    >>> keys_of([Atoms("Pt", info={"dft": -0.5, "id": "a"})])
    Keys(energies={'dft': 1}, forces={})
    """
    energies: Counter[str] = Counter()
    forces: Counter[str] = Counter()
    for atoms in frames:
        results = {} if atoms.calc is None else atoms.calc.results
        numbers = {**results, **atoms.info}
        energies.update(
            name
            for name, value in numbers.items()
            if name not in NO_ENERGIES and _is_real(value) and np.ndim(value) == 0
        )
        forces.update(
            name
            for name, value in {**results, **atoms.arrays}.items()
            if name not in NO_FORCES and _is_real(value) and np.shape(value) == (len(atoms), 3)
        )
    return Keys(dict(energies.most_common()), dict(forces.most_common()))


def _missing(
    what: str,
    key: str,
    number: int,
    frames: Sequence[Atoms],
    source: str | os.PathLike[str],
) -> ValueError:
    """The error for a structure without an energy or forces, which names the known names."""
    energies, forces = keys_of(frames[number : number + 1])
    known = ", ".join(forces if what == "forces" else energies) or "none"
    return ValueError(
        f"expected {what} {key!r} of structure {number} of {source}, got none: the structure has "
        f"{shortened(known, 80)}"
    )


def _is_real(value: Any) -> bool:
    """Return whether the value, or every value of an array, is a whole or decimal number."""
    return np.asarray(value).dtype.kind in "iuf"


def _forces(values: Any, atoms: int) -> np.ndarray:
    """Return the values as forces, NaN where they are none."""
    if values is None or not _is_real(values) or np.shape(values) != (atoms, 3):
        return np.full((atoms, 3), np.nan)
    return np.asarray(values, np.float64)


def _local(values: Any, atoms: int) -> np.ndarray:
    """Return the values as energies of atoms, NaN where they are none."""
    if values is None or not _is_real(values) or np.shape(values) != (atoms,):
        return np.full(atoms, np.nan)
    return np.asarray(values, np.float64)


def _is(values: np.ndarray | None, kind: str) -> bool:
    """Return whether the array exists and has this kind of values, as NumPy abbreviates it."""
    return values is not None and values.dtype.kind == kind


def _number(value: Any) -> float:
    """Return the value as a float, NaN if it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _complete_trajectories(infos: Sequence[dict[str, Any]]) -> None:
    """Where others have the number of a trajectory, give those without one an unused number."""
    known = [info[TRAJECTORY] for info in infos if info.get(TRAJECTORY) is not None]
    if not known or any(
        np.ndim(number) or np.asarray(number).dtype.kind != "i" for number in known
    ):
        return
    for unused, info in enumerate(infos, start=1 + max(known)):
        if info.get(TRAJECTORY) is None:
            info[TRAJECTORY] = unused


def _column(infos: Sequence[dict[str, Any]], name: str) -> np.ndarray | None:
    """Return the entries of one name as an array, None unless all are words or all are numbers."""
    values = [info.get(name) for info in infos]
    types = {np.asarray(value).dtype.kind for value in values if value is not None}
    if any(np.asarray(value).ndim for value in values) or not types:
        return None
    if types == {"U"}:
        return np.array(["" if value is None else value for value in values])
    if types <= {"b", "i", "u", "f"}:
        # Without gaps, flags stay flags and integers stay integers.
        dtype = None if len(types) == 1 and None not in values else np.float64
        return np.array([np.nan if value is None else value for value in values], dtype)
    return None


def _bare(atoms: Atoms) -> Atoms:
    """Copy elements, positions, cell and periodicity alone."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
