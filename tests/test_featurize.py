"""Fingerprints of many structures: the same numbers as of one, few programs, refusals."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell, molecule
from pooled import by_name
from strategies import random_cluster, random_crystal

from jaxrecon import ACSF, Fingerprint, batch, featurize
from jaxrecon.descriptors import buckets
from jaxrecon.descriptors.buckets import MOST_PROGRAMS
from jaxrecon.descriptors.featurize import batches
from jaxrecon.structures.bounds import MANY, bounds_of
from jaxrecon.structures.structure import Bounds, Structure, to_ase

pytestmark = pytest.mark.usefixtures("strict_types")

FOUR = ("H", "O", "Na", "Pt")
R_CUT = 4.0


def small(elements: tuple[str, ...] = FOUR, r_cut: float = R_CUT, **changes: object) -> Fingerprint:
    descriptor = ACSF(
        elements, r_cut, g2_eta=(0.5,), g2_r_s=(0.5, 1.5), g5_zeta=(2,), g5_eta=(0.1,)
    )
    return Fingerprint(descriptor, **changes)


SMALL = small(poolings=("max", "min", "mean", "smooth_max"))


def slab(seed: int, pbc: tuple[bool, bool, bool], atoms: int = 3) -> Atoms:
    """A structure that is periodic along some axes and has no cell vectors along the others."""
    crystal = random_crystal(seed, atoms, FOUR)
    crystal.set_cell(crystal.cell.array * np.array(pbc)[:, None])
    crystal.pbc = pbc
    return crystal


MIXED = [
    random_cluster(0, 3),
    random_crystal(1, 2),
    molecule("H2O"),
    slab(3, (True, True, False)),
    Atoms("Pt"),
    random_cluster(1, 70),
    random_crystal(2, 4, FOUR),
    slab(4, (False, False, True)),
    random_crystal(3, 8) * (3, 3, 1),
    random_cluster(3, 7, ("O",)),
    slab(5, (False, True, True), 9) * (1, 3, 3),
]


def supercell(atoms: Atoms) -> Atoms:
    """A supercell so large that all images within the cutoff are minimum images."""
    cell = atoms.cell.complete().array
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    times = np.where(atoms.pbc, np.ceil(2 * R_CUT / heights), 1).astype(int)
    return make_supercell(atoms, np.diag(times))


@pytest.mark.slow
def test_structures_of_all_kinds_in_one_call() -> None:
    """The rows are in order, and equal those of single structures and of loops over atoms."""
    together = featurize(MIXED, SMALL)
    assert together.shape == (len(MIXED), SMALL.size)
    assert together.dtype == np.float64
    assert sum(len(atoms) > MANY for atoms in MIXED) == 3
    for number in (0, 5, 7):
        alone = featurize(MIXED[number], SMALL)
        assert alone.shape == (1, SMALL.size)
        np.testing.assert_allclose(together[number], alone[0], rtol=1e-12, atol=1e-14)
    for number in (0, 1, 2, 3, 4, 6, 7, 9):
        expected = by_name(SMALL, supercell(MIXED[number]))
        np.testing.assert_allclose(together[number], expected, rtol=1e-10, atol=1e-13)
    again = featurize(MIXED[::-1], SMALL)[::-1]
    np.testing.assert_allclose(again, together, rtol=1e-12, atol=1e-14)


def test_float32_is_close() -> None:
    exact, rounded = (featurize(MIXED[:5], SMALL, dtype=kind) for kind in (np.float64, np.float32))
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=1e-5 * np.abs(exact).max())
    assert (rounded != exact).any()


@pytest.mark.slow
def test_the_minimum_image_in_narrow_cells_and_wide_ones() -> None:
    """With many atoms, and with few atoms that are padded to the number where cell lists begin."""
    fingerprint = dataclasses.replace(SMALL, images="minimum")
    narrow = Atoms(
        "PtO", [(0, 0, 0), (0.5, 2, 2)], cell=[[3, 0, 0], [1, 3, 0], [0, 1, 3]], pbc=True
    )
    rng = np.random.default_rng(0)
    wide = Atoms("H66", rng.random((66, 3)) * 16, cell=16 * np.eye(3), pbc=True)
    structures = [narrow * (6, 6, 1), narrow, wide]
    assert len(structures[0]) > MANY
    value = featurize(structures, fingerprint)
    with jax.enable_x64(True):
        batched = jax.jit(jax.vmap(fingerprint))(batch(structures, fingerprint))
        padded = jax.jit(jax.vmap(fingerprint))(batch(structures[1:2], fingerprint, size=MANY + 6))
    np.testing.assert_allclose(batched, value, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(padded, value[1:2], rtol=1e-11, atol=1e-13)
    for number, atoms in enumerate(structures):
        expected = by_name(fingerprint, atoms)
        np.testing.assert_allclose(value[number], expected, rtol=1e-10, atol=1e-13)
        all_images = by_name(fingerprint, supercell(atoms))
        assert (np.abs(value[number] - all_images).max() > 0.1) == (number < 2)


def test_given_bounds_change_nothing() -> None:
    """Bounds for a cell list do not change the minimum image either."""
    crystals = [random_crystal(1, 4), random_crystal(2, 3)]
    expected = featurize(crystals, SMALL)
    # A free structure among them makes these bounds have bins.
    bounds = bounds_of([*crystals, Atoms("H")], R_CUT, size=80, elements=3)
    assert bounds.bins is not None
    np.testing.assert_allclose(featurize(crystals, SMALL, bounds=bounds), expected, rtol=1e-12)
    minimum = dataclasses.replace(SMALL, images="minimum")
    for row, atoms in zip(featurize(crystals, minimum, bounds=bounds), crystals, strict=True):
        np.testing.assert_allclose(row, by_name(minimum, atoms), rtol=1e-10, atol=1e-13)


def test_the_precision_of_jax_stays_as_set() -> None:
    featurize(MIXED[0], SMALL)
    assert jnp.zeros(1).dtype == np.float32


def test_an_empty_list() -> None:
    assert featurize([], SMALL).shape == (0, SMALL.size)
    assert batches([], SMALL) == []
    with pytest.raises(ValueError, match="expected at least one structure, got none"):
        batch([], SMALL)


# Programs


def traces_of(monkeypatch: pytest.MonkeyPatch) -> list[Structure]:
    """A list of the structures with which fingerprints are traced, one for each program."""
    traces, original = [], Fingerprint.__call__

    def counted(self: Fingerprint, structure: Structure) -> jax.Array:
        traces.append(structure)
        return original(self, structure)

    monkeypatch.setattr(Fingerprint, "__call__", counted)
    return traces


def zoo(seed: int, count: int) -> Iterator[Atoms]:
    """Molecules, crystals and slabs of all sizes and compositions."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        elements = tuple(rng.choice(FOUR, rng.integers(1, 4), replace=False).tolist())
        number, atoms = int(rng.integers(2**31)), int(rng.integers(1, 13))
        kind = rng.choice(["molecule", "crystal", "slab"], p=[0.45, 0.45, 0.1])
        if kind == "molecule":
            yield random_cluster(number, atoms, elements)
        elif kind == "crystal":
            yield random_crystal(number, atoms, elements)
        else:
            crystal = random_crystal(number, atoms, elements)
            crystal.pbc = (True, True, False)
            yield crystal


