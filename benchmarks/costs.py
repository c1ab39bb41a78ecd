"""What a search costs in loss-and-gradient evaluations, measured.

A hop screens sites (values of the fingerprint), may do steps of Adam (loss and gradient) and does
Levenberg-Marquardt steps, which count as Jacobians. One is not as dear as another: all three are
timed in turns for a structure of the kind, at the batch that the search uses.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from recovery_sets import Target
from systems import kernels
from timing import rates, spread

from jaxrecon import ReconstructConfig, initialize
from jaxrecon.bounds import bounds_within
from jaxrecon.hopping import Task
from jaxrecon.search import replica_mesh, replicas_together
from jaxrecon.structures import Bounds

ROWS = {
    "values": "fingerprint",
    "gradients": "loss and gradient",
    "jacobians": "Levenberg-Marquardt step",
}
"""The row of the speed benchmark that each kind of evaluation is timed as."""


class Costs(NamedTuple):
    """Cost of an evaluation of each kind, in loss-and-gradient evaluations.

    Attributes:
        weights: by kind; that of gradients is 1.
        details: what was measured.
    """

    weights: Mapping[str, float]
    details: Mapping[str, Any]

    def of(self, evaluations: Mapping[str, int]) -> float:
        """Cost of so many evaluations of each kind."""
        return sum(self.weights[kind] * count for kind, count in evaluations.items())

    def hops(self, budget: float, config: ReconstructConfig) -> int:
        """Hops that a budget pays for.

        Raises:
            ValueError: if it is not enough for one.
        """
        hop = self.of(config.evaluations_per_hop)
        if budget < hop:
            raise ValueError(
                f"expected --budget of at least one hop, {math.ceil(hop):,}, got {budget:,.0f}"
            )
        return int(budget // hop)


def measured(target: Target, config: ReconstructConfig, seconds: float) -> Costs:
    """Costs at random positions of a target, as many replicas on as many devices as in a search.

    Args:
        target: any of its kind.
        config: its number of replicas counts.
        seconds: measured time of each row.
    """
    task = task_of(target)
    keys = jax.random.split(jax.random.key(0), config.replicas)
    positions = jax.vmap(
        lambda key: initialize.random_positions(
            key, task.species, task.cell, jnp.dtype(jnp.float32)
        )
    )(keys)
    devices = replica_mesh(config.replicas).size
    block = replicas_together(target.fingerprint, task, config.replicas // devices)
    functions = kernels(target.fingerprint, task.structure, task.target)
    runs = {}
    for row in ROWS.values():
        function, count = functions[row]
        runs[row] = (partial(spread(function, devices, block), positions), count * config.replicas)
    speeds = {row: each["per_second"] for row, each in rates(runs, seconds).items()}
    gradient = speeds[ROWS["gradients"]]
    details = {
        "row": target.row,
        "name": target.name,
        "atoms": len(target.symbols),
        "numbers": target.fingerprint.size,
        "replicas": config.replicas,
        "devices": devices,
        "together": block,
        "per_second": speeds,
    }
    return Costs({kind: gradient / speeds[row] for kind, row in ROWS.items()}, details)


def representative(targets: list[Target]) -> Target:
    """The one in the middle, by the numbers that its Jacobian has."""
    order = sorted(targets, key=lambda each: len(each.symbols) * each.fingerprint.size)
    return order[len(order) // 2]


def task_of(target: Target) -> Task:
    """The target as the search has it, with room for as many neighbours."""
    species = [atomic_numbers[symbol] for symbol in target.symbols]
    elements = len(set(species))
    bounds = Bounds(capacity=len(species), elements=elements)
    if target.cell is not None and target.fingerprint.images == "all":
        r_cut = target.fingerprint.descriptor.r_cut
        bounds = bounds_within(target.cell, r_cut, len(species), elements=elements)
    return Task(
        target=jnp.asarray(target.values, jnp.float32),
        species=jnp.asarray(species, jnp.int32),
        cell=None if target.cell is None else jnp.asarray(np.asarray(target.cell), jnp.float32),
        bounds=bounds,
    )
