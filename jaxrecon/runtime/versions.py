"""Versions of the packages that may change numbers, for files and reports."""

import importlib.metadata
import platform

from jaxrecon import __version__

DECISIVE = ("jax", "jaxlib", "jax-md", "optax", "numpy", "ase")
"""Packages whose version may change the numbers of any run, by their name on the package index."""


def version_of(package: str) -> str | None:
    """The version of a package, by its name on the package index; None if it is not installed.

    >>> version_of("no-such-package") is None
    True
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed, by name."""
    found = {package: version_of(package) for package in packages}
    return {package: version for package, version in found.items() if version is not None}


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python, jaxrecon, the packages that may change numbers, and further ones.

    Args:
        *packages: names of the further packages on the package index.

    Returns:
        Versions by name, ``"python"`` first; packages that are not installed are left out.
    """
    own = {"python": platform.python_version(), "jaxrecon": __version__}
    return {**own, **versions_of(*DECISIVE, *packages)}
