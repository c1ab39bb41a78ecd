"""Sets built from nothing, which neither processes nor interruptions change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ase.db
import joblib
import numpy as np
import pytest
from ase import Atoms
from labelling import CALLS, energy_of, watch

from jaxrecon.datasets.build import LOW, TOLERANCE, build
from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.potentials.labels import LabelStore

COPIES = {"rattled", "displaced", "strained"}
SMALL: dict[str, Any] = {"symbols": "Pt4", "size": 40, "seed": 2, "bulk": {"Pt": -0.1}}


@pytest.fixture(scope="module")
def small() -> LabelledSet:
    return build(**SMALL)


def assert_same(found: LabelledSet, expected: LabelledSet) -> None:
    assert found.structures is not None
    assert expected.structures is not None
    assert found.forces is not None
    assert expected.forces is not None
    assert len(found) == len(expected)
    assert found.energies.tobytes() == expected.energies.tobytes()
    assert found.formation_energies.tobytes() == expected.formation_energies.tobytes()
    assert found.trajectories.tolist() == expected.trajectories.tolist()
    assert found.kinds == expected.kinds
    assert found.metadata["counts"] == expected.metadata["counts"]
    for number in range(len(found)):
        one, other = found.structures[number], expected.structures[number]
        assert one.positions.tobytes() == other.positions.tobytes()
        assert found.forces[number].tobytes() == expected.forces[number].tobytes()


def test_energies_and_kinds(small: LabelledSet) -> None:
    assert len(small) == 40
    assert sum(kind in COPIES for kind in small.kinds) == 12
    assert set(small.kinds[:28]) >= {"minimum", "intermediate"}
    assert not COPIES & set(small.kinds[:28])
    assert small.structures is not None
    for number, atoms in enumerate(small.structures):
        energy = energy_of(atoms)
        assert small.energies[number] == pytest.approx(energy, abs=1e-9)
        assert small.formation_energies[number] == pytest.approx(energy / 4 + 0.1, abs=1e-9)
    assert small.formation_energies.max() <= 3.7
    assert (np.diff(small.trajectories[:28]) >= 0).all()
    assert small.metadata["bulk_energies"] == {"Pt": -0.1}
    assert small.metadata["calculator"] == {"calculator": "emt"}
    counts = small.metadata["counts"]
    assert counts["structures"] >= 40 + counts["duplicates"] + counts["surplus"]
    assert counts["failed"] == 0


def test_copies_are_of_the_lowest_and_belong_to_their_parents(small: LabelledSet) -> None:
    assert small.structures is not None
    energies = small.formation_energies[:28]
    low = np.argsort(energies, kind="stable")[: int(np.ceil(LOW * 28))]
    allowed = set(small.trajectories[low].tolist())
    assert set(small.trajectories[28:].tolist()) <= allowed
    train, validation = split_by_trajectory(small, 0.3, 0)
    assert not set(small.trajectories[train]) & set(small.trajectories[validation])
    # A copy is nearer to structures of its own trajectory than random ones are to each other.
    for number in range(28, 40):
        parents = [n for n in low if small.trajectories[n] == small.trajectories[number]]
        distances = np.sort(small.structures[number].get_all_distances().ravel())
        gaps = [
            np.abs(np.sort(small.structures[n].get_all_distances().ravel()) - distances).max()
            for n in parents
        ]
        assert min(gaps) < 2.0


def test_no_duplicates(small: LabelledSet) -> None:
    values = np.asarray(featurize(small.structures, Fingerprint.preset("default", ["Pt"])))
    differences = np.sqrt(np.mean((values[:, None] - values[None]) ** 2, axis=-1))
    np.fill_diagonal(differences, np.inf)
    unit = np.sqrt(np.mean(values**2))
    # The unit of the tolerance is that of the first structures, not of the whole set.
    assert differences.min() > 0.7 * TOLERANCE * unit


def test_the_order_in_which_pieces_end_does_not_matter(
    small: LabelledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def happen(atoms: Atoms, call: int) -> None:
        time.sleep(0.001 * (call % 7))

    watch(monkeypatch, happen)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        found = build(**SMALL, calculator="watched")
    assert_same(found, small)


def test_interruptions_change_nothing_and_cost_little(
    small: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(monkeypatch, lambda atoms, call: None)
    build(**SMALL, calculator="watched")
    needed = len(CALLS)
    CALLS.clear()
    limit = 0

    def stop(structures: int, energies: int) -> None:
        if len(CALLS) > limit:
            raise KeyboardInterrupt

    interruptions = 0
    while True:
        limit = len(CALLS) + 30
        store = LabelStore(tmp_path / "set.db", resume=True)
        try:
            found = build(**SMALL, calculator="watched", store=store, progress=stop)
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 3
    # A structure is committed before it is reported: nothing is computed twice.
    assert len(CALLS) == needed
    assert_same(found, small)
    rows = ase.db.connect(tmp_path / "set.db")
    assert rows.count(kind="minimum") > 1


def test_the_seed_and_the_limits_decide(small: LabelledSet) -> None:
    other = build(**{**SMALL, "seed": 3, "size": 12, "perturbed": 0.0}, max_e_form=2.0)
    assert len(other) == 12
    assert other.formation_energies.max() <= 2.0
    assert not COPIES & set(other.kinds)
    assert not set(other.energies.tolist()) & set(small.energies.tolist())
    first = build(**{**SMALL, "size": 20, "perturbed": 0.0})
    assert first.energies.tolist() == small.energies[:20].tolist()


def test_reports_add_up(small: LabelledSet) -> None:
    reports: list[tuple[int, int]] = []
    build(**SMALL, progress=lambda *numbers: reports.append(numbers))
    structures, energies = np.sum(reports, axis=0)
    assert structures == 40
    assert energies > small.metadata["counts"]["structures"]


def test_relaxations_and_copies_that_fail_are_counted(
    small: LabelledSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def happen(atoms: Atoms, call: int) -> None:
        if call in {20, 60} or (call > 130 and call % 5 == 0):
            raise RuntimeError(f"at call {call}")

    watch(monkeypatch, happen)
    store = LabelStore(tmp_path / "set.db")
    found = build(**SMALL, calculator="watched", store=store)
    assert len(found) == 40
    failures = found.metadata["failures"]
    assert found.metadata["counts"]["failed"] == len(failures) >= 2
    assert {name.partition("-")[0] for name in failures} == {"trajectory", "copy"}
    assert any("RuntimeError: at call 20" in reason for reason in failures.values())
    again = LabelStore(tmp_path / "set.db", resume=True)
    CALLS.clear()
    assert_same(build(**SMALL, calculator="watched", store=again), found)
    assert not CALLS


def test_no_structure_of_low_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work ends early, with the reason of a failure in the message."""

    def happen(atoms: Atoms, call: int) -> None:
        raise RuntimeError("never")

    watch(monkeypatch, happen)
    with pytest.raises(ValueError, match=r"below 3.7 eV/atom, got none: .*RuntimeError: never"):
        build(**SMALL, calculator="watched")
    assert len(CALLS) < 60


