"""Labelled sets: structures with their energies, and from which trajectory each of them comes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int

from jaxrecon.structures.io import write_structures

Quantity = Literal["energy", "e_form"]
"""Total energies in eV, or formation energies in eV/atom."""

DATA = Path(__file__).parent / "data"
"""Where the sets are that come with the package."""

PLAIN = "biufU"
"""Kinds of values, as NumPy abbreviates them, that a column may have."""


@dataclass(frozen=True, eq=False, repr=False)
class LabelledSet:
    """Structures, or fingerprints alone, and what is known of each; :meth:`of` fills the gaps.

    Attributes:
        structures: positions in Angstrom; None where there are fingerprints alone.
        energies: total energies in eV, NaN where unknown.
        formation_energies: in eV/atom, NaN where unknown.
        trajectories: number of the relaxation that each comes from; perturbed copies have that of
            their parent.
        kinds: what each is, like ``"minimum"``, ``"intermediate"`` or ``"rattled"``.
        forces: in eV/Angstrom, one row an atom, NaN where unknown; None if all are.
        fingerprints: one row a structure, without a unit; None if there are none.
        columns: other numbers and flags by name, one a structure, like ``"e_form_pbe"``.
        metadata: how the set was made, as plain data for JSON.

    Raises:
        ValueError: if a length differs, or there is neither a structure nor a fingerprint.
    """

    structures: list[Atoms] | None
    energies: Float[np.ndarray, " n"]
    formation_energies: Float[np.ndarray, " n"]
    trajectories: Int[np.ndarray, " n"]
    kinds: list[str]
    forces: list[np.ndarray] | None = None
    fingerprints: Float[np.ndarray, "n p"] | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.structures is None and self.fingerprints is None:
            raise ValueError("expected structures or fingerprints, got neither")
        for name, values in self._columns().items():
            if values is not None and len(values) != len(self):
                raise ValueError(f"expected {len(self)} {name}, got {len(values)}")
        for name, values in self.columns.items():
            if values.ndim != 1 or values.dtype.kind not in PLAIN:
                raise ValueError(
                    f"expected numbers, flags or words in column {name}, one a structure, got "
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
        fingerprints: Float[np.ndarray, "n p"] | None = None,
        columns: dict[str, np.ndarray] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> "LabelledSet":
        """A set of which not everything is known: every structure is a trajectory unless told.

        Args:
            structures: positions in Angstrom; None where there are fingerprints alone.
            energies: total energies in eV.
            formation_energies: in eV/atom.
            trajectories: number of the relaxation that each comes from.
            kinds: what each is; ``"unknown"`` unless told.
            forces: in eV/Angstrom, one row an atom.
            fingerprints: one row a structure, without a unit.
            columns: other numbers, flags or words by name, one a structure.
            metadata: how the set was made, as plain data for JSON.

        Raises:
            ValueError: as for the set itself.

        >>> from ase.build import molecule
        >>> two = LabelledSet.of([molecule("H2"), molecule("O2")], energies=[-6.7, -9.8])
        >>> len(two), two.trajectories.tolist(), two.kinds
        (2, [0, 1], ['unknown', 'unknown'])
        """
        some = structures if structures is not None else fingerprints
        count = 0 if some is None else len(some)

        def numbers(values: Sequence[float] | np.ndarray | None) -> np.ndarray:
            return np.full(count, np.nan) if values is None else np.asarray(values, np.float64)

        return cls(
            structures=None if structures is None else list(structures),
            energies=numbers(energies),
            formation_energies=numbers(formation_energies),
            trajectories=np.arange(count) if trajectories is None else np.asarray(trajectories),
            kinds=["unknown"] * count if kinds is None else [str(kind) for kind in kinds],
            forces=None if forces is None else [np.asarray(each, np.float64) for each in forces],
            fingerprints=fingerprints,
            columns={name: np.asarray(values) for name, values in (columns or {}).items()},
            metadata=metadata or {},
        )

    def __len__(self) -> int:
        return len(self.energies)

    def __repr__(self) -> str:
        what = "fingerprints" if self.structures is None else "structures"
        return f"<LabelledSet of {len(self)} {what}>"

    def select(self, indices: Sequence[int] | np.ndarray) -> "LabelledSet":
        """Some of the structures, in the order asked for.

        Args:
            indices: of the structures, from 0.

        Raises:
            ValueError: if one is not there.
        """
        chosen = np.asarray(indices, np.int64)
        if np.any((chosen < 0) | (chosen >= len(self))):
            wrong = chosen[(chosen < 0) | (chosen >= len(self))][0]
            raise ValueError(f"expected indices among 0-{len(self) - 1}, got {wrong}")
        return replace(
            self,
            structures=_some(self.structures, chosen),
            energies=self.energies[chosen],
            formation_energies=self.formation_energies[chosen],
            trajectories=self.trajectories[chosen],
            kinds=[self.kinds[i] for i in chosen],
            forces=_some(self.forces, chosen),
            fingerprints=None if self.fingerprints is None else self.fingerprints[chosen],
            columns={name: values[chosen] for name, values in self.columns.items()},
        )

    def to_atoms(self) -> list[Atoms]:
        """The structures with all that is known of them, in ``info`` and a calculator of results.

        The metadata are in ``info`` of the first.

        Raises:
            ValueError: if there are none.
        """
        from jaxrecon.datasets.frames import to_frames

        return to_frames(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a compact ``.npz``, positions and forces in float32, or an ``.extxyz`` file.

        Args:
            path: of the file; a file that is there is replaced by a whole one.

        Raises:
            ValueError: if the suffix is another one, or fingerprints do not go into such a file.
            OSError: if the file can't be written.
        """
        path = Path(path)
        if path.suffix == ".npz":
            from jaxrecon.datasets.labelled_npz import write_npz

            write_npz(path, self)
        elif path.suffix == ".extxyz":
            if self.fingerprints is not None:
                raise ValueError(f"expected an .npz file to write fingerprints to, got {path}")
            write_structures(path, self.to_atoms())
        else:
            raise ValueError(f"expected a set to be written to .npz or .extxyz, got {path}")

    def _columns(self) -> dict[str, Sequence[Any] | np.ndarray | None]:
        return {
            "structures": self.structures,
            "formation_energies": self.formation_energies,
            "trajectories": self.trajectories,
            "kinds": self.kinds,
            "forces": self.forces,
            "fingerprints": self.fingerprints,
            **self.columns,
        }


