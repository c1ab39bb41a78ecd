"""Moves: random changes of a structure, with which a hop begins.

In algorithm 1 of Fung et al., arXiv 2207.13227, each trial hops from its own best structure. Here
all replicas of a population hop together: each one starts from a random structure among the best
of the last population, makes a move, and descends. A move may have several outcomes: that with the
smallest residual goes on.

To add a move, write a function with the signature of :data:`MoveFn` and add a line to
:data:`MOVES`, which says how many random numbers the move takes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.numerics import product
from jaxrecon.search import initialize, point_groups, symmetry
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.descent import residual
from jaxrecon.search.gauss_newton import attribution
from jaxrecon.search.point_groups import Group
from jaxrecon.search.task import Task


class Situation(NamedTuple):
    """What a move may depend on, besides the structure.

    Attributes:
        fingerprint: the fingerprint of the target.
        config: settings of the search.
        task: the target and what is known about the structure.
        attribution: how much of the residual each atom is responsible for, without a unit.
        group: the point group of a free structure that starts afresh; None for none.
    """

    fingerprint: Fingerprint
    config: ReconstructConfig
    task: Task
    attribution: Float[Array, " n"]
    group: Group | None = None


MoveFn = Callable[[Float[Array, " k"], Situation, Float[Array, "x 3"]], Float[Array, "c x 3"]]
"""Function from random numbers, the situation and the coordinates of the parent to candidates.

Candidates are new coordinates: one, or as many as the settings say.

The random numbers are uniform in [0, 1), as many as :attr:`Move.draws` says.

