"""The words of the recovery benchmark that change the search."""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrecon import ReconstructConfig

UNCHANGED = "unchanged"
Variant = tuple[str | None, ReconstructConfig]
"""A preset of the fingerprint, None for those of the set, and settings of the search."""


def variants_of(
    preset: str | None, config: ReconstructConfig, ablations: Sequence[str]
) -> dict[str, Variant]:
    """The settings, and those with each of the changes alone; ``fingerprint=NAME`` is one too."""
    variants: dict[str, Variant] = {UNCHANGED: (preset, config)}
    for change in ablations:
        name, value = parsed(change)
        if name == "fingerprint":
            variants[change] = (value, config)
        else:
            variants[change] = (preset, config.replace(**{name: value}))
    return variants


def parsed(text: str) -> tuple[str, Any]:
    """Name and value of a setting, like ``hops=100`` or ``shake_range=0.02,1``.

    Raises:
        ValueError: if there is no ``=``.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value.strip()


def config_of(name: str | None, settings: Sequence[str]) -> ReconstructConfig:
    """Settings by name, from a JSON file, or those that the program has; then with changes.

    A file holds settings by name, or is what `jaxrecon reconstruct` writes.

    Raises:
        ValueError: if there is no such name, or a setting is unknown or out of range.
    """
    made = [each for each, item in vars(ReconstructConfig).items() if isinstance(item, classmethod)]
    if name is None:
        config = ReconstructConfig()
    elif name.endswith(".json"):
        data = json.loads(Path(name).read_text())
        named = data.get("config", data).items()
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in named}
        config = ReconstructConfig().replace(**plain)
    elif name in made:
        config = getattr(ReconstructConfig, name)()
    else:
        raise ValueError(f"expected --config among {made} or FILE.json, got {name!r}")
    return config.replace(**dict(map(parsed, settings)))
