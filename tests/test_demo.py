"""The demonstration: its files, its page, and the commands that it prints."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
from contextlib import redirect_stdout
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
import pytest
import typer
from ase import Atoms
from ase.calculators.emt import EMT
from designing import LEARNING, MAKING, labelled
from scipy.spatial.distance import pdist

from jaxrecon import featurize, images
from jaxrecon.cli import demo, demo_design, demo_recover, main
from jaxrecon.cli.demo_design import Designed
from jaxrecon.cli.demo_orders import CLUSTERS, CRYSTALS, Order, alloys
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model
from jaxrecon.plotting.demo import DesignSummary, design_summary
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.results import Reconstruction, Result, ResultCode
from jaxrecon.structures.formulas import elements_of

pytestmark = pytest.mark.slow

TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def order() -> Order:
    low, high = np.quantile(labelled().formation_energies, [0.3, 0.7])
    return Order("Pt4", (round(float(low), 1), round(float(high), 1)), 3, LEARNING, MAKING, "So.")


@lru_cache
def designed() -> Designed:
    """A design with two random clusters for each target, the second of them twice."""
    searches = []

    def search(targets: np.ndarray, fingerprint: Fingerprint, **given: Any) -> Reconstruction:
        searches.append((given["seed"], given["symbols"]))
        found = [random_cluster("Pt4", 70 + 2 * len(searches) + number) for number in (0, 1, 1)]
        results = [Result(a, 9.0, ResultCode.STALLED, 1, {"values": 1}, 1.0) for a in found]
        return Reconstruction(results, [fingerprint] * 3, given["config"], 0, 1.0)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jaxrecon.inverse_design.generation.reconstruct", search)
        made = demo_design.design(labelled(), order(), seed=4)
    assert searches == [(4, "Pt4")] * 2
    return made


class Shown(NamedTuple):
    """Outputs of a demonstration, and the arguments of its searches."""

    folder: Path
    report: dict[str, Any]
    files: list[Path]
    said: str
    calls: list[tuple[np.ndarray, Fingerprint, dict[str, Any]]]
    truths: list[Atoms]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A demonstration whose searches find the truth, turned."""
    folder, said = tmp_path_factory.mktemp("demo") / "a demo", StringIO()
    calls: list[tuple[np.ndarray, Fingerprint, dict[str, Any]]] = []
    truths: list[Atoms] = []

    def featurized(truth: Atoms, fingerprint: Fingerprint) -> np.ndarray:
        truths.append(truth)
        return featurize(truth, fingerprint)

    def search(targets: np.ndarray, fingerprint: Fingerprint, **given: Any) -> Reconstruction:
        calls.append((targets, fingerprint, given))
        atoms = truths[-1].copy()
        atoms.positions = atoms.positions @ TURN
        result = Result(atoms, 2e-9, ResultCode.CONVERGED, 7, {"values": 1}, 1.0)
        return Reconstruction([result], [fingerprint], ReconstructConfig(), 0, 1.25)

    def encode(truth: Atoms) -> np.ndarray:
        truths.append(truth)
        return np.zeros(1000)

    def decode(_: np.ndarray) -> Atoms:
        atoms = truths[-1].copy()
        atoms.info = {"residual": 3e-8, "position_error": 4e-9, "result_code": "converged"}
        return atoms

    def clusters(seed: int, progress: bool) -> Designed:
        assert (seed, progress) == (5, False)
        return designed()

    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said):
        patched.setattr(demo_recover, "featurize", featurized)
        patched.setattr(demo_recover, "reconstruct", search)
        patched.setattr(images, "encode", encode)
        patched.setattr(images, "decode", decode)
        patched.setattr(demo_design, "clusters", clusters)
        patched.setattr(demo_design, "crystals", clusters)
        report, files = demo.run(folder, seed=5, progress=False)
    return Shown(folder, report, files, said.getvalue(), calls, truths)


def test_each_row_is_of_the_clusters_made_for_it() -> None:
    made, (low, high) = designed(), order().targets
    assert [row.target for row in made.rows] == [low, high]
    assert [atoms.info["target"] for atoms in made.structures] == [low] * 3 + [high] * 3
    for number, row in enumerate(made.rows):
        info = [atoms.info for atoms in made.structures[3 * number : 3 * number + 3]]
        names = ("predicted", "deviation", "emt", "duplicate", "known")
        said = {name: np.array([each[name] for each in info]) for name in names}
        for name in ("predicted", "deviation", "emt"):
            assert getattr(row, name) == pytest.approx(said[name].mean(), abs=1e-12)
        assert row.hits == (np.abs(said["predicted"] - row.target) <= 0.1).sum()
        near = np.abs(labelled().formation_energies - row.target) <= 0.1
        assert row.emt_of_known == pytest.approx(made.emt_of_known[near].mean(), abs=1e-12)
        assert (row.made, row.new) == (3, 3 - (said["duplicate"] | said["known"]).sum())


