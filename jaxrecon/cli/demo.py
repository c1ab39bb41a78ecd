"""The demonstration: structures recovered from fingerprints, and clusters made for an energy."""

import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms

from jaxrecon import __version__, datasets
from jaxrecon.cli import demo_design, demo_page
from jaxrecon.cli.demo_design import Designed
from jaxrecon.cli.demo_page import MODEL
from jaxrecon.datasets import clusters, prototypes
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.io import write_fingerprints
from jaxrecon.models.folder import ABOUT, save_model
from jaxrecon.plotting.canvas import save
from jaxrecon.plotting.demo import DesignSummary, design_summary
from jaxrecon.plotting.reconstructions import Pair, SideBySide, side_by_side
from jaxrecon.runtime import tables
from jaxrecon.runtime.files import check_output, replacing, write_json
from jaxrecon.runtime.versions import versions
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.reconstruct import reconstruct
from jaxrecon.search.results import Reconstruction
from jaxrecon.structures import matching
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.io import write_structures
from jaxrecon.structures.structure import is_periodic

SET = "pt10_pbe"
"""Labelled set from which the models learn."""

FILES = (*demo_page.FILES, "index.html")
"""Names of the files that are written, besides the folder of the model."""

COLUMNS = {
    "structure": "<",
    "atoms": ">",
    "numbers": ">",
    "residual": ">",
    "error/A": ">",
    "RMSD/A": ">",
    "hops": ">",
    "s": ">",
}
"""Alignment of the columns in the table of recovered structures."""

WIDTH = 100
"""Largest length of a printed line."""


def run(
    directory: Path, *, seed: int = 0, force: bool = False, progress: bool = True
) -> tuple[dict[str, Any], list[Path]]:
    """Recover structures from their fingerprints, then make clusters of Pt10 for three energies.

    Three prototypes and a relaxed cluster are recovered from their fingerprints alone. Then a small
    model learns from the 300 clusters of ``pt10_pbe``. Clusters are made for 1.9, 2.8 and 3.7
    eV/atom and evaluated by independent models. Both tables are printed, and structures, figures,
    the model, all numbers and a page about them are written.

    Args:
        directory: the directory to write to.
        seed: seed of the random numbers.
        force: whether existing files may be replaced.
        progress: whether to show progress bars.

    Returns:
        The report: residual, RMSD in Angstrom and seconds of each recovered structure by name, the
        rows of the targets, and commands to try next. And the files, the page last.

    Raises:
        FileExistsError: if a file exists and may not be replaced, or the folder of the model exists
            and has no model.
    """
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    paths = _output_paths(directory, force)
    # Compute both halves, and print their tables as soon as they are complete.
    pairs, runs = _recover(_examples(seed), seed, progress)
    rows = [_table_row(pair, runs[pair.name]) for pair in pairs]
    print(f"Structures recovered from their fingerprints alone\n\n{tables.text(COLUMNS, rows)}\n")
    designed = demo_design.design(datasets.load(SET), seed=seed, progress=progress)
    print(f"Clusters of Pt10 made for an energy, in eV/atom\n\n{designed}\n")
    print("\n".join(textwrap.fill(remark, WIDTH) for remark in designed.remarks))

    # Write structures and figures, then the numbers, then the page, which contains the figures.
    _write_structures(paths, pairs, designed)
    _write_figures(paths, pairs, designed)
    report = _report(pairs, runs, designed, directory)
    seconds = time.perf_counter() - started
    details = {
        "reconstructions": {name: found.to_dict() for name, found in runs.items()},
        "design": designed.to_dict(),
        "seed": seed,
        "seconds": seconds,
        "versions": versions(),
    }
    write_json(paths["demo.json"], {**report, **details})
    page = demo_page.page(
        directory,
        recovered=tables.html(COLUMNS, rows, "s: seconds, with compilation"),
        designed=designed,
        commands=report["next"],
        about=f"Made by jaxrecon {__version__} in {seconds:.0f} s with seed {seed}.",
    )
    with replacing(paths["index.html"]) as draft:
        draft.write_text(page, encoding="utf-8")
    print(f"\n{seconds:.0f} s")
    *others, last = paths.values()
    return report, [*others, directory / MODEL, last]


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


