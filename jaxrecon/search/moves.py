"""Basin hopping with a population: which parent, which move, and the descent that follows.

Fung et al., arXiv 2207.13227, algorithm 1, hops from the best structure of one trial. Here one
population of replicas hops together: every replica starts from a random member of the best part of
the last population, moves, and descends.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search import initialize, symmetry
from jaxrecon.search.adam import adam
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.contacts import repelled
from jaxrecon.search.gauss_newton import attribution, guided_equations, normal_equations
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


def fresh(key: PRNGKeyArray, config: ReconstructConfig, task: Task) -> Float[Array, "x 3"]:
    """Random positions, and a random cell where it is unknown; some with a centre of inversion."""
    cell = task.cell
    if task.variable:
        assert task.volume is not None
        cell_key, key = jax.random.split(key)
        cell = initialize.random_cell(cell_key, task.volume)
    if cell is None:
        return task.join(initialize.random_positions(key, task.radius, cell), cell)
    key, centre_key = jax.random.split(key)
    positions = initialize.random_positions(key, task.radius, cell)
    chances = initialize.uniform(centre_key, (max(len(positions), 8) + 1, 2), positions.dtype)
    partner = symmetry.partners(task.species, task.atoms)
    centred = symmetry.centred(chances[:-1], positions, cell, partner)
    return task.join(jnp.where(chances[-1, 0] < config.inversion, centred, positions), cell)


def propose(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: Float[Array, "x 3"],
    *,
    afresh: Bool[Array, ""] | bool = False,
) -> Float[Array, "x 3"]:
    """One hop away from a parent: relocate, swap, shake or start afresh, drawn by their weights.

    Args:
        key: of the random numbers.
        fingerprint: what the target was made with.
        config: the weights, and what the moves need.
        task: what is to be inverted.
        parent: coordinates in Angstrom.
        afresh: whether to start afresh whatever the weights are.
    """
    keys = jax.random.split(key, 5)
    positions, cell = task.split(parent)
    shares = attribution(fingerprint, task.structure(parent), task.target)
    moves = jnp.stack(
        [
            relocate(keys[1], fingerprint, config, task, parent, shares),
            task.join(swap(keys[2], task, positions, shares), cell),
            shake(keys[3], config, task, parent),
            fresh(keys[4], config, task),
        ]
    )
    several = jnp.any((task.species != task.species[0]) & task.atoms)
    weights = jnp.asarray(
        [config.relocate_weight, config.swap_weight, config.shake_weight, config.fresh_weight],
        parent.dtype,
    )
    kinds = jnp.arange(4)
    weights = weights * jnp.where(kinds == 1, several, True)
    weights = jnp.where(afresh, (kinds == 3).astype(parent.dtype), weights)
    return moves[_drawn(jax.random.uniform(keys[0], dtype=parent.dtype), weights)]


def _drawn(chance: Float[Array, "*c"], weights: Float[Array, " n"]) -> Int[Array, "*c"]:
    """Which of some weighted things a number in [0, 1) stands for; never one without weight.

    So that one draw from the generator does for all that a move needs: every further one adds to
    the time to compile.
    """
    heap = jnp.cumsum(weights)
    place = jnp.searchsorted(heap, chance * heap[-1], side="right", method="compare_all")
    last = len(weights) - 1 - jnp.argmax(weights[::-1] > 0.0)
    return jnp.minimum(place, last)


def relocate(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: Float[Array, "x 3"],
    shares: Float[Array, " n"],
) -> Float[Array, "x 3"]:
    """Move one atom, drawn by its attribution, to the best of a number of random sites.

    In a crystal with a centre of inversion its image moves with it, as often as the settings say.
    Half of the sites are uniform over the cell or the ball that holds the structure, half at a
    bonding distance from a random atom. They are compared by the residual before any descent.
    """
    chances = initialize.uniform(key, (config.sites + 1, 7), parent.dtype)
    atom = _drawn(chances[-1, 0], _suspicion(task, shares))
    sites = _sites(chances[:-1], task, *task.split(parent), atom)
    image, kept = _image(config, task, parent, chances[-1, 1])
    partner = jnp.where(kept & task.free[image[atom]], image[atom], atom)
    candidates = jax.vmap(lambda site: parent.at[partner].set(-site).at[atom].set(site))(sites)
    losses = jax.vmap(lambda x: residual(fingerprint, task, x))(candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))]


def _suspicion(task: Task, shares: Float[Array, " n"]) -> Float[Array, " n"]:
    """How likely each atom is to be moved: by its attribution, and never one that is known."""
    return jnp.where(task.free, jnp.nan_to_num(shares) + 1e-12, 0.0)


def _sites(
    chances: Float[Array, "count 7"],
    task: Task,
    positions: Float[Array, "n 3"],
    cell: Float[Array, "3 3"] | None,
    atom: Array,
) -> Float[Array, "count 3"]:
    radii, uniform = task.radius, chances[:, :3]
    height, turn = 2.0 * chances[:, 3] - 1.0, 2.0 * jnp.pi * chances[:, 4]
    across = jnp.sqrt(1.0 - height**2)
    direction = jnp.stack([across * jnp.cos(turn), across * jnp.sin(turn), height], axis=1)
    if cell is None:
        centre = jnp.mean(positions, axis=0, where=task.atoms[:, None])
        squares = jnp.sum((positions - centre[None]) ** 2, -1)
        reach = jnp.sqrt(jnp.max(squares, where=task.atoms, initial=0.0)) + radii[atom]
        anywhere = centre[None] + reach * jnp.cbrt(uniform[:, :1]) * direction
    else:
        anywhere = uniform @ cell
    anchor = _drawn(chances[:, 5], task.atoms.astype(chances.dtype))
    bond = (radii[atom] + radii[anchor]) * (0.8 + 0.7 * chances[:, 6])
    bonded = positions[anchor] + bond[:, None] * direction
    return jnp.where((jnp.arange(len(chances)) % 2 == 0)[:, None], anywhere, bonded)


def swap(
    key: PRNGKeyArray, task: Task, positions: Float[Array, "n 3"], shares: Float[Array, " n"]
) -> Float[Array, "n 3"]:
    """Exchange an atom, drawn by its attribution, with a random atom of another element."""
    chances = jax.random.uniform(key, (2,), positions.dtype)
    first = _drawn(chances[0], _suspicion(task, shares))
    other = (task.species != task.species[first]) & task.free
    second = _drawn(chances[1], other.astype(positions.dtype))
    second = jnp.where(other.any(), second, first)
    return positions.at[first].set(positions[second]).at[second].set(positions[first])


def shake(
    key: PRNGKeyArray, config: ReconstructConfig, task: Task, parent: Float[Array, "x 3"]
) -> Float[Array, "x 3"]:
    """Move all that is free by Gaussian noise; its width is log-uniform over ``shake_range``.

    It is odd in a crystal with a centre of inversion, as often as the settings say.
    """
    width_key, noise_key = jax.random.split(key)
    chances = jax.random.uniform(width_key, (2,), parent.dtype)
    low, high = jnp.log(jnp.asarray(config.shake_range, parent.dtype))
    width = jnp.exp(low + (high - low) * chances[0])
    noise = width * jax.random.normal(noise_key, (parent.size,), parent.dtype)
    noise = noise.reshape(parent.shape)
    image, kept = _image(config, task, parent, chances[1])
    atoms = noise[: len(image)]
    noise = noise.at[: len(image)].set(jnp.where(kept, (atoms - atoms[image]) / 2**0.5, atoms))
    return task.join(*task.split(task.moved(parent, noise)))


def _image(
    config: ReconstructConfig, task: Task, parent: Float[Array, "x 3"], chance: Float[Array, ""]
) -> tuple[Int[Array, " n"], Bool[Array, ""]]:
    """The images of the atoms by inversion, and whether a move is to keep it."""
    positions, cell = task.split(parent)
    if cell is None:
        return jnp.arange(len(positions)), jnp.asarray(False)
    partner = symmetry.partners(task.species, task.atoms)
    image, holds = symmetry.images(positions, cell, partner, task.atoms)
    return image, holds & (chance < config.inversion)
