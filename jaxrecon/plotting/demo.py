"""The figure of the demonstration: clusters made for energies, and what is said of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxrecon.plotting.canvas import Canvas
from jaxrecon.plotting.data import PALE
from jaxrecon.plotting.reconstructions import COLORS, INK, draw

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One a target beside its colour, for whoever sees none."""

SHOWN = 2
"""Clusters drawn for each target."""


def made_figure(
    structures: Sequence[Atoms],
    known: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
    path: str | Path,
    *,
    tolerance: float,
) -> None:
    """Write a picture of what opinions there are of clusters made for targets, and of some of them.

    Args:
        structures: with ``target``, ``predicted`` and its ``deviation``, ``networks`` and
            ``networks_deviation``, and ``emt`` in ``info``, in eV/atom.
        known: energies of formation of known clusters, and what EMT says of each, in eV/atom.
        path: file to write; its suffix decides the format.
        tolerance: how far from the target a hit may be, drawn as a band.

    Raises:
        ValueError: if there is no structure.
    """
    if not structures:
        raise ValueError("expected structures to draw, got none")
    targets = sorted({atoms.info["target"] for atoms in structures})
    groups = [
        [atoms for atoms in structures if atoms.info["target"] == target] for target in targets
    ]
    figure = Canvas(9.0, 7.0)
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.2, 1.0))
    left, right = above.subplots(1, 2)
    _opinions(left, targets, groups, tolerance)
    _beside_emt(right, targets, groups, known)
    axes = below.subplots(1, SHOWN * len(targets), squeeze=False)[0]
    for axis in axes:
        axis.set_axis_off()
    for number, group in enumerate(groups):
        for axis, atoms in zip(axes[SHOWN * number :], _examples(group), strict=False):
            draw(atoms, axis)
            info = atoms.info
            said = f"{info['predicted']:.2f} ± {info['deviation']:.2f}"
            colour = COLORS[number % len(COLORS)]
            axis.set_title(f"wanted {info['target']:g}\n{said}", fontsize=9, color=colour)
    figure.savefig(path, dpi=160)


def _opinions(
    axis: Axes, targets: Sequence[float], groups: Sequence[Sequence[Atoms]], tolerance: float
) -> None:
    """Predictions of the surrogate and of the networks side by side, target by target."""
    for number, (target, group) in enumerate(zip(targets, groups, strict=True)):
        across = [number - 0.45, number + 0.45]
        axis.fill_between(across, target - tolerance, target + tolerance, color=PALE, lw=0)
        axis.plot(across, [target, target], color=INK, lw=0.8)
        colour, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        for name, spread, centre, face in (
            ("predicted", "deviation", -0.21, colour),
            ("networks", "networks_deviation", 0.21, "white"),
        ):
            axis.errorbar(
                number + centre + np.linspace(-0.16, 0.16, len(group)),
                [atoms.info[name] for atoms in group],
                [atoms.info[spread] for atoms in group],
                fmt=marker,
                ms=4.5,
                lw=0.8,
                color=colour,
                mfc=face,
            )
    for name, face in (("surrogate that guided", INK), ("networks not seen before", "white")):
        axis.plot([], [], "o", color=INK, mfc=face, ms=4.5, label=name)
    axis.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
    axis.set_xlabel("wanted (eV/atom)")
    axis.set_ylabel("said to be (eV/atom)")
    axis.legend(loc="upper left", fontsize=8)


def _beside_emt(
    axis: Axes,
    targets: Sequence[float],
    groups: Sequence[Sequence[Atoms]],
    known: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
) -> None:
    """Another potential's energies of what was made, among those of clusters that are known."""
    axis.plot(*known, ".", color="#a0a0a0", ms=4, label="known")
    for number, (target, group) in enumerate(zip(targets, groups, strict=True)):
        axis.plot(
            [atoms.info["predicted"] for atoms in group],
            [atoms.info["emt"] for atoms in group],
            MARKERS[number % len(MARKERS)],
            color=COLORS[number % len(COLORS)],
            mec="white",
            mew=0.5,
            ms=6,
            label=f"made for {target:g}",
        )
    axis.set_xlabel("by PBE, or by the surrogate (eV/atom)")
    axis.set_ylabel("by EMT, another potential (eV/atom)")
    axis.legend(loc="upper left", fontsize=8)


def _examples(group: Sequence[Atoms]) -> list[Atoms]:
    """Those that are kept first."""
    return sorted(group, key=lambda atoms: not atoms.info.get("kept", False))[:SHOWN]
