"""Files of images: .npz with the voxels that are not zero, and the parameters."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrecon.images.image import Image, checked_image, listed
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.runtime.archives import check_version, member, read_archive
from jaxrecon.runtime.files import existing, replacing
from jaxrecon.runtime.memory import check_memory
from jaxrecon.runtime.messages import reason

VERSION = 1
"""Version of the format: increased by any change that an older jaxrecon would misread."""

TYPES = ("float32", "float64")
"""Types of the voxels that a file may have."""


def write_images(path: str | os.PathLike[str], images: Image | Sequence[Image]) -> None:
    """Write images with their elements and parameters.

    :func:`~jaxrecon.images.io.read_images` has an example.

    Args:
        path: the file to write, which ends in ``.npz``.
        images: one image or several; all have the same parameters.

    Raises:
        ValueError: if the suffix is another one, there are no images, an image is none, or their
            parameters differ.
        OSError: if the file can't be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"expected images to be written to an .npz file, got {path}")
    checked = [checked_image(image) for image in listed(images)]
    if not checked:
        raise ValueError(f"expected at least one image to write to {path}, got none")
    parameters = {image.parameters for image in checked}
    if len(parameters) > 1:
        raise ValueError(f"expected images with the same parameters, got {len(parameters)} kinds")
    dtype = np.result_type(*(image.basis.dtype for image in checked))
    content: dict[str, Any] = {
        "version": np.int64(VERSION),
        "parameters": np.str_(checked[0].parameters.to_json()),
        "elements": np.array([",".join(image.elements) for image in checked], dtype=np.str_),
        "type": np.str_(dtype.name),
    }
    for name in ("cell", "basis"):
        arrays = [np.asarray(getattr(image, name)).ravel() for image in checked]
        places = [np.flatnonzero(array) for array in arrays]
        content[f"{name}_counts"] = np.array([len(each) for each in places], dtype=np.int64)
        content[f"{name}_voxels"] = np.concatenate(places).astype(np.int64)
        values = [array[each] for array, each in zip(arrays, places, strict=True)]
        content[f"{name}_values"] = np.concatenate(values).astype(dtype)
    with replacing(path) as draft:
        np.savez_compressed(draft, **content)


def read_images(path: str | os.PathLike[str]) -> list[Image]:
    """Read images that :func:`write_images` wrote.

    Args:
        path: the file.

    Returns:
        The images, with arrays of NumPy.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is something else or has another version.
        MemoryError: if the images do not fit into the available memory.

    >>> import tempfile
    >>> from ase.build import bulk
    >>> from jaxrecon.images import encode
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_images(f"{folder}/silicon.npz", encode(bulk("Si")))
    ...     read_images(f"{folder}/silicon.npz")
    [Image(Si; cell 32 x 32 x 32, basis 1 x 64 x 64 x 64)]
    """
    path = existing(path, "a file of images")
    expected = f"expected an .npz file of images that jaxrecon wrote, got {path}"
    content = read_archive(path, expected)
    missing = sorted({"version", "parameters", "elements", "type"} - set(content))
    if missing:
        raise ValueError(f"{expected} without {missing}")
    check_version(content, VERSION, path)
    try:
        parameters = ImageParameters.from_json(str(content["parameters"]))
    except ValueError as error:
        raise ValueError(f"{expected} with unreadable parameters ({reason(error)})") from error
    names = [str(each).split(",") for each in member(content, "elements", "U", (None,), expected)]
    if str(content["type"]) not in TYPES:
        raise ValueError(f"{expected} with voxels of type {content['type']}")
    dtype = np.dtype(str(content["type"]))
    m, n = parameters.cell_grid, parameters.basis_grid
    voxels = sum(m**3 + len(each) * n**3 for each in names)
    check_memory(voxels * dtype.itemsize, f"the images of {path}", "write fewer to a file")
    cells = _dense(content, "cell", [(m, m, m) for _ in names], dtype, expected)
    bases = _dense(content, "basis", [(len(each), n, n, n) for each in names], dtype, expected)
    return [
        checked_image(Image(cell, basis, tuple(elements), parameters))
        for cell, basis, elements in zip(cells, bases, names, strict=True)
    ]


def _dense(
    content: dict[str, np.ndarray],
    name: str,
    shapes: Sequence[tuple[int, ...]],
    dtype: np.dtype,
    expected: str,
) -> list[np.ndarray]:
    """The arrays of which an archive has the voxels that are not zero."""
    counts = member(content, f"{name}_counts", "i", (len(shapes),), expected)
    ends = np.cumsum(counts)
    if (counts < 0).any():
        raise ValueError(f"{expected} with negative {name}_counts")
    total = int(ends[-1]) if len(ends) else 0
    voxels = member(content, f"{name}_voxels", "i", (total,), expected)
    values = member(content, f"{name}_values", "f", (total,), expected)
    arrays = []
    for shape, end, count in zip(shapes, ends, counts, strict=True):
        here = slice(int(end - count), int(end))
        array = np.zeros(int(np.prod(shape)), dtype)
        if count and not (voxels[here].min() >= 0 and voxels[here].max() < array.size):
            raise ValueError(f"{expected} with {name}_voxels outside the grid")
        array[voxels[here]] = values[here]
        arrays.append(array.reshape(shape))
    return arrays
