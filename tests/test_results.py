"""Results: a table in a terminal and in Jupyter, a data frame and a figure."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from jaxrecon import Fingerprint, reconstruct
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.plotting.canvas import COLORS, SMALLEST_RESIDUAL
from jaxrecon.plotting.residuals import ResidualCurves, residual_curves
from jaxrecon.plotting.runs import STYLES, RunSummary, run_summary
from jaxrecon.runtime import tables
from jaxrecon.search import batches, polishing
from jaxrecon.search.certificate import Certificate
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.results import Reconstruction, Result, ResultCode
from jaxrecon.search.solutions import Solution
from jaxrecon.structures.io import write_structures

FIRM = Certificate(3, 0, 0.05, 3e-8, 1e-3)
LOOSE = Certificate(3, 1, 0.0, np.inf, 0.0)
WATER = Atoms("OH2", [(0.0, 0.0, 0.0), (0.76, 0.59, 0.0), (-0.76, 0.59, 0.0)])


def result(residual: float, gradients: int, **changes: Any) -> Result:
    """A result with a given residual and number of gradients."""
    code = ResultCode.of(residual, 1e-6)
    evaluations = {"values": 1000, "gradients": gradients, "jacobians": 30}
    return replace(Result(WATER, residual, code, 2, evaluations, 1.25), **changes)


@pytest.fixture
def run() -> Reconstruction:
    loose = {"others": (Solution(WATER, 1e-8, FIRM),), "certificate": LOOSE}
    loose["code"] = ResultCode.UNCERTAIN
    found = [
        result(2e-9, 10_000, certificate=FIRM),
        result(3e-2, 90_000, hops=12),
        result(0.0, 400, **loose),
        result(np.inf, 90_000, atoms=Atoms("Pt", [[np.nan] * 3])),
    ]
    return Reconstruction(found, [], ReconstructConfig(), seed=0, seconds=9.0)


@pytest.fixture
def made() -> Generated:
    structures = [WATER.copy() for _ in range(4)]
    for number, atoms in enumerate(structures):
        atoms.info = {"target": 2.8, "predicted": (2.8, 2.9, 5.0, np.nan)[number]}
        atoms.info |= {"duplicate": number == 1, "accepted": number != 1}
    return Generated(structures, np.eye(4), np.ones(4), {"config": {"tolerance": 0.1}})


class Cells(HTMLParser):
    """The text of each cell of an HTML table, row by row, as a browser shows it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_run_prints_as_a_table(run: Reconstruction) -> None:
    assert str(run).splitlines() == [
        "target  formula  residual  error (A)  code        hops  evaluations    s",
        "     0  H2O       2.0e-09    3.0e-08  converged      2       11,030  1.2",
        "     1  H2O       3.0e-02          -  stalled       12       91,030  1.2",
        "     2  H2O       0.0e+00        inf  uncertain      2        1,430  1.2",
        "     3  Pt            inf          -  non_finite     2       91,030  1.2",
        "1 of 4 converged, 1 uncertain, in 9.0 s",
        f"stalled: {ResultCode.STALLED.advice}",
        f"non_finite: {ResultCode.NON_FINITE.advice}",
        f"uncertain: {ResultCode.UNCERTAIN.advice}",
    ]
    assert repr(run) == str(run)


def test_each_solution_has_its_own_code() -> None:
    others = (
        Solution(WATER, 8e-3, FIRM),
        Solution(WATER, 1e-9, LOOSE),
        Solution(WATER, 1e-9, FIRM),
    )
    found = [result(2e-9, 10, certificate=FIRM, others=others)]
    run = Reconstruction(found, [], ReconstructConfig(), seed=0, seconds=9.0)
    codes = [atoms.info["result_code"] for atoms in run.to_atoms(others=True)]
    assert codes == ["converged", "stalled", "uncertain", "converged"]


def test_jupyter_shows_the_same_text(run: Reconstruction, made: Generated) -> None:
    for shown in (run, made):
        cells = Cells(shown._repr_html_())
        assert not cells.open
        lines = [re.split(r"\s{2,}", line.strip()) for line in str(shown).splitlines()]
        assert [[word for word in row if word] for row in cells.rows] == lines[: len(cells.rows)]
    assert "1 of 4 converged, 1 uncertain, in 9.0 s" in run._repr_html_()


def test_text_in_a_table_is_never_markup() -> None:
    html = tables.html({"<b>": "<", "a": ">"}, [["<script>", '"&']], "<i>")
    assert Cells(html).rows == [["<b>", "a"], ["<script>", '"&']]
    assert not {"<b>", "<script>", "<i>"} & set(re.findall(r"<\w+>", html))


