"""Every figure; matplotlib is imported nowhere else."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ase import Atoms

from jaxrecon import matching

ROTATION = "-72x,24y,8z"
"""View of a structure: turned off its axes, so that no atom hides behind another by symmetry."""


class Pair(NamedTuple):
    """A structure, what was recovered from its fingerprint, and how well."""

    name: str
    truth: Atoms
    found: Atoms
    residual: float
    rmsd: float


def side_by_side(pairs: Sequence[Pair], path: str | Path, *, columns: int = 6) -> None:
    """Write a picture of the truth above the reconstruction, laid onto it, pair by pair.

    Args:
        pairs: what to draw; the rmsd is in Angstrom.
        path: file to write; its suffix decides the format.
        columns: pairs in a row.

    Raises:
        ValueError: if there is no pair, or the compositions of one differ.
    """
    import matplotlib as mpl
    from ase.visualize.plot import plot_atoms
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not pairs:
        raise ValueError("expected at least one pair to draw, got none")
    columns = min(columns, len(pairs))
    bands = -(-len(pairs) // columns)
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(2.2 * columns, 5.2 * bands), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2 * bands, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, pair in enumerate(pairs):
            band, column = divmod(number, columns)
            above, below = axes[2 * band, column], axes[2 * band + 1, column]
            for axis, atoms in ((above, pair.truth), (below, _onto(pair))):
                plot_atoms(atoms, axis, rotation=ROTATION, radii=0.45)
                axis.margins(0.05)
            formula = pair.truth.get_chemical_formula(mode="metal")
            above.set_title(f"{pair.name.replace('_', ' ')}\n{formula}", wrap=True)
            below.set_title(f"residual {pair.residual:.0e}\nRMSD {pair.rmsd:.0e} Å")
        for band in range(bands):
            for offset, label in enumerate(("truth", "reconstruction")):
                height = 1.0 - (2 * band + offset + 0.5) / (2 * bands)
                figure.text(-0.005, height, label, rotation=90, va="center", ha="right")
        figure.savefig(path, dpi=160, bbox_inches="tight")


def _onto(pair: Pair) -> Atoms:
    """The reconstruction on the truth, where it is the same structure; else as it is."""
    try:
        return matching.align(pair.truth, pair.found)
    except ValueError:
        return pair.found
