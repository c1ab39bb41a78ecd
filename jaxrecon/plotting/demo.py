"""Figure of the demonstration: clusters made for energies, and another potential's opinion."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxrecon.plotting.canvas import COLORS, INK, PALE, figure_of, panel

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of the targets, which tell them apart without colours."""


class DesignSummary(NamedTuple):
    """Data of :func:`design_summary`; energies in eV/atom.

    Attributes:
        structures: clusters with ``target``, ``predicted`` and its ``deviation``, and ``emt`` in
            ``info``.
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
                atoms.info |= {"emt": 0.5 * target + shift}
                structures.append(atoms)
        energies = np.linspace(1.6, 3.6, 20)
        return cls(structures, (energies, 0.5 * energies), tolerance=0.1)


def design_summary(data: DesignSummary, ax: Axes | None = None) -> Figure:
    """Draw energies by EMT of clusters made for targets against their predicted ones.

    Args:
        data: clusters, and known clusters to compare them with.
        ax: axes to draw in; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no structure.
    """
    if not data.structures:
        raise ValueError("expected structures to draw, got none")
    ax = panel(ax, 5.4, 4.2)
    ax.plot(*data.known, ".", color="#a0a0a0", ms=4, label="known")
    for number, target in enumerate(sorted({atoms.info["target"] for atoms in data.structures})):
        infos = [atoms.info for atoms in data.structures if atoms.info["target"] == target]
        ax.axvspan(target - data.tolerance, target + data.tolerance, color=PALE, lw=0, zorder=0)
        ax.axvline(target, color=INK, lw=0.8, zorder=0)
        ax.errorbar(
            [info["predicted"] for info in infos],
            [info["emt"] for info in infos],
            xerr=[info["deviation"] for info in infos],
            fmt=MARKERS[number % len(MARKERS)],
            color=COLORS[number % len(COLORS)],
            mec="white",
            mew=0.5,
            ms=7,
            lw=1.0,
            label=f"made for {target:g}",
        )
    ax.set_xlabel("PBE, or as the model predicts (eV/atom)")
    ax.set_ylabel("EMT (eV/atom)")
    ax.legend(loc="upper left")
    return figure_of(ax)
