"""The compiled programs of a search, and how they spread targets and replicas over devices.

The random numbers of a replica depend only on the seed, the index of the target, the number of the
hop and the index of the replica. Round-off also depends on the program: XLA compiles another one,
which adds in another order, for another number of replicas on a device and for more than one
device. So a target has the same result, bit for bit, where equally many devices divide its replicas
(:func:`mesh_shape`: two do of 2 or 3 CPU cores) and, on accelerators, equally many targets are in a
batch. Otherwise the last digits may differ after the first step of a descent, and later hops may
lead to another structure. Programs of one device for a fixed number of replicas would prevent it,
but with eight replicas in each, a hop of 64 replicas takes a sixth longer.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.pooling import EXTREMES
from jaxrecon.runtime.devices import memory_of
from jaxrecon.runtime.programs import programs_kept
from jaxrecon.search import point_groups
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.descent import descend, model
from jaxrecon.search.gauss_newton import bound_equations, normal_equations
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.levenberg_marquardt import Linearization, levenberg_marquardt
from jaxrecon.search.moves import move_draws, propose
from jaxrecon.search.scaling import scaled
from jaxrecon.search.task import Task
from jaxrecon.structures.structure import Bounds

TARGETS, REPLICAS = "targets", "replicas"
"""Names of the axes of a device mesh."""

CACHE = 6 * 2**20
"""Bytes of cache that one core of a CPU works in."""

DEFAULT_MEMORY = 8 * 2**30
"""Bytes of memory of an accelerator that does not report its own."""

POLISH_STEP = 0.3
"""Longest move of an atom in one step of polishing, in Angstrom."""

NO_HOP = 2**32 - 1
"""What stands for the number of a hop where random numbers belong to the target itself."""

MIN_REPLICAS = 8
"""Smallest number of replicas of one target on each of the devices that share them."""


class Population(NamedTuple):
    """The replicas of one target after a hop.

    Attributes:
        coordinates: coordinates of all replicas, as in :class:`~jaxrecon.search.task.Task`, in
            Angstrom.
        residuals: residuals of all replicas; infinite for those that are not to be parents. If all
            are infinite, the next hop starts from random coordinates.
        hops: number of hops done.
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
    replicas: Int[Array, " own"],
    weights: Float[Array, " moves"],
) -> tuple[Float[Array, "own x 3"], Float[Array, " own"]]:
    """Make one hop with some replicas of one target.

    Each replica starts from a random member of the best part of the population, or from random
    coordinates if no member has a finite residual. Its random key depends only on the key of the
    target, the number of the hop and the index of the replica, so that the start does not depend on
    how replicas are spread over devices, and its descent differs by round-off at most.

    Args:
        key: random key of the target.
        fingerprint: the fingerprint of the target.
        config: settings of the search.
        task: the target and what is known about the structure.
        population: all replicas after the previous hop.
        replicas: indices of the replicas to move.
        weights: weights of the moves, from :func:`jaxrecon.search.moves.move_weights`.

    Returns:
        New coordinates of these replicas in Angstrom, and their residuals, weighted as in
        :mod:`jaxrecon.search.scaling`.
    """
    # The scales are those of the target: no hop has this number.
    task = scaled(jax.random.fold_in(key, NO_HOP), fingerprint, config, task)
    order = jnp.argsort(population.residuals)
    found = jnp.isfinite(population.residuals).sum()
    parents = jnp.minimum(max(1, round(config.parents * config.replicas)), found)
    hop_key = jax.random.fold_in(key, population.hops)

    draws = 2 + move_draws(config, population.coordinates.shape[1])

    def moved(replica: Array) -> tuple[Array, Array]:
        # All random numbers in one call: XLA takes long to compile each further one.
        key, dtype = jax.random.fold_in(hop_key, replica), population.coordinates.dtype
        chances = jax.random.uniform(key, (draws,), dtype)
        rank = jnp.floor(chances[0] * parents.astype(dtype)).astype(int)
        parent = population.coordinates[order[rank]]
        may = task.may_be_symmetric
        group = point_groups.drawn(chances[1], config.point_groups) if may else None
        afresh = found == 0
        start = propose(
            chances[2:], fingerprint, config, task, parent, weights, group=group, afresh=afresh
        )
        coordinates, residual = descend(fingerprint, config, task, start, group)
        # Infinity marks every failure, whatever the cause.
        return coordinates, jnp.where(jnp.isfinite(residual), residual, jnp.inf)

    block = replicas_together(fingerprint, task, len(replicas))
    if block == len(replicas):
        return jax.vmap(moved)(replicas)
    return jax.lax.map(moved, replicas, batch_size=block)


