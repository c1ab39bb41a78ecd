"""Figure of the residuals of one target, hop by hop."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxrecon.plotting.canvas import COLORS, INK, SMALLEST_RESIDUAL, figure_of, panel


class ResidualCurves(NamedTuple):
    """Data of :func:`residual_curves`.

    Attributes:
        history: residuals of all replicas after each hop, which
            :func:`~jaxrecon.search.reconstruct.reconstruct` passes to ``watch``; those that are
            not finite are not drawn.
        tolerance: residual up to which a target counts as hit, drawn as a line; None for no line.
        title: title of the figure.
    """

    history: Sequence[Float[np.ndarray, " replicas"]] | Float[np.ndarray, "hops replicas"]
    tolerance: float | None = None
    title: str = ""

    @classmethod
    def example(cls) -> "ResidualCurves":
        """Four replicas during eight hops, as data to try the figure with."""
        random = np.random.default_rng(0)
        return cls(10.0 ** -random.uniform(0.0, 7.0, (8, 4)), tolerance=1e-6, title="example")


def residual_curves(data: ResidualCurves, ax: Axes | None = None) -> Figure:
    """Draw the residuals of all replicas of one target, hop by hop, and the best so far.

    Args:
        data: the residuals.
        ax: axes to draw in; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if no residual is finite.
    """
    residuals = np.array(data.history, float)
    residuals[~np.isfinite(residuals)] = np.nan
    if residuals.ndim != 2 or np.isnan(residuals).all():
        raise ValueError("expected residuals of replicas to draw, got none")
    residuals = np.maximum(residuals, SMALLEST_RESIDUAL)
    hops = np.arange(1, len(residuals) + 1)
    best = np.fmin.accumulate(np.fmin.reduce(residuals, axis=1))
    ax = panel(ax, 4.6, 3.6)

    # The more lines there are, the paler they are: their density shows what they have in common.
    opacity = float(np.clip(2.0 / residuals.shape[1] ** 0.5, 0.2, 0.8))
    size = 2.0 if len(hops) < 30 else 0.0
    lines = ax.plot(hops, residuals, "o-", color=COLORS[5], lw=0.7, alpha=opacity, ms=size)
    lines[0].set_label(f"{residuals.shape[1]} replicas")
    ax.step(hops, best, where="post", color=COLORS[0], lw=1.8, label="best so far")
    if data.tolerance is not None:
        ax.axhline(data.tolerance, color=INK, lw=0.8, ls="--", zorder=0, label="tolerance")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("hop")
    ax.set_ylabel("residual")
    for handle in ax.legend(fontsize=8).legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    ax.set_title(data.title, fontsize=9)
    return figure_of(ax)
