"""Labelled sets as plain data: structures, their labels and their trajectories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int

Quantity = Literal["energy", "e_form"]
"""Total energies in eV, or formation energies in eV/atom."""

PLAIN = "biufU"
"""Kinds of values that a column may have, as NumPy abbreviates them: numbers, flags, words."""


@dataclass(frozen=True, eq=False, repr=False)
class LabelledSet:
    """Structures, or fingerprints alone, with their labels.

    :meth:`of` makes a set of which not every label is known.
    :func:`~jaxrecon.datasets.io.read_labelled` and :func:`~jaxrecon.datasets.io.write_labelled`
    read and write sets, :func:`~jaxrecon.datasets.frames.to_frames` turns one into ASE structures.

    Attributes:
        structures: positions in Angstrom; None for a set of fingerprints alone.
        energies: total energies in eV, NaN where unknown.
        formation_energies: in eV/atom, NaN where unknown.
        trajectories: number of the relaxation that a structure comes from; perturbed copies have
            the number of their parent.
        kinds: origin of a structure, like ``"minimum"``, ``"intermediate"`` or ``"rattled"``.
        forces: one array of shape (atoms, 3) per structure in eV/Angstrom, NaN where unknown; None
            if all are unknown.
        local_energies: energies of the atoms of each structure in eV, NaN where unknown; None if
            all are unknown.
        fingerprints: one row per structure, without a unit; None for a set without them.
        columns: further numbers, flags or words by name, one per structure, like ``"e_form_pbe"``.
        metadata: settings and versions that made the set, as plain data for JSON.

    Raises:
        ValueError: if lengths or shapes differ, or the set has neither structures nor fingerprints.
    """

    structures: list[Atoms] | None
    energies: Float[np.ndarray, " n"]
    formation_energies: Float[np.ndarray, " n"]
    trajectories: Int[np.ndarray, " n"]
    kinds: list[str]
    forces: list[np.ndarray] | None = None
    local_energies: list[np.ndarray] | None = None
    fingerprints: Float[np.ndarray, "n p"] | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.structures is None and self.fingerprints is None:
            raise ValueError("expected structures or fingerprints, got neither")
        lengths = {
            "structures": self.structures,
            "formation_energies": self.formation_energies,
            "trajectories": self.trajectories,
            "kinds": self.kinds,
            "forces": self.forces,
            "local_energies": self.local_energies,
            "fingerprints": self.fingerprints,
            **self.columns,
        }
        for name, values in lengths.items():
            if values is not None and len(values) != len(self):
                raise ValueError(f"expected {len(self)} {name}, got {len(values)}")
        for name, values in self.columns.items():
            if values.ndim != 1 or values.dtype.kind not in PLAIN:
                raise ValueError(
                    f"expected numbers, flags or words in column {name}, one per structure, got "
                    f"shape {values.shape} and type {values.dtype}"
                )
        for number, (atoms, forces) in enumerate(
            zip(self.structures or [], self.forces or [], strict=False)
        ):
            if forces.shape != (len(atoms), 3):
                raise ValueError(
                    f"expected forces of shape {(len(atoms), 3)} for structure {number}, got "
                    f"{forces.shape}"
                )

        for number, (atoms, local) in enumerate(
            zip(self.structures or [], self.local_energies or [], strict=False)
        ):
            if local.shape != (len(atoms),):
                raise ValueError(
                    f"expected {len(atoms)} local energies for structure {number}, got shape "
                    f"{local.shape}"
                )

    @classmethod
    def of(
        cls,
        structures: Sequence[Atoms] | None = None,
        *,
        energies: Sequence[float] | np.ndarray | None = None,
        formation_energies: Sequence[float] | np.ndarray | None = None,
        trajectories: Sequence[int] | np.ndarray | None = None,
        kinds: Sequence[str] | None = None,
        forces: Sequence[np.ndarray] | None = None,
        local_energies: Sequence[np.ndarray] | None = None,
        fingerprints: Float[np.ndarray, "n p"] | None = None,
        columns: dict[str, np.ndarray] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> "LabelledSet":
        """Make a set of which not every label is known.

        Args:
            structures: positions in Angstrom; None for a set of fingerprints alone.
            energies: total energies in eV; None for unknown.
            formation_energies: in eV/atom; None for unknown.
            trajectories: number of the relaxation that a structure comes from; None makes every
                structure a trajectory of its own.
            kinds: origin of a structure; None for ``"unknown"``.
            forces: one array of shape (atoms, 3) per structure in eV/Angstrom.
            local_energies: energies of the atoms of each structure in eV.
            fingerprints: one row per structure, without a unit.
            columns: further numbers, flags or words by name, one per structure.
            metadata: settings and versions that made the set, as plain data for JSON.

        Returns:
            The set, with NaN for unknown energies.

        Raises:
            ValueError: if lengths or shapes differ, or neither structures nor fingerprints are
                given.

        >>> from ase.build import molecule
        >>> two = LabelledSet.of([molecule("H2"), molecule("O2")], energies=[-6.7, -9.8])
        >>> len(two), two.trajectories.tolist(), two.kinds
        (2, [0, 1], ['unknown', 'unknown'])
        """
        present = structures if structures is not None else fingerprints
        count = 0 if present is None else len(present)

        def numbers(values: Sequence[float] | np.ndarray | None) -> np.ndarray:
            return np.full(count, np.nan) if values is None else np.asarray(values, np.float64)

        return cls(
            structures=None if structures is None else list(structures),
            energies=numbers(energies),
            formation_energies=numbers(formation_energies),
            trajectories=np.arange(count) if trajectories is None else np.asarray(trajectories),
            kinds=["unknown"] * count if kinds is None else [str(kind) for kind in kinds],
            forces=None
            if forces is None
            else [np.asarray(values, np.float64) for values in forces],
            local_energies=None
            if local_energies is None
            else [np.asarray(values, np.float64) for values in local_energies],
            fingerprints=fingerprints,
            columns={name: np.asarray(values) for name, values in (columns or {}).items()},
            metadata=metadata or {},
        )

    def __len__(self) -> int:
        return len(self.energies)

    def __repr__(self) -> str:
        content = "fingerprints" if self.structures is None else "structures"
        return f"<LabelledSet of {len(self)} {content}>"

    def with_property(self, name: str) -> "LabelledSet":
        """Take the numbers of a column for the property to learn, in place of formation energies.

        Args:
            name: name of the column, such as a band gap or a heat of formation.

        Returns:
            The set without energies and forces, with these numbers as its ``formation_energies``.

        Raises:
            ValueError: if there is no such column of numbers, or a structure has none in it.

        >>> pair = LabelledSet.of([Atoms("Pt")] * 2, columns={"gap": np.array([0.0, 1.5])})
        >>> pair.with_property("gap").formation_energies.tolist()
        [0.0, 1.5]
        """
        numbers = [key for key, column in self.columns.items() if column.dtype.kind in "iuf"]
        if name not in numbers:
            found = ", ".join(numbers) or "none"
            raise ValueError(
                f"expected the name of a number of every structure, got {name!r}: the "
                f"set has {found}"
            )
        values = np.asarray(self.columns[name], np.float64)
        if len(missing := np.flatnonzero(~np.isfinite(values))):
            raise ValueError(
                f"expected the number {name!r} of every structure, got none of {len(missing)}, the "
                f"first at index {missing[0]}: leave them out"
            )
        return replace(
            self,
            energies=np.full(len(self), np.nan),
            formation_energies=values,
            forces=None,
            local_energies=None,
            columns={key: values for key, values in self.columns.items() if key != name},
        )

    def select(self, indices: Sequence[int] | np.ndarray) -> "LabelledSet":
        """Make a set of some of the structures.

        Args:
            indices: positions of the structures, from 0, in the order that is wanted.

        Returns:
            The structures with their labels, and the metadata of the whole set.

        Raises:
            ValueError: if an index is out of range.
        """
        chosen = np.asarray(indices, np.int64)
        if np.any((chosen < 0) | (chosen >= len(self))):
            wrong = chosen[(chosen < 0) | (chosen >= len(self))][0]
            raise ValueError(f"expected indices among 0-{len(self) - 1}, got {wrong}")
        return replace(
            self,
            structures=_selected(self.structures, chosen),
            energies=self.energies[chosen],
            formation_energies=self.formation_energies[chosen],
            trajectories=self.trajectories[chosen],
            kinds=[self.kinds[i] for i in chosen],
            forces=_selected(self.forces, chosen),
            local_energies=_selected(self.local_energies, chosen),
            fingerprints=None if self.fingerprints is None else self.fingerprints[chosen],
            columns={name: values[chosen] for name, values in self.columns.items()},
        )


def joined(sets: Mapping[str, LabelledSet]) -> LabelledSet:
    """Join labelled sets, each with trajectories of its own.

    Labels and columns that a set does not have are NaN, or empty words, for its structures. A
    column that has words in one set and numbers in another is left out.

    Args:
        sets: the sets by the names of their files, in order.

    Returns:
        One set; its metadata are those of the sets that have any, by name.

    Raises:
        ValueError: if there is no set, or some have structures and others fingerprints alone.

    >>> pair = {name: LabelledSet.of([Atoms("Pt")] * 2, trajectories=[4, 4]) for name in "ab"}
    >>> joined(pair).trajectories.tolist()
    [0, 0, 1, 1]
    """
    parts = list(sets.values())
    if len(parts) == 1:
        return parts[0]
    kinds = {part.structures is None for part in parts}
    if len(kinds) != 1:
        found = ", ".join(sets) or "none"
        raise ValueError(
            f"expected sets that all have structures, or fingerprints alone, got {found}"
        )
    trajectories: list[np.ndarray] = []
    first = 0
    for part in parts:
        numbers, member = np.unique(part.trajectories, return_inverse=True)
        trajectories.append(first + member)
        first += len(numbers)
    fingerprints = [part.fingerprints for part in parts if part.fingerprints is not None]
    widths = {values.shape[1] for values in fingerprints}
    if kinds == {True} and len(widths) > 1:
        raise ValueError(f"expected fingerprints of one length, got {sorted(widths)}")
    names = dict.fromkeys(name for part in parts for name in part.columns)
    columns = {name: _joined_column(parts, name) for name in names}
    return LabelledSet.of(
        None if kinds == {True} else [atoms for part in parts for atoms in part.structures or []],
        energies=np.concatenate([part.energies for part in parts]),
        formation_energies=np.concatenate([part.formation_energies for part in parts]),
        trajectories=np.concatenate(trajectories),
        kinds=[kind for part in parts for kind in part.kinds],
        forces=None
        if all(part.forces is None for part in parts)
        else [
            forces
            for part in parts
            for forces in part.forces
            or [np.full((len(atoms), 3), np.nan) for atoms in part.structures or []]
        ],
        local_energies=None
        if all(part.local_energies is None for part in parts)
        else [
            local
            for part in parts
            for local in part.local_energies
            or [np.full(len(atoms), np.nan) for atoms in part.structures or []]
        ],
        fingerprints=np.concatenate(fingerprints)
        if len(fingerprints) == len(parts) and len(widths) == 1
        else None,
        columns={name: values for name, values in columns.items() if values is not None},
        metadata={name: part.metadata for name, part in sets.items() if part.metadata},
    )


def split_by_trajectory(
    labelled: LabelledSet, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split a set into training and validation examples such that no trajectory is in both.

    Structures of one relaxation are alike: with one of them among the training examples, the error
    on the others says little about new structures.

    Args:
        labelled: the set.
        fraction: part of the structures to validate with, as nearly as whole trajectories allow,
            between 0 and 1.
        seed: decides the order in which trajectories are taken.

    Returns:
        Indices of the training examples and of the validation examples, both in ascending order and
        neither empty.

    Raises:
        ValueError: if the fraction is out of range, or the set has only one trajectory.

    >>> labelled = LabelledSet.of([Atoms("Pt")] * 4, trajectories=[0, 0, 1, 1])
    >>> training, validation = split_by_trajectory(labelled, 0.5, seed=0)
    >>> sorted([training.tolist(), validation.tolist()])
    [[0, 1], [2, 3]]
    """
    return split_trajectories(labelled.trajectories, fraction, seed)


