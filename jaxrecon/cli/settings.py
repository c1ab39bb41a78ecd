"""Settings of a verb in a file: read with --config, and written beside every output."""

import difflib
import json
import reprlib
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

VERB = "verb"
HOW = frozenset({"force", "resume", "quiet", "store", "distributed"})
"""What is said of one call and not of what it makes: never written, a password least of all."""

WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}


def read(path: Path, verb: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a file, by name; those that are null are left out.

    Args:
        path: of a .json file, or of YAML with any other ending.
        verb: that they are for.
        kinds: annotation of each setting, by its name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read, is of another verb, or a name or a type is none of these.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of settings, got {path}, which is none")
    data = _parsed(path)
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ValueError(f"expected settings by name in {path}, got {type(data).__name__}")
    if (other := data.pop(VERB, verb)) != verb:
        raise ValueError(f"expected settings of {verb} in {path}, got those of {other}")
    settings = {}
    for written, value in data.items():
        name = written.replace("_", "-")
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            known = f"like {near[0]}" if near else f"among {', '.join(kinds)}"
            raise ValueError(f"expected settings of {verb} {known} in {path}, got {written!r}")
        if value is not None:
            settings[name] = _checked(value, kinds[name], f"{name} in {path}")
    return settings


def write(path: Path, verb: str, given: Mapping[str, Any]) -> None:
    """Write settings, defaults and all, for :func:`read`.

    Args:
        path: of the file to be.
        verb: that they are of.
        given: the settings by name.
    """
    from importlib.metadata import version

    import yaml

    from jaxrecon.runtime.files import replacing

    plain = {name: _plain(value) for name, value in given.items() if name not in HOW}
    text = yaml.safe_dump({VERB: verb, **plain}, sort_keys=False, allow_unicode=True)
    with replacing(path) as draft:
        again = f"# jaxrecon {version('jaxrecon')}: jaxrecon {verb} --config THIS -o OTHER\n"
        draft.write_text(again + text, encoding="utf-8")


def _parsed(path: Path) -> Any:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"expected YAML or JSON in {path}, got {_first(error)}") from error


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _checked(value: Any, annotation: Any, where: str) -> Any:
    kind = _kind(annotation)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ValueError(f"expected {where} to be a list, got {reprlib.repr(value)}")
        return [_checked(each, get_args(kind)[0], where) for each in value]
    if issubclass(kind, Enum):
        kind = str
    right = isinstance(value, str if kind is Path else kind)
    if kind is float:
        # YAML takes 1e-6 for text, as it has no point.
        try:
            right = not isinstance(value, bool)
            value = float(value) if right else value
        except (TypeError, ValueError, OverflowError):
            right = False
    elif kind is int:
        right = right and not isinstance(value, bool)
    if not right:
        raise ValueError(f"expected {where} to be {WORDS[kind]}, got {reprlib.repr(value)}")
    return value


def _kind(annotation: Any) -> Any:
    """What a setting is where it is given: without remarks and None."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return _kind(next(each for each in get_args(annotation) if each is not type(None)))
    return annotation


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value