def _examples(seed: int) -> dict[str, Atoms]:
    """The structures to recover, by name."""
    names = ("icosahedron", "decagon", "methylammonium_lead_bromide")
    return {
        **{name: prototypes.load(name) for name in names},
        "relaxed Pt10 (EMT)": clusters.relaxed("Pt10", seed),
    }


def _recover(
    examples: Mapping[str, Atoms], seed: int, progress: bool
) -> tuple[list[Pair], dict[str, Reconstruction]]:
    """Recover each structure from its fingerprint, formula and cell."""
    pairs, runs = [], {}
    for name, truth in examples.items():
        periodic = is_periodic(truth)
        preset = "crystal" if periodic else "fung2022"
        fingerprint = Fingerprint.preset(preset, elements_of([truth]))
        runs[name] = reconstruct(
            featurize(truth, fingerprint),
            fingerprint,
            symbols=truth.get_chemical_formula(),
            cell=truth.cell.array if periodic else None,
            config=ReconstructConfig(replicas=16 if periodic else 64),
            seed=seed,
            progress=progress,
        )
        found = runs[name][0]
        rmsd = matching.rmsd(truth, found.atoms)
        pairs.append(Pair(name, truth, found.atoms, found.residual, rmsd))
    return pairs, runs


def _table_row(pair: Pair, found: Reconstruction) -> list[str]:
    """The entries of a recovered structure in the table."""
    return [
        pair.name.replace("_", " "),
        str(len(pair.truth)),
        str(found.fingerprints[0].size),
        f"{pair.residual:.1e}",
        f"{found[0].position_error:.1e}",
        f"{pair.rmsd:.1e}",
        str(found[0].hops),
        f"{found.seconds:.1f}",
    ]


def _report(
    pairs: Sequence[Pair],
    runs: Mapping[str, Reconstruction],
    designed: Designed,
    directory: Path,
) -> dict[str, Any]:
    """The main results as plain data."""
    structures = {
        pair.name: {
            "residual": pair.residual,
            "position_error": runs[pair.name][0].position_error,
            "rmsd": pair.rmsd,
            "seconds": runs[pair.name].seconds,
        }
        for pair in pairs
    }
    return {
        "structures": structures,
        "targets": [asdict(row) for row in designed.rows],
        "next": next_commands(directory),
    }


def _write_structures(paths: Mapping[str, Path], pairs: Sequence[Pair], designed: Designed) -> None:
    """Write all structures, the fingerprints of the clusters that were made, and the model."""
    periodic = [pair for pair in pairs if is_periodic(pair.truth)]
    for suffix, selected in ((".extxyz", pairs), (".cif", periodic)):
        write_structures(paths[f"truth{suffix}"], [pair.truth for pair in selected])
        write_structures(paths[f"reconstruction{suffix}"], [pair.found for pair in selected])
    made = designed.structures
    write_structures(paths["made.extxyz"], made)
    # The default fingerprint is the easiest to invert; the model learns from another one.
    default = Fingerprint.preset("default", elements_of(made))
    write_fingerprints(paths["made.npz"], featurize(made, default), default, made)
    save_model(designed.model, paths["made.npz"].parent / MODEL)


def _write_figures(paths: Mapping[str, Path], pairs: Sequence[Pair], designed: Designed) -> None:
    """Draw the recovered structures beside the true ones, and the energies of the clusters."""
    save(side_by_side(SideBySide(pairs)), paths["demo.png"])
    known = (designed.model.training.formation_energies, designed.emt_of_known)
    summary = DesignSummary(designed.structures, known, designed.tolerance)
    save(design_summary(summary), paths["design.png"])
