"""From fingerprints to structures and back: the structures that are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from inverting import CONFIG, PLATINUM, compact, fingerprint_of, impossible
from strategies import random_crystal

import jaxrecon.descriptors.view
import jaxrecon.search.arguments
import jaxrecon.search.batches
import jaxrecon.search.compiled
import jaxrecon.search.reconstruct
from jaxrecon import Fingerprint, Result, ResultCode, featurize, reconstruct
from jaxrecon.search.target_state import TargetState
from jaxrecon.structures.matching import rmsd

pytestmark = pytest.mark.usefixtures("strict_types")

MINIMUM = fingerprint_of("O", "Pt", images="minimum")


def assert_found(result: Result, truth: Atoms, fingerprint: Fingerprint) -> None:
    """Check that a result is the true structure, and that its residual is right."""
    assert result.code is ResultCode.CONVERGED
    assert result.residual <= 1e-6
    assert result.atoms.get_chemical_formula() == truth.get_chemical_formula()
    assert rmsd(truth, result.atoms) <= min(1e-3, max(result.position_error, 1e-9))
    # Compute the residual anew.
    difference = featurize(result.atoms, fingerprint)[0] - featurize(truth, fingerprint)[0]
    assert np.abs(difference).mean() == pytest.approx(result.residual, abs=1e-12)


@pytest.mark.slow
def test_clusters_of_several_sizes_in_order() -> None:
    sizes = [3, 2, 3, 3, 2, 3]
    truths = [compact(size) for size in sizes]
    truths[4].positions *= 1.2
    truths[5].positions *= 0.9
    reports = []
    found = reconstruct(
        featurize(truths, PLATINUM),
        PLATINUM,
        symbols=[f"Pt{size}" for size in sizes],
        config=CONFIG,
        progress=lambda targets, evaluations: reports.append((targets, evaluations)),
    )
    assert [len(result.atoms) for result in found] == sizes
    for result, truth in zip(found, truths, strict=True):
        assert_found(result, truth, PLATINUM)
        assert 1 <= result.hops < CONFIG.hops
        expected = {kind: n * result.hops for kind, n in CONFIG.evaluations_per_hop.items()}
        assert result.evaluations == expected
        assert 0 < result.seconds <= found.seconds
    assert found.converged == len(found) == 6
    assert (found.seed, found.config, found.fingerprints) == (0, CONFIG, [PLATINUM] * 6)
    targets, evaluations = np.sum(reports, axis=0)
    assert targets == 6
    assert evaluations == sum(sum(result.evaluations.values()) for result in found)


def test_a_molecule_with_absent_elements_and_pooling_by_element() -> None:
    """A fingerprint made for a data set of many elements, pooled for each central element."""
    fingerprint = fingerprint_of(
        "H", "C", "N", "O", "Pt", poolings=("max", "min", "mean"), per_element=True
    )
    truth = molecule("HCOOH")
    result = reconstruct(featurize(truth, fingerprint), fingerprint, symbols="CO2H2", config=CONFIG)
    assert_found(result[0], truth, fingerprint)


@pytest.mark.slow
@pytest.mark.parametrize("images", ["all", "minimum"])
def test_a_crystal_of_two_atoms(images: str) -> None:
    fingerprint = fingerprint_of("O", "Pt") if images == "all" else MINIMUM
    truth = random_crystal(0, 2)
    truth.symbols = "PtO"
    result = reconstruct(
        featurize(truth, fingerprint), fingerprint, symbols="OPt", cell=truth.cell, config=CONFIG
    )[0]
    if images == "minimum":
        # One image of the other atom gives one distance, which it has in many directions.
        assert result.code is ResultCode.CONVERGED
    else:
        assert_found(result, truth, fingerprint)
    np.testing.assert_array_equal(result.atoms.cell.array, truth.cell.array)
    assert result.atoms.pbc.all()
    fractions = result.atoms.get_scaled_positions(wrap=False)
    assert fractions.min() >= -1e-9
    assert fractions.max() <= 1 + 1e-9


def assert_same(a: Result, b: Result) -> None:
    """Check that two results are equal, positions bit for bit."""
    np.testing.assert_array_equal(a.atoms.positions, b.atoms.positions)
    assert (a.residual, a.hops, a.code) == (b.residual, b.hops, b.code)


def test_the_answer_depends_on_seed_and_index_alone() -> None:
    """It does not depend on other targets or other calls."""
    # No structure has these targets: small differences would grow over all hops.
    targets = impossible(4)
    options = {"symbols": "Pt3", "config": CONFIG}
    together = reconstruct(targets, PLATINUM, **options)
    again = reconstruct(targets, PLATINUM, **options)
    for first, second in zip(together, again, strict=True):
        assert_same(first, second)
    for count in (1, 3):
        part = reconstruct(targets[:count], PLATINUM, **options)
        for first, second in zip(part, together[:count], strict=True):
            assert_same(first, second)
    others = np.concatenate([targets[[3]], targets[[1]], targets[[3, 3]]])
    assert_same(reconstruct(others, PLATINUM, **options)[1], together[1])
    [late] = reconstruct(targets[2], PLATINUM, indices=[2], **options)
    assert_same(late, together[2])
    other_seed = reconstruct(targets, PLATINUM, seed=1, **options)
    for first, second in zip(other_seed, together, strict=True):
        assert np.abs(first.atoms.positions - second.atoms.positions).max() > 1e-3
    # The same target with two indices gets two sets of random numbers.
    twice = reconstruct(targets[[0, 0]], PLATINUM, **options)
    assert np.abs(twice[0].atoms.positions - twice[1].atoms.positions).max() > 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("current_codegen")
def test_several_targets_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several targets are in one batch, as on an accelerator; the next replaces one that ends."""
    truths = [compact(3) for _ in range(5)]
    for scale, truth in zip((1.0, 1.1, 1.2, 0.9, 0.8), truths, strict=True):
        truth.positions *= scale
    targets = featurize(truths, PLATINUM)
    targets[1] = impossible(1)[0]
    reports = []
    # No other test has compiled anything for these settings.
    config = CONFIG.replace(max_step=1.1234)
    one_by_one = reconstruct(targets, PLATINUM, symbols="Pt3", config=config)
    monkeypatch.setattr(jaxrecon.search.batches, "targets_in_memory", lambda *_: 3)
    # Fewer targets than there is memory for, and more.
    for count in (2, 5):
        reports.clear()
        found = reconstruct(
            targets[:count],
            PLATINUM,
            symbols="Pt3",
            config=config,
            progress=lambda *done: reports.append(done),
        )
        for number, (result, truth) in enumerate(zip(found, truths[:count], strict=True)):
            if number == 1:
                assert (result.code, result.hops) == (ResultCode.STALLED, CONFIG.hops)
            else:
                assert_found(result, truth, PLATINUM)
                assert result.hops < CONFIG.hops
            # Programs of other widths round differently: not the same positions, but as good.
            assert result.code is one_by_one[number].code
        work = sum(sum(result.evaluations.values()) for result in found)
        assert tuple(np.sum(reports, axis=0)) == (count, work)
    # In batches of one width a target has the same result, whatever its place and the others.
    order = [3, 1, 4, 0, 2]
    again = reconstruct(targets[order], PLATINUM, symbols="Pt3", indices=order, config=config)
    for place, number in enumerate(order):
        assert_same(again[place], found[number])


