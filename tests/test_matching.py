"""`rmsd` and `align` against known displacements, brute force and pymatgen."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from scipy.spatial.transform import Rotation

from jaxrecon.datasets import prototypes
from jaxrecon.structures import matching
from jaxrecon.structures.matching import align, rmsd

Matrix = Float[np.ndarray, "3 3"]

SAME = 1e-6
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None, derandomize=True)


def random_isometry(rng: np.random.Generator) -> Matrix:
    """A rotation or, half of the time, a reflection."""
    frame: Matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1.0, 1.0])
    return frame


def disguise(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """The same structure in another frame and order; a crystal also shifted and wrapped."""
    other = atoms[rng.permutation(len(atoms))]
    if atoms.pbc.all():
        other.set_scaled_positions(other.get_scaled_positions(wrap=False) + rng.random(3))
        other.wrap()
        other.set_cell(other.cell.array @ (frame := random_isometry(rng)))
        other.positions = other.positions @ frame
    else:
        other.positions = other.positions @ random_isometry(rng) + rng.normal(size=3) * 10.0
    return other


def cluster(rng: np.random.Generator, n_atoms: int, elements: str = "PtOH") -> Atoms:
    numbers = rng.choice(Atoms(elements).numbers, n_atoms)
    return Atoms(numbers=numbers, positions=rng.normal(size=(n_atoms, 3)) * 2.0)


def displaced(atoms: Atoms, rng: np.random.Generator, size: float) -> Atoms:
    other: Atoms = atoms.copy()
    other.positions += rng.normal(size=other.positions.shape) * size
    return other


def root_mean_square(vectors: Float[np.ndarray, "n 3"]) -> float:
    size: float = np.linalg.norm(vectors) / np.sqrt(len(vectors))
    return size


def brute_force(a: Atoms, b: Atoms) -> float:
    """The minimum over every permutation, with scipy's rotations of b and of its mirror image."""
    x = a.positions - a.positions.mean(axis=0)
    y = b.positions - b.positions.mean(axis=0)
    orders = [
        list(p) for p in permutations(range(len(a))) if (b.numbers[list(p)] == a.numbers).all()
    ]
    fits = [Rotation.align_vectors(x, sign * y[p])[1] for p in orders for sign in (1.0, -1.0)]
    deviation: float = min(fits) / np.sqrt(len(a))
    return deviation


@few
@given(seed=SEEDS, n_atoms=st.integers(1, 12), elements=st.sampled_from(["Pt", "PtO", "PtOH"]))
def test_a_disguised_cluster_is_the_same(seed: int, n_atoms: int, elements: str) -> None:
    rng = np.random.default_rng(seed)
    a = cluster(rng, n_atoms, elements)
    assert rmsd(a, disguise(a, rng)) < SAME


@pytest.mark.parametrize("name", prototypes.PROTOTYPES)
def test_a_disguised_prototype_is_the_same(name: str) -> None:
    rng = np.random.default_rng(0)
    a = prototypes.load(name)
    for _ in range(3):
        assert rmsd(a, disguise(a, rng)) < SAME


@pytest.mark.parametrize(
    ("symbols", "positions"),
    [
        ("H", [(1, 2, 3)]),
        ("Pt2", [(0, 0, 0), (0, 2.5, 0)]),
        ("CO", [(0, 0, 0), (1.1, 0, 0)]),
        ("OCO", [(-1.2, 0, 0), (0, 0, 0), (1.2, 0, 0)]),
        ("HCN", [(0, 0, -1.1), (0, 0, 0), (0, 0, 1.2)]),
        ("CCO", [(-1.3, 0, 0), (0, 0, 0), (1.2, 0, 0)]),
        ("CO4", [(0, 0, 0), (-3, 0, 0), (-1, 0, 0), (1.5, 0, 0), (2.5, 0, 0)]),
        ("BF3", [(0, 0, 0), (1, 0, 0), (-0.5, 0.75**0.5, 0), (-0.5, -(0.75**0.5), 0)]),
        ("PtO4", [(0, 0, 0), (2, 0, 0), (0, 2, 0), (-2, 0, 0), (0, -2, 0)]),
        ("XeF6", [(0, 0, 0), (2, 0, 0), (-2, 0, 0), (0, 2, 0), (0, -2, 0), (0, 0, 2), (0, 0, -2)]),
        ("Pt3", [(0, 0, 0), (0, 0, 0), (0, 0, 0)]),
        ("Pt4", [(0, 0, 0), (0, 0, 0), (3, 0, 0), (0, 3, 0)]),
    ],
)
def test_degenerate_shapes(symbols: str, positions: list[tuple[float, float, float]]) -> None:
    rng = np.random.default_rng(1)
    a = Atoms(symbols, positions)
    for _ in range(5):
        assert rmsd(a, disguise(a, rng)) < SAME


