"""`jaxrecon <verb>`: files in, files out. All science is in the library.

Whatever needs JAX or ASE is imported inside the verbs, so that the help answers at once.
"""

import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxrecon import cli_dataset, cli_design, cli_evaluate
from jaxrecon.config import ReconstructConfig
from jaxrecon.interruption import INTERRUPTED, interruptible, leave
from jaxrecon.options import Force, Quiet, Resume, Seed, start_jax

PRESET, CRYSTAL_PRESET, PUBLISHED_PRESET = "default", "crystal", "fung2022"
BAD_INPUT = 2
CLOSED = 141  # as of any program that SIGPIPE ends
GARBAGE_THRESHOLD = 20_000
# What a command line that can't be parsed raises; its module differs between releases of typer.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for bad input, 130 if interrupted.

    Bad input of any kind is one line on stderr.

    Args:
        arguments: words after the program's name; None for those of this process.
    """
    if arguments is None:
        signal.signal(signal.SIGINT, leave)
        # To import and trace makes millions of objects that stay. Python looks for garbage among
        # them after every 700 new ones: a tenth of the time until the search begins.
        gc.set_threshold(GARBAGE_THRESHOLD)
    words = sys.argv[1:] if arguments is None else list(arguments)
    # XLA logs an error, which is none, for every program in the cache (openxla/xla issue 44565).
    # JAX reads this when it is imported; what fails in earnest raises an exception as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        try:
            command = typer.main.get_command(app)
            with command.make_context("jaxrecon", words or ["--help"]) as context:
                context.command.invoke(context)
        finally:
            # When Python ends, it is too late to say nothing of a pipe that is closed.
            sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        # Whoever reads, like `head`, has seen enough: what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except KeyboardInterrupt as stop:
        kept = f": {stop}; to go on: {_resuming(words)}" if str(stop) else ""
        return _fail(f"interrupted{kept}", INTERRUPTED)
    except USAGE_ERROR as error:
        message = getattr(error, "format_message", error.__str__)()
        return _fail(f"{message} (see jaxrecon --help)", BAD_INPUT)
    except (ValueError, OSError) as error:
        return _fail(str(error), BAD_INPUT)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"jaxrecon: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _resuming(words: Sequence[str]) -> str:
    """The command line that goes on where this one has stopped."""
    from jaxrecon.database import without_password

    kept = [without_password(word) for word in words if word not in {"--force", "--resume"}]
    return shlex.join(["jaxrecon", *kept, "--resume"])


def _print_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        print(f"jaxrecon {version('jaxrecon')}")
        raise typer.Exit
    return wanted


@app.callback(
    epilog="""\b
Example, from structures to numbers and back:
  jaxrecon fingerprint clusters.xyz -o clusters.npz
  jaxrecon reconstruct clusters.npz -o found.extxyz

Exit code: 0 done, 2 bad input (one line says which), 130 interrupted.""",
)
def _jaxrecon(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Atomic structures from their structural fingerprints: exactly, in parallel."""


