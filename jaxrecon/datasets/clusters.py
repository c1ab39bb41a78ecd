"""Free clusters from random numbers, as they are or relaxed with a potential of ASE."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.structures.formulas import composition_of
from jaxrecon.structures.packing import PACKING

LOOSENESS = 7 / 6
"""Volume of the cube of a compact cluster, in units of that which its atoms need when packed."""

SIZES = (0.9, 2.6)
"""Range of container lengths in units of a compact cluster's: from compact to dissociated."""

SHAPES = 1.0
"""Standard deviation of the logarithms of a box's edges: from cubes to plates and rods."""

LONGEST = 3.2
"""Longest edge of a box in the same units, unless all edges are longer.

In a longer box the fragments of a cluster would no longer interact.
"""

TRIES = 200
"""Number of sites that are tried for an atom before the container grows."""

GROWTH = 1.05
"""Factor by which the lengths of a container grow if the atoms don't fit into it."""


def relaxed(symbols: str, seed: int = 0, *, steps: int = 200) -> Atoms:
    """Make a compact cluster: random positions, relaxed with effective medium theory by FIRE.

    Source of the potential: Jacobsen, Stoltze and Norskov, Surf. Sci. 366, 394 (1996), in ASE; it
    has parameters for H, C, N, O, Al, Ni, Cu, Pd, Ag, Pt and Au, and is meant for the metals.

    Args:
        symbols: formula, like ``"Pt10"``.
        seed: seed of the random start.
        steps: largest number of relaxation steps.

    Returns:
        The cluster, centred at the origin, without a calculator; positions in Angstrom.

    Raises:
        ValueError: if the formula can't be read, or the potential lacks an element.

    >>> cluster = relaxed("Pt4", seed=1)
    >>> cluster.get_chemical_formula(), bool(2.4 < cluster.get_distance(0, 1) < 2.8)
    ('Pt4', True)
    """
    from ase.calculators.emt import EMT, parameters
    from ase.optimize import FIRE

    composition = composition_of(symbols)
    foreign = sorted(set(composition) - set(parameters))
    if foreign:
        raise ValueError(f"expected elements among {sorted(parameters)}, got {foreign}")
    atoms = Atoms(
        composition, positions=_spread(composition, np.random.default_rng(checked_seed(seed)))
    )
    atoms.calc = EMT()
    FIRE(atoms, logfile=None).run(fmax=0.02, steps=steps)
    atoms.calc = None
    atoms.positions -= atoms.positions.mean(axis=0)
    return atoms


def random_cluster(
    symbols: str,
    seed: int,
    *,
    container: Literal["ball", "box"] | None = None,
    size: float | None = None,
    least: float = 0.7,
) -> Atoms:
    """Place random atoms in a ball or a box, as a start of relaxations.

    Sites are uniform in the container except for a smallest distance between atoms. The edges of a
    box differ, so that compact clusters, chains, plates and fragments all occur. The container
    grows if the atoms don't fit into it. The result is a pure function of the arguments.

    Args:
        symbols: formula, like ``"Pt10"``.
        seed: seed of the random numbers.
        container: ``"ball"`` or ``"box"``; None lets the seed decide.
        size: length of the container in units of the one that a compact cluster fills: about 1
            gives compact clusters, above 2 they fall apart. None lets the seed decide, within
            ``SIZES``.
        least: smallest distance of two atoms in units of the sum of their covalent radii.

    Returns:
        The atoms, centred at the origin, with ``container`` and ``size`` in ``info``; positions in
        Angstrom.

    Raises:
        ValueError: if the formula can't be read, or an argument is out of range.

    >>> atoms = random_cluster("Pt10", seed=4, container="ball")
    >>> len(atoms), atoms.info["container"], bool(atoms.get_distance(0, 1) > 0.7 * 2 * 1.36)
    (10, 'ball', True)
    """
    composition = composition_of(symbols)
    if container not in {None, "ball", "box"}:
        raise ValueError(f"expected container 'ball' or 'box', got {container!r}")
    if size is not None and not 0.0 < size < math.inf:
        raise ValueError(f"expected size > 0, got {size}")
    if not 0.0 <= least < math.inf:
        raise ValueError(f"expected least >= 0, got {least}")
    random = np.random.default_rng(checked_seed(seed))
    # All numbers are drawn, needed or not, so that an argument does not change the other choices.
    either, between = random.random(2)
    stretches = SHAPES * random.normal(size=3)
    container = container or ("ball" if either < 0.5 else "box")
    size = size or float(SIZES[0] * (SIZES[1] / SIZES[0]) ** between)
    # Edges are scaled at constant volume, and less if the longest would be too long.
    stretches -= stretches.mean()
    most = math.log(max(LONGEST / size, 1.0))
    edges = np.exp(stretches * min(1.0, most / stretches.max()))
    radii = _radii(composition)
    edge = size * _compact_edge(radii)
    while (placed := _apart(random, radii, _sites(container, edge, edges), least)) is None:
        edge *= GROWTH
    atoms = Atoms(composition, placed - placed.mean(axis=0))
    atoms.info = {"container": container, "size": size}
    return atoms


def _sites(
    container: str, edge: float, edges: np.ndarray
) -> Callable[[np.random.Generator], np.ndarray]:
    """Return a function that draws sites in a container with the volume of a cube of this edge."""
    if container == "box":
        return lambda random: edge * edges * random.random((TRIES, 3))
    radius = edge * (3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)

    def in_ball(random: np.random.Generator) -> np.ndarray:
        directions = random.normal(size=(TRIES, 3))
        lengths = radius * random.random((TRIES, 1)) ** (1.0 / 3.0)
        return lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)

    return in_ball


def _apart(
    random: np.random.Generator,
    radii: np.ndarray,
    sites: Callable[[np.random.Generator], np.ndarray],
    least: float,
) -> np.ndarray | None:
    """Place every atom at its first site far from the others; None if it has no such site."""
    placed = np.empty((0, 3))
    for number in range(len(radii)):
        candidates = sites(random)
        distances = np.linalg.norm(candidates[:, None] - placed[None], axis=-1)
        free = (distances >= least * (radii[:number] + radii[number])).all(axis=1)
        if not free.any():
            return None
        placed = np.concatenate([placed, candidates[[free.argmax()]]])
    return placed


def _radii(composition: tuple[str, ...]) -> np.ndarray:
    """Return the covalent radii of the atoms in Angstrom."""
    return np.array([covalent_radii[atomic_numbers[symbol]] for symbol in composition])


def _compact_edge(radii: np.ndarray) -> float:
    """Return the edge in Angstrom of the cube that a compact cluster of these atoms would fill."""
    return float((np.sum(4.0 / 3.0 * np.pi * radii**3) / PACKING * LOOSENESS) ** (1.0 / 3.0))


def _spread(composition: tuple[str, ...], random: np.random.Generator) -> np.ndarray:
    """Place every atom in a cube, at the candidate site farthest from those placed already."""
    edge = _compact_edge(_radii(composition))
    placed = edge * random.random((1, 3))
    for _ in composition[1:]:
        sites = edge * random.random((20, 3))
        distances = np.linalg.norm(sites[:, None] - placed[None], axis=-1).min(axis=1)
        placed = np.concatenate([placed, sites[[distances.argmax()]]])
    return placed