def test_nearly_linear() -> None:
    rng = np.random.default_rng(2)
    for bend in (1e-3, 1e-5, 1e-7, 1e-9):
        a = Atoms("Pt4", [(0, 0, 0), (2.5, bend, 0), (5.0, 0, bend), (8.0, 0, 0)])
        assert rmsd(a, disguise(a, rng)) < SAME


def test_linear_clusters() -> None:
    for seed in range(150):
        rng = np.random.default_rng(seed)
        heights = rng.normal(size=rng.integers(2, 8)) * 3.0
        # Carbon is the rarest element and sits at the centroid, where it cannot fix a frame.
        a = Atoms(f"CO{len(heights)}", positions=np.zeros((len(heights) + 1, 3)))
        a.positions[1:, 0] = heights - heights.mean()
        assert rmsd(a, disguise(a, rng)) < SAME


def test_every_frame_that_fits_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "FRAME_PAIRS", 1)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        # Many pairs of such a decorated solid are equal, and few of them belong to a symmetry.
        a = prototypes.load("dodecahedron")
        a.symbols[rng.permutation(20)[:10]] = "O"
        assert rmsd(a, disguise(a, rng)) < SAME


def test_mirror_images_are_the_same_and_isomers_are_not() -> None:
    tetrahedron = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) * 1.2
    chiral = Atoms("CHFClBr", [(0, 0, 0), *tetrahedron])
    mirrored = chiral.copy()
    mirrored.positions[:, 0] *= -1.0
    assert rmsd(chiral, mirrored) < SAME
    # Cis and trans: one composition, one set of sites, other neighbours.
    square = [(0, 0, 0), (2, 0, 0), (0, 2, 0), (-2, 0, 0), (0, -2, 0)]
    assert rmsd(Atoms("PtCl2O2", square), Atoms("PtClOClO", square)) > 0.5


