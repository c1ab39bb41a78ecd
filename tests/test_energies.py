"""Energies of reference crystals against equations of state, formation energies and labels."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT, parameters
from ase.calculators.lj import LennardJones
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from labelling import Made

from jaxrecon.potentials.energies import bulk_energy, formation_energy, label, relaxed_bulk
from jaxrecon.potentials.registry import reference_calculator


class Single(Calculator):
    """A calculator with results in single precision, like those of networks."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy: float = 1.0, force: float = 0.1) -> None:
        super().__init__()
        self.energy, self.force = energy, force

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        forces = np.full((len(atoms), 3), self.force, np.float32)
        self.results = {"energy": np.float32(self.energy), "forces": forces}


def of(make, **options) -> Made:
    return Made(lambda atoms: make(), **options)


@pytest.mark.parametrize("symbol", ["Pt", "Cu", "Al", "Au"])
def test_cubic_crystals_against_an_equation_of_state(symbol: str) -> None:
    crystal, energy = relaxed_bulk(symbol, reference_calculator("emt"))
    volumes, energies = [], []
    for scale in np.linspace(0.98, 1.02, 9):
        atoms = bulk(symbol)
        atoms.set_cell(crystal.cell * scale, scale_atoms=True)
        atoms.calc = EMT()
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    volume, lowest, _ = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert crystal.get_volume() == pytest.approx(volume, rel=3e-3)
    assert energy == pytest.approx(lowest, abs=2e-4)
    assert bulk_energy(symbol, reference_calculator("emt")) == energy


@pytest.mark.parametrize("symbol", ["Pt", "Cu"])
def test_cohesive_energies_are_those_the_potential_was_made_with(symbol: str) -> None:
    """The first parameter of Jacobsen, Stoltze and Norskov (1996), in eV."""
    lone = label(Atoms(symbol, [[0.0, 0.0, 0.0]]), reference_calculator("emt")).energy
    found = bulk_energy(symbol, reference_calculator("emt")) - lone
    assert found == pytest.approx(parameters[symbol][0], abs=0.02)


def test_hexagonal_crystals_against_a_relaxation_by_stress() -> None:
    """Mg starts at c/a = 1.624; Lennard-Jones spheres want 1.633, and another volume."""

    def spheres() -> LennardJones:
        return LennardJones(sigma=2.7, epsilon=0.5, rc=9.0, smooth=True)

    crystal, energy = relaxed_bulk("Mg", of(spheres))
    oracle = bulk("Mg")
    oracle.calc = spheres()
    BFGS(FrechetCellFilter(oracle), logfile=None).run(fmax=1e-4, steps=100)
    assert energy == pytest.approx(oracle.get_potential_energy(), abs=1e-4)
    assert crystal.cell.lengths() == pytest.approx(oracle.cell.lengths(), rel=2e-3)
    a, _, c = crystal.cell.lengths()
    assert abs(c / a - 1.6328) < 0.004
    ideal = bulk("Mg", covera=1.55)
    ideal.set_cell(ideal.cell * (crystal.get_volume() / ideal.get_volume()) ** (1 / 3), True)
    ideal.calc = spheres()
    assert ideal.get_potential_energy() > energy + 1e-3


@pytest.mark.parametrize("boxed", [False, True])
def test_gases_are_molecules(boxed: bool) -> None:
    found, energy = relaxed_bulk("H", of(EMT, boxed=boxed))
    oracle = molecule("H2")
    oracle.calc = EMT()
    BFGS(oracle, logfile=None).run(fmax=1e-4)
    assert energy == pytest.approx(oracle.get_potential_energy(), abs=1e-4)
    assert found.get_distance(0, 1) == pytest.approx(oracle.get_distance(0, 1), abs=2e-3)
    assert found.get_chemical_formula() == "H2"


def test_a_repeated_cell_counts_once() -> None:
    alone = relaxed_bulk("Cu", of(EMT))[1]
    assert relaxed_bulk("Cu", of(EMT, least_length=7.0))[1] == pytest.approx(alone, abs=1e-6)
    crystal = bulk("CuAu", "rocksalt", a=5.2)
    crystal.positions[1] += [0.1, 0.2, 0.0]
    one, many = (label(crystal, of(EMT, least_length=length)) for length in (0.0, 9.0))
    assert many.energy == pytest.approx(one.energy, abs=1e-9)
    assert np.allclose(many.forces, one.forces, atol=1e-9)
    assert np.abs(one.forces).max() > 0.1


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("Fe", r"that emt can compute the bulk of, got Fe \(NotImplementedError"),
        ("S", "whose crystal ASE can build, or its energy, got S"),
        ("Xy", "expected the symbol of an element, got 'Xy'"),
    ],
)
def test_elements_without_a_reference(symbol: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        bulk_energy(symbol, reference_calculator("emt"))
    assert "\n" not in str(error.value)


def test_energies_of_formation() -> None:
    references = {"Cu": -3.0, "Au": -2.0, "Pt": 7.0}
    assert formation_energy(-6.0, ["Cu", "Au", "Cu"], references) == pytest.approx(2.0 / 3.0)
    with pytest.raises(ValueError, match=r"the bulk of \['Fe', 'Ni'\], got \['Au', 'Cu', 'Pt'\]"):
        formation_energy(-6.0, ["Ni", "Au", "Fe"], references)


def test_labels_are_in_double_precision() -> None:
    """ASE's databases read the bytes of every array as double precision."""
    found = label(Atoms("Pt2", np.eye(3)[:2]), of(Single))
    assert type(found.energy) is float
    assert found.forces.dtype == np.float64
    assert np.allclose(found.forces, 0.1)


@pytest.mark.parametrize("numbers", [{"energy": np.nan}, {"force": np.inf}])
def test_labels_are_finite(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a finite energy and forces"):
        label(Atoms("Pt"), of(lambda: Single(**numbers)))


def test_slabs_are_neither_clusters_nor_crystals() -> None:
    with pytest.raises(ValueError, match="all three axes or none"):
        label(fcc111("Pt", (1, 1, 3), vacuum=5.0), reference_calculator("emt"))