def test_symbols_of_ase_are_a_formula() -> None:
    target, symbols = impossible(1), Atoms("Pt3").symbols
    for given in (symbols, [symbols]):
        [[problem]] = jaxrecon.search.arguments.problems_of(
            target, PLATINUM, given, None, None, None
        )
        assert problem.symbols == ("Pt", "Pt", "Pt")


def test_a_population_without_progress_starts_again() -> None:
    [[problem]] = jaxrecon.search.arguments.problems_of(
        impossible(1), PLATINUM, "Pt3", None, None, None
    )
    config = CONFIG.replace(restart_after=3)
    state = TargetState(problem, config, lowest_residual=0.0)
    coordinates = np.zeros((2, 3, 3), np.float32)
    for best, again in [(5, False), (4, False), (3.95, False), (6, False), (4, True), (9, False)]:
        residuals = np.array([best, 10.0], np.float32)
        state.update(coordinates, residuals)
        assert np.isinf(residuals).all() == again
    # After the restart, even a residual of 9 is progress.
    assert (state.best_since_restart, state.hops_without_progress) == (9.0, 0)


def test_a_search_without_progress_ends_with_its_patience() -> None:
    [[problem]] = jaxrecon.search.arguments.problems_of(
        impossible(1), PLATINUM, "Pt3", None, None, None
    )
    state = TargetState(problem, CONFIG.replace(patience=2, hops=9), lowest_residual=0.0)
    ended = []
    # A residual of 3.99 is lower than 4, but not by 1 %.
    for best in (5.0, 4.0, 3.99, 3.9, 3.9, 3.9):
        state.update(np.zeros((2, 3, 3), np.float32), np.array([best, 10.0], np.float32))
        ended.append(state.complete)
    assert ended == [False, False, False, False, False, True]
    assert not replace(state, config=CONFIG.replace(hops=9)).complete