def test_jupyter_shows_the_first_of_many_rows(run: Reconstruction) -> None:
    many = replace(run, results=[run[0]] * (tables.SHOWN + 7))
    html = many._repr_html_()
    assert len(Cells(html).rows) == 1 + tables.SHOWN
    assert f"{tables.SHOWN + 7} of {tables.SHOWN + 7} converged in 9.0 s; 7 more rows" in html
    assert len(str(many).splitlines()) == tables.SHOWN + 9


def test_a_data_frame_has_a_row_for_each_target(run: Reconstruction) -> None:
    frame = run.to_dataframe()
    assert frame.index.name == "target"
    assert frame["code"].tolist() == ["converged", "stalled", "uncertain", "non_finite"]
    assert frame["evaluations"].tolist() == [11_030, 91_030, 1_430, 91_030]
    assert frame["gradients"].tolist() == [10_000, 90_000, 400, 90_000]
    assert frame["solutions"].tolist() == [1, 1, 2, 1]
    np.testing.assert_array_equal(frame["residual"], [own.residual for own in run])
    np.testing.assert_array_equal(frame["position_error"], [3e-8, np.nan, np.inf, np.nan])
    np.testing.assert_array_equal(frame["rank_deficiency"], [0, np.nan, 1, np.nan])
    np.testing.assert_array_equal(frame["singular_value"], [0.05, np.nan, 0.0, np.nan])
    kinds = {"formula", "hops", "seconds", "values", "jacobians"}
    certificate = {"position_error", "rank_deficiency", "singular_value"}
    rest = {"code", "evaluations", "gradients", "residual", "solutions", "tolerance"}
    assert set(frame) == kinds | certificate | rest


def test_certificates_stand_beside_structures(run: Reconstruction, tmp_path: Path) -> None:
    """Of each solution its own; in files too, where infinity stays infinite."""
    write_structures(tmp_path / "found.extxyz", run.to_atoms(others=True))
    frames = read(tmp_path / "found.extxyz", index=":")
    assert [atoms.info.get("position_error") for atoms in frames] == [
        3e-8,
        None,
        np.inf,
        3e-8,
        None,
    ]
    assert [frames[2].info[name] for name in ("rank_deficiency", "singular_value")] == [1, 0.0]
    targets = run.to_dict()["targets"]
    assert [each["position_error"] for each in targets] == [3e-8, None, np.inf, None]
    assert np.isnan(run[1].position_error)
    assert run[0].continued(run[1]).certificate == FIRM
    assert (run.converged, run.uncertain) == (1, 1)


def test_a_data_frame_of_generated_structures(made: Generated) -> None:
    frame = made.to_dataframe()
    assert frame["formula"].tolist() == ["H2O"] * 4
    assert frame["accepted"].tolist() == [True, False, True, True]
    np.testing.assert_array_equal(frame["predicted"], [2.8, 2.9, 5.0, np.nan])


def test_the_figure_of_a_run_has_every_target_and_the_part_that_is_solved(
    run: Reconstruction,
) -> None:
    residuals, solved, work = run.plot().axes
    points = {
        line.get_label(): list(zip(*line.get_data(), strict=True)) for line in residuals.lines
    }
    assert points["converged (1)"] == [(0, 2e-9)]
    assert points["uncertain (1)"] == [(2, SMALLEST_RESIDUAL)]
    assert points["stalled (1)"] == [(1, 3e-2)]
    [(place, height)] = points["non-finite (1)"]
    assert place == 3
    assert height > 3e-2
    spent = dict(point for line in work.lines for point in zip(*line.get_data(), strict=True))
    assert spent == {0: 11_030, 1: 91_030, 2: 1_430, 3: 91_030}
    across, up = solved.lines[0].get_data()
    assert across[:-1].tolist() == [11_030, 11_030]
    assert across[-1] > 91_030
    assert up.tolist() == [0.0, 0.25, 0.25]


def test_the_figure_of_a_run_shows_what_noise_leaves_of_each_target(run: Reconstruction) -> None:
    limits = [None, 2e-3, 1e-6, 0.5]
    noisy = [replace(each, tolerance=limit) for each, limit in zip(run, limits, strict=True)]
    axis = replace(run, results=noisy).plot().axes[0]
    (line,) = axis.patches
    assert line.get_data().values.tolist() == [1e-6, 2e-3, 1e-6, 0.5]
    assert line.get_data().edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]


def test_every_result_code_has_a_style() -> None:
    assert set(STYLES) == {code.name.lower() for code in ResultCode}
    with pytest.raises(ValueError, match=r"expected result codes among .*, got \['lost'\]"):
        run_summary(RunSummary([1.0], [1.0], ["lost"], [1e-6]))


