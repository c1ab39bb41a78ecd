"""Settings of a verb in a file: read with --config, and written beside every output."""

import difflib
import json
import reprlib
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from jaxrecon import __version__

VERB = "verb"
"""Name under which a file states its verb."""

NOT_WRITTEN = frozenset({"force", "resume", "quiet", "store", "distributed"})
"""Settings of one call that do not change its results; a store's address may have a password."""

TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}
"""Names of the types of settings in messages."""


def read(path: Path, verb: str, annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of a verb from a file.

    Args:
        path: a .json file; a file with any other suffix is read as YAML.
        verb: the verb that the settings are for.
        annotations: the type annotation of each setting, by its name.

    Returns:
        The settings by name, without those that are null.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it can't be read, is for another verb, or has an unknown name or a value of
            the wrong type.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of settings, got {path}, which is none")
    data = _parse(path)
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ValueError(f"expected settings by name in {path}, got {type(data).__name__}")
    if (other := data.pop(VERB, verb)) != verb:
        raise ValueError(f"expected settings of {verb} in {path}, got those of {other}")
    settings = {}
    for written, value in data.items():
        # Both min-distance and min_distance are understood.
        name = written.replace("_", "-")
        if name not in annotations:
            near = difflib.get_close_matches(name, annotations, 1)
            known = f"like {near[0]}" if near else f"among {', '.join(annotations)}"
            raise ValueError(f"expected settings of {verb} {known} in {path}, got {written!r}")
        if value is not None:
            settings[name] = _check(value, annotations[name], f"{name} in {path}")
    return settings


def write(path: Path, verb: str, settings: Mapping[str, Any]) -> None:
    """Write all settings of a call, defaults included, to a file for :func:`read`.

    Args:
        path: the file to write.
        verb: the verb that was called.
        settings: its settings by name.
    """
    import yaml

    from jaxrecon.runtime.files import replacing

    plain = {name: _plain(value) for name, value in settings.items() if name not in NOT_WRITTEN}
    text = yaml.safe_dump({VERB: verb, **plain}, sort_keys=False, allow_unicode=True)
    header = f"# jaxrecon {__version__}: jaxrecon {verb} --config THIS -o OTHER\n"
    with replacing(path) as draft:
        draft.write_text(header + text, encoding="utf-8")


def _parse(path: Path) -> Any:
    """The content of a file of JSON or YAML."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Loads YAML, and refuses a name that has two values."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            return _once(self.construct_pairs(node, deep=True))

    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        return yaml.load(text, Loader)
    except (TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"expected YAML or JSON in {path}, got {reason}") from error


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a dictionary, if no name has two values."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise ValueError(f"expected one value of {name!r}, got {found[name]!r} and {value!r}")
    return found


def _check(value: Any, annotation: Any, where: str) -> Any:
    """The value, if its type is that of the annotation; numbers of YAML as floats."""
    kind = _type_of(annotation)
    if get_origin(kind) is list:
        # A single item may be written without the brackets.
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, list):
            raise ValueError(f"expected {where} to be a list, got {reprlib.repr(value)}")
        return [_check(item, get_args(kind)[0], where) for item in value]
    if issubclass(kind, Enum):
        kind = str
    fits = isinstance(value, str if kind is Path else kind)
    if kind is float:
        # YAML reads 1e-6 as text, as it has no decimal point; and a truth value is no number.
        try:
            fits = not isinstance(value, bool)
            value = float(value) if fits else value
        except (TypeError, ValueError, OverflowError):
            fits = False
    elif kind is int:
        fits = fits and not isinstance(value, bool)
    if not fits:
        raise ValueError(f"expected {where} to be {TYPE_NAMES[kind]}, got {reprlib.repr(value)}")
    return value


def _type_of(annotation: Any) -> Any:
    """The type of a setting without the remarks for typer and without None."""
    if get_origin(annotation) is Annotated:
        return _type_of(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return _type_of(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _plain(value: Any) -> Any:
    """A setting as plain data for YAML."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value
