"""Molecular dynamics against ASE's, and the recipe that melts, quenches and anneals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from pairs import LennardJones

from jaxrecon.cli.main import main
from jaxrecon.datasets import read_labelled, write_labelled
from jaxrecon.datasets.quench import GRAMS, Quenching, quench
from jaxrecon.potentials.ase_calculator import PotentialCalculator
from jaxrecon.potentials.dynamics import Ensemble, Langevin, _programs
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.potentials.single_points import bounds_for, single_points
from jaxrecon.potentials.tersoff import Tersoff
from jaxrecon.structures.structure import padded

POTENTIAL = LennardJones()
CRYSTAL = bulk("Pt", a=4.1, cubic=True)
FEW = Quenching(stages=(1, 2, 2), interval=10, together=2, density=(1.5, 3.0))
BULK = {"C": -7.4}


def replicas(count: int, reach: float = 1.4) -> Ensemble:
    bounds = bounds_for([CRYSTAL], reach * POTENTIAL.r_cut, len(CRYSTAL))
    return Ensemble(padded([CRYSTAL] * count, len(CRYSTAL), bounds))


@pytest.mark.usefixtures("x64")
def test_without_friction_it_is_the_verlet_algorithm_of_ase() -> None:
    engine = Langevin(POTENTIAL, timestep=2.0, friction=1e-20)
    keys = jax.random.split(jax.random.key(0), 2)
    begin, _ = _programs(POTENTIAL, engine.timestep, engine.friction, 40)
    kT = 500.0 * units.kB * np.ones(2)
    momenta = np.asarray(begin(POTENTIAL.parameters, replicas(2).structures, keys, kT).momentum)
    found = engine.run(replicas(2), keys, 40, (500.0, 500.0))
    for number in range(2):
        atoms = CRYSTAL.copy()
        atoms.calc = PotentialCalculator(POTENTIAL)
        atoms.set_momenta(momenta[number])
        VelocityVerlet(atoms, timestep=2.0 * units.fs).run(40)
        apart = np.asarray(found.structures.positions[number]) - atoms.positions
        apart -= 4.1 * np.round(apart / 4.1)
        np.testing.assert_allclose(apart, 0.0, atol=1e-8)
        energy = float(found.prediction.energy[number])
        assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_temperatures_are_those_that_are_asked_for() -> None:
    """The mean kinetic energy of 40 trajectories of 4 atoms, and a ramp from one to the other."""
    engine = Langevin(POTENTIAL, timestep=5.0, friction=0.05)
    wanted = np.repeat([300.0, 900.0], 20)
    keys = jax.random.split(jax.random.key(1), 40)
    ensemble = engine.run(replicas(40), keys, 60, (np.repeat([600.0], 40), wanted))
    kinetic = []
    for _ in range(6):
        ensemble = engine.run(ensemble, keys, 60, (wanted, wanted))
        state = ensemble.state
        kinetic.append(np.sum(np.asarray(state.momentum) ** 2 / np.asarray(state.mass), (1, 2)))
    kelvin = np.mean(kinetic, axis=0) / (3 * len(CRYSTAL) * units.kB)
    for part, temperature in ((kelvin[:20], 300.0), (kelvin[20:], 900.0)):
        # The standard deviation of the mean of so many is 4 %, if they are independent.
        assert part.mean() == pytest.approx(temperature, rel=0.15)


@pytest.mark.usefixtures("x64")
def test_atoms_that_outgrow_their_bounds() -> None:
    ensemble = replicas(1)
    few = dataclasses.replace(ensemble.structures.bounds, capacity=16)
    small = Ensemble(dataclasses.replace(ensemble.structures, bounds=few))
    keys = jax.random.split(jax.random.key(0), 1)
    engine = Langevin(POTENTIAL)
    enough, grown = (engine.run(given, keys, 3, (300.0, 300.0)) for given in (ensemble, small))
    assert grown.structures.bounds.capacity > 16
    np.testing.assert_allclose(grown.structures.positions, enough.structures.positions, atol=1e-9)


def test_snapshots_have_the_energies_of_the_potential(tmp_path: Path) -> None:
    made = quench("C8", 13, settings=FEW, bulk=BULK, seed=3)
    assert len(made) == 13
    assert made.trajectories.tolist() == [0] * 5 + [1] * 5 + [2] * 3
    assert made.kinds[:5] == ["melt", "quench", "quench", "anneal", "anneal"]
    temperatures = made.columns["temperature"]
    assert temperatures[:3] == pytest.approx([9000.0, 4650.0, 300.0])
    assert 2000.0 <= temperatures[3] == temperatures[4] <= 4000.0
    for atoms, density in zip(made.structures, made.columns["density"], strict=True):
        assert density == pytest.approx(atoms.get_masses().sum() * GRAMS / atoms.get_volume())
        assert 1.5 <= density <= 3.0
    for number, point in enumerate(single_points(made.structures, Tersoff())):
        assert made.energies[number] == pytest.approx(point.energy, abs=1e-9)
        np.testing.assert_allclose(made.local_energies[number], point.energies, atol=1e-9)
        np.testing.assert_allclose(made.forces[number], point.forces, atol=1e-8)
        assert made.formation_energies[number] == pytest.approx(point.energy / 8 + 7.4)
    for name in ("set.npz", "set.extxyz"):
        write_labelled(tmp_path / name, made)
        again = read_labelled([str(tmp_path / name)])
        np.testing.assert_allclose(again.local_energies, made.local_energies, rtol=1e-6)
    assert again.select([3]).local_energies[0].shape == (8,)


def test_an_interruption_costs_only_the_group_that_is_computed(tmp_path: Path) -> None:
    whole = quench("C8", 15, settings=FEW, bulk=BULK)
    snapshots: list[int] = []

    def stop(structures: int, energies: int) -> None:
        snapshots.append(structures)
        if sum(snapshots) > 12:
            raise KeyboardInterrupt

    store = LabelStore(tmp_path / "set.db")
    with pytest.raises(KeyboardInterrupt):
        quench("C8", 15, settings=FEW, bulk=BULK, store=store, progress=stop)
    assert store.committed == 2
    again = quench(
        "C8", 15, settings=FEW, bulk=BULK, store=LabelStore(tmp_path / "set.db", resume=True)
    )
    for one, other in zip(whole.structures, again.structures, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
    assert whole.trajectories.tolist() == again.trajectories.tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calculator": "emt"}, "a calculator in JAX for molecular dynamics, like tersoff, got"),
        ({"symbols": "Pt8"}, "elements among C, Si, got Pt"),
        ({"size": 0}, "size >= 1, got 0"),
    ],
)
def test_refusals(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quench(**{"symbols": "C8", "size": 1, "settings": FEW, "bulk": BULK, **changes})


@pytest.mark.parametrize(
    "changes", [{"density": (3.0, 1.0)}, {"melt": np.nan}, {"interval": 0}, {"stages": (0, 0, 0)}]
)
def test_settings_that_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        Quenching(**changes)


@pytest.mark.usefixtures("command_line")
def test_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = "dataset build --recipe quench --symbols C4 --size 2 --calculator tersoff -o set.npz"
    assert main([*line.split(), "--interval", "2", "--quiet", "--bulk", "C=-7.4"]) == 0
    made = read_labelled(["set.npz"])
    assert len(made) == 2
    assert made.local_energies is not None
    assert main([*line.split(), "--force", "--density", "thin"]) != 0
    assert "expected two numbers like 1.0-3.5, got 'thin'" in capsys.readouterr().err
