"""Reference calculators: the contract that all of them pass, boxes, meshes, and the user's own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces
from ase.data import atomic_numbers, covalent_radii
from labelling import Made

from jaxrecon.potentials.base import ReferenceCalculator
from jaxrecon.potentials.energies import label
from jaxrecon.potentials.registry import CALCULATORS, reference_calculator

pytestmark = pytest.mark.contract

EXTRAS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
OPTIONAL = [name for name, calculator in CALCULATORS.items() if calculator.package]
# Wrong by this much in eV/A: of a potential in double precision, of one in single, of PBE.
FORCE_TOLERANCE = {"emt": 1e-6, "tersoff": 1e-6}


@pytest.fixture(autouse=True)
def nothing_loaded() -> None:
    reference_calculator.cache_clear()


@pytest.fixture
def unlicensed(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("name", CALCULATORS)
def test_contract(name: str) -> None:
    """Finite energies and right forces where it is installed, else the command that installs it."""
    made = CALCULATORS[name]
    assert made.name == name
    assert issubclass(made, ReferenceCalculator)
    missing = made.missing()
    if missing is not None:
        with pytest.raises(ValueError, match=f"^expected .* for the calculator {name}, got none: "):
            reference_calculator(name)
        if made.package:
            assert missing.command.startswith(f'pip install "jaxrecon[{name}]"')
        return
    if made.argument and not made.argument.startswith("["):
        with pytest.raises(ValueError, match=f"^expected {name}{made.argument} with a file"):
            reference_calculator(name)
        return
    calculator = reference_calculator(name)
    for plain in (calculator.settings, calculator.versions):
        assert json.loads(json.dumps(plain)) == plain
    assert calculator.settings["calculator"] == name
    assert set(calculator.versions) >= {"ase"}
    element = "Pt" if "Pt" in calculator.elements or not calculator.elements else "C"
    bond = 2.6 * covalent_radii[atomic_numbers[element]] / covalent_radii[78]
    shape = np.array([[0.0, 0.0, 0.0], [1.0, 0.04, 0.0], [0.42, 0.88, 0.15]])
    cluster = Atoms(f"{element}3", bond * shape)
    found = label(cluster, calculator)
    assert np.isfinite(found.energy)
    assert np.abs(found.forces).max() > 0.01
    tolerance = FORCE_TOLERANCE.get(name, 0.05)
    ready = calculator.for_cluster(cluster)
    numerical = calculate_numerical_forces(ready, eps=1e-4 if tolerance < 1e-3 else 0.01)
    np.testing.assert_allclose(found.forces, numerical, atol=tolerance)
    crystal = bulk(element)
    assert np.isfinite(label(crystal, calculator).energy)
    if calculator.many:
        slab = Atoms("Pt", cell=[3.0] * 3, pbc=(True, True, False))
        together = dict(calculator.label_many([slab, cluster, crystal]))
        assert isinstance(together[0], ValueError)
        for number, atoms in ((1, cluster), (2, crystal)):
            alone = label(atoms, calculator)
            assert together[number].energy == pytest.approx(alone.energy, rel=1e-6)
            np.testing.assert_allclose(together[number].forces, alone.forces, atol=tolerance)
            np.testing.assert_allclose(together[number].energies, alone.energies, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not the package is installed where the tests run."""
    package = CALCULATORS[name].package
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ValueError, match=f"^expected the package {package} for the .* {name},"
    ) as e:
        reference_calculator(name)
    extra = f'pip install "jaxrecon[{name}]"'
    if CALCULATORS[name].install:
        # The package itself must be installed without what it asks for.
        assert str(e.value).endswith(f"{extra} && pip install --no-deps {package}")
        return
    assert str(e.value).endswith(extra)
    assert package in [line.partition(">")[0] for line in EXTRAS[name]]


def test_a_broken_package_fails_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setitem(sys.modules, "tblite", None)
    with pytest.raises(ImportError):
        reference_calculator("xtb")


@pytest.mark.usefixtures("unlicensed")
def test_vasp_needs_a_command() -> None:
    with pytest.raises(ValueError, match="in ASE_VASP_COMMAND for the calculator vasp, got none"):
        reference_calculator("vasp")


def test_vasp_has_one_folder_per_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASE_VASP_COMMAND", "vasp_std")
    calculator = reference_calculator("vasp")
    assert json.loads(json.dumps(calculator.settings)) == calculator.settings
    made = calculator.for_bulk(bulk("Pt")).calc
    assert Path(made.directory).parent == tmp_path
    assert made.asdict()["inputs"]["kpts"] == (12, 12, 12)
    assert calculator.for_cluster(chain(3)).calc.asdict()["inputs"]["kpts"] == (1, 1, 1)


