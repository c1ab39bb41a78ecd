"""Canvas of all figures: how they look, where their panels go, and how they are saved."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours of categories, which people with any colour vision can tell apart (Okabe and Ito,
"Color Universal Design", 2008)."""

INK = "#333333"
"""Colour of lines that mark a reference, like a target or a tolerance."""

PALE = "#d9d9d9"
"""Colour of the background: bands of tolerance, and points that only give context."""

GRID = "#dddddd"
"""Colour of grid lines."""

COLOR_MAP = "cividis"
"""Colour map of numbers, which is ordered for any colour vision and in greyscale."""

SMALLEST_RESIDUAL = 1e-17
"""Smaller residuals are drawn at this value, because a logarithmic axis has no zero."""


class Canvas(Figure):
    """A figure that Jupyter shows and that opens no window.

    Pyplot does not know of it, so that it is freed like any other object.

    Args:
        width: width in inches.
        height: height in inches.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.04))
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file.

    Args:
        figure: the figure to write.
        path: file to write; its suffix decides the format (``.png``, ``.pdf``, ``.svg``).

    Raises:
        OSError: if the file can't be written.
    """
    figure.savefig(path, dpi=160)


def panel(ax: Axes | None, width: float, height: float) -> Axes:
    """Axes for a figure of one panel: those that were passed, or those of a new canvas.

    Args:
        ax: axes of the caller, or None.
        width: width of a new canvas in inches.
        height: height of a new canvas in inches.

    Returns:
        The axes to draw in.
    """
    return Canvas(width, height).subplots() if ax is None else ax


def panels(ax: Axes | None, width: float, height: float) -> Figure | SubFigure:
    """Figure for several panels: a new canvas, or a subfigure in the place of the axes.

    Args:
        ax: axes of the caller, which are removed and whose place the panels divide; or None.
        width: width of a new canvas in inches.
        height: height of a new canvas in inches.

    Returns:
        The figure or subfigure to add panels to.

    Raises:
        ValueError: if the axes are not part of a grid, as those of ``subplots`` are.
    """
    if ax is None:
        return Canvas(width, height)
    place, parent = ax.get_subplotspec(), ax.figure
    if place is None:
        raise ValueError(
            "expected axes of a grid, as `subplots` makes them, got axes placed freely"
        )
    ax.remove()
    return parent.add_subfigure(place)


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis by numbers that do not overlap, however few decades it has.

    Matplotlib labels each of 1 to 9 where there is less than a decade. Call this when everything is
    drawn.

    Args:
        axis: the axis, like ``ax.xaxis``.
    """
    low, high = axis.get_view_interval()
    if high < 100.0 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:,g}")
    axis.set_minor_formatter(NullFormatter())


def figure_of(part: Axes | Figure | SubFigure) -> Figure:
    """The figure that axes or a subfigure belong to.

    Args:
        part: axes, a subfigure, or the figure itself.

    Returns:
        The figure that can be saved.
    """
    figure = part.figure if isinstance(part, Axes) else part
    return figure.canvas.figure