def test_new_targets_of_one_shape_do_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []

    def counted(function: Any) -> Any:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            traces.append(function.__name__)
            return function(*arguments, **options)

        return wrapper

    # Tracing any program of the search calls one of these functions.
    monkeypatch.setattr(
        jaxrecon.search.compiled, "propose", counted(jaxrecon.search.compiled.propose)
    )
    monkeypatch.setattr(
        jaxrecon.descriptors.view, "neighbors", counted(jaxrecon.descriptors.view.neighbors)
    )
    targets = impossible(3)
    # No other test has compiled anything for these settings.
    config = CONFIG.replace(max_step=1.2345)
    traces.clear()
    reconstruct(targets[:2], PLATINUM, symbols="Pt3", config=config)
    assert {"propose", "neighbors"} == set(traces)
    traces.clear()
    reconstruct(targets[1:], PLATINUM, symbols="Pt3", config=config, seed=5)
    reconstruct(targets[2], PLATINUM, symbols="Pt3", config=config)
    assert traces == []


def test_a_cell_for_each_target() -> None:
    first, second = 4.0 * np.eye(3), np.array([[5.0, 0, 0], [1, 4, 0], [0, 1, 6]])
    targets, options = np.zeros((4, MINIMUM.size)), {"symbols": "OPt", "config": CONFIG}
    found = reconstruct(targets, MINIMUM, cell=[first, None, second, None], **options)
    for result, cell in zip(found, (first, None, second, None), strict=True):
        assert result.atoms.pbc.all() == (cell is not None)
        expected = np.zeros((3, 3)) if cell is None else cell
        np.testing.assert_array_equal(result.atoms.cell.array, expected)
    same_cell = reconstruct(targets[:2], MINIMUM, cell=second, **options)
    for result in same_cell:
        np.testing.assert_array_equal(result.atoms.cell.array, second)
    for lengths in ([4, 5, 6], [4, 5, 6, 90, 90, 90]):
        result = reconstruct(targets[0], MINIMUM, cell=lengths, **options)[0]
        np.testing.assert_allclose(result.atoms.cell.array, np.diag([4, 5, 6]), atol=1e-12)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_cells_may_all_be_none(count: int) -> None:
    """A list of three or six numbers is a cell, but a list of three or six times None is not."""
    targets = np.zeros((count, PLATINUM.size))
    found = reconstruct(targets, PLATINUM, symbols="Pt3", cell=[None] * count, config=CONFIG)
    assert not any(result.atoms.pbc.any() for result in found)


def test_compositions_of_each_target() -> None:
    targets = np.zeros((4, MINIMUM.size))
    symbols = ["OPt", "Pt2", ["Pt", "O"], ("O", "O")]
    found = reconstruct(targets, MINIMUM, symbols=symbols, config=CONFIG)
    assert [list(result.atoms.symbols) for result in found] == [
        ["O", "Pt"],
        ["Pt", "Pt"],
        ["Pt", "O"],
        ["O", "O"],
    ]
    found = reconstruct(targets[:2], MINIMUM, symbols="OPt", config=CONFIG)
    assert [list(result.atoms.symbols) for result in found] == [["O", "Pt"]] * 2


def test_with_float64_enabled(x64: None) -> None:
    """The search is in float32 and polishing in float64, whatever the default of the user is."""
    truth = compact(3)
    found = reconstruct(featurize(truth, PLATINUM), PLATINUM, symbols="Pt3", config=CONFIG)
    assert_found(found[0], truth, PLATINUM)


def test_published_clusters(data: Path) -> None:
    """Two of the fingerprints that Fung et al. published without structures."""
    values = np.loadtxt(data / "pt10_fps300_x.csv", delimiter=",")[[2, 10]]
    fingerprint = Fingerprint.preset("fung2022", ["Pt"])
    found = reconstruct(values, fingerprint, symbols="Pt10")
    for result, target in zip(found, values, strict=True):
        assert result.code is ResultCode.CONVERGED
        assert result.residual <= 1e-6
        assert np.abs(featurize(result.atoms, fingerprint)[0] - target).mean() <= 1e-6
