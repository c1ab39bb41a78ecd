r"""Autoencoders of images: a few hundred numbers, from which a network makes the image again.

Two kinds of network have one interface. ``"convolution"`` is that of Noh et al., Matter 1, 1370
(2019): convolutions with kernels of 4 x 4 x 4 voxels, stride 2 and 64 channels, and their
transposes. ``"patch"`` multiplies patches of 4 x 4 x 4 voxels by one matrix, and what it makes of
all of them by another one, which a CPU does in a hundredth of the time. Activations are leaky
rectifiers with slope 0.2, the code has a hyperbolic tangent, and the output a logistic function.
Both are fitted by minimising the cross entropy of voxels p and output q, which for a given p is
least at q = p,

.. math:: -\sum_v p_v \ln q_v + (1 - p_v) \ln (1 - q_v).

A network sees one image: that of the cell, or that of the atoms of one element. The images are
computed from cells and atoms where they are needed, as they take a thousand times the memory.
"""

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxrecon.images.config import Kind
from jaxrecon.images.gaussians import Sites, basis_images, cell_image
from jaxrecon.images.parameters import ImageParameters

PATCH = 4
"""Number of voxels along an edge of a patch, and of a kernel."""

SLOPE = 0.2
"""Slope of the activation for negative numbers."""

EMPTY = -4.0
"""Initial bias of the output: most voxels are almost empty."""

Part = Literal["cell", "basis"]

FULL = jax.lax.Precision.HIGHEST
"""Precision of products: accelerators would round float32 factors to 10 bits otherwise."""


class CellItem(NamedTuple):
    """A cell of which an image can be computed.

    Attributes:
        cell: lattice vectors as rows in Angstrom.
        transform: whole numbers that make the lattice vectors of the reduced ones.
    """

    cell: Float[Array | np.ndarray, "*batch 3 3"]
    transform: Float[Array | np.ndarray, "*batch 3 3"]


class BasisItem(NamedTuple):
    """Atoms of one element of which an image can be computed, as in :class:`Sites`.

    Attributes:
        voxel: indices of the voxel nearest to each atom.
        offset: position of the atom minus that of this voxel, in Angstrom.
        mask: whether there is an atom; false for padding.
    """

    voxel: Int[Array | np.ndarray, "*batch k 3"]
    offset: Float[Array | np.ndarray, "*batch k 3"]
    mask: Bool[Array | np.ndarray, "*batch k"]