def test_a_figure_of_nothing_is_refused(run: Reconstruction, made: Generated) -> None:
    with pytest.raises(ValueError, match="expected at least one target to draw, got none"):
        replace(run, results=[]).plot()
    nothing = replace(made, structures=made.structures[3:])
    with pytest.raises(ValueError, match="expected predictions to draw, got none"):
        nothing.plot()
    unsolved = replace(run, results=[run[3]]).plot().axes[1].lines[0]
    assert set(unsolved.get_ydata()) == {0.0}


def test_the_figure_of_what_was_generated_counts_all_and_the_screened_ones(made: Generated) -> None:
    (axis,) = made.plot().axes
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts == ["wanted", "raw (3)", "screened (2)"]
    heights = [sum(bar.get_height() for bar in bars) for bars in axis.containers]
    assert heights == [3.0, 2.0]
    band = axis.patches[0]
    assert band.get_x() == pytest.approx(2.7)
    assert band.get_width() == pytest.approx(0.2)


def test_a_figure_of_one_target_has_ticks_that_can_be_read(run: Reconstruction) -> None:
    figure = replace(run, results=[run[0]]).plot()
    figure.draw_without_rendering()
    _, solved, work = figure.axes
    assert {place % 1.0 for place in work.get_xticks()} == {0.0}
    low, high = solved.get_xlim()
    assert high > 10.0 * low
    assert not any(text.get_text() for text in solved.get_xticklabels(minor=True))


def test_a_range_without_an_end_is_drawn_to_the_edge(made: Generated) -> None:
    for atoms in made:
        del atoms.info["target"]
        atoms.info["at_least"] = 4.0
    (axis,) = made.plot().axes
    band = axis.patches[0]
    assert band.get_x() == pytest.approx(3.9)
    assert band.get_x() + band.get_width() == pytest.approx(axis.get_xlim()[1])


def test_all_residuals_are_reported_after_every_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    def hop(keys: Any, tasks: Any, populations: Any, guidance: Any, weights: Any) -> Any:
        residuals = populations.residuals.at[:].set(jnp.array([3e-2, 1e-2, jnp.inf]))
        return populations.coordinates, residuals * (1 + populations.hops[:, None])

    monkeypatch.setattr(batches, "compiled_hop", lambda *_: hop)
    monkeypatch.setattr(
        polishing,
        "compiled_polish",
        lambda *_: lambda task, x, *_: (x, jnp.asarray(0.5), None, jnp.asarray(1.0)),
    )
    fingerprint = Fingerprint.preset("default", ["H", "O"])
    reported: dict[int, list[np.ndarray]] = {0: [], 1: []}
    reconstruct(
        np.ones((2, fingerprint.size)),
        fingerprint,
        symbols="OH2",
        indices=[3, 8],
        hops=3,
        restart_after=1,
        replicas=3,
        watch=lambda target, residuals: reported[target].append(residuals),
    )
    for hops in reported.values():
        # Residuals are reported even if the population restarts after the hop.
        np.testing.assert_allclose(
            hops, [[3e-2 * n, 1e-2 * n, np.inf] for n in (1, 2, 3)], rtol=1e-6
        )


def test_residual_curves_have_a_line_for_each_replica_and_the_best_so_far() -> None:
    history = np.array([[1e-2, np.inf], [3e-2, 1e-1], [np.inf, 2e-7]])
    (ax,) = residual_curves(ResidualCurves(history, tolerance=1e-6, title="water")).axes
    first, second, best, tolerance = ax.lines
    np.testing.assert_array_equal(first.get_ydata(), [1e-2, 3e-2, np.nan])
    np.testing.assert_array_equal(second.get_ydata(), [np.nan, 1e-1, 2e-7])
    np.testing.assert_array_equal(best.get_ydata(), [1e-2, 1e-2, 2e-7])
    assert set(tolerance.get_ydata()) == {1e-6}
    assert ax.get_title() == "water"
    assert best.get_color() in COLORS
    with pytest.raises(ValueError, match="expected residuals of replicas to draw, got none"):
        residual_curves(ResidualCurves([np.full(3, np.inf)]))


def test_predictions_that_are_less_sure_than_wanted(made: Generated) -> None:
    for deviation, lines in ((0.09, 3), (0.15, 4)):
        for atoms in made:
            atoms.info["deviation"] = deviation
        assert len(str(made).splitlines()) == lines
    doubt = "uncertain by 0.15 on average, more than the 0.1 that counts"
    assert doubt in str(made)
    assert doubt in made._repr_html_()
