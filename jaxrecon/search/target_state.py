"""A place in a batch: the target that has it now, and what was found for it."""

import time
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Float

from jaxrecon.search.compiled import compiled_polish
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.problems import Problem, on_device
from jaxrecon.search.results import Result, ResultCode
from jaxrecon.search.solutions import Solutions
from jaxrecon.structures.bounds import bounds_of

LEAST_VOLUME = 1.0
"""Cubic Angstrom for each atom below which a cell is no crystal's."""

POLISHED = 4
"""Structures of a hop that are polished at most where several solutions are wanted."""

NEARLY = 100.0
"""Residual in units of the tolerance below which a structure is polished as long as it helps."""

SLOW, FAST = 0.9, 0.25
"""What a round of polishing leaves of a residual at most if it helps: before the target is hit, and
after it, for positions as exact as they get."""


@dataclass
class TargetState:
    """The state of one target's search between hops.

    Attributes:
        problem: the target.
        config: settings of the search.
        solutions: the structures that were found for it.
        searched: lowest residual of the search in float32.
        best_since_restart: the same since the last restart.
        hops_without_progress: hops since it was reached.
        hops: those that are done.
        overflow: whether no replica had a finite residual in the last hop, because there were more
            neighbours than room for them.
        started: when, in seconds.
        done: whether no target is left for it.
    """

    problem: Problem
    config: ReconstructConfig
    solutions: Solutions = field(init=False)
    searched: float = np.inf
    best_since_restart: float = np.inf
    hops_without_progress: int = 0
    hops: int = 0
    overflow: bool = False
    started: float = field(default_factory=time.perf_counter)
    done: bool = False

    def __post_init__(self) -> None:
        self.solutions = Solutions(self.config)

    @property
    def complete(self) -> bool:
        """Whether the search of this target ends here."""
        return self.solutions.complete or self.hops == self.config.hops

    def look_at(
        self,
        coordinates: Float[np.ndarray, "replicas n 3"],
        residuals: Float[np.ndarray, " replicas"],
    ) -> None:
        """Take what is good out of a population after a hop.

        Args:
            coordinates: of all replicas.
            residuals: of them; infinite is written over those that are not to go on.
        """
        self.hops += 1
        order = np.argsort(residuals)
        best = float(residuals[order[0]])
        if not np.isfinite(best):
            self.overflow = with_larger_bounds(self.problem, coordinates[0]) is not self.problem
        if self.config.solutions > 1:
            reached = -1.0
            for replica in order[:POLISHED]:
                searched = float(residuals[replica])
                if np.isfinite(searched) and self.polish(coordinates[replica]):
                    reached = 2.0 * searched
            # What is found already is no parent any more.
            residuals[residuals <= reached] = np.inf
        elif best < self.searched:
            self.searched = best
            self.polish(coordinates[order[0]])
        self.hops_without_progress += 1
        if best < self.best_since_restart:
            self.best_since_restart, self.hops_without_progress = best, 0
        if self.hops_without_progress == self.config.restart_after:
            self.best_since_restart, self.hops_without_progress = np.inf, 0
            residuals[:] = np.inf

    def polish(self, start: Float[np.ndarray, "n 3"]) -> bool:
        """Refine a structure in float64, judge it there, and keep it if it is good.

        Args:
            start: its coordinates.

        Returns:
            Whether it hits the target.
        """
        problem, tolerance = self.problem, self.config.tolerance
        with jax.enable_x64(True):
            polish, before = compiled_polish(problem.program, self.config.compiled), np.inf
            while True:
                begin = on_device(start, np.float64)
                task = problem.task(np.float64)
                coordinates, residual = jax.device_get(polish(task, begin, problem.guidance))
                enlarged = with_larger_bounds(problem, coordinates)
                if enlarged is problem and not goes_on(float(residual), before, tolerance):
                    break
                problem, start, before = enlarged, coordinates, float(residual)
        judged = problem.residual(float(residual))
        if np.isfinite(judged):
            self.solutions.add(problem.atoms(coordinates), judged)
        return judged <= tolerance

    def result(self) -> Result:
        """What was found, or how far it came."""
        problem, found = self.problem, self.solutions.found
        if found:
            (atoms, residual), *others = found
        else:
            nowhere = np.full((len(problem.symbols), 3), np.nan)
            atoms, residual, others = Atoms(problem.symbols, nowhere), np.inf, []
            atoms.set_cell(problem.cell)
            atoms.pbc = problem.cell is not None
        per_hop = self.config.evaluations_per_hop
        return Result(
            atoms=atoms,
            residual=residual,
            code=ResultCode.of(residual, self.config.tolerance, overflow=self.overflow),
            hops=self.hops,
            evaluations={kind: self.hops * count for kind, count in per_hop.items()},
            seconds=time.perf_counter() - self.started,
            others=tuple(others),
        )


def with_larger_bounds(problem: Problem, coordinates: np.ndarray) -> Problem:
    """The problem with bounds that hold all neighbours there are: itself where its own do."""
    if problem.cell is None or problem.fingerprint.images == "minimum":
        return problem
    atoms = problem.atoms(coordinates)
    # An unknown cell may have collapsed.
    if not np.isfinite(coordinates).all() or atoms.get_volume() < LEAST_VOLUME * len(atoms):
        return problem
    own, r_cut = problem.bounds, problem.fingerprint.descriptor.r_cut
    needed = bounds_of([atoms], r_cut)
    if needed.capacity <= own.capacity and needed.bin_capacity <= own.bin_capacity:
        return problem
    return replace(problem, bounds=needed)


def goes_on(residual: float, before: float, tolerance: float) -> bool:
    """Whether a round of polishing has gained enough for another one to follow.

    Along a flat valley, of a symmetric structure or of more unknowns than numbers, a descent is
    slow and steady. Far from the target a valley leads nowhere.
    """
    if residual > NEARLY * tolerance:
        return False
    return residual < before * (SLOW if residual > tolerance else FAST)
