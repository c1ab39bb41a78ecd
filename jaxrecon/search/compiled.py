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

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.pooling import EXTREMES
from jaxrecon.runtime.devices import memory_of
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.descent import descend, model
from jaxrecon.search.gauss_newton import bound_equations, normal_equations
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.levenberg_marquardt import levenberg_marquardt, refine
from jaxrecon.search.moves import propose
from jaxrecon.search.task import Task
from jaxrecon.structures.structure import Bounds

TARGETS, REPLICAS = "targets", "replicas"

CACHE = 6 * 2**20
"""Bytes of a CPU's cache for one core to work in."""

PROGRAMS = 256
"""Compiled programs that are kept, of 10 to 20 MB each: 200 crystals of all kinds need 75."""

POLISH_STEP = 0.3
"""Longest move of an atom in one polishing step, in Angstrom."""


class Population(NamedTuple):
    """The replicas of one target after a hop.

    Attributes:
        coordinates: positions in Angstrom, and below them the vectors of an unknown cell.
        residuals: mean absolute residuals, infinite for what is no parent. Without a finite one
            the next hop starts from random coordinates.
        hops: hops done.
    """

    coordinates: Float[Array, "*batch replicas x 3"]
    residuals: Float[Array, "*batch replicas"]
    hops: Int[Array, "*batch"]


def hop(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    population: Population,
    replicas: Int[Array, " some"],
    weights: Float[Array, " moves"],
) -> tuple[Float[Array, "some x 3"], Float[Array, " some"]]:
    """One hop of some replicas of one target: their new coordinates and residuals.

    Each starts from a random member of the best part of the whole population, or from random
    coordinates if there is no such part. Its key depends on the target's key, the hop and its index
    alone, so the outcome does not depend on how replicas are spread over devices.
    """
    order = jnp.argsort(population.residuals)
    found = jnp.isfinite(population.residuals).sum()
    parents = jnp.minimum(max(1, round(config.parents * config.replicas)), found)
    hop_key = jax.random.fold_in(key, population.hops)

    def one(replica: Array) -> tuple[Array, Array]:
        parent_key, move_key = jax.random.split(jax.random.fold_in(hop_key, replica))
        chance = jax.random.uniform(parent_key, dtype=population.coordinates.dtype)
        parent = population.coordinates[order[jnp.floor(chance * parents).astype(int)]]
        start = propose(move_key, fingerprint, config, task, parent, weights, afresh=found == 0)
        coordinates, residual = descend(fingerprint, config, task, start)
        return coordinates, jnp.where(jnp.isfinite(residual), residual, jnp.inf)

    block = replicas_together(fingerprint, task, len(replicas))
    if block == len(replicas):
        return jax.vmap(one)(replicas)
    return jax.lax.map(one, replicas, batch_size=block)


@lru_cache(maxsize=PROGRAMS)
def compiled_hop(
    fingerprint: Fingerprint, config: ReconstructConfig, mesh: Mesh
) -> Callable[
    [Key[Array, " targets"], Task, Population, Guidance | None, Float[Array, " moves"]],
    tuple[Array, Array],
]:
    """The program of one hop: it returns new coordinates and residuals of all replicas.

    Its arguments are keys, tasks, populations, guidance and the weights of the moves. The first
    three have a leading axis of targets; the others are the same for all targets. Each device
    computes some of the replicas of its targets from their whole previous populations, so that no
    device waits for another.
    """
    own = config.replicas // mesh.shape[REPLICAS]

    def local(
        keys: Key[Array, " targets"],
        tasks: Task,
        populations: Population,
        guidance: Guidance | None,
        weights: Float[Array, " moves"],
    ) -> tuple[Array, Array]:
        replicas = jax.lax.axis_index(REPLICAS) * own + jnp.arange(own)

        def one(key: PRNGKeyArray, task: Task, population: Population) -> tuple[Array, Array]:
            task = replace(task, guidance=guidance)
            return hop(key, fingerprint, config, task, population, replicas, weights)

        batch = (keys, tasks, populations)
        if len(keys) > 1:
            return jax.vmap(one)(*batch)
        # Not a batch of one: XLA lays out arrays with another axis more slowly.
        alone = one(*jax.tree.map(lambda leaf: leaf[0], batch))
        return jax.tree.map(lambda leaf: leaf[None], alone)

    dealt, split = PartitionSpec(TARGETS), PartitionSpec(TARGETS, REPLICAS)
    return jax.jit(
        jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(dealt, dealt, dealt, PartitionSpec(), PartitionSpec()),
            out_specs=(split, split),
            check_vma=False,
        )
    )


