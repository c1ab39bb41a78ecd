"""The base class of reference calculators: one name, fixed settings, clusters and crystals."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.runtime.versions import versions_of

Mesh = tuple[int, int, int]
"""Numbers of k-points along the three axes of a cell."""

VACUUM = 7.0
"""Distance in Angstrom between a cluster and its periodic images, for programs that need cells."""
LEAST_EDGE = 14.0
"""Shortest edge in Angstrom of the box of a cluster: most compact clusters then have one box."""
K_LENGTH = 33.0
"""Length of an axis in Angstrom times its k-points: 12 for the primitive cell of platinum."""


class Missing(NamedTuple):
    """A requirement of a calculator that is not met.

    Attributes:
        requirement: a package or an environment variable, in words.
        command: shell command that meets the requirement.
    """

    requirement: str
    command: str


class Label(NamedTuple):
    """The energy and the forces of a structure.

    Attributes:
        energy: in eV.
        forces: in eV/Angstrom, one row per atom.
        energies: energy of each atom in eV; None where the calculator has none.
    """

    energy: float
    forces: Float[np.ndarray, "n 3"]
    energies: Float[np.ndarray, " n"] | None = None


class ReferenceCalculator(ABC):
    """Base class of the reference calculators, which give the energies that others are held to.

    A reference calculator makes ASE calculators for free clusters and for crystals, with settings
    that its name stands for. A new one is a file in ``jaxrecon/potentials/`` with a subclass, a
    line in :data:`~jaxrecon.potentials.registry.CALCULATORS` and, if it needs a package, an extra
    with its name in ``pyproject.toml``. The subclass

    - sets ``name``, and ``package`` and ``distributions`` if it needs a package;
    - implements :meth:`parameters` and :meth:`free`, and :meth:`crystal` if k-points matter;
    - sets ``boxed`` if its program knows periodic cells only, and ``least_length`` if its program
      has no k-points;
    - sets ``argument`` if its name goes on with a file, as in ``nequix:FILE.nqx``;
    - imports its package inside of methods, so that the registry imports none, and loads what is
      slow to load in ``__init__``, after ``super().__init__()``.

    :mod:`jaxrecon.potentials.xtb` is a short example; a potential in JAX derives from
    :class:`~jaxrecon.potentials.in_jax.PotentialReference`. All calculators pass the contract test,
    ``tests/test_calculators.py``.

    Attributes:
        name: name of the calculator in the registry and in files.
        package: import name of the package that is needed, empty for ASE alone.
        distributions: packages, by their names on the package index, whose versions may change the
            energies.
        install: command that installs the package; empty for that of the extra.
        argument: what stands after the name, for people; empty for nothing.
        elements: elements that it knows; empty where only the package knows.
        many: whether :meth:`label_many` is faster than one structure after the other.
        boxed: whether a cluster needs a periodic box.
        vacuum: distance in Angstrom between a cluster and its images in that box.
        least_edge: shortest edge of that box in Angstrom.
        least_length: length in Angstrom to which the axes of crystals are repeated; 0 for programs
            with k-points, which need no larger cell.

    Raises:
        ValueError: if a requirement is not met; the message has the command that meets it.
    """

    name: str
    package: str = ""
    distributions: tuple[str, ...] = ("ase",)
    install: str = ""
    argument: str = ""
    elements: tuple[str, ...] = ()
    many: bool = False
    boxed: bool = False
    vacuum: float = VACUUM
    least_edge: float = LEAST_EDGE
    least_length: float = 0.0

    def __init__(self) -> None:
        if (missing := self.missing()) is not None:
            raise ValueError(
                f"expected {missing.requirement} for the calculator {self.name}, got none: "
                f"{missing.command}"
            )
        # A broken installation fails here, before any work is done.
        if self.package:
            import_module(self.package)

    @classmethod
    def missing(cls) -> Missing | None:
        """Return the requirement that is not met, or None; nothing is imported to find out."""
        if not cls.package or importlib.util.find_spec(cls.package) is not None:
            return None
        command = cls.install or f'pip install "jaxrecon[{cls.name}]"'
        return Missing(f"the package {cls.package}", command)

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Return all that decides the energies beside the name, as plain data for JSON."""

    @abstractmethod
    def free(self, atoms: Atoms) -> Any:
        """Return an ASE calculator for a cluster.

        Args:
            atoms: the cluster, in its box if ``boxed`` is set.
        """

    def crystal(self, atoms: Atoms, mesh: Mesh) -> Any:
        """Return an ASE calculator for a crystal; by default the one for clusters.

        Args:
            atoms: the crystal, repeated if ``least_length`` is set.
            mesh: k-points along its axes.
        """
        return self.free(atoms)

    def label_many(self, structures: Sequence[Atoms]) -> Iterator[tuple[int, Label | Exception]]:
        """Compute many structures together, where ``many`` is set.

        Args:
            structures: crystals and free clusters, whose cells are ignored.

        Yields:
            The index of a structure, and its label or the exception that says what is wrong. Each
            result comes as soon as it is known.
        """
        raise NotImplementedError(f"{self.name} computes one structure after the other")

    @property
    def settings(self) -> dict[str, Any]:
        """The name and the parameters, as they are recorded with every result."""
        return {"calculator": self.name, **self.parameters()}

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the installed packages among ``distributions``."""
        return versions_of(*self.distributions)

    def for_cluster(self, atoms: Atoms) -> Atoms:
        """Copy a cluster, put it into a box if ``boxed`` is set, and attach a calculator.

        Args:
            atoms: positions in Angstrom; a cell is ignored.

        Returns:
            The copy; distances between atoms are those of the cluster.
        """
        copy = Atoms(atoms.numbers, atoms.positions)
        if self.boxed:
            edges = np.ptp(atoms.positions, axis=0) + self.vacuum
            copy.set_cell(np.maximum(edges, self.least_edge))
            copy.center()
            copy.pbc = True
        copy.calc = self.free(copy)
        return copy

    def for_bulk(self, atoms: Atoms) -> Atoms:
        """Copy a crystal, repeat it if ``least_length`` is set, and attach a calculator.

        The calculator keeps its k-points when the cell of the copy is changed.

        Args:
            atoms: positions and cell in Angstrom, periodic along all three axes.

        Returns:
            The copy, with the atoms of the cell before their repetitions.
        """
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        lengths = copy.cell.lengths()
        if self.least_length:
            copy = copy.repeat([int(n) for n in np.ceil(self.least_length / lengths)])
        # The small number gives lengths with a rounding error the mesh of the exact length.
        first, second, third = (int(n) for n in np.ceil(K_LENGTH / lengths - 1e-3))
        copy.calc = self.crystal(copy, (first, second, third))
        return copy
