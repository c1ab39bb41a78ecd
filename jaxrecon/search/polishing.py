"""Polishing: the last steps towards a target in float64, and how firmly it holds what they find."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float

from jaxrecon.search.certificate import Certificate, certified
from jaxrecon.search.compiled import compiled_polish
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.levenberg_marquardt import DAMPING_START, Linearization
from jaxrecon.search.local_model import LocalModel
from jaxrecon.search.problems import Problem, on_device
from jaxrecon.search.soft_directions import soft_step
from jaxrecon.search.unknowns import Unknowns, largest
from jaxrecon.structures.bounds import bounds_of

MIN_VOLUME_PER_ATOM = 1.0
"""Volume per atom in Angstrom^3 below which an unknown cell counts as collapsed."""

FLATTEST = 5.0
"""The same for the edge of a cube of its volume, in units of its smallest height."""

NEAR_TARGET = 100.0
"""Largest residual, in units of the tolerance, at which a second round of polishing is worth it."""

IN_A_VALLEY = 1e3
"""The same for steps to second order along soft directions."""

VALLEY_STEP = 0.01
"""Longest step along a curved valley, in Angstrom."""

RATIO_ABOVE_TOLERANCE = 0.9
"""Largest ratio of new to old residual at which another round of polishing is worth it.

