"""Labelled structures in a database: read back bit for bit, selected, and made once."""

from __future__ import annotations

from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jaxrecon.potentials.energies import Label
from jaxrecon.potentials.labels import LabelStore, Work, digest, failed, label_piece, labelled

RUN = {"task": "test", "versions": {}}


def made(number: int, count: int = 3) -> list[Atoms]:
    random = np.random.default_rng(number)
    structures = []
    for step in range(count):
        atoms = Atoms("Pt2Au", random.normal(size=(3, 3)), info={"left": "out"})
        known = Label(random.normal(), random.normal(size=(3, 3)))
        structures.append(labelled(atoms, known, kind="minimum", step=step, e_form=known.energy))
    return structures


def assert_same(found: list[Atoms], expected: list[Atoms]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.positions.tobytes() == other.positions.tobytes()
        assert one.cell.array.tobytes() == other.cell.array.tobytes()
        assert one.info == other.info
        assert (one.calc is None) == (other.calc is None)
        if other.calc is not None:
            assert one.get_potential_energy() == other.get_potential_energy()
            assert one.get_forces().tobytes() == other.get_forces().tobytes()


def test_pieces_come_back_bit_for_bit(tmp_path: Path) -> None:
    error = RuntimeError("7\nof 9")
    pieces = {
        "trajectory-0": made(0),
        "trajectory-12": [failed(made(1)[0], error, step=3), *made(1)],
        "copy-3": made(2, 1),
        "bulk-Pt": [labelled(bulk("Pt"), Label(-6.0, np.zeros((1, 3))), kind="bulk")],
        "lost": [failed(Atoms("Pt", [[np.nan] * 3]), error)],
    }
    store = LabelStore(tmp_path / "set.db")
    assert store.begin(RUN) == {}
    for name in reversed(pieces):
        store.commit(name, pieces[name])
    again = LabelStore(tmp_path / "set.db", resume=True).begin(RUN)
    assert set(again) == set(pieces)
    for name, structures in pieces.items():
        assert_same(again[name], structures)
    assert again["lost"][0].info == {"kind": "failed", "reason": "RuntimeError: 7 of 9"}


def test_other_programs_can_select(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "set.db")
    store.begin(RUN)
    store.commit("trajectory-0", made(0))
    store.commit("trajectory-1", [failed(made(1)[0], ValueError("x")), *made(1)])
    database = ase.db.connect(tmp_path / "set.db")
    assert len(list(database.select("kind=minimum,piece=trajectory-1"))) == 3
    row = database.get("step=2,piece=trajectory-0")
    assert row.energy == made(0)[2].get_potential_energy()
    assert row.e_form == row.energy
    assert len(list(database.select("kind=failed"))) == 1


def test_a_row_without_its_energy_is_refused(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "set.db")
    store.begin(RUN)
    bare = made(0)[0]
    bare.calc = None
    store.commit("trajectory-0", [bare])
    with pytest.raises(ValueError, match=r"rows that jaxrecon wrote in .*set.db, got row 1 \("):
        LabelStore(tmp_path / "set.db", resume=True).begin(RUN)


def test_a_label_or_a_reason() -> None:
    atoms = Atoms("Pt2", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.5]])
    name, [found] = label_piece("a", atoms, "emt", {"Pt": 0.5}, {"kind": "rattled"})
    energy = found.get_potential_energy()
    assert name == "a"
    assert found.info == {"kind": "rattled", "e_form": pytest.approx(energy / 2 - 0.5)}
    _, [found] = label_piece("b", Atoms("Fe"), "emt", {"Fe": 0.5}, {"kind": "rattled"})
    assert found.info["kind"] == "failed"
    assert found.info["reason"].startswith("NotImplementedError: No EMT-potential for Fe")


def piece(name: str, number: int) -> tuple[str, list[Atoms]]:
    return name, made(number, 1)


def test_work_does_only_missing_pieces(tmp_path: Path) -> None:
    calls = [(f"piece-{number}", number) for number in range(5)]
    work = Work(RUN, LabelStore(tmp_path / "set.db"), None)
    finished: list[list[Atoms]] = []
    work(piece, calls[:3], finished.append)
    assert len(finished) == 3
    work(piece, calls[:3], finished.append)
    assert len(finished) == 3
    again = Work(RUN, LabelStore(tmp_path / "set.db", resume=True), None)
    assert set(again.done) == {"piece-0", "piece-1", "piece-2"}
    again(piece, calls, finished.append)
    assert len(finished) == 5
    for number in range(5):
        assert_same(again.done[f"piece-{number}"], made(number, 1))


def test_bulk_energies_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(RUN, LabelStore(tmp_path / "set.db"), None)
    found = work.bulk_energies(["Pt", "Cu"], "emt", {"Pt": -5.0})
    assert found == {"Pt": -5.0, "Cu": pytest.approx(-0.007, abs=1e-3)}
    again = Work(RUN, LabelStore(tmp_path / "set.db", resume=True), None)
    monkeypatch.setattr("jaxrecon.potentials.labels.unordered", None)
    assert again.bulk_energies(["Pt", "Cu"], "emt", {"Pt": -5.0}) == found


def test_a_digest_tells_structures_apart() -> None:
    base = bulk("Pt")
    others = [base.copy() for _ in range(5)]
    others[0].positions[0, 0] += 1e-12
    others[1].numbers[0] = 79
    others[2].cell[0, 0] += 1e-12
    others[3].pbc = False
    digests = {digest([atoms]) for atoms in [base, *others]}
    assert len(digests) == 5
    assert digest([base]) == digest([others[4]])
    assert digest([base, others[1]]) != digest([others[1], base])
