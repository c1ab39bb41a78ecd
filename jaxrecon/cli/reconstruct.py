"""`jaxrecon fingerprint`, `reconstruct` and `demo`: the way there and back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Force, Kept, Quiet, Resume, Seed
from jaxrecon.cli.verbs import Report
from jaxrecon.runtime.interruption import interruptible
from jaxrecon.search.config import ReconstructConfig

PRESET, CRYSTAL_PRESET, PUBLISHED_PRESET = "default", "crystal", "fung2022"

FINGERPRINT_EXAMPLES = """\b
Example:
  jaxrecon fingerprint water.xyz -o water.npz --elements H,O"""


def fingerprint(
    structures: Annotated[
        Path,
        typer.Argument(
            metavar="STRUCTURES", help="File in any format of ASE; all of its frames, in Angstrom."
        ),
    ],
    output: Annotated[Path, options.output("FP.npz", "File to write.")],
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="default, crystal, fung2022 or gastegger2018: the parameters.  "
            "[default: crystal if a structure is periodic, else default]",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(metavar="H,O", help="Elements to have channels for.  [default: those there]"),
    ] = None,
    force: Force = False,
) -> Report:
    """Compute the fingerprints of structures.

    FP.npz has, for each structure, the fingerprint, the formula and the cell (none unless it is
    periodic along all three axes): everything that `reconstruct` needs, and never the positions.
    """
    from jaxrecon.descriptors.featurize import featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.descriptors.io import write_fingerprints
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.formulas import elements_of
    from jaxrecon.structures.io import read_structures
    from jaxrecon.structures.structure import is_periodic

    check_output(output, force, suffix=".npz")
    frames = read_structures(structures)
    names = elements.split(",") if elements is not None else elements_of(frames)
    default = CRYSTAL_PRESET if any(is_periodic(atoms) for atoms in frames) else PRESET
    chosen = Fingerprint.preset(preset or default, elements=names)
    options.start_jax()
    write_fingerprints(output, featurize(frames, chosen), chosen, frames)
    text = f"{output}: {len(frames)} fingerprints of {chosen.size} numbers"
    data = {"fingerprints": len(frames), "numbers": chosen.size}
    return Report(text, data, [output])


RECONSTRUCT_EXAMPLES = """\b
Examples:
  jaxrecon reconstruct clusters.npz -o found.extxyz
  jaxrecon reconstruct clusters.npz -o found.extxyz --resume
  jaxrecon reconstruct targets.csv -o found.extxyz --symbols Pt10 --rows 0-4
  jaxrecon reconstruct crystal.csv -o found.cif --symbols NaCl --cell "4 4 4 60 60 60\""""


