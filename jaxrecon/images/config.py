"""ImageConfig: all settings of autoencoders of images. This module does not import jax."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from jaxrecon.images.parameters import ImageParameters
from jaxrecon.models.checks import check, check_names, check_whole
from jaxrecon.runtime.seeds import checked_seed

Kind = Literal["patch", "convolution"]


@dataclass(frozen=True)
class ImageConfig:
    """Settings of two autoencoders, of the cell image and of the basis images, and of their fits.

    The sizes of the codes, batches and learning rates of the convolutions are those of Noh et al.,
    Matter 1, 1370 (2019).

    Attributes:
        kind: kind of both networks: ``"patch"`` for CPUs, ``"convolution"`` for GPUs.
        parameters: parameters of the images.
        cell_code: number of numbers that stand for a cell image.
        basis_code: number of numbers that stand for the image of one element.
        cell_epochs: number of passes over the cells of the training examples.
        basis_epochs: number of passes over their basis images.
        cell_rate: learning rate of Adam for the cells; it falls to 0 along half a cosine.
        basis_rate: the same for the basis images.
        cell_batch: number of cell images per step.
        basis_batch: number of basis images per step.
        validation: number of crystals that choose the best epoch.
        seed: seed of the choice of these, the initial weights and the order of the examples.

    Raises:
        ValueError: if a value is out of range.

    >>> ImageConfig(basis_epochs=10).replace(kind="convolution").basis_epochs
    10
    """

    kind: Kind = "patch"
    parameters: ImageParameters = field(default_factory=ImageParameters)
    cell_code: int = 20
    basis_code: int = 200
    cell_epochs: int = 50
    basis_epochs: int = 50
    cell_rate: float = 1e-3
    basis_rate: float = 1e-3
    cell_batch: int = 32
    basis_batch: int = 32
    validation: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, "kind", f"among {get_args(Kind)}", self.kind in get_args(Kind))
        for part in ("cell", "basis"):
            for name in ("code", "epochs", "batch"):
                check_whole(self, f"{part}_{name}")
            rate = getattr(self, f"{part}_rate")
            check(self, f"{part}_rate", "a number > 0", rate > 0)
        check_whole(self, "validation")
        object.__setattr__(self, "seed", checked_seed(self.seed))

    def replace(self, **changes: Any) -> "ImageConfig":
        """Return a copy with some settings changed.

        Args:
            **changes: settings by name, like ``basis_epochs=10``.

        Returns:
            The new settings.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        check_names(changes, ImageConfig)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ImageConfig":
        """Make settings from plain data: the inverse of :meth:`to_dict`.

        Args:
            data: the data.

        Returns:
            The settings.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        check_names(data, ImageConfig)
        parameters = ImageParameters.from_json(json.dumps(data.get("parameters")))
        return cls(**{**data, "parameters": parameters})
