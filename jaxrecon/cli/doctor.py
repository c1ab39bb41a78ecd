"""Examination of the installation: versions, extras, devices, cache and a trial search.

Modules that a broken installation can't import are imported inside the functions.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from jaxrecon import __version__
from jaxrecon.runtime.messages import LONGEST_LINE, reason, shortened
from jaxrecon.runtime.versions import version_of

MEMORY = ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
"""Names of the numbers of all pages of memory and of the free ones."""


TITLES = {
    "devices": "JAX ended with",
    "cache": "looking for the cache ended with",
    "calculators": "looking for calculators ended with",
    "trial": "the trial ended with",
}
"""Beginnings of the faults of parts of the installation."""


def examine(start: Callable[[], None]) -> dict[str, Any]:
    """Examine the installation and try a search.

    Args:
        start: function that sets up JAX as for a search.

    Returns:
        What was found, as plain data for JSON; ``faults`` lists what does not work.
    """
    packages, faults = _packages()
    found: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "jaxrecon": __version__},
        "packages": packages,
        "extras": _extras(),
        "machine": _machine(),
    }
    # Each part of a broken installation may raise anything, and that is a result: go on with the
    # other parts.
    parts: dict[str, Callable[[], Any]] = {
        "devices": lambda: _devices(start),
        "cache": _cache,
        "calculators": _calculators,
        "trial": _trial,
    }
    for name, examine_part in parts.items():
        if name == "trial" and "devices" not in found:
            continue
        try:
            found[name] = examine_part()
        except Exception as error:
            # The text of an error about devices says all.
            own = name == "devices" and isinstance(error, OSError)
            text = str(error) if own else f"{TITLES[name]} {reason(error)}"
            faults.append(shortened(text, LONGEST_LINE - len("fault: ")))
    if "trial" in found and not found["trial"]["certified"]:
        faults.append(f"the trial ended with a residual of {found['trial']['residual']:.1e}")
    return {**found, "faults": faults}


def text(found: dict[str, Any]) -> str:
    """The same as a table for people.

    Args:
        found: the result of :func:`examine`.

    Returns:
        Lines with a name and what was found, then the faults.
    """
    rows = _installed_rows(found) + _running_rows(found)
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"fault: {fault}" for fault in found["faults"]]
    return "\n".join([*lines, "" if found["faults"] else "no faults found"]).rstrip()


def _installed_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of versions and of the machine, which are always known."""
    machine, versions = found["machine"], found["versions"]
    rows = [("jaxrecon", f"{versions['jaxrecon']} on Python {versions['python']}")]
    rows += [(name, str(version)) for name, version in found["packages"].items()]
    rows.append(("machine", f"{machine['system']}, {machine['cores']} cores"))
    if machine["memory"] is not None:
        free, total = (_size(machine["memory"][name]) for name in ("free", "total"))
        rows.append(("memory", f"{total}, {free} free"))
    return rows


def _running_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of devices, cache, extras and the trial, as far as JAX could be started."""
    rows = []
    for device in found.get("devices", []):
        memory = device["memory"]
        size = "memory of the machine" if memory is None else f"{_size(memory)} of memory"
        rows.append(("devices", f"{device['count']} x {device['kind']}, {size}"))
    if "cache" in found:
        cache = found["cache"]
        stored = f"{cache['programs']} programs, {_size(cache['bytes'])}, {cache['path']}"
        rows.append(("cache", stored if cache["on"] else "off: no directory is writable"))
    for title in ("extras", "calculators"):
        for name, command in found.get(title, {}).items():
            rows.append((f"{title[:-1]} {name}", "installed" if command is None else command))
    if "trial" in found:
        trial = found["trial"]
        result = f"residual {trial['residual']:.1e} in {trial['seconds']:.1f} s"
        rows.append(("trial", f"Pt3 from its fingerprint, {result}"))
    return rows


def _packages() -> tuple[dict[str, str | None], list[str]]:
    """Versions of the required packages, and the faults among them."""
    versions, faults = {}, []
    for line in importlib.metadata.requires("jaxrecon") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        versions[wanted.name] = version = version_of(wanted.name)
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            faults.append(f"expected {wanted.name}{wanted.specifier}, got {version or 'none'}")
    return versions, faults


def _extras() -> dict[str, str | None]:
    """For each extra the command that installs it, None if it is installed."""
    about = importlib.metadata.metadata("jaxrecon")
    needs = [Requirement(line) for line in importlib.metadata.requires("jaxrecon") or []]
    commands: dict[str, str | None] = {}
    for extra in about.get_all("Provides-Extra") or []:
        own = [
            need
            for need in needs
            if need.marker is not None
            and need.marker.evaluate({"extra": extra})
            and not need.marker.evaluate({"extra": ""})
        ]
        installed = all(version_of(need.name) is not None for need in own)
        commands[extra] = None if installed else f'pip install "jaxrecon[{extra}]"'
    return commands


def _calculators() -> dict[str, str | None]:
    """For each reference calculator the command that installs it, None if it is installed."""
    from jaxrecon.potentials.registry import CALCULATORS

    missing = {name: kind.missing() for name, kind in CALCULATORS.items()}
    return {name: None if lack is None else lack.command for name, lack in missing.items()}


def _machine() -> dict[str, Any]:
    """Operating system, cores and memory in bytes (None where they are unknown)."""
    memory = None
    if hasattr(os, "sysconf") and set(MEMORY) <= set(os.sysconf_names):
        total, free = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in MEMORY)
        memory = {"total": total, "free": free}
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory": memory,
    }


def _devices(start: Callable[[], None]) -> list[dict[str, Any]]:
    """Start JAX; kinds of its devices, with their number and the memory of each in bytes."""
    start()
    import jax

    from jaxrecon.runtime.devices import memory_of

    counts: dict[tuple[str, int | None], int] = {}
    for device in jax.local_devices():
        key = (device.device_kind, memory_of(device))
        counts[key] = counts.get(key, 0) + 1
    return [
        {"kind": kind, "memory": memory, "count": count} for (kind, memory), count in counts.items()
    ]


def _cache() -> dict[str, Any]:
    """Directory, number and size in bytes of the stored programs."""
    import jax

    directory = getattr(jax.config, "jax_compilation_cache_dir", None)
    stored = Path(directory).rglob("*-cache") if directory else ()
    files = [path for path in stored if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return {"on": directory is not None, "path": directory, "programs": len(files), "bytes": size}


def _trial() -> dict[str, Any]:
    """Recover a triangle of platinum atoms from its fingerprint."""
    from ase import Atoms

    from jaxrecon.descriptors.featurize import featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.search.config import ReconstructConfig
    from jaxrecon.search.reconstruct import reconstruct

    started = time.perf_counter()
    triangle = Atoms("Pt3", [(0.0, 0.0, 0.0), (2.6, 0.0, 0.0), (0.9, 2.5, 0.0)])
    fingerprint = Fingerprint.preset("default", ["Pt"])
    config = ReconstructConfig(hops=20)
    [found] = reconstruct(
        featurize(triangle, fingerprint), fingerprint, symbols="Pt3", config=config, seed=0
    )
    certified = found.residual <= config.tolerance
    seconds = time.perf_counter() - started
    return {"residual": found.residual, "certified": certified, "seconds": seconds}


def _size(count: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