Coordinates are those of :class:`~jaxrecon.search.task.Task`, in Angstrom. The parent is the
structure that moves. A move leaves fixed atoms in place.
"""

BOND_RANGE = (0.8, 1.5)
"""Smallest and largest distance of a bonded site, in units of the sum of the covalent radii."""

SMALL_ATTRIBUTION = 1e-12
"""Attribution that is added to that of every free atom, so that any of them may be drawn."""


def always(task: Task) -> Bool[Array, ""] | bool:
    """Whether the move applies, for moves that apply to all structures."""
    return True


class Move(NamedTuple):
    """One kind of move.

    Attributes:
        function: the function that makes the move.
        weight: how often the move is drawn, relative to the others, by default.
        draws: function of the settings and of the number of rows of the coordinates that gives the
            number of random numbers that the move takes.
        applies: function that says whether the move can change the structures of a task. If not, it
            is never drawn.
    """

    function: MoveFn
    weight: float
    draws: Callable[[ReconstructConfig, int], int]
    applies: Callable[[Task], Bool[Array, ""] | bool] = always


def move_weights(config: ReconstructConfig) -> Float[np.ndarray, " moves"]:
    """The weights of the moves, in the order of :data:`MOVES`.

    Raises:
        ValueError: if the settings name a move that does not exist, or no move with a positive
            weight applies to all structures.
    """
    changed = dict(config.moves)
    if unknown := sorted(set(changed) - set(MOVES)):
        raise ValueError(f"expected moves among {tuple(MOVES)}, got {unknown}")
    weights = {name: changed.get(name, move.weight) for name, move in MOVES.items()}
    if not sum(weights[name] for name, move in MOVES.items() if move.applies is always) > 0:
        raise ValueError(
            f"expected a positive weight of a move that applies to all structures, got {weights}"
        )
    return np.array(list(weights.values()), float)


def move_draws(config: ReconstructConfig, rows: int) -> int:
    """The number of random numbers that :func:`propose` takes.

    Args:
        config: settings of the search.
        rows: number of rows of the coordinates.
    """
    return 1 + sum(move.draws(config, rows) for move in MOVES.values())


def propose(
    chances: Float[Array, " k"],
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: Float[Array, "x 3"],
    weights: Float[Array | np.ndarray, " moves"],
    *,
    group: Group | None = None,
    afresh: Bool[Array, ""] | bool = False,
) -> Float[Array, "x 3"]:
    """Make one move from a parent, drawn by the weights, and take the best of its candidates.

    Args:
        chances: uniform random numbers in [0, 1), :func:`move_draws` of them.
        fingerprint: the fingerprint of the target.
        config: settings of the search.
        task: the target and what is known about the structure.
        parent: coordinates of the parent, in Angstrom.
        weights: weights of the moves, from :func:`move_weights`. They are traced: changing them
            compiles nothing anew.
        group: the point group of a free structure that starts afresh; None for none.
        afresh: whether to ignore weights and parent and start from random coordinates.

    Returns:
        Coordinates in Angstrom from which to descend.
    """
    ends = np.cumsum([1, *(move.draws(config, len(parent)) for move in MOVES.values())])
    first, *parts = jnp.split(chances, ends[:-1].tolist())
    structure = task.structure(parent)
    attributions = attribution(fingerprint, structure, task.target, task.weights)
    situation = Situation(fingerprint, config, task, attributions, group)
    # Make all moves and take one of them: under vmap, a branch would make all of them as well.
    made = [
        move.function(part, situation, parent)
        for part, move in zip(parts, MOVES.values(), strict=True)
    ]
    moved = jnp.stack([jnp.broadcast_to(each, (config.candidates, *parent.shape)) for each in made])
    # Moves that do not apply have no weight. If a fresh start is forced, it alone has a weight.
    possible = jnp.stack([jnp.asarray(move.applies(task)) for move in MOVES.values()])
    is_fresh = jnp.asarray([move.function is fresh for move in MOVES.values()])
    weights = jnp.asarray(weights, parent.dtype) * possible.astype(parent.dtype)
    weights = jnp.where(afresh, is_fresh.astype(parent.dtype), weights)
    return best(moved[_drawn(first[0], weights)], situation)


def best(candidates: Float[Array, "c x 3"], situation: Situation) -> Float[Array, "x 3"]:
    """The candidate with the smallest residual."""
    fingerprint, task = situation.fingerprint, situation.task
    losses = jax.vmap(lambda x: residual(fingerprint, task, x))(candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))]


def fresh(
    chances: Float[Array, " k"], situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "c x 3"]:
    """Start again from random coordinates, whatever the parent is; see :func:`random_start`."""
    _, config, task, _, group = situation
    each = chances.reshape(config.candidates, -1)
    return jax.vmap(lambda own: random_start(own, config, task, group))(each)


def start_draws(rows: int) -> int:
    """The number of random numbers that :func:`random_start` takes.

    Args:
        rows: number of rows of the coordinates.
    """
    return 12 + 3 * (rows + 1) + 2 * (max(rows, 8) + 1)


def random_start(
    chances: Float[Array, " k"],
    config: ReconstructConfig,
    task: Task,
    group: Group | None = None,
) -> Float[Array, "x 3"]:
    """Random positions and, where the cell is unknown, a random cell.

    Args:
        chances: uniform random numbers in [0, 1), :func:`start_draws` of them.
        config: settings of the search, among them how many crystals have a centre of inversion.
        task: the target and what is known about the structure.
        group: the point group that a free structure gets; None for none.

    Returns:
        Coordinates in Angstrom.
    """
    # Random numbers for the cell, for the atoms, and for the symmetry.
    n = len(task.species)
    for_cell, for_atoms, rest = jnp.split(chances, [12, 12 + 3 * (n + 1)])
    cell = task.cell
    if task.variable:
        assert task.volume is not None
        cell = initialize.random_cell(for_cell.reshape(4, 3), task.volume)
    positions = initialize.random_positions(for_atoms.reshape(n + 1, 3), task.radius, cell)
    if cell is None:
        if task.fixed is not None and task.known is not None:
            known = jnp.sum(task.known, axis=0, where=task.fixed[:, None])
            known /= jnp.maximum(task.fixed.sum(), 1).astype(known.dtype)
            # The random atoms are around the known ones, wherever these are.
            positions += (known - jnp.mean(positions, axis=0, where=task.atoms[:, None]))[None]
        if group is not None:
            center = jnp.mean(positions, axis=0, where=task.atoms[:, None])
            about = rest[: 2 * n].reshape(n, 2)
            positions = point_groups.symmetric(
                about, positions - center[None], task.species, task.atoms, group
            )
        return task.join(positions, cell)
    # The last row decides about the centre of inversion, the others go to the atoms and centres.
    rows = max(n, 8) + 1
    about = rest[: 2 * rows].reshape(rows, 2)
    partner = symmetry.partners(task.species, task.atoms)
    symmetric = symmetry.centrosymmetric(about[:-1], positions, cell, partner)
    return task.join(jnp.where(about[-1, 0] < config.inversion, symmetric, positions), cell)


def relocate(
    chances: Float[Array, " k"], situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "c x 3"]:
    """Move one atom, drawn by its attribution, to random sites, one for each candidate.

    Half of the sites are uniform over the cell, or over the ball that holds the structure; the
    other half are at a bonding distance from a random atom. In a crystal with a centre of inversion
    the image of the atom moves as well, with the probability of the settings.
    """
    _, config, task, attributions, _ = situation
    # The last row draws the atom and decides about its image, the others make the sites.
    rows = chances.reshape(config.candidates + 1, 7)
    atom = _drawn(rows[-1, 0], _atom_weights(task, attributions))
    sites = _sites(rows[:-1], task, *task.split(parent), atom)
    # The image moves too where the centre is preserved, unless it is known.
    image, preserves = _images(config, task, parent, rows[-1, 1])
    partner = jnp.where(preserves & task.free[image[atom]], image[atom], atom)
    # Where the atom is its own image, the second assignment replaces the first.
    return jax.vmap(lambda site: parent.at[partner].set(-site).at[atom].set(site))(sites)


def swap(
    chances: Float[Array, " k"], situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "1 x 3"]:
    """Exchange an atom, drawn by its attribution, with a random atom of another element."""
    task = situation.task
    positions, cell = task.split(parent)
    first = _drawn(chances[0], _atom_weights(task, situation.attribution))
    # If no free atom is of another element, exchange the atom with itself: nothing changes.
    other = (task.species != task.species[first]) & task.free
    second = _drawn(chances[1], other.astype(positions.dtype))
    second = jnp.where(other.any(), second, first)
    swapped = positions.at[first].set(positions[second]).at[second].set(positions[first])
    return task.join(swapped, cell)[None]


def has_several_elements(task: Task) -> Bool[Array, ""]:
    """Whether the structures of a task have atoms of more than one element, for :func:`swap`."""
    return jnp.any((task.species != task.species[0]) & task.atoms)


def shake(
    chances: Float[Array, " k"], situation: Situation, parent: Float[Array, "x 3"]
) -> Float[Array, "1 x 3"]:
    """Move all free atoms, and an unknown cell, by Gaussian noise.

    The logarithm of its standard deviation is uniform over ``shake_range``. In a crystal with a
    centre of inversion the noise preserves the centre, with the probability of the settings.
    """
    config, task = situation.config, situation.task
    low, high = jnp.log(jnp.asarray(config.shake_range, parent.dtype))
    width = jnp.exp(low + (high - low) * chances[0])
    noise = width * initialize.normal(chances[2:]).reshape(parent.shape)
    # The centre is preserved if an atom and its image move in opposite directions. The difference
    # of two independent displacements does, and has the same variance when divided by sqrt(2).
    image, preserves = _images(config, task, parent, chances[1])
    atoms = noise[: len(image)]
    odd = (atoms - atoms[image]) / 2**0.5
    # Not ``noise.at[: len(image)].set(...)``: with a known cell that sets the whole array, and then
    # jax 0.11.2 crashes when it compiles for several CPU devices.
    noise = jnp.concatenate([jnp.where(preserves, odd, atoms), noise[len(image) :]])
    return task.join(*task.split(task.moved(parent, noise)))[None]


MOVES: dict[str, Move] = {
    "relocate": Move(relocate, 0.6, lambda config, rows: 7 * (config.candidates + 1)),
    "swap": Move(swap, 0.15, lambda config, rows: 2, has_several_elements),
    "shake": Move(shake, 0.25, lambda config, rows: 2 + 3 * rows),
    "fresh": Move(fresh, 0.15, lambda config, rows: config.candidates * start_draws(rows)),
}
"""The moves by name.

