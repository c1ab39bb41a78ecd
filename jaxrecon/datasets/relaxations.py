"""Relaxations: from random atoms to a minimum, and what is kept of the way there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.potentials.calculators import calculator
from jaxrecon.potentials.energies import Label, formation_energy
from jaxrecon.potentials.labels import Piece, failed, labelled

LARGEST = 1e3
"""eV/Angstrom: of a force beyond which a relaxation has exploded."""


@dataclass(frozen=True)
class Relaxing:
    """How clusters are relaxed, and what is kept of it.

    Attributes:
        force: eV/Angstrom, of the largest force at a minimum.
        steps: of the optimiser at most.
        frames: structures that are kept at most, evenly spread in energy.
        max_e_form: eV/atom, of those that are kept.
    """

    force: float = 0.05
    steps: int = 200
    frames: int = 11
    max_e_form: float = 3.7


def relaxation(
    name: str,
    symbols: str,
    number: int,
    seed: int,
    calculators: str,
    bulk: Mapping[str, float],
    how: Relaxing,
) -> Piece:
    """Relax a random cluster: see :func:`descent`.

    Args:
        name: of the piece.
        symbols: formula of the cluster.
        number: of the trajectory.
        seed: of the random start.
        calculators: name of the calculator.
        bulk: energies of the elements in eV/atom.
        how: steps, forces and what is kept.
    """
    return descent(name, random_cluster(symbols, seed), number, calculators, bulk, how)


def descent(
    name: str,
    start: Atoms,
    number: int,
    calculators: str,
    bulk: Mapping[str, float],
    how: Relaxing,
) -> Piece:
    """Relax a cluster by BFGS, and choose structures on its way, from its end back.

    Their ``info`` has the number of the trajectory, the step, ``e_form`` in eV/atom, and the kind:
    ``intermediate``, or of the last one ``minimum`` if its forces are small, else ``unrelaxed``. If
    the calculator fails, or atoms collapse or fly apart, the structure of that step is there as
    well, with the reason.

    Args:
        name: of the piece.
        start: positions in Angstrom.
        number: of the trajectory.
        calculators: name of the calculator.
        bulk: energies of the elements in eV/atom.
        how: steps, forces and what is kept.
    """
    from ase.optimize import BFGS

    ready = calculator(calculators).for_cluster(start)
    way: list[tuple[Atoms, Label]] = []
    met: list[Atoms] = []
    calm = False

    def look() -> None:
        energy, forces = ready.get_potential_energy(), np.array(ready.get_forces(), np.float64)
        largest = np.abs(forces).max()
        if not (np.isfinite(energy) and largest < LARGEST):
            raise ValueError(f"expected forces below {LARGEST:g} eV/A, got {largest:g}")
        way.append((_centred(ready), Label(float(energy), forces)))

    try:
        for reached in BFGS(ready, logfile=None).irun(fmax=how.force, steps=how.steps):
            look()
            calm = bool(reached)
    # Every calculator has its own way to fail, and one structure is not worth all others.
    except Exception as error:
        met = [failed(_centred(ready), error, trajectory=number, step=len(way))]
    e_forms = [formation_energy(each.energy, start.symbols, bulk) for _, each in way]
    # The minimum comes first, so that it is what is kept of all that is nearly the same.
    for step in reversed(spread(np.array(e_forms), how.frames, how.max_e_form)):
        kind = "intermediate"
        if step == len(way) - 1 and not met:
            kind = "minimum" if calm else "unrelaxed"
        about: dict[str, Any] = {
            "kind": kind,
            "trajectory": number,
            "step": step,
            "e_form": e_forms[step],
        }
        met.append(labelled(*way[step], **about))
    return name, met


def spread(energies: np.ndarray, count: int, highest: float) -> list[int]:
    """Positions of energies that are evenly spread, the last and the lowest among them.

    Args:
        energies: of the steps of a relaxation.
        count: how many there are to be at most.
        highest: energy that none has, but the last.

    >>> spread(np.array([9.0, 3.0, 2.9, 2.0, 1.1, 1.0]), 3, 5.0)
    [1, 3, 5]
    """
    low = [int(number) for number in np.flatnonzero(energies <= highest)]
    last = [len(energies) - 1] if len(energies) else []
    if len(low) <= count:
        return sorted({*low, *last})
    if count < 2:
        return last
    some = energies[low]
    wanted = np.linspace(some.max(), some.min(), count)
    nearest = np.abs(some[None, :] - wanted[:, None]).argmin(axis=1)
    chosen = {low[number] for number in nearest}
    return sorted({*chosen, *last})


def _centred(atoms: Atoms) -> Atoms:
    """Without the box that a calculator needs."""
    return Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(axis=0))