def reconstruct(
    fingerprints: Annotated[
        Path,
        typer.Argument(
            metavar="FP.npz|FP.csv",
            help="What `fingerprint` wrote, or comma-separated numbers, one target a row.",
        ),
    ],
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz",
            "Structures to write, one frame a target; OUT.json beside it has the details.",
        ),
    ],
    symbols: Annotated[
        str | None,
        typer.Option(metavar="Pt10", help="Formula of all targets.  [default: that of FP.npz]"),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="'A B C'",
            help="Cell of all targets: 3 lengths in Angstrom; 3 lengths and 3 angles in degrees; "
            "or 3 vectors; or `unknown`, to be found.  [default: that of FP.npz, or none: free]",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Parameters of the fingerprint.  [default: those of FP.npz, or "
            f"{PUBLISHED_PRESET}]",
        ),
    ] = None,
    seed: Seed = 0,
    replicas: Annotated[
        int,
        typer.Option(
            help="Structures that search for one target together; 0 for 64 where the fingerprint "
            "has largest or smallest values, else 16."
        ),
    ] = ReconstructConfig.replicas,
    hops: Annotated[
        int, typer.Option(help="Rounds for each target at most.")
    ] = ReconstructConfig.hops,
    tolerance: Annotated[
        float, typer.Option(help="Mean absolute residual at which a target is hit; no unit.")
    ] = ReconstructConfig.tolerance,
    solutions: Annotated[
        int,
        typer.Option(
            help="Different structures to look for that hit each target; OUT.extxyz has all of "
            "them, with `target` and `solution`, if more than 1."
        ),
    ] = ReconstructConfig.solutions,
    min_distance: Annotated[
        float,
        typer.Option(help="Atoms keep this part of the sum of their covalent radii; 0: anything."),
    ] = ReconstructConfig.min_distance,
    rows: Annotated[
        str | None,
        typer.Option(metavar="0-29|3,7", help="Targets to do, from 0.  [default: all]"),
    ] = None,
    store: Kept = None,
    resume: Resume = False,
    distributed: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT,P,I",
            help="Share the targets with other processes: those of SLURM or Open MPI; or process "
            "I of P, which meet where process 0 listens. That one writes the outputs.",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> Report | None:
    """Find the structures whose fingerprints are given.

    Each frame of OUT.extxyz has its `residual` and `result_code` (converged, stalled, non_finite).
    Ctrl-C ends a search after the hop that it is at; what the database has then is never lost.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.descriptors.io import read_fingerprints
    from jaxrecon.runtime.distributed import connect, is_first
    from jaxrecon.runtime.files import write_json
    from jaxrecon.runtime.progress import reporter
    from jaxrecon.search.reconstruct import reconstruct
    from jaxrecon.search.store import Store
    from jaxrecon.structures.io import check_format, write_structures

    details = options.details_of(output)
    kept = options.opened(Store, output, details, store=store, resume=resume, force=force)
    config = ReconstructConfig(
        replicas=replicas,
        hops=hops,
        tolerance=tolerance,
        solutions=solutions,
        min_distance=min_distance,
    )
    file = read_fingerprints(fingerprints)
    numbers = arguments.parse_rows(rows, len(file))
    file = file.select(numbers)
    formulas = arguments.formulas_of(file, symbols, numbers)
    box = None if cell is None else arguments.parse_cell(cell)
    cells: list[Any] = [box] * len(file)
    if box is None and file.cells is not None:
        cells = file.cells
    chosen = arguments.fingerprint_of(file, preset, PUBLISHED_PRESET, formulas)
    check_format(output, arguments.placeholders(formulas, cells))
    processes = None if distributed is None else arguments.parse_processes(distributed)
    if processes is not None:
        connect(**processes)
    options.start_jax()
    first = processes is None or is_first()
    with reporter(first and not quiet, len(numbers)) as report:
        try:
            with interruptible(report) as progress:
                found = reconstruct(
                    file.values,
                    chosen,
                    symbols=formulas,
                    cell=cells,
                    config=config,
                    seed=seed,
                    indices=numbers,
                    progress=progress,
                    store=kept,
                )
        except KeyboardInterrupt:
            if not kept.begun:
                raise
            ended = f"{kept.committed} of {len(numbers)} targets are in {kept}"
            raise KeyboardInterrupt(ended) from None
    if not first:
        return None
    inputs = {
        "fingerprints": str(fingerprints),
        "rows": numbers,
        "symbols": formulas,
        "cells": [
            each if each is None or isinstance(each, str) else each.tolist() for each in cells
        ],
    }
    write_structures(output, found.to_atoms(others=solutions > 1))
    told = found.to_dict()
    write_json(details, {"inputs": inputs, **told})
    data = {name: told[name] for name in ("converged", "targets", "evaluations", "versions")}
    return Report(str(found), data, [output, details])


DEMO_EXAMPLES = """\b
Example:
  jaxrecon demo -o demo --seed 1"""


def demo(
    output: Annotated[Path, options.output("DIRECTORY", "Where to put its files.")] = Path("demo"),
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Show both on small examples: structures recovered from fingerprints, and made for an energy.

    DIRECTORY gets structures (extxyz; CIF of the crystal), figures, the trained model, all numbers
    and index.html, a page about them. Ends with three commands to try on these files.
    """
    options.start_jax()
    from jaxrecon.cli import demo as example

    told, files = example.run(output, seed=seed, force=force)
    after = "\n".join(f"  {command}" for command in told["next"])
    return Report(f"look at {files[-1]}\n\nto try next:\n{after}", told, files)
