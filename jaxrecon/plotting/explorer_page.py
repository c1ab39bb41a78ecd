"""The explorer's page: chemiscope, the structures and their properties in one HTML file.

The page fetches nothing: `chemiscope <https://chemiscope.org>`_ (Fraux, Cersonsky and Ceriotti,
J. Open Source Softw. 5, 2117 (2020)) and the data are part of it.
"""

import html
import importlib.metadata
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.datasets.labelled import LabelledSet

LIBRARY = "sphinx/static/chemiscope.min.js"
"""Path of chemiscope's JavaScript within its Python package."""

MAX_CATEGORIES = 20
"""Largest number of different words that chemiscope takes as categories."""

UNITS = {
    "energy": "eV",
    "e_form": "eV/atom",
    "predicted": "eV/atom",
    "deviation": "eV/atom",
    "local_energies": "eV",
    "local_deviations": "eV",
    "seconds": "s",
}
"""Units of properties by name."""

COLOR_PROPERTIES = ("e_form", "energy", "predicted", "residual")
"""Properties that decide the colours: the first one that differs between structures; if none of
them does, the first other number that does."""

SYMBOL_PROPERTIES = ("set", "kind", "result_code")
"""Properties that decide the symbols: the first one that the structures have."""


class Projection(NamedTuple):
    """Points of structures, or of their atoms, on a plane.

    Attributes:
        points: one point per structure, or per atom.
        axes: names of the two axes.
        description: method that made the points.
        of_atoms: whether the points are those of atoms.
    """

    points: Float[np.ndarray, "n 2"]
    axes: tuple[str, str]
    description: str
    of_atoms: bool = False


def page(
    labelled: LabelledSet,
    projection: Projection,
    title: str,
    local: Mapping[str, Float[np.ndarray, " a"]] | None = None,
) -> str:
    """The page of structures on a map.

    Args:
        labelled: structures, with finite positions, and their properties.
        projection: their points on the map.
        title: title of the page.
        local: numbers of all atoms, structure by structure, by name; the first ones colour the
            atoms.

    Returns:
        The page as HTML.

    Raises:
        ValueError: if the installed chemiscope has no JavaScript for pages.
    """
    assert labelled.structures is not None, "a page shows structures"
    target = "atom" if projection.of_atoms else "structure"
    coordinates = {
        name: {"target": target, "values": column, "description": projection.description}
        for name, column in zip(projection.axes, projection.points.T, strict=True)
    }
    properties, words = _properties(labelled)
    data = _data(labelled.structures, {**coordinates, **properties}, title, projection, local or {})
    return _html(title, data, words)


def _properties(
    labelled: LabelledSet,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Properties as chemiscope takes them, and words that are too many to be categories."""
    assert labelled.structures is not None, "a page shows structures"
    columns: dict[str, np.ndarray] = {
        "e_form": labelled.formation_energies,
        "energy": labelled.energies,
        "atoms": np.array([len(atoms) for atoms in labelled.structures]),
        "formula": np.array([atoms.get_chemical_formula() for atoms in labelled.structures]),
        "kind": np.array(labelled.kinds),
        **labelled.columns,
    }
    # By default each structure is a trajectory of its own, and the number says nothing.
    if (labelled.trajectories != np.arange(len(labelled))).any():
        columns["trajectory"] = labelled.trajectories
    properties: dict[str, dict[str, Any]] = {}
    words: dict[str, list[str]] = {}
    for name, column in columns.items():
        if column.dtype.kind == "U":
            different = len(set(column))
            if different > MAX_CATEGORIES:
                words[name] = column.tolist()
            # One word for all structures says nothing about any of them.
            if not 1 < different <= MAX_CATEGORIES:
                continue
            values = column
        else:
            values = column.astype(float)
            values = np.where(np.isfinite(values), values, np.nan)
            if np.isnan(values).all():
                continue
        properties[name] = {"target": "structure", "values": values}
        if name in UNITS:
            properties[name]["units"] = UNITS[name]
    return properties, words


def _data(
    structures: list[Atoms],
    properties: dict[str, dict[str, Any]],
    title: str,
    projection: Projection,
    local: Mapping[str, Float[np.ndarray, " a"]],
) -> dict[str, Any]:
    """Structures, properties and settings as chemiscope takes them."""
    from chemiscope import all_atomic_environments, create_input

    # The cell of a free structure is only a box around it, which is not to be drawn.
    bare = [
        Atoms(atoms.numbers, atoms.positions, cell=atoms.cell if atoms.pbc.any() else None)
        for atoms in structures
    ]
    x, y = projection.axes
    values = {name: entry["values"] for name, entry in properties.items()}
    shape: dict[str, Any] = {"unitCell": any(atoms.pbc.any() for atoms in structures)}
    settings: dict[str, Any] = {
        "map": {
            "x": {"property": x},
            "y": {"property": y},
            "color": _color(values, projection.axes),
            "symbol": next((name for name in SYMBOL_PROPERTIES if name in properties), ""),
        },
        "structure": [shape],
    }
    environments = None
    if local or projection.of_atoms:
        environments = all_atomic_environments(bare)
        settings["target"] = "atom" if projection.of_atoms else "structure"
    if local:
        name, numbers = next(iter(local.items()))
        transform = "log" if numbers.min() > 0.0 else "linear"
        shape["color"] = {"property": name, "transform": transform, "palette": "cividis"}
        if projection.of_atoms:
            settings["map"] |= {"color": {"property": name, "palette": "cividis"}, "symbol": ""}
    of_atoms = {
        name: {"target": "atom", "values": numbers}
        | ({"units": UNITS[name]} if name in UNITS else {})
        for name, numbers in local.items()
    }
    metadata = {"name": title, "description": projection.description}
    return create_input(
        bare,
        metadata=metadata,
        properties={**properties, **of_atoms},
        environments=environments,
        settings=settings,
    )


def _color(columns: dict[str, np.ndarray], axes: tuple[str, str]) -> dict[str, str]:
    """Settings of the property that decides the colours."""
    names = [name for name in (*COLOR_PROPERTIES, *columns) if name in columns and name not in axes]
    for name in names:
        values = columns[name]
        if values.dtype.kind == "f" and np.nanmin(values) < np.nanmax(values):
            # Residuals span many orders of magnitude.
            logarithmic = name == "residual" and np.nanmin(values) > 0.0
            mode = "log" if logarithmic else "linear"
            return {"property": name, "mode": mode, "palette": "cividis"}
    return {"property": ""}


def _html(title: str, data: dict[str, Any], words: dict[str, list[str]]) -> str:
    """The template of the page with its marks replaced."""
    package = importlib.metadata.distribution("chemiscope")
    program = Path(str(package.locate_file(f"chemiscope/{LIBRARY}")))
    if not program.is_file():
        raise ValueError(f"expected chemiscope 1.0 or newer with {LIBRARY}, got {package.version}")
    terms = package.read_text("licenses/LICENSE") or "BSD-3-Clause"
    parts = {
        "TITLE": html.escape(title),
        "LICENSE": f"chemiscope {package.version}, https://chemiscope.org\n{terms}",
        "DATA": _script(data),
        "WORDS": _script(words),
        "LIBRARY": program.read_text(encoding="utf-8").replace("</script", "<\\/script"),
    }
    template = files("jaxrecon.plotting").joinpath("explorer.html").read_text(encoding="utf-8")
    # All marks in one pass: a mark within the data stays as it is.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], template)


def _script(data: dict[str, Any]) -> str:
    """Data as JavaScript (which, unlike JSON, has NaN) that can't end the script around it."""
    return json.dumps(data).replace("<", "\\u003c")
