"""Maps of fingerprints by their principal components."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxrecon.plotting.canvas import COLOR_MAP, PALE, figure_of, panels


class PrincipalMaps(NamedTuple):
    """Data of :func:`principal_maps`.

    Attributes:
        fingerprints: one row per structure.
        energies: formation energies in eV/atom, which decide the colours; NaN where unknown.
        subsets: indices of rows by title; each is one panel.
    """

    fingerprints: Float[np.ndarray, "n p"]
    energies: Float[np.ndarray, " n"]
    subsets: Mapping[str, np.ndarray]

    @classmethod
    def example(cls) -> "PrincipalMaps":
        """A hundred fingerprints and a subset of them, as data to try the figure with."""
        fingerprints = np.random.default_rng(0).normal(size=(100, 4)) * [3.0, 2.0, 0.5, 0.1]
        subsets = {"20 of them": np.arange(20), "all 100": np.arange(100)}
        return cls(fingerprints, fingerprints[:, 0] / 9.0 + 2.5, subsets)


def principal_components(
    values: Float[np.ndarray, "n p"], count: int = 2
) -> tuple[Float[np.ndarray, "n count"], Float[np.ndarray, " count"]]:
    """Coordinates along the axes of largest variance.

    The largest loading of every axis is positive, so that maps of one set are alike.

    Args:
        values: one row per structure; the columns are centred, not scaled.
        count: number of axes.

    Returns:
        The coordinates, and the fraction of the total variance along each axis.

    Raises:
        ValueError: if there are fewer rows or columns than axes.
    """
    if min(values.shape) < count:
        raise ValueError(f"expected at least {count} rows and columns, got shape {values.shape}")
    centred = np.asarray(values, np.float64) - values.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(count)])
    total = max(float(variances.sum()), np.finfo(float).tiny)
    return centred @ axes, variances[::-1][:count].clip(0.0) / total


def principal_maps(data: PrincipalMaps, ax: Axes | None = None) -> Figure:
    """Draw maps of fingerprints, one per subset, on the two principal components of all of them.

    Points outside a subset are drawn in the background.

    Args:
        data: fingerprints, energies and subsets.
        ax: axes whose place the panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no subset, or there are fewer than two rows or columns.
    """
    if not data.subsets:
        raise ValueError("expected at least one subset to draw, got none")
    points, fractions = principal_components(data.fingerprints)
    energies = data.energies
    finite = energies[np.isfinite(energies)]
    limits = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    figure = panels(ax, 3.6 * len(data.subsets) + 0.8, 3.8)
    axes = figure.subplots(1, len(data.subsets), squeeze=False, sharex=True, sharey=True)[0]
    for map_ax, (name, rows) in zip(axes, data.subsets.items(), strict=True):
        if len(rows) < len(points):
            map_ax.scatter(*points.T, s=4, color=PALE, lw=0, rasterized=True)
        # From high to low energies: the few structures of low energy are drawn on top.
        order = rows[np.argsort(-energies[rows], kind="stable")]
        dots = map_ax.scatter(
            *points[order].T,
            s=4 + 12 / (1 + len(rows) / 500),
            c=energies[order],
            cmap=COLOR_MAP,
            vmin=limits[0],
            vmax=limits[1],
            lw=0,
            plotnonfinite=True,
            rasterized=True,
        )
        map_ax.set_title(name, fontsize=9)
        map_ax.set_xlabel(f"first principal component ({100 * fractions[0]:.0f} %)")
    axes[0].set_ylabel(f"second principal component ({100 * fractions[1]:.0f} %)")
    figure.colorbar(dots, ax=axes.tolist(), label="formation energy (eV/atom)")
    return figure_of(figure)
