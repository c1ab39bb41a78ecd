"""Options that several verbs of the command line have in common, and what they start with."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from jaxrecon.runtime.interruption import interruptible
from jaxrecon.runtime.progress import ProgressFn, reporter

if TYPE_CHECKING:
    from jaxrecon.runtime.run_store import RunStore

S = TypeVar("S")

NOTICE = "stopping after this piece; again to stop at once"

Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random numbers.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same run where it stopped, if it began.")
]
Kept = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FILE.db|URL",
        help="ASE database that has each piece as soon as it is done: a file, or "
        "postgresql://user:password@host/name.  [default: OUT.db]",
    ),
]
Calculator = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Reference calculator: emt or another name that `jaxrecon doctor` lists, or "
        "module:factory, a function of your own that returns an ASE calculator.",
    ),
]
Bulk = Annotated[
    str | None,
    typer.Option(
        metavar="Pt=-5.83",
        help="Energies of bulk crystals in eV/atom, between commas.  [default: those that the "
        "calculator gives]",
    ),
]
Jobs = Annotated[int | None, typer.Option(metavar="J", help="Processes.  [default: 1]")]


def output(metavar: str, help: str) -> Any:
    """The option that says what to write.

    Args:
        metavar: what its value looks like.
        help: what is in it.
    """
    return typer.Option("--output", "-o", metavar=metavar, readable=False, help=help)


def start_jax() -> None:
    """Have JAX use all cores, and keep what it compiles."""
    from jaxrecon.runtime import devices

    devices.use_all_cores()
    devices.enable_compilation_cache()


def details_of(output: Path) -> Path:
    """The .json beside structures.

    Raises:
        ValueError: if that is where the structures are to go.
    """
    details = output.with_suffix(".json")
    if details == output:
        raise ValueError(f"expected an output of structures, not .json, got {output}")
    return details


def opened(
    kind: Callable[..., S],
    output: Path,
    *others: Path,
    store: str | None = None,
    resume: bool,
    force: bool,
) -> S:
    """The database of a run, after a look at whether its outputs can be written.

    Raises:
        ValueError: if the database is where the output is to go, or is none.
        OSError: if an output can't be written.
    """
    from jaxrecon.runtime.files import check_output

    kept: Any = kind(store or output.with_suffix(".db"), resume=resume, force=force)
    if os.path.realpath(str(kept)) == os.path.realpath(output):
        raise ValueError(f"expected an output beside the database, not in it, got {output}")
    for path in (output, *others):
        # Outputs without a database are not of a run that can be resumed.
        check_output(path, force or (resume and kept.begun))
    whole: S = kept
    return whole


@contextmanager
def reporting(
    kept: "RunStore | None", total: int, words: tuple[str, str], quiet: bool
) -> Iterator[ProgressFn]:
    """A bar, and a word on what is kept if Ctrl-C ends the work.

    Raises:
        KeyboardInterrupt: after a Ctrl-C, with that word.
    """
    with reporter(not quiet, total, *words) as report:
        try:
            with interruptible(report, NOTICE) as progress:
                yield progress
        except KeyboardInterrupt:
            if kept is None or not kept.begun:
                raise
            raise KeyboardInterrupt(f"{kept.committed} pieces are in {kept}") from None


@contextmanager
def warned() -> Iterator[None]:
    """Warnings of the library are a line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            print(f"jaxrecon: warning: {' '.join(str(message).split())}", file=sys.stderr)

        warnings.showwarning = show
        yield