It holds for residuals above the tolerance.
"""

RATIO_BELOW_TOLERANCE = 0.25
"""The same for residuals at or below the tolerance, where further rounds refine the positions."""


def polished(
    problem: Problem, config: ReconstructConfig, start: Float[np.ndarray, "x 3"]
) -> tuple[Float[np.ndarray, "x 3"], float, Certificate | None]:
    """Polish a structure in float64, in as many rounds as are worth it.

    A round is Levenberg-Marquardt. Where it stops in a flat valley, or at a saddle, a step along
    the soft directions begins another one.

    Args:
        problem: the target.
        config: settings of the search.
        start: coordinates in Angstrom.

    Returns:
        The best coordinates in Angstrom, their residual over all numbers of the target, and, where
        the tolerance is reached, the certificate of the structure.
    """
    coordinates, residual, problem = _rounds(problem, config, start)
    certificate = None
    while residual <= IN_A_VALLEY * config.tolerance:
        model = local_model(problem, config, problem.atoms(coordinates))
        if model is None or not len(model.singular):
            break
        if residual <= config.tolerance:
            certificate = certified(model, len(problem.target), problem.level)
            if not config.position_tolerance < certificate.position_error < np.inf:
                break
        if model.firm == len(model.singular):
            break
        for motion in _onwards(model, near=residual <= config.tolerance):
            moved = problem.coordinates(model.unknowns.moved(motion))
            again, lower, enlarged = _rounds(problem, config, moved)
            if lower < residual * RATIO_ABOVE_TOLERANCE:
                break
        else:
            break
        coordinates, residual, problem, certificate = again, lower, enlarged, None
    return coordinates, problem.residual(residual), certificate


def _onwards(model: LocalModel, *, near: bool) -> Iterator[Float[np.ndarray, "x 3"]]:
    """Steps in Angstrom that may lead on from where damped ones stop; the next one if one fails.

    Near the target the slopes along a curved valley are above round-off, and far below the damping.
    Then, and farther off, the second order may lead to the target, or to another valley.
    """
    if near:
        step = model.newton_step()
        yield step * min(1.0, VALLEY_STEP / max(float(largest(step)), VALLEY_STEP))
    yield soft_step(model)


def _rounds(
    problem: Problem, config: ReconstructConfig, start: Float[np.ndarray, "x 3"]
) -> tuple[Float[np.ndarray, "x 3"], float, Problem]:
    """Rounds of Levenberg-Marquardt, and the problem with bounds that hold the result.

    A round goes on with the damping of the one before: in a flat valley it takes most of the steps
    of a round to come down.
    """
    previous, damping = np.inf, DAMPING_START
    while True:
        best, left, _, last = _round(problem, config, start, config.polish_steps, damping)
        coordinates, residual, damping = np.asarray(best), float(left), float(last)
        # If the structure has more neighbours than the bounds hold, the round saw only some of
        # them: repeat it with larger bounds.
        enlarged = with_larger_bounds(problem, coordinates)
        complete = enlarged is problem
        if complete and not is_worth_polishing(residual, previous, config.tolerance):
            return coordinates, residual, problem
        problem, start, previous = enlarged, coordinates, residual


def _round(
    problem: Problem,
    config: ReconstructConfig,
    start: Float[np.ndarray, "x 3"],
    steps: int = 0,
    damping: float = DAMPING_START,
) -> tuple[Array, Array, Linearization | None, Array]:
    """Run the program that polishes; without steps it looks at the start alone."""
    with jax.enable_x64(True):
        polish = compiled_polish(problem.searched_fingerprint, config.compiled, problem.group)
        begin, first = on_device(start, np.float64), on_device(damping, np.float64)
        task, count = problem.task(np.float64), on_device(steps, np.int32)
        return polish(task, begin, problem.guidance, count, first)


def begin_polishing(
    problem: Problem, config: ReconstructConfig, some: Float[np.ndarray, "x 3"]
) -> None:
    """Compile the program that polishes, by a look at a structure.

    Args:
        problem: the target.
        config: settings of the search.
        some: coordinates of any structure of the search in Angstrom; nothing is done if they are
            not finite.
    """
    if not np.isfinite(some).all():
        return
    jax.block_until_ready(_round(problem, config, some)[:2])


def certificate_of(
    problem: Problem, config: ReconstructConfig, atoms: Atoms, residual: float
) -> Certificate | None:
    """How firmly a target holds a structure, by the program that has polished it.

    Args:
        problem: the target.
        config: settings of the search.
        atoms: the structure, positions in Angstrom.
        residual: its residual.

    Returns:
        The certificate. None far from the target, where derivatives at the structure say nothing
        about the wanted one; and in a guided search, which does not look for the numbers alone.
    """
    if not residual <= NEAR_TARGET * config.tolerance:
        return None
    model = local_model(problem, config, atoms)
    if model is None:
        return None
    return certified(model, len(problem.target), problem.level)


def local_model(problem: Problem, config: ReconstructConfig, atoms: Atoms) -> LocalModel | None:
    """The numbers of a target around a structure, by the program that polishes.

    Args:
        problem: the target.
        config: settings of the search.
        atoms: the structure, positions in Angstrom.

    Returns:
        The model; None in a guided search, and where the structure can't be evaluated.
    """
    if problem.guidance is not None:
        return None
    fixed = None if problem.positions is None else np.isfinite(problem.positions).all(axis=1)
    unknowns = Unknowns.of(atoms, strained=problem.volume is not None, fixed=fixed)
    linear = _linearization(problem, config, atoms)
    if linear is None:
        return None
    left, jacobian = linear

    def jacobians(moved: Sequence[Atoms]) -> list[Float[np.ndarray, "q y 3"]]:
        found = [_linearization(problem, config, each) for each in moved]
        # Where a neighbour comes in that the arrays can't hold, the structure itself stands in.
        return [jacobian if each is None else each[1] for each in found]

    target, weights = problem.target, problem.weights
    length = float(np.linalg.norm(target if weights is None else weights * target))
    return LocalModel.of(unknowns, left, jacobian, jacobians, length)


def _linearization(
    problem: Problem, config: ReconstructConfig, atoms: Atoms
) -> tuple[Float[np.ndarray, " q"], Float[np.ndarray, "q y 3"]] | None:
    """Residual and Jacobian of a structure without padding; None where neighbours are left out."""
    coordinates = problem.coordinates(atoms)
    problem = with_larger_bounds(problem, coordinates)
    _, residual, linear, _ = _round(problem, config, coordinates)
    if linear is None or not np.isfinite(residual):
        return None
    left, jacobian = jax.device_get(linear)
    rows = [*range(len(atoms)), *range(problem.padded_size, jacobian.shape[1])]
    return left, jacobian[:, rows]


def with_larger_bounds(problem: Problem, coordinates: np.ndarray) -> Problem:
    """Enlarge the bounds of a problem where a structure needs larger ones.

    Args:
        problem: the problem.
        coordinates: coordinates of the structure, in Angstrom.

    Returns:
        A copy with larger bounds; the problem itself where its bounds suffice, or where the
        coordinates are not finite or the cell has collapsed.
    """
    if problem.cell is None or problem.fingerprint.images == "minimum":
        return problem
    atoms = problem.atoms(coordinates)
    # A collapsed cell would have endless numbers of neighbours.
    if not np.isfinite(coordinates).all():
        return problem
    if atoms.get_volume() < MIN_VOLUME_PER_ATOM * len(atoms):
        return problem
    # The search has the cell as it is, not the shortest vectors of its lattice.
    if problem.volume is not None:
        atoms.set_cell(coordinates[-3:])
        heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
        if np.cbrt(atoms.get_volume()) > FLATTEST * heights.min():
            return problem
    own, needed = problem.bounds, bounds_of([atoms], problem.fingerprint.descriptor.r_cut)
    capacity = max(own.capacity, needed.capacity)
    in_bin = max(own.bin_capacity, needed.bin_capacity)
    # Where bins are others, their numbers don't compare.
    counts = own.counts
    if needed.bins == own.bins:
        counts = (
            max(own.counts[0], needed.counts[0]),
            max(own.counts[1], needed.counts[1]),
            max(own.counts[2], needed.counts[2]),
        )
    if (capacity, in_bin, counts) == (own.capacity, own.bin_capacity, own.counts):
        return problem
    if needed.bins == own.bins:
        needed = replace(own, capacity=capacity, bin_capacity=in_bin, counts=counts)
    return replace(problem, bounds=replace(needed, elements=own.elements))


def is_worth_polishing(residual: float, previous: float, tolerance: float) -> bool:
    """Whether another round of polishing is worth it.

    Along a flat valley, as of a symmetric structure or of more unknowns than numbers, the descent
    is slow but steady, and further rounds reach the target. Far from the target a valley leads
    nowhere.

    Args:
        residual: residual after the last round.
        previous: residual after the round before it; infinite if there was none.
        tolerance: residual at which a structure counts as a solution.

    Returns:
        Whether the last round has lowered the residual enough.
    """
    if residual > NEAR_TARGET * tolerance:
        return False
    ratio = RATIO_ABOVE_TOLERANCE if residual > tolerance else RATIO_BELOW_TOLERANCE
    return residual < previous * ratio
