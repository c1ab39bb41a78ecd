"""Pooling: from one row an atom to one row a structure, invariant to the order of the atoms.

Extremes are piecewise smooth: the atom that sets a feature, its *winner*, changes as atoms move.
Their derivative is that of the winner's row; ties go to the atom that comes first.
"""

from typing import Literal

import jax.numpy as jnp
from jax import nn
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import masked_max, masked_min

PoolingName = Literal["max", "min"]

_REDUCTIONS = {"max": masked_max, "min": masked_min}
POOLINGS: tuple[str, ...] = tuple(_REDUCTIONS)


def pool(
    rows: Float[Array, "n f"], mask: Bool[Array, " n"], kinds: tuple[PoolingName, ...]
) -> Float[Array, " p"]:
    """Reduce each feature over the atoms, once for each kind, kind-major.

    >>> import jax.numpy as jnp
    >>> pool(jnp.array([[1.0, 5.0], [2.0, 3.0]]), jnp.array([True, True]), ("max", "min")).tolist()
    [2.0, 5.0, 1.0, 3.0]
    """
    return jnp.concatenate([_REDUCTIONS[kind](rows, mask) for kind in kinds])


def winners(
    rows: Float[Array, "n f"], mask: Bool[Array, " n"], kinds: tuple[PoolingName, ...]
) -> Int[Array, " p"]:
    """Index of the atom that sets each pooled feature."""
    sign = {"max": 1.0, "min": -1.0}
    return jnp.concatenate(
        [jnp.argmax(jnp.where(mask[:, None], sign[kind] * rows, -jnp.inf), 0) for kind in kinds]
    )


def pool_with_jacobian(
    rows: Float[Array, "n f"],
    jacobian: Float[Array, "n f m 3"],
    source: Int[Array, "n m"] | None,
    mask: Bool[Array, " n"],
    kinds: tuple[PoolingName, ...],
) -> tuple[Float[Array, " p"], Float[Array, "p n 3"]]:
    """Pooled features and their derivatives with respect to the positions, in 1/Angstrom.

    Args:
        rows: one row an atom.
        jacobian: derivatives of the rows with respect to the neighbour vectors, as
            :func:`jaxrecon.descriptors.acsf.rows_and_jacobian` gives them.
        source: which atom each neighbour is; None where neighbour m is atom m.
        mask: true for atoms, false for padding.
        kinds: which reductions, in order.
    """
    winner = winners(rows, mask, kinds)
    feature = jnp.tile(jnp.arange(rows.shape[1]), len(kinds))
    by_neighbor = jacobian[winner, feature]
    by_end = by_neighbor
    if source is not None:
        ends = nn.one_hot(source[winner], rows.shape[0], dtype=rows.dtype)
        by_end = jnp.einsum("pmx,pmn->pnx", by_neighbor, ends, precision=Precision.HIGHEST)
    # A vector ends at the neighbour and starts at the centre: moving the centre turns the sign.
    centre = nn.one_hot(winner, rows.shape[0], dtype=rows.dtype)
    by_atom = by_end - centre[:, :, None] * by_neighbor.sum(1)[:, None, :]
    return rows[winner, feature], by_atom
