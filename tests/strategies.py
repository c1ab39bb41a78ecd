"""Structures for Hypothesis: free clusters and triclinic crystals.

Positions come from a drawn seed and not from drawn numbers: those favour 0 and 1/2, where a
minimum image jumps and an extreme over atoms has no derivative.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from hypothesis import strategies as st

ELEMENTS = ("H", "O", "Pt")
LARGEST = 20
CLOSEST = 0.7

seeds = st.integers(0, 2**32 - 1)


def random_cluster(seed: int, atoms: int, elements: tuple[str, ...] = ELEMENTS) -> Atoms:
    """Atoms in a ball, none closer than ``CLOSEST`` Angstrom to another."""
    rng = np.random.default_rng(seed)
    positions = _apart(rng, atoms, lambda: rng.normal(size=3) * 1.4 * atoms ** (1 / 3), None)
    return Atoms(rng.choice(elements, atoms), positions)


def random_crystal(seed: int, atoms: int, elements: tuple[str, ...] = ELEMENTS) -> Atoms:
    """Atoms in a right-handed triclinic cell, none closer than ``CLOSEST`` to a wrapped other."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * rng.uniform(3, 9, size=(3, 1)) + rng.uniform(-1.2, 1.2, size=(3, 3))
    positions = _apart(rng, atoms, lambda: rng.random(3) @ cell, cell)
    return Atoms(rng.choice(elements, atoms), positions, cell=cell, pbc=True)


def random_lattice(
    seed: int,
    atoms: int,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    edges: tuple[float, ...] = (2.5, 6.0),
    *,
    missing: bool = False,
    elements: tuple[str, ...] = ELEMENTS,
) -> Atoms:
    """Atoms anywhere, up to three cells away, in a skewed cell that repeats along some axes.

    ``edges`` are the shortest and the longest lattice vector before they are skewed, or the three
    of them. With ``missing`` there are no vectors along the axes that do not repeat.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(*edges, 3) if len(edges) == 2 else np.array(edges)
    skew = np.eye(3) + np.tril(rng.uniform(-0.7, 0.7, (3, 3)), -1)
    cell = skew * lengths @ random_frame(rng, mirror=False)
    away = np.where(pbc, rng.integers(-3, 4, (atoms, 3)), 0)
    positions = (rng.random((atoms, 3)) + away) @ cell
    if missing:
        cell = np.where(np.array(pbc)[:, None], cell, 0.0)
    return Atoms(rng.choice(elements, atoms), positions, cell=cell, pbc=pbc)


@st.composite
def lattices(draw: st.DrawFn, largest: int = 6) -> Atoms:
    """Structures that repeat along any number of axes, with or without vectors along the others."""
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    atoms = draw(st.integers(1, largest))
    return random_lattice(draw(seeds), atoms, pbc, missing=draw(st.booleans()))


@st.composite
def clusters(
    draw: st.DrawFn, smallest: int = 2, largest: int = LARGEST, elements: tuple[str, ...] = ELEMENTS
) -> Atoms:
    """Free clusters of one to three elements."""
    some = draw(st.integers(1, len(elements)))
    return random_cluster(draw(seeds), draw(st.integers(smallest, largest)), elements[:some])


@st.composite
def crystals(
    draw: st.DrawFn, smallest: int = 1, largest: int = 12, elements: tuple[str, ...] = ELEMENTS
) -> Atoms:
    """Triclinic crystals of one to three elements."""
    some = draw(st.integers(1, len(elements)))
    return random_crystal(draw(seeds), draw(st.integers(smallest, largest)), elements[:some])


def random_frame(rng: np.random.Generator, *, mirror: bool) -> np.ndarray:
    """An orthogonal matrix of determinant -1 (``mirror``) or 1."""
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return frame * np.sign(np.linalg.det(frame)) * (-1.0 if mirror else 1.0)


def _apart(rng, atoms, draw, cell):
    positions = np.zeros((0, 3))
    for attempt in range(100_000):
        if len(positions) == atoms:
            return positions
        site = draw()
        offsets = positions - site
        if cell is not None:
            fractions = offsets @ np.linalg.inv(cell)
            offsets = (fractions - np.round(fractions)) @ cell
        # A crowded cell makes room rather than running for ever.
        closest = CLOSEST * 0.999**attempt
        if not len(positions) or np.linalg.norm(offsets, axis=1).min() > closest:
            positions = np.vstack([positions, site])
    raise RuntimeError(f"no room for {atoms} atoms")
