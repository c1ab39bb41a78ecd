"""The demonstration: its files, its page, and the commands that it prints."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
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

from jaxrecon import featurize
from jaxrecon.cli import demo, demo_design, main
from jaxrecon.cli.demo_design import Designed
from jaxrecon.datasets import prototypes
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.models.config import FitConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model
from jaxrecon.plotting.demo import DesignSummary, design_summary
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.results import Reconstruction, Result, ResultCode

pytestmark = pytest.mark.slow

CHECKING = LEARNING.replace(
    surrogate="network", surrogate_fit=FitConfig(1, 8, 1e-2, 2, 50), members=2
)
PEROVSKITE = "methylammonium_lead_bromide"
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def targets() -> list[float]:
    low, high = np.quantile(labelled().formation_energies, [0.3, 0.7])
    return [round(float(low), 1), round(float(high), 1)]


@lru_cache
def designed() -> Designed:
    """A design with two random clusters for each target, the second of them twice."""
    searches = []

    def search(targets: np.ndarray, fingerprint: Fingerprint, **given: Any) -> Reconstruction:
        searches.append(given["seed"])
        found = [random_cluster("Pt4", 70 + 2 * len(searches) + number) for number in (0, 1, 1)]
        results = [Result(a, 9.0, ResultCode.STALLED, 1, {"values": 1}, 1.0) for a in found]
        return Reconstruction(results, [fingerprint] * 3, given["config"], 0, 1.0)

    settings: dict[str, Any] = {
        "train_config": LEARNING,
        "check_config": CHECKING,
        "generate_config": MAKING,
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jaxrecon.inverse_design.generation.reconstruct", search)
        made = demo_design.design(labelled(), targets=targets(), count=3, seed=4, **settings)
    assert searches == [4, 4]
    return made


def recovered(truth: Atoms, fingerprint: Fingerprint) -> Reconstruction:
    """A result with the true structure, turned."""
    atoms = truth.copy()
    if not atoms.pbc.any():
        atoms.positions = truth.positions @ TURN
    result = Result(atoms, 2e-9, ResultCode.CONVERGED, 7, {"values": 1}, 1.0)
    return Reconstruction([result], [fingerprint], ReconstructConfig(), 0, 1.25)


@pytest.fixture(scope="module")
def quick() -> Iterator[dict[str, Any]]:
    """Replace the searches of the demonstration; yield the arguments of the calls."""
    asked: dict[str, Any] = {}

    def search(targets: np.ndarray, fingerprint: Fingerprint, **given: Any) -> Reconstruction:
        truth = list(asked["examples"].values())[len(asked["calls"])]
        asked["calls"].append((targets, fingerprint, given))
        return recovered(truth, fingerprint)

    def examples(seed: int) -> dict[str, Atoms]:
        found = {name: prototypes.load(name) for name in ("decagon", PEROVSKITE)}
        asked.update(calls=[], examples=found)
        return found

    def design(rows: object, **given: Any) -> Designed:
        asked.update(rows=rows, given=given)
        return designed()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "reconstruct", search)
        patched.setattr(demo, "_examples", examples)
        patched.setattr(demo_design, "design", design)
        yield asked


class Shown(NamedTuple):
    """Outputs of a demonstration."""

    folder: Path
    report: dict[str, Any]
    files: list[Path]
    said: str
    asked: dict[str, Any]


@pytest.fixture(scope="module")
def shown(quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("demo") / "a demo"
    said = StringIO()
    with redirect_stdout(said):
        report, files = demo.run(folder, seed=5, progress=False)
    return Shown(folder, report, files, said.getvalue(), dict(quick))


@pytest.mark.slow
def test_each_row_is_of_the_clusters_made_for_it() -> None:
    made, (low, high) = designed(), targets()
    assert [row.target for row in made.rows] == [low, high]
    assert [atoms.info["target"] for atoms in made.structures] == [low] * 3 + [high] * 3
    for number, row in enumerate(made.rows):
        info = [atoms.info for atoms in made.structures[3 * number : 3 * number + 3]]
        names = ("predicted", "deviation", "networks", "emt", "duplicate", "known")
        said = {name: np.array([each[name] for each in info]) for name in names}
        for name in ("predicted", "deviation", "networks", "emt"):
            assert getattr(row, name) == pytest.approx(said[name].mean(), abs=1e-12)
        assert row.spread == pytest.approx(said["predicted"].std(), abs=1e-12)
        assert row.hits == (np.abs(said["predicted"] - row.target) <= 0.1).sum()
        assert row.networks_hits == (np.abs(said["networks"] - row.target) <= 0.1).sum()
        near = np.abs(labelled().formation_energies - row.target) <= 0.1
        assert row.emt_of_known == pytest.approx(made.emt_of_known[near].mean(), abs=1e-12)
        assert (row.made, row.unique, row.novel) == (
            3,
            3 - said["duplicate"].sum(),
            3 - said["known"].sum(),
        )


def test_opinions_are_those_of_networks_and_of_another_potential() -> None:
    made = designed()
    rows = featurize(made.structures, made.model.fingerprint)
    means, deviations = made.check.predict(rows)
    ratio = made.check.validation["calibration"]
    assert ratio is not None
    assert ratio > 1.0
    info = [atoms.info for atoms in made.structures]
    assert np.allclose([each["networks"] for each in info], means, rtol=1e-12)
    assert np.allclose([each["networks_deviation"] for each in info], ratio * deviations)
    assert not np.allclose(means, [each["predicted"] for each in info])
    known = labelled().structures
    assert known is not None
    energies = []
    for original in (*known, *made.structures):
        atoms = original.copy()
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy() / len(atoms))
    said = np.array([*made.emt_of_known, *(each["emt"] for each in info)])
    # Both energies are relative to the same crystal, up to a constant.
    assert np.ptp(said - energies) < 1e-9
    assert made.model.config == LEARNING.replace(seed=4)
    assert made.check.config == CHECKING.replace(seed=4)


def test_what_was_not_found_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    made = designed()
    models = {"gaussian_process": made.model, "network": made.check}
    monkeypatch.setattr(demo_design, "train", lambda _, config, **__: models[config.surrogate])

    def generate(model: DesignModel, target: float, count: int, **given: Any) -> Generated:
        given["progress"](count, 1)
        structures = [atoms.copy() for atoms in made.structures[:count]]
        fingerprints = featurize(structures, model.fingerprint)
        if target == 2.0:
            structures[0].positions[:] = fingerprints[0] = np.nan
            for name in ("networks", "networks_deviation", "emt"):
                del structures[0].info[name]
        return Generated(structures, fingerprints, np.ones(fingerprints.shape[1]), {"seconds": 1.0})

    monkeypatch.setattr(demo_design, "generate", generate)
    reports: list[int] = []
    settings: dict[str, Any] = {"train_config": LEARNING, "check_config": CHECKING}
    again = demo_design.design(
        labelled(),
        targets=[2.0, 99.0],
        count=3,
        progress=lambda targets, _: reports.append(targets),
        **settings,
    )
    assert [row.made for row in again.rows] == [2, 3]
    assert len(again.structures) == 5
    assert reports == [3, 3]
    assert again.rows[1].emt_of_known is None
    *_, last = str(again).splitlines()
    assert last.split()[:2] == ["99", "3"]
    assert last.split().count("-") == 1
    assert again.to_html().count("<td") == 2 * len(demo_design.COLUMNS)


def test_files(shown: Shown) -> None:
    folder, report = shown.folder, shown.report
    assert shown.files[-1] == folder / "index.html"
    assert set(folder.iterdir()) == set(shown.files)
    made = designed()
    assert shown.asked["given"] == {"seed": 5, "progress": False}
    assert len(shown.asked["rows"]) == 300
    for name, frames in (("truth", 2), ("reconstruction", 2), ("made", 6)):
        assert len(ase.io.read(folder / f"{name}.extxyz", ":")) == frames
    truth = prototypes.load(PEROVSKITE)
    for name in ("truth.cif", "reconstruction.cif"):
        crystal = ase.io.read(folder / name)
        assert crystal.pbc.all()
        assert sorted(crystal.symbols) == sorted(truth.symbols)
        assert np.allclose(crystal.cell.cellpar(), truth.cell.cellpar())
    info = ase.io.read(folder / "made.extxyz", "0").info
    wanted = {"target", "predicted", "deviation", "residual", "emt", "networks"}
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
    assert numbers["reconstructions"]["decagon"]["converged"] == 1
    assert report["structures"]["decagon"]["residual"] == 2e-9
    assert report["structures"]["decagon"]["rmsd"] < 1e-6
    assert str(made) in shown.said
    assert "methylammonium lead bromide     12     2050   2.0e-09" in shown.said
    assert all(len(line) <= 100 for line in shown.said.splitlines())


def test_the_search_gets_no_positions(shown: Shown) -> None:
    (flat, ring, first), (values, crystal, second) = shown.asked["calls"]
    decagon, perovskite = shown.asked["examples"].values()
    assert np.array_equal(flat, featurize(decagon, ring))
    assert np.array_equal(values, featurize(perovskite, crystal))
    assert (first["symbols"], first["cell"]) == ("Pt10", None)
    assert second["symbols"] == perovskite.get_chemical_formula()
    assert np.array_equal(second["cell"], perovskite.cell.array)
    assert first["seed"] == second["seed"] == 5


class Page(HTMLParser):
    """Links, pictures and words of a page; it checks that all elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        named = dict(attributes)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        if tag == "a":
            self.links.append(named["href"])
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
    names = ("demo.png", "design.png")
    assert pictures == [(shown.folder / name).read_bytes() for name in names]
    assert all(word in page.words for row in designed().rows for word in row.cells)
    assert all(remark in page.words for remark in designed().remarks)
    assert "\n".join(shown.report["next"]) in page.words


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


@pytest.mark.usefixtures("quick")
def test_nothing_is_replaced_unless_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_recover", lambda *_: pytest.fail("began"))
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
    figure = design_summary(DesignSummary(made.structures, known, made.tolerance))
    left, right, *below = figure.axes
    info = [atoms.info for atoms in made.structures]
    drawn = np.concatenate([line.get_ydata() for line in left.lines])
    assert set(drawn) >= {each[name] for each in info for name in ("predicted", "networks")}
    points = {tuple(point) for line in right.lines for point in np.transpose(line.get_data())}
    assert points == {(each["predicted"], each["emt"]) for each in info} | set(
        zip(*known, strict=True)
    )
    titles = [ax.get_title() for ax in below]
    assert len(titles) == 4
    assert all(title.startswith(f"target {targets()[1]:g}\n") for title in titles[2:])
    with pytest.raises(ValueError, match="expected structures to draw, got none"):
        design_summary(DesignSummary([], known, tolerance=0.1))
