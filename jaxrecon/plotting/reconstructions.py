"""Figure of reconstructions: structures beside what was recovered from their fingerprints."""

from collections.abc import Sequence
from typing import NamedTuple

from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxrecon.plotting.canvas import figure_of, panels
from jaxrecon.plotting.structure import draw_structure
from jaxrecon.structures import matching


class Pair(NamedTuple):
    """A structure, the structure recovered from its fingerprint, and how well they agree.

    Attributes:
        name: name of the structure.
        truth: the structure itself, positions in Angstrom.
        found: the recovered structure, positions in Angstrom.
        residual: mean absolute residual of the recovered structure, without a unit.
        rmsd: root mean square distance of the atoms of the two in Angstrom.
    """

    name: str
    truth: Atoms
    found: Atoms
    residual: float
    rmsd: float


class SideBySide(NamedTuple):
    """Data of :func:`side_by_side`.

    Attributes:
        pairs: structures and their reconstructions.
        columns: number of pairs side by side.
    """

    pairs: Sequence[Pair]
    columns: int = 6

    @classmethod
    def example(cls) -> "SideBySide":
        """Two recovered structures, a molecule and a crystal, as data to try the figure with."""
        water = Atoms("OH2", [(0.0, 0.0, 0.0), (0.76, 0.59, 0.0), (-0.76, 0.59, 0.0)])
        salt = Atoms("CsCl", scaled_positions=[[0.0] * 3, [0.5] * 3], cell=[4.12] * 3, pbc=True)
        turned = water.copy()
        turned.rotate(40.0, "z")
        pairs = [Pair("water", water, turned, 3e-8, 2e-7), Pair("salt", salt, salt, 1e-7, 0.0)]
        return cls(pairs)


def side_by_side(data: SideBySide, ax: Axes | None = None) -> Figure:
    """Draw structures above their reconstructions, with residuals and distances.

    A reconstruction is rotated and shifted onto the truth where the two are the same structure.

    Args:
        data: the pairs of structures.
        ax: axes whose place the panels take; None for a new canvas.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no pair.
    """
    if not data.pairs:
        raise ValueError("expected at least one pair to draw, got none")
    columns = min(data.columns, len(data.pairs))
    bands = -(-len(data.pairs) // columns)
    figure = panels(ax, 2.3 * columns, 5.6 * bands)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    for pair_ax in axes.flat:
        pair_ax.set_axis_off()
    for number, pair in enumerate(data.pairs):
        band, column = divmod(number, columns)
        above, below = axes[2 * band, column], axes[2 * band + 1, column]
        draw_structure(pair.truth, above)
        draw_structure(_aligned(pair), below)
        formula = pair.truth.get_chemical_formula(mode="metal")
        above.set_title(f"{_title(pair.name)}\n{formula}", fontsize=9)
        below.set_title(f"residual {pair.residual:.0e}\nRMSD {pair.rmsd:.0e} Å", fontsize=9)

    # Text stands in for the labels of axes that are switched off.
    for row in range(2 * bands):
        label = ("truth", "reconstruction")[row % 2]
        axes[row, 0].text(
            -0.08, 0.5, label, transform=axes[row, 0].transAxes, rotation=90, va="center"
        )
    return figure_of(figure)


def _title(name: str) -> str:
    """A name in words, broken in two lines if one is too long."""
    words = name.replace("_", " ")
    long = len(words) > 20 and "\n" not in words
    return words.replace(" ", "\n", 1) if long else words


def _aligned(pair: Pair) -> Atoms:
    """The reconstruction on the truth if it is the same structure, otherwise as it is."""
    try:
        return matching.align(pair.truth, pair.found)
    except ValueError:
        return pair.found
