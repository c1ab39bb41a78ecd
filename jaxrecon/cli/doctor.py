"""Doctor: what jaxrecon runs on, and whether it works there.

Nothing is imported at the top that a broken installation could not import.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from jaxrecon.runtime.versions import version_of

MEMORY = ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
"""All, and that which is free."""


def examine(start: Callable[[], None]) -> dict[str, Any]:
    """What there is, as plain data for JSON; what is wrong with it is under ``faults``.

    Args:
        start: sets up JAX, as for a search.
    """
    packages, faults = _packages()
    found: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "jaxrecon": version_of("jaxrecon")},
        "packages": packages,
        "extras": _extras(),
        "machine": _machine(),
    }
    try:
        start()
        found |= {"devices": _devices(), "cache": _cache(), "calculators": _calculators()}
        found["trial"] = trial = _trial()
        if not trial["certified"]:
            faults.append(f"the trial ended with a residual of {trial['residual']:.1e}")
    # Whatever it is, it is what is looked for.
    except Exception as error:
        faults.append(f"the trial ended with {type(error).__name__}: {error}"[:300])
    return {**found, "faults": faults}


def text(found: dict[str, Any]) -> str:
    """The same as a table for people."""
    machine, rows = found["machine"], []
    versions = found["versions"]
    rows.append(("jaxrecon", f"{versions['jaxrecon']} on Python {versions['python']}"))
    rows += [(name, str(version)) for name, version in found["packages"].items()]
    rows.append(("machine", f"{machine['system']}, {machine['cores']} cores"))
    if machine["memory"] is not None:
        free, total = (_size(machine["memory"][name]) for name in ("free", "total"))
        rows.append(("memory", f"{total}, {free} of it free"))
    for device in found.get("devices", []):
        memory = device["memory"]
        shown = "that of the machine" if memory is None else f"{_size(memory)} of memory"
        rows.append(("devices", f"{device['count']} x {device['kind']}, {shown}"))
    if "cache" in found:
        cache = found["cache"]
        kept = f"{cache['programs']} programs, {_size(cache['bytes'])}, {cache['path']}"
        rows.append(("compiled", kept if cache["on"] else "not kept: no folder to write to"))
    for title in ("extras", "calculators"):
        for name, command in found.get(title, {}).items():
            rows.append((f"{title[:-1]} {name}", "there" if command is None else command))
    if "trial" in found:
        trial = found["trial"]
        done = f"Pt3 there and back, residual {trial['residual']:.1e}, {trial['seconds']:.1f} s"
        rows.append(("trial", done))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"fault: {fault}" for fault in found["faults"]]
    return "\n".join([*lines, "" if found["faults"] else "all is well"]).rstrip()


def _packages() -> tuple[dict[str, str | None], list[str]]:
    """Versions of what jaxrecon needs, and where they are not those that it can work with."""
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
    """The command that gets each extra, None for those that are there."""
    about = importlib.metadata.metadata("jaxrecon")
    needs = [Requirement(line) for line in importlib.metadata.requires("jaxrecon") or []]
    found: dict[str, str | None] = {}
    for extra in about.get_all("Provides-Extra") or []:
        own = [
            need
            for need in needs
            if need.marker is not None
            and need.marker.evaluate({"extra": extra})
            and not need.marker.evaluate({"extra": ""})
        ]
        there = all(version_of(need.name) is not None for need in own)
        found[extra] = None if there else f'pip install "jaxrecon[{extra}]"'
    return found


def _calculators() -> dict[str, str | None]:
    """The command that gets each calculator, None for those that are there."""
    from jaxrecon.potentials.registry import CALCULATORS

    missing = {name: calculator.missing() for name, calculator in CALCULATORS.items()}
    return {name: None if lack is None else lack.command for name, lack in missing.items()}


def _machine() -> dict[str, Any]:
    memory = None
    if hasattr(os, "sysconf") and set(MEMORY) <= set(os.sysconf_names):
        total, free = (os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") for name in MEMORY)
        memory = {"total": total, "free": free}
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory": memory,
    }


def _devices() -> list[dict[str, Any]]:
    """Devices of a kind together, with the bytes that each one has of its own."""
    import jax

    from jaxrecon.runtime.devices import memory_of

    found: dict[tuple[str, int | None], int] = {}
    for device in jax.local_devices():
        key = (device.device_kind, memory_of(device))
        found[key] = found.get(key, 0) + 1
    return [
        {"kind": kind, "memory": memory, "count": count} for (kind, memory), count in found.items()
    ]


def _cache() -> dict[str, Any]:
    import jax

    path = getattr(jax.config, "jax_compilation_cache_dir", None)
    files = [each for each in Path(path).rglob("*-cache") if each.is_file()] if path else []
    size = sum(each.stat().st_size for each in files)
    return {"on": path is not None, "path": path, "programs": len(files), "bytes": size}


def _trial() -> dict[str, Any]:
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
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