def test_the_registry_imports_no_heavy_package() -> None:
    heavy = {calculator.package for calculator in CALCULATORS.values()} | {"jax", "torch"}
    code = f"import sys, jaxrecon.potentials.registry; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_a_name_that_no_calculator_has() -> None:
    with pytest.raises(ValueError, match=r"among emt, .*, vasp, module:factory, got 'dft'"):
        reference_calculator("dft")


def chain(length: int) -> Atoms:
    return Atoms(f"Pt{length}", [[2.5 * number, 0.0, 0.0] for number in range(length)])


def recorded(**options: Any) -> tuple[Made, list[Any]]:
    """A calculator, and the meshes of the crystals that it was asked for."""
    meshes: list[Any] = []

    def crystal(atoms: Atoms, mesh: tuple[int, int, int]) -> EMT:
        meshes.append(mesh)
        return EMT()

    return Made(lambda atoms: EMT(), crystal, **options), meshes


def test_a_free_cluster_has_no_box() -> None:
    given = Atoms("Pt2", [[1.0, 2.0, 3.0], [1.0, 2.0, 5.5]], cell=[4.0] * 3, pbc=True)
    before = given.copy()
    ready = reference_calculator("emt").for_cluster(given)
    assert given == before
    assert given.calc is None
    assert not ready.pbc.any()
    assert not ready.cell.any()
    alone = Atoms("Pt2", given.positions)
    alone.calc = EMT()
    assert ready.get_potential_energy() == alone.get_potential_energy()


@pytest.mark.parametrize(("length", "edge"), [(1, 14.0), (3, 14.0), (4, 14.5), (10, 29.5)])
def test_boxes_leave_vacuum_around_the_cluster(length: int, edge: float) -> None:
    given = chain(length)
    ready = recorded(boxed=True)[0].for_cluster(given)
    assert np.allclose(ready.cell.array, np.diag([edge, 14.0, 14.0]))
    assert ready.pbc.all()
    assert np.allclose(ready.get_all_distances(), given.get_all_distances())
    middle = (ready.positions.min(axis=0) + ready.positions.max(axis=0)) / 2.0
    assert np.allclose(middle, ready.cell.lengths() / 2.0)
    assert given.positions[0].tolist() == [0.0, 0.0, 0.0]


def test_meshes_are_finer_along_short_axes() -> None:
    made, meshes = recorded()
    for crystal in (bulk("Pt"), bulk("Pt") * (4, 2, 1), bulk("Ti"), bulk("Pt", a=60.0)):
        made.for_bulk(crystal)
    # Lengths are 2.77, then 11.1, 5.5 and 2.77, then 2.95, 2.95 and 4.68 Angstrom.
    assert meshes == [(12, 12, 12), (3, 6, 12), (12, 12, 8), (1, 1, 1)]


def test_cells_are_repeated_without_k_points() -> None:
    given = bulk("Ti")
    ready = recorded(least_length=12.0)[0].for_bulk(given)
    assert len(ready) == 2 * 5 * 5 * 3
    assert (ready.cell.lengths() >= 12.0).all()
    assert np.allclose(ready.positions[:2], given.positions)


OWN = """
from ase.calculators.emt import EMT
from jaxrecon.potentials.base import ReferenceCalculator

class Whole(ReferenceCalculator):
    name = "mine"
    boxed = True

    def parameters(self):
        return {"level": 3}

    def free(self, atoms):
        return EMT()

def factory():
    return EMT()

def number():
    return 3

def broken():
    raise RuntimeError("no licence")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own in the current directory."""
    (tmp_path / "potentials_of_a_user.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "potentials_of_a_user", raising=False)


@pytest.mark.usefixtures("own")
def test_a_factory_of_the_users_own() -> None:
    made = reference_calculator("potentials_of_a_user:factory")
    assert made.settings == {"calculator": "potentials_of_a_user:factory"}
    assert set(made.versions) == {"ase"}
    emt = reference_calculator("emt")
    energies = [one.for_cluster(chain(3)).get_potential_energy() for one in (made, emt)]
    assert energies[0] == energies[1]
    assert np.isfinite(made.for_bulk(bulk("Cu")).get_potential_energy())
    whole = reference_calculator("potentials_of_a_user:Whole")
    assert whole.settings == {"calculator": "mine", "level": 3}
    assert whole.for_cluster(chain(2)).pbc.all()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere_at_all:factory", r"ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("potentials_of_a_user:none", "AttributeError"),
        ("potentials_of_a_user:broken", "RuntimeError: no licence"),
        ("potentials_of_a_user:number", "an object of int"),
    ],
)
def test_a_factory_that_returns_no_calculator(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        reference_calculator(name)
    assert str(error.value).startswith("expected a")
    assert name in str(error.value)
