"""Labelled sets of structures: made here, embedded in the package, read and written."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxrecon.datasets.embedded import load as load
    from jaxrecon.datasets.frames import from_frames as from_frames
    from jaxrecon.datasets.frames import to_frames as to_frames
    from jaxrecon.datasets.io import read_labelled as read_labelled
    from jaxrecon.datasets.io import write_labelled as write_labelled
    from jaxrecon.datasets.labelled import LabelledSet as LabelledSet

_HOME = {
    "LabelledSet": "labelled",
    "from_frames": "frames",
    "load": "embedded",
    "read_labelled": "io",
    "to_frames": "frames",
    "write_labelled": "io",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxrecon.datasets' has no attribute {name!r}")
    return getattr(import_module(f"jaxrecon.datasets.{_HOME[name]}"), name)
