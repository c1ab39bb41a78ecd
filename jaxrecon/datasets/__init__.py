"""Structures, fingerprints and labelled sets: made here, embedded, and in files in and out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxrecon.datasets.labelled import LabelledSet, load

__all__ = ["LabelledSet", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jaxrecon.datasets' has no attribute {name!r}")
    from jaxrecon.datasets import labelled

    return getattr(labelled, name)
