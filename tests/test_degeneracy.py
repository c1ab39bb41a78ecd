"""Degenerate structures: known pairs, and a search that finds the other one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jaxrecon import (
    ACSF,
    SOAP,
    Fingerprint,
    ReconstructConfig,
    ResultCode,
    degenerate_structures,
    featurize,
    rmsd,
)
from jaxrecon.search.results import Reconstruction, Result


def rings(apex: float) -> Atoms:
    """Two rings of three atoms, one turned and below the other, and an atom on their axis."""
    angles = np.array([0.3, 1.9, 3.6])
    above = np.stack([2.2 * np.cos(angles), 2.2 * np.sin(angles), np.full(3, 1.1)], axis=1)
    turned = angles + 0.7
    below = np.stack([2.2 * np.cos(turned), 2.2 * np.sin(turned), np.full(3, -1.1)], axis=1)
    return Atoms("C7", [*above, *below, (0, 0, apex)])


SMALL = SOAP(("C",), r_cut=6.0, n_max=4, l_max=3)


@pytest.mark.slow
def test_the_other_structure_with_the_same_mean_is_found() -> None:
    """No mean of a three-body row tells the rings with an apex above from those below."""
    above, below = rings(2.4), rings(-2.4)
    assert rmsd(above, below) == pytest.approx(0.084, abs=1e-3)
    mean = Fingerprint(SMALL, ("mean",))
    for fingerprint in (mean, Fingerprint.preset("default", "C", poolings=("mean",))):
        one, other = featurize([above, below], fingerprint, dtype=np.float64)
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    (found,) = degenerate_structures(above, mean, hops=20, seed=1)
    assert rmsd(found, below) < 1e-4
    assert found.info["residual"] < 1e-6
    assert found.info["rmsd"] == pytest.approx(rmsd(above, below), abs=1e-4)
    # The variance tells them apart, but for noise.
    both, settings = Fingerprint(SMALL, ("mean", "moment2")), {"hops": 6, "seed": 1, "replicas": 16}
    assert degenerate_structures(above, both, **settings) == []
    assert len(degenerate_structures(above, both, noise=1e-2, **settings)) == 1


def test_others_within_the_noise_of_each_number_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that finds the other one with a residual above the settings' tolerance."""
    above, below = rings(2.4), rings(-2.4)
    asked: dict[str, Any] = {}

    def search(*_: Any, noise: Any, **__: Any) -> Reconstruction:
        asked["noise"] = noise
        limit = None if noise is None else 1e-3
        found = Result(below.copy(), 5e-4, ResultCode.CONVERGED, 1, {}, 0.0, tolerance=limit)
        return Reconstruction([found], [], ReconstructConfig(), 0, 1.0)

    monkeypatch.setattr("jaxrecon.search.degeneracy.reconstruct", search)
    fingerprint = Fingerprint(SMALL, ("mean", "moment2"))
    assert degenerate_structures(above, fingerprint) == []
    noise = np.full(fingerprint.size, 1e-2)
    (found,) = degenerate_structures(above, fingerprint, noise=noise)
    assert asked["noise"] is noise
    assert found.info["residual"] == 5e-4


def test_the_search_is_told_the_cell_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def search(*_: Any, cell: Any, **__: Any) -> Reconstruction:
        asked.append(cell)
        found = Result(copper, 0.0, ResultCode.CONVERGED, 1, {}, 0.0)
        return Reconstruction([found], [], ReconstructConfig(), 0, 1.0)

    monkeypatch.setattr("jaxrecon.search.degeneracy.reconstruct", search)
    copper, fingerprint = bulk("Cu"), Fingerprint.preset("crystal", "Cu")
    for known in (True, False):
        assert degenerate_structures(copper, fingerprint, cell_known=known) == []
    np.testing.assert_array_equal(asked[0], copper.cell.array)
    assert asked[1] == "unknown"
    copper.pbc = (True, True, False)
    with pytest.raises(ValueError, match="periodic along all three axes or none"):
        degenerate_structures(copper, fingerprint)
    assert len(asked) == 2


def test_the_variance_tells_them_apart() -> None:
    variance = Fingerprint(SMALL, ("moment2",))
    one, other = featurize([rings(2.4), rings(-2.4)], variance, dtype=np.float64)
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()


def test_four_neighbors_that_no_row_of_their_center_tells_apart() -> None:
    """Neither distances nor angles of the centre; the other atoms see the difference."""
    pair = [
        Atoms("C5", 0.25 * np.array([(0, 0, 0), (5, 0, 5), (5, 5, 5), (-5, -5, 5), (0, y, 5)]))
        for y in (5, -5)
    ]
    assert rmsd(*pair) > 0.5
    radial = ACSF(("C",), r_cut=4.0, g2_eta=(1.0, 4.0), g2_r_s=(1.0, 2.0), g5_zeta=())
    angular = ACSF(("C",), r_cut=4.0, g2_eta=(), g5_zeta=(1, 4), g5_eta=(0.1,))
    for descriptor, mean_is_blind in ((radial, True), (angular, False), (SMALL, False)):
        rows = Fingerprint(descriptor, ("none",), max_atoms=5)
        one, other = featurize(pair, rows, dtype=np.float64).reshape(2, 5, -1)
        np.testing.assert_allclose(one[0], other[0], rtol=1e-9)
        means = one.mean(axis=0), other.mean(axis=0)
        assert np.allclose(*means, rtol=1e-6) == mean_is_blind


def test_impossible_counts_are_refused() -> None:
    fingerprint = Fingerprint(SMALL, ("mean",))
    with pytest.raises(ValueError, match="expected count >= 1 other structures, got 0"):
        degenerate_structures(rings(2.4), fingerprint, count=0)
