"""What a name stands for: boxes, meshes, repeats; and what is said if it stands for nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from jaxrecon.potentials import calculators
from jaxrecon.potentials.calculators import Calculators, calculator

ROOT = Path(__file__).parents[1]


def chain(length: int) -> Atoms:
    return Atoms(f"Pt{length}", [[2.5 * number, 0.0, 0.0] for number in range(length)])


def recorded(**options: Any) -> tuple[Calculators, list[Any]]:
    """Calculators of EMT, and what they were asked for."""
    meshes: list[Any] = []

    def crystal(atoms: Atoms, mesh: tuple[int, int, int]) -> EMT:
        meshes.append(mesh)
        return EMT()

    return Calculators("recorded", {}, {}, lambda atoms: EMT(), crystal, **options), meshes


def test_a_free_cluster_has_no_box() -> None:
    given = Atoms("Pt2", [[1.0, 2.0, 3.0], [1.0, 2.0, 5.5]], cell=[4.0] * 3, pbc=True)
    before = given.copy()
    ready = calculator("emt").for_cluster(given)
    assert given == before
    assert given.calc is None
    assert not ready.pbc.any()
    assert not ready.cell.any()
    alone = Atoms("Pt2", given.positions)
    alone.calc = EMT()
    assert ready.get_potential_energy() == alone.get_potential_energy()


@pytest.mark.parametrize(("length", "edge"), [(1, 14.0), (3, 14.0), (4, 14.5), (10, 29.5)])
def test_boxes_have_room_around_the_cluster(length: int, edge: float) -> None:
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


def test_cells_are_repeated_where_there_is_one_k_point() -> None:
    given = bulk("Ti")
    ready = recorded(least_length=12.0)[0].for_bulk(given)
    assert len(ready) == 2 * 5 * 5 * 3
    assert (ready.cell.lengths() >= 12.0).all()
    assert np.allclose(ready.positions[:2], given.positions)


@pytest.mark.parametrize(
    ("name", "package"),
    [("chgnet", "chgnet"), ("sevennet", "sevenn"), ("xtb", "tblite"), ("gpaw", "gpaw")],
)
def test_a_missing_package_is_named_with_the_way_to_get_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calculators.importlib.util, "find_spec", lambda _: None)
    calculator.cache_clear()
    with pytest.raises(ValueError, match=f"expected the package {package} for the .* {name}") as e:
        calculator(name)
    extra = str(e.value).partition("jaxrecon[")[2].partition("]")[0]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line.partition(">")[0] for line in extras["optional-dependencies"][extra]]
    assert package in wanted


def test_vasp_needs_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match="in ASE_VASP_COMMAND for the calculator vasp, got none"):
        calculator("vasp")


def test_a_name_that_stands_for_nothing() -> None:
    with pytest.raises(ValueError, match=r"among emt, .*, vasp, module:factory, got 'dft'"):
        calculator("dft")


OWN = """
from ase.calculators.emt import EMT
from jaxrecon.potentials.calculators import Calculators

def factory():
    return EMT()

def whole():
    return Calculators("mine", {"level": 3}, {}, lambda a: EMT(), lambda a, m: EMT(), boxed=True)

def number():
    return 3

def broken():
    raise RuntimeError("no licence")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own, where the program is called."""
    (tmp_path / "potentials_of_a_user.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in calculators.sys.path if path])
    monkeypatch.delitem(calculators.sys.modules, "potentials_of_a_user", raising=False)
    calculator.cache_clear()


@pytest.mark.usefixtures("own")
def test_a_factory_of_ones_own() -> None:
    made = calculator("potentials_of_a_user:factory")
    assert made.settings == {"calculator": "potentials_of_a_user:factory"}
    assert set(made.versions) == {"ase"}
    energies = [each.for_cluster(chain(3)).get_potential_energy() for each in (made, _emt())]
    assert energies[0] == energies[1]
    assert np.isfinite(made.for_bulk(bulk("Cu")).get_potential_energy())
    whole = calculator("potentials_of_a_user:whole")
    assert (whole.name, whole.settings) == ("potentials_of_a_user:whole", {"level": 3})
    assert whole.for_cluster(chain(2)).pbc.all()


def _emt() -> Calculators:
    return calculator("emt")


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
def test_a_factory_that_is_none(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        calculator(name)
    assert str(error.value).startswith("expected a")
    assert name in str(error.value)
