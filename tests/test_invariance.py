"""Invariance of fingerprints to rotation, reflection, translation, order and choice of the cell.

Everything is in float64, so that only a mistake is larger than 1e-10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell, molecule
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import ELEMENTS, clusters, random_cluster, random_crystal, random_frame, seeds

from jaxrecon import ACSF, Fingerprint, from_ase
from jaxrecon.descriptors.acsf.presets import gastegger2018
from jaxrecon.descriptors.pooling import POOLINGS
from jaxrecon.search.gauss_newton import attribution, bound_equations, normal_equations
from jaxrecon.structures.bounds import bounds_of
from jaxrecon.structures.structure import Bounds, Structure, completed_cell

SIZE, R_CUT = 16, 3.5
# These are enough for most cells; the same for all, they need one program.
BOUNDS = Bounds(capacity=48, counts=(2, 2, 2))
SHEARS = ([[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, -1], [1, 0, 1]])
PERIODS = [(1, 1, 1), (1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 0)]

DESCRIPTORS = {
    "fung2022": ACSF(ELEMENTS, 9.0, g2_eta=(0.1,), g2_r_s=(0, 2), g5_zeta=(1, 64), g5_eta=(0.06,)),
    "crystal": ACSF(ELEMENTS, R_CUT, g2_eta=(4.0,), g2_r_s=(1, 2), g5_zeta=(4,), g5_eta=(0.1,)),
    "gastegger2018": gastegger2018(ELEMENTS, R_CUT, radial=3, angular=2),
    "everything": ACSF(
        ELEMENTS,
        R_CUT,
        g1=True,
        g2_eta=(0.5,),
        g2_r_s=(1.0,),
        g3_kappa=(2.0,),
        g4_zeta=(1.5,),
        g4_eta=(0.1,),
        g4_r_s=(0.5,),
        g5_zeta=(2,),
        g5_eta=(0.2,),
        g5_r_s=(1.0,),
        cutoff="tanh3",
    ),
}


def fingerprint_of(name: str, **changes: object) -> Fingerprint:
    """A fingerprint with all poolings, so that one program tests them all."""
    return Fingerprint(DESCRIPTORS[name], POOLINGS, max_atoms=SIZE, **changes)


FREE = [
    *(pytest.param(fingerprint_of(name), id=name) for name in DESCRIPTORS),
    pytest.param(fingerprint_of("crystal", per_element=True), id="per element"),
]
PERIODIC = [
    pytest.param(fingerprint_of("crystal"), id="crystal"),
    pytest.param(fingerprint_of("gastegger2018", per_element=True), id="gastegger2018 per element"),
    pytest.param(fingerprint_of("everything"), id="everything"),
]
MINIMUM = [
    pytest.param(fingerprint_of("fung2022", images="minimum"), id="fung2022"),
    pytest.param(fingerprint_of("everything", images="minimum", per_element=True), id="everything"),
]


@st.composite
def periodic(draw: st.DrawFn, largest: int = SIZE, *, along_all: bool = False) -> Atoms:
    """Crystals, slabs and wires, or only crystals."""
    seed, atoms = draw(seeds), draw(st.integers(1, largest))
    crystal = random_crystal(seed, atoms, ELEMENTS[: draw(st.integers(1, len(ELEMENTS)))])
    if not along_all:
        crystal.pbc = draw(st.sampled_from(PERIODS))
    return crystal


def fits(atoms: Atoms) -> bool:
    needed = bounds_of([atoms], R_CUT)
    return needed.capacity <= BOUNDS.capacity and max(needed.counts) <= max(BOUNDS.counts)


@partial(jax.jit, static_argnums=0)
def compiled(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
    return fingerprint(structure)


def values(fingerprint: Fingerprint, atoms: Atoms) -> np.ndarray:
    bounds = BOUNDS if fingerprint.images == "all" and atoms.pbc.any() else None
    with jax.enable_x64(True):
        return np.asarray(compiled(fingerprint, from_ase(atoms, SIZE, bounds)))


def blocks(fingerprint: Fingerprint, numbers: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The poolings and the numbers of each of them."""
    start, groups = 0, len(fingerprint.descriptor.elements) if fingerprint.per_element else 1
    for pool in fingerprint.pools:
        end = start + groups * pool.size * fingerprint.descriptor.size
        yield pool.kind, numbers[start:end]
        start = end
    assert start == len(numbers)


def assert_same(
    fingerprint: Fingerprint,
    changed: np.ndarray,
    expected: np.ndarray,
    change: str,
    except_for: tuple[str, ...] = (),
) -> None:
    pairs = zip(blocks(fingerprint, changed), blocks(fingerprint, expected), strict=True)
    for (kind, ours), (_, theirs) in pairs:
        if kind not in except_for:
            # A moment of equal entries is the round-off of a power of them.
            scale = max(np.abs(expected).max() * 1e-3, np.abs(theirs).max())
            # A smooth extreme is a temperature times the logarithm of a number that may be near 1.
            least = 1e-11 * scale + 1e-15 * fingerprint.temperature
            np.testing.assert_allclose(
                ours, theirs, rtol=1e-9, atol=least, err_msg=f"{kind} under {change}"
            )


