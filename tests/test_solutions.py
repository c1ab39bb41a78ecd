"""Several solutions of one target, and the expected volume of an unknown cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.spacegroup import crystal

from jaxrecon import ACSF, Fingerprint, ReconstructConfig, ResultCode, featurize, reconstruct
from jaxrecon.search import target_state
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.certificate import Certificate
from jaxrecon.search.problems import Problem
from jaxrecon.search.results import Reconstruction, Result
from jaxrecon.search.solutions import SAME_RMSD, Solutions
from jaxrecon.search.target_state import TargetState
from jaxrecon.search.volume import expected_volume
from jaxrecon.structures.matching import rmsd

pytestmark = pytest.mark.usefixtures("strict_types")

# Averages of distances alone: several shapes of four atoms have the same fingerprint.
DISTANCES = Fingerprint(
    ACSF(
        elements=("Pt",),
        r_cut=9.0,
        g2_eta=(2.0,),
        g2_r_s=(1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),
        g5_zeta=(),
    ),
    ("mean",),
)


def pair(length: float) -> Atoms:
    return Atoms("Pt2", [(0, 0, 0), (length, 0, 0)])


def test_the_best_different_structures_are_selected() -> None:
    found = Solutions(ReconstructConfig(solutions=3, tolerance=1e-3))
    for length, residual in [
        (2.0, 0.5),
        (2.5, 1e-4),
        (3.0, 0.2),
        (2.5 + SAME_RMSD, 1e-5),
        (4.0, 0.3),
    ]:
        found.add(pair(length), residual)
        assert not found.complete
    assert [solution.residual for solution in found.found] == [1e-5, 0.2, 0.3]
    # This is the same structure as the best one, and worse.
    found.add(pair(2.5), 2e-5)
    assert [solution.residual for solution in found.found] == [1e-5, 0.2, 0.3]
    found.add(pair(3.5), 1e-3)
    found.add(pair(4.5), 0.0)
    assert [solution.residual for solution in found.found] == [0.0, 1e-5, 1e-3]
    assert found.complete


def test_one_solution_is_compared_by_its_residual_alone() -> None:
    found = Solutions(ReconstructConfig())
    for length, residual in [(2.0, 0.5), (2.5, 0.1), (3.0, 0.2)]:
        found.add(pair(length), residual)
    assert [solution.residual for solution in found.found] == [0.1]
    assert found.found[0].atoms.get_distance(0, 1) == 2.5


def test_two_cells_of_one_crystal_are_one_solution() -> None:
    found = Solutions(ReconstructConfig(solutions=3, tolerance=1e-3))
    salt = bulk("NaCl", "rocksalt", a=5.64)
    cells = [make_supercell(salt, np.diag(times)) for times in ([2, 1, 1], [1, 1, 2])]
    cells.append(make_supercell(salt, [[1, 1, 0], [1, -1, 0], [0, 0, 1]]))
    assert rmsd(cells[0], cells[2]) > SAME_RMSD
    for number, atoms in enumerate(cells):
        found.add(atoms, 1e-5 + 1e-6 * number)
    found.add(make_supercell(bulk("NaCl", "zincblende", a=5.64), np.diag([2, 1, 1])), 2e-5)
    assert [solution.residual for solution in found.found] == [1e-5, 2e-5]


def test_supercells_become_primitive_cells_if_these_reach_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an unknown number of atoms; polishing as it ends in either cell."""
    salt = bulk("NaCl", "rocksalt", a=5.64)
    large = make_supercell(salt, np.diag([2, 1, 1]))[[0, 2, 1, 3]]
    universal = Fingerprint.preset("universal", r_cut=3.0)
    target, residuals = featurize(salt, universal), {2: 1e-9, 4: 1e-7}
    firm = Certificate(9, 0, 1.0, 1e-9, 1.0, (0.1, 0.1))

    def ending(problem: Problem, config: Any, start: np.ndarray) -> Any:
        certificate = firm if len(problem.symbols) == 2 else firm._replace(error_bars=(0.1,) * 4)
        return start, residuals[len(problem.symbols)], certificate

    monkeypatch.setattr(target_state, "polished", ending)

    def result(symbols: str | None, atoms: range | None) -> Result:
        [[problem, *_]] = problems_of(
            target, universal, symbols, "unknown", None, None, atoms, noise=1e-3
        )
        state = TargetState(problem, ReconstructConfig(solutions=2))
        moved = large.copy()
        moved.positions[2:, 0] += 0.5  # another structure
        for start in (large, moved):
            state.polish(problem.coordinates(start))
        return state.result()

    found = result(None, range(4, 9))
    assert (len(found.atoms), found.residual, found.certificate) == (2, 1e-9, firm)
    assert [len(other.atoms) for other in found.others] == [2]
    run = Reconstruction([found], [universal], ReconstructConfig(), 0, 1.0)
    assert [len(atoms.arrays["error_bar"]) for atoms in run.to_atoms(others=True)] == [2, 2]
    # Where the primitive cell misses the target, or the formula is given, it stays as it is.
    assert len(result("Na2Cl2", None).atoms) == 4
    residuals[2] = 0.1
    assert len(result(None, range(4, 9)).atoms) == 4


def planar(*points: tuple[int, int]) -> Atoms:
    return Atoms("Pt4", 1.5 * np.pad(np.array(points, float), ((0, 0), (0, 1))))


