"""Drawing of one atomic structure."""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.utils import rotate
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from jaxrecon.plotting.canvas import INK

VIEW = "-72x,24y,8z"
"""Rotation of the view. It is off the axes, so that no atom hides behind another by symmetry."""

BOND = 1.2
"""Atoms nearer than this times the sum of their covalent radii are joined by a line."""


def draw_structure(atoms: Atoms, ax: Axes) -> None:
    """Draw a structure: atoms as discs in the order of their depth, bonds, the edges of the cell.

    Distant atoms are paler. Bonds are drawn within the cell, not across its faces.

    Args:
        atoms: the structure, positions in Angstrom.
        ax: axes to draw in.
    """
    turn = rotate(VIEW)
    projected = atoms.positions @ turn
    radii = disc_radii(atoms)
    depth = projected[:, 2]
    nearness = (depth - depth.min()) / max(np.ptp(depth), 1e-9)
    if atoms.pbc.any():
        for start, end in edges(atoms.cell.array @ turn):
            ax.plot(*zip(start[:2], end[:2], strict=True), color="#999999", lw=0.7, zorder=0)

    # A bond is drawn below the nearer and above the more distant of its atoms.
    for i, j in bonds(atoms):
        order = 1 + np.searchsorted(np.sort(depth), min(depth[i], depth[j]))
        ax.plot(projected[[i, j], 0], projected[[i, j], 1], color=INK, lw=1.2, zorder=float(order))
    for rank, i in enumerate(np.argsort(depth)):
        paleness = 0.45 * (1.0 - nearness[i])
        colour = jmol_colors[atoms.numbers[i]] * (1.0 - paleness) + paleness
        disc = _disc(projected[i, :2], radii[i], colour)
        disc.set_zorder(rank + 1.5)
        ax.add_patch(disc)

    # Discs are round whatever the shape of the panel.
    ax.set_aspect("equal", adjustable="datalim")
    ax.autoscale_view()
    ax.margins(0.08)


def _disc(centre: np.ndarray, radius: float, colour: np.ndarray) -> Circle:
    """An atom."""
    return Circle(tuple(centre), radius, facecolor=tuple(colour), edgecolor=INK, lw=0.7)


def disc_radii(atoms: Atoms) -> Float[np.ndarray, " n"]:
    """Radii of the discs that stand for atoms, in Angstrom."""
    return 0.45 * covalent_radii[atoms.numbers] + 0.08


def bonds(atoms: Atoms) -> Int[np.ndarray, "b 2"]:
    """Pairs of atoms that a line joins, each once; across no face of the cell."""
    radii = covalent_radii[atoms.numbers]
    near = atoms.get_all_distances() < BOND * (radii[:, None] + radii[None, :])
    return np.argwhere(np.triu(near, 1))


def edges(cell: Float[np.ndarray, "3 3"]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The twelve edges of a cell, as pairs of points in space."""
    corners = np.array(list(np.ndindex(2, 2, 2)))
    return [
        (corner @ cell, (corner + step) @ cell)
        for corner in corners
        for step in np.eye(3, dtype=int)
        if corner @ step == 0
    ]
