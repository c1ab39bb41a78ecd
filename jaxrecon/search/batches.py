"""Batches: problems that share a program, and are searched for at the same time."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from jaxrecon.search.compiled import (
    Population,
    compiled_hop,
    device_mesh,
    targets_in_memory,
)
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.moves import move_weights
from jaxrecon.search.polishing import begin_polishing
from jaxrecon.search.problems import Problem, on_device

_fold_in = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
"""The random keys of many targets, from one key and their identities, in one small program."""


class Batch(NamedTuple):
    """The problems of one group, of which as many are searched at the same time as fit into memory.

    Attributes:
        problems: the problems, which share one program, guidance and weights.
        config: settings of the search.
        mesh: the devices.
        width: number of problems that are searched at the same time.
        program: the program that makes one hop.
    """

    problems: list[Problem]
    config: ReconstructConfig
    mesh: Mesh
    width: int
    program: Any

    @classmethod
    def of(cls, problems: list[Problem], config: ReconstructConfig) -> "Batch":
        """Choose devices and width.

        Args:
            problems: the problems of one :attr:`~jaxrecon.search.problems.Problem.group`.
            config: settings of the search.

        Returns:
            The batch.
        """
        first, replicas = problems[0], config.replicas
        fingerprint = first.searched_fingerprint
        mesh = device_mesh(replicas, len(problems))
        # For few problems, it is the rows of the mesh times a power of two, so that different
        # numbers of problems share a program.
        width = targets_in_memory(fingerprint, first.padded_size, first.bounds, replicas, mesh)
        rows = mesh.shape["targets"]
        width = min(width, rows << (-(-len(problems) // rows) - 1).bit_length())
        program = compiled_hop(fingerprint, config.compiled, mesh, (first.group, width))
        return cls(problems, config, mesh, width, program)

    @property
    def shared(self) -> tuple[Guidance | None, Array]:
        """Guidance and weights of the moves, on all devices.

        They are put there once: otherwise every hop would copy them from the first device.
        """
        replicated = NamedSharding(self.mesh, PartitionSpec())
        guidance = jax.device_put(self.problems[0].guidance, replicated)
        return guidance, jax.device_put(move_weights(self.config), replicated)

    @property
    def first(self) -> list[Problem]:
        """The problems of the first hop; the first of them again where there are too few."""
        some = self.problems[: self.width]
        return some + self.problems[:1] * (self.width - len(some))

    def begin(self, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Make the first hop, and compile the program that polishes what it finds.

        Args:
            seed: seed of the search.

        Returns:
            Coordinates of all replicas in Angstrom, their residuals, and the seconds that it took.
        """
        started = time.perf_counter()
        # Infinite residuals make the hop start from random coordinates.
        shape, rows = (self.width, self.config.replicas), self.problems[0].rows
        coordinates = np.zeros((*shape, rows, 3), np.float32)
        residuals = np.full(shape, np.inf, np.float32)
        hops = [0] * self.width
        found = self.hop(seed, self.first, hops, coordinates, residuals, self.shared)
        begin_polishing(self.problems[0], self.config, found[0][0, 0])
        return *found, time.perf_counter() - started

    def hop(
        self,
        seed: int,
        problems: Sequence[Problem],
        hops: Sequence[int],
        coordinates: Float[np.ndarray, "w r x 3"],
        residuals: Float[np.ndarray, "w r"],
        shared: tuple[Guidance | None, Array],
    ) -> tuple[Float[np.ndarray, "w r x 3"], Float[np.ndarray, "w r"]]:
        """Make one hop with all replicas of as many problems as the batch is wide.

        Args:
            seed: seed of the search.
            problems: the problems.
            hops: number of hops of each so far.
            coordinates: coordinates of all replicas, in Angstrom.
            residuals: their residuals.
            shared: guidance and weights, from :attr:`shared`.

        Returns:
            New coordinates and residuals.
        """
        identities = np.asarray([problem.identity for problem in problems])
        keys = _fold_in(jax.random.key(seed), identities)
        tasks = jax.tree.map(_stacked, *[problem.task(np.float32) for problem in problems])
        populations = Population(
            coordinates=on_device(coordinates, np.float32),
            residuals=on_device(residuals, np.float32),
            hops=on_device(hops, np.int32),
        )
        found = jax.device_get(self.program(keys, tasks, populations, *shared))
        moved, reached = (np.array(array) for array in found)
        return moved, reached


def _stacked(*leaves: Array) -> Array:
    """Stack arrays by NumPy; jax.numpy would compile a program for each shape."""
    return on_device(np.stack([np.asarray(leaf) for leaf in leaves]), leaves[0].dtype.type)
