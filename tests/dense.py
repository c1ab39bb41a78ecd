"""The plain twin of what is computed over lanes: all pairs at once, which autodiff goes through."""

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
def rows(config: ACSF, seen: Neighbors, elements: jax.Array | None = None) -> jax.Array:
    """The rows of a descriptor from matrix products, whatever the number of channels."""
    chosen = jnp.asarray(config.species) if elements is None else elements

    def one(vectors: jax.Array, species: jax.Array, mask: jax.Array) -> jax.Array:
        channel = config.channels(species, mask, chosen, vectors.dtype)
        s = environment(vectors, channel, cutoff=config.cutoff, r_cut=config.r_cut)
        parts = [radial.values(config.radial, s).ravel()]
        if config.angular:
            kinds = [angular.values(kind, s) for kind in config.angular]
            parts.append(jnp.concatenate(kinds, axis=1).ravel())
        return jnp.concatenate(parts)

    return jax.vmap(one)(seen.vectors, seen.species, seen.mask)


def numbers(fingerprint: Fingerprint, structure: Structure) -> jax.Array:
    """A fingerprint of these rows."""
    view = fingerprint.view(structure)
    entries = rows(fingerprint.descriptor, view.neighbors, view.elements)
    return view.spread(fingerprint.pooled(view, entries), fingerprint.size)
