"""Figures of reconstructions: what was found, and what it took."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.utils import rotate
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from jaxrecon.plotting.canvas import Canvas
from jaxrecon.search.results import Reconstruction, ResultCode
from jaxrecon.structures import matching

VIEW = "-72x,24y,8z"
"""Rotation of the picture: off the axes, so that no atom hides behind another by symmetry."""

BOND = 1.2
"""Atoms nearer than this times the sum of their covalent radii are joined by a line."""

INK = "#333333"

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""That everybody can tell apart (Okabe and Ito, 2008)."""


class Pair(NamedTuple):
    """A structure, what was recovered from its fingerprint, and how well.

    Attributes:
        name: of the structure.
        truth: the structure itself, positions in Angstrom.
        found: what was recovered.
        residual: mean absolute residual of that, without a unit.
        rmsd: of the two, in Angstrom.
    """

    name: str
    truth: Atoms
    found: Atoms
    residual: float
    rmsd: float


class Curve(NamedTuple):
    """A search for many targets: what each of those that it solved took.

    Attributes:
        name: of the search.
        targets: how many there were.
        evaluations: to each solution, of any kind that all curves of a figure share.
        seconds: wall time to each solution.
    """

    name: str
    targets: int
    evaluations: Sequence[float]
    seconds: Sequence[float]

    @classmethod
    def of(cls, name: str, run: Reconstruction) -> "Curve":
        """The curve of a run: evaluations of all kinds count alike.

        Args:
            name: of the search.
            run: what it has found.
        """
        solved = [result for result in run if result.code is ResultCode.CONVERGED]
        spent = [float(sum(result.evaluations.values())) for result in solved]
        return cls(name, len(run), spent, [result.seconds for result in solved])


