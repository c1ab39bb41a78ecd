"""Networks of `rigidity.py`: 16-16 without biases, side by side with a committee, in float64."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from optax.contrib import reduce_on_plateau
from rigidity_systems import rms

from jaxrecon import Environments
from jaxrecon.models.local.base import Features, known_offsets
from jaxrecon.models.local.inputs import Standard
from jaxrecon.models.local.network import AtomicNetworks, NetworkModel
from jaxrecon.models.perceptron import Architecture

HIDDEN = (16, 16)
"""Units of the hidden layers."""

REGULARIZER = 1e-3
"""Regulariser mu of the weights, for energies per atom in units of their standard deviation."""

RATE, BATCH, EPOCHS, PATIENCE = 5e-3, 25, 100, 5
"""Learning rate of Adam, structures in a step, epochs, and those after which the rate halves."""

BLOCK = 1024
"""Number of atoms whose derivatives are in memory together."""


class Networks(NamedTuple):
    """A network, and its committee.

    Attributes:
        model: the network that has learned all structures.
        error: root mean square error of test energies in eV/atom.
        learned: the same of the structures that it has learned.
        variance: variance of the energy of each test atom over the committee, in eV^2.
    """

    model: NetworkModel
    error: float
    learned: float
    variance: Float[np.ndarray, " n"]


def fit(
    train: Environments, test: Environments, activation: str, members: int, epochs: int = EPOCHS
) -> Networks:
    """Fit a network, and the members of its committee to structures drawn with replacement.

    The loss is that of which the rigidity tells the curvature: the sum of squared errors of
    energies per atom, plus mu times the squared length of the weights. All structures have as many
    atoms.

    Args:
        train: what is learned.
        test: other structures.
        activation: activation of the hidden layers; ``"identity"`` for none.
        members: number of members, besides the network that learns all structures.
        epochs: number of passes over the structures.

    Returns:
        The network, and what the members say of the test structures.
    """
    assert train.totals is not None
    assert test.totals is not None
    descriptor = train.descriptor
    networks = AtomicNetworks(
        Architecture((descriptor.size, *HIDDEN, 1), activation, bias=False), 1
    )
    offsets = known_offsets(train)
    standard = Standard.of(train)
    count = len(train.totals)
    often = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), members)
    often = np.concatenate([np.ones((1, count)), often])
    with jax.enable_x64(True):
        inputs = standard.inputs(jnp.asarray(train.rows, jnp.float64)).reshape(
            count, -1, descriptor.size
        )
        width = float(standard.width)
        wanted = jnp.asarray(train.totals / inputs.shape[1] - offsets[0]) / width
        weights = jax.vmap(networks.init)(jax.random.split(jax.random.key(0), members + 1))
        weights = jax.tree.map(lambda array: jnp.asarray(array, jnp.float64), weights)
        weights = _fitted(networks, weights, inputs, wanted, jnp.asarray(often), epochs)
        model = NetworkModel(descriptor, offsets, networks, weights, standard)
        blocks = []
        for start in range(0, len(test), BLOCK):
            part = slice(start, start + BLOCK)
            rows = jnp.asarray(test.rows[part], jnp.float64)
            blocks.append(np.asarray(model.members(rows, jnp.asarray(test.kinds[part]))))
        found = np.concatenate(blocks, axis=1)
        first = NetworkModel(
            descriptor,
            offsets,
            networks,
            jax.tree.map(lambda array: np.asarray(array[:1]), weights),
            standard,
        )
    errors = [
        rms((first.totals(part) - part.totals) / part.counts.sum(axis=1)) for part in (test, train)
    ]
    return Networks(first, *errors, np.var(found[1:], axis=0, ddof=1))


def rigidities(
    features: Features, train: Environments, test: Environments, regularizer: float
) -> Float[np.ndarray, " n"]:
    r"""Local prediction rigidities of more weights than there are structures.

    By the identity of Woodbury
    :math:`\mu\, g^T H^{-1} g = g^T g - (G g)^T (G G^T + \mu)^{-1} G g`, a matrix of the size of the
    training set.

    Args:
        features: derivatives of energies by weights.
        train: what was learned.
        test: other structures.
        regularizer: :math:`\mu` in the squared unit of the features.

    Returns:
        The rigidity of each test atom.
    """
    assert train.totals is not None
    sums = np.zeros((len(train.totals), 0))
    for start, block in _evaluated(features, train):
        if not sums.size:
            sums = np.zeros((len(train.totals), block.shape[1]))
        np.add.at(sums, train.owner[start : start + len(block)], block)
    means = sums / train.counts.sum(axis=1)[:, None]
    lower = np.linalg.cholesky(means @ means.T + regularizer * np.eye(len(means)))
    found = []
    for _, block in _evaluated(features, test):
        projected = np.linalg.solve(lower, means @ block.T)
        squares = np.sum(block**2, axis=1) - np.sum(projected**2, axis=0)
        found.append(regularizer / squares)
    return np.concatenate(found)


def _evaluated(features: Features, known: Environments) -> Any:
    """The features of all atoms in float64, block by block."""
    with jax.enable_x64(True):
        evaluate = jax.jit(lambda rows, kinds: features(rows, kinds))
        for start in range(0, len(known), BLOCK):
            part = slice(start, start + BLOCK)
            rows = jnp.asarray(known.rows[part], jnp.float64)
            yield start, np.asarray(evaluate(rows, jnp.asarray(known.kinds[part])))


@partial(jax.jit, static_argnums=(0, 5))
def _fitted(
    networks: AtomicNetworks,
    weights: Any,
    inputs: Float[Array, "s a f"],
    wanted: Float[Array, " s"],
    often: Float[Array, "m s"],
    epochs: int,
) -> Any:
    """Run Adam, whose rate halves while the loss of an epoch does not fall."""
    count, atoms, _ = inputs.shape
    steps = count // BATCH
    optimiser = optax.chain(
        optax.adam(RATE),
        reduce_on_plateau(factor=0.5, patience=PATIENCE, rtol=1e-3, accumulation_size=steps),
    )

    def energies(own: Any, some: Float[Array, "b a f"]) -> Float[Array, " b"]:
        rows = some.reshape(-1, some.shape[-1])
        kinds = jnp.zeros(len(rows), int)
        of_atoms = jax.vmap(networks, (None, 0, 0))(own, rows, kinds)
        return of_atoms.reshape(-1, atoms).mean(axis=1)

    def loss(weights: Any, chosen: Int[Array, " b"]) -> Float[Array, ""]:
        found = jax.vmap(energies, (0, None))(weights, inputs[chosen])
        misses = often[:, chosen] * (found - wanted[chosen][None]) ** 2
        lengths = sum(jnp.sum(array**2) for array in jax.tree.leaves(weights))
        return jnp.sum(misses) + REGULARIZER * lengths * len(chosen) / count

    def step(carry: tuple[Any, Any], chosen: Int[Array, " b"]) -> tuple[tuple[Any, Any], None]:
        weights, state = carry
        value, gradient = jax.value_and_grad(loss)(weights, chosen)
        updates, state = optimiser.update(gradient, state, weights, value=value)
        return (optax.apply_updates(weights, updates), state), None

    def epoch(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], None]:
        order = jax.random.permutation(key, count)[: steps * BATCH].reshape(steps, BATCH)
        return jax.lax.scan(step, carry, order)[0], None

    keys = jax.random.split(jax.random.key(1), epochs)
    (weights, _), _ = jax.lax.scan(epoch, (weights, optimiser.init(weights)), keys)
    return weights
