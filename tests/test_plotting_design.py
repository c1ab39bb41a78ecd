"""Figures of design: what is in them."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from ase import Atoms
from designing import trained

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.plotting.design import figure6, figure7, figure8, figure9, hit_bars, target_histograms


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved, to look at what is in them."""
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def keep(self, *arguments, **options):
        figures.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def labels(figure: matplotlib.figure.Figure) -> list[list[str]]:
    return [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]


def judged(target: float, e_form: float | None, *, kept: bool = False) -> Atoms:
    atoms = Atoms("Pt", info={"target": target, "kept": kept, "predicted": target})
    if e_form is not None:
        atoms.info["e_form"] = e_form
    return atoms


def test_judged_energies_by_target(drawn: list, tmp_path: Path) -> None:
    structures = [
        judged(2.0, 2.05, kept=True),
        judged(2.0, 2.5),
        judged(2.0, None, kept=True),
        judged(1.0, 1.0),
    ]
    figure7(structures, tmp_path / "drawn.png")
    low, high = labels(drawn[0])
    assert low == ["raw: 100 % of 1", "screened: 0 % of 0"]
    assert high == ["raw: 33 % of 3", "screened: 50 % of 2"]
    with pytest.raises(ValueError, match="expected energies to draw, got none"):
        figure7([judged(2.0, None)], tmp_path / "drawn.png")


def test_histograms_are_parts_of_what_is_finite(drawn: list, tmp_path: Path) -> None:
    energies = np.array([1.0, 1.0, 1.4, np.nan, 2.0])
    target_histograms({1.0: {"all": energies}}, tmp_path / "drawn.svg", within=0.1)
    (line,) = (p for p in drawn[0].axes[0].patches if len(p.get_xy()) > 10)
    assert line.get_xy()[:, 1].max() == pytest.approx(0.5)


def test_predicted_against_judged(drawn: list, tmp_path: Path) -> None:
    figure8([judged(2.0, 2.1), judged(1.0, 1.3)], tmp_path / "drawn.png")
    above = drawn[0].axes[0]
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["1", "2"]
    assert "0.200" in above.get_title()
    assert "-0.200" in above.get_title()


@pytest.mark.usefixtures("quick_compile")
def test_generated_fingerprints_and_maps(drawn: list, tmp_path: Path) -> None:
    model = trained()
    figure6({"one": model}, tmp_path / "drawn.png", targets=[4.0, 5.0], samples=30)
    for text, target in zip(labels(drawn[0]), (4.0, 5.0), strict=True):
        hits = np.abs(model.predict(model.sample(target, 30, 0))[0] - target) <= 0.1
        assert text == [f"one: {100 * hits.mean():.0f} % of 30"]
    structures = [random_cluster("Pt4", seed) for seed in range(3)]
    for atoms, target in zip(structures, (4.0, 5.0, 4.0), strict=True):
        atoms.info["target"] = target
    figure9(model, structures, tmp_path / "map.png")
    titles = [axis.get_title() for axis in drawn[1].axes[:3]]
    assert titles == ["training", "4", "5"]
    dots = [len(axis.collections[-1].get_offsets()) for axis in drawn[1].axes[:3]]
    assert dots == [len(model.training), 2, 1]


def test_bars_have_their_height_and_spread(drawn: list, tmp_path: Path) -> None:
    rows = [
        {"target": 1.9, "within": 0.4, "spread": 0.1},
        {"target": 2.8, "within": None, "spread": None},
        {"target": 3.7, "within": 0.9, "spread": None},
    ]
    hit_bars({"ours": rows, "theirs": rows[:1]}, tmp_path / "drawn.png", title="hits")
    axis = drawn[0].axes[0]
    assert [bar.get_height() for bar in axis.containers[1]] == pytest.approx([40.0, 90.0])
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1.9", "2.8", "3.7"]
    with pytest.raises(ValueError, match="expected rows to draw, got none"):
        hit_bars({}, tmp_path / "drawn.png")
