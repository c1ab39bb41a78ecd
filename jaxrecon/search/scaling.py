"""Scales of the numbers of a fingerprint: in a descent, a few of them don't outweigh the others.

Some numbers vary thousands of times as much between structures as others do. A sum of squares is
made of those alone: a descent comes to rest in minima in which they are right and the others, which
tell more, are not. So a hop divides each difference by the square root of the standard deviation of
its number among random structures. The standard deviation itself is no better than no scale (Pt10):
it hands the descent over to numbers that hardly vary. What a hop finds is polished without scales.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.moves import random_start, start_draws
from jaxrecon.search.task import Task

STARTS = 32
"""Number of random structures on which standard deviations are measured."""

LEAST = 1e-4
"""Smallest standard deviation that counts, in units of the largest one."""


def scaled(
    key: PRNGKeyArray, fingerprint: Fingerprint, config: ReconstructConfig, task: Task
) -> Task:
    r"""The task with weights :math:`w_p \propto \sigma_p^{-1/2}`, 1 in the mean.

    Each :math:`\sigma_p` is the standard deviation of a number among random starts.

    Args:
        key: random key, on which these starts depend.
        fingerprint: the fingerprint of the target.
        config: settings of the search.
        task: the target and what is known about the structure.

    Returns:
        The task, its own weights times these. A guided one is given back as it is: its objective
        has scales of its own.
    """
    if task.guidance is not None:
        return task
    rows = len(task.species) + (3 if task.variable else 0)
    chances = jax.random.uniform(key, (STARTS, start_draws(rows)), task.target.dtype)

    def values(own: Array) -> Array:
        return fingerprint(task.structure(random_start(own, config, task)))

    weights = inverse_roots(jax.vmap(values)(chances))
    return replace(task, weights=weights if task.weights is None else weights * task.weights)


def inverse_roots(values: Float[Array, "m p"]) -> Float[Array, " p"]:
    """The inverse square roots of the standard deviations of columns, divided by their mean.

    Rows that are not finite do not count; if nothing varies, all are 1.

    >>> inverse_roots(jnp.array([[1.0, 10.0], [3.0, 28.0], [jnp.inf, 0.0]])).tolist()
    [1.5, 0.5]
    """
    whole = jnp.all(jnp.isfinite(values), axis=1)[:, None]
    deviations = jnp.std(jnp.where(whole, values, 0.0), axis=0, where=whole)
    deviations = jnp.where(jnp.any(whole), deviations, 0.0)
    largest = jnp.max(deviations)
    roots = jnp.sqrt(jnp.maximum(deviations, LEAST * largest))
    weights = 1.0 / jnp.where(largest > 0.0, roots, 1.0)
    return weights / jnp.mean(weights)
