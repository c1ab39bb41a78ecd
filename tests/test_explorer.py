"""Explorer: the data of the page, the runs it is made of, and the input that is refused."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from exploring import PROPERTIES, cluster, clusters

from jaxrecon.cli import main
from jaxrecon.datasets.io import read_labelled, write_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.plotting import explorer

pytest.importorskip("chemiscope", reason="needs chemiscope")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, command_line: None) -> None:
    """A new folder; instead of fingerprints some numbers that need no compiling."""
    monkeypatch.setattr(explorer, "featurize", _moments)


def _moments(structures: list[Atoms], fingerprint: Fingerprint) -> np.ndarray:
    distances = [atoms.get_all_distances().ravel() for atoms in structures]
    return np.array([[len(d) ** 0.5, d.mean(), d.std(), d.max()] for d in distances])


def data_of(page: str) -> dict[str, Any]:
    """The data of a page as a browser reads them."""
    found = [
        re.search(rf"^const {name} = (.*);$", page, re.MULTILINE) for name in ("dataset", "words")
    ]
    data, words = (json.loads(match[1]) for match in found if match)
    return {**data, "words": words}


def made(labelled: LabelledSet, **options: Any) -> dict[str, Any]:
    explorer.explore(labelled, "page.html", **options)
    return data_of(Path("page.html").read_text(encoding="utf-8"))


def run(line: str) -> int:
    return main.main(shlex.split(line))


def test_a_page_has_all_structures_and_all_that_is_known_of_them() -> None:
    frames = clusters()
    ase.io.write("found.extxyz", frames)
    data = made(read_labelled("found.extxyz"), title="found")
    assert data["meta"]["name"] == "found"
    shown = data["structures"]
    assert [structure["size"] for structure in shown] == [len(atoms) for atoms in frames]
    for atoms, structure in zip(frames, shown, strict=True):
        positions = np.transpose([structure[axis] for axis in "xyz"])
        np.testing.assert_allclose(positions, atoms.positions, 1e-6)
        assert "cell" not in structure  # the box around a free structure
    values = {name: entry["values"] for name, entry in data["properties"].items()}
    assert set(values) == {*PROPERTIES, "PC 1", "PC 2", "energy", "atoms", "formula"}
    assert values["atoms"] == [len(atoms) for atoms in frames]
    np.testing.assert_allclose(values["residual"], [atoms.info["residual"] for atoms in frames])
    assert values["result_code"] == [atoms.info["result_code"] for atoms in frames]
    assert np.isnan(values["e_form"][1])
    assert values["e_form"][2] == frames[2].info["e_form"]
    assert data["properties"]["energy"]["units"] == "eV"
    assert data["settings"]["map"]["color"]["property"] == "e_form"
    assert data["settings"]["map"]["symbol"] == "result_code"
    assert not data["settings"]["structure"][0]["unitCell"]


def test_a_page_fetches_nothing_and_gives_credit() -> None:
    made(LabelledSet.of(clusters()))
    page = Path("page.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", own)
    assert "default-src 'none'" in own
    assert page.count("<script") - page.count('"<script') <= 2
    assert "Redistribution and use in source and binary forms" in own
    assert importlib.metadata.version("chemiscope") in own


def test_words_of_a_page_can_not_end_its_script_nor_be_taken_for_markup() -> None:
    frames = clusters()
    for number, atoms in enumerate(frames):
        atoms.info["note"] = ("</script><script>alert(1)</script>", "@LIBRARY@")[number % 2]
    data = made(read_frames(frames), title="</title><b>@DATA@")
    page = Path("page.html").read_text(encoding="utf-8")
    assert data["properties"]["note"]["values"][0] == "</script><script>alert(1)</script>"
    assert data["properties"]["note"]["values"][1] == "@LIBRARY@"
    assert "<title>&lt;/title&gt;&lt;b&gt;@DATA@</title>" in page
    assert "</script><script>alert" not in page
    assert page.count("</script>") == 2


def read_frames(frames: list[Atoms]) -> LabelledSet:
    ase.io.write("frames.extxyz", frames)
    return read_labelled("frames.extxyz")


def test_points_are_principal_components_of_standardised_features() -> None:
    numbers = np.random.default_rng(0).normal(size=(30, 5)) * [9.0, 1.0, 3.0, 0.2, 0.0] + 7.0
    points, axes, description, _ = explorer.project(numbers, "pca")
    standard = (numbers[:, :4] - numbers[:, :4].mean(axis=0)) / numbers[:, :4].std(axis=0)
    left, sizes, _ = np.linalg.svd(standard, full_matrices=False)
    expected = left[:, :2] * sizes[:2]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    percents = 100.0 * sizes[:2] ** 2 / np.sum(sizes**2)
    assert description.endswith(f"{percents[0]:.0f} % and {percents[1]:.0f} % of the variance")
    assert axes == ("PC 1", "PC 2")


@pytest.mark.parametrize("count", [1, 2])
def test_few_structures_have_points_too(count: int) -> None:
    data = made(LabelledSet.of(clusters()[:count]))
    for name in ("PC 1", "PC 2"):
        assert np.isfinite(data["properties"][name]["values"]).all()
    assert data["properties"]["PC 2"]["values"] == [0.0] * count


def test_the_map_is_of_the_fingerprints_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "featurize", featurize.featurize)
    frames = clusters()
    data = made(LabelledSet.of(frames), preset="default")
    values = featurize.featurize(frames, Fingerprint.preset("default", ["Cu", "Pt"]))
    points, _, description, _ = explorer.project(values, "pca")
    np.testing.assert_allclose(data["properties"]["PC 1"]["values"], points[:, 0], atol=1e-6)
    assert data["meta"]["description"] == description


@pytest.mark.parametrize(
    ("structures", "preset"),
    [
        ([cluster(3)], "default"),
        ([cluster(3), bulk("NaCl", "rocksalt", a=5.6)], "crystal"),
        ([Atoms("HCNOFS", np.arange(18.0).reshape(6, 3))], "gastegger2018"),
    ],
)
def test_the_fingerprint_suits_the_structures(
    structures: list[Atoms], preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Fingerprint] = []
    monkeypatch.setattr(
        explorer, "featurize", lambda atoms, chosen: used.append(chosen) or _moments(atoms, chosen)
    )
    data = made(LabelledSet.of(structures))
    elements = {symbol for atoms in structures for symbol in atoms.symbols}
    assert used == [Fingerprint.preset(preset, elements)]
    assert data["settings"]["structure"][0]["unitCell"] is (preset == "crystal")
    assert ("cell" in data["structures"][-1]) is (preset == "crystal")


@pytest.mark.slow
def test_umap_has_points_of_its_own() -> None:
    pytest.importorskip("umap", reason="needs umap-learn")
    frames = [cluster(4 + seed % 2, seed) for seed in range(12)]
    first, again = (made(LabelledSet.of(frames), method="umap", seed=s) for s in (1, 1))
    assert first["settings"]["map"]["x"]["property"] == "UMAP 1"
    assert len(set(first["properties"]["UMAP 1"]["values"])) == 12
    assert first["properties"]["UMAP 2"] == again["properties"]["UMAP 2"]
    with pytest.raises(ValueError, match="expected at least 5 structures for UMAP, got 2"):
        made(LabelledSet.of(frames[:2]), method="umap")


@pytest.mark.parametrize(
    ("residuals", "mode"), [([1e-7, 1e-2, np.inf], "log"), ([0.0, 1e-2, 1e-3], "linear")]
)
def test_residuals_colour_by_their_magnitude(residuals: list[float], mode: str) -> None:
    labelled = LabelledSet.of(clusters()[:3], columns={"residual": np.array(residuals)})
    data = made(labelled)
    colour = data["settings"]["map"]["color"]
    assert colour == {"property": "residual", "mode": mode, "palette": "cividis"}
    assert np.isfinite(data["properties"]["residual"]["values"]).sum() == sum(
        np.isfinite(residuals)
    )


def test_what_is_the_same_for_all_decides_no_colour_and_words_of_each_no_symbol() -> None:
    same = {"residual": np.full(3, 0.5), "size": np.arange(3), "word": np.array(["a", "a", "a"])}
    data = made(LabelledSet.of([cluster(4, seed) for seed in range(3)], columns=same))
    assert data["settings"]["map"]["color"]["property"] == "size"
    assert data["settings"]["map"]["symbol"] == ""
    assert {"word", "kind", "trajectory", "energy"}.isdisjoint(data["properties"])
    assert data["words"] == {}
    many = {"name": np.array([f"{number}" for number in range(21)])}
    data = made(LabelledSet.of([cluster(3)] * 21, columns=many))
    assert "name" not in data["properties"]
    assert data["words"] == {"name": many["name"].tolist()}


def test_of_a_design_there_are_the_set_each_round_and_what_was_made() -> None:
    folder = Path("loop")
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    training, judged, final = clusters()[:2], [cluster(4, 8), cluster(4, 9)], [cluster(3, 7)]
    learned = LabelledSet.of([*training, judged[0]], kinds=["minimum"] * 3)
    write_labelled(folder / "set.npz", learned)
    for name, some in (("round-0", judged[:1]), ("round-10", judged[1:])):
        (folder / name).mkdir()
        for atoms in some:
            atoms.info["predicted"] = 1.5
        if name == "round-0":
            some[0].info["e_form"] = 2.0
        ase.io.write(folder / name / "judged.extxyz", some)
    ase.io.write(folder / "made.extxyz", final)
    found = explorer.read(folder)
    expected = ["training", "training", "round-0", "round-10", "made"]
    assert found.columns["set"].tolist() == expected
    assert len(found.structures or []) == 5
    np.testing.assert_equal(found.formation_energies, [np.nan, np.nan, 2.0, np.nan, np.nan])
    assert np.isnan(found.columns["predicted"]).tolist() == [True, True, False, False, True]
    assert made(found)["settings"]["map"]["symbol"] == "set"

    (folder / "set.npz").unlink()
    assert explorer.read(folder).columns["set"].tolist() == expected[2:]
    for path in folder.glob("*/*.extxyz"):
        path.unlink()
    (folder / "made.extxyz").unlink()
    with pytest.raises(ValueError, match="expected a folder in which structures were judged"):
        explorer.read(folder)


def test_the_verb_writes_a_page_beside_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    frames = clusters()
    frames[1].positions[0] = np.nan
    ase.io.write("found.extxyz", frames)
    assert run("explore found.extxyz") == 0
    shown = len(frames) - 1
    report = f"found.html: {shown} structures, 1 without positions left out\n"
    assert capsys.readouterr().out == report
    assert len(data_of(Path("found.html").read_text())["structures"]) == shown
    assert run("explore found.extxyz") == 2
    assert "expected no file in the way or --force, got found.html" in capsys.readouterr().err
    assert run("explore found.extxyz --force") == 0
    assert run("explore found.extxyz -o page.htm") == 2
    assert "expected an output ending in .html, got page.htm" in capsys.readouterr().err


def test_the_verb_reads_sets_and_databases() -> None:
    from ase.db import connect

    write_labelled("set.npz", LabelledSet.of(clusters(), formation_energies=np.arange(5.0)))
    assert run("explore set.npz") == 0
    properties = data_of(Path("set.html").read_text())["properties"]
    assert properties["e_form"]["values"] == [0, 1, 2, 3, 4]
    with connect("found.db") as database:
        for atoms in clusters():
            atoms.calc = SinglePointCalculator(atoms, energy=-len(atoms))
            database.write(atoms, residual=0.5)
    assert run("explore found.db") == 0
    energies = data_of(Path("found.html").read_text())["properties"]["energy"]["values"]
    assert energies == [-len(atoms) for atoms in clusters()]


def test_what_can_not_be_explored_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = LabelledSet.of(fingerprints=np.ones((2, 3)), formation_energies=[1.0, 2.0])
    write_labelled("set.npz", alone)
    nowhere = cluster(3)
    nowhere.positions[:] = np.nan
    ase.io.write("nowhere.extxyz", nowhere)
    Path("empty.extxyz").write_text("")
    Path("empty").mkdir()
    for line, message in (
        ("explore none.extxyz", "which does not exist"),
        ("explore set.npz", "expected structures to explore, got a set of fingerprints alone"),
        ("explore nowhere.extxyz", "expected structures to explore, got none with finite"),
        ("explore empty.extxyz", "expected"),
        ("explore empty", "expected"),
        ("explore nowhere.extxyz --map tsne", "Invalid value for '--map'"),
    ):
        assert run(line) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not list(Path().glob("*.html"))

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert run("explore nowhere.extxyz") == 2
    error = capsys.readouterr().err
    assert 'the package chemiscope, got none: pip install "jaxrecon[explore]"' in error


def test_umap_is_asked_for_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def missing(name: str) -> str:
        if name == "umap-learn":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ValueError, match=r"umap-learn, got none: pip install .jaxrecon\[umap\]"):
        made(LabelledSet.of(clusters()), method="umap")
    made(LabelledSet.of(clusters()))
