r"""Square roots of positive semidefinite matrices, with finite derivatives where they are singular.

A matrix M with the eigenvalues :math:`\lambda_i` has the root with the same eigenvectors and

.. math:: s_i = \sqrt{\lambda_i + \epsilon} - \sqrt\epsilon, \qquad
    \lambda_i = s_i^2 + 2 s_i \sqrt\epsilon,

and negative :math:`\lambda_i` or :math:`s_i` count as 0. The derivatives of both functions f are
those of Daleckii and Krein: :math:`V (F \circ V^\mathsf{T} dM\, V) V^\mathsf{T}`, where F are the
divided differences of f at pairs of eigenvalues. JAX's own derivative of eigenvectors is not finite
where eigenvalues are equal, as they are for a matrix of zeros.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.numerics import einsum

EPSILON = 1e-6
"""Below this value (no unit) a root is linear in its square."""

OFFSET = EPSILON**0.5


@jax.custom_jvp
def root(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Compute the root of a symmetric matrix.

    Args:
        matrix: the matrix; negative eigenvalues count as 0.

    Returns:
        The root, symmetric.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    return _composed(vectors, root_of(values))


@root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(primals[0])
    roots = root_of(values)
    inside = 1.0 / (roots[:, None] + roots[None, :] + 2.0 * OFFSET)
    derivative = _derivative(values, vectors, roots, inside, tangents[0])
    return _composed(vectors, roots), derivative


@jax.custom_jvp
def squared(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Compute the matrix that has a root: the inverse of :func:`root`.

    Args:
        matrix: any symmetric matrix; negative eigenvalues count as 0.

    Returns:
        A positive semidefinite matrix.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    return _composed(vectors, square_of(values))


@squared.defjvp
def _squared_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(primals[0])
    squares = square_of(values)
    inside = values[:, None] + values[None, :] + 2.0 * OFFSET
    derivative = _derivative(values, vectors, squares, inside, tangents[0])
    return _composed(vectors, squares), derivative


def root_of(values: Float[Array, " n"]) -> Float[Array, " n"]:
    """Compute the roots of single numbers, without cancellation where they are small.

    Args:
        values: numbers; negative ones count as 0.
    """
    possible = jnp.maximum(values, 0.0)
    return possible / (jnp.sqrt(possible + EPSILON) + OFFSET)


def square_of(values: Float[Array, " n"]) -> Float[Array, " n"]:
    """Compute the numbers that have roots: the inverse of :func:`root_of`.

    Args:
        values: roots; negative ones count as 0.
    """
    possible = jnp.maximum(values, 0.0)
    return possible * (possible + 2.0 * OFFSET)


def _composed(vectors: Float[Array, "n n"], values: Float[Array, " n"]) -> Float[Array, "n n"]:
    """The matrix with these eigenvectors, in columns, and eigenvalues."""
    return einsum("ik,k,jk->ij", vectors, values, vectors)


def _derivative(
    values: Float[Array, " n"],
    vectors: Float[Array, "n n"],
    images: Float[Array, " n"],
    inside: Float[Array, "n n"],
    tangent: Float[Array, "n n"],
) -> Float[Array, "n n"]:
    """The derivative of a function of a matrix along a tangent.

    Args:
        values: eigenvalues of the matrix.
        vectors: its eigenvectors.
        images: values of the function at the eigenvalues.
        inside: divided differences of the function where no eigenvalue is negative.
        tangent: the tangent.
    """
    possible = values >= 0
    either = possible[:, None] ^ possible[None, :]
    # With one negative eigenvalue the difference is not 0; with two the function is constant.
    apart = jnp.where(either, values[:, None] - values[None, :], 1.0)
    across = jnp.where(either, (images[:, None] - images[None, :]) / apart, 0.0)
    divided = jnp.where(possible[:, None] & possible[None, :], inside, across)
    symmetric = (tangent + tangent.T) / 2.0
    turned = divided * einsum("ki,kl,lj->ij", vectors, symmetric, vectors)
    return einsum("ik,kl,jl->ij", vectors, turned, vectors)
