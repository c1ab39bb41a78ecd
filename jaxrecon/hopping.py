"""Basin hopping with a population: which parent, which move, and the descent that follows.

Fung et al., arXiv 2207.13227, algorithm 1, hops from the best structure of one trial. Here one
population of replicas hops together: every replica starts from a random member of the best part of
the last population, moves, and descends.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon import initialize
from jaxrecon.config import ReconstructConfig
from jaxrecon.equations import blame, normal_equations
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.minimize import adam
from jaxrecon.objectives import mean_absolute_residual
from jaxrecon.refine import levenberg_marquardt, refine
from jaxrecon.structures import Bounds, Structure


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Task:
    """What is to be inverted.

    Attributes:
        target: the fingerprint wanted, without a unit.
        species: atomic numbers.
        cell: lattice vectors as rows in Angstrom, or None.
        bounds: static sizes of what the atoms see.
    """

    target: Float[Array, "*batch p"]
    species: Int[Array, "*batch n"]
    cell: Float[Array, "*batch 3 3"] | None
    bounds: Bounds | None = field(default=None, metadata={"static": True})

    def structure(self, positions: Float[Array, "n 3"]) -> Structure:
        """The structure with these positions in Angstrom and the composition of the task."""
        mask = jnp.ones(self.species.shape, bool)
        return Structure(positions, self.species, mask, self.cell, bounds=self.bounds)


def residual(
    fingerprint: Fingerprint, task: Task, positions: Float[Array, "n 3"]
) -> Float[Array, ""]:
    """Mean absolute residual of positions in Angstrom, without a unit."""
    return mean_absolute_residual(fingerprint(task.structure(positions)), task.target)


def descend(
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    positions: Float[Array, "n 3"],
) -> tuple[Float[Array, "n 3"], Float[Array, ""]]:
    """Adam on the L1 loss, then Levenberg-Marquardt; the best positions met and their residual."""
    positions = adam(
        lambda x: residual(fingerprint, task, x),
        positions,
        steps=config.adam_steps,
        learning_rate=config.learning_rate,
    )
    refinement = levenberg_marquardt(
        lambda x: normal_equations(fingerprint, task.structure(x), task.target),
        max_step=config.max_step,
    )
    return refine(refinement, positions, steps=config.refine_steps)


def propose(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: Float[Array, "n 3"],
) -> Float[Array, "n 3"]:
    """One hop away from a parent: relocate, swap, shake or start afresh, drawn by their weights."""
    kind_key, key = jax.random.split(key)
    shares = blame(fingerprint, task.structure(parent), task.target)
    moves = jnp.stack(
        [
            relocate(key, fingerprint, config, task, parent, shares),
            swap(key, task, parent, shares),
            shake(key, config, parent),
            initialize.random_positions(key, task.species, task.cell, parent.dtype),
        ]
    )
    several = jnp.any(task.species != task.species[0])
    weights = jnp.asarray(
        [config.relocate_weight, config.swap_weight, config.shake_weight, config.fresh_weight],
        parent.dtype,
    )
    weights = weights * jnp.where(jnp.arange(4) == 1, several, True)
    return moves[jax.random.categorical(kind_key, jnp.log(weights))]


def relocate(
    key: PRNGKeyArray,
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    task: Task,
    parent: Float[Array, "n 3"],
    shares: Float[Array, " n"],
) -> Float[Array, "n 3"]:
    """Move one atom, drawn by its blame, to the best of a number of random sites.

    Half of the sites are uniform over the cell or the ball that holds the structure, half at a
    bonding distance from a random atom. They are compared by the residual before any descent.
    """
    atom_key, *keys = jax.random.split(key, 6)
    atom = jax.random.categorical(atom_key, jnp.log(shares + 1e-12))
    sites = _sites(keys, config.sites, task, parent, atom)
    candidates = jax.vmap(lambda site: parent.at[atom].set(site))(sites)
    losses = jax.vmap(lambda x: residual(fingerprint, task, x))(candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))]


def _sites(
    keys: list[PRNGKeyArray], count: int, task: Task, parent: Float[Array, "n 3"], atom: Array
) -> Float[Array, "count 3"]:
    direction = jax.random.normal(keys[0], (count, 3), parent.dtype)
    direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True)
    uniform = jax.random.uniform(keys[1], (count, 3), parent.dtype)
    radii = initialize.radii(task.species, parent.dtype)
    if task.cell is None:
        centre = parent.mean(0)
        reach = jnp.sqrt(jnp.max(jnp.sum((parent - centre[None]) ** 2, -1))) + radii[atom]
        anywhere = centre[None] + reach * jnp.cbrt(uniform[:, :1]) * direction
    else:
        anywhere = uniform @ task.cell
    anchor = jax.random.randint(keys[2], (count,), 0, parent.shape[0])
    bond = (radii[atom] + radii[anchor]) * jax.random.uniform(
        keys[3], (count,), parent.dtype, 0.8, 1.5
    )
    bonded = parent[anchor] + bond[:, None] * direction
    return jnp.where((jnp.arange(count) % 2 == 0)[:, None], anywhere, bonded)


def swap(
    key: PRNGKeyArray, task: Task, parent: Float[Array, "n 3"], shares: Float[Array, " n"]
) -> Float[Array, "n 3"]:
    """Exchange an atom, drawn by its blame, with a random atom of another element."""
    first_key, second_key = jax.random.split(key)
    first = jax.random.categorical(first_key, jnp.log(shares + 1e-12))
    other = task.species != task.species[first]
    second = jax.random.categorical(second_key, jnp.where(other, 0.0, -1e9))
    return parent.at[first].set(parent[second]).at[second].set(parent[first])


def shake(
    key: PRNGKeyArray, config: ReconstructConfig, parent: Float[Array, "n 3"]
) -> Float[Array, "n 3"]:
    """Move all atoms by Gaussian noise; its width is log-uniform over ``config.shake_range``."""
    width_key, noise_key = jax.random.split(key)
    low, high = jnp.log(jnp.asarray(config.shake_range, parent.dtype))
    width = jnp.exp(jax.random.uniform(width_key, (), parent.dtype, low, high))
    return parent + width * jax.random.normal(noise_key, parent.shape, parent.dtype)
