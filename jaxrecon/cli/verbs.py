"""The parts that all verbs have in common: --config, --json, and settings beside every output.

Contexts are those of click, which some releases of typer contain and others import.
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
"""The option that asks for output for programs."""

Json = Annotated[
    bool,
    typer.Option(
        JSON,
        help='Print one JSON object on stdout, for scripts. After an error it is {"error": "..."}.',
    ),
]


@dataclass(frozen=True)
class Report:
    """The result of a verb.

    Attributes:
        text: the result for people.
        data: the result for programs, as plain data for JSON.
        files: the files that were written, the main one first.
        code: the exit code of the process.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    code: int = 0


class Verbs(typer.Typer):
    """Commands with --config and --json, made from functions that return a report or None."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Make a decorator that adds a function, as :meth:`typer.Typer.command` does.

        Args:
            name: name of the verb; None for that of the function.
            **options: further options of typer.

        Returns:
            The decorator, which returns the function unchanged.
        """
        add = super().command(name, **options)

        def register(function: Any) -> Any:
            add(_as_command(function))
            return function

        return register


def settings_path(output: Path) -> Path:
    """The file for the settings of an output: pt10.npz.yaml for pt10.npz."""
    if output.name in {"", ".."}:
        return output / "settings.yaml"
    return output.with_name(f"{output.name}.yaml")


def _as_command(function: Callable[..., Report | None]) -> Callable[..., None]:
    """A function for typer that calls a verb, prints its report and writes its settings."""

    @wraps(function)
    def run(context: Any, json: bool, config: None, **arguments: Any) -> None:
        started = time.perf_counter()
        # Refuse to overwrite settings before the work, where the output is known already.
        output: Path | None = arguments.get("output")
        if output is not None:
            _check_free(settings_path(output), arguments)
        # With --json stdout has the object alone: other output goes to stderr.
        with redirect_stdout(sys.stderr) if json else nullcontext():
            report = function(**arguments)
        if report is None:
            return
        files = list(report.files)
        if files:
            files.append(settings_path(output or files[0]))
            if output is None:
                _check_free(files[-1], arguments)
            long = _long_names(context)
            named = {long[name]: value for name, value in arguments.items()}
            settings.write(files[-1], _verb_of(context), named)
        print(_to_json(report, _verb_of(context), files, started) if json else report.text)
        if report.code:
            raise typer.Exit(report.code)

    # Typer reads the signature: the parameters of the verb, and those that all verbs have.
    hints = get_type_hints(function, include_extras=True)
    config = Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.yaml|FILE.json",
            callback=lambda context, path: _load(context, path, hints),
            is_eager=True,
            help="File with settings by the long names of the options, like the .yaml file beside "
            "every output. Options on the command line override it.",
        ),
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        parameter.replace(kind=keyword, annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
    ]
    parameters += [
        inspect.Parameter("config", keyword, default=None, annotation=config),
        inspect.Parameter("json", keyword, default=False, annotation=Json),
        inspect.Parameter("context", keyword, annotation=typer.Context),
    ]
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _load(context: Any, path: Path | None, hints: dict[str, Any]) -> None:
    """Make the settings of a file the defaults of a command."""
    if path is None:
        return
    names = _long_names(context)
    annotations = {long: hints[name] for name, long in names.items()}
    read = settings.read(path, _verb_of(context), annotations)
    context.default_map = {name: read[long] for name, long in names.items() if long in read}


def _verb_of(context: Any) -> str:
    """The name of a verb on the command line, like ``dataset build``."""
    return context.command_path.partition(" ")[2]


def _long_names(context: Any) -> dict[str, str]:
    """The names of settings on the command line and in files, by their names in Python."""
    names = {}
    for parameter in context.command.params:
        if parameter.name not in {None, "config", "json", "help"}:
            names[parameter.name] = max(parameter.opts, key=len).removeprefix("--")
    return names


def _check_free(path: Path, arguments: dict[str, Any]) -> None:
    """Raise if a file of settings exists and may not be replaced."""
    replaceable = arguments.get("force") or arguments.get("resume")
    if path.is_dir() or (path.exists() and not replaceable):
        ways = "--resume or --force" if "resume" in arguments else "--force"
        raise FileExistsError(f"expected no file in the way or {ways}, got {path}")


def _to_json(report: Report, verb: str, files: Sequence[Path], started: float) -> str:
    """The JSON object of a report, with versions and seconds."""
    from jaxrecon.runtime.files import finite
    from jaxrecon.runtime.versions import versions

    data = dict(report.data)
    if "versions" not in data:
        data["versions"] = versions()
    payload = {"verb": verb, "files": [str(path) for path in files], **data}
    payload["seconds"] = time.perf_counter() - started
    return json.dumps(finite(payload), allow_nan=False)
