"""Inputs: environments as networks see them, standardised, one by one or structure by structure."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxrecon.datasets.labelled import split_trajectories
from jaxrecon.models.config import FitConfig
from jaxrecon.models.local.base import offsets_of
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.sparse_kernel import amplitude_of
from jaxrecon.models.local.system import learned
from jaxrecon.potentials.single_points import rounded
from jaxrecon.pytrees import register_dataclass


class Item(NamedTuple):
    """Atoms with what is known of their energies; a structure, or a single atom.

    Attributes:
        inputs: standardised rows.
        kinds: index of the element of each atom.
        mask: false for padding.
        local: local energies without the mean of the element, in units of ``width``.
        total: the same for the sum, divided by the number of atoms.
        weights: 1 or 0 for local energies and for the total: whether they are learned.
    """

    inputs: Float[Array, "*n a f"]
    kinds: Int[Array, "*n a"]
    mask: Bool[Array, "*n a"]
    local: Float[Array, "*n a"]
    total: Float[Array, "*n"]
    weights: Float[Array, "*n 2"]


@register_dataclass
@dataclass(frozen=True, eq=False)
class Standard:
    """How rows and energies are standardised.

    Attributes:
        centre: mean of each number of the rows.
        scale: one over the standard deviation of each number.
        width: unit of the energies in eV.
    """

    centre: Float[np.ndarray | Array, " f"]
    scale: Float[np.ndarray | Array, " f"]
    width: Float[np.ndarray | Array, ""]

    @classmethod
    def of(cls, environments: Environments) -> "Standard":
        """Standardise by these environments."""
        centre = environments.rows.mean(axis=0, dtype=np.float64)
        unit = amplitude_of(environments, offsets_of(environments))
        return cls(centre, environments.inverse_widths, np.asarray(unit))

    def inputs(self, rows: Float[Array, "n f"]) -> Float[Array, "n f"]:
        """Standardise rows in their own precision."""
        centre, scale = (jnp.asarray(part, rows.dtype) for part in (self.centre, self.scale))
        return (rows - centre[None]) * scale[None]


def items_of(environments: Environments, standard: Standard, config: LocalConfig) -> Item:
    """Prepare environments for a network: single atoms if no totals are learned.

    Args:
        environments: the atoms.
        standard: how they are standardised.
        config: settings, of which ``targets`` is used.

    Returns:
        Arrays whose first axis is that of the examples, in float32.
    """
    local, total = learned(environments, config)
    offsets, width = offsets_of(environments), float(standard.width)
    inputs = (environments.rows - standard.centre) * standard.scale
    energies = np.zeros(len(environments))
    if local:
        assert environments.energies is not None, "checked before"
        energies = (environments.energies - offsets[environments.kinds]) / width
    if not total:
        return Item(
            jnp.asarray(inputs[:, None], jnp.float32),
            jnp.asarray(environments.kinds[:, None], int),
            jnp.ones((len(inputs), 1), bool),
            jnp.asarray(energies[:, None], jnp.float32),
            jnp.zeros(len(inputs), jnp.float32),
            jnp.tile(jnp.asarray([1.0, 0.0], jnp.float32), (len(inputs), 1)),
        )
    assert environments.totals is not None, "checked before"
    sizes, spread = np.bincount(environments.owner), partial(by_structure, environments.owner)
    sums = (environments.totals - environments.counts @ offsets) / (width * sizes)
    return Item(
        jnp.asarray(spread(inputs.astype(np.float32))),
        jnp.asarray(spread(environments.kinds), int),
        jnp.asarray(spread(np.ones(len(inputs), bool))),
        jnp.asarray(spread(energies), jnp.float32),
        jnp.asarray(sums, jnp.float32),
        jnp.tile(jnp.asarray([float(local), 1.0], jnp.float32), (len(sizes), 1)),
    )


def by_structure(
    owner: Int[np.ndarray, " n"], values: Shaped[np.ndarray, "n ..."]
) -> Shaped[np.ndarray, "s a ..."]:
    """Spread values of atoms over their structures, padded with zeros.

    Args:
        owner: index of the structure of each atom, ascending; each structure has one.
        values: a value of each atom.

    Returns:
        The values structure by structure, with one of few numbers a of atoms, so that similar
        structures share a program.
    """
    sizes = np.bincount(owner)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    whole = np.zeros((len(sizes), rounded(int(sizes.max())), *values.shape[1:]), values.dtype)
    whole[owner, place] = values
    return whole


def split(
    environments: Environments, single: bool, config: LocalConfig
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " v"]]:
    """Split examples into training and validation examples, by trajectory where there are several.

    Args:
        environments: the atoms.
        single: whether examples are atoms; else they are structures.
        config: settings, of which ``validation`` and ``seed`` are used.

    Returns:
        Indices of the training examples and of the validation examples.

    Raises:
        ValueError: if there are fewer than two examples.
    """
    member = environments.trajectories
    if single:
        member = member[environments.owner]
    if len(member) < 2:
        raise ValueError(f"expected at least two examples to learn from, got {len(member)}")
    # The examples of a single trajectory are split one by one.
    if len(np.unique(member)) < 2:
        member = np.arange(len(member))
    return split_trajectories(member, config.validation, config.seed)


def training_count(config: LocalConfig, count: int) -> int:
    """The number of training examples that the settings ask for, the same for all folds of a size.

    The actual number differs a little where a trajectory is not split: what is compiled must not
    depend on it.

    Args:
        config: settings of the model.
        count: number of examples, those of validation among them.
    """
    return max(1, count - round(config.validation * count))


def fit_settings(config: LocalConfig, count: int) -> FitConfig:
    """Choose the number of passes over a number of training examples.

    Args:
        config: settings of the model.
        count: number of training examples, from :func:`training_count`.

    Returns:
        Settings of the fit.
    """
    batch = min(config.batch, max(1, count // 8))
    epochs = max(1, min(config.epochs, config.steps * batch // count))
    return FitConfig(config.layers, config.hidden, config.learning_rate, epochs, batch)