@lru_cache(maxsize=PROGRAMS)
def compiled_polish(
    fingerprint: Fingerprint, config: ReconstructConfig
) -> Callable[[Task, Float[Array, "x 3"], Guidance | None], tuple[Array, Array]]:
    """Levenberg-Marquardt on one structure, meant for float64: coordinates and residual.

    Where largest and smallest values are pooled it takes the equations of all atoms: from 0.1
    Angstrom off a dodecahedron those reach it in every try, those of the winners alone, stopped by
    the ties, in one of six.
    """
    extremes = set(fingerprint.poolings) & set(EXTREMES)
    equations = bound_equations if extremes else normal_equations

    def polish(task: Task, coordinates: Array, guidance: Guidance | None) -> tuple[Array, Array]:
        task = replace(task, guidance=guidance)
        refinement = levenberg_marquardt(
            model(equations, fingerprint, config, task), max_step=POLISH_STEP, moved=task.moved
        )
        # Known atoms are where they are known to be, not where float32 has put them.
        start = task.join(*task.split(coordinates))
        return refine(refinement, start, steps=config.polish_steps)

    return jax.jit(polish)


def device_mesh(replicas: int, targets: int) -> Mesh:
    """The local devices as rows of targets and columns of replicas: see :func:`mesh_shape`."""
    devices = jax.local_devices()
    rows, columns = mesh_shape(len(devices), devices[0].platform, replicas, targets)
    return Mesh(np.asarray(devices[: rows * columns]).reshape(rows, columns), (TARGETS, REPLICAS))


def mesh_shape(devices: int, platform: str, replicas: int, targets: int) -> tuple[int, int]:
    """How many rows of targets and columns of replicas to make of the devices.

    On accelerators every device has targets of its own as long as there are enough. The rest of
    the devices, and the cores of a CPU, share the replicas of a target evenly, 8 at least on each.

    Args:
        devices: how many there are.
        platform: what they are: ``"cpu"``, ``"gpu"``, ...
        replicas: of a target.
        targets: that are to be searched.

    >>> [mesh_shape(8, "gpu", replicas=64, targets=n) for n in (100, 4, 3, 1)]
    [(8, 1), (4, 2), (3, 2), (1, 8)]
    >>> mesh_shape(12, "cpu", replicas=64, targets=100)
    (1, 8)
    """
    rows = 1 if platform == "cpu" else min(devices, targets)
    columns = [
        count
        for count in range(1, devices // rows + 1)
        if replicas % count == 0 and (count == 1 or replicas // count >= 8)
    ]
    return rows, columns[-1]


def targets_in_memory(
    fingerprint: Fingerprint, atoms: int, bounds: Bounds, replicas: int, mesh: Mesh
) -> int:
    """How many targets the devices hold at once: one on a CPU, else what a third of them holds."""
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return mesh.shape[TARGETS]
    limit = memory_of(device) or 8 * 2**30
    share = _replica_bytes(fingerprint, atoms, bounds) * replicas / mesh.shape[REPLICAS]
    return mesh.shape[TARGETS] * max(1, int(limit / 3 / share))


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
    rows = descriptor.with_elements(present).size
    return 3 * 4 * rows * atoms * (atoms + bounds.capacity) * 3
