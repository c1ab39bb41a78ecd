"""Calculators by name: potentials and electronic structure programs, each with what it needs.

A name stands for fixed settings, which are recorded with every result. The packages are optional
and imported where they are used.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from jaxrecon.runtime.versions import versions_of

Mesh = tuple[int, int, int]

VACUUM = 7.0
"""Angstrom between a cluster and its periodic images, where a calculator has nothing but cells."""
LEAST_EDGE = 14.0
"""Angstrom: of the box of a compact cluster, so that most energies are of one box."""
K_LENGTH = 33.0
"""Angstrom times k-points along an axis: 12 for the primitive cell of platinum."""


@dataclass(frozen=True)
class Calculators:
    """What a name stands for: calculators for clusters and for crystals.

    Attributes:
        name: by which it was asked for.
        settings: what decides the energies, as plain data for JSON.
        versions: of the packages that compute them.
        free: makes the calculator for a cluster.
        crystal: makes the calculator for a crystal with a mesh of k-points.
        boxed: whether clusters have to be in a periodic box.
        vacuum: Angstrom between a cluster and its images in such a box.
        least_edge: Angstrom of its edges at least.
        least_length: Angstrom to which cells are repeated, where there is one k-point only.
    """

    name: str
    settings: dict[str, Any]
    versions: dict[str, str]
    free: Callable[[Atoms], Any]
    crystal: Callable[[Atoms, Mesh], Any]
    boxed: bool = False
    vacuum: float = VACUUM
    least_edge: float = LEAST_EDGE
    least_length: float = 0.0

    def for_cluster(self, atoms: Atoms) -> Atoms:
        """A copy of a cluster, with its calculator, in the box that this one needs.

        Args:
            atoms: positions in Angstrom, which stay as they are; its own cell does not matter.
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
        """A copy of a crystal with its calculator: repeated, where there are no k-points.

        The atoms of the cell come first. The mesh stays if the cell is changed afterwards.

        Args:
            atoms: positions and cell in Angstrom, periodic along all three axes.
        """
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        lengths = copy.cell.lengths()
        if self.least_length:
            copy = copy.repeat([int(n) for n in np.ceil(self.least_length / lengths)])
        # A hair less, so that a length that is not quite exact has the mesh of the exact one.
        first, second, third = (int(n) for n in np.ceil(K_LENGTH / lengths - 1e-3))
        copy.calc = self.crystal(copy, (first, second, third))
        return copy


@cache
def calculator(name: str) -> Calculators:
    """The calculators that a name stands for; loaded once in a process.

    ``emt`` is effective medium theory and comes with ASE. ``chgnet`` and ``sevennet`` (7net-mf-0,
    as trained on PBE) are universal potentials, ``xtb`` is GFN1-xTB of tblite, ``gpaw`` and
    ``vasp`` are PBE with plane waves. ``module:factory`` calls a function of your own, which
    returns an ASE calculator for free clusters and crystals, or :class:`Calculators`.

    Args:
        name: one of these.

    Raises:
        ValueError: if there is none of this name, or its package is missing.

    >>> emt = calculator("emt")
    >>> cluster = emt.for_cluster(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]))
    >>> round(float(cluster.get_potential_energy()), 2)
    3.19
    """
    if ":" in name:
        return _own(name)
    if name not in _NAMED:
        raise ValueError(f"expected a calculator among {', '.join(NAMES)}, got {name!r}")
    return _NAMED[name]()


def _emt() -> Calculators:
    from ase.calculators.emt import EMT

    return Calculators(
        "emt", {"calculator": "emt"}, versions_of("ase"), lambda _: EMT(), lambda _, mesh: EMT()
    )


def _chgnet() -> Calculators:
    _require("chgnet")
    from chgnet.model.dynamics import CHGNetCalculator

    potential = CHGNetCalculator(on_isolated_atoms="ignore")
    return Calculators(
        "chgnet",
        {"calculator": "chgnet", "vacuum": VACUUM, "least_edge": LEAST_EDGE},
        versions_of("ase", "chgnet", "torch"),
        lambda _: potential,
        lambda _, mesh: potential,
        boxed=True,
    )


def _sevennet() -> Calculators:
    _require("sevennet")
    import warnings

    import torch
    from sevenn.calculator import SevenNetCalculator

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Clusters are small: several processes with a thread each are faster than one with several.
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        potential = SevenNetCalculator("7net-mf-0", modal="PBE", device=device)
    return Calculators(
        "sevennet",
        {"calculator": "sevennet", "model": "7net-mf-0", "modal": "PBE"},
        versions_of("ase", "sevenn", "torch"),
        lambda _: potential,
        lambda _, mesh: potential,
    )


def _xtb() -> Calculators:
    """GFN1-xTB. It has no k-points: bulk platinum is 125 atoms, and still off by tenths of an eV.

    Between 64 and 125 atoms the energy changes by 0.35 eV/atom: differences between clusters are
    what it is good for.
    """
    _require("xtb")
    from tblite.ase import TBLite

    def made(*_: object) -> Any:
        return TBLite(method="GFN1-xTB", verbosity=0)

    return Calculators(
        "xtb",
        {"calculator": "xtb", "method": "GFN1-xTB", "supercell": 12.0},
        versions_of("ase", "tblite"),
        made,
        made,
        least_length=12.0,
    )