A hop splits its random numbers and gives one part to each move, in this order.
"""


def _drawn(chance: Float[Array, "*c"], weights: Float[Array, " n"]) -> Int[Array, "*c"]:
    """Draw an index by weights, from a uniform random number in [0, 1).

    An index without weight is never drawn.
    """
    sums = jnp.cumsum(weights)
    index = jnp.searchsorted(sums, chance * sums[-1], side="right", method="compare_all")
    # Round-off may lead beyond the last index that has a weight.
    last = len(weights) - 1 - jnp.argmax(weights[::-1] > 0.0)
    return jnp.minimum(index, last.astype(index.dtype)).astype(int)


def _atom_weights(task: Task, attributions: Float[Array, " n"]) -> Float[Array, " n"]:
    """Weights by which an atom is drawn to move: its attribution, or 0 if it is fixed."""
    return jnp.where(task.free, jnp.nan_to_num(attributions) + SMALL_ATTRIBUTION, 0.0)


def _sites(
    chances: Float[Array, "count 7"],
    task: Task,
    positions: Float[Array, "n 3"],
    cell: Float[Array, "3 3"] | None,
    atom: Array,
) -> Float[Array, "count 3"]:
    """Random sites for an atom in Angstrom, one for each row of uniform random numbers."""
    # Directions are uniform on the sphere where their height is uniform (Archimedes).
    radii, uniform = task.radius, chances[:, :3]
    height, angle = 2.0 * chances[:, 3] - 1.0, 2.0 * jnp.pi * chances[:, 4]
    across = jnp.sqrt(1.0 - height**2)
    direction = jnp.stack([across * jnp.cos(angle), across * jnp.sin(angle), height], axis=1)
    # Sites anywhere: in the ball around a free structure, one radius of the atom larger than it, or
    # in the cell.
    if cell is None:
        center = jnp.mean(positions, axis=0, where=task.atoms[:, None])
        squares = jnp.sum((positions - center[None]) ** 2, -1)
        reach = jnp.sqrt(jnp.max(squares, where=task.atoms, initial=0.0)) + radii[atom]
        anywhere = center[None] + reach * jnp.cbrt(uniform[:, :1]) * direction
    else:
        anywhere = product(uniform, cell)
    # Bonded sites, around a random atom. Sites of both kinds alternate.
    anchor = _drawn(chances[:, 5], task.atoms.astype(chances.dtype))
    low, high = BOND_RANGE
    bond = (radii[atom] + radii[anchor]) * (low + (high - low) * chances[:, 6])
    bonded = positions[anchor] + bond[:, None] * direction
    return jnp.where((jnp.arange(len(chances)) % 2 == 0)[:, None], anywhere, bonded)


def _images(
    config: ReconstructConfig, task: Task, parent: Float[Array, "x 3"], chance: Float[Array, ""]
) -> tuple[Int[Array, " n"], Bool[Array, ""]]:
    """The images of the atoms by inversion, and whether a move is to preserve the centre."""
    positions, cell = task.split(parent)
    if cell is None:
        return jnp.arange(len(positions)), jnp.asarray(False)
    partner = symmetry.partners(task.species, task.atoms)
    image, holds = symmetry.images(positions, cell, partner, task.atoms)
    return image, holds & (chance < config.inversion)
