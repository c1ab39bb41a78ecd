"""`jaxrecon <verb>`: files in, files out. All science is in the library.

Whatever needs JAX or ASE is imported inside the verbs, so that the help answers at once.
"""

import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from jaxrecon.cli import check, dataset, design, evaluate, explore, reconstruct
from jaxrecon.cli.verbs import JSON, Verbs
from jaxrecon.runtime.interruption import INTERRUPTED, error_line, leave

FAULT, BAD_INPUT = 1, 2
DEBUG = "JAXRECON_DEBUG"
CLOSED = 141  # as of any program that SIGPIPE ends
GARBAGE_THRESHOLD = 20_000
# What a command line that can't be parsed raises; its module differs between releases of typer.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]

app = Verbs(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for bad input, 130 if interrupted.

    Bad input of any kind is one line on stderr, or with --json one object on stdout; so is what
    nobody has thought of, with 1.

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
        return _fail(f"interrupted{kept}", INTERRUPTED, words)
    except USAGE_ERROR as error:
        message = getattr(error, "format_message", error.__str__)()
        return _fail(f"{message} (see jaxrecon --help)", BAD_INPUT, words)
    except (ValueError, OSError) as error:
        return _fail(str(error), BAD_INPUT, words)
    except RecursionError:
        # Of whatever parser, at brackets within brackets.
        return _fail(
            "expected files less deeply nested, got one beyond all bounds", BAD_INPUT, words
        )
    except Exception as error:
        if DEBUG in os.environ:
            raise
        what = f"{type(error).__name__}: {error}"[:500]
        return _fail(f"a fault of jaxrecon's, {what} ({DEBUG}=1 shows where)", FAULT, words)
    return 0


def _fail(message: str, code: int, words: Sequence[str]) -> int:
    as_json = JSON in words
    print(error_line(message, as_json=as_json), file=sys.stdout if as_json else sys.stderr)
    return code


def _resuming(words: Sequence[str]) -> str:
    """The command line that goes on where this one has stopped."""
    from jaxrecon.runtime.database import without_password

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
The same again, with other random numbers, from the settings beside the output:
  jaxrecon reconstruct --config found.extxyz.yaml -o other.extxyz --seed 1

Lengths are in Angstrom, energies in eV, angles in degrees. Nothing is replaced without --force.
Exit code: 0 done, 1 `doctor` found a fault, 2 bad input (one line says which), 130 interrupted.
With --json there is one object on stdout whatever happens: {"error": ...} unless it is done.""",
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


app.command(epilog=reconstruct.FINGERPRINT_EXAMPLES)(reconstruct.fingerprint)
app.command(epilog=reconstruct.RECONSTRUCT_EXAMPLES)(reconstruct.reconstruct)
app.command(epilog=reconstruct.DEMO_EXAMPLES)(reconstruct.demo)
app.command(epilog=check.MATCH_EXAMPLES)(check.match)
app.command(epilog=check.DOCTOR_EXAMPLES)(check.doctor)
app.add_typer(dataset.app, name="dataset")
app.command(epilog=dataset.JUDGE_EXAMPLES)(dataset.judge)
app.command(epilog=design.TRAIN_EXAMPLES)(design.train)
app.command(epilog=design.GENERATE_EXAMPLES)(design.generate)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=explore.EXAMPLES)(explore.explore)
app.command(epilog=design.DESIGN_EXAMPLES)(design.design)


if __name__ == "__main__":
    sys.exit(main())
