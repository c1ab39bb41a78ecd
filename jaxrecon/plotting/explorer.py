"""Explorer: a page with a map of fingerprints and the structures beside it, for a browser."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.datasets.frames import from_frames, to_frames
from jaxrecon.datasets.io import read_labelled
from jaxrecon.datasets.labelled import LabelledSet, joined
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design.generated import widths_of
from jaxrecon.models.local.atom_maps import LEAST, umap_points
from jaxrecon.plotting.explorer_page import Projection, page
from jaxrecon.runtime.files import replacing
from jaxrecon.runtime.memory import check_memory
from jaxrecon.runtime.versions import version_of
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.io import Source, read_structures

Method = Literal["pca", "umap"]
"""Principal components, or uniform manifold approximation and projection."""

MAX_ELEMENTS = 5
"""Largest number of elements for which the fingerprint has a channel for each pair of them; with
more elements one channel weights them by atomic number."""


def read(source: Source | Sequence[Source]) -> LabelledSet:
    """Read structures and their properties from files or from the folder of a design.

    From the folder of a design, the training set, the structures that were judged in each round and
    those that were made at the end are read, as far as the design has come; the column ``set`` says
    which is which.

    Args:
        source: a source for :func:`~jaxrecon.datasets.io.read_labelled`, or a folder that
            :func:`~jaxrecon.inverse_design.closed_loop.design` has written to; or several of these.

    Returns:
        The structures as a labelled set.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it can't be read, or has no structures.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    parts: dict[str, LabelledSet] = {}
    for item in sources:
        name = os.fspath(item)
        is_design = (Path(item) / "run.json").is_file()
        labelled = _read_design(Path(item)) if is_design else read_labelled(item)
        parts[name if name not in parts else f"{name} ({len(parts)})"] = labelled
    return joined(parts)


def _read_design(path: Path) -> LabelledSet:
    """Read the structures in the folder of a design."""
    # By length first, so that round-10 comes after round-9.
    judged = sorted(path.glob("round-*/judged.extxyz"), key=lambda file: (len(str(file)), file))
    parts = {file.parent.name: read_structures(file) for file in judged}
    if (path / "set.npz").is_file():
        learned = read_labelled(path / "set.npz")
        if learned.structures is not None:
            # The set ends with what was learned from the judged structures, which are read already.
            new = sum("e_form" in atoms.info for frames in parts.values() for atoms in frames)
            parts = {"training": to_frames(learned)[: len(learned) - new], **parts}
    if (path / "made.extxyz").is_file():
        parts["made"] = read_structures(path / "made.extxyz")
    frames = []
    for name, structures in parts.items():
        for atoms in structures:
            atoms.info["set"] = name
        frames += structures
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
    local: Mapping[str, Sequence[Float[np.ndarray, " _"]]] | None = None,
) -> int:
    """Write a page that shows structures on a map of their fingerprints.

    Structures with a position that is not finite are left out.

    Args:
        labelled: structures and their properties.
        path: page to write.
        title: title of the page.
        method: method that projects fingerprints onto the map.
        preset: preset of the fingerprint; None for ``"crystal"`` if a structure is periodic,
            ``"gastegger2018"`` if there are more than 5 elements, and ``"default"`` otherwise.
        seed: seed of UMAP's random numbers.
        local: numbers of the atoms of each structure, by name; the first ones colour the atoms.

    Returns:
        The number of structures on the page.

    Raises:
        ValueError: if there are no structures, chemiscope or umap-learn is not installed, or the
            method is unknown.
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
    shown = np.flatnonzero(finite)
    labelled = labelled.select(shown)
    of_atoms = {
        name: np.concatenate([values[number] for number in shown.tolist()])
        for name, values in (local or {}).items()
    }
    assert labelled.structures is not None, "a selection of structures has structures"
    fingerprint = _fingerprint(labelled.structures, preset)
    projection = project(featurize(labelled.structures, fingerprint), method, seed)
    with replacing(Path(path)) as draft:
        draft.write_text(page(labelled, projection, title, of_atoms), encoding="utf-8")
    return len(labelled)


def project(fingerprints: Float[np.ndarray, "n p"], method: Method, seed: int = 0) -> Projection:
    """Project standardised fingerprints onto a plane.

    Args:
        fingerprints: one row per structure.
        method: method of the projection.
        seed: seed of UMAP's random numbers.

    Returns:
        One point per structure, the names of the axes, and a description.

    Raises:
        ValueError: if there are too few structures for UMAP.
    """
    check_memory(
        2 * fingerprints.nbytes,
        f"a map of {len(fingerprints)} fingerprints of {fingerprints.shape[1]} numbers",
        "use weighted elements (--preset gastegger2018)",
    )
    widths = widths_of(fingerprints)
    live = widths > 0.0
    standard = (fingerprints[:, live] - fingerprints[:, live].mean(axis=0)) / widths[live]
    points = np.zeros((len(fingerprints), 2))
    if method == "umap":
        if len(points) < LEAST:
            needed = f"at least {LEAST} structures for UMAP"
            raise ValueError(f"expected {needed}, got {len(points)}")
        points = umap_points(standard, seed)
        return Projection(points, ("UMAP 1", "UMAP 2"), "UMAP of standardised fingerprints")
    from sklearn.decomposition import PCA

    # Few structures, or few features that differ, have fewer than two components.
    fractions = np.zeros(2)
    if count := min(2, len(points) - 1, int(live.sum())):
        # Identical fingerprints have no variance, and its fractions are 0 / 0.
        with np.errstate(invalid="ignore"):
            model = PCA(count, svd_solver="full").fit(standard)
        points[:, :count] = model.transform(standard)
        fractions[:count] = np.nan_to_num(model.explained_variance_ratio_)
    percents = " and ".join(f"{100.0 * fraction:.0f} %" for fraction in fractions)
    description = f"principal components of standardised fingerprints, {percents} of the variance"
    return Projection(points, ("PC 1", "PC 2"), description)


def check_packages(method: Method) -> None:
    """Raise unless the packages for a map are installed; to be called before the work.

    Args:
        method: method of the projection.

    Raises:
        ValueError: if chemiscope or umap-learn is missing.
    """
    extras = (("chemiscope", "explore", True), ("umap-learn", "umap", method == "umap"))
    for package, extra, needed in extras:
        if needed and version_of(package) is None:
            raise ValueError(
                f'expected the package {package}, got none: pip install "jaxrecon[{extra}]"'
            )


def _fingerprint(structures: list[Atoms], preset: str | None) -> Fingerprint:
    """The fingerprint of a preset, or one that suits the structures."""
    elements = elements_of(structures)
    if preset is None:
        preset = "crystal" if any(atoms.pbc.any() for atoms in structures) else "default"
        preset = preset if len(elements) <= MAX_ELEMENTS else "gastegger2018"
    return Fingerprint.preset(preset, elements)
