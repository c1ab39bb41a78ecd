"""Figures of energies: their numbers, what is drawn, and the script that draws a labelled set."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from recovering import module

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.io import write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.plotting.energies import (
    EnergyHistogram,
    Parity,
    agreement,
    energy_histogram,
    parity,
)

ENERGIES = arrays(np.float64, 30, elements=st.floats(1.0, 4.0))


@given(energies=ENERGIES, references=ENERGIES)
def test_ranges_divide_all_pairs(energies, references):
    energies[3], references[7] = np.nan, np.nan
    whole, *parts = agreement(energies, references, np.arange(0.5, 5.0, 0.5))
    both = np.delete(np.arange(30), [3, 7])
    differences = (energies - references)[both]
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


def test_histogram_has_all_energies():
    random = np.random.default_rng(0)
    groups = {"minimum": random.normal(2, 0.1, 40), "rattled": random.normal(2, 0.1, 30)}
    groups["rattled"][0] = np.nan
    outlines = {"labelled": groups["minimum"][:9]}
    (ax,) = energy_histogram(EnergyHistogram(groups, outlines)).axes
    lower, upper = ax.containers[:2]
    assert sum(bar.get_height() for bar in lower) == 40
    assert sum(bar.get_height() for bar in upper) == 29
    assert [bar.get_y() for bar in upper] == [bar.get_height() for bar in lower]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["minimum (40)", "rattled (29)", "labelled (9)"]
    with pytest.raises(ValueError, match="expected formation energies to draw, got none"):
        energy_histogram(EnergyHistogram({"a": np.array([np.nan])}, {}))


def test_parity_shows_every_pair():
    truth = np.array([1.8, 2.4, 3.1])
    groups = {"minimum": (truth + 0.1, truth), "rattled": (truth[:1] - 0.1, truth[:1])}
    above, below = parity(Parity(groups)).axes
    np.testing.assert_allclose(above.collections[0].get_offsets(), np.c_[truth, truth + 0.1])
    np.testing.assert_allclose(below.collections[1].get_offsets(), [[1.8, -0.1]])
    title = "4 structures: mean absolute difference 0.100,\nmean difference +0.050 eV/atom"
    assert above.get_title() == title
    with pytest.raises(ValueError, match="expected at least one pair of energies"):
        parity(Parity({}))


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
    np.testing.assert_allclose([row["bias"] for row in numbers["against_pbe"]], 0.05)
    assert sum(row["structures"] for row in numbers["against_pbe"][1:]) == 4
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