@programs_kept()
def compiled_hop(
    fingerprint: Fingerprint, config: ReconstructConfig, mesh: Mesh, shapes: Hashable
) -> Callable[
    [Key[Array, " targets"], Task, Population, Guidance | None, Float[Array, " moves"]],
    tuple[Array, Array],
]:
    """The program that makes one hop with all replicas of some targets.

    Each device moves some of the replicas of its targets. It starts from the whole populations, so
    that no device waits for another.

    Args:
        fingerprint: the fingerprint of the targets.
        config: settings of the search; see :attr:`ReconstructConfig.compiled`.
        mesh: the devices, from :func:`device_mesh`.
        shapes: anything that is equal where all arrays have equal shapes.

    Returns:
        A function of random keys, tasks and populations, with a leading axis of targets, and of the
        guidance and the weights of the moves, which are the same for all targets. It returns new
        coordinates in Angstrom and residuals of all replicas.
    """
    own = config.replicas // mesh.shape[REPLICAS]

    def local(
        keys: Key[Array, " targets"],
        tasks: Task,
        populations: Population,
        guidance: Guidance | None,
        weights: Float[Array, " moves"],
    ) -> tuple[Array, Array]:
        replicas = jax.lax.axis_index(REPLICAS) * own + jnp.arange(own, dtype=jnp.int32)

        def hopped(key: PRNGKeyArray, task: Task, population: Population) -> tuple[Array, Array]:
            task = replace(task, guidance=guidance)
            return hop(key, fingerprint, config, task, population, replicas, weights)

        batch = (keys, tasks, populations)
        if len(keys) > 1:
            return jax.vmap(hopped)(*batch)
        # A single target gets no batch axis, with which XLA's programs are slower.
        single = hopped(*jax.tree.map(lambda leaf: leaf[0], batch))
        return jax.tree.map(lambda leaf: leaf[None], single)

    by_target, by_replica = PartitionSpec(TARGETS), PartitionSpec(TARGETS, REPLICAS)
    return jax.jit(
        jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(by_target, by_target, by_target, PartitionSpec(), PartitionSpec()),
            out_specs=(by_replica, by_replica),
            check_vma=False,
        )
    )


@programs_kept()
def compiled_polish(
    fingerprint: Fingerprint, config: ReconstructConfig, shapes: Hashable
) -> Callable[
    [Task, Float[Array, "x 3"], Guidance | None, Int[Array, ""], Float[Array, ""]],
    tuple[Array, Array, Linearization | None, Array],
]:
    """The program that makes one round of polishing: Levenberg-Marquardt on one structure.

    Where largest or smallest values are pooled, it uses the equations of all atoms that the target
    binds. Started 0.1 Angstrom off a dodecahedron, these always lead back to it, while those of the
    selected atoms alone stop at ties in five of six tries.

    Args:
        fingerprint: the fingerprint of the target.
        config: settings of the search; see :attr:`ReconstructConfig.compiled`.
        shapes: anything that is equal where all arrays have equal shapes.

    Returns:
        A function of the task, the start, the guidance, the number of steps and the damping of the
        first one, all meant to be in float64. It returns the best coordinates in Angstrom, their
        residual, the equations at the last point, for a certificate, and the damping of the next
        step; without steps it looks at the start alone. A guided search has no equations of the
        numbers alone.
    """
    extremes = bool(set(fingerprint.poolings) & set(EXTREMES))

    def polish(
        task: Task, coordinates: Array, guidance: Guidance | None, steps: Array, damping: Array
    ) -> tuple[Array, Array, Linearization | None, Array]:
        task = replace(task, guidance=guidance)
        # With noise there is no structure that all the conditions of extremes hold for. Equal noise
        # of all numbers gives no weights: its sum of squares ends up to 0.1 % larger.
        exact = extremes and task.weights is None
        equations = partial(bound_equations if exact else normal_equations, linear=True)
        refinement = levenberg_marquardt(
            model(equations, fingerprint, config, task), max_step=POLISH_STEP, moved=task.moved
        )
        # Known atoms start at their known positions, which float32 has rounded before.
        state = refinement.init(task.join(*task.split(coordinates)), damping)
        # The number of steps is no part of the program, so that one serves all.
        state = jax.lax.fori_loop(0, steps + 1, lambda _, each: refinement.step(each), state)
        return state.best_positions, state.best_residual, state.model.linear, state.damping

    return jax.jit(polish)


