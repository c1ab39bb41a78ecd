"""Figures of runs: how many targets are solved, and the work on each of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from jaxrecon.plotting.canvas import COLORS, GRID, INK, SMALLEST_RESIDUAL, figure_of, panels

CONVERGED = "converged"
"""Result code of a target that was hit."""

STYLES = {
    CONVERGED: (COLORS[0], "o"),
    "uncertain": (COLORS[2], "D"),
    "stalled": (COLORS[1], "s"),
    "non_finite": (INK, "x"),
    "overflow": (COLORS[3], "^"),
}
"""Colour and marker of each result code."""

MIN_AXIS_RATIO = 12.0
"""Smallest ratio of the two ends of a logarithmic axis."""


class Curve(NamedTuple):
    """The work of one search on those of its targets that it solved.

    Attributes:
        name: name of the search.
        targets: number of targets, solved or not.
        evaluations: evaluations spent on each solved target. All curves of a figure count the same
            kind.
        seconds: wall time of each solved target.
    """

    name: str
    targets: int
    evaluations: Sequence[float]
    seconds: Sequence[float]


class SuccessCurves(NamedTuple):
    """Data of :func:`success_curves`.

    Attributes:
        curves: one search each.
        title: title above both panels.
        unit: kind of evaluations that the curves count.
    """

    curves: Sequence[Curve]
    title: str = ""
    unit: str = "loss-and-gradient evaluations"

    @classmethod
    def example(cls) -> "SuccessCurves":
        """Two searches for ten targets, as data to try the figure with."""
        work = [2e3, 4e3, 4e3, 9e3, 3e4, 1e5]
        fast = Curve("ours", 10, work, [evaluations / 1e3 for evaluations in work])
        return cls([fast, Curve("theirs", 10, [3e4, 8e4], [95.0, 240.0])], title="example")


class RunSummary(NamedTuple):
    """Data of :func:`run_summary`: one value per target, in the order of the targets.

    Attributes:
        residuals: mean absolute residual, without a unit; infinite or NaN if there is none.
        evaluations: fingerprint evaluations of all kinds.
        codes: names of the result codes in lower case, like ``"converged"``.
        tolerances: residuals up to which the targets count as hit.
    """

    residuals: Sequence[float]
    evaluations: Sequence[float]
    codes: Sequence[str]
    tolerances: Sequence[float]

    @classmethod
    def example(cls) -> "RunSummary":
        """Five targets, of which three are hit, as data to try the figure with."""
        codes = ["converged", "stalled", "converged", "non_finite", "converged"]
        work = [11e3, 91e3, 14e2, 91e3, 5e4]
        return cls([2e-9, 3e-2, 0.0, np.inf, 4e-8], work, codes, [1e-6] * 5)


def success_curves(data: SuccessCurves, ax: Axes | None = None) -> Figure:
    """Draw the fraction of targets that is solved against the evaluations and the time per target.

    Args:
        data: the curves.
        ax: axes whose place the two panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no curve, or one without targets.
    """
    if not data.curves or any(curve.targets < 1 for curve in data.curves):
        raise ValueError("expected curves of at least one target each, got none")
    figure = panels(ax, 9.0, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for work_ax, name in ((left, "evaluations"), (right, "seconds")):
        work = [list(getattr(curve, name)) for curve in data.curves]
        _logarithmic(work_ax)
        work_ax.set_prop_cycle(color=COLORS)
        end = 1.2 * max((max(values) for values in work if values), default=1.0)
        # Later curves are thinner: where several coincide, all of them can be seen.
        widths = np.linspace(3.5, 1.2, len(data.curves))
        for curve, values, width in zip(data.curves, work, widths, strict=True):
            xs, ys = _steps(values, curve.targets, end)
            work_ax.step(xs, ys, where="post", lw=width, label=curve.name)
    left.set_xlabel(f"{data.unit} per target")
    right.set_xlabel("seconds per target")
    left.set_ylabel("fraction of targets solved")
    for work_ax in (left, right):
        work_ax.set_ylim(0.0, 1.02)
        work_ax.grid(color=GRID, lw=0.6)
    right.legend(loc="lower right", fontsize=8)
    figure.suptitle(data.title, fontsize=10)
    return figure_of(figure)


def cumulative(work: Sequence[float], targets: int) -> tuple[list[float], list[float]]:
    """Steps of a success curve.

    Args:
        work: work spent on each solved target.
        targets: number of targets, solved or not.

    Returns:
        The amounts of work at which the curve rises, and the fraction of targets that is solved
        from there on.

    >>> cumulative([30.0, 10.0, 30.0], 4)
    ([10.0, 30.0], [0.25, 0.75])
    """
    steps, counts = np.unique(np.asarray(work, float), return_counts=True)
    return steps.tolist(), (np.cumsum(counts) / targets).tolist()


def run_summary(data: RunSummary, ax: Axes | None = None) -> Figure:
    """Draw residual and evaluations of each target, and the fraction of targets that is solved.

    A target without a finite residual stands at the upper edge.

    Args:
        data: one value per target.
        ax: axes whose place the three panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no target, or a result code is unknown.
    """
    if not len(data.residuals):
        raise ValueError("expected at least one target to draw, got none")
    if unknown := set(data.codes) - set(STYLES):
        raise ValueError(f"expected result codes among {list(STYLES)}, got {sorted(unknown)}")
    residuals, evaluations = np.array(data.residuals, float), np.array(data.evaluations, float)
    codes, tolerances = np.array(data.codes), np.array(data.tolerances, float)
    figure = panels(ax, 8.0, 4.2)
    axes = figure.subplot_mosaic([["residual", "solved"], ["work", "solved"]])
    above, below, right = axes["residual"], axes["work"], axes["solved"]

    # The upper edge is above all finite residuals and above the tolerances.
    finite = np.isfinite(residuals)
    top = 3.0 * residuals[finite].max(initial=tolerances.max())
    heights = np.where(finite, np.maximum(residuals, SMALLEST_RESIDUAL), top)
    for code, (colour, marker) in STYLES.items():
        rows = np.flatnonzero(codes == code)
        if len(rows):
            label = f"{code.replace('_', '-')} ({len(rows)})"
            style: dict[str, Any] = {"color": colour, "marker": marker, "ls": "", "ms": 4.0}
            above.plot(rows, heights[rows], label=label, **style)
            below.plot(rows, evaluations[rows], **style)
    edges = np.arange(len(residuals) + 1) - 0.5
    above.stairs(tolerances, edges, baseline=None, color=INK, lw=0.8, ls="--", zorder=0)
    above.set_ylabel("residual")
    above.tick_params(labelbottom=False)
    below.set_ylabel("evaluations")
    below.set_xlabel("target")
    for target_ax in (above, below):
        target_ax.set_yscale("log")
        target_ax.set_xlim(-0.5, len(residuals) - 0.5)
        target_ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _solved(right, evaluations[codes == CONVERGED], len(residuals), evaluations.max())
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8)
    return figure_of(figure)


def _steps(work: Sequence[float], targets: int, end: float) -> tuple[list[float], list[float]]:
    """Points of a success curve that starts at zero and goes on to an end."""
    steps, solved = cumulative(work, targets)
    xs, ys = [*steps, end], [*solved, solved[-1] if solved else 0.0]
    return [xs[0], *xs], [0.0, *ys]


def _solved(ax: Axes, work: Float[np.ndarray, " n"], targets: int, most: float) -> None:
    """Draw the fraction of targets that is solved against the work on each."""
    xs, ys = _steps(work.tolist(), targets, 1.2 * most)
    ax.step(xs, ys, where="post", color=COLORS[0], lw=1.8)
    _logarithmic(ax)
    # At least one decade, so that ticks have labels.
    ax.set_xlim(min(xs[0], 1.2 * most / MIN_AXIS_RATIO) / 1.2, 1.2 * most)
    ax.set_ylim(0.0, 1.02)
    ax.set_xlabel("evaluations per target")
    ax.set_ylabel("fraction of targets certified")
    ax.grid(color=GRID, lw=0.6)


def _logarithmic(ax: Axes) -> None:
    """Make a logarithmic axis with numbers at 1 and 3 of each decade, which do not overlap."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
