"""ImageParameters: grids, box and Gaussians of images. This module does not import jax."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

LARGEST_GRID = 1024
"""Largest number of voxels along one axis of an image."""


@dataclass(frozen=True)
class ImageParameters:
    r"""Parameters of both images of a crystal. They are hashable, so static under ``jit``.

    The defaults are those of Noh et al., Matter 1, 1370 (2019), but for the threshold of the cell
    image, which has none. An atom adds :math:`\exp(-r^2 / 2 \sigma^2)` to each voxel.

    Attributes:
        cell_grid: number of voxels of the cell image along each lattice vector, an even number.
        basis_grid: number of voxels of the basis images along each axis of the box, an even number.
        box: edge of the box of the basis images in Angstrom.
        sigma: standard deviation of the Gaussians in Angstrom.
        threshold: value under which the contribution of an atom to a voxel of a basis image is 0.

    Raises:
        ValueError: if a parameter is out of range; the message names it.

    >>> parameters = ImageParameters(basis_grid=32, sigma=0.4)
    >>> parameters.spacing, round(parameters.radius, 3)
    (0.46875, 1.119)
    """

    cell_grid: int = 32
    basis_grid: int = 64
    box: float = 15.0
    sigma: float = 0.26
    threshold: float = 0.02

    def __post_init__(self) -> None:
        for name in ("cell_grid", "basis_grid"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            fits = whole and 8 <= value <= LARGEST_GRID and value % 2 == 0
            self._check(name, f"an even number from 8 to {LARGEST_GRID}", fits)
        for name in ("box", "sigma", "threshold"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            self._check(name, "a number", number)
            object.__setattr__(self, name, float(value))
        self._check("box", "a finite length > 0 in Angstrom", 0 < self.box < math.inf)
        self._check("threshold", "a number > 0 and < 1", 0 < self.threshold < 1)
        low, high = 0.2 * self.spacing, 0.1 * self.box
        expected = (
            f"from {low:.3g} to {high:.3g} Angstrom, a fifth of the distance of two voxels to a "
            "tenth of the box"
        )
        self._check("sigma", expected, low <= self.sigma <= high)

    def _check(self, name: str, expected: str, holds: bool) -> None:
        """Raise unless a condition on a parameter holds."""
        if not holds:
            raise ValueError(f"expected {name} to be {expected}, got {getattr(self, name)!r}")

    @property
    def spacing(self) -> float:
        """Distance of two voxels of the basis images in Angstrom."""
        return self.box / self.basis_grid

    @property
    def radius(self) -> float:
        """Distance in Angstrom up to which an atom contributes to voxels of its basis image."""
        return self.sigma * math.sqrt(-2.0 * math.log(self.threshold))

    @property
    def reach(self) -> float:
        """Largest distance of an atom from the middle of the box along an axis, in Angstrom.

        The voxels on both sides of the one that the atom is nearest to are within the box.
        """
        return 0.5 * self.box - 2.0 * self.spacing

    @property
    def least_peak(self) -> float:
        """Value of the voxel nearest to an atom that is as far from all voxels as it can be."""
        return math.exp(-0.375 * (self.spacing / self.sigma) ** 2)

    def to_json(self) -> str:
        """The parameters as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ImageParameters":
        """Read the parameters that :meth:`to_json` wrote.

        Args:
            text: the JSON.

        Returns:
            The parameters.

        Raises:
            ValueError: if it is something else, or a parameter is out of range.
        """
        found: Any = json.loads(text)
        names = set(cls.__dataclass_fields__)
        if not isinstance(found, dict) or set(found) != names:
            raise ValueError(f"expected parameters of images, {sorted(names)}, got {text[:200]!r}")
        return cls(**found)