def test_another_potential_judges_what_is_made() -> None:
    made = designed()
    known = labelled().structures
    assert known is not None
    energies = []
    for original in (*known, *made.structures):
        atoms = original.copy()
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy() / len(atoms))
    said = np.array([*made.emt_of_known, *(atoms.info["emt"] for atoms in made.structures)])
    # Both energies are relative to the same crystal, up to a constant.
    assert np.ptp(said - energies) < 1e-9
    assert made.model.config == LEARNING.replace(seed=4)
    assert made.error.endswith("on 12 others. So.")


def test_what_was_not_found_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    made = designed()
    monkeypatch.setattr(demo_design, "train", lambda *_, **__: made.model)

    def generate(model: DesignModel, target: float, count: int, **given: Any) -> Generated:
        given["progress"](count, 1)
        structures = [atoms.copy() for atoms in made.structures[:count]]
        fingerprints = featurize(structures, model.fingerprint)
        if target == 2.0:
            structures[0].positions[:] = fingerprints[0] = np.nan
        return Generated(structures, fingerprints, np.ones(fingerprints.shape[1]), {"seconds": 1.0})

    monkeypatch.setattr(demo_design, "generate", generate)
    reports: list[int] = []
    again = demo_design.design(
        labelled(),
        replace(order(), targets=(2.0, 99.0)),
        progress=lambda targets, _: reports.append(targets),
    )
    assert [row.made for row in again.rows] == [2, 3]
    assert len(again.structures) == 5
    assert reports == [3, 3]
    assert np.isnan(again.rows[1].emt_of_known)
    *_, last = str(again).splitlines()
    assert last.split()[0] == "99"
    assert last.split().count("-") == 1
    assert again.to_html().count("<td") == 2 * len(demo_design.COLUMNS)


def test_the_composition_of_the_crystals_is_not_learned() -> None:
    learned = alloys(0)
    assert learned.structures is not None
    assert {len(atoms) for atoms in learned.structures} == {4}
    made = sorted(Atoms(CRYSTALS.symbols).symbols)
    assert all(sorted(atoms.symbols) != made for atoms in learned.structures)
    assert set(made) == set(elements_of(learned.structures))
    energies = learned.formation_energies
    assert energies.min() < min(CRYSTALS.targets) < max(CRYSTALS.targets) < energies.max()
    assert CLUSTERS.symbols == "Pt10"


def test_files(shown: Shown) -> None:
    folder, report = shown.folder, shown.report
    assert shown.files[-1] == folder / "index.html"
    assert set(folder.iterdir()) == set(shown.files)
    made = designed()
    counts = {"truth": 4, "reconstruction": 4, "made": 6, "crystals": 6}
    for name, frames in counts.items():
        assert len(ase.io.read(folder / f"{name}.extxyz", ":")) == frames
    truth = shown.truths[-1]
    for name in ("truth.cif", "reconstruction.cif"):
        crystal = ase.io.read(folder / name)
        assert crystal.pbc.all()
        assert sorted(crystal.symbols) == sorted(truth.symbols)
        assert np.allclose(crystal.cell.cellpar(), truth.cell.cellpar())
    info = ase.io.read(folder / "made.extxyz", "0").info
    wanted = {"target", "predicted", "deviation", "residual", "emt"}
    assert {name: info[name] for name in wanted} == pytest.approx(
        {name: made.structures[0].info[name] for name in wanted}
    )
    stored = read_fingerprints(folder / "made.npz")
    default = Fingerprint.preset("default", ["Pt"])
    assert stored.fingerprint == default
    assert np.allclose(stored.values, featurize(made.structures, default))
    assert stored.formulas == ["Pt4"] * 6
    assert load_model(folder / "model").symbols == "Pt4"
    numbers = json.loads((folder / "demo.json").read_text())
    assert numbers["targets"] == json.loads(json.dumps(report["targets"]))
    assert numbers["design"]["targets"] == numbers["targets"]
    assert numbers["reconstructions"]["benzene"]["converged"] == 1
    assert report["structures"]["benzene"]["residual"] == 2e-9
    assert report["structures"]["perovskite"]["position_error"] == 4e-9
    assert max(each["rmsd"] for each in report["structures"].values()) < 1e-6
    assert shown.said.count(str(made)) == 2
    assert "perovskite        12  images                1,000           4e-09" in shown.said
    assert all(len(line) <= 100 for line in shown.said.splitlines())


def test_the_search_gets_no_positions(shown: Shown) -> None:
    *searched, crystal = shown.truths
    assert crystal.pbc.all()
    assert [str(type(each[1].descriptor).__name__) for each in shown.calls][-1] == "SOAP"
    for truth, (values, fingerprint, given) in zip(searched, shown.calls, strict=True):
        assert np.array_equal(values, featurize(truth, fingerprint))
        assert (given.pop("symbols"), given.pop("seed")) == (truth.get_chemical_formula(), 5)
        assert set(given) == {"config", "progress"}


