"""The roofline: how close each program gets to what the machine computes and moves."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
from counts import WORK, Counts, Machine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK = "#333333"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#888888")
"""Okabe and Ito's, which colour-blind people tell apart, and a grey."""
MARKERS = dict(zip(WORK, "osD^", strict=True))


def roofline(
    points: Mapping[tuple[str, str], tuple[Counts, float]], machine: Machine, title: str, path: Path
) -> None:
    """Draw the work of each program against the bytes that it must move.

    An exponential counts as the multiply-adds that take as long, so that a program which does
    nothing but its counted work is on the roof.

    Args:
        points: by system and row, the counts of an evaluation and evaluations per second.
        machine: the roofs.
        title: of the picture.
        path: file to write.
    """
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    colours = dict(zip(dict.fromkeys(name for name, _ in points), cycle(COLOURS), strict=False))
    intensities, heights = [], []
    for (name, row), (counts, rate) in points.items():
        flop = 2 * (counts.multiply_adds + machine.exponential * counts.exponentials)
        intensities.append(flop / counts.bytes)
        heights.append(1e-9 * flop * rate)
        axis.plot(
            intensities[-1], heights[-1], MARKERS[row], ms=8, color=colours[name], mec="white"
        )
    peak = 2e-9 * machine.multiply_adds
    ridge = 2 * machine.multiply_adds / machine.bytes
    low, high = min(*intensities, ridge) / 4, max(*intensities, ridge) * 4
    x = np.array([low, ridge, high])
    axis.loglog(x, np.minimum(peak, 1e-9 * machine.bytes * x), color=INK, lw=1.5)
    axis.text(high, peak * 1.08, f"{peak:,.0f} Gflop/s", ha="right", va="bottom", color=INK)
    slope = f"{1e-9 * machine.bytes:,.0f} GB/s"
    axis.text(ridge / 2, 0.55 * peak, slope, ha="right", va="bottom", color=INK)
    axis.set_xlim(low, high)
    axis.set_ylim(min(*heights, 1e-9 * machine.bytes * low) / 3, 3 * peak)
    axis.set_xlabel("necessary work for each byte of main memory, flop/byte")
    axis.set_ylabel("necessary work done, Gflop/s")
    axis.set_title(title, fontsize=10)
    axis.grid(True, which="major", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    rows = dict.fromkeys(row for _, row in points)
    shown = [Line2D([], [], marker="o", ls="", color=c, label=n) for n, c in colours.items()]
    shown += [Line2D([], [], marker=MARKERS[row], ls="", color="grey", label=row) for row in rows]
    figure.legend(handles=shown, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)
