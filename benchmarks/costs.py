"""What a search costs in loss-and-gradient evaluations, measured.

A hop screens sites (values of the fingerprint), may do steps of Adam (loss and gradient) and does
Levenberg-Marquardt steps, which count as Jacobians. One is not as dear as another: all three are
timed in turns for a structure of the kind, at the batch that the search uses, and the fastest call
of each counts. The gradient is the unit, and a larger unit would make every budget larger: it is
timed in blocks of four as well, which are faster where many together leave the cache, and the
faster way counts.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from recovery_sets import Target
from systems import kernels
from timing import rates, spread

from jaxrecon import ReconstructConfig
from jaxrecon.descriptors.pooling import EXTREMES
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.compiled import TARGETS, device_mesh, replicas_together, targets_in_memory
from jaxrecon.search.descent import model
from jaxrecon.search.gauss_newton import normal_equations
from jaxrecon.search.levenberg_marquardt import levenberg_marquardt
from jaxrecon.search.moves import random_start, start_draws
from jaxrecon.search.problems import Problem
from jaxrecon.search.scaling import scaled

ROWS = {
    "values": "fingerprint",
    "gradients": "loss and gradient",
    "jacobians": "Levenberg-Marquardt step",
}
"""The row of the speed benchmark that each kind of evaluation is timed as."""


GRADIENT = ROWS["gradients"]
FEW = 4
"""Structures in a block that stays in the cache."""

FEWER = f"{GRADIENT}, {FEW} together"


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


def measured(target: Target, config: ReconstructConfig, targets: int, seconds: float) -> Costs:
    """Costs at random coordinates of a target, as many at once as in a search.

    Args:
        target: any of its kind.
        config: settings of the search.
        targets: that there are of the kind: an accelerator searches for many at once.
        seconds: measured time of each row.
    """
    problem = problem_of(target)
    fingerprint = problem.searched_fingerprint
    task = scaled(jax.random.key(0), fingerprint, config, problem.task(np.float32))
    mesh = device_mesh(config.replicas, targets)
    together = targets_in_memory(
        fingerprint, problem.padded_size, problem.bounds, config.replicas, mesh
    )
    batch = config.replicas * max(min(together, targets), mesh.shape[TARGETS])
    block = replicas_together(fingerprint, task, batch // mesh.size)
    blocks = dict.fromkeys(ROWS.values(), block)
    if jax.default_backend() == "cpu":
        blocks[FEWER] = min(FEW, block)
    chances = jax.random.uniform(jax.random.key(0), (batch, start_draws(problem.rows)))
    coordinates = jax.vmap(lambda row: random_start(row, config, task))(chances)
    refinement = levenberg_marquardt(
        model(normal_equations, fingerprint, config, task),
        max_step=config.max_step,
        moved=task.moved,
    )
    functions = kernels(fingerprint, task.structure, task.target, refinement)
    runs = {}
    for row, size in blocks.items():
        function, count = functions[GRADIENT if row == FEWER else row]
        runs[row] = (partial(spread(function, mesh.size, size), coordinates), count * batch)
    # The fastest call of each is the one that other processes disturbed least.
    speeds = {row: each["fastest"] for row, each in rates(runs, seconds).items()}
    gradient = max(speeds[GRADIENT], speeds.get(FEWER, 0.0))
    weights = {kind: gradient / speeds[row] for kind, row in ROWS.items()} | {"gradients": 1.0}
    details = {
        "row": target.row,
        "name": target.name,
        "atoms": len(target.symbols),
        "numbers": target.fingerprint.size,
        "at_once": batch,
        "devices": mesh.size,
        "together": block,
        "smooth": is_smooth(target),
        "per_second": speeds,
    }
    return Costs(weights, details)


def representative(targets: list[Target]) -> Target:
    """The one in the middle, by the numbers that its Jacobian has."""
    order = sorted(targets, key=lambda each: len(each.symbols) * each.fingerprint.size)
    return order[len(order) // 2]


def is_smooth(target: Target) -> bool:
    """Whether its fingerprint has no largest and smallest values."""
    return not set(target.fingerprint.poolings) & set(EXTREMES)


def problem_of(target: Target) -> Problem:
    """The target as the search has it."""
    [[problem]] = problems_of(
        [target.values], [target.fingerprint], [target.symbols], [target.cell], None, [target.row]
    )
    return problem
