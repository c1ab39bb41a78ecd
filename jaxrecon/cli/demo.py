"""The demonstration: structures recovered from numbers, clusters and crystals made for energies."""

import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxrecon import __version__
from jaxrecon.cli import demo_design, demo_page, demo_recover
from jaxrecon.cli.demo_design import Designed
from jaxrecon.cli.demo_page import MODEL
from jaxrecon.cli.demo_recover import Recovered
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.models.folder import ABOUT, save_model
from jaxrecon.plotting.canvas import save
from jaxrecon.plotting.demo import DesignSummary, design_summary
from jaxrecon.plotting.reconstructions import SideBySide, side_by_side
from jaxrecon.runtime.files import check_output, replacing, write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.io import write_structures
from jaxrecon.structures.structure import is_periodic

FILES = (*demo_page.FILES, "index.html")
"""Names of the files that are written, besides the folder of the model."""

WIDTH = 100
"""Largest length of a printed line."""


def run(
    directory: Path, *, seed: int = 0, force: bool = False, progress: bool = True
) -> tuple[dict[str, Any], list[Path]]:
    """Recover structures from numbers, then make clusters and crystals for energies.

    Two clusters are recovered from symmetry functions, a molecule from SOAP, a crystal from images.
    Then a small model learns from the 300 clusters of ``pt10_pbe`` and makes clusters for 1.9 and
    2.8 eV/atom, and another one learns from alloys of copper and gold and makes crystals of Cu3Au.
    Tables are printed, and structures, figures, a model, all numbers and a page are written.

    Args:
        directory: the directory to write to.
        seed: seed of the random numbers.
        force: whether existing files may be replaced.
        progress: whether to show progress bars.

    Returns:
        The report: residual, stated and true error in Angstrom and seconds of each recovered
        structure by name, the rows of the targets of clusters and of crystals, and commands to try
        next. And the files, the page last.

    Raises:
        FileExistsError: if a file exists and may not be replaced, or the folder of the model exists
            and has no model.
    """
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    paths = _output_paths(directory, force)
    # Each part prints its table as soon as it is complete.
    recovered = demo_recover.recover(seed, progress)
    print(f"Structures recovered from numbers alone\n\n{demo_recover.text(recovered)}\n")
    clusters = demo_design.clusters(seed, progress)
    _print("Clusters of Pt10 made for an energy, in eV/atom", clusters)
    crystals = demo_design.crystals(seed, progress)
    _print("Crystals of Cu3Au, which it did not learn from, made for an energy", crystals)

    # Write structures and figures, then the numbers, then the page, which contains a figure.
    _write_structures(paths, recovered, clusters, crystals)
    _write_figures(paths, recovered, clusters)
    report = _report(recovered, clusters, crystals, directory)
    seconds = time.perf_counter() - started
    details = {
        "reconstructions": {each.pair.name: each.details for each in recovered},
        "design": clusters.to_dict(),
        "design_of_crystals": crystals.to_dict(),
        "seed": seed,
        "seconds": seconds,
        "versions": versions(),
    }
    write_json(paths["demo.json"], {**report, **details})
    page = demo_page.page(
        directory,
        recovered=recovered,
        clusters=clusters,
        crystals=crystals,
        commands=report["next"],
        about=f"Made by jaxrecon {__version__} in {seconds:.0f} s with seed {seed}.",
    )
    with replacing(paths["index.html"]) as draft:
        draft.write_text(page, encoding="utf-8")
    print(f"{seconds:.0f} s")
    *others, last = paths.values()
    return report, [*others, directory / MODEL, last]


def _print(title: str, designed: Designed) -> None:
    """Print what was made, with the error of the model."""
    print(f"{title}\n\n{designed}\n\n{textwrap.fill(designed.error, WIDTH)}\n")


def next_commands(directory: Path) -> list[str]:
    """Three commands that use the files of a demonstration, to be run in this order."""
    fingerprints, made, again, more, model = (
        shlex.quote(str(directory / name))
        for name in ("made.npz", "made.extxyz", "again.extxyz", "more.extxyz", MODEL)
    )
    return [
        f"jaxrecon reconstruct {fingerprints} -o {again}",
        f"jaxrecon match {again} {made}",
        f"jaxrecon generate {model} --target 2.4 --samples 20 -o {more}",
    ]


def _output_paths(directory: Path, force: bool) -> dict[str, Path]:
    """The paths of all files by name, if they can be written."""
    paths = {name: directory / name for name in FILES}
    for path in paths.values():
        check_output(path, force)
    model = directory / MODEL
    if model.exists() and not (force and (model / ABOUT).is_file()):
        ways = "a model and --force, or nothing in the way"
        raise FileExistsError(f"expected {ways}, got {model}")
    return paths


def _report(
    recovered: Sequence[Recovered], clusters: Designed, crystals: Designed, directory: Path
) -> dict[str, Any]:
    """The main results as plain data."""
    structures = {
        each.pair.name: {
            "read_from": each.source,
            "residual": each.pair.residual,
            "position_error": each.position_error,
            "rmsd": each.pair.rmsd,
            "seconds": each.seconds,
        }
        for each in recovered
    }
    return {
        "structures": structures,
        "targets": [asdict(row) for row in clusters.rows],
        "targets_of_crystals": [asdict(row) for row in crystals.rows],
        "next": next_commands(directory),
    }


def _write_structures(
    paths: Mapping[str, Path],
    recovered: Sequence[Recovered],
    clusters: Designed,
    crystals: Designed,
) -> None:
    """Write all structures, the fingerprints of the clusters that were made, and their model."""
    pairs = [each.pair for each in recovered]
    periodic = [pair for pair in pairs if is_periodic(pair.truth)]
    for suffix, selected in ((".extxyz", pairs), (".cif", periodic)):
        write_structures(paths[f"truth{suffix}"], [pair.truth for pair in selected])
        write_structures(paths[f"reconstruction{suffix}"], [pair.found for pair in selected])
    made = clusters.structures
    write_structures(paths["made.extxyz"], made)
    write_structures(paths["crystals.extxyz"], crystals.structures)
    # The default fingerprint is the easiest to invert; the model learns from another one.
    default = Fingerprint.preset("default", elements_of(made))
    write_fingerprints(paths["made.npz"], featurize(made, default), default, made)
    save_model(clusters.model, paths["made.npz"].parent / MODEL)


def _write_figures(
    paths: Mapping[str, Path], recovered: Sequence[Recovered], clusters: Designed
) -> None:
    """Draw the recovered structures beside the true ones, and the energies of the clusters."""
    named = [each.pair._replace(name=f"{each.pair.name}\nfrom {each.source}") for each in recovered]
    save(side_by_side(SideBySide(named)), paths["demo.png"])
    known = (clusters.model.training.formation_energies, clusters.emt_of_known)
    tolerance = clusters.order.making.tolerance
    summary = DesignSummary(clusters.structures, known, tolerance)
    save(design_summary(summary), paths["design.png"])
