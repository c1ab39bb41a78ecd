"""The program `jaxrecon`: verbs that read files and write files with functions of the library.

Modules that need JAX or ASE are imported inside the verbs, so that the help takes no time.
"""

import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from jaxrecon import __version__
from jaxrecon.cli import (
    check,
    dataset,
    design,
    evaluate,
    explore,
    generate,
    image_networks,
    reconstruct,
)
from jaxrecon.cli.options import warnings_as_lines
from jaxrecon.cli.streams import open_missing, unfailing
from jaxrecon.cli.verbs import JSON, Verbs
from jaxrecon.runtime.interruption import INTERRUPTED, error_line, leave
from jaxrecon.runtime.messages import LONGEST_LINE, reason
from jaxrecon.runtime.parallel import end_processes

FAULT, BAD_INPUT = 1, 2
"""Exit codes after an error in jaxrecon and after bad input."""

CLOSED = 141
"""Exit code after the reader of the output has closed it, as for any program that SIGPIPE ends."""

DEBUG = "JAXRECON_DEBUG"
"""Environment variable that asks for the traceback of an error in jaxrecon."""

GARBAGE_THRESHOLD = 20_000
"""Number of new objects after which Python looks for garbage."""

USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
"""Error of a command line that can't be parsed, whose module differs between releases of typer."""

app = Verbs(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Every error is reported in one line on stderr, or with --json as one object on stdout.

    Args:
        arguments: words after the name of the program; None for those of this process.

    Returns:
        The exit code: 0 after success, 1 after an error in jaxrecon or where the report can't be
        printed, 2 after bad input, 130 after an interruption, 141 if the reader of the output has
        closed it. The outputs of a verb are written in each of these cases but 2 and 130.
    """
    if arguments is None:
        _prepare_process()
    words = sys.argv[1:] if arguments is None else list(arguments)
    with unfailing() as (out, _):
        with warnings_as_lines():
            code = _run(words)
        out.flush()
        if code == INTERRUPTED and arguments is None:
            # Threads may compile programs for which Python would wait, and nobody does.
            end_processes()
            sys.stderr.flush()
            os._exit(code)
        if code != 0 or out.error is None:
            return code
        # The work is done. The reader of a pipe, for example `head`, may have closed it.
        if isinstance(out.error, BrokenPipeError):
            return CLOSED
        message = f"expected to print the report, got {reason(out.error)}; the outputs are written"
        print(error_line(message, as_json=False), file=sys.stderr)
        return FAULT


def _run(words: Sequence[str]) -> int:
    """Run a command line, report its error, and return the exit code."""
    try:
        command = typer.main.get_command(app)
        with command.make_context("jaxrecon", list(words) or ["--help"]) as context:
            context.command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt as stop:
        return _fail(_interrupted(str(stop), words), INTERRUPTED, words)
    except USAGE_ERROR as error:
        message = getattr(error, "format_message", error.__str__)()
        # An error that is raised while no verb is parsed has no context, or that of the program.
        verb = getattr(getattr(error, "ctx", None), "command_path", None) or "jaxrecon"
        return _fail(f"{message} (see {verb} --help)", BAD_INPUT, words)
    except (ValueError, OSError) as error:
        return _fail(str(error), BAD_INPUT, words)
    except MemoryError as error:
        return _fail(str(error) or "expected more memory, got too little", BAD_INPUT, words)
    except RecursionError:
        # Any parser may raise this at brackets within brackets.
        return _fail("expected less deeply nested input, got too many levels", BAD_INPUT, words)
    except Exception as error:
        if DEBUG in os.environ:
            raise
        return _fail(f"internal error, {_named(error)} ({DEBUG}=1 shows where)", FAULT, words)
    return 0


def _prepare_process() -> None:
    """Settings of a process that runs a command line and nothing else."""
    open_missing()
    signal.signal(signal.SIGINT, leave)
    # Imports and traces make millions of objects that stay. With Python's default threshold of 700
    # new objects, the search for garbage takes a tenth of the time until the search begins.
    gc.set_threshold(GARBAGE_THRESHOLD)


def _fail(message: str, code: int, words: Sequence[str]) -> int:
    """Print an error for people or programs, and return the exit code."""
    as_json = JSON in words
    print(error_line(message, as_json=as_json), file=sys.stdout if as_json else sys.stderr)
    return code


def _named(error: Exception) -> str:
    """Type and text of an error; of one without a text the place where it was raised."""
    place = error.__traceback__
    if str(error) or place is None:
        return reason(error)
    while place.tb_next is not None:
        place = place.tb_next
    return f"{reason(error)} in {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"


def _interrupted(finished: str, words: Sequence[str]) -> str:
    """The message after an interruption, with the command line that continues the work."""
    from jaxrecon.runtime.database import without_password

    if not finished:
        return "interrupted"
    rest = [without_password(word) for word in words if word not in {"--force", "--resume"}]
    command = shlex.join(["jaxrecon", *rest, "--resume"])
    message = f"interrupted: {finished}; to continue: {command}"
    # A command without its middle would be of no use.
    if len(error_line(message, as_json=False, longest=None)) > LONGEST_LINE:
        message = f"interrupted: {finished}; to continue, repeat the command with --resume"
    return message


def _print_version(wanted: bool) -> bool:
    """Print the version, if it is wanted, and exit."""
    if wanted:
        print(f"jaxrecon {__version__}")
        raise typer.Exit
    return wanted


@app.callback(
    epilog="""\b
Example, from structures to fingerprints and back:
  jaxrecon fingerprint clusters.xyz -o clusters.npz
  jaxrecon reconstruct clusters.npz -o found.extxyz
The same with other random numbers, from the settings beside the output:
  jaxrecon reconstruct --config found.extxyz.yaml -o other.extxyz --seed 1

Lengths are in Angstrom, energies in eV, angles in degrees. No file is replaced without --force.
Exit codes: 0 done; 1 internal error, a fault that `doctor` found, or a report that can't be
printed; 2 bad input (one line explains it); 130 interrupted. With --json every verb prints one
object on stdout; after an error it is {"error": "..."}.""",
)
def _jaxrecon(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Recover atomic structures from their structural fingerprints, and design structures."""


app.command(epilog=reconstruct.FINGERPRINT_EXAMPLES)(reconstruct.fingerprint)
app.command(epilog=reconstruct.RECONSTRUCT_EXAMPLES)(reconstruct.reconstruct)
app.command(epilog=reconstruct.DEMO_EXAMPLES)(reconstruct.demo)
app.command(epilog=check.MATCH_EXAMPLES)(check.match)
app.command(epilog=check.CERTIFY_EXAMPLES)(check.certify)
app.command(epilog=check.DOCTOR_EXAMPLES)(check.doctor)
app.add_typer(dataset.app, name="dataset")
app.add_typer(image_networks.app, name="images")
app.command(epilog=dataset.JUDGE_EXAMPLES)(dataset.judge)
app.command(epilog=design.TRAIN_EXAMPLES)(design.train)
app.command(epilog=generate.GENERATE_EXAMPLES)(generate.generate)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=explore.EXAMPLES)(explore.explore)
app.command(epilog=design.DESIGN_EXAMPLES)(design.design)


if __name__ == "__main__":
    sys.exit(main())