def turned(atoms: Atoms, rng: np.random.Generator, *, mirror: bool) -> Atoms:
    other, frame = atoms.copy(), random_frame(rng, mirror=mirror)
    other.positions = other.positions @ frame
    if other.pbc.any():
        # The mirror image of a right-handed basis is left-handed; its negative spans the same cell.
        other.set_cell(other.cell.array @ frame * (-1.0 if mirror else 1.0))
    return other


def moved(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    other = atoms.copy()
    other.positions += rng.normal(size=3) * 10
    return other


def by_lattice_vectors(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    other = atoms.copy()
    other.positions += rng.integers(-3, 4, (len(other), 3)) * atoms.pbc @ other.cell.array
    return other


def reordered(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    return atoms[rng.permutation(len(atoms))]


CHANGES: dict[str, Callable[[Atoms, np.random.Generator], Atoms]] = {
    "rotation": partial(turned, mirror=False),
    "reflection": partial(turned, mirror=True),
    "translation": moved,
    "lattice vectors": by_lattice_vectors,
    "permutation": reordered,
}


def assert_invariant(fingerprint: Fingerprint, atoms: Atoms, seed: int) -> None:
    expected = values(fingerprint, atoms)
    for name, change in CHANGES.items():
        other = change(atoms, np.random.default_rng(seed))
        except_for = ("none",) if name == "permutation" else ()
        assert_same(fingerprint, values(fingerprint, other), expected, name, except_for)


@pytest.mark.parametrize("fingerprint", FREE)
@given(atoms=clusters(largest=SIZE), seed=seeds)
@settings(max_examples=8)
def test_free(fingerprint: Fingerprint, atoms: Atoms, seed: int) -> None:
    # Clusters of many atoms are wide: bring the atoms closer, so that most are neighbours.
    atoms.positions *= 0.5
    assert_invariant(fingerprint, atoms, seed)


@pytest.mark.parametrize("fingerprint", PERIODIC)
@given(atoms=periodic(), seed=seeds)
@settings(max_examples=8)
def test_all_images(fingerprint: Fingerprint, atoms: Atoms, seed: int) -> None:
    assume(fits(atoms))
    assert_invariant(fingerprint, atoms, seed)


@pytest.mark.parametrize("fingerprint", MINIMUM)
@given(atoms=periodic(), seed=seeds)
@settings(max_examples=8)
def test_minimum_image(fingerprint: Fingerprint, atoms: Atoms, seed: int) -> None:
    assert_invariant(fingerprint, atoms, seed)


@pytest.mark.parametrize("fingerprint", PERIODIC)
@given(atoms=periodic(largest=2))
@settings(max_examples=8)
def test_supercells(fingerprint: Fingerprint, atoms: Atoms) -> None:
    """A supercell of two cells along every periodic axis has larger sums; all else is the same."""
    assume(fits(atoms))
    expected = values(fingerprint, atoms)
    larger = values(fingerprint, atoms * (1 + atoms.pbc))
    assert_same(fingerprint, larger, expected, "repetition", ("sum", "sorted", "none"))
    sums, cell_sums = (dict(blocks(fingerprint, value))["sum"] for value in (larger, expected))
    np.testing.assert_allclose(sums, 2 ** atoms.pbc.sum() * cell_sums, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fingerprint", PERIODIC)
@given(atoms=periodic(largest=6, along_all=True))
@settings(max_examples=8)
def test_another_choice_of_cell(fingerprint: Fingerprint, atoms: Atoms) -> None:
    others = [make_supercell(atoms, matrix) for matrix in SHEARS]
    assume(all(map(fits, [atoms, *others])))
    expected = values(fingerprint, atoms)
    for matrix, other in zip(SHEARS, others, strict=True):
        assert_same(fingerprint, values(fingerprint, other), expected, str(matrix), ("none",))


def many_atoms() -> list[Atoms]:
    """Structures with so many atoms that a cell list is used: free, a crystal and a slab."""
    free, crystal, slab = (random_crystal(seed, 66) for seed in range(3))
    for atoms in (free, crystal, slab):
        atoms.set_cell(atoms.cell.array * 1.5, scale_atoms=True)
    slab.pbc, free.pbc = (True, True, False), False
    return [free, crystal, slab]


@pytest.mark.parametrize("name", ["crystal", "gastegger2018"])
def test_many_atoms(name: str) -> None:
    """Neighbours by a cell list give the same numbers as among all pairs, and invariant ones."""
    poolings = ("max", "min", "mean", "moment2", "smooth_max", "sorted")
    fingerprint = Fingerprint(DESCRIPTORS[name], poolings, max_atoms=66)
    structures = many_atoms()
    rng = np.random.default_rng(0)
    variants = [
        [atoms, *(change(atoms, rng) for change in CHANGES.values())] for atoms in structures
    ]
    bounds = bounds_of([atoms for row in variants for atoms in row], R_CUT)
    assert bounds.bins is not None
    pairs = bounds_of(structures[1:], R_CUT, size=len(structures[0]))
    counts = np.max([bounds_of([atoms], R_CUT, size=1).counts for atoms in structures[1:]], axis=0)
    pairs = Bounds(pairs.capacity, tuple(map(int, counts)))
    with jax.enable_x64(True):
        for row in variants:
            found = [
                np.asarray(compiled(fingerprint, from_ase(atoms, None, bounds))) for atoms in row
            ]
            for name, changed in zip(CHANGES, found[1:], strict=True):
                assert_same(fingerprint, changed, found[0], name)
            if row[0].pbc.any():
                expected = compiled(fingerprint, from_ase(row[0], None, pairs))
                assert_same(fingerprint, found[0], np.asarray(expected), "cell list")


@pytest.mark.parametrize("fingerprint", PERIODIC)
def test_every_pooling_changes_with_the_structure(fingerprint: Fingerprint) -> None:
    """Moving an atom, exchanging its element, or straining a crystal changes every pooling."""
    crystal = Atoms("PtO2", [(0, 0, 0), (1, 2, 1), (2, 1, 3)], cell=[4, 4.4, 4.8], pbc=True)
    for atoms in (molecule("H2O2"), crystal):
        displaced, exchanged, strained = (atoms.copy() for _ in range(3))
        displaced.positions[0] += (0.2, 0.1, 0.3)
        exchanged.symbols[0] = "O" if atoms.symbols[0] == "Pt" else "Pt"
        if atoms.pbc.all():
            strained.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
        else:
            strained.positions *= 1.02
        expected = dict(blocks(fingerprint, values(fingerprint, atoms)))
        for other in (displaced, exchanged, strained):
            for kind, numbers in blocks(fingerprint, values(fingerprint, other)):
                # The only atom of an element has moments of 0, and a minimum may be 0 before and
                # after.
                if not kind.startswith(("moment", "min")) or (other is strained and kind == "min"):
                    assert np.abs(numbers - expected[kind]).max() > 1e-4


@pytest.mark.parametrize("fingerprint", [FREE[0], PERIODIC[2]])
def test_padding_and_precision(fingerprint: Fingerprint) -> None:
    """Numbers are the same without padding, and are in the precision of the positions."""
    atoms = random_crystal(1, 4) if fingerprint == fingerprint_of("everything") else None
    atoms = atoms or random_cluster(1, 4)
    bounds = BOUNDS if atoms.pbc.any() else None
    expected = dict(blocks(fingerprint, values(fingerprint, atoms)))
    for enabled, dtype, tolerance in [(True, "float64", 1e-12), (False, "float32", 3e-5)]:
        with jax.enable_x64(enabled):
            bare = np.asarray(compiled(fingerprint, from_ase(atoms, bounds=bounds)))
        assert bare.dtype == dtype
        for kind, numbers in blocks(fingerprint, bare):
            scale = max(np.abs(expected[kind]).max(), 1.0)
            np.testing.assert_allclose(numbers, expected[kind], atol=tolerance * scale)


@pytest.mark.parametrize("enabled", [False, True])
def test_dtype_is_kept(enabled: bool) -> None:
    """Float32 stays float32 where float64 is available too, and float64 stays float64."""
    poolings = ("max", "mean", "moment3", "smooth_min", "sorted")
    fingerprint = Fingerprint(DESCRIPTORS["everything"], poolings, per_element=True, max_atoms=2)

    def everything(structure: Structure) -> tuple[jax.Array, ...]:
        value, jacobian = fingerprint.with_jacobian(structure)
        by_atom = attribution(fingerprint, structure, value)
        equations = normal_equations(fingerprint, structure, value)
        bound = bound_equations(fingerprint, structure, value)
        return fingerprint(structure), value, jacobian, by_atom, *equations, *bound

    with jax.enable_x64(enabled):
        crystal, cluster = random_crystal(1, 2), Atoms("Pt2", [(0, 0, 0), (2.5, 0, 0)])
        for atoms in (cluster, random_crystal(1, 66)) if enabled else (crystal,):
            elements = 2 if atoms is cluster else None
            full = from_ase(atoms, bounds=bounds_of([atoms], R_CUT, elements=elements))
            for dtype in ("float32", "float64") if enabled else ("float32",):
                cell = None if full.cell is None else full.cell.astype(dtype)
                structure = dataclasses.replace(
                    full, positions=full.positions.astype(dtype), cell=cell
                )
                shapes = jax.eval_shape(everything, structure)
                assert {x.dtype for x in jax.tree.leaves(shapes)} == {np.dtype(dtype)}


def test_cells_of_slabs_stay_right_handed() -> None:
    """No change of these tests makes a cell that is refused."""
    for pbc in PERIODS:
        crystal = random_crystal(0, 2)
        crystal.pbc = pbc
        for change in CHANGES.values():
            other = change(crystal, np.random.default_rng(0))
            assert np.linalg.det(completed_cell(other)) > 0
