"""Training of the autoencoders of images."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxrecon.descriptors.checks import element_symbols
from jaxrecon.images.autoencoders import ImageAutoencoder, Part
from jaxrecon.images.config import ImageConfig
from jaxrecon.images.encode import encode
from jaxrecon.images.image import Image, checked_image
from jaxrecon.images.items import BasisItem, CellItem, items_of
from jaxrecon.models import checkpoints
from jaxrecon.models.config import FitConfig
from jaxrecon.models.fitting import fit
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.structures.inputs import Structures, as_structures

WORDS = ("training", "images")
"""Name of the work, and of what is counted, on the progress bar."""

PARTS: tuple[Part, ...] = ("cell", "basis")
"""The two autoencoders of a model."""

AT_ONCE = 16
"""Number of crystals whose images go through a network together."""

IN_MEMORY = 48
"""Number of crystals whose images are in memory together."""


@dataclass(frozen=True, eq=False)
class ImageModel:
    """Autoencoders of the cell image and of the basis images, with their weights.

    Attributes:
        elements: elements of the basis images, in this order.
        config: settings of the networks and of their fits.
        weights: weights by part, ``"cell"`` and ``"basis"``.
        losses: mean training and validation loss of each epoch, by part.
    """

    elements: tuple[str, ...]
    config: ImageConfig
    weights: dict[str, Any]
    losses: dict[str, Float[np.ndarray, "epochs 2"]]

    def encode(self, images: Sequence[Image]) -> Float[np.ndarray, "batch z"]:
        """Compute the codes of images: the numbers of the cell, then those of each element.

        Args:
            images: images with the elements and the parameters of this model.

        Returns:
            Numbers from -1 to 1, one row for each image.

        Raises:
            ValueError: if an image has other elements or parameters.
        """
        rows = []
        for start in range(0, len(images), AT_ONCE):
            some = [self._checked(image) for image in images[start : start + AT_ONCE]]
            cells = np.stack([image.cell for image in some])
            bases = np.concatenate([image.basis for image in some])
            codes = self._apply("basis", "encode", bases).reshape(len(some), -1)
            rows.append(np.concatenate([self._apply("cell", "encode", cells), codes], axis=1))
        return np.concatenate(rows)

    def codes(self, structures: Structures) -> Float[np.ndarray, "batch z"]:
        """Compute the codes of crystals, whose images are never in memory all together.

        Args:
            structures: crystals as for :func:`jaxrecon.featurize`; positions and cells in Angstrom.

        Returns:
            Numbers from -1 to 1, one row for each crystal, as from :meth:`encode`.

        Raises:
            ValueError: if the image of a crystal can't be made.
        """
        crystals, parameters = as_structures(structures), self.config.parameters
        rows = []
        for start in range(0, len(crystals), IN_MEMORY):
            some = list(crystals[start : start + IN_MEMORY])
            rows.append(self.encode(encode(some, parameters, elements=list(self.elements))))
        return np.concatenate(rows)

    def decode(self, codes: Float[np.ndarray, "batch z"]) -> list[Image]:
        """Compute the images of codes.

        Args:
            codes: numbers from -1 to 1 as from :meth:`encode`, one row for each image.

        Returns:
            The images, which :func:`~jaxrecon.images.decode.decode` reads.

        Raises:
            ValueError: if the rows have another length.
        """
        config, count = self.config, len(self.elements)
        size = config.cell_code + count * config.basis_code
        if codes.ndim != 2 or codes.shape[1] != size:
            raise ValueError(f"expected codes of {size} numbers in rows, got shape {codes.shape}")
        images = []
        for start in range(0, len(codes), AT_ONCE):
            some = np.asarray(codes[start : start + AT_ONCE], np.float32)
            cells = self._apply("cell", "decode", some[:, : config.cell_code])
            atoms = some[:, config.cell_code :].reshape(-1, config.basis_code)
            bases = self._apply("basis", "decode", atoms)
            bases = bases.reshape(len(some), count, *bases.shape[1:])
            images += [
                Image(cell, basis, self.elements, config.parameters)
                for cell, basis in zip(cells, bases, strict=True)
            ]
        return images

    def _checked(self, image: Image) -> Image:
        """An image with the elements and the parameters of this model."""
        image = checked_image(image)
        given = (image.elements, image.parameters)
        if given != (self.elements, self.config.parameters):
            raise ValueError(
                f"expected an image of {', '.join(self.elements)} with {self.config.parameters}, "
                f"got {', '.join(image.elements)} with {image.parameters}"
            )
        return image

    def _apply(self, part: str, direction: str, array: np.ndarray) -> np.ndarray:
        """Take images or codes through the network of one part."""
        network = autoencoders(self.config)[part]
        return np.asarray(
            _applied(network, direction, self.weights[part], array.astype(np.float32))
        )


def autoencoders(config: ImageConfig) -> dict[str, ImageAutoencoder]:
    """Choose both autoencoders from the settings.

    Args:
        config: settings of the model.

    Returns:
        The autoencoders without weights, by part.

    Raises:
        ValueError: if a grid of the images is not a power of two times a kernel.
    """
    return {
        part: ImageAutoencoder.of(
            part, config.kind, config.parameters, code=getattr(config, f"{part}_code")
        )
        for part in PARTS
    }


def train_images(
    structures: Structures,
    elements: str | Sequence[str],
    config: ImageConfig | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | ProgressFn = False,
) -> ImageModel:
    """Fit the autoencoders to the images of crystals.

    Args:
        structures: crystals as for :func:`jaxrecon.featurize`; positions and cells in Angstrom.
        elements: elements of the basis images; crystals may have some of them.
        config: settings; None for patches on the published grids.
        folder: folder of checkpoints, from which an interrupted training continues; None for none.
        progress: True shows a progress bar; a function is called after each epoch with the epochs
            and the images since its last call.

    Returns:
        The model, with the weights of the epochs whose validation loss is the least.

    Raises:
        ValueError: if the image of a crystal can't be made, there are too few crystals, a grid does
            not suit the networks, or the folder belongs to another training.
        OSError: if a checkpoint can't be written.
    """
    config, symbols = config or ImageConfig(), element_symbols(elements)
    crystals = as_structures(structures)
    if len(crystals) <= config.validation:
        raise ValueError(
            f"expected more crystals than the {config.validation} for validation, got "
            f"{len(crystals)}"
        )
    networks = autoencoders(config)
    items = items_of(crystals, symbols, config.parameters)
    if folder is not None:
        _begin(Path(folder), config, symbols, items)
    # A crystal is an example of one part or the other for both networks.
    order = np.random.default_rng(config.seed).permutation(len(crystals))
    chosen = {"validation": order[: config.validation], "training": order[config.validation :]}
    weights: dict[str, Any] = {}
    losses: dict[str, np.ndarray] = {}
    epochs = config.cell_epochs + config.basis_epochs
    with reporter(progress, epochs, *WORDS) as report:
        for part in PARTS:
            times = len(symbols) if part == "basis" else 1
            rows = {
                name: (some[:, None] * times + np.arange(times)).reshape(1, -1)
                for name, some in chosen.items()
            }
            settings = FitConfig(
                layers=1,
                hidden=1,
                learning_rate=getattr(config, f"{part}_rate"),
                epochs=getattr(config, f"{part}_epochs"),
                batch=getattr(config, f"{part}_batch"),
            )
            fitted = fit(
                networks[part],
                items[part],
                rows["training"],
                # More examples than these are seldom needed.
                rows["validation"][:, : config.validation],
                settings,
                seed=config.seed,
                decay=True,
                chunk=1,
                folder=None if folder is None else Path(folder) / part,
                report=report,
            )
            weights[part] = jax.tree.map(lambda array: np.asarray(array[0]), fitted.weights)
            losses[part] = np.asarray(fitted.losses[0])
    return ImageModel(symbols, config, weights, losses)


def _begin(
    folder: Path,
    config: ImageConfig,
    elements: Sequence[str],
    items: dict[str, CellItem | BasisItem],
) -> None:
    """Write down what a training begins with, or check that it is the one in the folder."""
    digest = hashlib.sha256()
    for array in jax.tree.leaves(items):
        digest.update(np.asarray(array).tobytes())
    own = {"config": config.to_dict(), "elements": list(elements), "data": digest.hexdigest()}
    checkpoints.begin(folder, own)


@partial(jax.jit, static_argnums=(0, 1))
def _applied(network: ImageAutoencoder, direction: str, weights: Any, array: Any) -> Any:
    """Encode or decode under ``jit``."""
    return getattr(network, direction)(weights, array)
