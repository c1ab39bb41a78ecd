"""Options that several verbs share, and the steps with which verbs begin and end."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from jaxrecon.runtime.interruption import interruptible
from jaxrecon.runtime.messages import LONGEST_LINE, shortened
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.seeds import MAX_SEED

if TYPE_CHECKING:
    from jaxrecon.runtime.run_store import RunStore

S = TypeVar("S")

NOTICE = "stopping after this piece of work; press Ctrl-C again to stop at once"
"""Message at the first Ctrl-C."""

SOURCES = (
    "Files in any format of ASE, in Angstrom, folders of such files, or - for standard input; all "
    "frames are used, in order."
)
"""What verbs read structures from, in their help."""

Structures = Annotated[list[Path], typer.Argument(metavar="STRUCTURES...", help=SOURCES)]
Sets = Annotated[
    list[str],
    typer.Argument(
        metavar="SET...",
        help="Labelled sets, structures with their energies, which are joined: files of "
        "structures, like those that `dataset build` wrote, folders of such files, or - for "
        "standard input; files of fingerprints, like name_x.csv beside name_y.csv; or sets that "
        "come with the package: pt10 or pt10_pbe.",
    ),
]
EnergyKey = Annotated[
    str | None,
    typer.Option(
        "--energy-key",
        metavar="NAME",
        help="Name of the total energies in eV in the files; `dataset info` lists the names.  "
        "[default: energy]",
    ),
]
ForcesKey = Annotated[
    str | None,
    typer.Option(
        "--forces-key",
        metavar="NAME",
        help="Name of the forces in eV/Angstrom in the files.  [default: forces]",
    ),
]
SetBulk = Annotated[
    str | None,
    typer.Option(
        "--bulk",
        metavar="Pt=-5.83,Au=-3.2",
        help="Energies of the elements in eV/atom, from which formation energies are computed for "
        "total energies.  [default: none]",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing outputs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random numbers.")]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FILE.db|URL",
        help="ASE database to which each finished piece of work is committed: a file, or "
        "postgresql://user:password@host/name.  [default: OUT.db]",
    ),
]
Calculator = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Reference calculator: emt; tersoff, tersoff:FILE.tersoff or nequix:FILE.nqx, which "
        "run in JAX; chgnet, sevennet, xtb, gpaw, vasp; or module:factory, a function of your own "
        "that returns a calculator of ASE.",
    ),
]
Bulk = Annotated[
    str | None,
    typer.Option(
        metavar="Pt=-5.83,Au=-3.2",
        help="Energies of the elements' bulk crystals in eV/atom, which formation energies are "
        "relative to.  [default: computed by the calculator]",
    ),
]
Jobs = Annotated[int | None, typer.Option(metavar="N", help="Number of processes.  [default: 1]")]


def output(metavar: str, help: str) -> Any:
    """The option that names the output of a verb.

    Args:
        metavar: form of its value.
        help: content of the output.

    Returns:
        The option for typer.
    """
    return typer.Option("--output", "-o", metavar=metavar, readable=False, help=help)


def resumption(*limits: str) -> Any:
    """The option that continues the run of a verb.

    Args:
        *limits: options that may be larger than before.

    Returns:
        The option for typer.
    """
    text = "Continue the same run where it stopped, if it was begun."
    if limits:
        text += f" Only {' and '.join(limits)} may be larger than before."
    return typer.Option("--resume", help=text)


Resume = Annotated[bool, resumption()]


def start_jax() -> None:
    """Let JAX use all CPU cores, and store the programs that it compiles.

    Raises:
        OSError: if JAX can't start, for instance without the platform that ``JAX_PLATFORMS`` names.
    """
    from jaxrecon.runtime import devices

    devices.use_all_cores()


def details_path(output: Path) -> Path:
    """The .json file beside an output of structures.

    Raises:
        ValueError: if the output itself ends in .json.
    """
    details = output.with_suffix(".json")
    if details == output:
        raise ValueError(f"expected an output of structures, not .json, got {output}")
    return details


def open_store(
    kind: Callable[..., S],
    output: Path,
    *others: Path,
    url: str | None = None,
    resume: bool,
    force: bool,
) -> S:
    """Open the store of a run, and check that its outputs can be written.

    Args:
        kind: class of the store.
        output: main output of the run.
        *others: further outputs.
        url: file or address of the store; None for a .db file beside the output.
        resume: whether to continue an existing run.
        force: whether existing outputs may be replaced.

    Returns:
        The store.

    Raises:
        ValueError: if the store is no database, or has the path of the output.
        OSError: if an output can't be written.
    """
    from jaxrecon.runtime.files import check_output

    store: Any = kind(url or output.with_suffix(".db"), resume=resume, force=force)
    if os.path.realpath(str(store)) == os.path.realpath(output):
        raise ValueError(f"expected an output beside the database, not in it, got {output}")
    for path in (output, *others):
        # Without a store there is no run to resume: existing outputs are those of something else.
        check_output(path, force or (resume and store.begun))
    opened: S = store
    return opened


def check_new(*paths: Path, resume: bool, force: bool, resumable: Path | None = None) -> None:
    """Raise if one of the paths exists and may neither be replaced nor continued.

    Args:
        *paths: files and folders that will be written.
        resume: whether to continue an existing run.
        force: whether existing outputs may be replaced.
        resumable: the only one of the paths that a run continues; None for all of them.

    Raises:
        ValueError: if both options are given.
        FileExistsError: if a path exists.
    """
    if resume and force:
        raise ValueError("expected --resume or --force, got both")
    for path in paths:
        continued = resume and resumable in {None, path}
        if path.exists() and not force and not continued:
            raise FileExistsError(f"expected nothing in the way, --resume or --force, got {path}")


def remove(folder: Path, mark: str) -> None:
    """Remove a folder, if a file in it shows that jaxrecon has made it.

    Args:
        folder: the folder; nothing happens without one.
        mark: name of the file.

    Raises:
        FileExistsError: if the folder has no such file.
    """
    import shutil

    if not folder.exists():
        return
    if not (folder / mark).is_file():
        raise FileExistsError(f"expected a folder of such a run to replace, got {folder}")
    shutil.rmtree(folder)


@contextmanager
def reporting(
    store: "RunStore | None",
    total: int,
    words: tuple[str, str],
    quiet: bool,
    pieces: str = "pieces of work",
    notice: str = NOTICE,
) -> Iterator[ProgressFn]:
    """Show a progress bar, and say after Ctrl-C what the store has.

    After an error, the file of a run that was begun here and has no piece of work is removed.

    Args:
        store: store of the run; None for a run without one.
        total: number of pieces of work.
        words: names of the activity and of the evaluations in the bar.
        quiet: whether to show no progress.
        pieces: name of the pieces of work.
        notice: message at the first Ctrl-C.

    Yields:
        The function to report progress to.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with a message if the store has results.
    """
    with reporter(not quiet, total, *words) as report:
        try:
            with interruptible(report, notice) as progress:
                yield progress
        except KeyboardInterrupt:
            if store is None or not store.begun:
                raise
            raise KeyboardInterrupt(f"{store.committed} {pieces} are in {store}") from None
        except Exception:
            if store is not None:
                store.discard()
            raise


def repeated(store: "RunStore[Any, Any]", pieces: str) -> list[str]:
    """Say which finished work was done again, because a limit of the run is larger than before.

    Args:
        store: store of the run.
        pieces: name of the pieces of work.

    Returns:
        One line, or none.
    """
    if not store.repeated:
        return []
    return [
        f"{store.repeated} {pieces} that ended at a smaller limit were done again from the start"
    ]


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each different warning as one line on stderr, once."""
    said = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        prefix = "jaxrecon: warning: "
        text = prefix + shortened(str(message), LONGEST_LINE - len(prefix))
        if text not in said:
            said.add(text)
            print(text, file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
