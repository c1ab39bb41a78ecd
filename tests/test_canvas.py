"""The canvas of figures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axis import Axis

from jaxrecon.plotting.canvas import Canvas, log_ticks


def labels_of(axis: Axis) -> list[tuple[float, float]]:
    """Ends of the labels along the axis, in pixels and in order."""
    ticks = [*axis.get_majorticklabels(), *axis.get_minorticklabels()]
    low, high = axis.get_view_interval()
    shown = [
        tick.get_window_extent()
        for tick in ticks
        if tick.get_text() and low <= tick.get_position()[0] <= high
    ]
    return sorted((box.x0, box.x1) for box in shown)


@pytest.mark.parametrize("high", [2.0, 7.0, 40.0, 1e4])
def test_labels_of_a_logarithmic_axis_do_not_overlap(high: float) -> None:
    figure = Canvas(2.5, 2.0)
    ax = figure.subplots()
    ax.loglog(np.geomspace(0.7, high, 20), np.arange(1, 21), ".")
    log_ticks(ax.xaxis)
    figure.draw_without_rendering()
    ends = labels_of(ax.xaxis)
    assert len(ends) >= 2
    assert all(left[1] < right[0] for left, right in pairwise(ends))
