"""The loss of a search: how far a fingerprint is from its target."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def mean_absolute_residual(
    value: Float[Array, " p"],
    target: Float[Array, " p"],
    weights: Float[Array, " p"] | None = None,
) -> Float[Array, ""]:
    r"""Mean absolute difference :math:`\frac1P \sum_p |R_p(x) - R^*_p|`.

    Source: the L1 loss of Fung et al., arXiv 2207.13227.

    Args:
        value: the fingerprint R(x), without a unit.
        target: the wanted fingerprint R*.
        weights: factors of the differences; None for 1.

    Returns:
        The residual, without a unit.

    >>> import jax.numpy as jnp
    >>> float(mean_absolute_residual(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
    1.0
    """
    difference = jnp.abs(value - target)
    return jnp.mean(difference if weights is None else weights * difference)
