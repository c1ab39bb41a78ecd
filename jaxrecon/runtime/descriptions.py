"""Descriptions of runs, their settings as plain data: whether two are the same run, or go on."""

import hashlib
import json
from collections.abc import Collection
from typing import Any

IGNORED = "versions"
"""Part of a description that does not decide which run it is."""


def digest(description: dict[str, Any]) -> str:
    """A short hash of everything that decides the results of a run.

    Args:
        description: all settings, as plain data for JSON.

    Returns:
        16 hexadecimal digits.
    """
    deciding = {key: value for key, value in description.items() if key != IGNORED}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def growth(
    known: Any, wanted: Any, limits: Collection[str], lists: Collection[str], place: str = ""
) -> tuple[Any, set[str]]:
    """Find where a run goes on longer than another one.

    Args:
        known: description of the run.
        wanted: description of a run that may go on longer.
        limits: places of numbers, like ``"config.hops"``, that may be larger.
        lists: places of lists, like ``"targets"``, that may have further items.
        place: place of both descriptions in larger ones; for internal use.

    Returns:
        The second description as it would be without going on longer, and the places where it has
        more. It is the same run if the former is equal to the first description.

    >>> growth({"hops": 3, "rows": [0, 1]}, {"hops": 9, "rows": [0, 2]}, ["hops"], ["rows"])
    ({'hops': 3, 'rows': [0, 2]}, {'hops'})
    """
    if isinstance(known, dict) and isinstance(wanted, dict):
        less, more = dict(wanted), set()
        for key in known.keys() & wanted.keys():
            inner = f"{place}.{key}" if place else key
            less[key], found = growth(known[key], wanted[key], limits, lists, inner)
            more |= found
        return less, more
    numbers = isinstance(known, int) and isinstance(wanted, int)
    if place in limits and numbers and wanted > known:
        return known, {place}
    if place in lists and isinstance(known, list) and isinstance(wanted, list):
        start = wanted[: len(known)]
        if len(wanted) > len(known) and json.dumps(start) == json.dumps(known):
            return known, {place}
    return wanted, set()


def difference(known: Any, wanted: Any, place: str = "") -> str | None:
    """Describe the first difference of two descriptions: its place and both values.

    Args:
        known: description of a run.
        wanted: another description.
        place: place of both descriptions in larger ones; for internal use.

    Returns:
        The place and both values; None if they are the same run.

    >>> difference({"seed": 1, "config": {"hops": 3}}, {"seed": 1, "config": {"hops": 2}})
    'config.hops: 3 != 2'
    """
    if isinstance(known, dict) and isinstance(wanted, dict):
        # Targets come last: their values say little, so name them only if all else is the same.
        keys = sorted({**known, **wanted}, key="targets".__eq__)
        pairs = [
            (f"{place}.{key}" if place else key, known.get(key), wanted.get(key))
            for key in keys
            if place or key != IGNORED
        ]
    elif isinstance(known, list) and isinstance(wanted, list) and len(known) == len(wanted):
        pairs = [
            (f"{place}[{number}]", *items)
            for number, items in enumerate(zip(known, wanted, strict=True))
        ]
    else:
        same = json.dumps(known) == json.dumps(wanted)
        return None if same else f"{place}: {_short(known)} != {_short(wanted)}"
    differences = (difference(first, second, where) for where, first, second in pairs)
    return next((found for found in differences if found), None)


def _short(value: Any) -> str:
    """A value as JSON, cut to 40 characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:30]}...{text[-7:]}"
