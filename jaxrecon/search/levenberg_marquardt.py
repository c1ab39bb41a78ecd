"""Second-order refinement: Levenberg-Marquardt on the residual vector, down to round-off."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.numerics import solve_positive_definite

DAMPING_START = 1e-2
"""Damping of the first step that moves."""

DAMPING_LOW, DAMPING_HIGH = 1e-10, 1e4
"""Smallest and largest damping; in float64 the smallest is its round-off.

Along directions without a slope at the target, as symmetric structures have, the squared slope
falls with the square of the distance. Steps come to rest where it is below the damping.
"""

ACCEPTED = (0.05, 0.5)
"""Smallest and largest factor of the damping after a step that lowers the squared residual.

The factor is the ratio of the new to the old squared residual, within these limits. Damping that
falls by 0.2 at every such step needs more steps from random positions; one that falls by 0.5 alone
holds up the last steps. In proportion to the squared residual, damping leaves convergence
quadratic (Yamashita & Fukushima, Comput. Suppl. 15, 239, 2001).
"""

REJECTED = 3.0
"""Factor of the damping after any other step."""


class Linearization(NamedTuple):
    """The equations themselves, to first order around a point.

    Attributes:
        residual: the numbers that are wanted less those at the point, without a unit.
        jacobian: derivatives of the numbers by the positions and, below them, those by a strain
            where the cell is unknown; in 1/Angstrom and without a unit.
    """

    residual: Float[Array, " q"]
    jacobian: Float[Array, "q x 3"]


class NormalEquations(NamedTuple):
    """Gauss-Newton model of a sum of squares :math:`|r|^2` at a point.

    Attributes:
        gram: the matrix :math:`J^T J` for d unknowns, where J is the derivative of r.
        gradient: the vector :math:`J^T r`.
        squared: the sum :math:`|r|^2`, which accepted steps lower.
        residual: the number by which the best point is chosen.
        linear: what the model was made of; None where nobody asks for it.
    """

    gram: Float[Array, "d d"]
    gradient: Float[Array, " d"]
    squared: Float[Array, ""]
    residual: Float[Array, ""]
    linear: Linearization | None = None


class RefineState(NamedTuple):
    """The current point of a refinement, and the best point so far.

    Attributes:
        positions: the current point, in Angstrom.
        model: the model of the sum of squares there.
        damping: the damping of the next step, without a unit.
        best_positions: the point with the smallest residual so far, in Angstrom.
        best_residual: the residual there.
    """

    positions: Float[Array, "n 3"]
    model: NormalEquations
    damping: Float[Array, ""]
    best_positions: Float[Array, "n 3"]
    best_residual: Float[Array, ""]


class Refinement(NamedTuple):
    """An algorithm as two pure functions, ``init(positions, damping)`` and ``step(state)``.

    The first step evaluates the model at the start; all others move.

    Attributes:
        init: takes positions in Angstrom, and the damping of the first step that moves, to the
            first state.
        step: takes a state to the next one.
    """

    init: Callable[..., RefineState]
    step: Callable[[RefineState], RefineState]


def levenberg_marquardt(
    model: Callable[[Float[Array, "n 3"]], NormalEquations],
    *,
    max_step: float,
    moved: Callable[[Float[Array, "n 3"], Float[Array, "n 3"]], Float[Array, "n 3"]] = jnp.add,
) -> Refinement:
    r"""Minimise a sum of squares :math:`|r(x)|^2` by damped Gauss-Newton steps.

    .. math:: (J^T J + \mu\, (D + \bar d I) / 2) s = -J^T r

    D is the diagonal of :math:`J^T J`, as in Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963),
    and :math:`\bar d` the mean of its entries that are not zero, as in Levenberg, Q. Appl. Math. 2,
    164 (1944). D alone needs more steps from random positions. A step that does not lower the
    squared residual is rejected and the damping :math:`\mu` raised. Each step evaluates the model
    once and solves one system of linear equations, by elimination.

    Args:
        model: function from positions in Angstrom to the normal equations there.
        max_step: longest move of an atom in one step, in Angstrom; a longer step is shortened as a
            whole.
        moved: function from positions and a step to the new positions. It is not their sum where
            the unknowns of the model are not the positions themselves, as for an unknown cell.

    Returns:
        The functions that start and continue a refinement.
    """

    def init(positions: Array, damping: Array | float = DAMPING_START) -> RefineState:
        # A model of zeros with an infinite residual makes the first step go nowhere and accept the
        # model at the start. So the model appears in one place only, and XLA compiles it once.
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(model, positions)
        )
        worst = jnp.full_like(zeros.squared, jnp.inf)
        start = zeros._replace(squared=worst, residual=worst)
        before = jnp.asarray(damping / ACCEPTED[0], positions.dtype)
        return RefineState(positions, start, before, positions, worst)

    def step(state: RefineState) -> RefineState:
        gram, gradient = state.model.gram, state.model.gradient
        # Rigid motions have no curvature, and round-off may make theirs negative: a small multiple
        # of the trace keeps the matrix positive definite.
        diagonal = jnp.diagonal(gram)
        floor = jnp.finfo(gram.dtype).eps * jnp.trace(gram) + jnp.finfo(gram.dtype).tiny
        # Fixed atoms and padding have no curvature either, and don't count for the mean.
        mean = jnp.trace(gram) / jnp.maximum(jnp.sum(diagonal > 0.0, dtype=gram.dtype), 1.0)
        shift = state.damping * (diagonal + mean) / 2.0 + floor
        solution = solve_positive_definite(gram + jnp.diag(shift), -gradient)
        # Shorten the step as a whole: its direction is that of descent.
        move = jnp.where(jnp.isfinite(solution), solution, 0.0).reshape(state.positions.shape)
        longest = jnp.sqrt(jnp.max(jnp.sum(move**2, axis=-1)))
        move *= jnp.minimum(1.0, max_step / jnp.maximum(longest, 1e-12))
        # Steps go by the sum of squares, while the best point is chosen by the residual: it may be
        # one whose step was rejected. Both comparisons are false for NaN.
        trial = moved(state.positions, move)
        at_trial = model(trial)
        lower = at_trial.squared < state.model.squared
        better = at_trial.residual < state.best_residual
        # The first model comes from an infinite residual: then the ratio is 0.
        ratio = at_trial.squared / state.model.squared
        low = min(DAMPING_LOW, float(jnp.finfo(gram.dtype).eps))
        damping = state.damping * jnp.where(lower, jnp.clip(ratio, *ACCEPTED), REJECTED)
        return RefineState(
            positions=jnp.where(lower, trial, state.positions),
            model=jax.tree.map(lambda new, old: jnp.where(lower, new, old), at_trial, state.model),
            damping=jnp.clip(damping, low, DAMPING_HIGH),
            best_positions=jnp.where(better, trial, state.best_positions),
            best_residual=jnp.where(better, at_trial.residual, state.best_residual),
        )

    return Refinement(init, step)


def refine(
    refinement: Refinement, positions: Float[Array, "n 3"], *, steps: int
) -> tuple[Float[Array, "n 3"], Float[Array, ""]]:
    """Take a fixed number of steps from a start.

    The model is evaluated once more than there are steps: at the start.

    Args:
        refinement: the algorithm.
        positions: start, in Angstrom.
        steps: number of steps.

    Returns:
        The best positions in Angstrom, and their residual.
    """
    state = refinement.init(positions)
    state, _ = jax.lax.scan(lambda s, _: (refinement.step(s), None), state, length=steps + 1)
    return state.best_positions, state.best_residual