def gpaw(
    cutoff: float = 300.0, vacuum: float = VACUUM, least_edge: float = LEAST_EDGE
) -> Calculators:
    """PBE with plane waves in GPAW: what the name ``gpaw`` stands for, or other settings.

    Args:
        cutoff: of the plane waves, in eV.
        vacuum: between a cluster and its periodic images, in Angstrom.
        least_edge: of the box of a cluster, in Angstrom.

    Raises:
        ValueError: if the package is missing.
    """
    _require("gpaw")
    from gpaw import GPAW, PW, FermiDirac
    from gpaw.setup_data import search_for_file

    convergence = {"energy": 1e-4, "density": 1e-3, "eigenstates": 1e-5}

    def setups(atoms: Atoms) -> dict[str, str]:
        """Those of ten electrons, where there are any: they agree at a third of the cost."""
        found = {}
        for symbol in set(atoms.symbols):
            try:
                search_for_file(f"{symbol}.10.PBE")
            except FileNotFoundError:
                continue
            found[symbol] = "10"
        return found

    def made(atoms: Atoms, **options: Any) -> Any:
        return GPAW(
            mode=PW(cutoff),
            xc="PBE",
            setups=setups(atoms),
            occupations=FermiDirac(0.1),
            convergence=convergence,
            spinpol=False,
            txt=None,
            **options,
        )

    return Calculators(
        "gpaw",
        {
            "calculator": "gpaw",
            "mode": f"plane waves, {cutoff:g} eV",
            "xc": "PBE",
            "setups": "of ten electrons where there are any",
            "smearing": "Fermi-Dirac, 0.1 eV, energy extrapolated to zero",
            "convergence": convergence,
            "spin": False,
            "vacuum": vacuum,
            "least_edge": least_edge,
            "k_length": K_LENGTH,
        },
        versions_of("ase", "gpaw", "gpaw-data"),
        lambda atoms: made(atoms, symmetry="off"),
        lambda atoms, mesh: made(atoms, kpts={"size": mesh, "gamma": True}),
        boxed=True,
        vacuum=vacuum,
        least_edge=least_edge,
    )


def _vasp() -> Calculators:
    _require("vasp")
    from ase.calculators.vasp import Vasp

    settings = {"xc": "PBE", "encut": 300.0, "ismear": 0, "sigma": 0.1, "ediff": 1e-4, "ispin": 1}
    # Each process writes its own files, one calculation over the other.
    folder = os.path.abspath(f"vasp-{os.getpid()}")

    def made(mesh: Mesh) -> Any:
        return Vasp(directory=folder, kpts=mesh, gamma=True, lwave=False, lcharg=False, **settings)

    return Calculators(
        "vasp",
        {
            "calculator": "vasp",
            **settings,
            "vacuum": VACUUM,
            "least_edge": LEAST_EDGE,
            "k_length": K_LENGTH,
        },
        versions_of("ase"),
        lambda _: made((1, 1, 1)),
        lambda _, mesh: made(mesh),
        boxed=True,
    )


def _own(name: str) -> Calculators:
    module, _, factory = name.partition(":")
    # A command of its own does not look where it was called, as `python -m` does.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        made = getattr(importlib.import_module(module), factory)()
    # It is somebody else's code, which may fail in any way.
    except Exception as error:
        raise ValueError(
            f"expected a function that returns an ASE calculator, got {name} "
            f"({type(error).__name__}: {error})"
        ) from error
    if isinstance(made, Calculators):
        # By its name it is called again: for the bulk, and in other processes.
        return replace(made, name=name)
    if not hasattr(made, "get_potential_energy"):
        raise ValueError(
            f"expected an ASE calculator from {name}, got an object of {type(made).__name__}"
        )
    versions = versions_of("ase", module.partition(".")[0])
    return Calculators(name, {"calculator": name}, versions, lambda _: made, lambda _, mesh: made)


class Lacking(NamedTuple):
    """What a calculator needs and has not.

    Attributes:
        what: a package or a variable of the environment.
        command: what gets it.
    """

    what: str
    command: str


def lacking(name: str) -> Lacking | None:
    """What a calculator of a name is in want of, or None if it has all: nothing is loaded.

    Args:
        name: one of :data:`NAMES` but ``module:factory``.

    >>> lacking("emt")
    """
    if name == "vasp":
        from ase.calculators.calculator import CalculatorSetupError
        from ase.calculators.vasp import Vasp

        try:
            Vasp().make_command()
        except CalculatorSetupError:
            return Lacking("a command in ASE_VASP_COMMAND", "export ASE_VASP_COMMAND='vasp_std'")
    package, extra = PACKAGES.get(name, ("ase", ""))
    if importlib.util.find_spec(package) is not None:
        return None
    return Lacking(f"the package {package}", f'pip install "jaxrecon[{extra}]"')


def _require(name: str) -> None:
    if (lack := lacking(name)) is not None:
        raise ValueError(
            f"expected {lack.what} for the calculator {name}, got none: {lack.command}"
        )


_NAMED: dict[str, Callable[[], Calculators]] = {
    "emt": _emt,
    "chgnet": _chgnet,
    "sevennet": _sevennet,
    "xtb": _xtb,
    "gpaw": gpaw,
    "vasp": _vasp,
}
PACKAGES = {
    "chgnet": ("chgnet", "chgnet"),
    "sevennet": ("sevenn", "sevennet"),
    "xtb": ("tblite", "judges"),
    "gpaw": ("gpaw", "gpaw"),
}
"""What calculators need beside ASE, and the extra of jaxrecon that has it."""
NAMES = (*_NAMED, "module:factory")
"""What :func:`calculator` takes."""
