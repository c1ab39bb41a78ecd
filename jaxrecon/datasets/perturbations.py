"""Perturbed copies of structures: what a surrogate has to have seen around the low-lying minima.

Relaxations hold only structures near minima and on the way down to them. An optimiser that is
guided by a surrogate trained on those alone walks uphill, where the surrogate has never been.
"""

import math
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

RATTLES = (0.02, 0.3)
"""Standard deviations of a rattle's coordinates, in Angstrom."""

FARTHEST = 1.5
"""How far the displaced atom goes at most, in Angstrom."""

LARGEST = 0.08
"""Entry of a strain at most."""

LEAST = 0.7
"""Distance that atoms keep, by the sum of their covalent radii."""

TRIES = 100
"""Ways to perturb that are tried; after each that brings atoms too close the next is shorter."""

SHORTER = 0.95
"""Factor between two tries: after all of them less than a hundredth is left."""


def perturbed(atoms: Atoms, seed: int) -> Atoms:
    """A copy with all atoms rattled, or one atom displaced, or strained as a whole.

    Rattles have a standard deviation between 0.02 and 0.3 Angstrom, evenly in its logarithm; the
    displaced atom goes up to 1.5 Angstrom in any direction; strains are symmetric, of entries up to
    0.08. What brings two atoms nearer than 0.7 of the sum of their covalent radii, and nearer than
    they were, is tried anew. A pure function of its arguments.

    Args:
        atoms: the structure, free or periodic; a cell is strained with its atoms.
        seed: of the random numbers.

    Returns:
        The copy, without calculator, with its ``kind`` in ``info``: rattled, displaced or strained.

    >>> from ase.build import molecule
    >>> sorted({perturbed(molecule("CH4"), seed).info["kind"] for seed in range(20)})
    ['displaced', 'rattled', 'strained']
    """
    random = np.random.default_rng(seed)
    kind = list(_MOVES)[int(random.integers(len(_MOVES)))]
    before = _closeness(atoms)
    for attempt in range(TRIES):
        copy = _MOVES[kind](_bare(atoms), random, SHORTER**attempt)
        if _closeness(copy) >= min(LEAST, before):
            break
    copy.info["kind"] = kind
    return copy


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _rattled(atoms: Atoms, random: np.random.Generator, part: float) -> Atoms:
    low, high = np.log(RATTLES)
    sigma = part * math.exp(random.uniform(low, high))
    atoms.positions += sigma * random.normal(size=(len(atoms), 3))
    return atoms


def _displaced(atoms: Atoms, random: np.random.Generator, part: float) -> Atoms:
    way = random.normal(size=3)
    length = part * FARTHEST * random.random()
    atoms.positions[random.integers(len(atoms))] += length * way / np.linalg.norm(way)
    return atoms


def _strained(atoms: Atoms, random: np.random.Generator, part: float) -> Atoms:
    entries = np.triu(part * random.uniform(-LARGEST, LARGEST, (3, 3)))
    deformation = np.eye(3) + (entries + entries.T - np.diag(np.diag(entries)))
    # Not by set_cell: a free structure has no cell for the atoms to go with.
    atoms.positions = atoms.positions @ deformation
    atoms.cell[:] = atoms.cell.array @ deformation
    return atoms


_MOVES: dict[str, Callable[[Atoms, np.random.Generator, float], Atoms]] = {
    "rattled": _rattled,
    "displaced": _displaced,
    "strained": _strained,
}


def _closeness(atoms: Atoms) -> float:
    """The least distance of two atoms by the sum of their covalent radii."""
    radii = covalent_radii[atoms.numbers]
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    pairs = np.triu_indices(len(atoms), 1)
    return float((distances / (radii[:, None] + radii[None, :]))[pairs].min(initial=np.inf))