@dataclass(frozen=True)
class ImageAutoencoder:
    """Encoder and decoder without their weights; hashable, so static under ``jit``.

    Attributes:
        part: which image it sees, that of the ``"cell"`` or of the atoms, ``"basis"``.
        kind: kind of the network, ``"patch"`` or ``"convolution"``.
        code: number of numbers that stand for an image.
        channels: number of channels of a convolution or a patch.
        hidden: number of units between patches and code; 0 for convolutions.
        parameters: parameters of the images.

    Raises:
        ValueError: if the grid is not a power of two times a kernel.
    """

    part: Part
    kind: Kind
    code: int
    channels: int
    hidden: int
    parameters: ImageParameters = field(default_factory=ImageParameters)

    def __post_init__(self) -> None:
        times = self.grid / PATCH
        if times < 2 or times != 2 ** int(np.log2(times)):
            raise ValueError(
                f"expected {self.part}_grid to be {PATCH} times a power of two, at least "
                f"{2 * PATCH}, for an autoencoder, got {self.grid}"
            )

    @classmethod
    def of(
        cls,
        part: Part,
        kind: Kind = "patch",
        parameters: ImageParameters | None = None,
        *,
        code: int | None = None,
    ) -> "ImageAutoencoder":
        """Choose the sizes of Noh et al.: 20 numbers for a cell, 200 for atoms.

        Args:
            part: which image it sees.
            kind: kind of the network.
            parameters: parameters of the images; None for those of the publication.
            code: number of numbers that stand for an image; None for the published one.

        Returns:
            The autoencoder without weights.

        >>> ImageAutoencoder.of("cell").code, ImageAutoencoder.of("basis", "convolution").channels
        (20, 64)
        """
        code = code or (20 if part == "cell" else 200)
        channels, hidden = (8, 512) if kind == "patch" else (64, 0)
        return cls(part, kind, code, channels, hidden, parameters or ImageParameters())

    @property
    def grid(self) -> int:
        """Number of voxels of the image along each axis."""
        parameters = self.parameters
        return parameters.cell_grid if self.part == "cell" else parameters.basis_grid

    def image(self, item: CellItem | BasisItem) -> Float[Array, "n n n"]:
        """Compute the image of a cell or of atoms.

        Args:
            item: the cell or the atoms, for the part that the network sees.

        Returns:
            The image, without a unit.
        """
        if isinstance(item, CellItem):
            return cell_image(jnp.asarray(item.cell), jnp.asarray(item.transform), self.parameters)
        channel = jnp.zeros(item.mask.shape, int)
        sites = Sites(item.voxel, item.offset, channel, item.mask)
        return basis_images(sites, 1, self.parameters)[0]

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights.

        Args:
            key: random key.

        Returns:
            The weights as nested dictionaries of arrays.
        """
        return nnx.to_pure_dict(nnx.state(_network(self, nnx.Rngs(key))))

    def encode(
        self, weights: dict[str, Any], images: Float[Array, "batch n n n"]
    ) -> Float[Array, "batch z"]:
        """Compute the codes of images.

        Args:
            weights: weights as from :meth:`init`.
            images: images without a unit.

        Returns:
            Numbers from -1 to 1.
        """
        network: Any = nnx.merge(_skeleton(self), weights)
        return jnp.tanh(network.encode(images))

    def decode(
        self, weights: dict[str, Any], codes: Float[Array, "batch z"]
    ) -> Float[Array, "batch n n n"]:
        """Compute the images of codes.

        Args:
            weights: weights as from :meth:`init`.
            codes: numbers from -1 to 1.

        Returns:
            The images, from 0 to 1.
        """
        network: Any = nnx.merge(_skeleton(self), weights)
        return nnx.sigmoid(network.decode(codes))

    def loss(
        self, weights: dict[str, Any], key: PRNGKeyArray, item: CellItem | BasisItem
    ) -> Float[Array, ""]:
        """Compute the loss of one example, the equation of the module.

        Args:
            weights: weights as from :meth:`init`.
            key: random key, which is not used.
            item: a cell or atoms.

        Returns:
            The cross entropy, less that of an image that is reproduced exactly.
        """
        image = self.image(item)
        network: Any = nnx.merge(_skeleton(self), weights)
        output = network.decode(jnp.tanh(network.encode(image[None])))[0]
        return jnp.sum(_cross_entropy(image, output))


def _cross_entropy(p: Float[Array, "n n n"], logit: Float[Array, "n n n"]) -> Array:
    """Cross entropy of a voxel and the logistic function of an output, less its least value."""
    p = jnp.clip(p, 0.0, 1.0)
    entropy = jax.scipy.special.xlogy(p, p) + jax.scipy.special.xlogy(1.0 - p, 1.0 - p)
    return jnp.logaddexp(0.0, logit) - p * logit + entropy


class PatchNetwork(nnx.Module):
    """The encoder and the decoder of patches.

    Args:
        grid: number of voxels along each axis.
        channels: number of channels of a patch.
        hidden: number of units between patches and code.
        code: number of numbers of the code.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, grid: int, channels: int, hidden: int, code: int, *, rngs: nnx.Rngs) -> None:
        self.count = grid // PATCH
        features = self.count**3 * channels
        linear = partial(nnx.Linear, precision=FULL, rngs=rngs)
        self.seen, self.gathered = linear(PATCH**3, channels), linear(features, hidden)
        self.inner, self.outer = linear(hidden, code), linear(code, hidden)
        self.spread = linear(hidden, features)
        self.shown = linear(channels, PATCH**3, bias_init=nnx.initializers.constant(EMPTY))

    def encode(self, images: Float[Array, "batch n n n"]) -> Float[Array, "batch z"]:
        """Compute the codes of images, before the hyperbolic tangent."""
        batch, count = len(images), self.count
        patches = images.reshape(batch, count, PATCH, count, PATCH, count, PATCH)
        patches = patches.transpose(0, 1, 3, 5, 2, 4, 6).reshape(batch, count**3, PATCH**3)
        seen = _rectified(self.seen(patches)).reshape(batch, -1)
        return self.inner(_rectified(self.gathered(seen)))

    def decode(self, codes: Float[Array, "batch z"]) -> Float[Array, "batch n n n"]:
        """Compute the images of codes, before the logistic function."""
        batch, count = len(codes), self.count
        spread = _rectified(self.spread(_rectified(self.outer(codes))))
        patches = self.shown(spread.reshape(batch, count**3, -1))
        patches = patches.reshape(batch, count, count, count, PATCH, PATCH, PATCH)
        grid = count * PATCH
        return patches.transpose(0, 1, 4, 2, 5, 3, 6).reshape(batch, grid, grid, grid)