def test_different_structures_with_the_same_distances() -> None:
    """At least two shapes of four points on a grid have the same six distances."""
    shapes = [planar((0, 0), (0, 2), (1, 3), (2, 0)), planar((0, 0), (1, 1), (1, 3), (3, 1))]
    targets = featurize(shapes, DISTANCES)
    np.testing.assert_allclose(*targets, atol=1e-12)
    assert rmsd(*shapes) > 0.3
    config = ReconstructConfig(replicas=16, hops=12, refine_steps=15, candidates=8)
    one = reconstruct(targets[0], DISTANCES, symbols="Pt4", config=config)[0]
    assert one.others == ()
    both = reconstruct(targets[0], DISTANCES, symbols="Pt4", config=config, solutions=2)[0]
    # All in one plane: no number changes to first order where an atom leaves it.
    assert both.code.solved
    assert both.to_dict()["residuals_of_others"] == [both.others[0].residual]
    assert both.residual <= both.others[0].residual <= 1e-6
    found = [both.atoms, both.others[0].atoms]
    assert rmsd(*found) > SAME_RMSD
    for atoms in found:
        np.testing.assert_allclose(featurize(atoms, DISTANCES)[0], targets[0], atol=1e-5)


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", cubic=True),
        bulk("NaCl", "rocksalt", a=5.64),
        crystal(
            ("Sr", "Ti", "O"),
            [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
            spacegroup=221,
            cellpar=[3.9, 3.9, 3.9, 90, 90, 90],
        ),
    ],
)
def test_the_volume_follows_from_the_fingerprint(atoms: Atoms) -> None:
    fingerprint = Fingerprint.preset("crystal", set(atoms.symbols))
    target = featurize(atoms, fingerprint)[0]
    expected = expected_volume(target, fingerprint, atoms.get_chemical_symbols())
    assert expected == pytest.approx(atoms.get_volume(), rel=0.2)
    wide = atoms.copy()
    wide.set_cell(1.1 * atoms.cell, scale_atoms=True)
    wider = expected_volume(
        featurize(wide, fingerprint)[0], fingerprint, atoms.get_chemical_symbols()
    )
    assert wider / expected == pytest.approx(1.1**3, rel=0.2)


def test_without_means_the_volume_is_that_of_a_packing() -> None:
    fingerprint = Fingerprint.preset("fung2022", ["Pt"], images="all")
    assert expected_volume(np.ones(380), fingerprint, ["Pt"] * 4) == pytest.approx(60.0, rel=0.05)


@pytest.mark.slow
def test_a_crystal_and_its_cell() -> None:
    truth = bulk("NaCl", "rocksalt", a=5.2)
    fingerprint = Fingerprint.preset("crystal", ["Na", "Cl"], r_cut=5.0)
    target = featurize(truth, fingerprint)[0]
    found = reconstruct(
        target, fingerprint, symbols="NaCl", cell="unknown", replicas=16, hops=8, refine_steps=20
    )[0]
    assert found.code is ResultCode.CONVERGED
    assert found.atoms.pbc.all()
    assert found.atoms.get_volume() == pytest.approx(truth.get_volume(), rel=1e-3)
    np.testing.assert_allclose(featurize(found.atoms, fingerprint)[0], target, atol=1e-4)
    assert rmsd(truth, found.atoms) < 0.02


def test_a_cell_that_was_unknown_has_the_shortest_vectors() -> None:
    fingerprint = Fingerprint.preset("crystal", ["Na", "Cl"])
    salt = bulk("NaCl", "rocksalt", a=5.64)
    target = featurize(salt, fingerprint)
    [[problem]] = problems_of(target, fingerprint, "NaCl", "unknown", None, None)
    skewed = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, -1]]) @ salt.cell.array
    assert np.linalg.det(skewed) < 0
    found = problem.atoms(np.concatenate([salt.positions, skewed]))
    assert np.linalg.det(found.cell.array) == pytest.approx(salt.get_volume())
    np.testing.assert_allclose(found.cell.lengths(), salt.cell.lengths())
    np.testing.assert_allclose(featurize(found, fingerprint), target, rtol=1e-9)
    flat = np.concatenate([salt.positions, np.ones((3, 3))])
    np.testing.assert_array_equal(problem.atoms(flat).cell.array, np.ones((3, 3)))
    assert np.isnan(problem.atoms(np.full((5, 3), np.nan)).cell.array).all()


@pytest.mark.slow
def test_missing_atoms_of_a_molecule_are_found_with_smallest_distances() -> None:
    """Two hydrogen atoms are found; all others stay at their known positions."""
    truth = molecule("CH3OH")
    fingerprint = Fingerprint.preset("default", ["H", "C", "O"], r_cut=6.0)
    target = featurize(truth, fingerprint)[0]
    known = truth.positions.copy()
    known[-2:] = np.nan
    found = reconstruct(
        target,
        fingerprint,
        symbols=[truth.get_chemical_symbols()],
        positions=[known],
        replicas=8,
        hops=8,
        refine_steps=15,
        candidates=8,
        min_distance=0.7,
    )[0]
    assert found.code is ResultCode.CONVERGED
    np.testing.assert_array_equal(found.atoms.positions[:-2], truth.positions[:-2])
    assert rmsd(truth, found.atoms) < 1e-3
