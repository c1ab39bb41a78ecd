"""Explorer: a page with a map of fingerprints and the structures beside it, for a browser.

The page is one file that fetches nothing: `chemiscope <https://chemiscope.org>`_ (Fraux, Cersonsky
and Ceriotti, J. Open Source Softw. 5, 2117 (2020)) and the data are in it.
"""

import html
import importlib.metadata
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.datasets.frames import from_frames, to_frames
from jaxrecon.datasets.io import read_labelled
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design.generated import widths_of
from jaxrecon.runtime.files import replacing
from jaxrecon.runtime.versions import version_of
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.io import read_structures

Method = Literal["pca", "umap"]
"""Principal components, or uniform manifold approximation and projection."""

LIBRARY = "sphinx/static/chemiscope.min.js"
"""Where the package chemiscope has its program for a browser."""

FEW = 5
"""Elements at most for which there is a channel for each pair; of more they are weighted."""

CATEGORIES = 20
"""Different words at most that chemiscope takes for kinds."""

LEAST = 5
"""Structures without which UMAP knows no neighbourhood."""

UNITS = {
    "energy": "eV",
    "e_form": "eV/atom",
    "predicted": "eV/atom",
    "deviation": "eV/atom",
    "seconds": "s",
}

COLOURED = ("e_form", "energy", "predicted", "residual")
"""What decides the colours: the first that differs; if none does, any other number."""

KINDS = ("set", "kind", "result_code")
"""What decides the symbols: the first that there is."""


def read(path: str | os.PathLike[str]) -> LabelledSet:
    """Structures and what is known of them, from a file or from the folder of a design.

    Of a folder: the training set, what was judged in each round, and what was made in the end, as
    far as it has come; the column ``set`` says which is which.

    Args:
        path: a file or folder for :func:`~jaxrecon.datasets.io.read_labelled`, or a folder
            that :func:`~jaxrecon.inverse_design.closed_loop.design` was given.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it can't be read, or there is no structure in it.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
        return read_labelled(path)
    judged = sorted(path.glob("round-*/judged.extxyz"), key=lambda file: (len(str(file)), file))
    parts = {file.parent.name: read_structures(file) for file in judged}
    if (path / "set.npz").is_file():
        learned = read_labelled(path / "set.npz")
        if learned.structures is not None:
            new = sum("e_form" in atoms.info for frames in parts.values() for atoms in frames)
            parts = {"training": to_frames(learned)[: len(learned) - new], **parts}
    if (path / "made.extxyz").is_file():
        parts["made"] = read_structures(path / "made.extxyz")
    frames = []
    for name, some in parts.items():
        for atoms in some:
            atoms.info["set"] = name
        frames += some
    if not frames:
        raise ValueError(f"expected a folder in which structures were judged or made, got {path}")
    return from_frames(frames, source=path)


def explore(
    labelled: LabelledSet,
    path: str | os.PathLike[str],
    *,
    title: str = "structures",
    method: Method = "pca",
    preset: str | None = None,
    seed: int = 0,
) -> int:
    """Write a page that shows structures on a map of their fingerprints.

    Structures with a position that is not finite are left out.

    Args:
        labelled: structures, and what is known of them.
        path: of the page.
        title: of the page.
        method: how fingerprints become places on the map.
        preset: parameters of the fingerprint; None for ``"crystal"`` if a structure is periodic,
            ``"gastegger2018"`` if there are many elements, else ``"default"``.
        seed: of UMAP's random numbers.

    Returns:
        How many structures are in it.

    Raises:
        ValueError: if there are none, chemiscope or umap-learn is not there, or the method is
            another one.
        OSError: if the page can't be written.
    """
    if method not in get_args(Method):
        raise ValueError(f"expected a map by {' or '.join(get_args(Method))}, got {method!r}")
    check_packages(method)
    if labelled.structures is None:
        raise ValueError("expected structures to explore, got a set of fingerprints alone")
    finite = [bool(np.isfinite(atoms.positions).all()) for atoms in labelled.structures]
    if not any(finite):
        raise ValueError("expected structures to explore, got none with finite positions")
    labelled = labelled.select(np.flatnonzero(finite))
    assert labelled.structures is not None, "they were there before"
    fingerprint = _fingerprint(labelled.structures, preset)
    places, names, about = places_of(featurize(labelled.structures, fingerprint), method, seed)
    properties, words = _known(labelled)
    coordinates = {
        name: {"target": "structure", "values": column, "description": about}
        for name, column in zip(names, places.T, strict=True)
    }
    data = _data(labelled.structures, {**coordinates, **properties}, title, names, about)
    with replacing(Path(path)) as draft:
        draft.write_text(_page(title, data, words), encoding="utf-8")
    return len(labelled)


def places_of(
    fingerprints: Float[np.ndarray, "n p"], method: Method, seed: int = 0
) -> tuple[Float[np.ndarray, "n 2"], list[str], str]:
    """Places on a map, in the plane, of standardised fingerprints; names of the axes; a word on it.

    Args:
        fingerprints: one row a structure.
        method: how they become places.
        seed: of UMAP's random numbers.

    Raises:
        ValueError: if there are too few for UMAP.
    """
    widths = widths_of(fingerprints)
    live = widths > 0.0
    standard = (fingerprints[:, live] - fingerprints[:, live].mean(axis=0)) / widths[live]
    places = np.zeros((len(fingerprints), 2))
    if method == "umap":
        import umap

        if len(fingerprints) < LEAST:
            raise ValueError(f"expected at least {LEAST} structures for UMAP, got {len(places)}")
        reducer = umap.UMAP(
            n_neighbors=min(15, len(places) - 1), init="pca", random_state=seed, n_jobs=1
        )
        places[:] = reducer.fit_transform(standard)
        return places, ["UMAP 1", "UMAP 2"], "UMAP of standardised fingerprints"
    from sklearn.decomposition import PCA

    parts = np.zeros(2)
    if count := min(2, len(places) - 1, int(live.sum())):
        # Where all are the same there is no variance to have a part of.
        with np.errstate(invalid="ignore"):
            model = PCA(count, svd_solver="full").fit(standard)
        places[:, :count] = model.transform(standard)
        parts[:count] = np.nan_to_num(model.explained_variance_ratio_)
    told = " and ".join(f"{100.0 * part:.0f} %" for part in parts)
    about = f"principal components of standardised fingerprints, {told} of the variance"
    return places, ["PC 1", "PC 2"], about


def check_packages(method: Method) -> None:
    """Raise unless what makes such a map is there: to be called before the work.

    Raises:
        ValueError: if chemiscope or umap-learn is missing.
    """
    for package, wanted in (("chemiscope", True), ("umap-learn", method == "umap")):
        if wanted and version_of(package) is None:
            raise ValueError(f"expected the package {package} (pip install {package}), got none")


def _fingerprint(structures: list[Atoms], preset: str | None) -> Fingerprint:
    elements = elements_of(structures)
    if preset is None:
        preset = "crystal" if any(atoms.pbc.any() for atoms in structures) else "default"
        preset = preset if len(elements) <= FEW else "gastegger2018"
    return Fingerprint.preset(preset, elements)


def _known(labelled: LabelledSet) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Numbers, flags and kinds as chemiscope has them; and words, of which there are too many."""
    assert labelled.structures is not None, "checked before"
    columns: dict[str, np.ndarray] = {
        "e_form": labelled.formation_energies,
        "energy": labelled.energies,
        "atoms": np.array([len(atoms) for atoms in labelled.structures]),
        "formula": np.array([atoms.get_chemical_formula() for atoms in labelled.structures]),
        "kind": np.array(labelled.kinds),
        **labelled.columns,
    }
    # Numbers that were not told are those of the structures.
    if (labelled.trajectories != np.arange(len(labelled))).any():
        columns["trajectory"] = labelled.trajectories
    found: dict[str, dict[str, Any]] = {}
    words: dict[str, list[str]] = {}
    for name, column in columns.items():
        if column.dtype.kind == "U":
            if len(set(column)) > CATEGORIES:
                words[name] = column.tolist()
            # One word for all of them tells nothing.
            if not 1 < len(set(column)) <= CATEGORIES:
                continue
            values = column
        else:
            values = column.astype(float)
            values = np.where(np.isfinite(values), values, np.nan)
            if np.isnan(values).all():
                continue
        found[name] = {"target": "structure", "values": values}
        if name in UNITS:
            found[name]["units"] = UNITS[name]
    return found, words


