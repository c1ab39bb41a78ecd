"""Maps of the environments of atoms, coloured by what is known of them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxrecon.plotting.canvas import COLOR_MAP, COLORS, figure_of, panels


class AtomMaps(NamedTuple):
    """Data of :func:`atom_maps`.

    Attributes:
        points: points of all atoms by the title of the map.
        numbers: numbers of all atoms by their title, unit included.
        clusters: number of the cluster of each atom by the title of the map.
    """

    points: Mapping[str, Float[np.ndarray, "n 2"]]
    numbers: Mapping[str, Float[np.ndarray, " n"]]
    clusters: Mapping[str, Int[np.ndarray, " n"]]

    @classmethod
    def example(cls) -> "AtomMaps":
        """Three groups of atoms on one map, as data to try the figure with."""
        rng = np.random.default_rng(0)
        clusters = np.repeat(np.arange(3), 50)
        points = rng.normal(size=(150, 2)) + 4.0 * clusters[:, None]
        return cls({"SOAP": points}, {"energy (eV)": points[:, 0]}, {"SOAP": clusters})


def atom_maps(data: AtomMaps, ax: Axes | None = None) -> Figure:
    """Draw maps of atoms: one row of panels for each map, one panel for each number and clusters.

    Args:
        data: points, numbers and clusters.
        ax: axes whose place the panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no map.
    """
    if not data.points:
        raise ValueError("expected at least one map to draw, got none")
    titles = [*data.numbers, "clusters"]
    shape = len(data.points), len(titles)
    figure = panels(ax, 3.1 * shape[1], 2.9 * shape[0] + 0.2)
    axes = figure.subplots(*shape, squeeze=False)
    for (name, points), row in zip(data.points.items(), axes, strict=True):
        # In a random order no group of atoms covers another.
        order = np.random.default_rng(0).permutation(len(points))
        size = 1.0 + 10.0 / (1.0 + len(points) / 300.0)
        for title, panel in zip(titles, row, strict=True):
            panel.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
            panel.set_title(f"{name}: {title}", fontsize=9)
            colors: dict = {"c": data.clusters[name][order]}
            if title in data.numbers:
                colors = {"c": data.numbers[title][order], "cmap": COLOR_MAP}
                low, high = np.percentile(data.numbers[title], (1.0, 99.0))
                # A few extreme numbers would leave one colour to all others.
                colors |= {"vmin": low, "vmax": max(high, low + 1e-9)}
            else:
                count = int(data.clusters[name].max()) + 1
                palette = [COLORS[number % len(COLORS)] for number in range(count)]
                colors |= {"cmap": ListedColormap(palette), "vmin": -0.5, "vmax": count - 0.5}
            dots = panel.scatter(*points[order].T, s=size, lw=0, rasterized=True, **colors)
            if title in data.numbers:
                figure.colorbar(dots, ax=panel, extend="both", label=title)
    return figure_of(figure)
