r"""Linear systems of models that are linear in their weights, streamed over all environments.

A model with features :math:`\phi(x)` of a row predicts :math:`\epsilon = \phi \cdot w`.
Observations y, each with noise :math:`\sigma`, and the prior :math:`w \sim N(0, 1)` give the
weights

.. math:: (1 + \Phi^\mathsf{T} \Sigma^{-2} \Phi)\, w = \Phi^\mathsf{T} \Sigma^{-2} y

A row of :math:`\Phi` is :math:`\phi` for a local energy, the sum of :math:`\phi` over the atoms for
a total energy, and minus the derivative of this sum by a coordinate for a force. Kernels have
whitened features: the matrix then has no eigenvalue below 1, which makes the normal equations as
accurate as a QR decomposition (Foster et al., J. Mach. Learn. Res. 10, 857, 2009, the V method).
Only this matrix is in memory, never :math:`\Phi`.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.featurize import batches
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.local.base import Features, offsets_of
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import BLOCK, Environments
from jaxrecon.numerics import product
from jaxrecon.structures.structure import Structure

DIRECTIONS = 8
"""Number of displacements whose effects on the features are computed together."""


def solve(
    features: Features, count: int, environments: Environments, config: LocalConfig
) -> Float[np.ndarray, " m"]:
    """Find the weights of features.

    Args:
        features: the features, in units of eV.
        count: the number m of features.
        environments: what to learn from.
        config: settings, of which targets and noise are used.

    Returns:
        The weights, without a unit.

    Raises:
        ValueError: if what the settings name is not known.
    """
    matrix, right = normal_equations(features, count, environments, config)
    with jax.enable_x64(True):
        factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
        return np.asarray(jax.scipy.linalg.cho_solve(factor, right))


def normal_equations(
    features: Features, count: int, environments: Environments, config: LocalConfig
) -> tuple[Float[Array, "m m"], Float[Array, " m"]]:
    """Sum the normal equations over all environments.

    Args:
        features: as for :func:`solve`.
        count: as for :func:`solve`.
        environments: as for :func:`solve`.
        config: as for :func:`solve`.

    Returns:
        Matrix and right side of the equations for the weights, in float64.

    Raises:
        ValueError: if what the settings name is not known.
    """
    local, total = learned(environments, config)
    offsets = offsets_of(environments)
    residual = environments.totals
    if residual is not None:
        residual = residual - environments.counts @ offsets
    with jax.enable_x64(True):
        matrix, right = jnp.eye(count), jnp.zeros(count)
        for atoms, structures in _chunks(environments):
            rows, kinds = environments.rows[atoms], environments.kinds[atoms]
            size = 1 << (len(rows) - 1).bit_length()
            room = 1 << (structures.stop - structures.start - 1).bit_length()
            # Padding has no weight: its noise is infinite.
            weights, values = np.zeros(size), np.zeros(size)
            if local:
                assert environments.energies is not None, "checked before"
                weights[: len(rows)] = 1.0 / config.sigma
                values[: len(rows)] = environments.energies[atoms] - offsets[kinds]
            sum_weights, sums = np.zeros(room), np.zeros(room)
            if total:
                assert residual is not None, "checked before"
                some = residual[structures]
                atoms_in = environments.counts[structures].sum(axis=1)
                sum_weights[: len(some)] = 1.0 / (config.sigma_total * np.sqrt(atoms_in))
                sums[: len(some)] = some
            missing = size - len(rows)
            matrix, right = _with_energies(
                matrix,
                right,
                features,
                np.pad(rows.astype(np.float64), ((0, missing), (0, 0))),
                np.pad(kinds, (0, missing)),
                # Padding belongs to no structure.
                np.pad(
                    environments.owner[atoms] - structures.start,
                    (0, missing),
                    constant_values=room,
                ),
                (values, weights) if local else None,
                (sums, sum_weights) if total else None,
            )
        if config.forces:
            matrix, right = _with_forces(matrix, right, features, environments, config)
    return matrix, right


def learned(environments: Environments, config: LocalConfig) -> tuple[bool, bool]:
    """Decide whether local energies and totals are learned.

    Args:
        environments: what to learn from.
        config: settings, of which ``targets`` and ``forces`` are used.

    Returns:
        Whether local energies are learned, and whether totals are.

    Raises:
        ValueError: if what the settings name is not known.
    """
    known = environments.energies is not None, environments.totals is not None
    chosen = config.targets or ("local" if known[0] else "total")
    local, total = chosen in ("local", "both"), chosen in ("total", "both")
    if local and not known[0]:
        raise ValueError(
            "expected local energies to learn from, got none: judge the structures by a calculator "
            'that has them (nequix, tersoff), or set targets="total"'
        )
    if total and not known[1]:
        raise ValueError("expected total energies to learn from, got none: give totals")
    if config.forces and (environments.forces is None or environments.structures is None):
        raise ValueError("expected forces to learn from, got none: give them, or set forces=False")
    return local, total


def without_unused(environments: Environments, config: LocalConfig) -> Environments:
    """Leave local energies out if they are not learned: those of a teacher may be of another kind.

    Args:
        environments: what to learn from.
        config: settings, as for :func:`learned`.

    Returns:
        The environments, whose means of the elements are then those of what is learned.

    Raises:
        ValueError: as :func:`learned`.
    """
    local, _ = learned(environments, config)
    return environments if local else replace(environments, energies=None)


def _chunks(environments: Environments) -> Iterator[tuple[slice, slice]]:
    """Cut environments into whole structures of at most BLOCK atoms, or one that has more."""
    ends = np.searchsorted(environments.owner, np.arange(len(environments.trajectories)), "right")
    first, begin = 0, 0
    while first < len(ends):
        last = max(int(np.searchsorted(ends, begin + BLOCK, "right")), first + 1)
        yield slice(begin, int(ends[last - 1])), slice(first, last)
        first, begin = last, int(ends[last - 1])


@partial(jax.jit, donate_argnums=(0, 1))
def _with_energies(
    matrix: Float[Array, "m m"],
    right: Float[Array, " m"],
    features: Features,
    rows: Float[Array, "n f"],
    kinds: Int[Array, " n"],
    owner: Int[Array, " n"],
    local: tuple[Float[Array, " n"], Float[Array, " n"]] | None,
    total: tuple[Float[Array, " s"], Float[Array, " s"]] | None,
) -> tuple[Float[Array, "m m"], Float[Array, " m"]]:
    """Add the observations of a chunk, each a value and one over its noise."""
    found = features(rows, kinds)
    parts = []
    if local is not None:
        values, weights = local
        parts.append((found * weights[:, None], values * weights))
    if total is not None:
        values, weights = total
        sums = jax.ops.segment_sum(found, owner, len(weights))
        parts.append((sums * weights[:, None], values * weights))
    for weighted, wanted in parts:
        matrix += product(weighted.T, weighted)
        right += product(weighted.T, wanted)
    return matrix, right


def _with_forces(
    matrix: Float[Array, "m m"],
    right: Float[Array, " m"],
    features: Features,
    environments: Environments,
    config: LocalConfig,
) -> tuple[Float[Array, "m m"], Float[Array, " m"]]:
    """Add the forces of all structures."""
    assert environments.structures is not None, "checked before"
    assert environments.forces is not None, "checked before"
    descriptor = environments.descriptor
    first = np.searchsorted(environments.owner, np.arange(len(environments.trajectories)))
    items: list[Atoms] = list(environments.structures)
    for members, several in batches(items, Fingerprint(descriptor)):
        for place, index in enumerate(members):
            structure = jax.tree.map(lambda leaf, place=place: leaf[place], several)
            n = len(items[index])
            wanted = np.zeros((len(structure.mask), 3))
            wanted[:n] = environments.forces[first[index] : first[index] + n]
            matrix, right = _with_force(
                matrix, right, features, descriptor, structure, wanted, 1.0 / config.sigma_force
            )
    return matrix, right


@partial(jax.jit, static_argnums=3, donate_argnums=(0, 1))
def _with_force(
    matrix: Float[Array, "m m"],
    right: Float[Array, " m"],
    features: Features,
    descriptor: Descriptor,
    structure: Structure,
    wanted: Float[Array, "n 3"],
    weight: Float[Array, ""],
) -> tuple[Float[Array, "m m"], Float[Array, " m"]]:
    """Add the forces of one structure."""
    derivatives = force_features(features, descriptor, structure) * weight
    return (
        matrix + product(derivatives.T, derivatives),
        right + product(derivatives.T, wanted.ravel() * weight),
    )


def force_features(
    features: Features, descriptor: Descriptor, structure: Structure
) -> Float[Array, "x m"]:
    """Compute minus the derivatives of the summed features by the positions.

    Args:
        features: the features.
        descriptor: the descriptor of their rows.
        structure: one padded structure.

    Returns:
        The derivatives in eV/Angstrom, x, y and z of the first atom first; 0 for padding.
    """
    species = jnp.asarray(descriptor.species, structure.species.dtype)
    kinds = jnp.searchsorted(species, structure.species).clip(0, len(species) - 1).astype(int)
    fingerprint = Fingerprint(descriptor)

    def summed(positions: Float[Array, "n 3"]) -> Float[Array, " m"]:
        moved = Structure(
            positions,
            structure.species,
            structure.mask,
            structure.cell,
            structure.pbc,
            structure.bounds,
        )
        rows = descriptor(fingerprint.view(moved).neighbors)
        return jnp.sum(jnp.where(structure.mask[:, None], features(rows, kinds), 0.0), axis=0)

    _, pushed = jax.linearize(summed, structure.positions)
    count = structure.positions.size
    steps = jnp.eye(count, dtype=structure.positions.dtype).reshape(count, -1, 3)
    return -jax.lax.map(pushed, steps, batch_size=DIRECTIONS)