@few
@given(seed=SEEDS, n_atoms=st.integers(1, 14), size=st.sampled_from([1e-3, 0.1, 0.5]))
def test_no_larger_than_a_known_displacement(seed: int, n_atoms: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    a = cluster(rng, n_atoms)
    b = displaced(a, rng, size)
    assert rmsd(a, disguise(b, rng)) <= root_mean_square(b.positions - a.positions) + 1e-9


@few
@given(
    seed=SEEDS,
    n_atoms=st.integers(3, 5),
    elements=st.sampled_from(["Pt", "PtO"]),
    size=st.sampled_from([0.1, 0.8]),
)
def test_brute_force_over_permutations(seed: int, n_atoms: int, elements: str, size: float) -> None:
    rng = np.random.default_rng(seed)
    a = cluster(rng, n_atoms, elements)
    b = disguise(displaced(a, rng, size), rng)
    assert rmsd(a, b) == pytest.approx(brute_force(a, b), abs=SAME)


@few
@given(seed=SEEDS, n_atoms=st.integers(1, 14))
def test_neither_argument_is_preferred(seed: int, n_atoms: int) -> None:
    rng = np.random.default_rng(seed)
    a = cluster(rng, n_atoms)
    b = displaced(a, rng, 2.0)
    assert rmsd(a, b) == pytest.approx(rmsd(b, a), abs=1e-9)


@few
@given(seed=SEEDS, n_atoms=st.integers(2, 10))
def test_align_moves_b_onto_a_rigidly(seed: int, n_atoms: int) -> None:
    rng = np.random.default_rng(seed)
    a = cluster(rng, n_atoms)
    b = disguise(displaced(a, rng, 0.3), rng)
    before = b.positions.copy()
    aligned = align(a, b)
    assert (aligned.numbers == a.numbers).all()
    assert root_mean_square(aligned.positions - a.positions) == pytest.approx(rmsd(a, b), abs=1e-9)
    inner, outer = (np.sort(atoms.get_all_distances(), axis=None) for atoms in (aligned, b))
    np.testing.assert_allclose(inner, outer, atol=1e-9)
    assert (b.positions == before).all()


@pytest.mark.parametrize("name", prototypes.PROTOTYPES)
def test_align_recovers_a_prototype(name: str) -> None:
    a = prototypes.load(name)
    aligned = align(a, disguise(a, np.random.default_rng(3)))
    assert (aligned.numbers == a.numbers).all()
    np.testing.assert_allclose(aligned.positions, a.positions, atol=SAME)
    np.testing.assert_allclose(aligned.cell.array, a.cell.array, atol=SAME)


@pytest.mark.parametrize("name", prototypes.CRYSTALS)
def test_one_displaced_atom_of_a_crystal(name: str) -> None:
    rng = np.random.default_rng(4)
    a = prototypes.load(name)
    b = a.copy()
    b.positions[0] += [0.03, 0.0, 0.04]
    # The centre moves by 0.05/N, which leaves 0.05^2 (1 - 1/N) / N of the mean square.
    expected = 0.05 * (len(a) - 1) ** 0.5 / len(a)
    assert rmsd(a, disguise(b, rng)) == pytest.approx(expected, abs=1e-9)
    assert rmsd(disguise(b, rng), a) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", prototypes.CRYSTALS)
def test_inverted_crystal_in_another_basis(name: str) -> None:
    a = prototypes.load(name)
    b = a.copy()
    b.set_scaled_positions(0.37 - b.get_scaled_positions(wrap=False))
    b.set_cell(np.array([(1, 1, 0), (0, 1, 0), (0, -1, 1)]) @ b.cell.array)
    b.wrap()
    assert rmsd(a, b) < SAME


@pytest.mark.parametrize("name", prototypes.CRYSTALS)
def test_crystal_against_pymatgen(name: str) -> None:
    rng = np.random.default_rng(5)
    a = prototypes.load(name)
    b = disguise(displaced(a, rng, 0.05), rng)
    matcher = StructureMatcher(primitive_cell=False, scale=False)
    structures = [
        Structure(
            Lattice(atoms.cell.array), atoms.get_chemical_symbols(), atoms.get_scaled_positions()
        )
        for atoms in (a, b)
    ]
    normalised = matcher.get_rms_dist(*structures)[0]
    length = (a.get_volume() / len(a)) ** (1.0 / 3.0)
    assert rmsd(a, b) == pytest.approx(normalised * length, abs=1e-5)


@few
@given(seed=SEEDS)
def test_triclinic_crystal_against_all_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell = np.array([(4.0, 0.0, 0.0), (0.7, 4.6, 0.0), (-0.5, 0.9, 5.3)])
    a = Atoms("PtOH", scaled_positions=rng.random((3, 3)), cell=cell, pbc=True)
    b = displaced(a, rng, 0.15)
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ cell
    # Such a lattice has no isometry but inversion, and distinct elements leave no permutation.
    deviations = []
    for sign in (1.0, -1.0):
        steps = np.linalg.solve(cell.T, (a.positions - sign * b.positions).T).T
        steps = (steps - steps[0] - np.round(steps - steps[0])) @ cell
        for second, third in product(images, images):
            vectors = steps + np.stack([np.zeros(3), second, third])
            deviations.append(root_mean_square(vectors - vectors.mean(axis=0)))
    assert rmsd(a, disguise(b, rng)) == pytest.approx(min(deviations), abs=SAME)


def test_antisite_defect_is_seen() -> None:
    a = prototypes.load("heusler")
    b = a.copy()
    b.symbols[[0, 4]] = b.symbols[[4, 0]]
    assert sorted(a.symbols) == sorted(b.symbols)
    assert rmsd(a, b) > 0.5


# In the last two, centring the residual of pymatgen's match changes the best partners.
@pytest.mark.parametrize("seed", [*range(12), 75, 91])
def test_unrelated_crystals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_atoms = int(rng.integers(2, 9))
    a, b = (
        Atoms(
            symbols=["Pt"] * (n_atoms - 1) + [("Pt", "O")[seed % 2]],
            scaled_positions=rng.random((n_atoms, 3)),
            cell=(4.0, 4.3, 5.0),
            pbc=True,
        )
        for _ in range(2)
    )
    b.set_cell(np.array([(1, 2, 0), (0, 1, 0), (-1, 0, 1)]) @ b.cell.array)
    assert rmsd(a, b) == pytest.approx(rmsd(b, a), abs=1e-9)
    residual = align(a, b).positions - a.positions
    assert root_mean_square(residual) == pytest.approx(rmsd(a, b), abs=1e-9)
    # At a minimum over translations, a common translation gains nothing.
    np.testing.assert_allclose(residual.mean(axis=0), 0.0, atol=1e-9)


def test_cells_that_differ_do_not_match() -> None:
    a = prototypes.load("rutile")
    b = a.copy()
    b.set_cell(a.cell.array * 1.03, scale_atoms=True)
    assert rmsd(a, b) == float("inf")
    with pytest.raises(ValueError, match=r"expected two cells that match, got \[4.5937, .* and \["):
        align(a, b)


def test_cells_that_nearly_agree_match_on_their_mean() -> None:
    rng = np.random.default_rng(6)
    a = prototypes.load("pyrite")
    b = displaced(a, rng, 0.05)
    b.set_cell(a.cell.array * 1.004, scale_atoms=True)
    assert rmsd(a, b) == pytest.approx(rmsd(b, a), abs=1e-9)
    assert 0.01 < rmsd(a, b) < 0.2


def test_errors() -> None:
    free, solid = prototypes.load("cube"), prototypes.load("rutile")
    with pytest.raises(ValueError, match="expected structures of one composition, got Pt8 and Pt1"):
        rmsd(free, prototypes.load("icosahedron"))
    with pytest.raises(ValueError, match="expected structures of one composition, got no atoms"):
        rmsd(Atoms(), Atoms())
    open_solid = solid.copy()
    open_solid.pbc = False
    with pytest.raises(ValueError, match=r"expected both free or both periodic .* got pbc \[True"):
        rmsd(solid, open_solid)
    slab = solid.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"expected both free or both periodic .* got pbc \[True"):
        align(slab, slab)
