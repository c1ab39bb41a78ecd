"""Free clusters made on the spot: random atoms, as they are or relaxed under a potential of ASE."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from jaxrecon.structures.formulas import composition_of

PACKING = 0.6
"""Part of the volume of a compact cluster that is within a covalent radius of an atom."""

SIZES = (0.9, 2.6)
"""From compact to dissociated: length of a container by that of the compact cluster's."""

SHAPES = 1.0
"""Spread of the logarithms of a box's edges: from cubes to plates and rods."""

LONGEST = 3.2
"""Edge of a box at most, in the same units, unless all are longer: what is farther is apart."""

TRIES = 200
"""Sites that are tried for an atom before the container grows."""

GROWTH = 1.05
"""Factor by which all lengths of a container grow that turns out too small."""


def relaxed(symbols: str, seed: int = 0, *, steps: int = 200) -> Atoms:
    """A compact cluster: random positions relaxed under effective medium theory by FIRE.

    Source of the potential: Jacobsen, Stoltze and Norskov, Surf. Sci. 366, 394 (1996), in ASE; it
    knows H, C, N, O, Al, Ni, Cu, Pd, Ag, Pt and Au, and is meant for the metals.

    Args:
        symbols: formula, like ``"Pt10"``.
        seed: of the random start.
        steps: relaxation steps at most.

    Raises:
        ValueError: if the formula can't be read, or the potential does not know an element.

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
    atoms = Atoms(composition, positions=_spread(composition, np.random.default_rng(seed)))
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
    """Random atoms in a ball or a box, centred: where relaxations of all kinds of clusters start.

    Sites are uniform in the container but for the least distances; edges of boxes differ, so that
    compact clusters, chains, plates and fragments all occur. The container grows if the atoms don't
    find room in it. A pure function of its arguments.

    Args:
        symbols: formula, like ``"Pt10"``.
        seed: of the random numbers.
        container: None for either, by the seed.
        size: length of the container in units of that in which the atoms are as dense as in a
            compact cluster: about 1 gives compact ones, above 2 they fall apart; None for one
            between ``SIZES``, by the seed.
        least: distance that two atoms keep, by the sum of their covalent radii.

    Returns:
        The atoms, with ``container`` and ``size`` in ``info``.

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
    random = np.random.default_rng(seed)
    # All is drawn whether it is needed or not: what is given leaves the rest as it would be.
    either, between = random.random(2)
    stretches = SHAPES * random.normal(size=3)
    container = container or ("ball" if either < 0.5 else "box")
    size = size or float(SIZES[0] * (SIZES[1] / SIZES[0]) ** between)
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
    """What draws sites in a container whose volume is that of a cube of this edge, in Angstrom."""
    if container == "box":
        return lambda random: edge * edges * random.random((TRIES, 3))
    radius = edge * (3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)

    def in_ball(random: np.random.Generator) -> np.ndarray:
        ways = random.normal(size=(TRIES, 3))
        lengths = radius * random.random((TRIES, 1)) ** (1.0 / 3.0)
        return lengths * ways / np.linalg.norm(ways, axis=1, keepdims=True)

    return in_ball


def _apart(
    random: np.random.Generator,
    radii: np.ndarray,
    sites: Callable[[np.random.Generator], np.ndarray],
    least: float,
) -> np.ndarray | None:
    """Each atom at the first site that keeps its distances; None if one has no such site."""
    placed = np.empty((0, 3))
    for number in range(len(radii)):
        tried = sites(random)
        distances = np.linalg.norm(tried[:, None] - placed[None], axis=-1)
        free = (distances >= least * (radii[:number] + radii[number])).all(axis=1)
        if not free.any():
            return None
        placed = np.concatenate([placed, tried[[free.argmax()]]])
    return placed


def _radii(composition: tuple[str, ...]) -> np.ndarray:
    return np.array([covalent_radii[atomic_numbers[symbol]] for symbol in composition])


def _compact_edge(radii: np.ndarray) -> float:
    """Edge of the cube that a compact cluster of these atoms would fill, in Angstrom."""
    return float((np.sum(4.0 / 3.0 * np.pi * radii**3) / PACKING) ** (1.0 / 3.0))


def _spread(composition: tuple[str, ...], random: np.random.Generator) -> np.ndarray:
    """Each atom at the candidate site that is farthest from those placed already, in a cube."""
    edge = _compact_edge(_radii(composition))
    placed = edge * random.random((1, 3))
    for _ in composition[1:]:
        sites = edge * random.random((20, 3))
        distances = np.linalg.norm(sites[:, None] - placed[None], axis=-1).min(axis=1)
        placed = np.concatenate([placed, sites[[distances.argmax()]]])
    return placed
