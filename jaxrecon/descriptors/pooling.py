r"""Pooling: from the rows of all atoms to numbers that do not depend on the order of the atoms.

Every pooling treats each feature by itself and covers a group of atoms: all atoms of a structure,
or those of one element. A group without atoms gives zeros. There are two kinds of poolings.

*Selecting* poolings give entries of the rows as they are:

- ``max`` and ``min`` give the extremes. They are piecewise smooth functions of the positions: the
  atom whose entry is the extreme, the *selected atom*, changes as atoms move. Among equal entries
  that of the first atom is selected.
- ``sorted`` gives all entries, largest first; ``none`` gives all entries in the order of the atoms,
  for an inversion that knows which row belongs to which atom. Both give a fixed number of entries,
  which are 0 beyond the number of atoms.

*Averaging* poolings are smooth functions of the entries :math:`G_i` of all :math:`n` atoms:

- ``mean``, ``sum``, and the central moments ``moment2``, ``moment3`` and ``moment4``,
  :math:`\frac1n \sum_i (G_i - \bar G)^k`.
- ``smooth_max``, :math:`T \log \frac1n \sum_i e^{G_i/T}` at a temperature T, is between the mean
  and the maximum, and below the maximum by at most :math:`T \log n`; ``smooth_min`` is the same
  with the sign reversed (mellowmax; Asadi and Littman, ICML 2017).
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.derivatives import RowDerivatives
from jaxrecon.numerics import masked_max, masked_min

PoolingName = Literal[
    "max",
    "min",
    "mean",
    "sum",
    "moment2",
    "moment3",
    "moment4",
    "smooth_max",
    "smooth_min",
    "sorted",
    "none",
]
POOLINGS: tuple[str, ...] = get_args(PoolingName)
"""The names of all poolings."""

EXTREMES = ("max", "min")
"""Selecting poolings that give one entry."""

PER_ATOM = ("sorted", "none")
"""Selecting poolings that give the entries of all atoms."""

SELECTING = (*EXTREMES, *PER_ATOM)
"""Poolings that give entries of the rows as they are; all others are averaging."""


class Pool(NamedTuple):
    """A pooling and its settings.

    Attributes:
        kind: name of the pooling, one of :data:`POOLINGS`.
        max_atoms: number of entries that ``sorted`` and ``none`` give, at least the number of atoms
            in a group.
        temperature: temperature of ``smooth_max`` and ``smooth_min``, on the scale of the features.
    """

    kind: str
    max_atoms: int = 1
    temperature: float = 1.0

    @property
    def size(self) -> int:
        """The number of values that the pooling gives for each feature."""
        return self.max_atoms if self.kind in PER_ATOM else 1

    def names(self, group: str) -> list[str]:
        """Name the values that the pooling gives for a feature.

        Args:
            group: symbol of the element whose atoms are pooled; ``""`` for all atoms.

        Returns:
            Names like ``max``, ``sorted3`` or, for one element, ``max[O]``.
        """
        label = f"[{group}]" if group else ""
        if self.kind not in PER_ATOM:
            return [self.kind + label]
        word = "atom" if self.kind == "none" else self.kind
        return [f"{word}{entry}{label}" for entry in range(self.max_atoms)]


class Selection(NamedTuple):
    """The atoms whose entries a selecting pooling gives.

    Attributes:
        atom: index of the atom for each value and feature.
        present: whether there is such an atom; without it the value is 0.
    """

    atom: Int[Array, "s f"]
    present: Bool[Array, "s f"]


def pooled(pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]) -> Float[Array, "s f"]:
    """Pool each feature over a group of atoms.

    Args:
        pool: the pooling.
        rows: rows of all atoms.
        group: true for the atoms of the group.

    Returns:
        The values, ``pool.size`` for each feature, without a unit.

    >>> import jax.numpy as jnp
    >>> rows, group = jnp.array([[1.0, 5.0], [2.0, 3.0]]), jnp.array([True, True])
    >>> pooled(Pool("max"), rows, group).tolist()
    [[2.0, 5.0]]
    >>> pooled(Pool("sorted", max_atoms=3), rows, group).tolist()
    [[2.0, 5.0], [1.0, 3.0], [0.0, 0.0]]
    """
    if pool.kind in EXTREMES:
        # A reduction takes a third of the time of selecting the atom first.
        extreme = masked_max(rows, group) if pool.kind == "max" else masked_min(rows, group)
        return jnp.where(group.any(), extreme, 0.0)[None]
    if pool.kind in PER_ATOM:
        selected, present = selection(pool, rows, group)
        return jnp.where(present, jnp.take_along_axis(rows, selected, axis=0), 0.0)
    return _averaged(pool, rows, group)[None]


def selection(pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]) -> Selection:
    """Find the atoms whose entries a selecting pooling gives.

    Args:
        pool: a selecting pooling.
        rows: rows of all atoms.
        group: true for the atoms of the group.

    Returns:
        The selected atoms.
    """
    n, features = rows.shape
    if pool.kind in EXTREMES:
        sign = 1.0 if pool.kind == "max" else -1.0
        selected = jnp.argmax(jnp.where(group[:, None], sign * rows, -jnp.inf), axis=0)[None]
        return Selection(selected, jnp.broadcast_to(group.any(), selected.shape))
    # An ascending, stable sort of these keys puts the atoms of the group first: the largest first
    # for sorted, and all in their order for none.
    keys = -rows if pool.kind == "sorted" else jnp.zeros_like(rows)
    keys = jnp.where(group[:, None], keys, jnp.inf)
    order = jnp.argsort(keys, axis=0, stable=True)
    # With more values than atoms, the values beyond the last atom refer to it but are not present.
    places = jnp.minimum(jnp.arange(pool.max_atoms), n - 1)
    present = jnp.arange(pool.max_atoms) < group.sum()
    return Selection(order[places], jnp.broadcast_to(present[:, None], (pool.max_atoms, features)))


def selected_atoms(
    pools: Sequence[Pool], rows: Float[Array, "n f"], groups: Bool[Array, "g n"]
) -> Selection:
    """Find the atoms that several selecting poolings select in several groups.

    Args:
        pools: selecting poolings.
        rows: rows of all atoms.
        groups: which atoms are pooled together; one group in each row.

    Returns:
        The selected atoms in arrays ``(p, f)``, ordered by pooling, then group, then value.
    """
    selections = [jax.vmap(partial(selection, pool, rows))(groups) for pool in pools]
    parts = zip(*selections, strict=True)
    return Selection(
        *(jnp.concatenate([array.reshape(-1, rows.shape[1]) for array in part]) for part in parts)
    )


def weights(pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]) -> Float[Array, "n f"]:
    """Compute the derivative of an averaging pooling by the entry of each atom.

    Args:
        pool: an averaging pooling.
        rows: rows of all atoms.
        group: true for the atoms of the group.

    Returns:
        The derivative of the pooled feature f by the entry of each atom; 0 outside the group.
    """
    return jax.grad(lambda entries: _averaged(pool, entries, group).sum())(rows)


def deviations(
    pool: Pool,
    rows: Float[Array, "n f"],
    target: Float[Array, " f"],
    group: Bool[Array, " n"],
) -> tuple[Float[Array, "n f"], Bool[Array, "n f"]]:
    r"""Find which entries the target of an extreme binds, and how far they are from it.

    The largest value is :math:`M` if and only if the selected atom has it and no atom exceeds it.
    So the target binds the entry of the selected atom and every entry beyond the target. The sum of
    the squares of these deviations is zero for the same structures as the deviation of the selected
    atom alone, and it is smooth where atoms have equal entries, as they often have in symmetric
    structures.

    Args:
        pool: ``max`` or ``min``.
        rows: rows of all atoms.
        target: the wanted extreme of each feature.
        group: true for the atoms of the group.

    Returns:
        ``rows - target``, and a mask of the entries that the target binds.
    """
    selected, present = selection(pool, rows, group)
    difference = rows - target[None, :]
    beyond = (difference > 0) if pool.kind == "max" else (difference < 0)
    extreme = (selected == jnp.arange(rows.shape[0])[:, None]) & present
    return difference, (beyond | extreme) & group[:, None]


def jacobian(
    pools: Sequence[Pool],
    rows: Float[Array, "n f"],
    derivatives: RowDerivatives,
    groups: Bool[Array, "g n"],
) -> Float[Array, "q x 3"]:
    """Compute the derivatives of pooled numbers by the positions.

    Args:
        pools: the poolings.
        rows: rows of all atoms.
        derivatives: derivatives of the rows by the positions in 1/Angstrom.
        groups: which atoms are pooled together; one group in each row.

    Returns:
        The derivatives in 1/Angstrom, shape ``(q, n, 3)``, or ``(q, n + 3, 3)`` if those by the
        strain are among them; the numbers are ordered by pooling, then group, value and feature.
    """
    features = rows.shape[1]
    selecting = [pool for pool in pools if pool.kind in SELECTING]
    blocks = {}
    if selecting:
        # A selecting pooling takes the derivatives of the selected entries. Gather those of all
        # such poolings at once: with a gather for each, XLA computes the derivatives anew for each.
        chosen = selected_atoms(selecting, rows, groups)
        selected = chosen.atom.ravel()
        feature = jnp.tile(jnp.arange(features), len(chosen.atom))
        present = chosen.present.ravel()[:, None, None]
        own = jnp.where(present, derivatives.selected(selected, feature), 0.0)
        ends = np.cumsum([len(groups) * pool.size * features for pool in selecting])[:-1]
        blocks = dict(zip(selecting, jnp.split(own, ends), strict=True))
    averaging = [pool for pool in pools if pool.kind not in SELECTING]
    if averaging:
        # An averaging pooling takes the weighted sum over the derivatives of all entries. Do so for
        # all such poolings in one product, since reading the many derivatives is what takes time.
        entries = derivatives.entries()
        by_entries = [jax.vmap(partial(weights, pool, rows))(groups) for pool in averaging]
        summed = jnp.einsum(
            "gif,ifnx->gfnx", jnp.concatenate(by_entries), entries, precision=Precision.HIGHEST
        )
        parts = summed.reshape(len(averaging), -1, *summed.shape[2:])
        blocks |= dict(zip(averaging, parts, strict=True))
    # Put the poolings back in their order.
    return jnp.concatenate([blocks[pool] for pool in pools])


def _averaged(
    pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]
) -> Float[Array, " f"]:
    """Pool each feature with an averaging pooling."""
    inside = group[:, None]
    total = jnp.sum(jnp.where(inside, rows, 0.0), axis=0)
    if pool.kind == "sum":
        return total
    count = jnp.maximum(group.sum(), 1).astype(rows.dtype)
    if pool.kind == "mean":
        return total / count
    if pool.kind.startswith("moment"):
        offset = jnp.where(inside, rows - total[None] / count, 0.0)
        return jnp.sum(offset ** int(pool.kind.removeprefix("moment")), axis=0) / count
    sign = 1.0 if pool.kind == "smooth_max" else -1.0
    scaled = jnp.where(inside, sign * rows / pool.temperature, 0.0)
    # In a group without atoms sum over all atoms instead, and discard the result: the logarithm of
    # zero would have no finite derivative.
    counted = (inside | ~group.any()).astype(rows.dtype)
    logarithm = jax.nn.logsumexp(scaled, axis=0, b=counted / count)
    return jnp.where(group.any(), sign * pool.temperature * logarithm, 0.0)