class ConvolutionNetwork(nnx.Module):
    """The encoder and the decoder of Noh et al.

    Args:
        grid: number of voxels along each axis.
        channels: number of channels of every convolution.
        code: number of numbers of the code.
        rngs: random numbers for the initial weights.
    """

    def __init__(self, grid: int, channels: int, code: int, *, rngs: nnx.Rngs) -> None:
        times = int(np.log2(grid // PATCH))
        kernel, two = (PATCH,) * 3, (2,) * 3
        common: dict[str, Any] = {"kernel_size": kernel, "precision": FULL, "rngs": rngs}
        widths = [1, *[channels] * times]
        self.down = nnx.List(
            [
                nnx.Conv(width, channels, strides=two, padding="SAME", **common)
                for width in widths[:-1]
            ]
        )
        self.inner = nnx.Conv(channels, code, padding="VALID", **common)
        self.outer = nnx.ConvTranspose(code, channels, padding="VALID", **common)
        ups = [*reversed(widths[:-1])]
        starts = [nnx.initializers.constant(EMPTY if width == 1 else 0.0) for width in ups]
        self.up = nnx.List(
            [
                nnx.ConvTranspose(
                    channels, width, strides=two, padding="SAME", bias_init=start, **common
                )
                for width, start in zip(ups, starts, strict=True)
            ]
        )

    def encode(self, images: Float[Array, "batch n n n"]) -> Float[Array, "batch z"]:
        """Compute the codes of images, before the hyperbolic tangent."""
        values = images[..., None]
        for layer in self.down:
            values = _rectified(layer(values))
        return self.inner(values).reshape(len(images), -1)

    def decode(self, codes: Float[Array, "batch z"]) -> Float[Array, "batch n n n"]:
        """Compute the images of codes, before the logistic function."""
        values = self.outer(codes[:, None, None, None])
        for layer in self.up:
            values = layer(_rectified(values))
        return values[..., 0]


def _rectified(values: Array) -> Array:
    """The activation between layers."""
    return nnx.leaky_relu(values, SLOPE)


def _network(autoencoder: ImageAutoencoder, rngs: nnx.Rngs) -> PatchNetwork | ConvolutionNetwork:
    """The network of an autoencoder with initial weights."""
    one = autoencoder
    if one.kind == "patch":
        return PatchNetwork(one.grid, one.channels, one.hidden, one.code, rngs=rngs)
    return ConvolutionNetwork(one.grid, one.channels, one.code, rngs=rngs)


@lru_cache
def _skeleton(autoencoder: ImageAutoencoder) -> Any:
    """The graph of a network without arrays, which never changes."""

    def made() -> Any:
        return _network(autoencoder, nnx.Rngs(0))

    return nnx.graphdef(nnx.eval_shape(made))
