"""Second-order refinement: Levenberg-Marquardt on the residual vector, to the round-off floor."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.numerics import solve_positive_definite

DAMPING_START, DAMPING_LOW, DAMPING_HIGH = 1e-2, 1e-10, 1e4
ACCEPTED, REJECTED = 0.2, 4.0
"""Factors on the damping after a step that lowered the squared residual, and one that did not."""


class NormalEquations(NamedTuple):
    """Gauss-Newton model of a sum of squares at a point.

    Attributes:
        gram: :math:`J^T J`, with d = 3n.
        gradient: :math:`J^T r`.
        squared: :math:`|r|^2`, what the steps lower.
        residual: what the best point is chosen by.
    """

    gram: Float[Array, "d d"]
    gradient: Float[Array, " d"]
    squared: Float[Array, ""]
    residual: Float[Array, ""]


class RefineState(NamedTuple):
    """Where the steps are, and the best that they have met.

    Attributes:
        positions: the current point, in Angstrom.
        model: of the sum of squares there.
        damping: of the next step, without a unit.
        best_positions: the point with the least residual, in Angstrom.
        best_residual: that residual.
    """

    positions: Float[Array, "n 3"]
    model: NormalEquations
    damping: Float[Array, ""]
    best_positions: Float[Array, "n 3"]
    best_residual: Float[Array, ""]


class Refinement(NamedTuple):
    """An algorithm as two pure functions: ``init(positions)`` and ``step(state)``.

    The first step evaluates the model at the start, the others move.

    Attributes:
        init: the state at some positions in Angstrom.
        step: the next state.
    """

    init: Callable[[Float[Array, "n 3"]], RefineState]
    step: Callable[[RefineState], RefineState]


def levenberg_marquardt(
    model: Callable[[Float[Array, "n 3"]], NormalEquations],
    *,
    max_step: float,
    moved: Callable[[Float[Array, "n 3"], Float[Array, "n 3"]], Float[Array, "n 3"]] = jnp.add,
) -> Refinement:
    r"""Minimise a sum of squares :math:`|r(x)|^2` by damped Gauss-Newton steps.

    .. math:: (J^T J + \mu\, \mathrm{diag}(J^T J)) s = -J^T r

    Source: Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963). The 3N x 3N normal equations are
    solved by elimination; a step that does not lower the squared residual is taken back and the
    damping raised. Rigid motions have zero curvature, hence a small multiple of the trace on the
    diagonal. Each step costs one model and one solve.

    Args:
        model: positions in Angstrom to the normal equations there.
        max_step: no atom moves further than this in one step, in Angstrom.
        moved: positions after a step; other than their sum where the model's unknowns are not
            the positions themselves, as with a cell that is strained.
    """

    def init(positions: Array) -> RefineState:
        # The first step goes nowhere and has its model accepted, so that XLA compiles it once.
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(model, positions)
        )
        worst = jnp.full_like(zeros.squared, jnp.inf)
        start = zeros._replace(squared=worst, residual=worst)
        damping = jnp.asarray(DAMPING_START / ACCEPTED, positions.dtype)
        return RefineState(positions, start, damping, positions, worst)

    def step(state: RefineState) -> RefineState:
        gram, gradient = state.model.gram, state.model.gradient
        diagonal = jnp.diagonal(gram)
        floor = jnp.finfo(gram.dtype).eps * jnp.trace(gram) + jnp.finfo(gram.dtype).tiny
        shift = state.damping * (diagonal + 1e-6 * diagonal.mean()) + floor
        solution = solve_positive_definite(gram + jnp.diag(shift), -gradient)
        move = jnp.where(jnp.isfinite(solution), solution, 0.0).reshape(state.positions.shape)
        longest = jnp.sqrt(jnp.max(jnp.sum(move**2, axis=-1)))
        move *= jnp.minimum(1.0, max_step / jnp.maximum(longest, 1e-12))
        trial = moved(state.positions, move)
        at_trial = model(trial)
        lower = at_trial.squared < state.model.squared
        better = at_trial.residual < state.best_residual
        damping = state.damping * jnp.where(lower, ACCEPTED, REJECTED)
        return RefineState(
            positions=jnp.where(lower, trial, state.positions),
            model=jax.tree.map(lambda new, old: jnp.where(lower, new, old), at_trial, state.model),
            damping=jnp.clip(damping, DAMPING_LOW, DAMPING_HIGH),
            best_positions=jnp.where(better, trial, state.best_positions),
            best_residual=jnp.where(better, at_trial.residual, state.best_residual),
        )

    return Refinement(init, step)


def refine(
    refinement: Refinement, positions: Float[Array, "n 3"], *, steps: int
) -> tuple[Float[Array, "n 3"], Float[Array, ""]]:
    """Take a fixed number of steps; return the best positions and their mean |residual|.

    It costs one model more than there are steps.
    """
    state = refinement.init(positions)
    state, _ = jax.lax.scan(lambda s, _: (refinement.step(s), None), state, length=steps + 1)
    return state.best_positions, state.best_residual
