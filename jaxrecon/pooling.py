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


def deviations(
    rows: Float[Array, "n f"],
    target: Float[Array, " p"],
    mask: Bool[Array, " n"],
    kinds: tuple[PoolingName, ...],
) -> tuple[Float[Array, "k n f"], Bool[Array, "k n f"]]:
    r"""How far each atom's row is from the pooled target, and which entries that condition binds.

    A largest value is :math:`M` if and only if the winner has it and no atom exceeds it: the
    winner is bound, and so is every atom beyond the target. Summing the squares of these entries
    keeps the solutions that the winners alone have, and makes descent smooth where atoms tie, as
    they do all over symmetric structures.

    Returns:
        ``rows - target`` and a mask of the bound entries, for each kind.
    """
    split = target.reshape(len(kinds), -1)
    winner = winners(rows, mask, kinds).reshape(len(kinds), -1)
    difference = rows[None] - split[:, None, :]
    sign = jnp.asarray([{"max": 1.0, "min": -1.0}[kind] for kind in kinds], rows.dtype)
    beyond = sign[:, None, None] * difference > 0
    wins = winner[:, None, :] == jnp.arange(rows.shape[0])[None, :, None]
    return difference, (beyond | wins) & mask[None, :, None]


def by_positions(
    jacobian: Float[Array, "r m 3"],
    centre: Int[Array, " r"],
    source: Int[Array, "n m"] | None,
) -> Float[Array, "r n 3"]:
    """Derivatives of some entries by the positions, from those by the neighbour vectors.

    Args:
        jacobian: by the vectors to the neighbours of each entry's central atom.
        centre: that atom.
        source: which atom each neighbour of each atom is; None where neighbour m is atom m.
    """
    n = jacobian.shape[1] if source is None else source.shape[0]
    ends = jacobian
    if source is not None:
        hot = nn.one_hot(source[centre], n, dtype=jacobian.dtype)
        ends = jnp.einsum("rmx,rmn->rnx", jacobian, hot, precision=Precision.HIGHEST)
    # A vector ends at the neighbour and starts at the centre: moving the centre turns the sign.
    start = nn.one_hot(centre, n, dtype=jacobian.dtype)
    return ends - start[:, :, None] * jacobian.sum(1)[:, None, :]
