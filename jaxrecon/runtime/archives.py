"""Reading of .npz archives from any source: an unexpected archive or array is refused."""

import zipfile
from pathlib import Path

import numpy as np

from jaxrecon.runtime.memory import check_memory
from jaxrecon.runtime.messages import reason, shortened


def read_archive(path: Path, expected: str) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file.

    Args:
        path: the file.
        expected: beginning of the error message, which says what the file should be.

    Returns:
        The arrays by name.

    Raises:
        ValueError: if the file is no archive of arrays, or a damaged one.
        MemoryError: if the arrays do not fit into the available memory.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{expected}, which is no zip archive")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    # A damaged archive fails in zipfile, zlib, struct or numpy, with exceptions of their own.
    except Exception as error:
        raise ValueError(f"{expected} ({reason(error)})") from error
    check_memory(
        size, f"the arrays of {shortened(str(path), 100)}", "use a file with fewer structures"
    )
    try:
        # NumPy would leave a file that it opened itself open where the archive is damaged.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            # NumPy returns members that are no arrays as bytes.
            return {key: np.asarray(archive[key]) for key in archive.files}
    except Exception as error:
        raise ValueError(f"{expected} ({reason(error)})") from error


def check_version(content: dict[str, np.ndarray], version: int, path: Path) -> None:
    """Raise unless an archive has the expected version of its format.

    Args:
        content: arrays of the archive, among them ``version``.
        version: the version that can be read.
        path: the file, for the message.

    Raises:
        ValueError: if the archive has another version.
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
    """Return an array of an archive, if it has the expected kind and shape.

    Args:
        content: arrays of the archive by name.
        name: name of the array.
        kind: expected kind of the dtype, as NumPy abbreviates it.
        shape: expected lengths of the axes; None for any length.
        expected: beginning of the error message, which says what the archive should be.

    Returns:
        The array; in float64 if its kind is ``"f"``.

    Raises:
        ValueError: if the array is missing, or has another kind or shape.
    """
    array = content.get(name)
    if array is None:
        raise ValueError(f"{expected} without ['{name}']")
    fits = len(shape) == array.ndim and all(
        size in (None, length) for size, length in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind != kind:
        raise ValueError(f"{expected} with {name} of shape {array.shape} and type {array.dtype}")
    return array.astype(np.float64, copy=False) if kind == "f" else array
