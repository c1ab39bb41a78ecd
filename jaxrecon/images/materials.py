"""A generator of crystals on top of the codes of their images, and its training.

:mod:`jaxrecon.images.materials_network` has its networks and its loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float

from jaxrecon.images.image import Image
from jaxrecon.images.materials_network import MaterialsNetwork
from jaxrecon.images.training import ImageModel
from jaxrecon.models.config import FitConfig
from jaxrecon.models.fitting import fit
from jaxrecon.runtime.progress import ProgressFn

STABLE = 0.5
"""Largest formation energy in eV/atom of a crystal that the classifier calls stable."""


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

    def latent(self, codes: Float[np.ndarray, "batch code"]) -> Float[np.ndarray, "batch z"]:
        """Compute the latent vectors of crystals: the means of their distributions.

        Args:
            codes: codes of their images, as from the autoencoders.

        Returns:
            One vector for each crystal.
        """
        sequences = sequences_of(self.model, codes)
        return np.asarray(_applied(self.network, "encode", self.weights, sequences)[0])

    def images(self, latent: Float[np.ndarray, "batch z"]) -> list[Image]:
        """Make the images of latent vectors.

        Args:
            latent: the vectors.

        Returns:
            One image for each vector, for :func:`~jaxrecon.images.decode.decode`.
        """
        vectors = np.asarray(latent, np.float32)
        sequences = _applied(self.network, "decode", self.weights, vectors)
        cells, atoms = codes_of(sequences, self.model.config.cell_code)
        codes = np.concatenate([cells, atoms.reshape(len(atoms), -1)], axis=1)
        return self.model.decode(codes)

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
    codes: Float[np.ndarray, "n code"],
    formation_energies: Float[np.ndarray, " energies"],
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
    """Fit the generator to the codes of crystals.

    Args:
        model: the autoencoders that made the codes.
        codes: codes of the images of crystals, one row for each.
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
        ValueError: if numbers of crystals and energies differ, there are fewer than 10 crystals,
            the length of the codes is no multiple of 8 or below that of the cell's, the network is
            for other codes, or the folder belongs to another fit.
        OSError: if a checkpoint can't be written.
    """
    if len(codes) != len(formation_energies):
        raise ValueError(f"expected {len(codes)} formation energies, got {len(formation_energies)}")
    if len(codes) < 10:
        raise ValueError(f"expected at least 10 crystals to learn from, got {len(codes)}")
    published = MaterialsNetwork(len(model.elements) + 1, model.config.basis_code)
    if model.config.cell_code > published.length:
        raise ValueError(
            f"expected cell_code of at most basis_code={published.length}, got "
            f"{model.config.cell_code}"
        )
    network = network or published
    if (network.channels, network.length) != (published.channels, published.length):
        raise ValueError(
            f"expected a network for {published.channels} channels of {published.length} numbers, "
            f"got {network.channels} of {network.length}"
        )
    energies = np.asarray(formation_energies, np.float32)
    stable = np.where(np.isfinite(energies), energies <= STABLE, -1.0).astype(np.float32)
    items = jnp.asarray(sequences_of(model, codes)), jnp.asarray(stable)
    order = np.random.default_rng(seed).permutation(len(codes))
    count = max(1, round(validation * len(codes)))
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
    """Arrange codes as sequences: that of the cell, over and over again, and of each element.

    With zeros in the place of repetitions, the cell would hardly count in the loss.

    Args:
        model: the autoencoders that made the codes.
        codes: one row for each crystal.

    Returns:
        The sequences, with a channel for the cell and one for each element.
    """
    cell, length = model.config.cell_code, model.config.basis_code
    cells = codes[:, np.arange(length) % cell]
    atoms = codes[:, cell:].reshape(len(codes), -1, length)
    sequences = np.concatenate([cells[:, None], atoms], axis=1)
    return np.ascontiguousarray(sequences.transpose(0, 2, 1), np.float32)


def codes_of(
    sequences: Float[Array, "batch length channels"], cell_code: int
) -> tuple[Float[Array, "batch cell"], Float[Array, "batch elements length"]]:
    """Take sequences apart: the inverse of :func:`sequences_of`.

    Args:
        sequences: the sequences.
        cell_code: number of numbers that stand for a cell.

    Returns:
        The codes of the cells, the mean of the complete repetitions, and those of the elements.
    """
    batch, length, _ = sequences.shape
    times = length // cell_code
    cells = sequences[:, : times * cell_code, 0].reshape(batch, times, cell_code)
    return cells.mean(axis=1), sequences[:, :, 1:].transpose(0, 2, 1)


@partial(jax.jit, static_argnums=(0, 1))
def _applied(network: MaterialsNetwork, direction: str, weights: Any, array: Any) -> Any:
    """Encode, decode or classify under ``jit``."""
    return getattr(network, direction)(weights, array)
