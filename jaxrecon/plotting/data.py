"""Figures of data sets: energies, maps of fingerprints, how well two kinds of energies agree."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrecon.plotting.canvas import Canvas
from jaxrecon.plotting.reconstructions import COLORS, INK

MAP = "cividis"
"""Colours by which everybody, and a grey printer, can order energies."""

PALE = "#d9d9d9"

BINS = 60


class Agreement(NamedTuple):
    """How far energies are from their references, in eV/atom.

    Attributes:
        low: end of the range of the references.
        high: the other end, excluded.
        structures: how many references are in the range.
        error: mean absolute difference.
        bias: mean difference, positive where what is judged is too high.
    """

    low: float
    high: float
    structures: int
    error: float
    bias: float


def agreement(
    judged: Float[np.ndarray, " n"],
    references: Float[np.ndarray, " n"],
    edges: Sequence[float] | np.ndarray,
) -> list[Agreement]:
    """Mean error and bias in each range of the references that has any; of all of them first.

    Args:
        judged: energies in eV/atom.
        references: energies that are taken for true, in eV/atom.
        edges: ends of the ranges, ascending, in eV/atom.

    Raises:
        ValueError: if there is no pair of finite numbers.

    >>> judged, references = np.array([1.0, 2.2, 3.0]), np.array([1.1, 2.1, 2.9])
    >>> found = agreement(judged, references, [1, 2, 3])
    >>> [(each.structures, round(each.bias, 2)) for each in found]
    [(3, 0.03), (1, -0.1), (2, 0.1)]
    """
    both = np.isfinite(judged) & np.isfinite(references)
    if not both.any():
        raise ValueError("expected at least one pair of energies to compare, got none")
    references = references[both]
    differences = judged[both] - references
    ranges = [(float(references.min()), float(np.nextafter(references.max(), np.inf)))]
    ranges += [(float(low), float(high)) for low, high in pairwise(edges)]
    found = []
    for low, high in ranges:
        some = differences[(references >= low) & (references < high)]
        if len(some):
            error, bias = float(np.abs(some).mean()), float(some.mean())
            found.append(Agreement(low, high, len(some), error, bias))
    return found


def principal_components(
    values: Float[np.ndarray, "n p"], count: int = 2
) -> tuple[Float[np.ndarray, "n count"], Float[np.ndarray, " count"]]:
    """Coordinates along the axes of the largest variance, and their parts of the whole variance.

    The largest loading of every axis is positive, so that pictures of a set are alike.

    Args:
        values: one row a structure; the columns are centred and not scaled.
        count: how many axes.

    Raises:
        ValueError: if there are fewer rows or columns than axes.
    """
    if min(values.shape) < count:
        raise ValueError(f"expected at least {count} rows and columns, got shape {values.shape}")
    centred = np.asarray(values, np.float64) - values.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(count)])
    whole = max(float(variances.sum()), np.finfo(float).tiny)
    return centred @ axes, variances[::-1][:count].clip(0.0) / whole


def energy_histogram(
    groups: Mapping[str, np.ndarray], path: str | Path, *, outlines: Mapping[str, np.ndarray]
) -> None:
    """Write a picture of how formation energies are distributed.

    Args:
        groups: energies in eV/atom by what the structures are, one upon the other.
        path: file to write; its suffix decides the format.
        outlines: energies of parts of the whole, each as a line.

    Raises:
        ValueError: if there is no finite energy.
    """
    finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    if not finite:
        raise ValueError("expected formation energies to draw, got none")
    whole = np.concatenate(list(finite.values()))
    edges = np.histogram_bin_edges(whole, BINS).tolist()
    figure = Canvas(6.4, 4.0)
    axis = figure.subplots()
    colours = [COLORS[number % len(COLORS)] for number in range(len(finite))]
    labels = [f"{name} ({len(values)})" for name, values in finite.items()]
    axis.hist(list(finite.values()), edges, stacked=True, color=colours, label=labels)
    for number, (name, values) in enumerate(outlines.items()):
        style = ("-", "--", ":", "-.")[number % 4]
        some = values[np.isfinite(values)]
        axis.hist(some, edges, histtype="step", color=INK, ls=style, label=f"{name} ({len(some)})")
    axis.set_xlabel("formation energy (eV/atom)")
    axis.set_ylabel(f"structures in {edges[1] - edges[0]:.2g} eV/atom")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=160)


def principal_maps(
    values: Float[np.ndarray, "n p"],
    energies: Float[np.ndarray, " n"],
    subsets: Mapping[str, np.ndarray],
    path: str | Path,
) -> None:
    """Write maps of fingerprints, parts of a set above all of it, on the same two axes.

    Args:
        values: fingerprints, one row a structure.
        energies: formation energies in eV/atom, which decide the colours.
        subsets: indices of rows by title, one panel each.
        path: file to write; its suffix decides the format.

    Raises:
        ValueError: if there is no subset, or there are fewer than two rows or columns.
    """
    if not subsets:
        raise ValueError("expected at least one subset to draw, got none")
    places, parts = principal_components(values)
    known = energies[np.isfinite(energies)]
    limits = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    figure = Canvas(3.6 * len(subsets) + 0.8, 3.8)
    axes = figure.subplots(1, len(subsets), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (name, rows) in zip(axes, subsets.items(), strict=True):
        if len(rows) < len(values):
            axis.scatter(*places.T, s=4, color=PALE, lw=0, rasterized=True)
        # From high to low: what is rare and low-lying is not hidden.
        order = rows[np.argsort(-energies[rows], kind="stable")]
        dots = axis.scatter(
            *places[order].T,
            s=4 + 12 / (1 + len(rows) / 500),
            c=energies[order],
            cmap=MAP,
            vmin=limits[0],
            vmax=limits[1],
            lw=0,
            plotnonfinite=True,
            rasterized=True,
        )
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(f"first principal component ({100 * parts[0]:.0f} %)")
    axes[0].set_ylabel(f"second principal component ({100 * parts[1]:.0f} %)")
    figure.colorbar(dots, ax=axes.tolist(), label="formation energy (eV/atom)")
    figure.savefig(path, dpi=160)


def parity(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: str | Path,
    *,
    across: str,
    up: str,
) -> None:
    """Write a picture of energies against their references, and of the differences below it.

    Args:
        groups: pairs of energies and references, in eV/atom, by what the structures are.
        path: file to write; its suffix decides the format.
        across: what the references are.
        up: what the energies are.

    Raises:
        ValueError: if there is no pair of finite numbers.
    """
    judged = np.concatenate([each for each, _ in groups.values()] or [np.empty(0)])
    references = np.concatenate([each for _, each in groups.values()] or [np.empty(0)])
    whole = agreement(judged, references, [])[0]
    figure = Canvas(4.6, 6.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for number, (name, (energies, truth)) in enumerate(groups.items()):
        # Few are not hidden by many.
        order = 2.0 + 1.0 / (1.0 + len(truth))
        colour = COLORS[number % len(COLORS)]
        style: dict[str, Any] = {"s": 9, "lw": 0, "alpha": 0.7, "zorder": order, "color": colour}
        above.scatter(truth, energies, label=name, **style)
        below.scatter(truth, energies - truth, **style)
    ends = [whole.low, whole.high]
    above.plot(ends, ends, color=INK, lw=0.8, zorder=0)
    below.axhline(0.0, color=INK, lw=0.8, zorder=0)
    above.set_title(
        f"{whole.structures} structures: mean absolute difference {whole.error:.3f},\n"
        f"mean difference {whole.bias:+.3f} eV/atom",
        fontsize=9,
    )
    above.set_ylabel(f"{up} (eV/atom)")
    above.legend(fontsize=8)
    below.set_ylabel("difference")
    below.set_xlabel(f"{across} (eV/atom)")
    figure.savefig(path, dpi=160)