def success_curves(
    curves: Sequence[Curve],
    path: str | Path,
    *,
    title: str = "",
    unit: str = "loss-and-gradient evaluations",
) -> None:
    """Write a picture of the part of the targets that is solved, against the work and the time.

    Args:
        curves: one line each.
        path: file to write; its suffix decides the format.
        title: above both panels.
        unit: what kind of evaluations they are.

    Raises:
        ValueError: if there is no curve, or one without targets.
    """
    if not curves or any(curve.targets < 1 for curve in curves):
        raise ValueError("expected curves of at least one target each, got none")
    figure = Canvas(9.0, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, name in ((left, "evaluations"), (right, "seconds")):
        spent = [list(getattr(curve, name)) for curve in curves]
        axis.set_xscale("log")
        axis.set_prop_cycle(color=COLORS)
        end = 1.2 * max((max(each) for each in spent if each), default=1.0)
        # Each on top is thinner: where curves are the same, all are seen.
        widths = np.linspace(3.5, 1.2, len(curves))
        for curve, each, width in zip(curves, spent, widths, strict=True):
            steps, solved = cumulative(each, curve.targets)
            last = solved[-1] if solved else 0.0
            across, up = [*steps, end], [*solved, last]
            axis.step([across[0], *across], [0.0, *up], where="post", lw=width, label=curve.name)
    left.set_xlabel(f"{unit} a target")
    right.set_xlabel("seconds a target")
    left.set_ylabel("part of the targets solved")
    for axis in (left, right):
        axis.set_ylim(0.0, 1.02)
        axis.grid(color="#dddddd", lw=0.6)
    right.legend(loc="lower right", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=160)


def cumulative(spent: Sequence[float], targets: int) -> tuple[list[float], list[float]]:
    """Where the curve of success rises, and to what part of the targets.

    Args:
        spent: on each solution.
        targets: how many there were, solved or not.

    >>> cumulative([30.0, 10.0, 30.0], 4)
    ([10.0, 30.0], [0.25, 0.75])
    """
    steps, counts = np.unique(np.asarray(spent, float), return_counts=True)
    return steps.tolist(), (np.cumsum(counts) / targets).tolist()


def side_by_side(pairs: Sequence[Pair], path: str | Path, *, columns: int = 6) -> None:
    """Write a picture of the truth above the reconstruction, laid onto it, pair by pair.

    Args:
        pairs: what to draw; the rmsd is in Angstrom.
        path: file to write; its suffix decides the format.
        columns: pairs in a row.

    Raises:
        ValueError: if there is no pair, or the compositions of one differ.
    """
    if not pairs:
        raise ValueError("expected at least one pair to draw, got none")
    columns = min(columns, len(pairs))
    bands = -(-len(pairs) // columns)
    figure = Canvas(2.3 * columns, 5.6 * bands)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, pair in enumerate(pairs):
        band, column = divmod(number, columns)
        above, below = axes[2 * band, column], axes[2 * band + 1, column]
        draw(pair.truth, above)
        draw(_onto(pair), below)
        formula = pair.truth.get_chemical_formula(mode="metal")
        above.set_title(f"{_title(pair.name)}\n{formula}", fontsize=9)
        below.set_title(f"residual {pair.residual:.0e}\nRMSD {pair.rmsd:.0e} Å", fontsize=9)
    for row in range(2 * bands):
        label = ("truth", "reconstruction")[row % 2]
        axes[row, 0].text(
            -0.08, 0.5, label, transform=axes[row, 0].transAxes, rotation=90, va="center"
        )
    figure.savefig(path, dpi=160, bbox_inches="tight")


def draw(atoms: Atoms, axis: Axes) -> None:
    """Draw a structure: atoms as discs in the order of their depth, bonds, the edges of the cell.

    Distant atoms are paler. Bonds are drawn within the cell, not across its faces.
    """
    turn = rotate(VIEW)
    places = atoms.positions @ turn
    radii = covalent_radii[atoms.numbers]
    depth = places[:, 2]
    nearness = (depth - depth.min()) / max(np.ptp(depth), 1e-9)
    if atoms.pbc.any():
        for start, end in _edges(atoms.cell.array @ turn):
            axis.plot(*zip(start, end, strict=True), color="#999999", lw=0.7, zorder=0)
    distances = atoms.get_all_distances()
    joined = np.triu(distances < BOND * (radii[:, None] + radii[None, :]), 1)
    for i, j in np.argwhere(joined):
        order = 1 + np.searchsorted(np.sort(depth), min(depth[i], depth[j]))
        axis.plot(places[[i, j], 0], places[[i, j], 1], color=INK, lw=1.2, zorder=float(order))
    for rank, i in enumerate(np.argsort(depth)):
        pale = 0.45 * (1.0 - nearness[i])
        colour = jmol_colors[atoms.numbers[i]] * (1.0 - pale) + pale
        disc = _disc(places[i, :2], 0.45 * radii[i] + 0.08, colour)
        disc.set_zorder(rank + 1.5)
        axis.add_patch(disc)
    axis.set_aspect("equal", adjustable="datalim")
    axis.autoscale_view()
    axis.margins(0.08)


def _disc(centre: np.ndarray, radius: float, colour: np.ndarray) -> Circle:
    return Circle(tuple(centre), radius, facecolor=tuple(colour), edgecolor=INK, lw=0.7)


def _edges(cell: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The twelve edges of a cell, as pairs of points in the plane of the picture."""
    corners = np.array(list(np.ndindex(2, 2, 2)))
    return [
        ((corner @ cell)[:2], ((corner + step) @ cell)[:2])
        for corner in corners
        for step in np.eye(3, dtype=int)
        if corner @ step == 0
    ]


def _title(name: str) -> str:
    """A name in words, broken in two lines if it is long."""
    words = name.replace("_", " ")
    return words.replace(" ", "\n", 1) if len(words) > 20 else words


def _onto(pair: Pair) -> Atoms:
    """The reconstruction on the truth, where it is the same structure; else as it is."""
    try:
        return matching.align(pair.truth, pair.found)
    except ValueError:
        return pair.found
