r"""A generator of crystals on top of the codes of their images.

As in Noh et al., Matter 1, 1370 (2019), the codes of the cell and of all elements are the channels
of one sequence, which a variational autoencoder makes from a latent vector z. It is fitted by
minimising the mean squared error of a number, with the Kullback-Leibler divergence of the latent
distribution from the standard normal one and the cross entropy of a classifier,

.. math:: \langle (c - \hat c)^2 \rangle + 10^{-6} D_{KL} + 5 \cdot 10^{-7} H,

which says from z whether the formation energy of the crystal is at most 0.5 eV/atom.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.images.image import Image
from jaxrecon.images.training import ImageModel
from jaxrecon.models.config import FitConfig
from jaxrecon.models.fitting import fit
from jaxrecon.runtime.progress import ProgressFn

STABLE = 0.5
"""Largest formation energy in eV/atom of a crystal that the classifier calls stable."""

DIVERGENCE, CLASSIFICATION = 1e-6, 5e-7
"""Weights of the divergence and of the cross entropy in the loss."""

KERNEL, STRIDE, TIMES = 4, 2, 3
"""Kernel, stride and number of the convolutions along the sequence."""

SLOPE = 0.2
"""Slope of the activation for negative numbers."""

FULL = jax.lax.Precision.HIGHEST
"""Precision of products: accelerators would round float32 factors to 10 bits otherwise."""


@dataclass(frozen=True)
class MaterialsNetwork:
    """The autoencoder of codes and its classifier without weights; hashable.

    Attributes:
        channels: number of channels of the sequence: one for the cell and one for each element.
        length: its length, a multiple of 8.
        latent: number of dimensions of the latent space.
        width: number of channels of the convolutions.
        inner: number of channels of the shortest sequence.
        hidden: number of units of the classifier.

    Raises:
        ValueError: if the length is no multiple of 8.
    """

    channels: int
    length: int = 200
    latent: int = 500
    width: int = 100
    inner: int = 50
    hidden: int = 500

    def __post_init__(self) -> None:
        if self.length % STRIDE**TIMES or self.length <= 0:
            raise ValueError(
                f"expected basis_code to be a multiple of {STRIDE**TIMES}, got {self.length}"
            )

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights.

        Args:
            key: random key.

        Returns:
            The weights as nested dictionaries of arrays.
        """
        return nnx.to_pure_dict(nnx.state(_Layers(self, rngs=nnx.Rngs(key))))

    def encode(
        self, weights: dict[str, Any], sequences: Float[Array, "batch length channels"]
    ) -> tuple[Float[Array, "batch z"], Float[Array, "batch z"]]:
        """Compute the distributions of latent vectors.

        Args:
            weights: weights as from :meth:`init`.
            sequences: sequences of codes.

        Returns:
            Means and logarithms of variances.
        """
        network: Any = nnx.merge(_skeleton(self), weights)
        return network.encode(sequences)

    def decode(
        self, weights: dict[str, Any], latent: Float[Array, "batch z"]
    ) -> Float[Array, "batch length channels"]:
        """Compute the sequences of latent vectors.

        Args:
            weights: weights as from :meth:`init`.
            latent: latent vectors.

        Returns:
            Sequences of codes, from -1 to 1.
        """
        network: Any = nnx.merge(_skeleton(self), weights)
        return network.decode(latent)

    def classify(
        self, weights: dict[str, Any], latent: Float[Array, "batch z"]
    ) -> Float[Array, " batch"]:
        """Compute the logits of the classifier: above 0, a crystal is more likely stable.

        Args:
            weights: weights as from :meth:`init`.
            latent: latent vectors.

        Returns:
            Logarithms of odds.
        """
        network: Any = nnx.merge(_skeleton(self), weights)
        return network.classify(latent)

    def loss(
        self,
        weights: dict[str, Any],
        key: PRNGKeyArray,
        item: tuple[Float[Array, "length channels"], Float[Array, ""]],
    ) -> Float[Array, ""]:
        """Compute the loss of one example, the equation of the module.

        Args:
            weights: weights as from :meth:`init`.
            key: random key of the latent vector.
            item: the sequence of a crystal, and 1 if it is stable, 0 if it is not, -1 where this is
                unknown.

        Returns:
            The loss.
        """
        sequence, stable = item
        mean, log_variance = self.encode(weights, sequence[None])
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        latent = mean + jnp.exp(log_variance / 2.0) * noise
        error = jnp.mean((self.decode(weights, latent)[0] - sequence) ** 2)
        divergence = -0.5 * jnp.sum(1.0 + log_variance - mean**2 - jnp.exp(log_variance))
        logit = self.classify(weights, latent)[0]
        entropy = jnp.where(stable < 0.0, 0.0, jnp.logaddexp(0.0, logit) - stable * logit)
        return error + DIVERGENCE * divergence + CLASSIFICATION * entropy


