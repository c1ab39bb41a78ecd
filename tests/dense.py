"""Rows by matrix products for any number of channels, which JAX can differentiate in any mode."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxrecon import ACSF, Fingerprint
from jaxrecon.descriptors.acsf import angular, radial
from jaxrecon.descriptors.environment import environment
from jaxrecon.structures.neighbors import Neighbors
from jaxrecon.structures.structure import Structure


@partial(jax.jit, static_argnums=0)
def rows(config: ACSF, environments: Neighbors, elements: jax.Array | None = None) -> jax.Array:
    """The rows of a descriptor, in the channels of some elements or of all."""
    integers = environments.species.dtype
    numbers = jnp.asarray(config.species, integers) if elements is None else elements

    def row(vectors: jax.Array, species: jax.Array, mask: jax.Array) -> jax.Array:
        channel = config.channels(species, mask, numbers, vectors.dtype)
        env = environment(vectors, channel, cutoff=config.cutoff, r_cut=config.r_cut)
        parts = [radial.values(config.radial, env).ravel()]
        if config.angular:
            kinds = [angular.values(kind, env) for kind in config.angular]
            parts.append(jnp.concatenate(kinds, axis=1).ravel())
        return jnp.concatenate(parts)

    return jax.vmap(row)(environments.vectors, environments.species, environments.mask)


def numbers(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
    """The fingerprint that is pooled from these rows."""
    view = fingerprint.view(structure)
    entries = rows(fingerprint.descriptor, view.neighbors, view.elements)
    return view.spread(fingerprint.pooled(view, entries), fingerprint.size)
