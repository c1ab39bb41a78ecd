"""Relaxations: the structures that are selected from them, and those that fail."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.optimize import FIRE
from hypothesis import given
from hypothesis import strategies as st
from labelling import CALLS, energy_of, watch

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.relaxations import Relaxing, relaxation, relaxations, spread

BULK = {"Pt": -0.1}


def relaxed(seed: int = 0, calculator: str = "emt", **how) -> list[Atoms]:
    name, found = relaxation("one", "Pt5", 7, seed, calculator, BULK, Relaxing(**how))
    assert name == "one"
    return found


@given(
    st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=40),
    st.integers(1, 12),
    st.floats(-6.0, 6.0),
)
def test_selected_steps_are_low_spread_and_end_with_the_last(energies, count, highest) -> None:
    values = np.array(energies)
    chosen = spread(values, count, highest)
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == len(values) - 1
    assert len(chosen) <= count + 1
    assert (values[chosen[:-1]] <= highest).all()
    low = values[values <= highest]
    if len(low) and count > 1:
        assert low.min() in values[chosen]
        assert low.max() in values[chosen]
        # No gap between neighbours is wider than the steps and the spacing make it.
        gaps = np.diff(np.sort(values[chosen][values[chosen] <= highest]))
        widest = np.diff(np.sort(low)).max(initial=0.0)
        assert gaps.max(initial=0.0) <= np.ptp(low) / (count - 1) + widest + 1e-9


def test_structures_of_a_relaxation() -> None:
    found = relaxed(seed=3)
    minimum, *others = found
    assert minimum.info["kind"] == "minimum"
    assert {atoms.info["kind"] for atoms in others} == {"intermediate"}
    assert np.linalg.norm(minimum.get_forces(), axis=1).max() < 0.05
    assert len(others) >= 5
    steps = [atoms.info["step"] for atoms in found]
    assert steps == sorted(steps, reverse=True)
    for atoms in found:
        energy = energy_of(atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        assert atoms.info["e_form"] == pytest.approx(energy / 5 + 0.1, abs=1e-9)
        assert atoms.info["e_form"] <= 3.7
        assert atoms.info["trajectory"] == 7
        assert np.allclose(atoms.positions.mean(axis=0), 0.0)
        assert not atoms.pbc.any()
    energies = [atoms.get_potential_energy() for atoms in found]
    assert min(energies) == energies[0]
    # Another optimiser that starts from the minimum finds nothing lower.
    oracle = minimum.copy()
    from ase.calculators.emt import EMT

    oracle.calc = EMT()
    FIRE(oracle, logfile=None).run(fmax=1e-3, steps=300)
    assert energies[0] - oracle.get_potential_energy() < 0.01


def test_the_seed_decides() -> None:
    one, same, other = (relaxed(seed=seed, steps=20) for seed in (3, 3, 4))
    assert [a.positions.tobytes() for a in one] == [a.positions.tobytes() for a in same]
    assert one[0].positions.tobytes() != other[0].positions.tobytes()
    start = random_cluster("Pt5", 3)
    [first] = relaxed(seed=3, steps=0, max_e_form=99.0)
    assert np.allclose(first.positions, start.positions - start.positions.mean(axis=0))


def test_steps_and_energies_have_limits() -> None:
    last, *others = relaxed(seed=3, steps=4, max_e_form=99.0)
    assert (last.info["kind"], last.info["step"]) == ("unrelaxed", 4)
    assert len(others) == 4
    # No structure is low enough, but the last one is always selected.
    assert [a.info["kind"] for a in relaxed(seed=3, steps=4, max_e_form=-99.0)] == ["unrelaxed"]
    whole = relaxed(seed=3, max_e_form=99.0)
    limit = float(np.median([atoms.info["e_form"] for atoms in whole]))
    few = relaxed(seed=3, max_e_form=limit)
    assert max(atoms.info["e_form"] for atoms in few) <= limit
    assert few[0].positions.tobytes() == whole[0].positions.tobytes()


def test_the_box_of_a_calculator_is_left_behind(monkeypatch) -> None:
    watch(monkeypatch, lambda atoms, call: None, boxed=True)
    boxed, free = relaxed(seed=3, calculator="watched"), relaxed(seed=3)
    assert len(boxed) == len(free)
    for one, other in zip(boxed, free, strict=True):
        assert np.allclose(one.positions, other.positions, atol=1e-6)
        assert not one.cell.any()
        assert not one.pbc.any()


def fail(atoms: Atoms, call: int) -> None:
    if call == 4:
        raise RuntimeError("no\nconvergence")


def vanish(atoms: Atoms, call: int) -> None:
    if call == 4:
        atoms.info["energy"] = np.nan


def collapse(atoms: Atoms, call: int) -> None:
    if call == 4:
        atoms.positions[1] = atoms.positions[0] + 1e-3


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (fail, "RuntimeError: no convergence"),
        (vanish, "ValueError: expected forces below 1000 eV/A"),
        (collapse, "ValueError: expected forces below 1000 eV/A"),
    ],
)
def test_a_relaxation_that_fails_keeps_the_structures_before(monkeypatch, happen, reason) -> None:
    watch(monkeypatch, happen)
    failed, *others = relaxed(seed=3, calculator="watched", max_e_form=99.0)
    assert len(CALLS) == 4
    assert failed.info["kind"] == "failed"
    assert failed.info["reason"].startswith(reason)
    assert failed.info["step"] == 3
    assert failed.calc is None
    assert [atoms.info["step"] for atoms in others] == [2, 1, 0]
    assert {atoms.info["kind"] for atoms in others} == {"intermediate"}
    for atoms in others:
        assert atoms.get_potential_energy() == pytest.approx(energy_of(atoms), abs=1e-9)


def test_relaxations_side_by_side_are_those_one_by_one() -> None:
    settings, bulk = Relaxing(steps=12, frames=4), {"Si": -4.63}
    calls = [
        (f"trajectory-{number}", "Si4", number, number, "tersoff", bulk, settings)
        for number in range(3)
    ]
    together = dict(relaxations(calls))
    for name, *arguments in calls:
        _, alone = relaxation(name, *arguments)
        for one, two in zip(together[name], alone, strict=True):
            assert one.info == {**two.info, "e_form": pytest.approx(two.info["e_form"])}
            np.testing.assert_allclose(one.positions, two.positions, atol=1e-9)
            np.testing.assert_allclose(one.get_forces(), two.get_forces(), atol=1e-8)


def test_a_relaxation_side_by_side_that_fails_ends_alone() -> None:
    settings = Relaxing(steps=3, frames=2)
    calls = [
        (str(number), symbols, number, 0, "tersoff", {"Si": -4.63, "Pt": 0.0}, settings)
        for number, symbols in enumerate(("Si3", "Pt2", "Si2"))
    ]
    found = dict(relaxations(calls))
    assert set(found) == {"0", "1", "2"}
    [failed] = found["1"]
    assert failed.calc is None
    assert "Pt" in failed.info["reason"]
    assert all(atoms.calc is not None for name in "02" for atoms in found[name])