@pytest.mark.slow
@pytest.mark.parametrize(("images", "programs"), [("all", MOST_PROGRAMS), ("minimum", 3)])
def test_few_programs(images: str, programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures of the same kinds compile nothing again, in another order or with moved atoms."""
    traces = traces_of(monkeypatch)
    # No other test uses this cutoff: nothing has been compiled for it before.
    fingerprint = small(r_cut=2.345, images=images)
    large = [random_cluster(0, 66), random_crystal(0, 70)] if images == "minimum" else []
    structures = [*zoo(0, 40 if large else 200), *large]
    first = featurize(structures, fingerprint)
    assert len(traces) == programs
    traces.clear()
    order = np.random.default_rng(0).permutation(len(structures))
    second = featurize([structures[i] for i in order], fingerprint)
    assert traces == []
    np.testing.assert_allclose(second, first[order], rtol=1e-12, atol=1e-14)
    for atoms in structures:
        atoms.rattle(1e-3, seed=1)
    third = featurize(structures, fingerprint)
    assert traces == []
    assert 1e-6 < np.abs(third - first).max() < 1.0


def test_a_program_is_kept_for_sizes_that_are_padded_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces = traces_of(monkeypatch)
    fingerprint = small(("H", "O", "Pt"), r_cut=3.456)
    symbols = ("H", "O", "Pt") * 7

    def clusters(atoms: int) -> list[Atoms]:
        return [random_cluster(seed, atoms, ("H", "O")) for seed in range(3)]

    featurize(clusters(7), fingerprint)
    assert len(traces) == 1
    featurize(clusters(8), fingerprint)
    assert len(traces) == 1
    featurize(clusters(9), fingerprint)
    assert len(traces) == 2
    with_three = clusters(8)
    with_three[1].symbols[:] = symbols[:8]
    featurize(with_three, fingerprint)
    assert len(traces) == 3


# Batches


@pytest.mark.slow
def test_batch_is_ready_for_vmap_and_grad(x64: None) -> None:
    crystals = [random_crystal(seed, 2 + seed, FOUR) for seed in range(3)]
    batched = batch(crystals, SMALL, size=6)
    assert batched.positions.shape == (3, 6, 3)
    assert batched.bounds == bounds_of(crystals, R_CUT, size=6, elements=batched.bounds.elements)
    value = jax.jit(jax.vmap(SMALL))(batched)
    np.testing.assert_allclose(value, featurize(crystals, SMALL), rtol=1e-12, atol=1e-14)

    @jax.jit
    def gradients(batched: Structure) -> tuple[jax.Array, jax.Array]:
        def loss(positions: jax.Array, cell: jax.Array) -> jax.Array:
            moved = dataclasses.replace(batched, positions=positions, cell=cell)
            return jnp.sum(jax.vmap(SMALL)(moved) ** 2)

        return jax.grad(loss, argnums=(0, 1))(batched.positions, batched.cell)

    by_positions, by_cell = gradients(batched)
    value, jacobian = jax.jit(jax.vmap(SMALL.with_jacobian))(batched)
    expected = 2 * np.einsum("bp,bpnx->bnx", value, jacobian)
    np.testing.assert_allclose(by_positions, expected, rtol=1e-9, atol=1e-11)
    assert np.abs(by_positions).max(axis=(1, 2)).min() > 1e-2
    assert np.abs(by_cell).max(axis=(1, 2)).min() > 1e-2
    assert not np.asarray(by_positions)[~np.asarray(batched.mask)].any()


def test_sizes_and_bounds_of_a_batch() -> None:
    assert batch([molecule("H2O"), Atoms("O")], SMALL).positions.shape == (2, 3, 3)
    pair = batch([molecule("H2O"), molecule("O2")], small(("H", "O")))
    assert pair.bounds is None
    assert pair.cell is None
    slabs = batch([slab(3, (True, True, False)), random_crystal(1, 2)], SMALL)
    assert slabs.pbc.tolist() == [[True, True, False], [True] * 3]
    many = batch([random_cluster(1, 70), random_crystal(1, 2)], SMALL)
    assert many.bounds.bins is not None
    with pytest.raises(ValueError, match="all free or all periodic, got a mixture"):
        batch([molecule("H2O"), random_crystal(1, 2)], SMALL)
    with pytest.raises(ValueError, match="expected size >= 3, the number of atoms, got 2"):
        batch([molecule("H2O")], SMALL, size=2)


def test_batches_hold_every_structure_once() -> None:
    result = batches(MIXED, SMALL)
    assert 3 <= len(result) <= MOST_PROGRAMS
    assert sorted(np.concatenate([indices for indices, _ in result]).tolist()) == list(
        range(len(MIXED))
    )
    for indices, batched in result:
        for place, number in enumerate(indices):
            atoms = to_ase(jax.tree.map(itemgetter(place), batched))
            assert (atoms.numbers == MIXED[number].numbers).all()
            assert (atoms.pbc == MIXED[number].pbc).all()
            np.testing.assert_allclose(atoms.positions, MIXED[number].positions, atol=1e-5)


# Refusals

LEFT_HANDED = [[0, 4, 0], [4, 0, 0], [0, 0, 4]]


def test_a_left_handed_cell_has_the_fingerprint_of_its_crystal() -> None:
    right = Atoms("NaO", [(0, 0, 0), (2.1, 1.9, 2)], cell=np.abs(LEFT_HANDED)[[1, 0, 2]], pbc=True)
    left = right.copy()
    left.set_cell(right.cell.array[[1, 0, 2]])
    assert np.linalg.det(left.cell.array) < 0 < np.linalg.det(right.cell.array)
    np.testing.assert_allclose(*(featurize(atoms, SMALL) for atoms in (left, right)), rtol=1e-12)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (
            Atoms("CPt"),
            r"expected elements among \('H', 'O', 'Na', 'Pt'\) in structure 1, got \['C'\]",
        ),
        (Atoms("X"), r"expected elements among .* in structure 1, got \['X'\]"),
        (Atoms(), "expected at least one atom in structure 1, got none"),
        (Atoms("H", pbc=True), r"with a volume, got a singular one: .*\(structure 1\)"),
        (
            Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True),
            r"with a volume, got a singular one: .*\(structure 1\)",
        ),
        (
            Atoms("H", cell=[4, 4, 0], pbc=(False, True, True)),
            r"expected a cell vector along every axis of pbc=.*\(structure 1\)",
        ),
        (Atoms("H", [(0, 0, np.nan)]), "expected finite positions in structure 1, got others"),
        (Atoms("H5"), "expected max_atoms >= 5 for structure 1, got 4"),
    ],
)
@pytest.mark.parametrize("function", [featurize, batch, batches])
def test_refused(function: object, atoms: Atoms, message: str) -> None:
    fingerprint = small(poolings=("sorted",), max_atoms=4)
    with pytest.raises(ValueError, match=message):
        function([molecule("H2O"), atoms], fingerprint)


def test_max_atoms_limits_no_other_poolings() -> None:
    atoms = molecule("H2O")
    expected = featurize(atoms, small(poolings=("max", "min")))
    found = featurize(atoms, small(poolings=("max", "min"), max_atoms=1))
    np.testing.assert_array_equal(found, expected)


def test_max_atoms_of_each_element() -> None:
    fingerprint = small(poolings=("sorted",), max_atoms=2, per_element=True)
    assert np.isfinite(featurize([molecule("H2O"), molecule("H2O2")], fingerprint)).all()
    with pytest.raises(ValueError, match="expected max_atoms >= 3 for structure 1, got 2"):
        featurize([molecule("H2O"), Atoms("H3")], fingerprint)


@pytest.mark.parametrize(
    "change", [{"capacity": 2}, {"counts": (0, 0, 0)}, {"elements": 1}], ids=str
)
def test_bounds_that_are_too_small_are_refused(change: dict) -> None:
    crystals = [Atoms("H", cell=[9, 9, 9], pbc=True), random_crystal(1, 4)]
    assert len(set(crystals[1].symbols)) == 2
    enough = bounds_of(crystals, R_CUT, elements=2)
    short = dataclasses.replace(enough, **change)
    needed = bounds_of(crystals[1:], R_CUT, elements=2)
    message = f"expected bounds of at least {needed} for structure 1, got {short}"
    with jax.debug_nans(False), pytest.raises(ValueError, match=re.escape(message)):
        featurize(crystals, SMALL, bounds=short)
    value = featurize(crystals, SMALL, bounds=enough)
    np.testing.assert_allclose(value, featurize(crystals, SMALL), rtol=1e-12)


def test_elements_are_counted_where_it_saves_channels() -> None:
    water, salt = molecule("H2O"), Atoms("NaO", [(0, 0, 0), (0, 0, 2)])
    assert buckets._most_elements([water, salt, Atoms("H")], SMALL) == 2
    assert buckets._most_elements([water], small(("H", "O"))) is None
    assert buckets._most_elements([Atoms("H")], small(("H",))) is None
    weighted = Fingerprint.preset("gastegger2018", FOUR)
    assert buckets._most_elements([water], weighted) is None
    assert buckets._most_elements([water], dataclasses.replace(weighted, per_element=True)) == 2
    assert isinstance(batch([water], SMALL).bounds, Bounds)
