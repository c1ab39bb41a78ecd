r"""Kernels: how similar environments and structures are, from the rows of their atoms.

Source: De, Bartók, Csányi and Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016).
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import einsum, safe_norm

SINKHORN_STEPS = 200
"""Steps of the Sinkhorn iteration, after which the transport plan of REMatch has converged."""

NOWHERE = -1e30
"""Logarithm of the weight of a pair with padding: finite, so that all derivatives are."""


def environment_kernel(
    rows: Float[Array, "a f"], others: Float[Array, "b f"], zeta: float = 2.0
) -> Float[Array, "a b"]:
    r"""Compute the similarity of environments, :math:`k_{ab} = (\hat p_a \cdot \hat p_b)^\zeta`.

    Args:
        rows: power spectra of some atoms, of any length.
        others: power spectra of other atoms.
        zeta: exponent; larger ones make different environments less similar.

    Returns:
        The kernel: 1 for equal environments.

    >>> import jax.numpy as jnp
    >>> kernel = environment_kernel(jnp.array([[3.0, 4.0]]), jnp.array([[1.0, 0.0]]))
    >>> round(float(kernel[0, 0]), 3)
    0.36
    """
    return einsum("af,bf->ab", _unit(rows), _unit(others)) ** zeta


def average_kernel(
    environments: Float[Array, "a b"], mask: Bool[Array, " a"], other_mask: Bool[Array, " b"]
) -> Float[Array, ""]:
    r"""Compute the mean similarity of the environments of two structures.

    Args:
        environments: similarities of the environments, as from :func:`environment_kernel`.
        mask: false for padding among the atoms of the first structure.
        other_mask: false for padding among those of the second.

    Returns:
        The kernel of the structures; normalise it by :func:`normalized`.
    """
    pairs = mask[:, None] & other_mask[None, :]
    return jnp.where(pairs, environments, 0.0).sum() / jnp.maximum(pairs.sum(), 1)


def rematch_kernel(
    environments: Float[Array, "a b"],
    mask: Bool[Array, " a"],
    other_mask: Bool[Array, " b"],
    gamma: float = 0.1,
) -> Float[Array, ""]:
    r"""Compute the similarity of the best matching environments of two structures.

    .. math:: K = \mathrm{Tr}\, P^\mathsf{T} k, \quad
        P = \arg\min_P \sum_{ab} P_{ab} (1 - k_{ab} + \gamma \ln P_{ab})

    where the rows and columns of P add up to 1/a and 1/b: regularised-entropy match. Sinkhorn's
    iteration finds P.

    Args:
        environments: similarities of the environments, as from :func:`environment_kernel`.
        mask: as for :func:`average_kernel`.
        other_mask: as for :func:`average_kernel`.
        gamma: weight of the entropy: the best match for 0, the average kernel for large values.

    Returns:
        The kernel of the structures; normalise it by :func:`normalized`.
    """
    present = mask[:, None] & other_mask[None, :]
    logarithm = jnp.where(present, (environments - 1.0) / gamma, NOWHERE)
    wanted = -jnp.log(mask.sum().astype(environments.dtype))
    other_wanted = -jnp.log(other_mask.sum().astype(environments.dtype))

    def rows_of(column: Float[Array, " b"]) -> Float[Array, " a"]:
        total = jax.nn.logsumexp(logarithm + column[None, :], axis=1)
        return jnp.where(mask, wanted - total, 0.0)

    def step(_: Int[Array, ""], column: Float[Array, " b"]) -> Float[Array, " b"]:
        total = jax.nn.logsumexp(logarithm + rows_of(column)[:, None], axis=0)
        return jnp.where(other_mask, other_wanted - total, 0.0)

    column = jax.lax.fori_loop(0, SINKHORN_STEPS, step, jnp.zeros_like(environments[0]))
    plan = jnp.exp(logarithm + rows_of(column)[:, None] + column[None, :])
    return jnp.sum(jnp.where(present, plan * environments, 0.0))


def normalized(
    kernel: Float[Array, "..."], own: Float[Array, "..."], other: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""Normalise the kernel of two structures, :math:`K_{AB} / \sqrt{K_{AA} K_{BB}}`.

    Args:
        kernel: the kernel of the two.
        own: that of the first structure with itself.
        other: that of the second structure with itself.
    """
    return kernel / jnp.sqrt(own * other)


def sparse_points(
    rows: Float[np.ndarray, "n f"], count: int, method: Literal["fps", "cur"] = "fps"
) -> Int[np.ndarray, " count"]:
    """Choose environments that represent all of them, by scikit-matter.

    Args:
        rows: power spectra of all environments.
        count: number of environments to choose.
        method: ``"fps"``, farthest points first; or ``"cur"``, those with most weight in the
            leading singular vectors.

    Returns:
        The indices of the chosen environments, the most important first.

    Raises:
        ValueError: if the method is unknown or there are not so many environments.
        ImportError: if scikit-matter is not installed.
    """
    if method not in ("fps", "cur"):
        raise ValueError(f"expected method 'fps' or 'cur', got {method!r}")
    if not 1 <= count <= len(rows):
        raise ValueError(f"expected count from 1 to {len(rows)} environments, got {count}")
    try:
        from skmatter import sample_selection
    except ImportError as error:
        raise ImportError(
            "expected the package skmatter for sparse points, got none: "
            'pip install "jaxrecon[sparse]"'
        ) from error
    selector = sample_selection.FPS if method == "fps" else sample_selection.CUR
    chosen = selector(n_to_select=count).fit(np.asarray(rows, np.float64))
    return np.asarray(chosen.selected_idx_)


def _unit(rows: Float[Array, "a f"]) -> Float[Array, "a f"]:
    """Rows of length 1; a row of zeros stays."""
    length = safe_norm(rows)
    return rows / jnp.where(length > 0, length, 1.0)[:, None]
