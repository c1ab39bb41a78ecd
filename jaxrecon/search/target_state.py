"""The state of the search for one target between hops: what is found, when to restart and end."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.search.arguments import UNKNOWN, problems_of
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.polishing import certificate_of, polished, with_larger_bounds
from jaxrecon.search.problems import Problem
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.search.solutions import Solution, Solutions
from jaxrecon.structures.primitive import primitive

MAX_POLISHED = 4
"""Largest number of structures that are polished after one hop, if several solutions are wanted."""

CLEARLY = 0.98
"""Part of a residual below which another one is clearly lower."""


@dataclass
class TargetState:
    """The state of the search for one target between hops: one place in a batch.

    Attributes:
        problem: the target.
        config: settings of the search.
        solutions: the best structures so far.
        lowest_residual: lowest residual of the search so far, in float32; used where one solution
            is wanted.
        best_since_restart: residual since the last restart that the next one has to be clearly
            lower than.
        hops_without_progress: number of hops since that was reached.
        hops: number of hops done.
        milestone: the residual that the next one has to be clearly lower than.
        hops_since: number of hops since that was reached.
        overflow: whether the last hop failed because an atom had more neighbours, or a cell was
            flatter, than the bounds hold.
        started: time of the start in seconds, of :func:`time.perf_counter`.
        spare: whether the place in the batch has no target; the program computes it nevertheless.
    """

    problem: Problem
    config: ReconstructConfig
    solutions: Solutions = field(init=False)
    lowest_residual: float = np.inf
    best_since_restart: float = np.inf
    hops_without_progress: int = 0
    hops: int = 0
    milestone: float = np.inf
    hops_since: int = 0
    overflow: bool = False
    started: float = field(default_factory=time.perf_counter)
    spare: bool = False

    def __post_init__(self) -> None:
        self.config = self.problem.adapted(self.config)
        self.solutions = Solutions(self.config)

    @property
    def complete(self) -> bool:
        """Whether the search ends: the target is solved, or hops or patience are used up."""
        tired = 0 < self.config.patience <= self.hops_since
        return self.solutions.complete or self.hops == self.config.hops or tired

    def update(
        self,
        coordinates: Float[np.ndarray, "replicas n 3"],
        residuals: Float[np.ndarray, " replicas"],
    ) -> None:
        """Take solutions out of a population after a hop, and decide who goes on.

        Args:
            coordinates: coordinates of all replicas, in Angstrom.
            residuals: their residuals. Replicas that are not to be parents get infinity here.
        """
        self.hops += 1
        order = np.argsort(residuals)
        best = float(residuals[order[0]])
        if not np.isfinite(best):
            self.overflow = with_larger_bounds(self.problem, coordinates[0]) is not self.problem
        self.hops_since += 1
        if best < CLEARLY * self.milestone:
            self.milestone, self.hops_since = best, 0
        # Polish what is better than everything before it. Where several solutions are wanted,
        # polish the best few, as a later and worse structure may be a different solution.
        if self.config.solutions > 1:
            solved = -1.0
            for replica in order[:MAX_POLISHED]:
                residual = float(residuals[replica])
                if np.isfinite(residual) and self.polish(coordinates[replica]):
                    solved = 2.0 * residual
            # Replicas as good as a solution are probably the same structure. They are no parents,
            # so that the search goes on elsewhere.
            residuals[residuals <= solved] = np.inf
        elif best < self.lowest_residual:
            self.lowest_residual = best
            self.polish(coordinates[order[0]])
        # A population that has made no progress for long starts again from random coordinates,
        # which a population without any finite residual does.
        self.hops_without_progress += 1
        if best < CLEARLY * self.best_since_restart:
            self.best_since_restart, self.hops_without_progress = best, 0
        if self.hops_without_progress == self.config.restart_after:
            self.best_since_restart, self.hops_without_progress = np.inf, 0
            residuals[:] = np.inf

    def polish(self, start: Float[np.ndarray, "n 3"]) -> bool:
        """Polish a structure in float64, and add it to the solutions.

        Args:
            start: coordinates in Angstrom.

        Returns:
            Whether the residual reaches the tolerance.
        """
        coordinates, residual, certificate = polished(self.problem, self.config, start)
        if np.isfinite(residual):
            self.solutions.add(self.problem.atoms(coordinates), residual, certificate)
        return residual <= self.config.tolerance

    def _finished(self, found: Solution) -> Solution:
        """A solution with its certificate; in its primitive cell if the number of atoms is unknown.

        Atoms of a primitive cell are polished anew. A crystal whose atoms are a little off the
        translations of a smaller cell does not reach the target there, and stays as it is.
        """
        problem, config = self.problem, self.config
        if problem.any_size and len(small := primitive(found.atoms)) < len(found.atoms):
            cell = small.cell.array if problem.volume is None else UNKNOWN
            [[own]] = problems_of(
                problem.target, problem.fingerprint, small.symbols, cell, None, [problem.identity]
            )
            own = replace(own, guidance=problem.guidance, noise=problem.noise)
            coordinates, residual, certificate = polished(own, config, own.coordinates(small))
            if residual <= max(config.tolerance, found.residual):
                problem, found = own, Solution(own.atoms(coordinates), residual, certificate)
        if found.certificate is not None:
            return found
        return found._replace(certificate=certificate_of(problem, config, *found[:2]))

    def result(self) -> Result:
        """The result of the search, with the best structure found.

        Where there is none, positions are NaN and the residual is infinite.
        """
        problem = self.problem
        found = [self._finished(solution) for solution in self.solutions.found]
        if found:
            (atoms, residual, certificate), *others = found
        else:
            nowhere = np.full((len(problem.symbols), 3), np.nan)
            atoms, residual, others = Atoms(problem.symbols, nowhere), np.inf, []
            certificate = None
            atoms.set_cell(problem.cell)
            atoms.pbc = problem.cell is not None
        # A guided search looks for more than the numbers, and has no certificate.
        certain = problem.guidance is not None or (
            certificate is not None and certificate.position_error <= self.config.position_tolerance
        )
        per_hop = self.config.evaluations_per_hop
        return Result(
            atoms=atoms,
            residual=residual,
            code=ResultCode.of(
                residual, self.config.tolerance, overflow=self.overflow, certain=certain
            ),
            hops=self.hops,
            evaluations={kind: self.hops * count for kind, count in per_hop.items()},
            seconds=time.perf_counter() - self.started,
            others=tuple(others),
            certificate=certificate,
            tolerance=self.config.tolerance,
        )
