"""`jaxrecon dataset <verb>` and `jaxrecon judge`: labelled structures, made and looked at."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxrecon.interruption import interruptible
from jaxrecon.progress import ProgressFn, reporter

if TYPE_CHECKING:
    from jaxrecon.datasets.labels import LabelStore

NOTICE = "stopping after this piece; again to stop at once"
JUDGE_EXAMPLES = """\b
Examples:
  jaxrecon judge found.extxyz --calculator emt -o judged.extxyz
  jaxrecon judge found.extxyz --calculator gpaw -o judged.extxyz --jobs 8 --resume"""

app = typer.Typer(
    rich_markup_mode=None,
    help="Make structures with energies, look at them, choose among them.",
    no_args_is_help=True,
)

Calculator = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="emt, chgnet, sevennet, xtb, gpaw, vasp, or module:factory, a function of your own.",
    ),
]
Jobs = Annotated[int | None, typer.Option(metavar="J", help="Processes.  [default: 1]")]
Kept = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FILE.db|URL",
        help="ASE database that has each piece as soon as it is done: a file, or "
        "postgresql://user:password@host/name.  [default: OUT.db]",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same run where it stopped, if it began.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


def judge(
    structures: Annotated[
        Path,
        typer.Argument(
            metavar="IN.extxyz",
            help="File in any format of ASE; all of its frames, in Angstrom. Those that repeat "
            "along all three axes are crystals, all others free clusters.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.extxyz",
            readable=False,
            help="The same structures with energy, forces and e_form; OUT.json has the details.",
        ),
    ],
    calculator: Calculator = "emt",
    jobs: Jobs = None,
    store: Kept = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compute energies of structures as they are, and of formation in eV/atom.

    E_form = (E - sum of the bulk energies of the atoms) / N, with bulk crystals by the same
    calculator. A structure at which it fails is kept without an energy, with the `reason`.
    """
    from jaxrecon.datasets import io
    from jaxrecon.datasets import judge as judging

    details = output.with_suffix(".json")
    if details == output:
        raise ValueError(f"expected an output of structures, not .json, got {output}")
    frames = io.read_structures(structures)
    kept = _store(output, details, store=store, resume=resume, force=force)
    io.check_format(output, frames)
    with _reporting(kept, len(frames), judging.WORDS, quiet) as progress:
        found = judging.judge(frames, calculator, jobs=jobs, store=kept, progress=progress)
    io.write_structures(output, found.structures)
    io.write_json(details, {"structures": str(structures), **found.metadata})
    for number, reason in found.failures.items():
        print(f"structure {number} has no energy: {reason}")
    print(f"{output}: {found}")


def _store(
    output: Path, *others: Path, store: str | None, resume: bool, force: bool
) -> "LabelStore":
    """The database of a run, after a look at whether its outputs can be written."""
    from jaxrecon.datasets import io
    from jaxrecon.datasets.labels import LabelStore

    kept = LabelStore(store or output.with_suffix(".db"), resume=resume, force=force)
    if os.path.realpath(str(kept)) == os.path.realpath(output):
        raise ValueError(f"expected an output beside the database, not in it, got {output}")
    for path in (output, *others):
        # Outputs without a database are not of a run that can be resumed.
        io.check_output(path, force or (resume and kept.begun))
    return kept


@contextmanager
def _reporting(
    kept: "LabelStore", total: int, words: tuple[str, str], quiet: bool
) -> Iterator[ProgressFn]:
    """A bar, and a word on what is kept if Ctrl-C ends the work."""
    with reporter(not quiet, total, *words) as report:
        try:
            with interruptible(report, NOTICE) as progress:
                yield progress
        except KeyboardInterrupt:
            if not kept.begun:
                raise
            raise KeyboardInterrupt(f"{kept.committed} pieces are in {kept}") from None
