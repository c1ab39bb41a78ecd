"""Energies: of structures, of reference crystals, and of formation from these."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.potentials.calculators import Calculators
from jaxrecon.structures.structure import is_periodic

STRAIN_TOLERANCE = 5e-4
"""Of the lengths of a reference cell: less than 0.1 meV/atom in the stiffest metals."""


class Label(NamedTuple):
    """What a calculator says of a structure.

    Attributes:
        energy: in eV.
        forces: in eV/Angstrom, one row an atom.
    """

    energy: float
    forces: Float[np.ndarray, "n 3"]


def label(atoms: Atoms, calculators: Calculators) -> Label:
    """Energy and forces of a structure, a crystal if it repeats along all three axes.

    Args:
        atoms: positions in Angstrom; a cell that does not repeat does not matter.
        calculators: what computes them.

    Raises:
        ValueError: if an energy or a force is not finite, or the structure repeats along one or
            two axes only. Whatever the calculator raises passes through.
    """
    periodic = is_periodic(atoms)
    ready = calculators.for_bulk(atoms) if periodic else calculators.for_cluster(atoms)
    # In double precision, as a database takes nothing else.
    energy = float(ready.get_potential_energy()) * len(atoms) / len(ready)
    forces = np.array(ready.get_forces(), np.float64)[: len(atoms)]
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise ValueError(f"expected a finite energy and forces, got {energy} eV")
    return Label(energy, forces)


def formation_energy(energy: float, symbols: Iterable[str], bulk: Mapping[str, float]) -> float:
    r"""Energy of formation from the elements in eV/atom.

    .. math:: E_{form} = (E - \sum_i n_i E_{bulk,i}) / N

    Fung et al., arXiv 2207.13227, for one element.

    Args:
        energy: of the structure, in eV.
        symbols: of its atoms.
        bulk: energies of the elements in eV/atom.

    Raises:
        ValueError: if an element has no reference.

    >>> formation_energy(-9.0, ["Pt", "Pt"], {"Pt": -6.0})
    1.5
    """
    counts = Counter(symbols)
    if missing := sorted(set(counts) - set(bulk)):
        raise ValueError(f"expected energies of the bulk of {missing}, got {sorted(bulk)}")
    reference = sum(number * bulk[symbol] for symbol, number in counts.items())
    return (energy - reference) / counts.total()


def bulk_energy(symbol: str, calculators: Calculators) -> float:
    """Energy of an element's reference crystal in eV/atom."""
    atoms, energy = relaxed_bulk(symbol, calculators)
    return energy / len(atoms)


def relaxed_bulk(symbol: str, calculators: Calculators) -> tuple[Atoms, float]:
    """The reference crystal of an element at its lowest energy, and that energy in eV.

    The crystal is that of ASE's table (W. M. Haynes et al., CRC Handbook), or a molecule of two
    atoms for H, N, O and F. Its cell, or bond, is scaled, and where it is not cubic its c/a is
    varied in turn with the volume.

    Args:
        symbol: of the element.
        calculators: what computes the energy.

    Raises:
        ValueError: if ASE can't build the crystal, or the calculator can't compute it.
    """
    start = _reference(symbol)
    periodic = bool(start.pbc.all())
    strain = np.zeros(2)
    directions = [np.array([1.0, 0.0])]
    if periodic and start.info["symmetry"] not in {"fcc", "bcc", "diamond", "sc", "cubic"}:
        # At constant volume: c grows as a shrinks.
        directions += [np.array([0.0, 1.0]), directions[0]]
    try:
        ready = calculators.for_bulk(start) if periodic else calculators.for_cluster(start)
        share = len(start) / len(ready)
        origin = ready.copy()

        def energy(strain: np.ndarray) -> float:
            _stretch(ready, origin, strain, periodic)
            return float(ready.get_potential_energy()) * share

        for direction in directions:
            strain, lowest = _lowest(energy, strain, direction)
    # Every calculator has its own way to say that it does not know an element.
    except Exception as error:
        raise ValueError(
            f"expected an element that {calculators.name} can compute the bulk of, got {symbol} "
            f"({type(error).__name__}: {error})"
        ) from error
    found = start.copy()
    _stretch(found, start, strain, periodic)
    return found, lowest


def _lowest(energy: Any, start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, float]:
    from scipy.optimize import minimize_scalar

    # A percent brackets most minima; where it does not, the bracket is extended downhill. Counted
    # from 1, as the tolerance is relative.
    found = minimize_scalar(
        lambda scale: energy(start + (scale - 1.0) * direction),
        bracket=(1.0, 1.01),
        method="brent",
        options={"xtol": STRAIN_TOLERANCE},
    )
    return start + (found.x - 1.0) * direction, float(found.fun)


def _stretch(atoms: Atoms, origin: Atoms, strain: np.ndarray, periodic: bool) -> None:
    """Scale all lengths, and c against a and b at the same volume; of a molecule not its box."""
    size, shape = strain
    factors = np.exp([size - shape / 2.0, size - shape / 2.0, size + shape])
    if periodic:
        atoms.set_cell(origin.cell.array * factors, scale_atoms=False)
    atoms.set_positions(origin.positions * factors)


def _reference(symbol: str) -> Atoms:
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    if symbol not in atomic_numbers:
        raise ValueError(f"expected the symbol of an element, got {symbol!r}")
    known = reference_states[atomic_numbers[symbol]] or {}
    if known.get("symmetry") == "diatom":
        return Atoms(f"{symbol}2", [[0.0, 0.0, 0.0], [0.0, 0.0, known["d"]]])
    try:
        crystal = bulk(symbol)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected an element whose crystal ASE can build, or its energy, got {symbol}"
        ) from error
    crystal.info["symmetry"] = known["symmetry"]
    return crystal
