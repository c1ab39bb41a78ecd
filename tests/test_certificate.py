"""Certificates: rank, singular values, position errors and noise of structures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from commands import run
from recovering import module

from jaxrecon import SOAP, Fingerprint, certificates, featurize
from jaxrecon.datasets import prototypes
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.search.certificate import _derivatives
from jaxrecon.search.local_model import LocalModel
from jaxrecon.search.soft_directions import twin
from jaxrecon.search.unknowns import Unknowns, largest

SHELLS = SOAP(("Pt",), r_cut=6.0, n_max=4, l_max=2)
FINGERPRINT = Fingerprint(SHELLS, poolings=("mean", "moment2"))


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return moved


def test_singular_values_are_those_of_finite_differences() -> None:
    atoms, step = random_cluster("Pt5", 3), 1e-5
    moved = []
    for number in range(15):
        for sign in (1.0, -1.0):
            other = atoms.copy()
            other.positions[number // 3, number % 3] += sign * step
            moved.append(other)
    values = featurize(moved, FINGERPRINT).reshape(15, 2, -1)
    jacobian = (values[:, 0] - values[:, 1]) / (2.0 * step)
    singular = np.linalg.svd(jacobian, compute_uv=False)
    # Six rigid motions change nothing.
    assert singular[9:].max() < 1e-8
    (found,) = certificates(atoms, FINGERPRINT)
    assert (found.unknowns, found.rank_deficiency) == (9, 0)
    assert found.singular_value == pytest.approx(singular[8], rel=1e-5)
    assert found.position_error < 1e-9


def test_a_strain_counts_as_an_unknown() -> None:
    """A distorted crystal: with six strains, by differences."""
    atoms = strained(bulk("Pt"), np.array([[0.05, 0.02, 0], [0.02, -0.03, 0.01], [0, 0.01, 0]]))
    preset = Fingerprint(SHELLS, poolings=("mean",), images="all")
    length, step = atoms.get_volume() ** (1 / 3), 1e-5
    columns = []
    for i, j in [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]:
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = step if i == j else step * 0.5**0.5
        both = featurize([strained(atoms, strain), strained(atoms, -strain)], preset)
        columns.append((both[0] - both[1]) / (2.0 * step * length))
    singular = np.linalg.svd(np.stack(columns), compute_uv=False)
    (found,) = certificates(atoms, preset, cell_known=False)
    assert (found.unknowns, found.rank_deficiency) == (6, 0)
    assert found.singular_value == pytest.approx(singular[5], rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_residual_is_as_far_as_it_says(seed: int) -> None:
    truth = random_cluster("Pt6", seed)
    truth.positions *= 0.5  # all within the cutoff
    moved = truth.copy()
    moved.rattle(1e-5, seed=seed)
    targets = featurize([truth], FINGERPRINT)
    (found,) = certificates(moved, FINGERPRINT, targets=targets)
    # Rigid motions of the displacement are no error: their removal changes little.
    largest = np.linalg.norm(moved.positions - truth.positions, axis=1).max()
    assert largest / 3 < found.position_error < 3 * largest
    # As much noise as is stated, along the softest direction, moves an atom by 0.1 Angstrom.
    assert found.noise * 1e-4 < np.abs(targets - featurize([moved], FINGERPRINT)).mean()
    assert found.noise > 0.0


def test_symmetric_structures_are_held_to_second_order() -> None:
    """Water may stretch one bond and shorten the other: the mean sees that to second order."""
    preset = Fingerprint.preset("default", ["H", "O"])
    water, ammonia = molecule("H2O"), Fingerprint.preset("default", ["H", "N"])
    moved = water.copy()
    moved.positions[1] += 1e-3 * (water.positions[1] - water.positions[0])
    moved.positions[2] -= 1e-3 * (water.positions[2] - water.positions[0])
    targets = featurize([moved], preset)
    exact, off = certificates(
        [water] * 2, preset, targets=np.stack([featurize(water, preset)[0], targets[0]])
    )
    assert (exact.unknowns, exact.rank_deficiency, exact.singular_value) == (3, 1, 0.0)
    assert exact.position_error < 1e-6
    # The bonds are 1e-3 longer and shorter; half of that moves the other atoms instead.
    assert 1e-3 / 3 < off.position_error < 3e-3
    assert off.noise > 0.0
    assert certificates(molecule("NH3"), ammonia)[0].rank_deficiency > 0


def test_what_no_number_sees_is_undetermined() -> None:
    """Two atoms that are further apart than the cutoff."""
    soap = SOAP(("Pt",), r_cut=2.0, n_max=2, l_max=1)
    far = Atoms("Pt2", [[0, 0, 0], [0, 0, 5.0]])
    (found,) = certificates(far, Fingerprint(soap, poolings=("mean",)))
    assert (found.unknowns, found.rank_deficiency) == (1, 1)
    assert found.position_error == math.inf
    assert found.noise == 0.0


def test_a_crystal_and_a_single_atom() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.6)
    preset = Fingerprint.preset("crystal", ["Na", "Cl"])
    known, free = (certificates(salt, preset, cell_known=known)[0] for known in (True, False))
    # By symmetry no displacement changes a number to first order, but the volume does.
    assert (known.unknowns, known.rank_deficiency) == (3, 3)
    assert (free.unknowns, free.rank_deficiency) == (9, 8)
    assert free.position_error < 1e-5
    (alone,) = certificates(Atoms("Pt"), FINGERPRINT)
    assert alone == (0, 0, math.inf, 0.0, math.inf, ())


def test_bad_input_is_refused() -> None:
    slab = Atoms("Pt", cell=[3, 3, 9], pbc=[True, True, False])
    with pytest.raises(ValueError, match="expected a free structure or a crystal, got one that is"):
        certificates(slab, FINGERPRINT)
    with pytest.raises(ValueError, match=r"expected targets of shape \(1, 60\), got \(1, 3\)"):
        certificates(Atoms("Pt2", [[0, 0, 0], [0, 0, 2.5]]), FINGERPRINT, targets=np.zeros((1, 3)))


@pytest.mark.usefixtures("command_line")
def test_the_command_line_prints_and_writes(capsys: pytest.CaptureFixture[str]) -> None:
    water = molecule("H2O")
    write("water.xyz", [water, molecule("H2")])
    assert run("fingerprint water.xyz -o water.npz") == 0
    water.positions[0, 2] += 1e-4
    write("moved.xyz", [water, molecule("H2")])
    capsys.readouterr()
    assert run("certify moved.xyz --fingerprints water.npz -o table.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["H2O", "H2"]
    assert [line.split()[-2:] for line in lines[1:3]] == [["second", "order"], ["first", "order"]]
    first, second = json.loads(Path("table.json").read_text())["certificates"]
    assert (first["unknowns"], second["unknowns"], second["rank_deficiency"]) == (3, 1, 0)
    assert 1e-5 < first["position_error"] < 1e-2
    assert second["position_error"] < 1e-9
    assert first["residual"] > second["residual"]
    assert run("certify moved.xyz --preset default --noise 1e-3 -o noisy.json") == 0
    noisy, _ = json.loads(Path("noisy.json").read_text())["certificates"]
    assert noisy["position_error"] >= max(noisy["error_bars"]) > first["position_error"]
    capsys.readouterr()
    assert run("certify moved.xyz --preset default --noise 1") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("not within 0.1 A")
    assert run("certify moved.xyz --preset default --noise -1") == 2
    assert "expected noise > 0, got -1.0" in capsys.readouterr().err
    write("one.xyz", molecule("H2O"))
    assert run("certify one.xyz --fingerprints water.npz") == 2
    assert "each structure, got 2 in water.npz for 1 structures" in capsys.readouterr().err
    assert run("certify water.xyz --preset soap --fingerprints water.npz") == 2
    assert (
        "expected --preset or --fingerprints with parameters, got both" in capsys.readouterr().err
    )


@pytest.mark.usefixtures("command_line")
def test_others_are_searched_with_the_noise_of_their_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def search(atoms: Atoms, *_: Any, noise: np.ndarray, **__: Any) -> list[Atoms]:
        asked.append(noise)
        return [Atoms(atoms, info={"rmsd": 0.5})]

    monkeypatch.setattr("jaxrecon.search.degeneracy.degenerate_structures", search)
    write("water.xyz", [molecule("H2O"), molecule("H2")])
    noise = np.random.default_rng(0).uniform(0.1, 0.2, (2, 232))
    np.save("noise.npy", noise)
    assert run("certify water.xyz --others 1 --noise noise.npy -o table.json") == 0
    np.testing.assert_array_equal(asked, noise)


@pytest.mark.slow
@pytest.mark.usefixtures("command_line")
def test_others_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    write("water.xyz", molecule("H2O"))
    assert run("certify water.xyz --others 1 --hops 1 --json") == 0
    (made,) = json.loads(capsys.readouterr().out)["certificates"]
    assert made["others"] == []


@pytest.mark.slow
def test_the_benchmark_compares_errors_with_deviations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(iter(prototypes.PROTOTYPES))
    near, far = prototypes.load(name), prototypes.load(name)
    near.rattle(1e-5, seed=1)
    near.info.update(row=0, residual=1e-7)
    far.info.update(row=1, residual=1e-3)  # was not found
    write(tmp_path / "prototypes.extxyz", [near, far])
    monkeypatch.setattr("sys.argv", ["certificates.py", "prototypes", "--found", str(tmp_path)])
    module("certificates").main()
    *_, line, summary = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "0"
    assert summary.startswith("1 of 1 within the error")
    (row,) = json.loads((tmp_path / "prototypes_certificates.json").read_text())["rows"]
    assert 1e-6 < row["deviation"] <= row["position_error"] + 1e-8


@pytest.mark.slow
def test_deviations_are_within_the_stated_errors_and_not_far_below() -> None:
    """Symmetric shapes and crystals, and loose molecules, on the way to the truth and there."""
    benchmark, sets = module("position_errors"), module("recovery_sets")
    targets = sets.targets_of("prototypes", None, preset=None, rows="0,4,6,7,11", count=None)
    took: dict[str, list[float]] = {"certificate": [], "polishing": []}
    stops = [stop for each in targets for stop in benchmark.stops(each, each.row, took)]
    found = benchmark.summary(len(targets), stops, took)
    assert (found["structures"], found["converged"], found["uncertain"]) == (5, 5, 0)
    assert found["stops"] > 15
    assert found["within the error"] > 0.99
    assert found["at most ten times"] > 0.5
    # Some residuals are large, and some stops are far from the truth.
    assert max(stop.deviation for stop in stops) > 1e-5


@pytest.mark.parametrize("cell_known", [True, False])
def test_second_derivatives_are_those_of_the_numbers(cell_known: bool) -> None:
    """By differences of the numbers along sums of two displacements, strains among them."""
    atoms = random_cluster("Pt3", 1)
    atoms.set_cell(np.diag([4.0, 4.5, 5.0]) + 0.3)
    atoms.pbc = True
    preset = Fingerprint(SHELLS, poolings=("mean",), images="all")
    unknowns = Unknowns.of(atoms, strained=not cell_known)
    assert len(unknowns.basis) == (6 if cell_known else 12)
    motions = unknowns.basis[-3:]

    def jacobians(moved: Sequence[Atoms]) -> list[np.ndarray]:
        strain = not cell_known
        found = {n: each for n, _, each in _derivatives(moved, preset, strain=strain)}
        return [found[number] for number in range(len(moved))]

    count = len(motions)
    # As if all directions were soft.
    model = LocalModel(
        unknowns, np.zeros(1), jacobians, 1.0, np.zeros((1, count)), np.zeros(count), motions
    )
    bent, error = model.second_derivatives
    assert error < 1e-9
    step = 2e-3
    for a in range(3):
        for b in range(a, 3):
            corners = [
                unknowns.moved(step * (one * motions[a] + other * motions[b]))
                for one in (1, -1)
                for other in (1, -1)
            ]
            values = featurize(corners, preset)
            wanted = (values[0] - values[1] - values[2] + values[3]) / (4 * step**2)
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(bent[a, b], wanted, atol=1e-4 * scale)


def test_fixed_atoms_leave_their_rotations_alone() -> None:
    """What turns about the fixed atoms is no unknown; a crystal with one has no rigid motion."""
    atoms = random_cluster("Pt5", 2)
    for held, count in [(0, 9), (1, 9), (2, 8), (3, 6), (5, 0)]:
        fixed = np.arange(5) < held
        unknowns = Unknowns.of(atoms, strained=False, fixed=fixed)
        assert len(unknowns.basis) == count
        assert not unknowns.basis[:, fixed].any()
    atoms.set_cell([6, 6, 6])
    atoms.pbc = True
    assert len(Unknowns.of(atoms, strained=False, fixed=np.arange(5) < 1).basis) == 12


def test_a_twin_near_by_is_part_of_the_error() -> None:
    """Two roots of a quadratic: the other one counts, but not where it is the mirror image."""
    atoms = Atoms("HHH", [(0, 0, 0), (1.0, 0, 0), (0.2, 1.1, 0)])
    unknowns = Unknowns.of(atoms, strained=False)
    assert len(unknowns.basis) == 3
    root = 0.02 * np.array([0.6, 0.0, 0.8])

    def jacobian_at(moved: Atoms) -> np.ndarray:
        """Of the numbers w_k (w_k - root_k), with w the displacements along the basis."""
        w = np.einsum("uxk,xk->u", unknowns.basis, moved.positions - atoms.positions)
        return 1e-3 * np.einsum("u,uxk->uxk", 2.0 * w - root, unknowns.basis)

    model = LocalModel.of(
        unknowns,
        np.zeros(3),
        jacobian_at(atoms),
        lambda structures: [jacobian_at(each) for each in structures],
        length=1.0,
    )
    assert model.firm == 0
    motion = np.tensordot(root, unknowns.basis, axes=1)
    assert twin(model, 1e-12) == pytest.approx(largest(motion), rel=1e-3)
