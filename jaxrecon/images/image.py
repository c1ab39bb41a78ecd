"""The image of a crystal, a pytree."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.checks import element_symbols
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.pytrees import register_dataclass

ROUND_OFF = {"float32": 1e-6, "float64": 1e-12}
"""Residual by type of an image that is exactly that of a crystal: some times the round-off."""


@register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Image:
    """The two images of a crystal, from :func:`~jaxrecon.images.encode.encode` or from a network.

    :func:`~jaxrecon.images.decode.decode` makes the crystal of it, and
    :func:`~jaxrecon.images.io.write_images` a file.

    Attributes:
        cell: the image of the cell, without a unit.
        basis: the images of the atoms, one for each element.
        elements: chemical symbol of the element of each basis image.
        parameters: parameters of the images.

    >>> import numpy as np
    >>> parameters = ImageParameters(cell_grid=16, basis_grid=32, sigma=0.5)
    >>> Image(np.zeros((16,) * 3), np.zeros((1, *(32,) * 3)), ("Si",), parameters)
    Image(Si; cell 16 x 16 x 16, basis 1 x 32 x 32 x 32)
    """

    cell: Float[Array | np.ndarray, "*batch m m m"]
    basis: Float[Array | np.ndarray, "*batch channels n n n"]
    elements: tuple[str, ...] = field(metadata={"static": True})
    parameters: ImageParameters = field(
        default=ImageParameters(),
        metadata={"static": True},
    )

    def __repr__(self) -> str:
        shapes = [" x ".join(map(str, np.shape(array))) for array in (self.cell, self.basis)]
        return f"Image({', '.join(self.elements)}; cell {shapes[0]}, basis {shapes[1]})"

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.size(self.cell) + np.size(self.basis))


def listed(images: Image | Sequence[Image]) -> list[Image]:
    """One image or several as a list."""
    return [images] if isinstance(images, Image) else list(images)


def checked_image(image: Image) -> Image:
    """Check the elements and the shapes of an image; its values may be anything.

    Args:
        image: the image.

    Returns:
        The same image, with arrays of NumPy in float32 or float64.

    Raises:
        ValueError: if it is no image, or its elements, shapes or types do not fit together.
    """
    if not isinstance(image, Image):
        raise ValueError(
            f"expected a jaxrecon.images.Image, got {type(image).__name__}: make one by "
            "jaxrecon.images.encode"
        )
    if element_symbols(image.elements) != tuple(image.elements):
        raise ValueError(f"expected elements that differ, got {', '.join(image.elements)}")
    m, n = image.parameters.cell_grid, image.parameters.basis_grid
    expected = {"cell": (m, m, m), "basis": (len(image.elements), n, n, n)}
    arrays = {}
    for name, shape in expected.items():
        array = np.asarray(getattr(image, name))
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(
                f"expected the {name} image to have real numbers in shape {shape}, got "
                f"{array.dtype} in {array.shape}: its parameters are {image.parameters}"
            )
        arrays[name] = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    return Image(**arrays, elements=tuple(image.elements), parameters=image.parameters)