def load(name: str = "pt10") -> LabelledSet:
    """A set that comes with the package.

    Args:
        name: of the set; ``"pt10"`` has 9,493 clusters of ten platinum atoms, with energies and
            forces that a potential says, corrected to PBE; ``"pt10_pbe"`` the 300 that it is
            corrected by, with those of PBE. How they were made stands in the README beside them.

    Returns:
        Positions in Angstrom, energies in eV and eV/atom, forces in eV/Angstrom.

    Raises:
        ValueError: if there is none of this name.

    >>> load("pt10_pbe")
    <LabelledSet of 300 structures>
    """
    from jaxrecon.datasets.labelled_npz import read_npz

    if name not in names():
        raise ValueError(f"expected a set among {names()}, got {name!r}")
    return read_npz(DATA / f"{name}.npz")


def names() -> list[str]:
    """Of the sets that come with the package."""
    return sorted(path.stem for path in DATA.glob("*.npz"))


def split_by_trajectory(
    labelled: LabelledSet, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train with and to validate with, such that no trajectory is on both sides.

    Structures of one relaxation are alike: one that is seen in training tells of all others.

    Args:
        labelled: the set.
        fraction: of the structures that are to validate with, as nearly as whole trajectories
            allow, between 0 and 1.
        seed: of the order in which trajectories are taken.

    Returns:
        Both in ascending order; neither is empty.

    Raises:
        ValueError: if the fraction is out of range, or there is only one trajectory.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"expected a fraction between 0 and 1, got {fraction}")
    names, member, sizes = np.unique(labelled.trajectories, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"expected at least two trajectories to split, got {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    misses = np.abs(np.cumsum(sizes[order])[:-1] - fraction * len(labelled))
    aside = np.isin(member, order[: 1 + int(np.argmin(misses))])
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def _some(items: list[Any] | None, chosen: np.ndarray) -> list[Any] | None:
    return None if items is None else [items[i] for i in chosen]
