"""Relaxations of clusters to a minimum, and structures chosen on the way down."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.potentials.base import Label
from jaxrecon.potentials.energies import formation_energy
from jaxrecon.potentials.labels import Piece, failed, labelled
from jaxrecon.potentials.registry import reference_calculator

LARGEST = 1e3
"""Force component in eV/Angstrom above which a relaxation counts as exploded."""


TOGETHER = 64
"""Clusters that are relaxed side by side where the calculator computes many together."""


@dataclass(frozen=True)
class Relaxing:
    """Settings of the relaxations, and of the structures that are selected from them.

    Attributes:
        force: largest force in eV/Angstrom at which a structure counts as a minimum.
        steps: largest number of steps of the optimiser.
        frames: largest number of structures from one relaxation, evenly spread in energy.
        max_e_form: highest formation energy in eV/atom of a selected structure.
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
    calculator: str,
    bulk: Mapping[str, float],
    settings: Relaxing,
) -> Piece:
    """Relax a random cluster by BFGS and select structures on its way, as a piece of work.

    The ``info`` of a structure has the number of the trajectory, the step, ``e_form`` in eV/atom,
    and the kind: ``minimum`` for the last structure if its forces are small, ``unrelaxed`` if they
    are not, ``intermediate`` for all others. If the calculator fails, or atoms collapse or fly
    apart, the structure of that step comes in addition, with the reason.

    Args:
        name: name of the piece.
        symbols: formula of the cluster.
        number: number of the trajectory.
        seed: seed of the random start.
        calculator: name of the reference calculator.
        bulk: energies of the elements in eV/atom.
        settings: settings of the relaxation and of the selection.

    Returns:
        The name, and the selected structures, the last one of the relaxation first.
    """
    ready = reference_calculator(calculator).for_cluster(random_cluster(symbols, seed))
    steps = _descent(name, ready, number, bulk, settings)
    atoms = next(steps)
    try:
        while True:
            ready.positions = atoms.positions
            try:
                forces = np.array(ready.get_forces(), np.float64)
                known = Label(float(ready.get_potential_energy()), forces)
            # Calculators raise different exceptions; one failure must not cost other structures.
            except Exception as error:
                atoms = steps.throw(error)
            else:
                atoms = steps.send(known)
    except StopIteration as ended:
        return ended.value


def relaxations(calls: Sequence[tuple[Any, ...]]) -> Generator[Piece, None, None]:
    """Relax many random clusters with a calculator that computes structures together.

    Each takes its own steps, and the structures of a step are computed in one go.

    Args:
        calls: arguments of :func:`relaxation`, all with the same calculator, whose ``many`` is set.

    Yields:
        The pieces as :func:`relaxation` returns them, in the order in which they end.
    """
    waiting = iter(calls)
    running: list[tuple[Generator[Atoms, Label, Piece], Atoms]] = []
    while True:
        new = islice(waiting, TOGETHER - len(running))
        for name, symbols, number, seed, _, bulk, settings in new:
            steps = _descent(name, random_cluster(symbols, seed), number, bulk, settings)
            running.append((steps, next(steps)))
        if not running:
            return
        moved: list[tuple[Generator[Atoms, Label, Piece], Atoms]] = []
        reference = reference_calculator(calls[0][4])
        known = dict(reference.label_many([atoms for _, atoms in running]))
        for place, (steps, _) in enumerate(running):
            answer = known[place]
            try:
                further = (
                    steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
                )
                moved.append((steps, further))
            except StopIteration as ended:
                yield ended.value
        running = moved


def _descent(
    name: str, start: Atoms, number: int, bulk: Mapping[str, float], settings: Relaxing
) -> Generator[Atoms, Label, Piece]:
    """The steps of a relaxation: yields structures, is sent labels, and returns the piece."""
    from ase.optimize import BFGS

    moving = Atoms(start.numbers, start.positions)
    optimizer = BFGS(moving, logfile=None)
    path: list[tuple[Atoms, Label]] = []
    selected: list[Atoms] = []
    converged = False
    failure: Exception | None = None
    try:
        while True:
            known = yield moving
            largest = np.abs(known.forces).max()
            if not (np.isfinite(known.energy) and largest < LARGEST):
                text = f"expected forces below {LARGEST:g} eV/A, got {largest:g}"
                failure = ValueError(text)
                break
            path.append((_centred(moving), Label(known.energy, known.forces)))
            converged = bool(np.linalg.norm(known.forces, axis=1).max() < settings.force)
            if converged or len(path) > settings.steps:
                break
            moving.calc = SinglePointCalculator(moving, energy=known.energy, forces=known.forces)
            optimizer.step()
    # What the calculator raises ends the relaxation, not the work.
    except Exception as error:
        failure = error
    if failure is not None:
        selected = [failed(_centred(moving), failure, trajectory=number, step=len(path))]
    e_forms = [formation_energy(known.energy, start.symbols, bulk) for _, known in path]
    # From the end: of near duplicates the first is kept, and that should be the minimum.
    for step in reversed(spread(np.array(e_forms), settings.frames, settings.max_e_form)):
        kind = "intermediate"
        if step == len(path) - 1 and not selected:
            kind = "minimum" if converged else "unrelaxed"
        about: dict[str, Any] = {
            "kind": kind,
            "trajectory": number,
            "step": step,
            "e_form": e_forms[step],
        }
        selected.append(labelled(*path[step], **about))
    return name, selected


def spread(energies: np.ndarray, count: int, highest: float) -> list[int]:
    """Select steps of a relaxation that are evenly spread in energy.

    The last step is always selected; with a count of two or more, so are the highest and the
    lowest of those that are low enough.

    Args:
        energies: energy of every step.
        count: largest number of steps to select, beside a last one that is not low enough.
        highest: highest energy of a selected step other than the last.

    Returns:
        Numbers of the selected steps, ascending.

    >>> spread(np.array([9.0, 3.0, 2.9, 2.0, 1.1, 1.0]), 3, 5.0)
    [1, 3, 5]
    """
    low = [int(number) for number in np.flatnonzero(energies <= highest)]
    last = [len(energies) - 1] if len(energies) else []
    if len(low) <= count:
        return sorted({*low, *last})
    if count < 2:
        return last
    # One step for each of evenly spaced energies: the nearest.
    values = energies[low]
    wanted = np.linspace(values.max(), values.min(), count)
    nearest = np.abs(values[None, :] - wanted[:, None]).argmin(axis=1)
    chosen = {low[number] for number in nearest}
    return sorted({*chosen, *last})


def _centred(atoms: Atoms) -> Atoms:
    """Copy elements and positions, without the box that a calculator may need."""
    return Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(axis=0))
