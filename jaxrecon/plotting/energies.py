"""Figures of energies: their distribution, and their agreement with reference energies."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxrecon.plotting.canvas import COLORS, INK, figure_of, panel, panels

BINS = 60
"""Bins of the histogram of energies."""


class EnergyHistogram(NamedTuple):
    """Data of :func:`energy_histogram`; energies in eV/atom, NaN where unknown.

    Attributes:
        groups: energies by kind of structure, which are stacked.
        outlines: energies of subsets of the whole by name, each drawn as a line.
    """

    groups: Mapping[str, Float[np.ndarray, " n"]]
    outlines: Mapping[str, Float[np.ndarray, " n"]]

    @classmethod
    def example(cls) -> "EnergyHistogram":
        """Two kinds of structures and one subset, as data to try the figure with."""
        random = np.random.default_rng(0)
        minima, rattled = random.normal(2.0, 0.2, 300), random.normal(2.8, 0.4, 200)
        return cls({"minimum": minima, "rattled": rattled}, {"labelled": minima[:90]})


class Parity(NamedTuple):
    """Data of :func:`parity`.

    Attributes:
        groups: pairs of energies and their references in eV/atom, by kind of structure.
        xlabel: label of the references.
        ylabel: label of the energies.
    """

    groups: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]
    xlabel: str = "reference energy (eV/atom)"
    ylabel: str = "energy (eV/atom)"

    @classmethod
    def example(cls) -> "Parity":
        """Energies of two kinds of structures, as data to try the figure with."""
        random = np.random.default_rng(0)
        references = {"minimum": random.uniform(1.8, 2.4, 60), "rattled": random.uniform(2, 3.7, 9)}
        return cls(
            {
                kind: (values + random.normal(0.02, 0.05, len(values)), values)
                for kind, values in references.items()
            }
        )


class Agreement(NamedTuple):
    """Mean differences of energies from their references in eV/atom.

    Attributes:
        low: lower end of the range of the references.
        high: upper end of the range, which is excluded.
        structures: number of references in the range.
        error: mean absolute difference.
        bias: mean difference, positive if the energies are too high.
    """

    low: float
    high: float
    structures: int
    error: float
    bias: float


def agreement(
    energies: Float[np.ndarray, " n"],
    references: Float[np.ndarray, " n"],
    edges: Sequence[float] | np.ndarray,
) -> list[Agreement]:
    """Mean error and bias of energies, for all of them and in ranges of the references.

    Args:
        energies: energies to compare, in eV/atom.
        references: energies that are taken as true, in eV/atom.
        edges: ends of the ranges in ascending order, in eV/atom.

    Returns:
        All pairs first, then each range that has at least one. Pairs with a number that is not
        finite are left out.

    Raises:
        ValueError: if there is no pair of finite numbers.

    >>> energies, references = np.array([1.0, 2.2, 3.0]), np.array([1.1, 2.1, 2.9])
    >>> rows = agreement(energies, references, [1, 2, 3])
    >>> [(row.structures, round(row.bias, 2)) for row in rows]
    [(3, 0.03), (1, -0.1), (2, 0.1)]
    """
    both = np.isfinite(energies) & np.isfinite(references)
    if not both.any():
        raise ValueError("expected at least one pair of energies to compare, got none")
    references = references[both]
    differences = energies[both] - references
    ranges = [(float(references.min()), float(np.nextafter(references.max(), np.inf)))]
    ranges += [(float(low), float(high)) for low, high in pairwise(edges)]
    rows = []
    for low, high in ranges:
        inside = differences[(references >= low) & (references < high)]
        if len(inside):
            error, bias = float(np.abs(inside).mean()), float(inside.mean())
            rows.append(Agreement(low, high, len(inside), error, bias))
    return rows


def energy_histogram(data: EnergyHistogram, ax: Axes | None = None) -> Figure:
    """Draw the distribution of formation energies, stacked by kind of structure.

    Args:
        data: the energies.
        ax: axes to draw in; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if no energy is finite.
    """
    finite = {name: values[np.isfinite(values)] for name, values in data.groups.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    if not finite:
        raise ValueError("expected formation energies to draw, got none")
    edges = np.histogram_bin_edges(np.concatenate(list(finite.values())), BINS).tolist()
    ax = panel(ax, 6.4, 4.0)
    colours = [COLORS[number % len(COLORS)] for number in range(len(finite))]
    labels = [f"{name} ({len(values)})" for name, values in finite.items()]
    ax.hist(list(finite.values()), edges, stacked=True, color=colours, label=labels)
    for number, (name, values) in enumerate(data.outlines.items()):
        style = ("-", "--", ":", "-.")[number % 4]
        subset = values[np.isfinite(values)]
        label = f"{name} ({len(subset)})"
        ax.hist(subset, edges, histtype="step", color=INK, ls=style, label=label)
    ax.set_xlabel("formation energy (eV/atom)")
    ax.set_ylabel(f"structures in {edges[1] - edges[0]:.2g} eV/atom")
    ax.legend(fontsize=8)
    return figure_of(ax)


def parity(data: Parity, ax: Axes | None = None) -> Figure:
    """Draw energies against their references, and the differences below.

    Args:
        data: pairs of energies.
        ax: axes whose place the two panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no pair of finite numbers.
    """
    energies = np.concatenate([values for values, _ in data.groups.values()] or [np.empty(0)])
    references = np.concatenate([values for _, values in data.groups.values()] or [np.empty(0)])
    total = agreement(energies, references, [])[0]
    figure = panels(ax, 4.6, 6.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for number, (name, (values, truth)) in enumerate(data.groups.items()):
        # Small groups are drawn above large ones, which would hide them.
        order = 2.0 + 1.0 / (1.0 + len(truth))
        colour = COLORS[number % len(COLORS)]
        style: dict[str, Any] = {"s": 9, "lw": 0, "alpha": 0.7, "zorder": order, "color": colour}
        above.scatter(truth, values, label=name, **style)
        below.scatter(truth, values - truth, **style)

    # Lines of perfect agreement.
    ends = [total.low, total.high]
    above.plot(ends, ends, color=INK, lw=0.8, zorder=0)
    below.axhline(0.0, color=INK, lw=0.8, zorder=0)
    above.set_title(
        f"{total.structures} structures: mean absolute difference {total.error:.3f},\n"
        f"mean difference {total.bias:+.3f} eV/atom",
        fontsize=9,
    )
    above.set_ylabel(data.ylabel)
    above.legend(fontsize=8)
    below.set_ylabel("difference")
    below.set_xlabel(data.xlabel)
    return figure_of(figure)