class Page(HTMLParser):
    """Links, pictures and words of a page; it checks that all elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.scenes: list[dict[str, Any]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        named = dict(attributes)
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        if tag == "a":
            self.links.append(named["href"])
        if tag == "canvas":
            assert named["aria-label"]
            self.scenes.append(json.loads(named["data-structure"]))
        if tag == "img":
            assert named["alt"]
            self.pictures.append(named["src"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_page_is_whole_and_links_what_is_there(shown: Shown) -> None:
    page = Page(shown.files[-1].read_text(encoding="utf-8"))
    assert page.open == []
    assert {shown.folder / link for link in page.links} == set(shown.files[:-1])
    prefix = "data:image/png;base64,"
    pictures = [base64.b64decode(each.removeprefix(prefix)) for each in page.pictures]
    assert pictures == [(shown.folder / "design.png").read_bytes()]
    assert all(word in page.words for row in designed().rows for word in row.cells)
    assert designed().error in page.words
    assert "\n".join(shown.report["next"]) in page.words
    # Both structures of each pair, and one that was made for each target.
    assert len(page.scenes) == 2 * len(shown.truths) + 2 * len(order().targets)
    for truth, scene in zip(shown.truths, page.scenes[:8:2], strict=True):
        points = np.array([atom["at"] for atom in scene["atoms"]])
        assert np.allclose(pdist(points), pdist(truth.positions), atol=2e-3)
        assert len(scene["edges"]) == (12 if truth.pbc.any() else 0)
    for true, found in zip(page.scenes[:8:2], page.scenes[1:8:2], strict=True):
        assert _sorted(found) == pytest.approx(_sorted(true), abs=5e-3)


def _sorted(scene: dict[str, Any]) -> np.ndarray:
    """Positions of the atoms of a scene, whatever their order."""
    points = np.array([atom["at"] for atom in scene["atoms"]])
    return points[np.lexsort(points.round(1).T)]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")
def test_structures_turn_in_a_browser(shown: Shown, tmp_path: Path) -> None:
    """A key that turns a figure changes both of its pictures."""
    page = tmp_path / "page.html"
    probe = """<script>
    const canvases = document.querySelectorAll("figure.turnable canvas");
    const seen = () => [...canvases].slice(0, 2).map((each) => each.toDataURL());
    const before = seen();
    canvases[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
    const changed = seen().filter((picture, number) => picture !== before[number]).length;
    const over = document.documentElement.scrollWidth > window.innerWidth;
    document.title = `changed ${changed}, too wide: ${over}`;
    </script></body>"""
    text = shown.files[-1].read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    run = subprocess.run(
        [*command, profile, "--window-size=500,900", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "<title>changed 2, too wide: false</title>" in run.stdout


def test_commands_to_try_next_are_commands(shown: Shown) -> None:
    available = {str(path) for path in shown.files}
    group: Any = typer.main.get_command(main.app)
    assert len(shown.report["next"]) == 3
    for line in shown.report["next"]:
        program, verb, *words = shlex.split(line)
        assert program == "jaxrecon"
        context = group.commands[verb].make_context(verb, words)
        output = str(context.params["output"])
        paths = {str(each) for each in context.params.values() if isinstance(each, Path)}
        assert paths - {output}
        assert paths - {output} <= available
        if output != "None":
            assert output not in available
            available.add(output)


def test_nothing_is_replaced_unless_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_recover, "recover", lambda *_: pytest.fail("began"))
    old = tmp_path / "truth.cif"
    old.write_text("old")
    with pytest.raises(FileExistsError, match=r"no file in the way or --force, got .*truth\.cif"):
        demo.run(tmp_path, progress=False)
    with pytest.raises(pytest.fail.Exception, match="began"):
        demo.run(tmp_path, force=True, progress=False)
    old.unlink()
    (tmp_path / "model").mkdir()
    wrong = "a model and --force, or nothing in the way, got .*model"
    for force in (False, True):
        with pytest.raises(FileExistsError, match=wrong):
            demo.run(tmp_path, force=force, progress=False)
    (tmp_path / "model" / "model.json").write_text("{}")
    with pytest.raises(FileExistsError, match=wrong):
        demo.run(tmp_path, progress=False)
    with pytest.raises(pytest.fail.Exception, match="began"):
        demo.run(tmp_path, force=True, progress=False)


def test_figure_shows_all_predictions() -> None:
    made = designed()
    known = labelled().formation_energies, made.emt_of_known
    figure = design_summary(DesignSummary(made.structures, known, tolerance=0.1))
    (ax,) = figure.axes
    info = [atoms.info for atoms in made.structures]
    points = {
        tuple(point)
        for line in ax.lines
        if len(line.get_xdata()) != 2  # the lines of the targets
        for point in np.transpose(line.get_data())
    }
    wanted = {(each["predicted"], each["emt"]) for each in info} | set(zip(*known, strict=True))
    assert points == wanted
    with pytest.raises(ValueError, match="expected structures to draw, got none"):
        design_summary(DesignSummary([], known, tolerance=0.1))
