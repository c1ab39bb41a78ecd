"""Versions of the packages that decide the numbers, as files and reports state them."""

import importlib.metadata
import platform

DECISIVE = ("jaxrecon", "jax", "jaxlib", "jax-md", "optax", "numpy", "ase")
"""Packages whose version may change the numbers of any run."""


def version_of(package: str) -> str | None:
    """The version of an installed package, by its name on the package index; None without it.

    >>> version_of("no-such-package") is None
    True
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(*packages: str) -> dict[str, str]:
    """Version by name of those packages that are installed; the others are left out."""
    found = {package: version_of(package) for package in packages}
    return {package: version for package, version in found.items() if version is not None}


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of the decisive packages and of others, those that are installed.

    Args:
        *packages: further names on the package index.

    Returns:
        Version by package name, with ``"python"`` first.
    """
    return {"python": platform.python_version(), **versions_of(*DECISIVE, *packages)}
