"""Registry of all figures.

Every figure is a function ``figure(data, ax=None)``. It draws its data, a NamedTuple of plain
arrays, and returns the matplotlib figure, which Jupyter shows and
:func:`~jaxrecon.plotting.canvas.save` writes. Without ``ax`` it makes a new canvas. A figure of
one panel draws in the axes that it is given; a figure of several panels takes their place.

A new figure is a function, its data with a method ``example``, and a line in ``FIGURES``; the
contract test (``tests/test_figures.py``) then draws it.

>>> from jaxrecon.plotting.canvas import Canvas
>>> page = Canvas(10.0, 4.0)
>>> left, right = page.subplots(1, 2)
>>> for name, ax in (("parity", left), ("hit_bars", right)):
...     figure = FIGURES[name](example_of(name), ax)
>>> figure is page
True
"""

from collections.abc import Callable
from typing import Any, get_type_hints

from matplotlib.figure import Figure

from jaxrecon.plotting import (
    atom_maps,
    demo,
    design,
    energies,
    maps,
    reconstructions,
    residuals,
    runs,
)

FIGURES: dict[str, Callable[..., Figure]] = {
    "atom_maps": atom_maps.atom_maps,
    "design_summary": demo.design_summary,
    "energy_histogram": energies.energy_histogram,
    "hit_bars": design.hit_bars,
    "parity": energies.parity,
    "prediction_histogram": design.prediction_histogram,
    "principal_maps": maps.principal_maps,
    "residual_curves": residuals.residual_curves,
    "run_summary": runs.run_summary,
    "side_by_side": reconstructions.side_by_side,
    "success_curves": runs.success_curves,
    "target_histograms": design.target_histograms,
}
"""Functions ``figure(data, ax=None)`` by name."""


def example_of(name: str) -> Any:
    """Small data to try a figure with.

    Args:
        name: name of the figure in ``FIGURES``.

    Returns:
        What the figure takes as ``data``.
    """
    return get_type_hints(FIGURES[name])["data"].example()
