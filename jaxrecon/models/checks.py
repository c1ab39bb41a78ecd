"""Checks of settings, without JAX."""

from dataclasses import fields
from typing import Any


def check(config: Any, name: str, expected: str, holds: bool) -> None:
    """Raise ValueError unless a condition on a setting holds.

    Args:
        config: the settings.
        name: name of the setting.
        expected: the condition in words.
        holds: whether it holds.

    Raises:
        ValueError: if it does not hold.
    """
    if not holds:
        raise ValueError(f"expected {name} to be {expected}, got {getattr(config, name)!r}")


def check_whole(config: Any, name: str) -> None:
    """Raise ValueError unless a setting is a whole number of at least 1.

    Args:
        config: the settings.
        name: name of the setting.

    Raises:
        ValueError: if it is no such number.
    """
    value = getattr(config, name)
    check(config, name, "a whole number >= 1", isinstance(value, int) and value >= 1)


def check_names(data: dict[str, Any], kind: type[Any]) -> None:
    """Raise ValueError if there are settings with unknown names.

    Args:
        data: settings by name.
        kind: the dataclass of the settings.

    Raises:
        ValueError: if it has no setting of such a name.
    """
    names = {setting.name for setting in fields(kind)}
    if unknown := sorted(set(data) - names):
        raise ValueError(f"expected settings among {sorted(names)}, got {unknown}")
