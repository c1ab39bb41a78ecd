"""The invariance battery: what must not change a fingerprint does not.

In float64, where only a mistake is larger than 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    ELEMENTS,
    clusters,
    crystals,
    random_crystal,
    random_frame,
    seeds,
)

from jaxrecon import ACSF, Fingerprint, from_ase
from jaxrecon.fingerprint import PRESETS
from jaxrecon.pooling import POOLINGS
from jaxrecon.space import bounds_of
from jaxrecon.structures import Structure

SIZE = 20
SHEARS = (np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, -1], [1, 0, 1]])
# The bounds of the sum over images are static: the crystals come from a list, to compile it once.
CRYSTALS = tuple(random_crystal(seed, 1 + seed % 4) for seed in range(8))
BOUNDS = bounds_of(
    [make_supercell(atoms, shear) for atoms in CRYSTALS for shear in SHEARS],
    max(Fingerprint.preset(name, "H").descriptor.r_cut for name in PRESETS if name != "fung2022"),
)

CASES = [
    pytest.param((name, pooling, space), id=f"{name}-{pooling}-{space}")
    for name in PRESETS
    for pooling in POOLINGS
    for space in ("free", Fingerprint.preset(name, "H").images)
]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Fingerprint, st.SearchStrategy[Atoms]]:
    """A fingerprint and the structures to try it on."""
    name, pooling, space = request.param
    preset = Fingerprint.preset(name, ELEMENTS)
    fingerprint = Fingerprint(preset.descriptor, (pooling,), preset.images)
    drawn = {"free": clusters(), "minimum": crystals(), "all": st.sampled_from(CRYSTALS)}[space]
    return fingerprint, drawn


@partial(jax.jit, static_argnums=0)
def compiled(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
    return fingerprint(structure)


def values(fingerprint: Fingerprint, atoms: Atoms) -> np.ndarray:
    images = BOUNDS if fingerprint.images == "all" else None
    with jax.enable_x64(True):
        return np.asarray(compiled(fingerprint, from_ase(atoms, SIZE, images)))


def turned(atoms: Atoms, rng: np.random.Generator, *, mirror: bool) -> Atoms:
    other, frame = atoms.copy(), random_frame(rng, mirror=mirror)
    other.positions = other.positions @ frame
    if other.pbc.all():
        # The mirror image of a right-handed basis is left-handed; its inversion spans the same.
        other.set_cell(other.cell.array @ frame * (-1.0 if mirror else 1.0))
    return other


def moved(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    other = atoms.copy()
    other.positions += rng.normal(size=3) * 10
    return other


def by_lattice_vectors(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    other = atoms.copy()
    if other.pbc.all():
        other.positions += rng.integers(-3, 4, (len(other), 3)) @ other.cell.array
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


@pytest.mark.parametrize("change", CHANGES)
def test_invariance(case: tuple, change: str) -> None:
    fingerprint, drawn = case

    @given(atoms=drawn, seed=seeds)
    @settings(max_examples=8)
    def check(atoms: Atoms, seed: int) -> None:
        expected = values(fingerprint, atoms)
        changed = values(fingerprint, CHANGES[change](atoms, np.random.default_rng(seed)))
        np.testing.assert_allclose(changed, expected, rtol=1e-9, atol=1e-12)

    check()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("crystal", [False, True])
def test_it_is_no_constant(name: str, crystal: bool) -> None:
    """Moving one atom, exchanging its element, or straining a crystal changes the fingerprint."""
    fingerprint = Fingerprint.preset(name, ELEMENTS)
    for seed, atoms in enumerate(CRYSTALS[2:4] if crystal else map(molecule, ["H2O", "H2O2"])):
        displaced, exchanged = atoms.copy(), atoms.copy()
        displaced.positions[0] += np.random.default_rng(seed).normal(size=3) * 0.3
        exchanged.symbols[0] = "O" if atoms.symbols[0] == "Pt" else "Pt"
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
        for other in (displaced, exchanged, *([strained] if crystal else [])):
            assert np.abs(values(fingerprint, other) - values(fingerprint, atoms)).max() > 1e-4


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "fung2022"])
def test_all_images_do_not_depend_on_the_choice_of_cell(name: str) -> None:
    """Another basis of the lattice, and a supercell: the same crystal, the same fingerprint."""
    fingerprint = Fingerprint.preset(name, ELEMENTS)
    doubling = np.diag([1, 2, 1])
    for atoms in CRYSTALS:
        expected = values(fingerprint, atoms)
        for matrix in (*SHEARS[1:], doubling, SHEARS[2] @ doubling):
            other = make_supercell(atoms, matrix)
            np.testing.assert_allclose(
                values(fingerprint, other), expected, rtol=1e-9, atol=1e-12, err_msg=str(matrix)
            )


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("crystal", [False, True])
def test_padding_and_precision(name: str, crystal: bool) -> None:
    """The same numbers without padding, and in the precision of the positions."""
    fingerprint = Fingerprint.preset(name, ELEMENTS)
    atoms = CRYSTALS[3] if crystal else random_crystal(0, 5)
    atoms = atoms.copy()
    atoms.pbc = crystal
    expected = values(fingerprint, atoms)
    for enabled, dtype, tolerance in [(True, "float64", 1e-12), (False, "float32", 2e-5)]:
        with jax.enable_x64(enabled):
            bare = compiled(fingerprint, from_ase(atoms, images=BOUNDS))
            assert bare.dtype == dtype
            np.testing.assert_allclose(
                np.asarray(bare), expected, atol=tolerance * np.abs(expected).max()
            )


@pytest.mark.parametrize("enabled", [False, True])
def test_dtype_is_kept(enabled: bool) -> None:
    """Float32 stays float32 where float64 is available too, and float64 stays float64."""
    descriptor = ACSF(elements=("Pt",), r_cut=4.0, g2_eta=(1.0,), g5_zeta=(1, 2.5), g5_eta=(1.0,))
    fingerprint = Fingerprint(descriptor)

    @jax.jit
    def everything(structure: Structure) -> tuple[jax.Array, ...]:
        value, jacobian = fingerprint.with_jacobian(structure)
        blame = fingerprint.blame(structure, value)
        equations = fingerprint.normal_equations(structure, value)
        bound = fingerprint.bound_equations(structure, value)
        return fingerprint(structure), value, jacobian, blame, *equations, *bound

    with jax.enable_x64(enabled):
        for atoms in (random_crystal(1, 2, ("Pt",)), Atoms("Pt2", [(0, 0, 0), (2.5, 0, 0)])):
            full = from_ase(atoms, bounds=bounds_of([random_crystal(1, 2)], 4.0))
            for dtype in ("float32", "float64") if enabled else ("float32",):
                cell = None if full.cell is None else full.cell.astype(dtype)
                structure = Structure(
                    full.positions.astype(dtype), full.species, full.mask, cell, full.images
                )
                assert {x.dtype for x in everything(structure)} == {np.dtype(dtype)}
