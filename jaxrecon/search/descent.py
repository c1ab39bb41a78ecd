"""The descent from a start to a nearby minimum of the residual."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search import point_groups
from jaxrecon.search.adam import adam
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.contacts import with_contacts
from jaxrecon.search.gauss_newton import guided_equations, normal_equations
from jaxrecon.search.guidance import AtomRows
from jaxrecon.search.levenberg_marquardt import NormalEquations, levenberg_marquardt, refine
from jaxrecon.search.objectives import mean_absolute_residual
from jaxrecon.search.point_groups import Group
from jaxrecon.search.task import STRAIN_LENGTH, Task


def residual(
    fingerprint: Fingerprint, task: Task, coordinates: Float[Array, "x 3"]
) -> Float[Array, ""]:
    """The number that a search minimises.

    Args:
        fingerprint: the fingerprint of the target.
        task: the target and what is known about the structure.
        coordinates: see :class:`~jaxrecon.search.task.Task`; in Angstrom.

    Returns:
        The mean absolute residual; in a guided search, its objective.
    """
    structure = task.structure(coordinates)
    if task.guidance is None:
        return mean_absolute_residual(fingerprint(structure), task.target, task.weights)
    view = fingerprint.view(structure)
    rows = fingerprint.rows(view)
    value = view.spread(fingerprint.pooled(view, rows), fingerprint.size)
    atoms = AtomRows.of(fingerprint, structure, rows) if task.guidance.needs_atoms else None
    return task.guidance.objective(value, task.target, atoms)


def model(
    equations: Callable[..., NormalEquations],
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
) -> Callable[[Float[Array, "x 3"]], NormalEquations]:
    """The Gauss-Newton model that a descent minimises.

    Args:
        equations: :func:`~jaxrecon.search.gauss_newton.normal_equations` or another function of the
            same arguments; a guided search uses its own.
        fingerprint: the fingerprint of the target.
        config: settings of the search.
        task: the target and what is known about the structure.

    Returns:
        The function from coordinates in Angstrom to the model there.
    """
    if task.guidance is not None:
        equations = partial(guided_equations, guidance=task.guidance)
    elif task.weights is not None:
        equations = partial(equations, weights=task.weights)

    def at(coordinates: Array) -> NormalEquations:
        structure = task.structure(coordinates)
        strain = STRAIN_LENGTH if task.variable else None
        result = equations(fingerprint, structure, task.target, strain_length=strain)
        if config.min_distance:
            radii = config.min_distance * task.radius
            result = with_contacts(result, fingerprint.view(structure).neighbors, radii, strain)
        return task.constrained(result)

    return at


def descend(
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    coordinates: Float[Array, "x 3"],
    group: Group | None = None,
) -> tuple[Float[Array, "x 3"], Float[Array, ""]]:
    """Descend by Adam on the L1 loss, then by Levenberg-Marquardt.

    Args:
        fingerprint: the fingerprint of the target.
        config: settings of the search.
        task: the target and what is known about the structure.
        coordinates: start, in Angstrom.
        group: a point group, which a free structure that has it keeps from then on; None for none.

    Returns:
        The best coordinates in Angstrom, and their residual.
    """
    # Splitting and joining puts known atoms where they are known to be.
    start = adam(
        lambda x: residual(fingerprint, task, task.join(*task.split(x))),
        coordinates,
        steps=config.adam_steps,
        learning_rate=config.learning_rate,
    )
    start = task.join(*task.split(start))
    symmetric = group and point_groups.keeping(group, start, task.species, task.atoms)
    refinement = levenberg_marquardt(
        model(normal_equations, fingerprint, config, task),
        max_step=config.max_step,
        moved=lambda x, step: task.moved(x, symmetric(step) if symmetric else step),
    )
    return refine(refinement, start, steps=config.refine_steps)
