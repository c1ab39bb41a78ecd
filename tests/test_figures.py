"""The contract of every figure in the registry, and where figures are drawn."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import imread

from jaxrecon import plotting
from jaxrecon.plotting.canvas import Canvas, figure_of, panels, save
from jaxrecon.plotting.figures import FIGURES, example_of

pytestmark = pytest.mark.contract

EVERY = pytest.mark.parametrize("name", FIGURES)


def ink(picture: np.ndarray) -> float:
    """Fraction of pixels that differ from the first one."""
    return float(np.mean(np.any(picture != picture[0, 0], axis=-1)))


def has_label(axis: Axis) -> bool:
    """Whether an axis whose ticks have labels has one itself."""
    ticks = [label.get_text() for label in axis.get_ticklabels() if label.get_visible()]
    return bool(axis.get_label_text()) or not any(ticks)


@EVERY
def test_figure_has_labels_and_is_written(name: str, tmp_path: Path) -> None:
    figure = FIGURES[name](example_of(name))
    assert isinstance(figure, Canvas)
    save(figure, tmp_path / "drawn.png")
    assert ink(imread(tmp_path / "drawn.png")) > 0.01
    for ax in figure.axes:
        assert not ax.axison or (has_label(ax.xaxis) and has_label(ax.yaxis))


@EVERY
def test_figure_is_drawn_in_the_place_of_axes(name: str, tmp_path: Path) -> None:
    page = Canvas(16.0, 6.0)
    left, right = page.subplots(1, 2)
    assert FIGURES[name](example_of(name), left) is page
    save(page, tmp_path / "page.png")
    picture = imread(tmp_path / "page.png")
    assert ink(picture[:, : picture.shape[1] // 2]) > 0.01
    assert not right.has_data()
    edge = right.get_window_extent().x0
    assert all(ax is right or ax.get_window_extent().x1 < edge for ax in page.axes)


@EVERY
def test_figure_leaves_its_data_as_they_are(name: str) -> None:
    data = example_of(name)
    before = pickle.dumps(data)
    FIGURES[name](data)
    assert pickle.dumps(data) == before


def test_every_function_of_data_and_axes_is_registered() -> None:
    found = {
        name: function
        for module in pkgutil.iter_modules(plotting.__path__, "jaxrecon.plotting.")
        for name, function in inspect.getmembers(importlib.import_module(module.name), callable)
        if not inspect.isclass(function)
        and list(inspect.signature(function).parameters) == ["data", "ax"]
    }
    assert found == FIGURES


def test_axes_of_a_subfigure_have_a_place_too() -> None:
    page = Canvas(12.0, 4.0)
    left, right = page.subfigures(1, 2)
    assert figure_of(left) is figure_of(page) is page
    for name, part in (("parity", left), ("success_curves", right)):
        assert FIGURES[name](example_of(name), part.subplots()) is page
    page.draw_without_rendering()
    edges = [ax.get_window_extent().x0 for ax in page.axes]
    assert max(edges[:2]) < right.bbox.x0 < min(edges[2:])


def test_several_panels_need_a_place_in_a_grid() -> None:
    figure = Figure()
    with pytest.raises(ValueError, match="expected axes of a grid, as `subplots` makes them"):
        panels(figure.add_axes((0.1, 0.1, 0.8, 0.8)), 4.0, 3.0)


@pytest.mark.parametrize(
    ("suffix", "begin"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_the_suffix_decides_the_format(suffix: str, begin: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"drawn.{suffix}"
    save(FIGURES["parity"](example_of("parity")), path)
    assert path.read_bytes().startswith(begin)


def test_jupyter_shows_a_canvas() -> None:
    assert Canvas(2.0, 1.0)._repr_png_().startswith(b"\x89PNG")