@app.command(
    epilog="""\b
Example:
  jaxrecon fingerprint water.xyz -o water.npz --elements H,O"""
)
def fingerprint(
    structures: Annotated[
        Path,
        typer.Argument(
            metavar="STRUCTURES", help="File in any format of ASE; all of its frames, in Angstrom."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FP.npz", readable=False, help="File to write."),
    ],
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
) -> None:
    """Compute the fingerprints of structures.

    FP.npz has, for each structure, the fingerprint, the formula and the cell (none unless it is
    periodic along all three axes): everything that `reconstruct` needs, and never the positions.
    """
    from jaxrecon.batching import featurize
    from jaxrecon.compositions import elements_of
    from jaxrecon.datasets import io
    from jaxrecon.fingerprint import Fingerprint
    from jaxrecon.structures import is_periodic

    io.check_output(output, force, suffix=".npz")
    frames = io.read_structures(structures)
    names = elements.split(",") if elements is not None else elements_of(frames)
    default = CRYSTAL_PRESET if any(is_periodic(atoms) for atoms in frames) else PRESET
    chosen = Fingerprint.preset(preset or default, elements=names)
    start_jax()
    io.write_fingerprints(output, featurize(frames, chosen), chosen, frames)
    print(f"{output}: {len(frames)} fingerprints of {chosen.size} numbers")


@app.command(
    epilog="""\b
Examples:
  jaxrecon reconstruct clusters.npz -o found.extxyz
  jaxrecon reconstruct clusters.npz -o found.extxyz --resume
  jaxrecon reconstruct targets.csv -o found.extxyz --symbols Pt10 --rows 0-4
  jaxrecon reconstruct crystal.csv -o found.cif --symbols NaCl --cell "4 4 4 60 60 60\""""
)
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
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.extxyz",
            readable=False,
            help="Structures to write, one frame a target; OUT.json beside it has the details.",
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
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.db|URL",
            help="ASE database that has each target as soon as it ends: a file, or "
            "postgresql://user:password@host/name.  [default: OUT.db]",
        ),
    ] = None,
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
) -> None:
    """Find the structures whose fingerprints are given.

    Each frame of OUT.extxyz has its `residual` and `result_code` (converged, stalled, non_finite).
    Ctrl-C ends a search after the hop that it is at; what the database has then is never lost.
    """
    from jaxrecon import arguments, hosts
    from jaxrecon.datasets import io
    from jaxrecon.inverse import reconstruct
    from jaxrecon.progress import reporter
    from jaxrecon.store import Store

    details = output.with_suffix(".json")
    if details == output:
        raise ValueError(f"expected an output of structures, not .json, got {output}")
    kept = Store(store or output.with_suffix(".db"), resume=resume, force=force)
    if os.path.realpath(str(kept)) == os.path.realpath(output):
        raise ValueError(f"expected an output beside the database, not in it, got {output}")
    for path in (output, details):
        # Outputs without a database are not of a run that can be resumed.
        io.check_output(path, force or (resume and kept.begun))
    config = ReconstructConfig(
        replicas=replicas,
        hops=hops,
        tolerance=tolerance,
        solutions=solutions,
        min_distance=min_distance,
    )
    file = io.read_fingerprints(fingerprints)
    numbers = arguments.parse_rows(rows, len(file))
    file = file.select(numbers)
    formulas = arguments.formulas_of(file, symbols, numbers)
    box = None if cell is None else arguments.parse_cell(cell)
    cells: list[Any] = [box] * len(file)
    if box is None and file.cells is not None:
        cells = file.cells
    chosen = arguments.fingerprint_of(file, preset, PUBLISHED_PRESET, formulas)
    io.check_format(output, arguments.placeholders(formulas, cells))
    processes = None if distributed is None else arguments.parse_processes(distributed)
    if processes is not None:
        hosts.meet(**processes)
    start_jax()
    first = processes is None or hosts.is_first()
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
        return
    inputs = {
        "fingerprints": str(fingerprints),
        "rows": numbers,
        "symbols": formulas,
        "cells": [
            each if each is None or isinstance(each, str) else each.tolist() for each in cells
        ],
    }
    io.write_structures(output, found.to_atoms(others=solutions > 1))
    io.write_json(details, {"inputs": inputs, **found.to_dict()})
    print(found)


@app.command(
    epilog="""\b
Example:
  jaxrecon demo -o demo --seed 1"""
)
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where to put its files.")
    ] = Path("demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Show the whole way on small examples, there and back."""
    start_jax()
    from jaxrecon import demo as example

    example.run(output, seed=seed, force=force)


app.add_typer(cli_dataset.app, name="dataset")
app.command(epilog=cli_dataset.JUDGE_EXAMPLES)(cli_dataset.judge)
app.command(epilog=cli_design.TRAIN_EXAMPLES)(cli_design.train)
app.command(epilog=cli_design.GENERATE_EXAMPLES)(cli_design.generate)
app.command(epilog=cli_evaluate.EXAMPLES)(cli_evaluate.evaluate)
app.command(epilog=cli_design.DESIGN_EXAMPLES)(cli_design.design)


if __name__ == "__main__":
    sys.exit(main())
