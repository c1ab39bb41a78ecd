"""The demonstration: structures to fingerprints and back, then clusters made for an energy."""

import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms

from jaxrecon import datasets
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
"""What is learned from."""

FILES = (*demo_page.FILES, "index.html")

COLUMNS = {
    "structure": "<",
    "atoms": ">",
    "numbers": ">",
    "residual": ">",
    "RMSD/A": ">",
    "hops": ">",
    "s": ">",
}
"""Of the table of structures that were recovered."""

WIDTH = 100
"""Of lines that are printed."""


def run(
    directory: Path, *, seed: int = 0, force: bool = False, progress: bool = True
) -> tuple[dict[str, Any], list[Path]]:
    """Recover structures from their fingerprints, then make clusters of Pt10 for three energies.

    Three prototypes and a relaxed cluster are recovered from their fingerprints alone. Then a small
    model learns from the 300 clusters of ``pt10_pbe``, clusters are made for 1.9, 2.8 and 3.7
    eV/atom, and other opinions are asked of them. Both tables are printed; structures, figures, the
    model, all numbers and a page about them are written to the directory.

    Returns:
        Residual, RMSD in Angstrom and seconds of each structure by name, the rows of the targets,
        and the commands to try next; and the files, the page last.

    Raises:
        FileExistsError: if a file is there already and ``force`` is not set, or something in the
            place of the model that is none.
    """
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    paths = _checked(directory, force)
    pairs, runs = _there_and_back(_examples(seed), seed, progress)
    rows = [_words(pair, runs[pair.name]) for pair in pairs]
    print(f"Structures recovered from their fingerprints alone\n\n{tables.text(COLUMNS, rows)}\n")
    designed = demo_design.design(datasets.load(SET), seed=seed, progress=progress)
    print(f"Clusters of Pt10 made for an energy, in eV/atom\n\n{designed}\n")
    print("\n".join(textwrap.fill(remark, WIDTH) for remark in designed.remarks))

    _write_structures(paths, pairs, designed)
    save(side_by_side(SideBySide(pairs)), paths["demo.png"])
    known = (designed.model.training.formation_energies, designed.emt_of_known)
    summary = DesignSummary(designed.structures, known, designed.tolerance)
    save(design_summary(summary), paths["design.png"])
    told: dict[str, Any] = {
        "structures": {
            pair.name: {
                "residual": pair.residual,
                "rmsd": pair.rmsd,
                "seconds": runs[pair.name].seconds,
            }
            for pair in pairs
        },
        "targets": [asdict(row) for row in designed.rows],
        "next": next_commands(directory),
    }
    seconds = time.perf_counter() - started
    more: dict[str, Any] = {
        "reconstructions": {name: found.to_dict() for name, found in runs.items()},
        "design": designed.to_dict(),
        "seed": seed,
        "seconds": seconds,
        "versions": versions(),
    }
    write_json(paths["demo.json"], {**told, **more})
    page = demo_page.page(
        directory,
        recovered=tables.html(COLUMNS, rows, "s: seconds, compiling included"),
        designed=designed,
        commands=told["next"],
        about=f"jaxrecon {more['versions']['jaxrecon']} made this in {seconds:.0f} s, seed {seed}.",
    )
    with replacing(paths["index.html"]) as draft:
        draft.write_text(page, encoding="utf-8")
    print(f"\n{seconds:.0f} s")
    *others, last = paths.values()
    return told, [*others, directory / MODEL, last]


def next_commands(directory: Path) -> list[str]:
    """Three to try with what is in the directory of a demonstration, in this order."""
    fingerprints, made, again, more, model = (
        shlex.quote(str(directory / name))
        for name in ("made.npz", "made.extxyz", "again.extxyz", "more.extxyz", MODEL)
    )
    return [
        f"jaxrecon reconstruct {fingerprints} -o {again}",
        f"jaxrecon match {again} {made}",
        f"jaxrecon generate {model} --target 2.4 --samples 20 -o {more}",
    ]


def _checked(directory: Path, force: bool) -> dict[str, Path]:
    """Where the files will be, if they may."""
    paths = {name: directory / name for name in FILES}
    for path in paths.values():
        check_output(path, force)
    model = directory / MODEL
    if model.exists() and not (force and (model / ABOUT).is_file()):
        ways = "a model and --force, or nothing in the way"
        raise FileExistsError(f"expected {ways}, got {model}")
    return paths


def _examples(seed: int) -> dict[str, Atoms]:
    names = ("icosahedron", "decagon", "methylammonium_lead_bromide")
    return {
        **{name: prototypes.load(name) for name in names},
        "relaxed Pt10 (EMT)": clusters.relaxed("Pt10", seed),
    }


def _there_and_back(
    examples: Mapping[str, Atoms], seed: int, progress: bool
) -> tuple[list[Pair], dict[str, Reconstruction]]:
    """Each structure and what is recovered from its fingerprint, formula and cell; and the runs."""
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


def _words(pair: Pair, found: Reconstruction) -> list[str]:
    """A row of the table."""
    return [
        pair.name.replace("_", " "),
        str(len(pair.truth)),
        str(found.fingerprints[0].size),
        f"{pair.residual:.1e}",
        f"{pair.rmsd:.1e}",
        str(found[0].hops),
        f"{found.seconds:.1f}",
    ]


def _write_structures(paths: Mapping[str, Path], pairs: Sequence[Pair], designed: Designed) -> None:
    periodic = [pair for pair in pairs if is_periodic(pair.truth)]
    for ending, some in ((".extxyz", pairs), (".cif", periodic)):
        write_structures(paths[f"truth{ending}"], [pair.truth for pair in some])
        write_structures(paths[f"reconstruction{ending}"], [pair.found for pair in some])
    made = designed.structures
    write_structures(paths["made.extxyz"], made)
    # By what structures are recovered best from, and not by what energies are learned from.
    default = Fingerprint.preset("default", elements_of(made))
    write_fingerprints(paths["made.npz"], featurize(made, default), default, made)
    save_model(designed.model, paths["made.npz"].parent / MODEL)
