"""Figures of runs: what each target took, how replicas got there, what was generated."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from jaxrecon.inverse_design.config import asked
from jaxrecon.inverse_design.generated import Generated
from jaxrecon.plotting.canvas import Canvas
from jaxrecon.plotting.data import PALE
from jaxrecon.plotting.reconstructions import COLORS, INK, cumulative
from jaxrecon.search.results import Reconstruction, ResultCode

STYLES = {
    ResultCode.CONVERGED: (COLORS[0], "o"),
    ResultCode.STALLED: (COLORS[1], "s"),
    ResultCode.NON_FINITE: (INK, "x"),
    ResultCode.OVERFLOW: (COLORS[3], "^"),
}
"""Colour and marker of each end of a search."""

LEAST = 1e-17
"""Residual at which those are drawn that are less, as a logarithm has no zero."""

BINS = 40

DECADE = 12.0
"""Least ratio of the ends of a logarithmic axis."""


def run_figure(run: Reconstruction) -> Canvas:
    """A figure of residual and evaluations of each target, and of the part that is solved.

    A target without a residual stands at the upper edge.

    Raises:
        ValueError: if there is no target.
    """
    if not len(run):
        raise ValueError("expected at least one target to draw, got none")
    figure = Canvas(8.0, 4.2)
    axes = figure.subplot_mosaic([["residual", "solved"], ["work", "solved"]])
    above, below, right = axes["residual"], axes["work"], axes["solved"]
    residuals = np.array([result.residual for result in run])
    spent = np.array([sum(result.evaluations.values()) for result in run], float)
    known = np.isfinite(residuals)
    top = 3.0 * max(residuals[known].max(initial=run.config.tolerance), run.config.tolerance)
    heights = np.where(known, np.maximum(residuals, LEAST), top)
    for code, (colour, marker) in STYLES.items():
        rows = np.flatnonzero([result.code is code for result in run])
        if len(rows):
            label = f"{code.name.lower().replace('_', '-')} ({len(rows)})"
            style: dict[str, Any] = {"color": colour, "marker": marker, "ls": "", "ms": 4.0}
            above.plot(rows, heights[rows], label=label, **style)
            below.plot(rows, spent[rows], **style)
    above.axhline(run.config.tolerance, color=INK, lw=0.8, ls="--", zorder=0)
    above.set_ylabel("residual")
    above.tick_params(labelbottom=False)
    below.set_ylabel("evaluations")
    below.set_xlabel("target")
    for axis in (above, below):
        axis.set_yscale("log")
        axis.set_xlim(-0.5, len(run) - 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    solved = [result.code is ResultCode.CONVERGED for result in run]
    _success(right, spent[solved], len(run), spent.max())
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8)
    return figure


def loss_curves(
    history: Sequence[Float[np.ndarray, " replicas"]] | Float[np.ndarray, "hops replicas"],
    path: str | Path,
    *,
    tolerance: float | None = None,
    title: str = "",
) -> None:
    """Write a picture of the residuals of all replicas, hop by hop, and of the best so far.

    Args:
        history: residuals after each hop, which :func:`~jaxrecon.search.reconstruct.reconstruct`
            tells to ``watch``; those that are not finite are not drawn.
        path: file to write; its suffix decides the format.
        tolerance: at which a target is hit, drawn as a line.
        title: above the picture.

    Raises:
        ValueError: if no residual is finite.
    """
    residuals = np.array(history, float)
    residuals[~np.isfinite(residuals)] = np.nan
    if residuals.ndim != 2 or np.isnan(residuals).all():
        raise ValueError("expected residuals of replicas to draw, got none")
    residuals = np.maximum(residuals, LEAST)
    hops = np.arange(1, len(residuals) + 1)
    best = np.fmin.accumulate(np.fmin.reduce(residuals, axis=1))
    figure = Canvas(4.6, 3.6)
    axis = figure.subplots()
    # Many lines are no more than a grey: what they have in common is seen in it.
    paleness = float(np.clip(2.0 / residuals.shape[1] ** 0.5, 0.2, 0.8))
    size = 2.0 if len(hops) < 30 else 0.0
    lines = axis.plot(hops, residuals, "o-", color=COLORS[5], lw=0.7, alpha=paleness, ms=size)
    lines[0].set_label(f"{residuals.shape[1]} replicas")
    axis.step(hops, best, where="post", color=COLORS[0], lw=1.8, label="best so far")
    if tolerance is not None:
        axis.axhline(tolerance, color=INK, lw=0.8, ls="--", zorder=0, label="tolerance")
    axis.set_yscale("log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlabel("hop")
    axis.set_ylabel("residual")
    for handle in axis.legend(fontsize=8).legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=160)


def generated_figure(made: Generated) -> Canvas:
    """A figure of how predictions are distributed, of all structures and of those that are kept.

    Raises:
        ValueError: if no prediction is finite.
    """
    predicted = np.array([atoms.info["predicted"] for atoms in made], float)
    kept = np.array([bool(atoms.info["kept"]) for atoms in made], bool)
    finite = np.isfinite(predicted)
    if not finite.any():
        raise ValueError("expected predictions to draw, got none")
    figure = Canvas(5.2, 3.4)
    axis = figure.subplots()
    tolerance = made.metadata["config"]["tolerance"]
    known = predicted[finite]
    wanted = asked(made[0].info)
    ends = [end for end in wanted or () if math.isfinite(end)]
    low, high = min([known.min(), *ends]) - tolerance, max([known.max(), *ends]) + tolerance
    if wanted is not None:
        band = np.clip([wanted[0] - tolerance, wanted[1] + tolerance], low, high)
        axis.axvspan(*band, color=PALE, lw=0, zorder=0, label="wanted")
    edges = np.linspace(low, high, BINS + 1).tolist()
    for name, rows, colour in (("raw", finite, COLORS[5]), ("kept", finite & kept, COLORS[0])):
        axis.hist(predicted[rows], edges, color=colour, label=f"{name} ({rows.sum()})")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlim(low, high)
    axis.set_xlabel("predicted energy (eV/atom)")
    axis.set_ylabel(f"structures in {edges[1] - edges[0]:.2g} eV/atom")
    axis.legend(fontsize=8)
    return figure


def _success(axis: Axes, spent: Float[np.ndarray, " n"], targets: int, end: float) -> None:
    """Draw the part of the targets that is solved against the work on each."""
    steps, parts = cumulative(spent.tolist(), targets)
    across, up = [*steps, 1.2 * end], [*parts, parts[-1] if parts else 0.0]
    axis.step([across[0], *across], [0.0, *up], where="post", color=COLORS[0], lw=1.8)
    axis.set_xscale("log")
    # One label at least, and none between decades: those would be in each other's way.
    axis.set_xlim(min(across[0], 1.2 * end / DECADE) / 1.2, 1.2 * end)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(0.0, 1.02)
    axis.set_xlabel("evaluations a target")
    axis.set_ylabel("part of the targets certified")
    axis.grid(color="#dddddd", lw=0.6)
