"""Environments: the rows of all atoms of many structures, with the energies to learn from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from ase import Atoms
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.featurize import batches
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime.memory import check_memory
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Structure

BLOCK = 4096
"""Largest number of environments that are worked on together, a power of two."""

AT_ONCE = 4
"""Number of structures whose rows are computed together."""

FLOOR = 0.03
"""Smallest standard deviation by which numbers of rows are divided, relative to the largest one."""

CALL = 64
"""Largest number of structures in one call: their rows are on the device twice."""


@dataclass(frozen=True, eq=False)
class Environments:
    """The rows of all atoms of some structures, and what is known of their energies.

    Attributes:
        descriptor: the descriptor of the rows.
        rows: one row per atom, structure by structure, without a unit.
        species: atomic number of each atom.
        owner: index of the structure of each atom, ascending.
        energies: local energy of each atom in eV; None where they are not known.
        totals: total energy of each structure in eV; None where they are not known.
        forces: forces on the atoms in eV/Angstrom; None where they are not known.
        trajectories: number of the trajectory of each structure; those of one are alike.
        structures: the structures; forces can't be learned without them.

    Raises:
        ValueError: if an array has another shape, or a number is not finite.
    """

    descriptor: Descriptor
    rows: Float[np.ndarray, "n f"]
    species: Int[np.ndarray, " n"]
    owner: Int[np.ndarray, " n"]
    energies: Float[np.ndarray, " n"] | None
    totals: Float[np.ndarray, " s"] | None
    forces: Float[np.ndarray, "n 3"] | None
    trajectories: Int[np.ndarray, " s"]
    structures: Sequence[Atoms] | None = None

    def __post_init__(self) -> None:
        n, count = len(self.rows), len(self.trajectories)
        for name, shape in (("energies", (n,)), ("forces", (n, 3)), ("totals", (count,))):
            values = getattr(self, name)
            if values is None:
                continue
            if np.shape(values) != shape:
                raise ValueError(f"expected {name} of shape {shape}, got {np.shape(values)}")
            if wrong := int((~np.isfinite(values)).sum()):
                raise ValueError(f"expected finite {name}, got {wrong} others")

    @classmethod
    def of(
        cls,
        structures: Structures,
        descriptor: Descriptor,
        *,
        energies: Sequence[Float[np.ndarray, " _"]] | None = None,
        totals: Sequence[float] | Float[np.ndarray, " s"] | None = None,
        forces: Sequence[Float[np.ndarray, "_ 3"]] | None = None,
        trajectories: Sequence[int] | Int[np.ndarray, " s"] | None = None,
        dtype: type[np.floating] = np.float32,
    ) -> "Environments":
        """Compute the rows of structures.

        Without energies, totals and forces, those of the structures' calculators are taken, each
        if all structures have it; :func:`jaxrecon.judge` gives them.

        Args:
            structures: as for :func:`jaxrecon.featurize`, of any sizes, free or periodic.
            descriptor: the descriptor, with all their elements.
            energies: local energies of the atoms of each structure in eV.
            totals: total energy of each structure in eV; None takes the sums of the local energies.
            forces: forces on the atoms of each structure in eV/Angstrom.
            trajectories: number of the trajectory of each structure; None makes every structure one
                of its own.
            dtype: data type of the rows, ``numpy.float32`` or ``numpy.float64``.

        Returns:
            The environments, in the order of the structures and of their atoms.

        Raises:
            ValueError: if there is no structure, the descriptor lacks an element, lengths or shapes
                differ, a number is not finite, or the data type is another one.
            MemoryError: if the rows do not fit into the available memory.

        >>> from ase.build import bulk
        >>> from jaxrecon import SOAP
        >>> soap = SOAP(("C",), r_cut=3.7, n_max=4, l_max=3)
        >>> Environments.of([bulk("C"), bulk("C", cubic=True)], soap).rows.shape
        (10, 40)
        """
        items = as_structures(structures)
        if not items:
            raise ValueError("expected at least one structure, got none")
        if energies is None and totals is None and forces is None:
            energies, totals, forces = (
                _results(items, name) for name in ("energies", "energy", "forces")
            )
        sizes = [len(atoms) for atoms in items]
        owner = np.repeat(np.arange(len(items)), sizes)

        def joined(name: str, values: Sequence[np.ndarray] | None) -> np.ndarray | None:
            if values is None:
                return None
            if np.ndim(values[0] if len(values) else values) == 0:
                raise ValueError(f"expected {name} as one array for each structure, got one array")
            if (found := [len(part) for part in values]) != sizes:
                raise ValueError(
                    f"expected {name} of all {sum(sizes)} atoms in {len(items)} structures, got "
                    f"{sum(found)} in {len(found)}"
                )
            return np.concatenate([np.asarray(part, np.float64) for part in values])

        if trajectories is not None and np.shape(trajectories) != (len(items),):
            raise ValueError(
                f"expected trajectories of all {len(items)} structures, got an array of shape "
                f"{np.shape(trajectories)}"
            )
        local = joined("energies", energies)
        if totals is None and local is not None:
            totals = np.bincount(owner, local, len(items))
        return cls(
            descriptor=descriptor,
            rows=rows_of(items, descriptor, dtype=dtype),
            species=np.concatenate([atoms.numbers for atoms in items]),
            owner=owner,
            energies=local,
            totals=None if totals is None else np.asarray(totals, np.float64),
            forces=joined("forces", forces),
            trajectories=np.arange(len(items))
            if trajectories is None
            else np.unique(np.asarray(trajectories), return_inverse=True)[1],
            structures=items,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def counts(self) -> Float[np.ndarray, "s e"]:
        """Number of atoms of each element of the descriptor in each structure."""
        counts = np.zeros((len(self.trajectories), len(self.descriptor.species)))
        np.add.at(counts, (self.owner, self.kinds), 1.0)
        return counts

    @cached_property
    def kinds(self) -> Int[np.ndarray, " n"]:
        """Index of the element of each atom among those of the descriptor."""
        return np.searchsorted(self.descriptor.species, self.species)

    @cached_property
    def inverse_widths(self) -> Float[np.ndarray, " f"]:
        """One over the standard deviation of each number of the rows, or over a floor of it."""
        widths = self.rows.std(axis=0, dtype=np.float64)
        return 1.0 / np.maximum(widths, max(FLOOR * widths.max(), 1e-12))

    def blocks(
        self, dtype: npt.DTypeLike = np.float64
    ) -> Iterator[tuple[slice, Float[np.ndarray, "b f"], Int[np.ndarray, " b"]]]:
        """Cut the atoms into blocks of few sizes, so that few programs are compiled.

        Args:
            dtype: data type of the rows.

        Yields:
            Which atoms the block has; their rows and the index of the element of each, with padding
            last.
        """
        for start in range(0, len(self), BLOCK):
            part = slice(start, min(start + BLOCK, len(self)))
            count = part.stop - start
            missing = (1 << (count - 1).bit_length()) - count
            rows = np.pad(self.rows[part].astype(dtype), ((0, missing), (0, 0)))
            yield part, rows, np.pad(self.kinds[part], (0, missing))

    def check_rows(self, descriptor: Descriptor, least: int = 0) -> None:
        """Check that the rows are those of a descriptor.

        Args:
            descriptor: the descriptor.
            least: smallest number of atoms that will do.

        Raises:
            ValueError: if they are of another descriptor, or of fewer atoms.
        """
        if self.descriptor != descriptor:
            raise ValueError(
                f"expected environments of the model's descriptor {descriptor}, got "
                f"{self.descriptor}"
            )
        if len(self) < least:
            raise ValueError(f"expected environments of {least} or more atoms, got {len(self)}")

    def select(self, structures: Int[np.ndarray, " k"]) -> "Environments":
        """The environments of some structures.

        Args:
            structures: their indices, ascending, each one once.

        Returns:
            Their environments, numbered anew.

        Raises:
            ValueError: if the indices are not ascending, or there is no such structure.
        """
        structures, count = np.asarray(structures), len(self.trajectories)
        if not structures.size:
            structures = structures.astype(int)
        inside = structures.dtype != bool and np.all((structures >= 0) & (structures < count))
        if not inside or np.any(np.diff(structures) <= 0):
            raise ValueError(
                f"expected ascending indices of structures, each once and below {count}, got others"
            )
        chosen = np.isin(self.owner, structures)

        def part(values: np.ndarray | None, where: np.ndarray) -> np.ndarray | None:
            return None if values is None else values[where]

        return replace(
            self,
            rows=self.rows[chosen],
            species=self.species[chosen],
            owner=np.searchsorted(structures, self.owner[chosen]),
            energies=part(self.energies, chosen),
            totals=part(self.totals, structures),
            forces=part(self.forces, chosen),
            trajectories=self.trajectories[structures],
            structures=None
            if self.structures is None
            else [self.structures[i] for i in structures],
        )

    def sample(self, atoms: Int[np.ndarray, " k"]) -> "Environments":
        """Some of the environments with their local energies alone.

        Args:
            atoms: their indices.

        Returns:
            The environments; each one is in the trajectory that it comes from.

        Raises:
            ValueError: if local energies are not known.
        """
        if self.energies is None:
            raise ValueError("expected environments with local energies, got ones without")
        return replace(
            self,
            rows=self.rows[atoms],
            species=self.species[atoms],
            owner=np.arange(len(atoms)),
            energies=self.energies[atoms],
            totals=None,
            forces=None,
            trajectories=self.trajectories[self.owner[atoms]],
            structures=None,
        )


def _results(structures: Sequence[Atoms], name: str) -> list[Any] | None:
    """A result of the calculators of all structures; None if one of them lacks it."""
    results = [{} if atoms.calc is None else atoms.calc.results for atoms in structures]
    return [own[name] for own in results] if all(name in own for own in results) else None


def rows_of(
    structures: Sequence[Atoms], descriptor: Descriptor, *, dtype: type[np.floating] = np.float32
) -> Float[np.ndarray, "n f"]:
    """Compute the rows of all atoms, structure by structure.

    Args:
        structures: ASE structures of any sizes, free or periodic.
        descriptor: the descriptor.
        dtype: data type of the computation and of the result, as for :meth:`Environments.of`.

    Returns:
        One row per atom, without a unit.

    Raises:
        ValueError: if there is no structure, the descriptor lacks an element, or the data type is
            another one.
        MemoryError: if the rows do not fit into the available memory.
    """
    if not structures:
        raise ValueError("expected at least one structure, got none")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"expected dtype float32 or float64, got {np.dtype(dtype)}")
    first = np.cumsum([0, *map(len, structures)])
    number_bytes = np.dtype(dtype).itemsize
    check_memory(
        int(first[-1]) * descriptor.size * number_bytes,
        f"rows of {first[-1]} atoms with {descriptor.size} numbers",
        "use fewer structures or a descriptor with fewer numbers",
    )
    rows = np.zeros((first[-1], descriptor.size), dtype)
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        for members, several in batches(structures, Fingerprint(descriptor)):
            for start in range(0, len(members), CALL):
                part = slice(start, start + CALL)
                some = jax.tree.map(lambda leaf, part=part: leaf[part], several)
                found, columns = jax.device_get(_rows(descriptor, some))
                for index, values, places in zip(members[part], found, columns, strict=True):
                    # Numbers of padded channels have no column, and padding no row.
                    inside = places < descriptor.size
                    count = first[index + 1] - first[index]
                    atoms = slice(first[index], first[index + 1])
                    rows[atoms, places[inside]] = values[:count, inside]
    return rows


@partial(jax.jit, static_argnums=0)
def _rows(
    descriptor: Descriptor, several: Structure
) -> tuple[Float[Array, "b n f"], Int[Array, "b f"]]:
    """The rows of the atoms of each structure, and where their numbers stand in a whole row."""
    fingerprint = Fingerprint(descriptor)

    def of_structure(structure: Structure) -> tuple[Array, Array]:
        view = fingerprint.view(structure)
        return descriptor(view.neighbors, view.elements), descriptor.columns(view.elements)

    return jax.lax.map(of_structure, several, batch_size=AT_ONCE)
