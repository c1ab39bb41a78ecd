"""Figures of inverse design: what is drawn, from which data."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from designing import trained
from matplotlib.figure import Figure

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.plotting import published
from jaxrecon.plotting.design import HitBars, TargetHistograms, hit_bars, target_histograms
from jaxrecon.plotting.energies import parity
from jaxrecon.plotting.maps import principal_maps


def labels(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]


def judged(target: float, e_form: float | None, *, accepted: bool = False) -> Atoms:
    atoms = Atoms("Pt", info={"target": target, "accepted": accepted, "predicted": target})
    if e_form is not None:
        atoms.info["e_form"] = e_form
    return atoms


def test_judged_energies_by_target() -> None:
    structures = [
        judged(2.0, 2.05, accepted=True),
        judged(2.0, 2.5),
        judged(2.0, None, accepted=True),
        judged(1.0, 1.0),
    ]
    low, high = labels(target_histograms(published.judged_energies(structures)))
    assert low == ["raw: 100 % of 1", "screened: 0 % of 0"]
    assert high == ["raw: 33 % of 3", "screened: 50 % of 2"]
    with pytest.raises(ValueError, match="expected energies to draw, got none"):
        target_histograms(published.judged_energies([judged(2.0, None)]))


def test_histograms_are_parts_of_what_is_finite() -> None:
    energies = np.array([1.0, 1.0, 1.4, np.nan, 2.0])
    (ax,) = target_histograms(TargetHistograms({1.0: {"all": energies}}, within=0.1)).axes
    (line,) = (patch for patch in ax.patches if len(patch.get_xy()) > 10)
    assert line.get_xy()[:, 1].max() == pytest.approx(0.5)


def test_predicted_against_judged() -> None:
    structures = [judged(2.0, 2.1), judged(1.0, 1.3)]
    above = parity(published.predicted_against_judged(structures)).axes[0]
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["1", "2"]
    assert "0.200" in above.get_title()
    assert "-0.200" in above.get_title()


def test_generated_fingerprints_and_maps() -> None:
    model = trained()
    energies = published.generated_energies({"one": model}, targets=[4.0, 5.0], samples=30)
    for text, target in zip(labels(target_histograms(energies)), (4.0, 5.0), strict=True):
        hits = np.abs(model.predict(model.sample(target, 30, 0))[0] - target) <= 0.1
        assert text == [f"one: {100 * hits.mean():.0f} % of 30"]
    structures = [random_cluster("Pt4", seed) for seed in range(3)]
    for atoms, target in zip(structures, (4.0, 5.0, 4.0), strict=True):
        atoms.info["target"] = target
    axes = principal_maps(published.training_and_made(model, structures)).axes[:3]
    assert [ax.get_title() for ax in axes] == ["training", "4", "5"]
    dots = [len(ax.collections[-1].get_offsets()) for ax in axes]
    assert dots == [len(model.training), 2, 1]


def test_bars_have_their_height_and_spread() -> None:
    rows = [
        {"target": 1.9, "within": 0.4, "spread": 0.1},
        {"target": 2.8, "within": None, "spread": None},
        {"target": 3.7, "within": 0.9, "spread": None},
    ]
    (ax,) = hit_bars(HitBars({"ours": rows, "theirs": rows[:1]}, title="hits")).axes
    assert [bar.get_height() for bar in ax.containers[1]] == pytest.approx([40.0, 90.0])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1.9", "2.8", "3.7"]
    with pytest.raises(ValueError, match="expected rows to draw, got none"):
        hit_bars(HitBars({}))
