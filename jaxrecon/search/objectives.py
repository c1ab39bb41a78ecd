"""Objectives: how far a fingerprint is from its target."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def mean_absolute_residual(
    value: Float[Array, " p"], target: Float[Array, " p"]
) -> Float[Array, ""]:
    r"""The L1 loss of Fung et al., arXiv 2207.13227: :math:`\frac1P \sum_p |R_p(x) - R^*_p|`.

    >>> import jax.numpy as jnp
    >>> float(mean_absolute_residual(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
    1.0
    """
    return jnp.mean(jnp.abs(value - target))
