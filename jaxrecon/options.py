"""Options that several verbs of the command line have in common, and what they start with."""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from jaxrecon.interruption import interruptible
from jaxrecon.progress import ProgressFn, reporter

if TYPE_CHECKING:
    from jaxrecon.runs import RunStore

NOTICE = "stopping after this piece; again to stop at once"

Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random numbers.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same run where it stopped, if it began.")
]
Calculator = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="emt, chgnet, sevennet, xtb, gpaw, vasp, or module:factory, a function of your own.",
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


def start_jax() -> None:
    """Have JAX use all cores, and keep what it compiles."""
    from jaxrecon import devices

    devices.use_all_cores()
    devices.enable_compilation_cache()


def energies_of(text: str | None) -> dict[str, float] | None:
    """Of elements, from what was given for ``--bulk``."""
    if text is None:
        return None
    energies = {}
    for word in text.split(","):
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s*=\s*([-+]?[0-9.]+)\s*", word, re.ASCII)
        try:
            symbol, number = match.groups() if match else ("", "")
            energies[symbol] = float(number)
        except ValueError:
            raise ValueError(f"expected --bulk like Pt=-5.83,Au=-3.2, got {text!r}") from None
    return energies


@contextmanager
def reporting(
    kept: "RunStore | None", total: int, words: tuple[str, str], quiet: bool
) -> Iterator[ProgressFn]:
    """A bar, and a word on what is kept if Ctrl-C ends the work."""
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
