"""Files of any kind: paths checked before the work, outputs that are whole or not there, JSON.

Every output is written to a draft in the same directory and moved into place at the end, so that
the file there is always a whole one.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write plain data as JSON; a number that is not finite becomes null, as JSON has no other.

    Raises:
        TypeError: if something is not plain data.
        OSError: if the file can't be written.
    """
    with replacing(Path(path)) as draft:
        draft.write_text(json.dumps(finite(data), indent=2, allow_nan=False) + "\n")


def finite(data: Any) -> Any:
    """Plain data with None in place of numbers that are not finite."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def check_output(
    path: str | os.PathLike[str], force: bool = False, *, suffix: str | None = None
) -> None:
    """Raise unless a file can be written here: to be called before the work, not after it.

    Args:
        path: of the file to be.
        force: whether a file that is there may be replaced.
        suffix: that the file has to have.

    Raises:
        ValueError: if it has another suffix.
        FileExistsError: if there is a file and no ``force``.
        OSError: if the directory is missing, something else than a file is in the place, or
            writing is not allowed.
    """
    if suffix is not None and Path(path).suffix != suffix:
        raise ValueError(f"expected an output ending in {suffix}, got {path}")
    real = Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise NotADirectoryError(f"expected a directory to write {path} to, got {real.parent}")
    if real.exists():
        if not real.is_file():
            raise IsADirectoryError(f"expected a file to write to, got {path}, which is none")
        if not force:
            raise FileExistsError(f"expected no file in the way or --force, got {path}")
    # An old file that is read-only is meant to stay, though its directory would let it go.
    if not os.access(real.parent, os.W_OK | os.X_OK) or not (
        os.access(real, os.W_OK) or not real.exists()
    ):
        raise PermissionError(f"expected permission to write {path}, got none")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file of the same name, in a directory of its own beside it, that replaces it at the end.

    ASE goes by the name, and some of its formats leave other files behind: both ask for a directory
    and not for another name.

    Args:
        path: of the file to be; what it links to is replaced.
    """
    real = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory(dir=real.parent, prefix=".jaxrecon-") as directory:
        draft = Path(directory) / real.name
        yield draft
        os.replace(draft, real)


def existing(path: str | os.PathLike[str], what: str) -> Path:
    """The path, if there is a file.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected {what}, got {path}, which does not exist")
    if not path.is_file():
        raise ValueError(f"expected {what}, got {path}, which is no file")
    return path
