"""Family trees of rattled and relaxed structures: their labels, their limits, interruptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.neighborlist import neighbor_list

from jaxrecon.cli.main import main
from jaxrecon.datasets import rattle_relax as rattle_relax_module
from jaxrecon.datasets import read_labelled, to_frames
from jaxrecon.datasets.rattle_relax import Rattling, _parent, rattle_relax
from jaxrecon.potentials.labels import LabelStore
from jaxrecon.potentials.single_points import single_points
from jaxrecon.potentials.tersoff import Tersoff

BULK = {"C": -7.4}
GIVEN = [bulk("C", cubic=True), Atoms("C4", 1.4 * np.eye(4)[:, :3])]
GIVEN[1].positions[3] = 1.5


def test_children_have_the_energies_of_the_potential_and_keep_the_limits() -> None:
    made = rattle_relax(GIVEN, 15, bulk=BULK, seed=1)
    assert len(made) == 15
    assert set(made.trajectories.tolist()) == {0, 1}
    assert made.columns["generation"].min() == 1
    assert made.columns["generation"].max() > 1
    for number, point in enumerate(single_points(made.structures, Tersoff())):
        atoms = made.structures[number]
        assert made.energies[number] == pytest.approx(point.energy, abs=1e-9)
        np.testing.assert_allclose(made.local_energies[number], point.energies, atol=1e-9)
        assert np.linalg.norm(point.forces, axis=1).max() < 30.0
        assert not len(neighbor_list("i", atoms, 0.5))
        given = GIVEN[made.trajectories[number]]
        assert (atoms.numbers == given.numbers).all()
        assert atoms.pbc.tolist() == given.pbc.tolist()
        if atoms.pbc.all():
            strain = np.linalg.solve(given.cell.array, atoms.cell.array) - np.eye(3)
            assert 0.0 < np.abs(strain).max() < 0.2


def test_relaxation_lowers_energies() -> None:
    """Of children that may only stop at the end, the mean energy falls with the steps."""
    means = []
    for steps in (0, 20):
        settings = Rattling(sigma=(0.1, 0.1), temperature=1.0, steps=steps, force=1e3)
        made = rattle_relax(GIVEN[:1], 6, settings=settings, bulk=BULK)
        means.append(made.formation_energies.mean())
    assert means[1] < means[0]


def test_parents_are_low_or_late() -> None:
    made = rattle_relax(GIVEN[:1], 4, bulk=BULK)
    tree = to_frames(made)
    random = np.random.default_rng(0)
    lowest = int(np.argmin(made.energies))
    chosen = [_parent(tree, 1e-6, 1.0, random) for _ in range(10)]
    assert all(atoms is tree[lowest] for atoms in chosen)
    late = [_parent(tree, 1e-6, 0.0, random).info["generation"] for _ in range(400)]
    weights = 1.0 + made.columns["generation"]
    wanted = np.sum(weights / weights.sum() * made.columns["generation"])
    assert np.mean(late) == pytest.approx(wanted, rel=0.1)


def test_an_interruption_costs_a_round(tmp_path: Path) -> None:
    whole = rattle_relax(GIVEN, 8, bulk=BULK, seed=2)

    def stop(structures: int, energies: int) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        store = LabelStore(tmp_path / "set.db", resume=True)
        with pytest.raises(KeyboardInterrupt):
            rattle_relax(GIVEN, 8, bulk=BULK, seed=2, store=store, progress=stop)
    again = rattle_relax(
        GIVEN, 8, bulk=BULK, seed=2, store=LabelStore(tmp_path / "set.db", resume=True)
    )
    for one, other in zip(whole.structures, again.structures, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calculator": "emt"}, "a calculator in JAX, like tersoff, got emt"),
        ({"structures": [Atoms("Pt")]}, r"elements among C, Si, got Pt \(structure 0\)"),
        ({"structures": []}, "structures and size >= 1, got 0 and 1"),
        ({"settings": Rattling(apart=9.0)}, "with which children are kept, got none"),
    ],
)
def test_refusals(changes: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rattle_relax_module, "PATIENCE", 2)
    arguments = {"structures": GIVEN[:1], "size": 1, "bulk": {**BULK, "Pt": 0.0}, **changes}
    with pytest.raises(ValueError, match=said):
        rattle_relax(**arguments)


@pytest.mark.parametrize(
    "changes", [{"sigma": (0.2, 0.1)}, {"temperature": 0.0}, {"low": 2.0}, {"cell": np.nan}]
)
def test_settings_that_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        Rattling(**changes)


@pytest.mark.usefixtures("command_line")
def test_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("given.extxyz", GIVEN)
    line = "dataset build --recipe rattle-relax --size 3 --calculator tersoff -o set.extxyz --quiet"
    assert main([*line.split(), "--structures", "given.extxyz", "--bulk", "C=-7.4"]) == 0
    assert len(read_labelled(["set.extxyz"]).local_energies) == 3
    assert main([*line.split(), "--force"]) != 0
    assert "expected --structures for the recipe rattle-relax" in capsys.readouterr().err
    assert main(["dataset", "build", "--size", "3", "-o", "other.npz"]) != 0
    assert "expected --symbols for the recipe clusters" in capsys.readouterr().err
