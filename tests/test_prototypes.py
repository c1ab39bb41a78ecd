"""The twelve prototypes against geometry, point and space groups, bond lengths and densities."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Molecule, Structure
from pymatgen.symmetry.analyzer import PointGroupAnalyzer, SpacegroupAnalyzer

from jaxrecon.datasets import prototypes

EDGE = prototypes.PLATINUM_BOND

# The closed forms of the circumradius over the edge (Coxeter, Regular Polytopes, table I).
CIRCUMRADIUS = {
    "cube": 3.0**0.5 / 2.0,
    "icosahedron": np.sin(2.0 * np.pi / 5.0),
    "dodecahedron": 3.0**0.5 * (1.0 + 5.0**0.5) / 4.0,
    "decagon": (1.0 + 5.0**0.5) / 2.0,
}
NEIGHBOURS = {
    "cube": [3] * 8,
    "icosahedron": [5] * 12,
    "dodecahedron": [3] * 20,
    "humanoid": [1] * 5 + [2] * 4 + [3, 4],
    "decagon": [2] * 10,
    "hexagonal_sheet": [3] * 6 + [4] * 6 + [6] * 7,
}
POINT_GROUP = {
    "cube": "Oh",
    "icosahedron": "Ih",
    "dodecahedron": "Ih",
    "humanoid": "C1",
    "decagon": "D10h",
    "hexagonal_sheet": "D6h",
}
FORMULA = {
    "rutile": "O4Ti2",
    "rock_salt": "Cl4Na4",
    "heusler": "Al4Cu8Mn4",
    "pyrite": "Fe4S8",
    "methylammonium_lead_bromide": "CH6Br3NPb",
    "nickel_hydroxide": "H2NiO2",
}
SPACE_GROUP = {
    "rutile": "P4_2/mnm",
    "rock_salt": "Fm-3m",
    "heusler": "Fm-3m",
    "pyrite": "Pa-3",
    "methylammonium_lead_bromide": "R3m",
    "nickel_hydroxide": "P-3m1",
}
# g/cm^3, as quoted for the minerals and for single crystals of the perovskite. For the ordered
# Heusler alloy 4 (2 Cu + Mn + Al) / (N_A a^3) by hand, which guards the content of its cell.
DENSITY = {
    "rutile": 4.25,
    "rock_salt": 2.165,
    "heusler": 6.59,
    "pyrite": 5.01,
    "methylammonium_lead_bromide": 3.83,
    "nickel_hydroxide": 3.95,
}
# Centre, neighbour, their distance (A), and how many there are around one centre within 0.02 A.
BONDS = [
    ("rutile", "Ti", "O", 1.949, 4),
    ("rutile", "Ti", "O", 1.980, 2),
    ("rock_salt", "Na", "Cl", 2.820, 6),
    ("rock_salt", "Na", "Na", 3.988, 12),
    ("heusler", "Cu", "Mn", 2.576, 4),
    ("heusler", "Cu", "Al", 2.576, 4),
    ("heusler", "Mn", "Al", 2.975, 6),
    ("pyrite", "Fe", "S", 2.262, 6),
    ("pyrite", "S", "S", 2.177, 1),
    ("methylammonium_lead_bromide", "Pb", "Br", 2.965, 6),
    ("methylammonium_lead_bromide", "C", "N", 1.48, 1),
    ("methylammonium_lead_bromide", "C", "H", 1.09, 3),
    ("methylammonium_lead_bromide", "N", "H", 1.03, 3),
    ("nickel_hydroxide", "Ni", "O", 2.07, 6),
    ("nickel_hydroxide", "Ni", "Ni", 3.126, 6),
    ("nickel_hydroxide", "O", "H", 0.97, 1),
]


def neighbour_counts(atoms: Atoms, cutoff: float) -> list[int]:
    return sorted(np.bincount(neighbor_list("i", atoms, cutoff), minlength=len(atoms)).tolist())


def to_structure(atoms: Atoms) -> Structure:
    fractions = atoms.get_scaled_positions(wrap=False)
    return Structure(Lattice(atoms.cell.array), atoms.get_chemical_symbols(), fractions)


def test_names_follow_the_figures() -> None:
    assert tuple(NEIGHBOURS) == prototypes.GEOMETRIC
    assert tuple(FORMULA) == prototypes.CRYSTALS
    assert tuple(prototypes.PROTOTYPES) == prototypes.GEOMETRIC + prototypes.CRYSTALS


def test_load_refuses_an_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"expected one of cube, .*, got 'sphere'"):
        prototypes.load("sphere")


@pytest.mark.parametrize("name", prototypes.PROTOTYPES)
def test_every_load_is_a_fresh_copy(name: str) -> None:
    first = prototypes.load(name)
    first.positions += 1.0
    assert not np.allclose(first.positions, prototypes.load(name).positions)


@pytest.mark.parametrize("name", prototypes.PROTOTYPES)
def test_atoms_keep_apart(name: str) -> None:
    assert len(neighbor_list("i", prototypes.load(name), 0.9)) == 0


@pytest.mark.parametrize("name", prototypes.GEOMETRIC)
def test_shapes_are_free_platinum(name: str) -> None:
    atoms = prototypes.load(name)
    assert set(atoms.symbols) == {"Pt"}
    assert not atoms.pbc.any()
    assert not atoms.cell.array.any()


@pytest.mark.parametrize("name", prototypes.GEOMETRIC)
def test_every_atom_has_its_neighbours(name: str) -> None:
    atoms = prototypes.load(name)
    slack = 0.05 if name == "humanoid" else 1e-6
    assert neighbour_counts(atoms, EDGE + slack) == NEIGHBOURS[name]
    # The next shell is well apart, and nothing is nearer than a bond.
    assert neighbour_counts(atoms, EDGE + 0.2) == NEIGHBOURS[name]
    assert neighbor_list("d", atoms, EDGE + slack).min() > EDGE - (0.15 if slack > 0.01 else 1e-6)


@pytest.mark.parametrize("name", CIRCUMRADIUS)
def test_circumradius(name: str) -> None:
    radii = np.linalg.norm(prototypes.load(name).positions, axis=-1)
    np.testing.assert_allclose(radii, CIRCUMRADIUS[name] * EDGE, rtol=1e-12)


@pytest.mark.parametrize("name", prototypes.GEOMETRIC)
def test_point_group(name: str) -> None:
    atoms = prototypes.load(name)
    molecule = Molecule(atoms.get_chemical_symbols(), atoms.positions)
    assert PointGroupAnalyzer(molecule).sch_symbol == POINT_GROUP[name]


@pytest.mark.parametrize("name", prototypes.CRYSTALS)
def test_crystals_are_periodic_and_right_handed(name: str) -> None:
    atoms = prototypes.load(name)
    assert atoms.get_chemical_formula() == FORMULA[name]
    assert atoms.pbc.all()
    assert np.linalg.det(atoms.cell.array) > 0.0


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@pytest.mark.parametrize("name", prototypes.CRYSTALS)
def test_space_group(name: str) -> None:
    analyzer = SpacegroupAnalyzer(to_structure(prototypes.load(name)), symprec=1e-4)
    assert analyzer.get_space_group_symbol() == SPACE_GROUP[name]


@pytest.mark.parametrize("name", prototypes.CRYSTALS)
def test_density(name: str) -> None:
    density = float(to_structure(prototypes.load(name)).density)
    assert density == pytest.approx(DENSITY[name], rel=0.02)


@pytest.mark.parametrize(("name", "centre", "neighbour", "distance", "count"), BONDS)
def test_bonds(name: str, centre: str, neighbour: str, distance: float, count: int) -> None:
    atoms = prototypes.load(name)
    first, second, distances = neighbor_list("ijd", atoms, distance + 0.02)
    symbols = np.array(atoms.get_chemical_symbols())
    bonded = (symbols[second] == neighbour) & (distances > distance - 0.02)
    counts = np.bincount(first[bonded], minlength=len(atoms))
    assert (counts[symbols == centre] == count).all()


def test_methylammonium_is_tetrahedral() -> None:
    atoms = prototypes.load("methylammonium_lead_bromide")
    angles = [atoms.get_angle(i, 0, 1) for i in (2, 3, 4)]
    angles += [atoms.get_angle(i, 1, 0) for i in (5, 6, 7)]
    np.testing.assert_allclose(angles, np.degrees(np.arccos(-1.0 / 3.0)), rtol=1e-9)
    # Staggered: no hydrogen of one end stands above one of the other.
    twists = [abs(atoms.get_dihedral(i, 0, 1, j)) for i in (2, 3, 4) for j in (5, 6, 7)]
    np.testing.assert_allclose(sorted(set(np.round(twists, 6))), [60.0, 180.0, 300.0])
