"""The compiled search: a population a target, its replicas spread over the devices."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxrecon import initialize
from jaxrecon.config import ReconstructConfig
from jaxrecon.equations import bound_equations
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.hopping import Task, descend, propose
from jaxrecon.refine import levenberg_marquardt, refine
from jaxrecon.structures import Bounds

REPLICAS = "replicas"

CACHE = 6 * 2**20
"""Bytes of a CPU's cache for one core to work in."""

POLISH_STEP = 0.3
"""Longest move of an atom in one polishing step, in Angstrom."""


class Population(NamedTuple):
    """The replicas of one target after a hop.

    Attributes:
        positions: in Angstrom.
        residuals: mean absolute residuals; infinite where they are not finite.
        hops: hops done; before the first, positions and residuals mean nothing.
    """

    positions: Float[Array, "*batch replicas n 3"]
    residuals: Float[Array, "*batch replicas"]
    hops: Int[Array, "*batch"]


def hop(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    population: Population,
    replicas: Int[Array, " some"],
) -> tuple[Float[Array, "some n 3"], Float[Array, " some"]]:
    """One hop of some replicas of one target: their new positions and residuals.

    Each starts from a random member of the best part of the whole population, or from random
    positions if this is the first hop. Its key depends on the target's key, the hop and its index
    alone, so the outcome does not depend on how replicas are spread over devices.
    """
    order = jnp.argsort(population.residuals)
    parents = max(1, round(config.parents * config.replicas))
    hop_key = jax.random.fold_in(key, population.hops)

    def one(replica: Array) -> tuple[Array, Array]:
        parent_key, move_key = jax.random.split(jax.random.fold_in(hop_key, replica))
        parent = population.positions[order[jax.random.randint(parent_key, (), 0, parents)]]
        moved = propose(move_key, fingerprint, config, task, parent)
        fresh = initialize.random_positions(move_key, task.species, task.cell, parent.dtype)
        start = jnp.where(population.hops == 0, fresh, moved)
        positions, residual = descend(fingerprint, config, task, start)
        return positions, jnp.where(jnp.isfinite(residual), residual, jnp.inf)

    block = replicas_together(fingerprint, task, len(replicas))
    if block == len(replicas):
        return jax.vmap(one)(replicas)
    return jax.lax.map(one, replicas, batch_size=block)


@lru_cache(maxsize=16)
def compiled_hop(
    fingerprint: Fingerprint, config: ReconstructConfig, mesh: Mesh
) -> Callable[[Key[Array, " slots"], Task, Population], tuple[Array, Array]]:
    """The program ``(keys, tasks, populations) -> (positions, residuals)`` of one hop.

    Every argument has a leading axis of slots, one target each. Each device computes its share of
    the replicas from the whole population of before: no device waits for another inside.
    """
    share = config.replicas // mesh.size

    def local(
        keys: Key[Array, " slots"], tasks: Task, populations: Population
    ) -> tuple[Array, Array]:
        replicas = jax.lax.axis_index(REPLICAS) * share + jnp.arange(share)

        def one(key: PRNGKeyArray, task: Task, population: Population) -> tuple[Array, Array]:
            return hop(key, fingerprint, config, task, population, replicas)

        slots = (keys, tasks, populations)
        if len(keys) > 1:
            return jax.vmap(one)(*slots)
        # Not a batch of one: XLA lays out arrays with another axis more slowly.
        alone = one(*jax.tree.map(lambda leaf: leaf[0], slots))
        return jax.tree.map(lambda leaf: leaf[None], alone)

    whole, split = PartitionSpec(), PartitionSpec(None, REPLICAS)
    return jax.jit(
        jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(whole, whole, whole),
            out_specs=(split, split),
            check_vma=False,
        )
    )


@lru_cache(maxsize=16)
def compiled_polish(
    fingerprint: Fingerprint, steps: int
) -> Callable[[Task, Float[Array, "n 3"]], tuple[Array, Array]]:
    """Levenberg-Marquardt on one structure, meant for float64: positions and residual.

    It takes the equations of all atoms: from 0.1 Angstrom off a dodecahedron those reach it in
    every try, those of the winners alone, stopped by the ties, in one of six.
    """

    def polish(task: Task, positions: Array) -> tuple[Array, Array]:
        refinement = levenberg_marquardt(
            lambda x: bound_equations(fingerprint, task.structure(x), task.target),
            max_step=POLISH_STEP,
        )
        return refine(refinement, positions, steps=steps)

    return jax.jit(polish)


def replica_mesh(replicas: int) -> Mesh:
    """As many local devices as divide the replicas evenly, at least 8 replicas on each."""
    devices = jax.local_devices()
    usable = [
        count
        for count in range(1, len(devices) + 1)
        if replicas % count == 0 and (count == 1 or replicas // count >= 8)
    ]
    return Mesh(np.asarray(devices[: usable[-1]]), (REPLICAS,))


def slots_in_memory(
    fingerprint: Fingerprint, atoms: int, bounds: Bounds, replicas: int, mesh: Mesh
) -> int:
    """How many targets a device holds at once: one on a CPU, else as a third of its memory fits."""
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return 1
    limit = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    population = _replica_bytes(fingerprint, atoms, bounds) * replicas
    return max(1, int(limit / 3 / (population / mesh.size)))


def replicas_together(fingerprint: Fingerprint, task: Task, replicas: int) -> int:
    """How many replicas of a target are computed at once: a divisor of all there are.

    All of them, but of a crystal on a CPU only what its cache holds, which is twice as fast.
    """
    bounds = task.bounds
    if bounds is None or task.cell is None or fingerprint.images == "minimum":
        return replicas
    if jax.default_backend() != "cpu":
        return replicas
    fit = max(1, CACHE // _replica_bytes(fingerprint, len(task.species), bounds))
    return max(size for size in range(1, replicas + 1) if replicas % size == 0 and size <= fit)


def _replica_bytes(fingerprint: Fingerprint, atoms: int, bounds: Bounds) -> int:
    """Memory that a refinement step takes in float32.

    The largest arrays are the derivatives of all rows by the neighbours and by the positions,
    ``n f m 3`` and ``n f n 3`` numbers; three of each are counted.
    """
    descriptor = fingerprint.descriptor
    present = descriptor.elements[: bounds.elements]
    rows = replace(descriptor, elements=present).size
    return 3 * 4 * rows * atoms * (atoms + bounds.capacity) * 3
