"""Figures of data sets: their numbers against scikit-learn and by hand, and that all are drawn."""

from __future__ import annotations

import json
import re
import sys

import matplotlib.figure
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from recovering import module
from sklearn.decomposition import PCA

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.io import write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.plotting.data import (
    agreement,
    energy_histogram,
    parity,
    principal_components,
    principal_maps,
)

ENERGIES = arrays(np.float64, 30, elements=st.floats(1.0, 4.0))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, to look at what is in them."""
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def keep(self, *arguments, **options):
        figures.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


@pytest.mark.parametrize("seed", range(3))
def test_principal_components_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(80, 4)) @ random.normal(size=(4, 9)) + 5.0
    places, parts = principal_components(values, 3)
    theirs = PCA(3).fit(values)
    np.testing.assert_allclose(parts, theirs.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(places), np.abs(theirs.transform(values)), atol=1e-9)
    loadings = np.linalg.lstsq(places, values - values.mean(axis=0), rcond=None)[0]
    assert (loadings[np.arange(3), np.abs(loadings).argmax(axis=1)] > 0.0).all()


def test_components_of_rows_that_are_all_the_same():
    places, parts = principal_components(np.ones((4, 3)))
    assert not places.any()
    assert not parts.any()
    with pytest.raises(ValueError, match=re.escape("2 rows and columns, got shape (1, 3)")):
        principal_components(np.ones((1, 3)))


@given(judged=ENERGIES, references=ENERGIES)
def test_ranges_share_out_what_all_have(judged, references):
    judged[3], references[7] = np.nan, np.nan
    whole, *parts = agreement(judged, references, np.arange(0.5, 5.0, 0.5))
    both = np.delete(np.arange(30), [3, 7])
    differences = (judged - references)[both]
    assert whole.structures == 28 == sum(part.structures for part in parts)
    np.testing.assert_allclose(whole.error, np.abs(differences).mean())
    np.testing.assert_allclose(whole.bias, differences.mean(), atol=1e-12)
    total = sum(part.structures * part.bias for part in parts)
    np.testing.assert_allclose(total, differences.sum(), atol=1e-9)
    for part in parts:
        inside = (references[both] >= part.low) & (references[both] < part.high)
        assert part.structures == inside.sum() > 0


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="expected at least one pair of energies to compare"):
        agreement(np.array([1.0, np.nan]), np.array([np.nan, 1.0]), [0.0, 2.0])


def test_histogram_has_all_energies(tmp_path, drawn):
    random = np.random.default_rng(0)
    groups = {"minimum": random.normal(2, 0.1, 40), "rattled": random.normal(2, 0.1, 30)}
    groups["rattled"][0] = np.nan
    energy_histogram(groups, tmp_path / "e.png", outlines={"labelled": groups["minimum"][:9]})
    axis = drawn[0].axes[0]
    lower, upper = axis.containers[:2]
    assert sum(bar.get_height() for bar in lower) == 40
    assert sum(bar.get_height() for bar in upper) == 29
    assert [bar.get_y() for bar in upper] == [bar.get_height() for bar in lower]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["minimum (40)", "rattled (29)", "labelled (9)"]
    assert (tmp_path / "e.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="expected formation energies to draw, got none"):
        energy_histogram({"a": np.array([np.nan])}, tmp_path / "none.png", outlines={})
    assert not (tmp_path / "none.png").exists()


def test_maps_show_the_subset_above_the_whole(tmp_path, drawn):
    values = np.random.default_rng(0).normal(size=(20, 5))
    energies = np.linspace(1.8, 3.7, 20)
    energies[4] = np.nan
    subsets = {"few": np.array([2, 7, 4]), "all": np.arange(20)}
    principal_maps(values, energies, subsets, tmp_path / "map.png")
    few, every = drawn[0].axes[:2]
    assert [len(dots.get_offsets()) for dots in few.collections] == [20, 3]
    assert [len(dots.get_offsets()) for dots in every.collections] == [20]
    places = principal_components(values)[0]
    np.testing.assert_allclose(few.collections[1].get_offsets(), places[[7, 2, 4]])
    np.testing.assert_allclose(few.collections[1].get_array()[:2], energies[[7, 2]])
    assert few.collections[1].get_clim() == every.collections[0].get_clim() == (1.8, 3.7)
    with pytest.raises(ValueError, match="expected at least one subset to draw, got none"):
        principal_maps(values, energies, {}, tmp_path / "none.png")


def test_parity_shows_every_pair(tmp_path, drawn):
    truth = np.array([1.8, 2.4, 3.1])
    parity(
        {"minimum": (truth + 0.1, truth), "rattled": (truth[:1] - 0.1, truth[:1])},
        tmp_path / "parity.png",
        across="PBE",
        up="potential",
    )
    above, below = drawn[0].axes
    np.testing.assert_allclose(above.collections[0].get_offsets(), np.c_[truth, truth + 0.1])
    np.testing.assert_allclose(below.collections[1].get_offsets(), [[1.8, -0.1]])
    title = "4 structures: mean absolute difference 0.100,\nmean difference +0.050 eV/atom"
    assert above.get_title() == title
    with pytest.raises(ValueError, match="expected at least one pair of energies"):
        parity({}, tmp_path / "none.png", across="PBE", up="potential")


def labelled(count: int = 12) -> LabelledSet:
    energies = np.linspace(1.8, 3.7, count)
    references = np.where(np.arange(count) % 3 == 0, energies - 0.05, np.nan)
    return LabelledSet.of(
        [random_cluster("Pt4", seed) for seed in range(count)],
        formation_energies=energies,
        kinds=["minimum", "rattled"] * (count // 2),
        columns={"e_form_pbe": references, "pbe": np.isfinite(references)},
        metadata={"command": "build"},
    )


def test_script_draws_what_the_set_has(tmp_path, monkeypatch, capsys):
    script = module("dataset_figures")
    write_labelled(tmp_path / "set.npz", labelled())
    words = ["dataset_figures.py", str(tmp_path / "set.npz"), "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*words, "--preset", "default", "--sizes", "5", "99"])
    monkeypatch.setattr(script, "use_all_cores", lambda: None)
    monkeypatch.setattr(script, "enable_compilation_cache", lambda: None)
    script.main()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"e_form.png", "pca_map.png", "parity.png", "figures.json"}
    numbers = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert numbers["structures"] == 12
    assert numbers["kinds"] == {"minimum": 6, "rattled": 6}
    assert numbers["e_form_quantiles"]["1.0"] == 3.7
    assert sum(numbers["variance_of_components"]) <= 1.0
    assert numbers["against_pbe"][0]["structures"] == 4
    np.testing.assert_allclose([each["bias"] for each in numbers["against_pbe"]], 0.05)
    assert sum(each["structures"] for each in numbers["against_pbe"][1:]) == 4
    assert "+0.050" in capsys.readouterr().out


def test_script_draws_fingerprints_alone_without_references(tmp_path):
    script = module("dataset_figures")
    values = np.random.default_rng(0).normal(size=(9, 4))
    alone = LabelledSet.of(fingerprints=values, formation_energies=np.linspace(2.0, 3.0, 9))
    numbers = script.draw(alone, tmp_path, preset="default", sizes=[3])
    assert {path.name for path in tmp_path.iterdir()} == {"e_form.png", "pca_map.png"}
    assert "against_pbe" not in numbers
    unlabelled = LabelledSet.of([Atoms("Pt2", [[0, 0, d], [0, 0, 0]]) for d in (2, 3, 4)])
    (tmp_path / "other").mkdir()
    script.draw(unlabelled, tmp_path / "other", preset="default", sizes=[2])
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["pca_map.png"]
