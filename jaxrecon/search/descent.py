"""The descent from a start to the nearest minimum of the residual, and what it minimises."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.adam import adam
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.contacts import repelled
from jaxrecon.search.gauss_newton import guided_equations, normal_equations
from jaxrecon.search.levenberg_marquardt import NormalEquations, levenberg_marquardt, refine
from jaxrecon.search.objectives import mean_absolute_residual
from jaxrecon.search.task import STRAIN_LENGTH, Task


def residual(
    fingerprint: Fingerprint, task: Task, coordinates: Float[Array, "x 3"]
) -> Float[Array, ""]:
    """Mean absolute residual of coordinates in Angstrom, or what a guided search minimises."""
    value = fingerprint(task.structure(coordinates))
    if task.guidance is not None:
        return task.guidance.objective(value, task.target)
    return mean_absolute_residual(value, task.target)


def model(
    equations: Callable[..., NormalEquations],
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
) -> Callable[[Float[Array, "x 3"]], NormalEquations]:
    """The Gauss-Newton model that a descent goes by, as a function of the coordinates.

    Args:
        equations: :func:`~jaxrecon.search.gauss_newton.normal_equations` or another that takes the
            same; a guided search has its own.
        fingerprint: what the target was made with.
        config: settings of the search.
        task: the target and what is known of the structure.
    """
    if task.guidance is not None:
        equations = partial(guided_equations, guidance=task.guidance)

    def at(coordinates: Array) -> NormalEquations:
        structure = task.structure(coordinates)
        strain = STRAIN_LENGTH if task.variable else None
        result = equations(fingerprint, structure, task.target, strain_length=strain)
        if config.min_distance:
            shortest = config.min_distance * task.radius
            result = repelled(result, fingerprint.view(structure).neighbors, shortest, strain)
        return task.restrained(result)

    return at


def descend(
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    coordinates: Float[Array, "x 3"],
) -> tuple[Float[Array, "x 3"], Float[Array, ""]]:
    """Adam on the L1 loss, then Levenberg-Marquardt; the best coordinates and their residual."""
    start = adam(
        lambda x: residual(fingerprint, task, task.join(*task.split(x))),
        coordinates,
        steps=config.adam_steps,
        learning_rate=config.learning_rate,
    )
    refinement = levenberg_marquardt(
        model(normal_equations, fingerprint, config, task),
        max_step=config.max_step,
        moved=task.moved,
    )
    return refine(refinement, task.join(*task.split(start)), steps=config.refine_steps)
