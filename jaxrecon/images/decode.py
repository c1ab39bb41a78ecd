"""decode: from images to crystals, with a certificate."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from jaxtyping import Float

from jaxrecon.images.cells import Cells, cells_of_directions, fit_cells, residuals
from jaxrecon.images.encode import CELLS_TOGETHER, TOGETHER, filled, parts
from jaxrecon.images.image import Image, checked_image, listed
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.images.peaks import separated
from jaxrecon.images.readers import Reading, read_brightest, read_fitted

CERTIFIED = 1e-5
"""Largest residual of a crystal that has exactly this image."""

METHODS = ("fit", "argmax")
"""Readers: least squares, and the brightest voxels."""


class ImageCode(enum.IntEnum):
    """How the reading of an image ended; the names are in the certificates, in lower case."""

    CONVERGED = 0
    """The crystal has exactly this image."""
    STALLED = 1
    """The crystal is the best one found, but its image differs."""
    NON_FINITE = 2
    """The image has voxels that are not finite."""
    NO_CELL = 3
    """The image of the cell is that of no cell."""
    NO_PEAK = 4
    """The images of the atoms have no peak."""


REASONS = {
    ImageCode.NON_FINITE: "finite voxels, got NaN or infinity",
    ImageCode.NO_CELL: "the image of a cell, got distances that no cell has",
    ImageCode.NO_PEAK: "a peak in a basis image, got none: lower the threshold",
}
"""What is expected of an image that can't be read."""


class Cell(NamedTuple):
    """A cell that was read.

    Attributes:
        vectors: lattice vectors as rows in Angstrom.
        residual: largest absolute difference of its image from the given one, without a unit.
        error: standard error of its longest edge in Angstrom.
    """

    vectors: Float[np.ndarray, "3 3"]
    residual: float
    error: float


class Settings(NamedTuple):
    """Checked settings of a reading.

    Attributes:
        method: one of :data:`METHODS`.
        level: smallest value of a voxel that is a peak.
        min_distances: smallest distances in Angstrom of two elements, the second of which goes.
    """

    method: str
    level: float
    min_distances: Mapping[tuple[str, str], float]


@overload
def decode(
    images: Image,
    *,
    method: str = ...,
    threshold: float | None = ...,
    min_distances: Mapping[str, float] | None = ...,
) -> Atoms: ...


@overload
def decode(
    images: Sequence[Image],
    *,
    method: str = ...,
    threshold: float | None = ...,
    min_distances: Mapping[str, float] | None = ...,
) -> list[Atoms]: ...


def decode(
    images: Image | Sequence[Image],
    *,
    method: str = "fit",
    threshold: float | None = None,
    min_distances: Mapping[str, float] | None = None,
) -> Atoms | list[Atoms]:
    """Read crystals from their images.

    The method ``"fit"`` reads the cell from all voxels, finds atoms at the peaks of the basis
    images and between voxels, and fits positions and number of atoms to the whole image. Where no
    crystal has this image, as after noise, blurring or a network, heights and widths of the
    Gaussians are those of its peaks. The method ``"argmax"`` is that of Noh et al., Matter 1, 1370
    (2019): six directions of the cell, and the brightest voxel of each peak.

    Args:
        images: one image or several.
        method: ``"fit"`` or ``"argmax"``.
        threshold: value of a voxel up to which it is no peak; None for half of the least value that
            the voxel nearest to an atom has.
        min_distances: smallest distances in Angstrom of atoms that are kept, by two elements; an
            atom of the second one goes. The values of Noh et al. are
            ``{"V-O": 1.2, "V-V": 1.6, "O-O": 1.3}``. None to keep all.

    Returns:
        The crystal, or a list of crystals: elements in the order of the basis images, the middle of
        the box in that of the cell, positions and cell in Angstrom. ``info`` of each has its
        certificate: ``result_code``, the name of an :class:`ImageCode` in lower case; ``residual``,
        the largest absolute difference of the image and that of the crystal, without a unit;
        ``position_error`` and ``cell_error``, the largest standard errors of a position and of an
        edge in Angstrom that this difference allows for, and no less than the round-off of such
        lengths in the precision of the image. The errors are not known for ``"argmax"``. In a list,
        an image that can't be read gives no atoms and its code.

    Raises:
        ValueError: if an image has other shapes than its parameters say, a setting is not one of
            those above, or a single image has voxels that are not finite, no cell or no peak.

    >>> from ase.build import bulk
    >>> from jaxrecon.images import encode
    >>> salt = decode(encode(bulk("NaCl", "rocksalt", a=5.64)))
    >>> print(salt.symbols, f"{salt.get_distance(0, 1, mic=True):.5f}", salt.info["result_code"])
    NaCl 2.82000 converged
    """
    single = isinstance(images, Image)
    checked = [checked_image(image) for image in listed(images)]
    chosen = [_settings(image, method, threshold, min_distances) for image in checked]
    cells = _cells(checked, method)
    found: dict[int, Atoms] = {}
    for numbers in _groups(checked):
        read = _read(
            [checked[number] for number in numbers],
            [cells[number] for number in numbers],
            chosen[numbers[0]],
        )
        found.update(zip(numbers, read, strict=True))
    crystals = [found[number] for number in range(len(checked))]
    if not single:
        return crystals
    code = ImageCode[crystals[0].info["result_code"].upper()]
    if code in REASONS:
        raise ValueError(f"expected {REASONS[code]}")
    return crystals[0]