def device_mesh(replicas: int, targets: int) -> Mesh:
    """The devices of this process as a mesh of targets and replicas; see :func:`mesh_shape`.

    Args:
        replicas: number of replicas of each target.
        targets: number of targets to search for.

    Returns:
        The mesh, with one row of devices for each target that is searched at the same time.
    """
    devices = jax.local_devices()
    rows, columns = mesh_shape(len(devices), devices[0].platform, replicas, targets)
    return Mesh(np.asarray(devices[: rows * columns]).reshape(rows, columns), (TARGETS, REPLICAS))


def mesh_shape(devices: int, platform: str, replicas: int, targets: int) -> tuple[int, int]:
    """The numbers of rows and columns in which devices share targets and replicas.

    On accelerators, each device has targets of its own if there are enough of them. Devices to
    spare, and all cores of a CPU, share the replicas of a target evenly, at least
    :data:`MIN_REPLICAS` on each.

    Args:
        devices: number of devices.
        platform: kind of the devices: ``"cpu"``, ``"gpu"``, ...
        replicas: number of replicas of each target.
        targets: number of targets to search for.

    Returns:
        Rows of the mesh, among which targets are divided, and columns, among which the replicas of
        each target are divided.

    >>> [mesh_shape(8, "gpu", replicas=64, targets=n) for n in (100, 4, 3, 1)]
    [(8, 1), (4, 2), (3, 2), (1, 8)]
    >>> mesh_shape(12, "cpu", replicas=64, targets=100)
    (1, 8)
    """
    rows = 1 if platform == "cpu" else min(devices, targets)
    columns = [
        count
        for count in range(1, devices // rows + 1)
        if replicas % count == 0 and (count == 1 or replicas // count >= MIN_REPLICAS)
    ]
    return rows, columns[-1]


def targets_in_memory(
    fingerprint: Fingerprint, atoms: int, bounds: Bounds, replicas: int, mesh: Mesh
) -> int:
    """The number of targets that are searched for at the same time.

    Args:
        fingerprint: the fingerprint of the targets.
        atoms: padded number of atoms.
        bounds: static sizes of the neighbour lists.
        replicas: number of replicas of each target.
        mesh: the devices, from :func:`device_mesh`.

    Returns:
        On a CPU, one; on accelerators, as many as a third of their memory holds. A multiple of the
        rows of the mesh.
    """
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return mesh.shape[TARGETS]
    limit = memory_of(device) or DEFAULT_MEMORY
    needed = replica_bytes(fingerprint, atoms, bounds) * replicas / mesh.shape[REPLICAS]
    return mesh.shape[TARGETS] * max(1, int(limit / 3 / needed))


def replicas_together(fingerprint: Fingerprint, task: Task, replicas: int) -> int:
    """The number of replicas of a target that one device computes at the same time.

    These are all replicas of the device, except for crystals on a CPU: there, it is as many as fit
    into its cache, which is twice as fast.

    Args:
        fingerprint: the fingerprint of the target.
        task: the target and what is known about the structure.
        replicas: number of replicas of the device.

    Returns:
        A divisor of that number.
    """
    bounds = task.bounds
    if bounds is None or task.cell is None or fingerprint.images == "minimum":
        return replicas
    if jax.default_backend() != "cpu":
        return replicas
    fit = max(1, CACHE // replica_bytes(fingerprint, len(task.species), bounds))
    return max(size for size in range(1, replicas + 1) if replicas % size == 0 and size <= fit)


def replica_bytes(fingerprint: Fingerprint, atoms: int, bounds: Bounds) -> int:
    """Memory in bytes that one refinement step of one replica takes in float32.

    The largest arrays are the derivatives of all rows by the neighbours' vectors and by the
    positions, with ``n f m 3`` and ``n f n 3`` numbers. Three of each are counted.

    Args:
        fingerprint: the fingerprint of the target.
        atoms: padded number of atoms.
        bounds: static sizes of the neighbour lists.
    """
    descriptor = fingerprint.descriptor
    present = descriptor.elements[: bounds.elements]
    rows = descriptor.with_elements(present).size
    return 3 * 4 * rows * atoms * (atoms + bounds.capacity) * 3