@dataclass(frozen=True, eq=False)
class Materials:
    """A fitted generator with the autoencoders whose codes it makes.

    Attributes:
        model: the autoencoders of the images.
        network: the generator without weights.
        weights: its weights.
        losses: mean training and validation loss of each epoch.
    """

    model: ImageModel
    network: MaterialsNetwork
    weights: dict[str, Any]
    losses: Float[np.ndarray, "epochs 2"]

    def latent(self, images: Sequence[Image]) -> Float[np.ndarray, "batch z"]:
        """Compute the latent vectors of images: the means of their distributions.

        Args:
            images: images with the elements and parameters of the model.

        Returns:
            One vector for each image.

        Raises:
            ValueError: if an image has other elements or parameters.
        """
        sequences = sequences_of(self.model, self.model.encode(images))
        return np.asarray(_applied(self.network, "encode", self.weights, sequences)[0])

    def images(self, latent: Float[np.ndarray, "batch z"]) -> list[Image]:
        """Make the images of latent vectors.

        Args:
            latent: the vectors.

        Returns:
            One image for each vector, for :func:`~jaxrecon.images.decode.decode`.
        """
        vectors = np.asarray(latent, np.float32)
        sequences = np.asarray(_applied(self.network, "decode", self.weights, vectors))
        return self.model.decode(_codes_of(self.model, sequences))

    def stability(self, latent: Float[np.ndarray, "batch z"]) -> Float[np.ndarray, " batch"]:
        """Estimate how likely crystals are stable.

        Args:
            latent: latent vectors.

        Returns:
            Probabilities of a formation energy of at most 0.5 eV/atom.
        """
        vectors = np.asarray(latent, np.float32)
        logits = np.asarray(_applied(self.network, "classify", self.weights, vectors), np.float64)
        return 1.0 / (1.0 + np.exp(-logits))


def train_materials(
    model: ImageModel,
    images: Sequence[Image],
    formation_energies: Float[np.ndarray, " n"],
    *,
    network: MaterialsNetwork | None = None,
    epochs: int = 200,
    batch: int = 32,
    learning_rate: float = 3e-4,
    validation: float = 0.1,
    seed: int = 0,
    folder: Path | None = None,
    report: ProgressFn = lambda epochs, examples: None,
) -> Materials:
    """Fit the generator to the codes of images.

    Args:
        model: the autoencoders that make the codes.
        images: images of crystals, with the elements and parameters of the model.
        formation_energies: their formation energies in eV/atom; not a number where one is unknown.
        network: the generator without weights; None for the published sizes.
        epochs: number of passes over the training examples.
        batch: number of examples per step.
        learning_rate: learning rate of Adam, which falls to 0 along half a cosine.
        validation: fraction of the examples that chooses the best epoch.
        seed: seed of the choice of these, the initial weights, the order and the draws.
        folder: folder of checkpoints, from which an interrupted fit continues; None for none.
        report: called after each chunk of epochs with the epochs and examples since its last call.

    Returns:
        The fitted generator.

    Raises:
        ValueError: if numbers of images and energies differ, there are fewer than 10 images, the
            length of the codes is no multiple of 8, the network is for other codes, or the folder
            belongs to another fit.
        OSError: if a checkpoint can't be written.
    """
    if len(images) != len(formation_energies):
        raise ValueError(
            f"expected {len(images)} formation energies, got {len(formation_energies)}"
        )
    if len(images) < 10:
        raise ValueError(f"expected at least 10 images to learn from, got {len(images)}")
    published = MaterialsNetwork(len(model.elements) + 1, model.config.basis_code)
    network = network or published
    if (network.channels, network.length) != (published.channels, published.length):
        raise ValueError(
            f"expected a network for {published.channels} channels of {published.length} numbers, "
            f"got {network.channels} of {network.length}"
        )
    energies = np.asarray(formation_energies, np.float32)
    stable = np.where(np.isfinite(energies), energies <= STABLE, -1.0).astype(np.float32)
    items = jnp.asarray(sequences_of(model, model.encode(images))), jnp.asarray(stable)
    order = np.random.default_rng(seed).permutation(len(images))
    count = max(1, round(validation * len(images)))
    fitted = fit(
        network,
        items,
        order[None, count:],
        order[None, :count],
        FitConfig(layers=1, hidden=1, learning_rate=learning_rate, epochs=epochs, batch=batch),
        seed=seed,
        decay=True,
        folder=folder,
        report=report,
    )
    weights = jax.tree.map(lambda array: np.asarray(array[0]), fitted.weights)
    return Materials(model, network, weights, np.asarray(fitted.losses[0]))