def split_trajectories(
    trajectories: Int[np.ndarray, " n"], fraction: float, seed: int
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " v"]]:
    """Split examples by the numbers of their trajectories, as :func:`split_by_trajectory` does.

    Args:
        trajectories: number of the trajectory of each example.
        fraction: as for :func:`split_by_trajectory`.
        seed: as for :func:`split_by_trajectory`.

    Returns:
        Indices of the training examples and of the validation examples.

    Raises:
        ValueError: as :func:`split_by_trajectory`.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"expected a fraction between 0 and 1, got {fraction}")
    names, member, sizes = np.unique(trajectories, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"expected at least two trajectories to split, got {len(names)}")
    # The first trajectories of a random order validate: as many as come nearest to the fraction.
    order = np.random.default_rng(seed).permutation(len(names))
    misses = np.abs(np.cumsum(sizes[order])[:-1] - fraction * len(trajectories))
    validation = np.isin(member, order[: 1 + int(np.argmin(misses))])
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def _joined_column(parts: Sequence[LabelledSet], name: str) -> np.ndarray | None:
    """Join the columns of one name; None if some are words and others numbers."""
    known = [part.columns.get(name) for part in parts]
    words = {values.dtype.kind == "U" for values in known if values is not None}
    if len(words) > 1:
        return None
    gap: str | float = "" if words == {True} else np.nan
    return np.concatenate(
        [
            np.full(len(part), gap) if values is None else values
            for part, values in zip(parts, known, strict=True)
        ]
    )


def _selected(items: list[Any] | None, chosen: np.ndarray) -> list[Any] | None:
    """Return the chosen items of a list, or None for no list."""
    return None if items is None else [items[i] for i in chosen]
