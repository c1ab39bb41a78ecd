"""Perturbed copies of structures: training examples around minima, for surrogates.

Relaxations contain only minima and structures on the way down to them. A search that is guided by a
surrogate trained on those alone walks uphill, into regions without training examples.
"""

import math
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

RATTLES = (0.02, 0.3)
"""Smallest and largest standard deviation of the coordinates of a rattled copy, in Angstrom."""

FARTHEST = 1.5
"""Largest distance in Angstrom by which one atom is displaced."""

LARGEST = 0.08
"""Largest absolute value of an entry of a strain."""

LEAST = 0.7
"""Smallest distance of two atoms in units of the sum of their covalent radii."""

TRIES = 100
"""Largest number of attempts at a copy without atoms that are too close."""

SMALLER = 0.95
"""Factor between the sizes of two attempts: the last one has less than a hundredth of the first."""


def perturbed(atoms: Atoms, seed: int) -> Atoms:
    """Make a copy with all atoms rattled, one atom displaced, or the whole structure strained.

    Rattled coordinates have a standard deviation between 0.02 and 0.3 Angstrom, uniform in its
    logarithm; one atom is displaced by up to 1.5 Angstrom in a random direction; strains are
    symmetric with entries up to 0.08. An attempt that brings two atoms nearer than 0.7 of the sum
    of their covalent radii, and nearer than any two were before, is repeated with a smaller one.
    The result is a pure function of the arguments.

    Args:
        atoms: the structure, free or periodic; a cell is strained with its atoms.
        seed: seed of the random numbers.

    Returns:
        The copy, without a calculator, its ``kind`` in ``info``: ``rattled``, ``displaced`` or
        ``strained``.

    >>> from ase.build import molecule
    >>> sorted({perturbed(molecule("CH4"), seed).info["kind"] for seed in range(20)})
    ['displaced', 'rattled', 'strained']
    """
    random = np.random.default_rng(seed)
    kind = list(_PERTURBATIONS)[int(random.integers(len(_PERTURBATIONS)))]
    before = _closeness(atoms)
    for attempt in range(TRIES):
        copy = _PERTURBATIONS[kind](_bare(atoms), random, SMALLER**attempt)
        if _closeness(copy) >= min(LEAST, before):
            break
    copy.info["kind"] = kind
    return copy


def _bare(atoms: Atoms) -> Atoms:
    """Copy elements, positions, cell and periodicity alone."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _rattled(atoms: Atoms, random: np.random.Generator, scale: float) -> Atoms:
    """Move all atoms by normal random numbers."""
    low, high = np.log(RATTLES)
    sigma = scale * math.exp(random.uniform(low, high))
    atoms.positions += sigma * random.normal(size=(len(atoms), 3))
    return atoms


def _displaced(atoms: Atoms, random: np.random.Generator, scale: float) -> Atoms:
    """Move one atom in a random direction."""
    direction = random.normal(size=3)
    length = scale * FARTHEST * random.random()
    atoms.positions[random.integers(len(atoms))] += length * direction / np.linalg.norm(direction)
    return atoms


def _strained(atoms: Atoms, random: np.random.Generator, scale: float) -> Atoms:
    """Deform atoms and cell by a symmetric strain."""
    entries = np.triu(scale * random.uniform(-LARGEST, LARGEST, (3, 3)))
    deformation = np.eye(3) + (entries + entries.T - np.diag(np.diag(entries)))
    # set_cell would leave the atoms of a free structure, which has no cell, where they are.
    atoms.positions = atoms.positions @ deformation
    atoms.cell[:] = atoms.cell.array @ deformation
    return atoms


_PERTURBATIONS: dict[str, Callable[[Atoms, np.random.Generator, float], Atoms]] = {
    "rattled": _rattled,
    "displaced": _displaced,
    "strained": _strained,
}


def _closeness(atoms: Atoms) -> float:
    """Return the smallest distance of two atoms in units of the sum of their covalent radii."""
    radii = covalent_radii[atoms.numbers]
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    pairs = np.triu_indices(len(atoms), 1)
    return float((distances / (radii[:, None] + radii[None, :]))[pairs].min(initial=np.inf))
