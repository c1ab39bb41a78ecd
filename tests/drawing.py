"""Moves and random starts from a random key: their random numbers are drawn in one call."""

import jax
import numpy as np

from jaxrecon import Fingerprint, ReconstructConfig
from jaxrecon.search import moves
from jaxrecon.search.moves import MOVES, Situation, move_draws, start_draws
from jaxrecon.search.task import Task


def moved(name: str, key: jax.Array, situation: Situation, parent: jax.Array) -> jax.Array:
    """The best candidate of one move."""
    move = MOVES[name]
    draws = move.draws(situation.config, len(parent))
    found = move.function(jax.random.uniform(key, (draws,), parent.dtype), situation, parent)
    return moves.best(found, situation) if len(found) > 1 else found[0]


def proposed(
    key: jax.Array,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: jax.Array,
    weights: np.ndarray,
) -> jax.Array:
    """The result of a move that is drawn by weights."""
    chances = jax.random.uniform(key, (move_draws(config, len(parent)),), parent.dtype)
    return moves.propose(chances, fingerprint, config, task, parent, weights)


def random_start(key: jax.Array, config: ReconstructConfig, task: Task) -> jax.Array:
    """Random coordinates for a task."""
    rows = len(task.species) + (3 if task.variable else 0)
    chances = jax.random.uniform(key, (start_draws(rows),), task.target.dtype)
    return moves.random_start(chances, config, task)