def _settings(
    image: Image,
    method: str,
    threshold: float | None,
    min_distances: Mapping[str, float] | None,
) -> Settings:
    """Check the settings of a reading."""
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}, got {method!r}")
    level = 0.5 * image.parameters.least_peak if threshold is None else float(threshold)
    if not 0 < level < 1:
        raise ValueError(f"expected threshold to be a number > 0 and < 1, got {threshold}")
    distances = {}
    for name, distance in (min_distances or {}).items():
        pair = tuple(str(name).split("-"))
        if len(pair) != 2 or any(atomic_numbers.get(symbol, 0) == 0 for symbol in pair):
            raise ValueError(f"expected min_distances by two elements like 'V-O', got {name!r}")
        if not 0 < distance < np.inf:
            raise ValueError(f"expected min_distances > 0 Angstrom, got {distance} for {name}")
        distances[pair[0], pair[1]] = float(distance)
    return Settings(method, level, distances)


def _is_finite(image: Image) -> bool:
    """Whether all voxels of an image are finite."""
    return bool(np.isfinite(image.cell).all() and np.isfinite(image.basis).all())


def _cells(images: Sequence[Image], method: str) -> list[Cell | None]:
    """Read the cells; None for images that are not finite or those of no cell."""
    cells: list[Cell | None] = [None] * len(images)
    kinds: dict[tuple[ImageParameters, np.dtype], list[int]] = {}
    for number, image in enumerate(images):
        if _is_finite(image):
            kinds.setdefault((image.parameters, image.cell.dtype), []).append(number)
    for (parameters, _), numbers in kinds.items():
        for some in parts(numbers, CELLS_TOGETHER):
            stack = filled(np.stack([images[number].cell for number in some]), CELLS_TOGETHER)
            if method == "fit":
                read = fit_cells(stack, parameters)
            else:
                vectors, found = cells_of_directions(stack, parameters)
                residual, unknown = (
                    residuals(vectors, stack, parameters),
                    np.full(len(stack), np.nan),
                )
                read = Cells(vectors, found, residual, unknown)
            for row, number in enumerate(some):
                if read.found[row]:
                    cells[number] = Cell(
                        read.cells[row], float(read.residual[row]), float(read.errors[row])
                    )
    return cells


def _groups(images: Sequence[Image]) -> Iterator[list[int]]:
    """Numbers of images whose atoms are read together."""
    kinds: dict[tuple[int, np.dtype, ImageParameters], list[int]] = {}
    for number, image in enumerate(images):
        kind = (len(image.elements), image.basis.dtype, image.parameters)
        kinds.setdefault(kind, []).append(number)
    for (channels, *_), numbers in kinds.items():
        yield from parts(numbers, TOGETHER // channels)


def _read(images: Sequence[Image], cells: Sequence[Cell | None], settings: Settings) -> list[Atoms]:
    """Read images of as many elements with the same parameters, whose cells are known."""
    codes = [ImageCode.NO_CELL if _is_finite(image) else ImageCode.NON_FINITE for image in images]
    crystals = [_nothing(code) for code in codes]
    usable = [(number, cell) for number, cell in enumerate(cells) if cell is not None]
    if not usable:
        return crystals
    basis = np.stack([images[number].basis for number, _ in usable])
    reader = read_brightest if settings.method == "argmax" else read_fitted
    reading = reader(basis, settings.level, images[0].parameters)
    for row, (number, cell) in enumerate(usable):
        crystals[number] = _crystal(images[number], row, cell, reading, settings)
    return crystals


def _crystal(image: Image, row: int, cell: Cell, reading: Reading, settings: Settings) -> Atoms:
    """The crystal of one image of a batch, with its certificate."""
    here = np.flatnonzero(reading.peaks.which // len(image.elements) == row)
    if not len(here):
        return _nothing(ImageCode.NO_PEAK)
    peaks = reading.peaks.select(here)
    order = np.lexsort((*peaks.voxel.T[::-1], peaks.which))
    here, peaks = here[order], peaks.select(order)
    atoms = Atoms(
        [image.elements[channel] for channel in peaks.which % len(image.elements)],
        # The middle of the box is the middle of the cell.
        peaks.points(image.parameters)
        - 0.5 * image.parameters.box
        + 0.5 * cell.vectors.sum(axis=0),
        cell=cell.vectors,
        pbc=True,
    )
    residual = max(cell.residual, float(reading.residual[row]))
    kept = separated(atoms, reading.heights[here], settings.min_distances)
    exact = residual <= CERTIFIED and len(kept) == len(atoms)
    atoms = atoms[kept]
    # An image is that of rounded positions and lattice vectors, and the strain by which a cell is
    # read from it is rounded again.
    round_off = float(np.finfo(image.basis.dtype).eps) / 2.0
    atoms.info = {
        "result_code": (ImageCode.CONVERGED if exact else ImageCode.STALLED).name.lower(),
        "residual": residual,
        "position_error": max(
            float(reading.errors[here][kept].max()), round_off * image.parameters.box
        ),
        "cell_error": max(cell.error, 2.0 * round_off * float(atoms.cell.lengths().max())),
    }
    return atoms


def _nothing(code: ImageCode) -> Atoms:
    """No atoms, with a code that says why."""
    unknown = dict.fromkeys(("residual", "position_error", "cell_error"), float("nan"))
    return Atoms(info={"result_code": code.name.lower(), **unknown})
