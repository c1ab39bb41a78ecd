"""The base class of potentials in JAX, by the shortest one: everything that is derived from it."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from pairs import LennardJones, PairReference, by_ase
from strategies import random_cluster, random_crystal

from jaxrecon.descriptors.buckets import MOST_PROGRAMS
from jaxrecon.potentials import dynamics, registry, single_points
from jaxrecon.potentials.ase_calculator import PotentialCalculator
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.potentials.single_points import SinglePoint, bounds_for
from jaxrecon.structures.structure import from_ase, padded

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("strict_types")]

POTENTIAL = LennardJones()
ELEMENTS = POTENTIAL.elements


def slab(seed: int, pbc: tuple[bool, bool, bool]) -> Atoms:
    crystal = random_crystal(seed, 3, ELEMENTS)
    crystal.pbc = pbc
    return crystal


MIXED = [
    random_cluster(0, 3),
    random_crystal(1, 2, ELEMENTS),
    molecule("H2O"),
    slab(3, (True, True, False)),
    bulk("Pt"),
    Atoms("Pt"),
    random_cluster(1, 70),
    slab(4, (False, False, True)),
    random_crystal(2, 8, ELEMENTS) * (3, 3, 1),
]
"""Free and periodic along some axes or all, cells narrower than the cutoff, one atom and many."""


def check(found: SinglePoint, atoms: Atoms, tolerance: float = 1e-10) -> None:
    wanted = by_ase(atoms)
    scale = max(1.0, abs(wanted.energy), np.abs(wanted.forces).max())
    assert found.energy == pytest.approx(wanted.energy, abs=tolerance * scale)
    np.testing.assert_allclose(found.energies, wanted.energies, atol=tolerance * scale)
    np.testing.assert_allclose(found.forces, wanted.forces, atol=tolerance * scale)
    assert (found.stress is None) == (wanted.stress is None)
    if wanted.stress is not None:
        np.testing.assert_allclose(found.stress, wanted.stress, atol=tolerance * scale)


def test_structures_of_all_kinds_are_those_of_ase() -> None:
    potential = LennardJones()
    found = single_points.single_points(MIXED, potential)
    for point, atoms in zip(found, MIXED, strict=True):
        check(point, atoms)
    # One trace for each of three kinds: free, periodic, many atoms.
    assert potential.traced == 3
    again = single_points.single_points(MIXED[::-1], potential)
    assert potential.traced == 3
    for point, former in zip(again[::-1], found, strict=True):
        assert point.energy == pytest.approx(former.energy, rel=1e-12)


def test_many_structures_take_few_programs_and_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(single_points, "WORKING_SET", 2**20)
    monkeypatch.setattr(single_points, "memory_of", lambda _: None)
    potential = LennardJones()
    given = [random_cluster(seed, 2 + seed % 20) for seed in range(130)]
    widths = []
    arrays = single_points._arrays

    def watched(chunk: list[Atoms], bucket: single_points.Bucket) -> dict[str, np.ndarray]:
        capacity = bucket.bounds.capacity
        widths.append(len(chunk) * bucket.size * capacity * potential.edge_bytes(capacity))
        return arrays(chunk, bucket)

    monkeypatch.setattr(single_points, "_arrays", watched)
    found = single_points.single_points(given, potential)
    assert potential.traced <= MOST_PROGRAMS
    assert max(widths) <= 2**20 * len(jax.local_devices())
    for number in (0, 57, 129):
        check(found[number], given[number])


def test_float32_keeps_six_digits() -> None:
    given = [random_crystal(5, 4, ELEMENTS), molecule("H2O")]
    for point, atoms in zip(
        single_points.single_points(given, POTENTIAL, dtype=np.float32), given, strict=True
    ):
        check(point, atoms, 3e-6)


@pytest.mark.usefixtures("x64")
def test_derivatives_by_positions_and_cell_are_those_of_jax() -> None:
    atoms = random_crystal(7, 3, ELEMENTS)
    structure = from_ase(atoms, bounds=bounds_for([atoms], 1.05 * POTENTIAL.r_cut, 4), size=4)

    @jax.jit
    def energy(positions: jax.Array, strain: jax.Array) -> jax.Array:
        deformation = jnp.eye(3) + strain
        moved = dataclasses.replace(
            structure, positions=positions @ deformation, cell=structure.cell @ deformation
        )
        return jnp.sum(POTENTIAL.energies(moved))

    slopes = jax.jit(jax.grad(energy, (0, 1)))(structure.positions, jnp.zeros((3, 3)))
    found = jax.jit(POTENTIAL.predict)(structure)
    np.testing.assert_allclose(found.forces, -slopes[0], atol=1e-10)
    strain = 0.5 * (slopes[1] + slopes[1].T) / atoms.get_volume()
    np.testing.assert_allclose(found.stress, strain, atol=1e-10)
    assert not found.overflow
    np.testing.assert_array_equal(found.forces[3], 0.0)
    # Against finite differences too, by positions and by the cell.
    step = 1e-5 * np.random.default_rng(0).normal(size=(3, 3))
    by_cell = [float(energy(structure.positions, jnp.asarray(sign * step))) for sign in (1.0, -1.0)]
    assert by_cell[0] - by_cell[1] == pytest.approx(2 * float(np.sum(slopes[1] * step)), rel=1e-6)


@pytest.mark.usefixtures("x64")
def test_a_batch_under_vmap_and_derivatives_by_parameters() -> None:
    given = [random_cluster(seed, 3 + seed) for seed in range(3)]
    batch = padded(given, 6)

    def misfit(parameters: dict[str, jax.Array]) -> jax.Array:
        found = jax.vmap(lambda one: POTENTIAL.predict(one, parameters))(batch)
        return jnp.sum(found.forces**2)

    parameters = {name: jnp.asarray(value) for name, value in POTENTIAL.parameters.items()}
    # Forces are proportional to epsilon, and their squares to its square.
    slope = jax.jit(jax.grad(misfit))(parameters)["epsilon"]
    value = float(misfit(parameters))
    assert float(slope * parameters["epsilon"]) == pytest.approx(2 * value, rel=1e-10)
    for energy, atoms in zip(jax.vmap(POTENTIAL.energies)(batch).sum(1), given, strict=True):
        assert float(energy) == pytest.approx(by_ase(atoms).energy, rel=1e-10)


@pytest.mark.parametrize("apart", [0.0, 5.0, 5.0 - 1e-9, 7.0])
def test_finite_where_atoms_coincide_or_are_at_the_cutoff(apart: float) -> None:
    dimer = Atoms("Pt2", [[0.0, 0.0, 0.0], [0.0, 0.0, apart]])
    [found] = single_points.single_points(dimer, POTENTIAL)
    assert np.isfinite(found.energy)
    assert np.isfinite(found.forces).all()
    if apart:
        assert np.abs(found.forces).max() < 1e-6


def test_too_small_sizes_are_seen() -> None:
    crystal = bulk("Pt")
    enough = bounds_for([crystal], POTENTIAL.r_cut, 1)
    check(single_points.single_points(crystal, POTENTIAL, bounds=enough)[0], crystal)
    for change in ({"capacity": 10}, {"counts": (1, 1, 1)}):
        small = dataclasses.replace(enough, **change)
        with pytest.raises(ValueError, match="bounds that hold structure 0, got too small"):
            single_points.single_points(crystal, POTENTIAL, bounds=small)


def test_a_crystal_without_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="with a cell and bounds="):
        POTENTIAL.predict(from_ase(bulk("Pt")))


@pytest.mark.parametrize(
    ("atoms", "said"),
    [
        (Atoms("PtAu", [[0, 0, 0], [0, 0, 2.0]]), "among H, O, Na, Pt, got Au"),
        (Atoms(), "at least one atom, got none"),
        (Atoms("Pt", [[0, 0, np.nan]]), "finite positions"),
        (Atoms("Pt", pbc=True), "cell with a volume"),
    ],
)
def test_what_can_not_be_computed(atoms: Atoms, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^expected .*{said}.* \(structure 1\)$"):
        single_points.single_points([molecule("H2O"), atoms], POTENTIAL)


@pytest.mark.parametrize("function", [POTENTIAL.predict, POTENTIAL.energies])
def test_an_unknown_element_is_none_of_the_known_ones(function) -> None:
    known, other = (
        from_ase(Atoms(symbols, [[0, 0, 0], [0, 0, 2.0]]), size=3) for symbols in ("Pt2", "PtAu")
    )
    function(known)
    with pytest.raises(ValueError, match="expected elements among H, O, Na, Pt, got Au"):
        function(other)
    # Where elements are not known yet, nothing can be said.
    jax.eval_shape(function, other)


def test_compiled_programs_do_not_keep_a_potential_alive() -> None:
    potential = LennardJones()
    single_points.single_points(Atoms("Pt"), potential)
    dynamics._programs(potential, 1.0, 0.01, 5)
    one, other = (single_points._compiled(potential, None, 1, (1, 4)) for _ in range(2))
    assert one is other
    del one, other
    dropped = weakref.ref(potential)
    del potential
    gc.collect()
    assert dropped() is None


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="expected dtype float32 or float64, got float16"):
        single_points.single_points(molecule("H2O"), POTENTIAL, dtype=np.float16)


def test_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LennardJones, "edge_bytes", lambda *_: 2**50)
    with pytest.raises(MemoryError, match="a structure of 4 atoms with 2 neighbours each"):
        single_points.single_points(molecule("H2O"), POTENTIAL)


def test_a_calculator_of_ase_for_moving_atoms() -> None:
    potential = LennardJones()
    atoms = random_crystal(8, 4, ELEMENTS)
    atoms.calc = PotentialCalculator(potential)
    for step in range(4):
        atoms.rattle(0.05, seed=step)
        atoms.set_cell(0.98 * atoms.cell.array, scale_atoms=True)
        check(SinglePoint(*(atoms.calc.get_property(name, atoms) for name in (
            "energy", "energies", "forces", "stress"))), atoms)  # fmt: skip
    # Squeezed cells outgrow the room of the first one, at most once.
    assert potential.traced <= 2
    free = random_cluster(9, 4)
    free.calc = atoms.calc
    assert free.get_potential_energy() == pytest.approx(by_ase(free).energy)
    with pytest.raises(Exception, match="stress"):
        free.get_stress()
    free.symbols[0] = "Au"
    with pytest.raises(ValueError, match="got Au"):
        free.get_potential_energy()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CALCULATORS, "pairs", PairReference)
    registry.reference_calculator.cache_clear()


@pytest.mark.usefixtures("named")
def test_judged_together_with_energies_of_atoms(tmp_path) -> None:
    given = [random_cluster(0, 5), Atoms("Au"), random_crystal(1, 3, ELEMENTS), slab(3, (1, 1, 0))]
    bulk_energies = dict.fromkeys((*ELEMENTS, "Au"), -1.0)
    stopped: list[int] = []

    def stop(structures: int, energies: int) -> None:
        stopped.append(structures)
        if len(stopped) == 3:
            raise KeyboardInterrupt

    store = LabelStore(tmp_path / "labels.db")
    with pytest.raises(KeyboardInterrupt):
        judge(given, "pairs", bulk=bulk_energies, store=store, progress=stop)
    assert store.committed == 2
    again = LabelStore(tmp_path / "labels.db", resume=True)
    judged = judge(given, "pairs", bulk=bulk_energies, store=again)
    assert judged.failures[1] == "ValueError: expected elements among H, O, Na, Pt, got Au"
    assert "all three axes or none" in judged.failures[3]
    write(tmp_path / "judged.extxyz", judged.structures)
    for number in (0, 2):
        read_back = read(tmp_path / "judged.extxyz", number)
        wanted = by_ase(given[number])
        assert judged[number].get_potential_energy() == pytest.approx(wanted.energy, abs=1e-10)
        np.testing.assert_allclose(judged[number].get_potential_energies(), wanted.energies)
        np.testing.assert_allclose(read_back.get_potential_energies(), wanted.energies, atol=1e-7)


@pytest.mark.usefixtures("named")
def test_a_name_with_a_file() -> None:
    assert registry.reference_calculator("pairs").settings == {"calculator": "pairs"}
    with pytest.raises(FileNotFoundError, match="a file for the calculator tersoff, got nowhere"):
        registry.reference_calculator("tersoff:nowhere")
