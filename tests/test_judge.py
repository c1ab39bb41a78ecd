"""Energies of given structures: right, in order, committed one by one, and with failures apart."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import joblib
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import Database
from labelling import CALLS, energy_of, watch

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.potentials.energies import bulk_energy
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.potentials.registry import reference_calculator

BULK = {"Pt": -0.5}


def clusters(count: int = 6) -> list[Atoms]:
    return [random_cluster("Pt4", seed) for seed in range(count)]


def nothing(atoms: Atoms, call: int) -> None:
    """Let the calculation go on as it is."""


def test_energies_and_former_labels() -> None:
    given = clusters(3)
    given[0].info.update(target=2.8, e_form=9.0)
    given[0].calc = SinglePointCalculator(given[0], energy=-1.0)
    given[1].set_cell([20.0] * 3)
    positions = [atoms.positions.copy() for atoms in given]
    found = judge(given, "emt")
    reference = bulk_energy("Pt", reference_calculator("emt"))
    assert found.metadata["bulk_energies"] == {"Pt": reference}
    assert len(found) == 3
    for atoms, original, before in zip(found, given, positions, strict=True):
        energy = energy_of(original)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        assert atoms.info["e_form"] == pytest.approx(energy / 4 - reference, abs=1e-9)
        assert atoms.get_forces().shape == (4, 3)
        assert atoms.info["judged_by"] == "emt"
        assert atoms.positions.tobytes() == original.positions.tobytes() == before.tobytes()
    assert found[0].info["target"] == 2.8
    assert found[0].info["energy_before"] == -1.0
    assert found[0].info["e_form_before"] == 9.0
    assert given[0].info["e_form"] == 9.0
    assert "energy_before" not in found[1].info
    assert found[1].cell.lengths().tolist() == [20.0] * 3
    assert "3 of 3 structures judged by emt, E_form" in str(found)


def test_crystals_and_clusters_of_several_elements() -> None:
    alloy = bulk("CuAu", "rocksalt", a=5.2)
    given = [alloy, Atoms("CuAu", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.5]])]
    found = judge(given, "emt", bulk={"Cu": 1.0})
    gold = bulk_energy("Au", reference_calculator("emt"))
    assert found.metadata["bulk_energies"] == {"Cu": 1.0, "Au": gold}
    from ase.calculators.emt import EMT

    alloy.calc = EMT()
    expected = (alloy.get_potential_energy() - 1.0 - gold) / 2
    assert found[0].info["e_form"] == pytest.approx(expected, abs=1e-9)
    assert found[0].pbc.all()
    assert found[1].info["e_form"] == pytest.approx((energy_of(given[1]) - 1.0 - gold) / 2)


def test_one_failure_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    given = clusters(4)
    given[2].info["reason"] = "of old"

    def happen(atoms: Atoms, call: int) -> None:
        if np.allclose(atoms.positions, given[1].positions):
            raise RuntimeError("no convergence")

    watch(monkeypatch, happen)
    given.append(fcc111("Pt", (1, 1, 3), vacuum=5.0))
    found = judge(given, "watched", bulk=BULK)
    assert list(found.failures) == [1, 4]
    assert found.failures[1] == "RuntimeError: no convergence"
    assert "all three axes or none" in found.failures[4]
    assert found.metadata["failures"] == {str(n): text for n, text in found.failures.items()}
    assert "e_form" not in found[1].info
    assert "reason" not in found[2].info
    assert str(found).startswith("3 of 5 structures")
    for number in (0, 2, 3):
        assert found[number].get_potential_energy() == pytest.approx(energy_of(given[number]))


def test_an_element_that_the_calculator_does_not_know() -> None:
    with pytest.raises(ValueError, match="that emt can compute the bulk of, got Fe"):
        judge([Atoms("Fe2", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])], "emt")


def test_the_order_in_which_they_end_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    given = clusters(12)
    expected = [energy_of(atoms) for atoms in given]

    def happen(atoms: Atoms, call: int) -> None:
        time.sleep(0.02 if call % 3 else 0.1)

    watch(monkeypatch, happen)
    reports: list[tuple[int, int]] = []
    with joblib.parallel_config(backend="threading", n_jobs=4):
        found = judge(given, "watched", bulk=BULK, progress=lambda *n: reports.append(n))
    assert [atoms.get_potential_energy() for atoms in found] == pytest.approx(expected)
    assert reports == [(0, 0), *[(1, 1)] * 12]


def test_an_interruption_costs_only_unfinished_structures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = clusters(6)
    watch(monkeypatch, nothing)

    def stop(structures: int, energies: int) -> None:
        if len(CALLS) == 3:
            raise KeyboardInterrupt

    store = LabelStore(tmp_path / "set.db")
    with pytest.raises(KeyboardInterrupt):
        judge(given, "watched", bulk=BULK, store=store, progress=stop)
    assert store.committed == 3
    reports: list[tuple[int, int]] = []
    again = LabelStore(tmp_path / "set.db", resume=True)
    found = judge(given, "watched", bulk=BULK, store=again, progress=lambda *n: reports.append(n))
    assert len(CALLS) == 6
    assert reports == [(3, 0), (1, 1), (1, 1), (1, 1)]
    whole = judge(given, "watched", bulk=BULK)
    for one, other in zip(found, whole, strict=True):
        assert one.get_potential_energy() == other.get_potential_energy()
        assert one.get_forces().tobytes() == other.get_forces().tobytes()
        assert one.info == other.info


@pytest.mark.parametrize("change", ["position", "bulk", "calculator"])
def test_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    given, references, name = clusters(2), dict(BULK), "watched"
    watch(monkeypatch, nothing)
    judge(given, name, bulk=references, store=LabelStore(tmp_path / "set.db"))
    if change == "position":
        given[1].positions[0] += 1e-9
    elif change == "bulk":
        references["Pt"] = 0.0
    else:
        name = "emt"
    with pytest.raises(ValueError, match="was begun with, got another"):
        judge(given, name, bulk=references, store=LabelStore(tmp_path / "set.db", resume=True))


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, write = clusters(5), Database.write
    watch(monkeypatch, nothing)

    def full(self: Database, *words: object, **options: object) -> object:
        if len(CALLS) == 4:
            raise sqlite3.OperationalError("database or disk is full")
        return write(self, *words, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", full)
        with pytest.raises(OSError, match="disk is full; committed results are safe, and --resume"):
            judge(given, "watched", bulk=BULK, store=LabelStore(tmp_path / "set.db"))
    assert len(CALLS) == 4
    judge(given, "watched", bulk=BULK, store=LabelStore(tmp_path / "set.db", resume=True))
    assert len(CALLS) == 6
