"""Checks of paths before the work, outputs that are never partial, and JSON.

Every output is written to a draft in the same directory and moved into place at the end, so that
the file at its path is always complete.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write plain data as JSON. Numbers that are not finite become null, as JSON has none.

    Args:
        path: the file to write.
        data: dictionaries, lists, numbers, texts, truth values and None.

    Raises:
        TypeError: if something is not plain data.
        OSError: if the file can't be written.
    """
    with replacing(Path(path)) as draft:
        draft.write_text(json.dumps(finite(data), indent=2, allow_nan=False) + "\n")


def finite(data: Any) -> Any:
    """The same plain data with None in place of numbers that are not finite."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def check_output(
    path: str | os.PathLike[str], force: bool = False, *, suffix: str | Sequence[str] | None = None
) -> None:
    """Raise unless a file can be written. Call it before the work, not after it.

    Args:
        path: the file that will be written.
        force: whether an existing file may be replaced.
        suffix: the required suffix, or some of which it must have one; None for any.

    Raises:
        ValueError: if the path has another suffix.
        FileExistsError: if the file exists and may not be replaced.
        OSError: if the directory is missing, the path exists and is no file, or writing is not
            allowed.
    """
    allowed = [suffix] if isinstance(suffix, str) else suffix
    if allowed is not None and Path(path).suffix not in allowed:
        raise ValueError(f"expected an output ending in {' or '.join(allowed)}, got {path}")
    real = Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise NotADirectoryError(f"expected a directory to write {path} to, got {real.parent}")
    if real.exists():
        if not real.is_file():
            raise IsADirectoryError(f"expected a file to write to, got {path}, which is none")
        if not force:
            raise FileExistsError(f"expected no file in the way or --force, got {path}")
    # A read-only file is meant to stay, although its directory would allow to replace it.
    if not os.access(real.parent, os.W_OK | os.X_OK) or not (
        os.access(real, os.W_OK) or not real.exists()
    ):
        raise PermissionError(f"expected permission to write {path}, got none")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a draft that replaces the file at the end, if the block ends without an error.

    The draft has the same name and lies in a temporary directory beside the file. ASE chooses the
    format by the name, and with some formats it leaves other files behind.

    Args:
        path: the file to write; where it is a link, the file behind it is replaced.

    Yields:
        The path of the draft.
    """
    real = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory(dir=real.parent, prefix=".jaxrecon-") as directory:
        draft = Path(directory) / real.name
        yield draft
        os.replace(draft, real)


def existing(path: str | os.PathLike[str], what: str) -> Path:
    """Check that a file exists.

    Args:
        path: the file.
        what: what the file should be, for the message.

    Returns:
        The path.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if it is no file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected {what}, got {path}, which does not exist")
    if not path.is_file():
        raise ValueError(f"expected {what}, got {path}, which is no file")
    return path
