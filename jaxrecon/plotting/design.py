"""Figures of inverse design: energies of the structures made for each target, and hit rates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxrecon.plotting.canvas import COLORS, INK, PALE, figure_of, panel, panels

BINS = 40
"""Bins of a histogram of energies."""


class TargetHistograms(NamedTuple):
    """Data of :func:`target_histograms`.

    Attributes:
        energies: energies in eV/atom, by target and by name of the group; those that are not
            finite are not drawn, and count as misses.
        within: largest distance from the target in eV/atom that counts as a hit.
        xlabel: label of the energies.
        items: plural of the things that have the energies.
    """

    energies: Mapping[float, Mapping[str, Float[np.ndarray, " n"]]]
    within: float
    xlabel: str = "formation energy (eV/atom)"
    items: str = "structures"

    @classmethod
    def example(cls) -> "TargetHistograms":
        """Two groups at each of three targets, as data to try the figure with."""
        random = np.random.default_rng(0)
        energies = {
            target: {
                "raw": random.normal(target, 0.2, 200),
                "screened": random.normal(target, 0.1, 50),
            }
            for target in (1.9, 2.8, 3.7)
        }
        return cls(energies, within=0.1)


class HitBars(NamedTuple):
    """Data of :func:`hit_bars`.

    Attributes:
        rows: rows of :func:`~jaxrecon.inverse_design.evaluation.over_seeds` by name of the
            method, with ``target`` in eV/atom, and ``within`` (fraction of hits) and ``spread``
            (its standard deviation), which may be None.
        title: title of the figure.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    title: str = ""

    @classmethod
    def example(cls) -> "HitBars":
        """Two methods at three targets, as data to try the figure with."""
        heights = {"guided": (0.9, 0.8, 0.6), "plain": (0.5, 0.4, 0.1)}
        rows = {
            method: [
                {"target": target, "within": height, "spread": 0.1}
                for target, height in zip((1.9, 2.8, 3.7), fractions, strict=True)
            ]
            for method, fractions in heights.items()
        }
        return cls(rows, title="example")


class PredictionHistogram(NamedTuple):
    """Data of :func:`prediction_histogram`.

    Attributes:
        predicted: predicted energies of all structures in eV/atom; NaN where there is none.
        accepted: whether each structure passed the screening.
        tolerance: largest distance from the wanted range in eV/atom that counts as a hit.
        wanted: ends of the wanted range in eV/atom, which may be infinite; None for no range.
    """

    predicted: Float[np.ndarray, " n"]
    accepted: Bool[np.ndarray, " n"]
    tolerance: float
    wanted: tuple[float, float] | None = None

    @classmethod
    def example(cls) -> "PredictionHistogram":
        """Two hundred predictions around a target, as data to try the figure with."""
        predicted = np.random.default_rng(0).normal(2.8, 0.2, 200)
        return cls(predicted, np.abs(predicted - 2.8) < 0.1, 0.1, (2.8, 2.8))


def target_histograms(data: TargetHistograms, ax: Axes | None = None) -> Figure:
    """Draw the distribution of energies around each target, one panel per target.

    Args:
        data: energies by target.
        ax: axes whose place the panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if no energy is finite.
    """
    every = np.concatenate(
        [values for groups in data.energies.values() for values in groups.values()] or [np.empty(0)]
    )
    every = every[np.isfinite(every)]
    if not len(every):
        raise ValueError("expected energies to draw, got none")
    # Percentiles, because a few outliers would squeeze all the others into a few bins.
    low, high = np.percentile(every, [1.0, 99.0])
    within = data.within
    ends = (min(low, *data.energies) - within, max(high, *data.energies) + within)
    edges = np.linspace(*ends, BINS + 1).tolist()
    figure = panels(ax, 6.4, 0.6 + 1.2 * len(data.energies))
    axes = figure.subplots(len(data.energies), 1, squeeze=False, sharex=True)[:, 0]
    for target_ax, (target, groups) in zip(axes, data.energies.items(), strict=True):
        target_ax.axvspan(target - within, target + within, color=PALE, lw=0)
        target_ax.axvline(target, color=INK, lw=0.8)
        for number, (name, values) in enumerate(groups.items()):
            # Outliers are counted in the outermost bins.
            finite = values[np.isfinite(values)]
            clipped = np.clip(finite, *ends)
            weights = np.full(len(finite), 1.0 / max(len(finite), 1))
            hits = np.mean(np.abs(values - target) <= within) if len(values) else 0.0
            target_ax.hist(
                clipped,
                edges,
                weights=weights,
                histtype="step",
                color=COLORS[number % len(COLORS)],
                label=f"{name}: {100 * hits:.0f} % of {len(values)}",
            )
        target_ax.set_ylabel(f"{target:g}")
        target_ax.set_yticks([])
        target_ax.legend(fontsize=7)
    axes[-1].set_xlabel(data.xlabel)
    figure.supylabel(f"{data.items}, for each target in eV/atom", fontsize=10)
    return figure_of(figure)


