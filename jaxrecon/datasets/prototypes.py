"""The twelve structures of figures 4 and 5 of Fung et al. (arXiv 2207.13227).

Figure 4 reconstructs six free shapes made of one element, figure 5 six crystals of two to five
elements. The paper prints pictures and no coordinates: the shapes here are ideal ones with the
nearest-neighbour distance of platinum, the crystals have experimental cells from the sources that
their docstrings name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal
from jaxtyping import Float

Points = Float[np.ndarray, "n 3"]

PLATINUM_BOND = 2.775
"""Distance of nearest neighbours in fcc platinum in Angstrom, a / sqrt(2) with a = 3.924 A.

The parameters of the published fingerprint were chosen for distances of this size.
"""

GOLDEN_RATIO = (1.0 + 5.0**0.5) / 2.0


def _platinum(points: Points) -> Atoms:
    """Place free platinum atoms at points in Angstrom, and centre them at the origin."""
    return Atoms(numbers=[78] * len(points), positions=points - points.mean(axis=0))


def _solid(
    symbols: list[str],
    sites: list[tuple[float, float, float]],
    spacegroup: int,
    parameters: list[float],
) -> Atoms:
    """Build a full cell from its inequivalent sites, without the ``info`` that ASE attaches."""
    cell = crystal(symbols, basis=sites, spacegroup=spacegroup, cellpar=parameters)
    return Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)


def _sign_choices(x: float, y: float, z: float) -> Points:
    """Return all points (+-x, +-y, +-z) without duplicates."""
    signs = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]), axis=-1).reshape(-1, 3)
    return np.unique(signs * [x, y, z] + 0.0, axis=0)


def _cyclic(x: float, y: float, z: float) -> Points:
    """Return the points (+-x, +-y, +-z) and their cyclic permutations."""
    return np.concatenate([_sign_choices(x, y, z), _sign_choices(z, x, y), _sign_choices(y, z, x)])


def cube() -> Atoms:
    """Return the eight corners of a cube with an edge of 2.775 A.

    >>> len(cube())
    8
    """
    half = PLATINUM_BOND / 2.0
    return _platinum(_sign_choices(half, half, half))


def icosahedron() -> Atoms:
    """Return the twelve corners of an icosahedron with an edge of 2.775 A.

    The cyclic permutations of (0, +-1, +-phi), phi the golden ratio, have an edge of 2 (Coxeter,
    Regular Polytopes, 3.7).

    >>> len(icosahedron())
    12
    """
    return _platinum(_cyclic(0.0, 1.0, GOLDEN_RATIO) * PLATINUM_BOND / 2.0)


def dodecahedron() -> Atoms:
    """Return the twenty corners of a dodecahedron with an edge of 2.775 A.

    The corners (+-1, +-1, +-1) and the cyclic permutations of (0, +-1/phi, +-phi), phi the golden
    ratio, have an edge of 2/phi (Coxeter, Regular Polytopes, 3.7).

    >>> len(dodecahedron())
    20
    """
    unit = np.concatenate(
        [_sign_choices(1.0, 1.0, 1.0), _cyclic(0.0, 1.0 / GOLDEN_RATIO, GOLDEN_RATIO)]
    )
    return _platinum(unit * PLATINUM_BOND * GOLDEN_RATIO / 2.0)


def humanoid() -> Atoms:
    """Return an eleven-atom stick figure that waves, with bonds of 2.65 to 2.81 A and no symmetry.

    The atoms are pelvis, chest, head, then elbow and hand, left and right, then knee and foot, left
    and right: a tree of ten bonds. The other five shapes have symmetries.

    >>> len(humanoid())
    11
    """
    joints = [
        (0.0, 0.0, 0.0),
        (0.0, 0.2, 2.7),
        (0.1, 0.3, 5.4),
        (-2.6, 0.0, 3.4),
        (-3.9, 0.9, 5.7),
        (2.6, 0.1, 3.2),
        (4.2, 0.8, 1.0),
        (-1.5, 0.5, -2.3),
        (-1.7, -0.2, -5.0),
        (1.5, 0.3, -2.3),
        (1.9, 0.5, -5.0),
    ]
    return _platinum(np.array(joints))


def decagon() -> Atoms:
    """Return a planar ring of ten atoms, 2.775 A apart.

    >>> len(decagon())
    10
    """
    angles = 2.0 * np.pi * np.arange(10) / 10.0
    radius = PLATINUM_BOND / (2.0 * np.sin(np.pi / 10.0))
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(10)], axis=-1)
    return _platinum(radius * ring)


def hexagonal_sheet() -> Atoms:
    """Return a flat hexagon of nineteen atoms on a triangular lattice, 2.775 A apart.

    It has a centre and two rings around it, like a flake of one Pt(111) layer.

    >>> len(hexagonal_sheet())
    19
    """
    steps = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if abs(i + j) <= 2]
    lattice = np.array([[1.0, 0.0, 0.0], [0.5, 3.0**0.5 / 2.0, 0.0]])
    return _platinum(PLATINUM_BOND * np.array(steps, dtype=float) @ lattice)


def rutile() -> Atoms:
    """Return rutile TiO2, the 6-atom tetragonal cell (P4_2/mnm).

    a = 4.5937 A, c = 2.9587 A, u(O) = 0.3048: S. C. Abrahams and J. L. Bernstein, J. Chem. Phys.
    55, 3206 (1971).

    >>> rutile().get_chemical_formula()
    'O4Ti2'
    """
    return _solid(
        ["Ti", "O"],
        [(0.0, 0.0, 0.0), (0.3048, 0.3048, 0.0)],
        136,
        [4.5937, 4.5937, 2.9587, 90.0, 90.0, 90.0],
    )


def rock_salt() -> Atoms:
    """Return rock salt NaCl, the 8-atom cubic cell (Fm-3m).

    a = 5.6402 A: H. E. Swanson and R. K. Fuyat, Natl. Bur. Stand. Circ. 539, vol. 2, 41 (1953).

    >>> rock_salt().get_chemical_formula()
    'Cl4Na4'
    """
    return _solid(
        ["Na", "Cl"],
        [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)],
        225,
        [5.6402, 5.6402, 5.6402, 90.0, 90.0, 90.0],
    )


def heusler() -> Atoms:
    """Return the Heusler alloy MnAlCu2, the 16-atom cubic cell (Fm-3m, L2_1).

    a = 5.95 A: A. J. Bradley and J. W. Rodgers, Proc. R. Soc. Lond. A 144, 340 (1934).

    >>> heusler().get_chemical_formula()
    'Al4Cu8Mn4'
    """
    return _solid(
        ["Mn", "Al", "Cu"],
        [(0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (0.25, 0.25, 0.25)],
        225,
        [5.95, 5.95, 5.95, 90.0, 90.0, 90.0],
    )


def pyrite() -> Atoms:
    """Return pyrite FeS2, the 12-atom cubic cell (Pa-3).

    a = 5.4179 A, u(S) = 0.384: G. Brostigen and A. Kjekshus, Acta Chem. Scand. 23, 2186 (1969).

    >>> pyrite().get_chemical_formula()
    'Fe4S8'
    """
    return _solid(
        ["Fe", "S"],
        [(0.0, 0.0, 0.0), (0.384, 0.384, 0.384)],
        205,
        [5.4179, 5.4179, 5.4179, 90.0, 90.0, 90.0],
    )


def methylammonium_lead_bromide() -> Atoms:
    """Return the hybrid perovskite CH3NH3PbBr3 in a 12-atom cubic cell, its cation ordered (R3m).

    a = 5.93 A is the rounded edge of the cubic phase at room temperature (A. Poglitsch and D.
    Weber, J. Chem. Phys. 87, 6373 (1987), give 5.90 A). In this phase the cation is disordered;
    here it has one orientation, staggered, with C-N 1.48 A, C-H 1.09 A, N-H 1.03 A and tetrahedral
    angles. The middle of its C-N bond is the centre of the cage. The bond points along [111], so
    that its threefold axis is one of the cage, and every N-H bond leans towards a bromine at a
    distance of 2.75 A.

    >>> methylammonium_lead_bromide().get_chemical_formula()
    'CH6Br3NPb'
    """
    edge = 5.93
    along = np.ones(3) / 3.0**0.5
    bromine = np.array([(0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)])
    # Unit vectors from the axis towards the bromines around the lead atom that N points to.
    across = np.array([(-2.0, 1.0, 1.0), (1.0, -2.0, 1.0), (1.0, 1.0, -2.0)]) / 6.0**0.5
    tilted = along / 3.0 + across * 8.0**0.5 / 3.0
    nitrogen = 0.74 * along
    hydrogens = np.concatenate([-nitrogen - 1.09 * tilted, nitrogen + 1.03 * tilted])
    cation = np.concatenate([[-nitrogen, nitrogen], hydrogens])
    positions = np.concatenate([cation + edge / 2.0, np.zeros((1, 3)), edge * bromine])
    return Atoms("CNH6PbBr3", positions=positions, cell=[edge] * 3, pbc=True)


def nickel_hydroxide() -> Atoms:
    """Return layered beta-Ni(OH)2, the 5-atom trigonal cell of brucite (P-3m1).

    a = 3.126 A, c = 4.605 A: R. S. McEwen, J. Phys. Chem. 75, 1782 (1971). The heights z(O) = 0.220
    and z(H) = 0.431 give Ni-O 2.07 A (K. I. Pandya et al., J. Phys. Chem. 94, 21 (1990)) and O-H
    0.97 A (C. Greaves and M. A. Thomas, Acta Cryst. B 42, 51 (1986)).

    >>> nickel_hydroxide().get_chemical_formula()
    'H2NiO2'
    """
    return _solid(
        ["Ni", "O", "H"],
        [(0.0, 0.0, 0.0), (1.0 / 3.0, 2.0 / 3.0, 0.220), (1.0 / 3.0, 2.0 / 3.0, 0.431)],
        164,
        [3.126, 3.126, 4.605, 90.0, 90.0, 120.0],
    )


_SHAPES = (cube, icosahedron, dodecahedron, humanoid, decagon, hexagonal_sheet)
_SOLIDS = (rutile, rock_salt, heusler, pyrite, methylammonium_lead_bromide, nickel_hydroxide)

GEOMETRIC: tuple[str, ...] = tuple(build.__name__ for build in _SHAPES)
"""Names of the free shapes of figure 4."""
CRYSTALS: tuple[str, ...] = tuple(build.__name__ for build in _SOLIDS)
"""Names of the crystals of figure 5."""
PROTOTYPES: dict[str, Callable[[], Atoms]] = {
    build.__name__: build for build in (*_SHAPES, *_SOLIDS)
}
"""Functions that build the twelve structures, by name."""


def load(name: str) -> Atoms:
    """Build a prototype by its name.

    Args:
        name: a key of :data:`PROTOTYPES`, such as ``"icosahedron"`` or ``"rutile"``.

    Returns:
        New atoms at every call, with positions and cell in Angstrom.

    Raises:
        ValueError: if no prototype has this name.

    >>> load("icosahedron").get_chemical_formula()
    'Pt12'
    """
    if name not in PROTOTYPES:
        raise ValueError(f"expected one of {', '.join(PROTOTYPES)}, got {name!r}")
    return PROTOTYPES[name]()
