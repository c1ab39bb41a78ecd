"""Structures on a page that readers can turn: plain HTML and a script, without a network."""

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from ase import Atoms
from ase.data.colors import jmol_colors
from ase.utils import rotate

from jaxrecon.plotting.structure import VIEW, bonds, disc_radii, edges

STYLE = """
figure.turnable { margin: 0; }
figure.turnable div { display: flex; }
figure.turnable canvas { width: 50%; flex: 1; aspect-ratio: 1; cursor: grab; touch-action: pan-y; }
figure.turnable canvas:active { cursor: grabbing; }
figcaption { font-size: 0.9rem; line-height: 1.35; text-align: center; }
"""
"""Style sheet of the figures."""


def script() -> str:
    """The script that draws the figures of a page, to be put after the last of them."""
    return files("jaxrecon.plotting").joinpath("turnable.js").read_text(encoding="utf-8")


def figure(structures: Mapping[str, Atoms], caption: str) -> str:
    """Structures side by side, which turn together.

    They look as :func:`~jaxrecon.plotting.structure.draw_structure` draws them.

    Args:
        structures: structures by what a reader who can't see them is told; positions in Angstrom.
        caption: lines of text below them.

    Returns:
        The figure as HTML, which needs :data:`STYLE` and :func:`script` on its page.
    """
    canvases = "".join(
        f'<canvas tabindex="0" role="img" aria-label="{escape(name)}" '
        f"data-structure='{escape(json.dumps(_scene(atoms)))}'></canvas>"
        for name, atoms in structures.items()
    )
    words = "<br>".join(map(escape, caption.splitlines()))
    return (
        f'<figure class="turnable"><div>{canvases}</div><figcaption>{words}</figcaption></figure>'
    )


def _scene(atoms: Atoms) -> dict[str, Any]:
    """What is drawn of a structure, in Angstrom around the origin, to the right, up and forward."""
    turn = rotate(VIEW)
    ends = np.array(edges(atoms.cell.array)) if atoms.pbc.any() else np.zeros((0, 2, 3))
    # The middle of all that is drawn comes to the origin.
    drawn = np.concatenate([atoms.positions, ends.reshape(-1, 3)])
    middle = (drawn.min(axis=0) + drawn.max(axis=0)) / 2.0
    points = ((atoms.positions - middle) @ turn).round(3)
    radii = disc_radii(atoms)
    return {
        "atoms": [
            {
                "at": point.tolist(),
                "radius": round(float(radius), 3),
                "colour": jmol_colors[number].round(3).tolist(),
            }
            for point, radius, number in zip(points, radii, atoms.numbers, strict=True)
        ],
        "bonds": bonds(atoms).tolist(),
        "edges": ((ends - middle) @ turn).round(3).tolist(),
    }
