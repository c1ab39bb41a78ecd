"""What all verbs of the command line share: --config, --json, and settings beside every output.

A context is one of click's, which some releases of typer bring with them and others import.
"""

import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from jaxrecon.cli import settings

JSON = "--json"
Json = Annotated[
    bool,
    typer.Option(
        JSON,
        help="Say it as one JSON object on stdout, for scripts; what is wrong is one there as "
        'well: {"error": ...}.',
    ),
]


@dataclass(frozen=True)
class Report:
    """What a verb has done.

    Attributes:
        text: for people.
        data: for programs, as plain data.
        files: that it has written, the main one first.
        code: to exit with.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    code: int = 0


class Verbs(typer.Typer):
    """Commands that all take --config and --json: functions that return a report, or nothing."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a function, as :meth:`typer.Typer.command` does."""
        add = super().command(name, **options)

        def register(function: Any) -> Any:
            add(_verb(function))
            return function

        return register


def settings_path(output: Path) -> Path:
    """Where the settings that an output was made with are written: pt10.npz.yaml."""
    if output.name in {"", ".."}:
        return output / "settings.yaml"
    return output.with_name(f"{output.name}.yaml")


def _verb(function: Callable[..., Report | None]) -> Callable[..., None]:
    hints = get_type_hints(function, include_extras=True)

    def load(context: Any, path: Path | None) -> None:
        if path is not None:
            names = _long_names(context)
            kinds = {long: hints[name] for name, long in names.items()}
            read = settings.read(path, _name(context), kinds)
            # Flags come before these, and defaults after them.
            context.default_map = {name: read[long] for name, long in names.items() if long in read}

    Config = Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.yaml|FILE.json",
            callback=load,
            is_eager=True,
            help="Settings by the long names of options, like those in the .yaml beside every "
            "output, which repeat it; what is given here as well wins.",
        ),
    ]

    @wraps(function)
    def run(context: Any, json: bool, config: None, **given: Any) -> None:
        started = time.perf_counter()
        output: Path | None = given.get("output")
        if output is not None:
            _check_way(settings_path(output), given)
        # Whatever is said on the way is none of the object.
        with redirect_stdout(sys.stderr) if json else nullcontext():
            report = function(**given)
        if report is None:
            return
        files = list(report.files)
        if files:
            files.append(settings_path(output or files[0]))
            if output is None:
                _check_way(files[-1], given)
            long = _long_names(context)
            named = {long[name]: value for name, value in given.items()}
            settings.write(files[-1], _name(context), named)
        print(_object(report, _name(context), files, started) if json else report.text)
        if report.code:
            raise typer.Exit(report.code)

    # What typer reads: the parameters of the verb, and those that all of them have.
    own = list(inspect.signature(function).parameters.values())
    kind = inspect.Parameter.KEYWORD_ONLY
    extra = [
        inspect.Parameter("config", kind, default=None, annotation=Config),
        inspect.Parameter("json", kind, default=False, annotation=Json),
        inspect.Parameter("context", kind, annotation=typer.Context),
    ]
    kept = [each.replace(kind=kind, annotation=hints[each.name]) for each in own]
    run.__dict__["__signature__"] = inspect.Signature([*kept, *extra])
    run.__annotations__ = {each.name: each.annotation for each in (*kept, *extra)}
    return run


def _name(context: Any) -> str:
    """Of the verb, like ``dataset build``."""
    return context.command_path.partition(" ")[2]


def _long_names(context: Any) -> dict[str, str]:
    """How each setting is called on the command line and in files, by its name in the function."""
    names = {}
    for each in context.command.params:
        if each.name not in {None, "config", "json", "help"}:
            long = max(each.opts, key=len)
            names[each.name] = long.removeprefix("--")
    return names


def _check_way(path: Path, given: dict[str, Any]) -> None:
    if path.is_dir() or (path.exists() and not (given.get("force") or given.get("resume"))):
        ways = "--resume or --force" if "resume" in given else "--force"
        raise FileExistsError(f"expected no file in the way or {ways}, got {path}")


def _object(report: Report, verb: str, files: Sequence[Path], started: float) -> str:
    from jaxrecon.runtime.files import finite

    told = dict(report.data)
    if "versions" not in told:
        from jaxrecon.runtime.versions import versions

        told["versions"] = versions()
    whole = {"verb": verb, "files": [str(path) for path in files], **told}
    whole["seconds"] = time.perf_counter() - started
    return json.dumps(finite(whole), allow_nan=False)
