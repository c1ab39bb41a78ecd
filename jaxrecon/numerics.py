"""NaN-safe primitives: finite in value and in gradient at every singular point."""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float

from jaxrecon.lanes import over_lanes

FEW_UNKNOWNS = 48
"""Largest number of unknowns up to which systems of equations are solved side by side.

A larger system fills a cache by itself.
"""

COINCIDENT = 1e-12
"""Distance in Angstrom below which two points count as one: their direction is the zero vector."""


def safe_norm(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    r"""Euclidean norm over one axis, :math:`\sqrt{\sum_d x_d^2}`, with gradient 0 at x = 0.

    The argument of the square root is replaced before the root is taken, so that the derivative of
    the branch that is not taken stays finite too.

    Args:
        x: vectors of any unit.
        axis: the axis of their components.

    Returns:
        The norms in the same unit, with the shape of ``x`` without that axis.

    >>> import jax, jax.numpy as jnp
    >>> float(safe_norm(jnp.array([3.0, 4.0]))), jax.grad(safe_norm)(jnp.zeros(3)).tolist()
    (5.0, [0.0, 0.0, 0.0])
    """
    square = jnp.sum(x * x, axis=axis)
    apart = square > COINCIDENT**2
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


def safe_divide(
    numerator: Float[Array, "*shape"], denominator: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Elementwise quotient that is 0, with gradient 0, where the denominator is 0.

    >>> import jax.numpy as jnp
    >>> safe_divide(jnp.array([1.0, 1.0]), jnp.array([4.0, 0.0])).tolist()
    [0.25, 0.0]
    """
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1.0), 0.0)


def product(left: Float[Array, "*left"], right: Float[Array, "*right"]) -> Float[Array, "..."]:
    """Matrix product at full precision: accelerators would round float32 factors to 10 bits.

    Args:
        left: a matrix, a vector or a stack of matrices.
        right: the same.

    Returns:
        ``left @ right``.

    >>> import jax.numpy as jnp
    >>> product(jnp.ones((2, 3)), jnp.ones(3)).tolist()
    [3.0, 3.0]
    """
    return jnp.matmul(left, right, precision=Precision.HIGHEST)


def einsum(subscripts: str, *operands: Array) -> Array:
    """Call ``jnp.einsum`` at full precision, as :func:`product` does for two matrices.

    Args:
        subscripts: as for ``jnp.einsum``.
        *operands: as for ``jnp.einsum``.

    Returns:
        The sums of products.
    """
    return jnp.einsum(subscripts, *operands, precision=Precision.HIGHEST)


def masked_max(rows: Float[Array, "n f"], mask: Bool[Array, " n"]) -> Float[Array, " f"]:
    """Largest entry of each column over the rows where the mask is true; -inf without such rows."""
    return jnp.max(jnp.where(mask[:, None], rows, -jnp.inf), axis=0)


def masked_min(rows: Float[Array, "n f"], mask: Bool[Array, " n"]) -> Float[Array, " f"]:
    """Smallest entry of each column over the rows where the mask is true; inf without such rows."""
    return jnp.min(jnp.where(mask[:, None], rows, jnp.inf), axis=0)


def inverse_3x3(matrix: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """Inverse of a 3 x 3 matrix from cross products, without LAPACK.

    :func:`solve_positive_definite` says why LAPACK is avoided.

    >>> import jax.numpy as jnp
    >>> inverse_3x3(jnp.diag(jnp.array([1.0, 2.0, 4.0]))).diagonal().tolist()
    [1.0, 0.5, 0.25]
    """
    a, b, c = matrix
    columns = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    return columns / jnp.sum(a * columns[:, 0])


def solve_positive_definite(
    matrix: Float[Array, "d d"], right: Float[Array, " d"]
) -> Float[Array, " d"]:
    r"""Solve :math:`A x = b` for a symmetric positive definite A by Gauss-Jordan elimination.

    Such a matrix needs no pivoting. The elimination is written in array operations because the
    batched LAPACK call of jaxlib 0.10.1 deadlocks when every CPU core is a device of its own: it
    waits for threads of the pool that it runs on itself.

    Args:
        matrix: the coefficients A, shape ``(d, d)``. If A is not positive definite the solution
            may not be finite.
        right: the right-hand side b, shape ``(d,)``.

    Returns:
        The solution x, shape ``(d,)``.

    >>> import jax.numpy as jnp
    >>> solve_positive_definite(jnp.diag(jnp.array([2.0, 4.0])), jnp.array([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    if len(right) > FEW_UNKNOWNS:
        return _solve(matrix, right)
    return over_lanes(_solve)(matrix[..., None], right[..., None])[..., 0]


def _solve(matrix: Float[Array, "d d ..."], right: Float[Array, "d ..."]) -> Float[Array, "d ..."]:
    """Eliminate column after column of the augmented matrix; further axes are lanes."""
    rows = jnp.arange(len(right)).reshape(-1, *(1,) * right.ndim)

    def eliminate(k: Array, augmented: Array) -> Array:
        pivot = augmented[k] / augmented[k, k][None]
        column = augmented[:, k]
        return jnp.where(rows == k, pivot[None], augmented - column[:, None] * pivot[None])

    augmented = jnp.concatenate([matrix, right[:, None]], axis=1)
    return jax.lax.fori_loop(0, len(right), eliminate, augmented)[:, -1]
