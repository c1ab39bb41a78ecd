r"""Autoencoders of images: a few hundred numbers, from which a network makes the image again.

Two kinds of network have one interface. ``"convolution"`` is that of Noh et al., Matter 1, 1370
(2019): convolutions with kernels of 4 x 4 x 4 voxels, stride 2 and 64 channels, and their
transposes. ``"patch"`` multiplies patches of 4 x 4 x 4 voxels by one matrix, and what it makes of
all of them by another one, which a CPU does in a hundredth of the time. Activations are leaky
rectifiers with slope 0.2, the code has a hyperbolic tangent, and the output a logistic function.
Both are fitted by minimising the cross entropy of voxels p and output q, which for a given p is
least at q = p,

.. math:: -\sum_v p_v \ln q_v + (1 - p_v) \ln (1 - q_v).

A network sees one image: that of the cell, or that of the atoms of one element.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.images.config import Kind
from jaxrecon.images.gaussians import Sites, basis_images, cell_image
from jaxrecon.images.items import BasisItem, CellItem
from jaxrecon.images.networks import PATCH, ConvolutionNetwork, PatchNetwork
from jaxrecon.images.parameters import ImageParameters

Part = Literal["cell", "basis"]


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
        ValueError: if the grid is no multiple of a patch, or for convolutions not a power of two
            times a kernel.
    """

    part: Part
    kind: Kind
    code: int
    channels: int
    hidden: int
    parameters: ImageParameters = field(default_factory=ImageParameters)

    def __post_init__(self) -> None:
        times, rest = divmod(self.grid, PATCH)
        convolved = self.kind == "convolution"
        if rest or times < 2 or (convolved and times & (times - 1)):
            multiple = f"{PATCH} times a power of two" if convolved else f"a multiple of {PATCH}"
            raise ValueError(
                f"expected {self.part}_grid to be {multiple}, at least {2 * PATCH}, for an "
                f"autoencoder of kind {self.kind}, got {self.grid}"
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
        return jnp.tanh(self._with(weights).encode(images))

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
        return nnx.sigmoid(self._with(weights).decode(codes))

    def misfit(
        self,
        weights: dict[str, Any],
        codes: Float[Array, "batch z"],
        images: Float[Array, "batch n n n"],
    ) -> Float[Array, " batch"]:
        """Compute how far the images of codes are from given ones, the equation of the module.

        Args:
            weights: weights as from :meth:`init`.
            codes: numbers from -1 to 1.
            images: images without a unit.

        Returns:
            The cross entropy of each image, less that of one that is reproduced exactly.
        """
        return jnp.sum(_cross_entropy(images, self._with(weights).decode(codes)), axis=(1, 2, 3))

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
        image = self.image(item)[None]
        return self.misfit(weights, self.encode(weights, image), image)[0]

    def _with(self, weights: dict[str, Any]) -> Any:
        """The network with these weights."""
        return nnx.merge(_skeleton(self), weights)


@jax.custom_vjp
def _cross_entropy(p: Float[Array, "..."], logit: Float[Array, "..."]) -> Array:
    """Cross entropy of a voxel and the logistic function of an output, less its least value."""
    p = jnp.clip(p, 0.0, 1.0)
    entropy = jax.scipy.special.xlogy(p, p) + jax.scipy.special.xlogy(1.0 - p, 1.0 - p)
    logistic = jnp.maximum(logit, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(logit)))
    return logistic - p * logit + entropy


def _forward(p: Array, logit: Array) -> tuple[Array, tuple[Array, Array]]:
    """The value, and what its derivative needs."""
    return _cross_entropy(p, logit), (p, logit)


def _backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    """The derivative by the output; the image is data, and has none."""
    p, logit = saved
    return jnp.zeros_like(p), cotangent * (jax.nn.sigmoid(logit) - jnp.clip(p, 0.0, 1.0))


# Automatic differentiation through the logarithms takes a third of the time of a training.
_cross_entropy.defvjp(_forward, _backward)


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
