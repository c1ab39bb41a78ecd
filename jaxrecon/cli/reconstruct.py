"""`jaxrecon fingerprint`, `reconstruct` and `demo`: structures to fingerprints and back."""

from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options, presets
from jaxrecon.cli.options import Force, Quiet, Seed, StorePath, Structures, reporting
from jaxrecon.cli.verbs import Report
from jaxrecon.runtime import interruption
from jaxrecon.search.config import ReconstructConfig

PRESET, CRYSTAL_PRESET, PUBLISHED_PRESET = "default", "crystal", "fung2022"
"""Presets of the fingerprint: for free structures, for crystals, and for files without one."""

FINGERPRINT_EXAMPLES = f"""{presets.TABLE}

\b
Examples:
  jaxrecon fingerprint water.xyz -o water.npz --elements H,O
  jaxrecon fingerprint crystals/ more.cif -o all.npz"""


def fingerprint(
    structures: Structures,
    output: Annotated[
        Path,
        options.output(
            "FP.npz", "File of fingerprints to write; FP.csv or FP.npy for the numbers alone."
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Parameters of the fingerprint, one of the presets below.  [default: crystal if a "
            "structure is periodic, else default]",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            metavar="H,O",
            help="Elements that have features.  [default: those of the structures; all for the "
            "presets universal and alchemical]",
        ),
    ] = None,
    force: Force = False,
) -> Report:
    """Compute the fingerprints of structures.

    FP.npz has the fingerprint, the formula, and the cell and periodic axes of each structure. This
    is all that `reconstruct` needs; positions are not in it. For NumPy the numbers are
    numpy.load("FP.npz")["values"], one row for each structure. Structures may be free, or periodic
    along one axis (wires), two (slabs) or three (crystals), also mixed; `reconstruct` takes free
    ones and crystals.
    """
    from jaxrecon.descriptors.featurize import featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.descriptors.io import SUFFIXES, write_fingerprints
    from jaxrecon.descriptors.registry import needs_elements
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.formulas import elements_of
    from jaxrecon.structures.io import read_structures

    check_output(output, force, suffix=SUFFIXES)
    frames = read_structures(structures)
    default = CRYSTAL_PRESET if any(atoms.pbc.any() for atoms in frames) else PRESET
    name = preset or default
    needed = elements is None and needs_elements(name)
    chosen = Fingerprint.preset(name, elements=elements_of(frames) if needed else elements)
    options.start_jax()
    write_fingerprints(output, featurize(frames, chosen), chosen, frames)
    text = f"{output}: {len(frames)} fingerprints of {chosen.size} numbers"
    if output.suffix != ".npz":
        settings = f"--preset {name}"
        if needed or elements:
            settings += f" --elements {','.join(chosen.descriptor.elements)}"
        text += f"; settings, formulas and cells are not in it (reconstruct {settings})"
    payload = {"fingerprints": len(frames), "numbers": chosen.size}
    return Report(text, payload, [output])


KEPT = ("converged", "uncertain", "targets", "evaluations", "versions")
"""Entries of the details that --json prints too."""

RECONSTRUCT_EXAMPLES = """\b
Examples:
  jaxrecon reconstruct clusters.npz -o found.extxyz
  jaxrecon reconstruct clusters.npz -o found.extxyz --resume
  jaxrecon reconstruct targets.csv -o found.extxyz --symbols Pt10 --rows 0-4
  jaxrecon reconstruct crystals.npz -o found.extxyz --symbols unknown --cell unknown
  jaxrecon reconstruct crystal.csv -o found.cif --symbols NaCl --cell "4 4 4 60 60 60\""""


def reconstruct(
    fingerprints: Annotated[
        Path,
        typer.Argument(
            metavar="FP.npz|FP.csv|FP.npy",
            help="Output of `fingerprint`, or numbers alone with one target per row: a table with "
            "commas or an array of NumPy.",
        ),
    ],
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz",
            "Structures to write, one frame per target; OUT.json beside it has the details.",
        ),
    ],
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="Pt10",
            help="Formula of all targets; or `unknown` to find it, which the presets universal "
            "and alchemical allow.  [default: those of FP.npz]",
        ),
    ] = None,
    atoms: Annotated[
        str | None,
        typer.Option(
            metavar="N|N-M",
            help="Number of atoms of targets whose formulas are unknown, or the numbers that are "
            "tried.  [default: 2-20 with --symbols unknown]",
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="'A B C'",
            help="Cell of all targets: 3 lengths in Angstrom; 3 lengths and 3 angles in degrees; "
            "3 vectors; or `unknown` to find it.  [default: those of FP.npz, else none]",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Parameters of the fingerprint, {presets.LISTED}.  [default: those of FP.npz, "
            f"else {PUBLISHED_PRESET}]",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            metavar="H,O",
            help="Elements that have features, where the file has numbers alone.  [default: those "
            "of --symbols; all for the presets universal and alchemical]",
        ),
    ] = None,
    seed: Seed = 0,
    replicas: Annotated[
        int,
        typer.Option(
            help="Number of candidate structures for each target; 0 for 64 if the fingerprint "
            "pools largest or smallest values, as fung2022 does, and 16 if not.",
        ),
    ] = ReconstructConfig.replicas,
    hops: Annotated[
        int,
        typer.Option(
            help="Largest number of hops for each target, at least 1: in a hop atoms are moved at "
            "random, and the residual is minimised.",
        ),
    ] = ReconstructConfig.hops,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Residual up to which a target is converged, above 0 and without unit: the mean "
            "absolute difference of all numbers, zeros included."
        ),
    ] = ReconstructConfig.tolerance,
    position_tolerance: Annotated[
        float,
        typer.Option(
            help="Largest position error of a converged target in Angstrom, above 0; with a "
            "larger one it is uncertain."
        ),
    ] = ReconstructConfig.position_tolerance,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="SIGMA|FILE",
            help="Standard deviation of the errors of the numbers; a file (.npy or .csv) has one "
            "for each number. A target is converged if its residual is what they leave, and its "
            "position error is what they cause.  [default: exact numbers]",
        ),
    ] = None,
    solutions: Annotated[
        int,
        typer.Option(
            help="Number of different structures to find for each target, at least 1. With more "
            "than 1, the frames of OUT.extxyz have `target` and `solution`.",
        ),
    ] = ReconstructConfig.solutions,
    min_distance: Annotated[
        float,
        typer.Option(
            help="Smallest distance of two atoms, as a fraction of the sum of their covalent "
            "radii, below 1; 0 for no limit."
        ),
    ] = ReconstructConfig.min_distance,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="0-29|3,7",
            help="Targets to use, counted from 0; the frames of OUT.extxyz have their `row`.  "
            "[default: all]",
        ),
    ] = None,
    store: StorePath = None,
    resume: Annotated[bool, options.resumption("--hops", "--rows")] = False,
    distributed: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT,P,I",
            help="Divide the targets among several processes: those that SLURM or Open MPI "
            "started (auto), or this one as process I of P, counted from 0, like node1:1234,8,0. "
            "Process 0 listens at HOST:PORT and writes the outputs.  [default: one process]",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> Report | None:
    """Find the structures that have the given fingerprints.

    Each frame of OUT.extxyz has its `residual`, its `position_error` in Angstrom that this allows,
    and `result_code`: converged, uncertain (the numbers agree but leave a larger position error),
    stalled (the best structure has another fingerprint), non_finite or overflow. Ctrl-C stops
    after the current hop; finished targets are in the database, and --resume continues from them.
    With more --hops than before, --resume searches again for the targets that were not solved,
    from their start.
    """
    from jaxrecon.cli import arguments, targets
    from jaxrecon.descriptors.io import read_fingerprints
    from jaxrecon.runtime.distributed import connect, is_first
    from jaxrecon.runtime.files import write_json
    from jaxrecon.search.reconstruct import reconstruct
    from jaxrecon.search.store import Store
    from jaxrecon.structures.io import check_format, write_structures

    # Whatever is wrong with the input is reported before JAX starts.
    details = options.details_path(output)
    results = options.open_store(Store, output, details, url=store, resume=resume, force=force)
    config = ReconstructConfig(
        replicas=replicas,
        hops=hops,
        tolerance=tolerance,
        position_tolerance=position_tolerance,
        solutions=solutions,
        min_distance=min_distance,
    )
    file = read_fingerprints(fingerprints)
    numbers = arguments.parse_rows(rows, len(file))
    file = file.select(numbers)
    formulas = targets.choose_formulas(file, symbols, numbers, atoms, preset)
    cells = targets.choose_cells(file, cell, numbers)
    errors = None if noise is None else arguments.parse_noise(noise, numbers)
    chosen = targets.choose_fingerprint(file, preset, PUBLISHED_PRESET, formulas, elements)
    check_format(output, targets.placeholders(formulas, cells))
    processes = None if distributed is None else arguments.parse_processes(distributed)
    if processes is not None:
        connect(**processes)
    options.start_jax()
    first = processes is None or is_first()
    words = ("reconstructing", "evaluations")
    pieces = f"of {len(numbers)} targets"
    with reporting(
        results, len(numbers), words, quiet or not first, pieces, interruption.NOTICE
    ) as progress:
        found = reconstruct(
            file.values,
            chosen,
            symbols=formulas,
            atoms=None if atoms is None else arguments.parse_atoms(atoms),
            cell=cells,
            noise=errors,
            config=config,
            seed=seed,
            indices=numbers,
            progress=progress,
            store=results,
        )
    # All processes have all results; one of them writes.
    if not first:
        return None
    inputs = {
        "fingerprints": str(fingerprints),
        "rows": numbers,
        "symbols": formulas,
        "atoms": atoms,
        "noise": noise,
        "cells": [box if box is None or isinstance(box, str) else box.tolist() for box in cells],
    }
    frames = found.to_atoms(others=solutions > 1)
    if rows is not None:
        for number, frame in enumerate(frames):
            frame.info["row"] = numbers[frame.info.get("target", number)]
    write_structures(output, frames)
    report = found.to_dict()
    write_json(details, {"inputs": inputs, **report})
    payload = {name: report[name] for name in KEPT}
    payload["repeated"] = results.repeated
    lines = [str(found), *options.repeated(results, "targets")]
    return Report("\n".join(lines), payload, [output, details])


DEMO_EXAMPLES = """\b
Example:
  jaxrecon demo -o demo --seed 1"""


def demo(
    output: Annotated[Path, options.output("DIRECTORY", "Directory to write to.")] = Path("demo"),
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Show on small examples what jaxrecon does.

    Structures are recovered from symmetry functions, SOAP and images, and clusters and crystals are
    made for energies. DIRECTORY gets the structures (extxyz; CIF for the crystal), figures, a
    trained model, all numbers, and index.html, a page about them whose structures can be turned.
    Three commands to try next are printed.
    """
    options.start_jax()
    from jaxrecon.cli import demo as example

    payload, files = example.run(output, seed=seed, force=force)
    commands = "\n".join(f"  {command}" for command in payload["next"])
    return Report(f"look at {files[-1]}\n\nto try next:\n{commands}", payload, files)
