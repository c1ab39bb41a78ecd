"""Moves: how a hop leaves a structure for the start of the next descent.

Fung et al., arXiv 2207.13227, algorithm 1, hop from the best structure of one trial. Here the
replicas of one population hop together: each starts from a random member of the best part of the
last population, moves, and descends.

To add a move, write a function with the signature of :data:`MoveFn` and add a line to
:data:`MOVES`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search import initialize, symmetry
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.descent import residual
from jaxrecon.search.gauss_newton import attribution
from jaxrecon.search.task import Task


class Situation(NamedTuple):
    """What a move may know.

    Attributes:
        fingerprint: what the target was made with.
        config: settings of the search.
        task: the target and what is known of the structure.
        attribution: how much of the residual each atom is responsible for.
    """

    fingerprint: Fingerprint
    config: ReconstructConfig
    task: Task
    attribution: Float[Array, " n"]


MoveFn = Callable[[PRNGKeyArray, Situation, Float[Array, "x 3"]], Float[Array, "x 3"]]
"""From a key, the situation and the parent's coordinates in Angstrom to the moved coordinates."""


def always(task: Task) -> Bool[Array, ""] | bool:
    """A move that any structure can make."""
    return True


class Move(NamedTuple):
    """One kind of move.

    Attributes:
        function: makes it.
        weight: how often it is drawn, relative to the other moves, unless the settings say else.
        applies: whether it can be made with the structures of a task; if not, it is never drawn.
    """

    function: MoveFn
    weight: float
    applies: Callable[[Task], Bool[Array, ""] | bool] = always


def move_weights(config: ReconstructConfig) -> Float[np.ndarray, " moves"]:
    """How often each move is drawn, in the order of :data:`MOVES`.

    Raises:
        ValueError: if the settings name a move that does not exist, or no move is left that every
            structure can make.
    """
    changed = dict(config.moves)
    if unknown := sorted(set(changed) - set(MOVES)):
        raise ValueError(f"expected moves among {tuple(MOVES)}, got {unknown}")
    weights = {name: changed.get(name, move.weight) for name, move in MOVES.items()}
    if not sum(weights[name] for name, move in MOVES.items() if move.applies is always) > 0:
        raise ValueError(
            f"expected a positive weight of a move that every structure can make, got {weights}"
        )
    return np.array(list(weights.values()), float)


def propose(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: Float[Array, "x 3"],
    weights: Float[Array | np.ndarray, " moves"],
    *,
    afresh: Bool[Array, ""] | bool = False,
) -> Float[Array, "x 3"]:
    """Leave a parent by one move, drawn by the weights.

    Args:
        key: of the random numbers.
        fingerprint: what the target was made with.
        config: what the moves need.
        task: what is to be inverted.
        parent: coordinates in Angstrom.
        weights: of the moves, from :func:`move_weights`. They are traced: other weights need no
            other program.
        afresh: whether to start from random coordinates whatever the weights are.

    Returns:
        Coordinates in Angstrom from which to descend.
    """
    first, *keys = jax.random.split(key, 1 + len(MOVES))
    wrong = attribution(fingerprint, task.structure(parent), task.target)
    situation = Situation(fingerprint, config, task, wrong)
    # All moves are made and one is taken: under vmap a branch would make them all as well.
    moved = jnp.stack(
        [
            move.function(own, situation, parent)
            for own, move in zip(keys, MOVES.values(), strict=True)
        ]
    )
    possible = jnp.stack([jnp.asarray(move.applies(task)) for move in MOVES.values()])
    random_start = jnp.asarray([move.function is fresh for move in MOVES.values()])
    weights = jnp.asarray(weights, parent.dtype) * possible
    weights = jnp.where(afresh, random_start.astype(parent.dtype), weights)
    return moved[_drawn(jax.random.uniform(first, dtype=parent.dtype), weights)]


def fresh(
    key: PRNGKeyArray, situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "x 3"]:
    """Start from random positions, and a random cell where it is unknown, whatever the parent is.

    Some of the starts of a crystal have a centre of inversion.
    """
    return random_start(key, situation.config, situation.task)


def random_start(key: PRNGKeyArray, config: ReconstructConfig, task: Task) -> Float[Array, "x 3"]:
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
    centred = symmetry.centrosymmetric(chances[:-1], positions, cell, partner)
    return task.join(jnp.where(chances[-1, 0] < config.inversion, centred, positions), cell)


def relocate(
    key: PRNGKeyArray, situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "x 3"]:
    """Move one atom, drawn by its attribution, to the best of a number of random sites.

    In a crystal with a centre of inversion its image moves with it, as often as the settings say.
    Half of the sites are uniform over the cell or the ball that holds the structure, half at a
    bonding distance from a random atom. They are compared by the residual before any descent.
    """
    fingerprint, config, task, wrong = situation
    chances = initialize.uniform(key, (config.sites + 1, 7), parent.dtype)
    atom = _drawn(chances[-1, 0], _suspicion(task, wrong))
    sites = _sites(chances[:-1], task, *task.split(parent), atom)
    image, kept = _image(config, task, parent, chances[-1, 1])
    partner = jnp.where(kept & task.free[image[atom]], image[atom], atom)
    candidates = jax.vmap(lambda site: parent.at[partner].set(-site).at[atom].set(site))(sites)
    losses = jax.vmap(lambda x: residual(fingerprint, task, x))(candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))]


def swap(
    key: PRNGKeyArray, situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "x 3"]:
    """Exchange an atom, drawn by its attribution, with a random atom of another element."""
    task = situation.task
    positions, cell = task.split(parent)
    chances = jax.random.uniform(key, (2,), positions.dtype)
    first = _drawn(chances[0], _suspicion(task, situation.attribution))
    other = (task.species != task.species[first]) & task.free
    second = _drawn(chances[1], other.astype(positions.dtype))
    second = jnp.where(other.any(), second, first)
    swapped = positions.at[first].set(positions[second]).at[second].set(positions[first])
    return task.join(swapped, cell)


def has_several_elements(task: Task) -> Bool[Array, ""]:
    """Whether there are atoms to swap."""
    return jnp.any((task.species != task.species[0]) & task.atoms)


def shake(
    key: PRNGKeyArray, situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "x 3"]:
    """Move all that is free by Gaussian noise; its width is log-uniform over ``shake_range``.

    It is odd in a crystal with a centre of inversion, as often as the settings say.
    """
    config, task = situation.config, situation.task
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


MOVES: dict[str, Move] = {
    "relocate": Move(relocate, 0.6),
    "swap": Move(swap, 0.15, has_several_elements),
    "shake": Move(shake, 0.25),
    "fresh": Move(fresh, 0.15),
}
"""The moves of a hop by name. Each takes the next of the keys that a hop splits, in this order."""


def _drawn(chance: Float[Array, "*c"], weights: Float[Array, " n"]) -> Int[Array, "*c"]:
    """Which of some weighted things a number in [0, 1) stands for; never one without weight.

    So that one draw from the generator does for all that a move needs: every further one adds to
    the time to compile.
    """
    heap = jnp.cumsum(weights)
    place = jnp.searchsorted(heap, chance * heap[-1], side="right", method="compare_all")
    last = len(weights) - 1 - jnp.argmax(weights[::-1] > 0.0)
    return jnp.minimum(place, last)


def _suspicion(task: Task, wrong: Float[Array, " n"]) -> Float[Array, " n"]:
    """How likely each atom is to be moved: by its attribution, and never one that is known."""
    return jnp.where(task.free, jnp.nan_to_num(wrong) + 1e-12, 0.0)


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
