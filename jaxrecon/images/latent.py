r"""Latent vectors of known crystals, fitted to their images.

An encoder estimates a vector in one pass, and is off for crystals unlike those that it has learned
from. The decoder can still have better ones, so the vector z is moved downhill on

.. math:: -\sum_v p_v \ln q_v(z) + (1 - p_v) \ln (1 - q_v(z)),

with the voxels p of all images of the crystal and those q that the generator makes of z (after Kim
et al., *Semi-amortized variational autoencoders*, ICML 2018).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxrecon.images.autoencoders import ImageAutoencoder
from jaxrecon.images.image import Image
from jaxrecon.images.materials import Materials, codes_of
from jaxrecon.images.materials_network import MaterialsNetwork
from jaxrecon.images.training import autoencoders

RATE = 0.03
"""Learning rate of Adam, which falls to 0 along half a cosine."""

AT_ONCE = 16
"""Number of crystals whose latent vectors are fitted together."""


def fitted_latent(
    materials: Materials,
    images: Sequence[Image],
    latent: Float[np.ndarray, "batch z"],
    *,
    steps: int = 300,
) -> Float[np.ndarray, "batch z"]:
    """Move latent vectors so that the generator makes images of them that are nearer to given ones.

    Args:
        materials: the generator with its autoencoders.
        images: images with the elements and the parameters of its autoencoders.
        latent: vectors to begin with, one for each image, as from :meth:`Materials.latent`.
        steps: number of steps of Adam.

    Returns:
        The vectors.

    Raises:
        ValueError: if there is another number of vectors, or no step.
    """
    if len(images) != len(latent):
        raise ValueError(f"expected {len(images)} latent vectors, one an image, got {len(latent)}")
    if steps < 1:
        raise ValueError(f"expected steps to be a whole number >= 1, got {steps}")
    model = materials.model
    networks = autoencoders(model.config)
    static = materials.network, networks["cell"], networks["basis"], model.config.cell_code, steps
    weights = {"generator": materials.weights, **model.weights}
    found = []
    for start in range(0, len(images), AT_ONCE):
        some = images[start : start + AT_ONCE]
        cells = jnp.asarray(np.stack([image.cell for image in some]), jnp.float32)
        bases = jnp.asarray(np.stack([image.basis for image in some]), jnp.float32)
        begin = jnp.asarray(latent[start : start + AT_ONCE], jnp.float32)
        found.append(np.asarray(_fitted(*static, weights, cells, bases, begin)))
    return np.concatenate(found)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _fitted(
    generator: MaterialsNetwork,
    cell: ImageAutoencoder,
    basis: ImageAutoencoder,
    cell_code: int,
    steps: int,
    weights: Any,
    cells: Float[Array, "batch m m m"],
    bases: Float[Array, "batch channels n n n"],
    latent: Float[Array, "batch z"],
) -> Float[Array, "batch z"]:
    """All steps in one program."""
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, steps))
    batch, channels = bases.shape[:2]

    def misfit(latent: Array) -> Array:
        of_cells, atoms = codes_of(generator.decode(weights["generator"], latent), cell_code)
        flat = bases.reshape(batch * channels, *bases.shape[2:])
        off = cell.misfit(weights["cell"], of_cells, cells)
        return jnp.sum(off) + jnp.sum(
            basis.misfit(weights["basis"], atoms.reshape(batch * channels, -1), flat)
        )

    def step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], None]:
        latent, moments = carry
        # optax mixes types of numbers, which a user may have forbidden.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimiser.update(jax.grad(misfit)(latent), moments)
        return (latent + updates, moments), None

    start = latent, optimiser.init(latent)
    return jax.lax.scan(step, start, None, length=steps)[0][0]
