"""Figure of the demonstration: clusters made for energies, and independent opinions of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxrecon.plotting.canvas import COLORS, INK, PALE, figure_of, panels
from jaxrecon.plotting.structure import draw_structure

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of the targets, which tell them apart without colours."""

SHOWN = 2
"""Clusters that are drawn for each target."""


class DesignSummary(NamedTuple):
    """Data of :func:`design_summary`; energies in eV/atom.

    Attributes:
        structures: clusters with ``target``, ``predicted`` and its ``deviation``, ``networks`` and
            ``networks_deviation`` (prediction of independent networks), and ``emt`` in ``info``.
        known: formation energies of known clusters, and their energies by EMT.
        tolerance: largest distance from the target that counts as a hit, drawn as a band.
    """

    structures: Sequence[Atoms]
    known: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]
    tolerance: float

    @classmethod
    def example(cls) -> "DesignSummary":
        """Two clusters for each of two targets, as data to try the figure with."""
        structures = []
        for target in (1.9, 2.8):
            for shift in (-0.05, 0.1):
                atoms = Atoms("Pt3", [(0.0, 0.0, 0.0), (2.6, 0.0, 0.0), (1.3, 2.2 + shift, 0.0)])
                atoms.info = {"target": target, "predicted": target + shift, "deviation": 0.1}
                atoms.info |= {"networks": target - shift, "networks_deviation": 0.2}
                atoms.info |= {"emt": 0.5 * target + shift, "accepted": shift < 0.0}
                structures.append(atoms)
        energies = np.linspace(1.6, 3.6, 20)
        return cls(structures, (energies, 0.5 * energies), tolerance=0.1)


def design_summary(data: DesignSummary, ax: Axes | None = None) -> Figure:
    """Draw predicted energies of clusters made for targets, energies by EMT, and some clusters.

    Args:
        data: clusters, and known clusters to compare them with.
        ax: axes whose place the panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no structure.
    """
    if not data.structures:
        raise ValueError("expected structures to draw, got none")
    targets = sorted({atoms.info["target"] for atoms in data.structures})
    groups = [
        [atoms for atoms in data.structures if atoms.info["target"] == target] for target in targets
    ]
    figure = panels(ax, 9.0, 7.0)
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.2, 1.0))
    left, right = above.subplots(1, 2)
    _predictions(left, targets, groups, data.tolerance)
    _beside_emt(right, targets, groups, data.known)

    # Each target has the same number of panels, some of which may stay empty.
    axes = below.subplots(1, SHOWN * len(targets), squeeze=False)[0]
    for structure_ax in axes:
        structure_ax.set_axis_off()
    for number, group in enumerate(groups):
        for structure_ax, atoms in zip(axes[SHOWN * number :], _examples(group), strict=False):
            draw_structure(atoms, structure_ax)
            info = atoms.info
            prediction = f"{info['predicted']:.2f} ± {info['deviation']:.2f}"
            title = f"target {info['target']:g}\n{prediction}"
            structure_ax.set_title(title, fontsize=9, color=COLORS[number % len(COLORS)])
    return figure_of(figure)


def _predictions(
    ax: Axes, targets: Sequence[float], groups: Sequence[Sequence[Atoms]], tolerance: float
) -> None:
    """Draw predictions of the surrogate and of the networks side by side, target by target."""
    for number, (target, group) in enumerate(zip(targets, groups, strict=True)):
        ends = [number - 0.45, number + 0.45]
        ax.fill_between(ends, target - tolerance, target + tolerance, color=PALE, lw=0)
        ax.plot(ends, [target, target], color=INK, lw=0.8)
        colour, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        for name, spread, centre, face in (
            ("predicted", "deviation", -0.21, colour),
            ("networks", "networks_deviation", 0.21, "white"),
        ):
            ax.errorbar(
                number + centre + np.linspace(-0.16, 0.16, len(group)),
                [atoms.info[name] for atoms in group],
                [atoms.info[spread] for atoms in group],
                fmt=marker,
                ms=4.5,
                lw=0.8,
                color=colour,
                mfc=face,
            )
    # The legend shows filled and empty markers, whatever the target.
    for name, face in (("surrogate of the search", INK), ("independent networks", "white")):
        ax.plot([], [], "o", color=INK, mfc=face, ms=4.5, label=name)
    ax.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
    ax.set_xlabel("target (eV/atom)")
    ax.set_ylabel("predicted (eV/atom)")
    ax.legend(loc="upper left", fontsize=8)


def _beside_emt(
    ax: Axes,
    targets: Sequence[float],
    groups: Sequence[Sequence[Atoms]],
    known: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
) -> None:
    """Draw energies by EMT of the clusters that were made, among those of known clusters."""
    ax.plot(*known, ".", color="#a0a0a0", ms=4, label="known")
    for number, (target, group) in enumerate(zip(targets, groups, strict=True)):
        ax.plot(
            [atoms.info["predicted"] for atoms in group],
            [atoms.info["emt"] for atoms in group],
            MARKERS[number % len(MARKERS)],
            color=COLORS[number % len(COLORS)],
            mec="white",
            mew=0.5,
            ms=6,
            label=f"made for {target:g}",
        )
    ax.set_xlabel("PBE or surrogate (eV/atom)")
    ax.set_ylabel("EMT (eV/atom)")
    ax.legend(loc="upper left", fontsize=8)


def _examples(group: Sequence[Atoms]) -> list[Atoms]:
    """The clusters to show, screened ones first."""
    return sorted(group, key=lambda atoms: not atoms.info.get("accepted", False))[:SHOWN]