def energies_of(structures: Sequence[Atoms], name: str) -> Float[np.ndarray, " n"]:
    """Read formation energies from the ``info`` of crystals.

    Args:
        structures: the crystals.
        name: name of the energies, in eV/atom.

    Returns:
        The energies; not a number where a crystal has none.

    Raises:
        ValueError: if no crystal has a number of this name.
    """
    given = [atoms.info.get(name) for atoms in structures]
    energies = np.array([x if isinstance(x, int | float) else np.nan for x in given])
    if not np.isfinite(energies).any():
        raise ValueError(f"expected formation energies named {name} in the files, got none")
    return energies


def sequences_of(
    model: ImageModel, codes: Float[np.ndarray, "batch z"]
) -> Float[np.ndarray, "batch length channels"]:
    """Arrange codes as sequences: that of the cell, filled up with zeros, and of each element.

    Args:
        model: the autoencoders that made the codes.
        codes: one row for each crystal.

    Returns:
        The sequences, with a channel for the cell and one for each element.
    """
    cell, length = model.config.cell_code, model.config.basis_code
    cells = np.pad(codes[:, :cell], ((0, 0), (0, max(0, length - cell))))[:, :length]
    atoms = codes[:, cell:].reshape(len(codes), -1, length)
    sequences = np.concatenate([cells[:, None], atoms], axis=1)
    return np.ascontiguousarray(sequences.transpose(0, 2, 1), np.float32)


def _codes_of(
    model: ImageModel, sequences: Float[np.ndarray, "batch length channels"]
) -> Float[np.ndarray, "batch z"]:
    """The codes of sequences: the inverse of :func:`sequences_of`."""
    cells = sequences[:, : model.config.cell_code, 0]
    atoms = sequences[:, :, 1:].transpose(0, 2, 1).reshape(len(sequences), -1)
    return np.concatenate([cells, atoms], axis=1)


class _Layers(nnx.Module):
    """All layers of the generator and its classifier."""

    def __init__(self, network: MaterialsNetwork, *, rngs: nnx.Rngs) -> None:
        one = network
        self.short = one.length // STRIDE**TIMES
        linear = partial(nnx.Linear, precision=FULL, rngs=rngs)
        common: dict[str, Any] = {"padding": "SAME", "precision": FULL, "rngs": rngs}
        kernel, stride = (KERNEL,), (STRIDE,)
        ends = [one.channels, *[one.width] * TIMES]
        self.down = nnx.List(
            [nnx.Conv(end, one.width, kernel, strides=stride, **common) for end in ends[:-1]]
        )
        self.narrow = nnx.Conv(one.width, one.inner, (1,), **common)
        self.inner = linear(self.short * one.inner, 2 * one.latent)
        self.outer = linear(one.latent, self.short * one.inner)
        self.widen = nnx.Conv(one.inner, one.width, (1,), **common)
        self.up = nnx.List(
            [
                nnx.ConvTranspose(one.width, end, kernel, strides=stride, **common)
                for end in reversed(ends[:-1])
            ]
        )
        self.seen, self.said = linear(one.latent, one.hidden), linear(one.hidden, 1)

    def encode(self, values: Array) -> tuple[Array, Array]:
        """Means and logarithms of variances."""
        for layer in (*self.down, self.narrow):
            values = nnx.leaky_relu(layer(values), SLOPE)
        mean, log_variance = jnp.split(self.inner(values.reshape(len(values), -1)), 2, axis=1)
        return mean, log_variance

    def decode(self, latent: Array) -> Array:
        """Sequences from -1 to 1."""
        values = nnx.leaky_relu(self.outer(latent), SLOPE)
        values = self.widen(values.reshape(len(latent), self.short, -1))
        for layer in self.up:
            values = layer(nnx.leaky_relu(values, SLOPE))
        return jnp.tanh(values)

    def classify(self, latent: Array) -> Array:
        """Logits."""
        return self.said(jnp.tanh(self.seen(latent)))[:, 0]


@lru_cache
def _skeleton(network: MaterialsNetwork) -> Any:
    """The graph of the layers without arrays, which never changes."""
    return nnx.graphdef(nnx.eval_shape(lambda: _Layers(network, rngs=nnx.Rngs(0))))


@partial(jax.jit, static_argnums=(0, 1))
def _applied(network: MaterialsNetwork, direction: str, weights: Any, array: Any) -> Any:
    """Encode, decode or classify under ``jit``."""
    return getattr(network, direction)(weights, array)
