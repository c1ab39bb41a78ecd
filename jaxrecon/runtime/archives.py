"""Archives of arrays (.npz) as they are read from anywhere: what is not as expected is refused."""

import zipfile
from pathlib import Path

import numpy as np


def read_archive(path: Path, expected: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, by name.

    Args:
        path: of the file.
        expected: what it should be, the beginning of the message if it is not.

    Raises:
        ValueError: if it is no archive of arrays, or a damaged one.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{expected}, which is no zip archive")
    try:
        # NumPy does not close what it opened itself when the archive is damaged.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            # What is no array in it comes as bytes.
            return {key: np.asarray(archive[key]) for key in archive.files}
    # A damaged archive fails in zipfile, zlib, struct or numpy, each in its own way.
    except Exception as error:
        raise ValueError(f"{expected} ({reason(error)})") from error


def check_version(content: dict[str, np.ndarray], version: int, path: Path) -> None:
    """Raise unless the archive says that it has this version of its format.

    Raises:
        ValueError: if it has another.
    """
    if str(content["version"]) != str(version):
        raise ValueError(
            f"expected version {version} of the format in {path}, got {content['version']}"
        )


def member(
    content: dict[str, np.ndarray],
    name: str,
    kind: str,
    shape: tuple[int | None, ...],
    expected: str,
) -> np.ndarray:
    """An array of an archive, if it has the kind and the shape that it should have.

    Args:
        content: of the archive.
        name: of the array.
        kind: of its numbers, as NumPy abbreviates it; those of kind f come back in float64.
        shape: its lengths, None for any.
        expected: what the archive should be, the beginning of the message if it is not.

    Raises:
        ValueError: if it is missing or different.
    """
    array = content.get(name)
    if array is None:
        raise ValueError(f"{expected} without ['{name}']")
    fits = len(shape) == array.ndim and all(
        size in (None, length) for size, length in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind != kind:
        raise ValueError(f"{expected} with {name} of shape {array.shape} and type {array.dtype}")
    return array.astype(np.float64) if kind == "f" else array


def reason(error: Exception) -> str:
    """Why a library has failed, in one piece of a message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
