"""NetworkModel: a network for the atoms of each element, as of Behler and Parrinello.

Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), on rows of any descriptor, with
continuously differentiable exponential linear units as in Gardner et al., Digital Discovery 2, 651
(2023).
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.fitting import fit
from jaxrecon.models.local.base import LocalModel, known_offsets
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.inputs import (
    Item,
    Standard,
    fit_settings,
    items_of,
    split,
    training_count,
)
from jaxrecon.models.local.system import learned, without_unused
from jaxrecon.models.perceptron import Architecture
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn

CHUNK = 5
"""Number of epochs between two reports."""


@dataclass(frozen=True)
class AtomicNetworks:
    """One perceptron for each element; hashable, so static under ``jit``.

    Attributes:
        network: the perceptron of an element, with one output.
        elements: number of elements.
    """

    network: Architecture
    elements: int

    @classmethod
    def of(cls, descriptor: Descriptor, config: LocalConfig) -> "AtomicNetworks":
        """Choose the layers from the settings.

        Args:
            descriptor: the descriptor of the rows.
            config: settings of the model.

        Returns:
            The networks without their weights.
        """
        sizes = (descriptor.size, *[config.hidden] * config.layers, 1)
        return cls(Architecture(sizes, "celu", config.dropout), len(descriptor.species))

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights, those of the elements along the first axis."""
        return jax.vmap(self.network.init)(jax.random.split(key, self.elements))

    def __call__(
        self,
        weights: dict[str, Any],
        inputs: Float[Array, " f"],
        kind: Int[Array, ""],
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, ""]:
        """Compute the standardised energy of one atom."""
        if self.elements == 1:
            own = jax.tree.map(lambda array: array[0], weights)
            return self.network(own, inputs, key)[0]
        # All networks and a choice: gathering the weights of each atom would cost more.
        found = jax.vmap(lambda own: self.network(own, inputs, key)[0])(weights)
        return jnp.sum(jnp.where(jnp.arange(self.elements) == kind, found, 0.0))

    def loss(self, weights: dict[str, Any], key: PRNGKeyArray, item: Item) -> Float[Array, ""]:
        """Compute the loss of the atoms of one example.

        Args:
            weights: weights as from :meth:`init`.
            key: random key of dropout.
            item: a structure, or a single atom.

        Returns:
            The mean squared error of the local energies, plus that of the total energy per atom.
        """
        atoms = len(item.kinds)
        keys = jax.random.split(key, atoms) if self.network.dropout else None
        axes = (None, 0, 0, None if keys is None else 0)
        found = jax.vmap(self, axes)(weights, item.inputs, item.kinds, keys)
        found = jnp.where(item.mask, found, 0.0)
        count = jnp.sum(item.mask).astype(found.dtype)
        squares = jnp.where(item.mask, found - item.local, 0.0) ** 2
        miss = jnp.sum(found) / count - item.total
        return item.weights[0] * jnp.sum(squares) / count + item.weights[1] * miss**2