def test_fewer_structures_if_no_more_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two atoms have one distance, so that the number of different structures is limited."""
    monkeypatch.setattr("jaxrecon.datasets.build.LEAST_YIELD", 2.0)
    found = build("Pt2", 300, bulk={"Pt": 0.0}, perturbed=0.5, steps=30)
    assert 20 < len(found) < 300
    assert sum(kind in COPIES for kind in found.kinds) <= len(found) / 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 0}, "expected size >= 1, got 0"),
        ({"perturbed": 1.0}, "expected perturbed >= 0 and < 1, got 1.0"),
        ({"steps": 0}, "expected steps >= 1"),
        ({"max_e_form": np.nan}, "finite max_e_form, got 200, nan"),
        ({"symbols": "Xy3"}, "Xy3"),
        ({"symbols": "Fe3", "bulk": None}, "can compute the bulk of, got Fe"),
        ({"calculator": "dft"}, "expected a calculator among"),
        ({"jobs": 0}, "expected at least 1 job, got 0"),
    ],
)
def test_bad_arguments(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(**{**SMALL, **change})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"size": 12}, {"size": 20}),
        ({"steps": 5}, {"steps": 60}),
        ({"size": 12, "steps": 5}, {"size": 20, "steps": 60}),
    ],
)
def test_larger_limits_go_on(tmp_path: Path, before: dict[str, int], after: dict[str, int]) -> None:
    """The set is that of a run that was begun with them, and what stays is not computed again."""
    settings = {**SMALL, "size": 20, "steps": 60}
    whole = build(**{**settings, **after})
    build(**{**settings, **before}, store=LabelStore(tmp_path / "set.db"))
    store = LabelStore(tmp_path / "set.db", resume=True)
    assert_same(build(**{**settings, **after}, store=store), whole)
    assert store.repeated > 0
    once = LabelStore(tmp_path / "set.db", resume=True)
    assert_same(build(**{**settings, **after}, store=once), whole)
    assert once.repeated == 0
    with pytest.raises(ValueError, match="got another: "):
        build(**{**settings, **before}, store=LabelStore(tmp_path / "set.db", resume=True))


def test_another_run_is_refused(tmp_path: Path) -> None:
    few = {**SMALL, "size": 3}
    build(**few, store=LabelStore(tmp_path / "set.db"))
    with pytest.raises(ValueError, match="got another: seed: 2 != 5"):
        build(**{**few, "seed": 5}, store=LabelStore(tmp_path / "set.db", resume=True))