def _data(
    structures: list[Atoms],
    properties: dict[str, dict[str, Any]],
    title: str,
    axes: list[str],
    about: str,
) -> dict[str, Any]:
    from chemiscope import create_input

    # A free structure may have a box around it, which is none of its own.
    bare = [
        Atoms(atoms.numbers, atoms.positions, cell=atoms.cell if atoms.pbc.any() else None)
        for atoms in structures
    ]
    settings = {
        "map": {
            "x": {"property": axes[0]},
            "y": {"property": axes[1]},
            "color": _colours({name: each["values"] for name, each in properties.items()}, axes),
            "symbol": next((name for name in KINDS if name in properties), ""),
        },
        "structure": [{"unitCell": any(atoms.pbc.any() for atoms in structures)}],
    }
    metadata = {"name": title, "description": about}
    return create_input(bare, metadata=metadata, properties=properties, settings=settings)


def _colours(columns: dict[str, np.ndarray], axes: list[str]) -> dict[str, str]:
    names = [name for name in (*COLOURED, *columns) if name in columns and name not in axes]
    for name in names:
        values = columns[name]
        if values.dtype.kind == "f" and np.nanmin(values) < np.nanmax(values):
            # Residuals are of many magnitudes.
            many = name == "residual" and np.nanmin(values) > 0.0
            return {"property": name, "mode": "log" if many else "linear", "palette": "cividis"}
    return {"property": ""}


def _page(title: str, data: dict[str, Any], words: dict[str, list[str]]) -> str:
    package = importlib.metadata.distribution("chemiscope")
    program = Path(str(package.locate_file(f"chemiscope/{LIBRARY}")))
    if not program.is_file():
        raise ValueError(f"expected chemiscope 1.0 or newer with {LIBRARY}, got {package.version}")
    terms = package.read_text("licenses/LICENSE") or "BSD-3-Clause"
    parts = {
        "TITLE": html.escape(title),
        "LICENSE": f"chemiscope {package.version}, https://chemiscope.org\n{terms}",
        "DATA": _script(data),
        "NAMES": _script(words),
        "LIBRARY": program.read_text(encoding="utf-8").replace("</script", "<\\/script"),
    }
    page = files("jaxrecon.plotting").joinpath("explorer.html").read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda place: parts[place[1]], page)


def _script(data: dict[str, Any]) -> str:
    """As JavaScript, which has a NaN; nothing in it ends the script that it is in."""
    return json.dumps(data).replace("<", "\\u003c")