@register_dataclass
@dataclass(frozen=True, eq=False)
class LastLayer:
    """The values of the last hidden layer, which the last layer adds up to an energy.

    Attributes:
        networks: the networks without their weights.
        weights: weights of one member.
        standard: how rows and energies are standardised.
    """

    networks: AtomicNetworks = field(metadata={"static": True})
    weights: dict[str, Any]
    standard: Standard

    def __call__(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n m"]:
        """Compute the values for rows in eV, and one for a bias, apart for each element."""
        inputs = self.standard.inputs(rows)
        hidden = jax.vmap(jax.vmap(self.networks.network.hidden, (None, 0)), (0, None))
        values = jnp.moveaxis(hidden(self.weights, inputs), 0, 1)
        if self.networks.network.bias:
            values = jnp.concatenate([values, jnp.ones_like(values[:, :, :1])], axis=2)
        own = kinds[:, None] == jnp.arange(self.networks.elements, dtype=kinds.dtype)[None]
        width = jnp.asarray(self.standard.width, rows.dtype)
        return width * jnp.where(own[:, :, None], values, 0.0).reshape(len(rows), -1)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Tangents(LastLayer):
    """The derivatives of an energy by all weights: of a network made linear around them."""

    def __call__(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n w"]:
        """Compute the derivatives for rows in eV."""
        weights = jax.tree.map(lambda array: jnp.asarray(array, rows.dtype), self.weights)

        def of_atom(inputs: Float[Array, " f"], kind: Int[Array, ""]) -> Float[Array, " w"]:
            return ravel_pytree(jax.grad(self.networks)(weights, inputs, kind))[0]

        found = jax.vmap(of_atom)(self.standard.inputs(rows), kinds)
        return jnp.asarray(self.standard.width, rows.dtype) * found


@register_dataclass
@dataclass(frozen=True, eq=False)
class NetworkModel(LocalModel):
    """An ensemble of networks for local energies.

    Attributes:
        networks: the networks without their weights.
        weights: weights of all members, stacked along the first axis.
        standard: how rows and energies are standardised.
    """

    networks: AtomicNetworks = field(metadata={"static": True})
    weights: dict[str, Any]
    standard: Standard

    @classmethod
    def fit(
        cls,
        environments: Environments,
        config: LocalConfig | None = None,
        *,
        start: "NetworkModel | None" = None,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "NetworkModel":
        """Fit the networks to local energies, totals or both.

        Args:
            environments: what to learn from.
            config: settings; ``targets`` chooses what is learned.
            start: a model to begin with, such as one that has learned synthetic energies, with as
                many members; its layers are kept. None for random weights.
            report: called after some epochs with the epochs and examples since its last call.

        Returns:
            The fitted model.

        Raises:
            ValueError: if what the settings name is not known, forces are to be learned, there are
                fewer than two examples, or the model to begin with has another descriptor or number
                of members.
        """
        config = config or LocalConfig()
        if start is not None:
            _check_start(start, environments, config)
        if config.forces:
            raise ValueError(
                "expected forces=False for a network, got True: a kernel learns forces"
            )
        environments = without_unused(environments, config)
        offsets, standard = known_offsets(environments), Standard.of(environments)
        networks = AtomicNetworks.of(environments.descriptor, config)
        if start is not None:
            # The weights belong to the standardised rows and the unit of energy that they know.
            standard, networks = start.standard, start.networks
        items = items_of(environments, standard, config)
        training, validation = split(environments, not learned(environments, config)[1], config)
        count = training_count(config, len(items.kinds))
        found = fit(
            networks,
            items,
            np.tile(training, (config.members, 1)),
            np.tile(validation, (config.members, 1)),
            fit_settings(config, count),
            seed=config.seed,
            decay=True,
            chunk=CHUNK,
            start=None if start is None else start.weights,
            report=report,
        )
        return cls(environments.descriptor, offsets, networks, found.weights, standard)

    def members(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "k n"]:
        """Compute the energies that each member gives, without the mean of the element, in eV.

        Args:
            rows: rows of the atoms.
            kinds: index of the element of each atom.
        """
        inputs = self.standard.inputs(rows)
        of_atoms = jax.vmap(self.networks, (None, 0, 0))
        found = jax.vmap(of_atoms, (0, None, None))(self.weights, inputs, kinds)
        return found * jnp.asarray(self.standard.width, rows.dtype)

    def last_features(self) -> LastLayer:
        """The values of the last hidden layer of the first member; see the base class."""
        first = jax.tree.map(lambda array: array[0], self.weights)
        return LastLayer(self.networks, first, self.standard)

    def all_features(self) -> Tangents:
        """The derivatives by all weights of the first member; see the base class."""
        last = self.last_features()
        return Tangents(last.networks, last.weights, last.standard)

    def deviations(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """The mean over the members; see the base class."""
        return self.members(rows, kinds).mean(axis=0)


def _check_start(start: NetworkModel, environments: Environments, config: LocalConfig) -> None:
    """Check that networks can begin with those of another model."""
    if start.descriptor != environments.descriptor:
        raise ValueError(
            f"expected environments of the descriptor of start, {start.descriptor}, got "
            f"{environments.descriptor}"
        )
    count = len(jax.tree.leaves(start.weights)[0])
    if count != config.members:
        raise ValueError(
            f"expected as many members as start has, {count}, got members={config.members}"
        )