def hit_bars(data: HitBars, ax: Axes | None = None) -> Figure:
    """Draw the fraction of structures that hits each target, with its spread, as bars.

    Args:
        data: hit rates by method and target.
        ax: axes to draw in; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no row.
    """
    targets = sorted({row["target"] for rows in data.rows.values() for row in rows})
    if not targets:
        raise ValueError("expected rows to draw, got none")
    methods = len(data.rows)
    ax = panel(ax, 1.6 + 0.25 * len(targets) * (methods + 1), 3.8)
    width = 1.0 / (methods + 1)
    for number, (name, rows) in enumerate(data.rows.items()):
        known = [row for row in rows if row["within"] is not None]
        xs = [targets.index(row["target"]) + width * number for row in known]
        heights = [100.0 * row["within"] for row in known]
        spreads = [100.0 * (row["spread"] or 0.0) for row in known]
        colour = COLORS[number % len(COLORS)]
        ax.bar(xs, heights, width, yerr=spreads, color=colour, ecolor=INK, label=name)
    middle = width * (methods - 1) / 2.0
    ax.set_xticks([x + middle for x in range(len(targets))], [f"{t:g}" for t in targets])
    ax.set_xlabel("target (eV/atom)")
    ax.set_ylabel("hits (%)")
    # The legend stands above the bars.
    ax.set_ylim(0.0, 120.0)
    ax.set_yticks(range(0, 101, 20))
    ax.legend(fontsize=7)
    ax.set_title(data.title, fontsize=9)
    return figure_of(ax)


def prediction_histogram(data: PredictionHistogram, ax: Axes | None = None) -> Figure:
    """Draw the distribution of predicted energies, for all structures and for the screened ones.

    Args:
        data: the predictions.
        ax: axes to draw in; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if no prediction is finite.
    """
    finite = np.isfinite(data.predicted)
    if not finite.any():
        raise ValueError("expected predictions to draw, got none")
    ax = panel(ax, 5.2, 3.4)

    # The axis covers the predictions and the finite ends of the wanted range.
    predicted, tolerance = data.predicted[finite], data.tolerance
    ends = [end for end in data.wanted or () if math.isfinite(end)]
    low = min([predicted.min(), *ends]) - tolerance
    high = max([predicted.max(), *ends]) + tolerance
    if data.wanted is not None:
        band = np.clip([data.wanted[0] - tolerance, data.wanted[1] + tolerance], low, high)
        ax.axvspan(*band, color=PALE, lw=0, zorder=0, label="wanted")
    edges = np.linspace(low, high, BINS + 1).tolist()
    groups = (
        ("raw", predicted, COLORS[5]),
        ("screened", predicted[data.accepted[finite]], COLORS[0]),
    )
    for name, values, colour in groups:
        ax.hist(values, edges, color=colour, label=f"{name} ({len(values)})")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlim(low, high)
    ax.set_xlabel("predicted energy (eV/atom)")
    ax.set_ylabel(f"structures in {edges[1] - edges[0]:.2g} eV/atom")
    ax.legend(fontsize=8)
    return figure_of(ax)
