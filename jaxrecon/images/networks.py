"""The networks of autoencoders of images: patches of voxels, or convolutions."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

PATCH = 4
"""Number of voxels along an edge of a patch, and of a kernel."""

SLOPE = 0.2
"""Slope of the activation for negative numbers."""

EMPTY = -4.0
"""Initial bias of the output: most voxels are almost empty."""

FULL = jax.lax.Precision.HIGHEST
"""Precision of products: accelerators would round float32 factors to 10 bits otherwise."""


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
