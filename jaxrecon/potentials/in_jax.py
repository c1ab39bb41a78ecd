"""Reference calculators whose potentials run in JAX: many structures in one call."""

import hashlib
import importlib.util
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from jaxrecon.potentials.base import Label, Missing, ReferenceCalculator

if TYPE_CHECKING:
    from jaxrecon.potentials.potential import Potential


OWN: tuple[str, ...] = ("ase", "jax", "jaxlib")
"""Packages, by their names on the package index, that all of these calculators need."""


class PotentialReference(ReferenceCalculator):
    """Base class of reference calculators with a potential in JAX.

    A subclass implements :meth:`load`; the potential is loaded when the calculator is made. Many
    structures are computed by few programs, on all devices of JAX, and in one process.

    Args:
        path: file of parameters, if the calculator takes one; empty for none.

    Raises:
        ValueError: if a requirement is not met, or the file has no such parameters.
        FileNotFoundError: if there is no such file.
    """

    many = True
    distributions = OWN

    def __init__(self, path: str = "") -> None:
        super().__init__()
        self.path = Path(path) if path else None
        if self.path is not None and not self.path.is_file():
            raise FileNotFoundError(f"expected a file for the calculator {self.name}, got {path}")
        self.elements = self.potential.elements

    @abstractmethod
    def load(self) -> "Potential":
        """Return the potential, made from ``self.path`` if the calculator takes a file."""

    @cached_property
    def potential(self) -> "Potential":
        """The potential."""
        return self.load()

    def parameters(self) -> dict[str, Any]:
        """Return the name and a hash of the file of parameters, if there is one."""
        if self.path is None:
            return {}
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"file": self.path.name, "sha256": digest}

    def free(self, atoms: Atoms) -> Any:
        """Return a calculator for clusters and crystals."""
        from jaxrecon.potentials.ase_calculator import PotentialCalculator

        return PotentialCalculator(self.potential)

    def label_many(self, structures: Sequence[Atoms]) -> Iterator[tuple[int, Label | Exception]]:
        """Compute structures in few programs, and yield labels call by call.

        Args:
            structures: crystals, or free clusters, whose cells are ignored.

        Yields:
            The index of a structure, and its label or the exception that says what is wrong.
        """
        from jaxrecon.potentials.single_points import check_structure, each_single_point
        from jaxrecon.structures.structure import is_periodic

        places, items = [], []
        for place, atoms in enumerate(structures):
            try:
                periodic = is_periodic(atoms)
                check_structure(atoms, self.potential)
            except ValueError as error:
                yield place, error
                continue
            cell = atoms.cell if periodic else None
            places.append(place)
            items.append(Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=periodic))
        for number, found in each_single_point(items, self.potential):
            if np.isfinite(found.energy) and np.isfinite(found.forces).all():
                yield places[number], Label(found.energy, found.forces, found.energies)
            else:
                text = f"expected a finite energy and forces, got {found.energy} eV"
                yield places[number], ValueError(text)


class TersoffReference(PotentialReference):
    """Tersoff's potential for C, Si and SiC, or with the parameters of a file as for LAMMPS.

    Source: Tersoff, Phys. Rev. B 39, 5566 (1989).
    """

    name = "tersoff"
    argument = "[:FILE.tersoff]"

    def load(self) -> "Potential":
        """Return the potential with published parameters, or those of the file."""
        from jaxrecon.potentials.tersoff import Tersoff

        return Tersoff() if self.path is None else Tersoff.from_file(self.path)


class NequixReference(PotentialReference):
    """A Nequix network, a universal equivariant potential, with the weights of a file.

    Source: Koker, Kotak and Smidt, arXiv 2508.16067; arXiv 2601.07742 for phonon fine-tuning.

    Args:
        path: file of weights.

    Raises:
        ValueError: if a package is missing, or no file or one without weights is given.
        FileNotFoundError: if there is no such file.
    """

    name = "nequix"
    argument = ":FILE.nqx"
    package = "nequix"
    distributions = (*OWN, "nequix", "equinox", "e3nn-jax")
    install = 'pip install "jaxrecon[nequix]" && pip install --no-deps nequix'

    def __init__(self, path: str = "") -> None:
        if self.missing() is None:
            if not path:
                raise ValueError(
                    "expected nequix:FILE.nqx with a file of weights, got nequix: they are in "
                    "models/ of https://github.com/atomicarchitects/nequix"
                )
            # Imported like this, the package leaves the settings of JAX as they are.
            from jaxrecon.potentials import nequix

            nequix.import_package()
        super().__init__(path)

    @classmethod
    def missing(cls) -> Missing | None:
        """Return the first package that is missing, or None; nothing is imported to find out."""
        for package in (cls.package, "equinox", "e3nn_jax", "jraph"):
            if importlib.util.find_spec(package) is None:
                return Missing(f"the package {package}", cls.install)
        return None

    def load(self) -> "Potential":
        """Return the network with the weights of the file."""
        from jaxrecon.potentials.nequix import Nequix

        assert self.path is not None
        return Nequix.from_file(self.path)
