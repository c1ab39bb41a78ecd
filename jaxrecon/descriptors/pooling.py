r"""Pooling: from one row an atom to one row a structure, invariant to the order of the atoms.

Every pooling works on each feature by itself, over a group of atoms: all of them, or those of one
central element. There are two sorts. *Selecting* ones hand on entries of the rows:

- ``max``, ``min``: the extremes. Piecewise smooth: the atom that sets a feature, its *selected
atom*,
  changes as atoms move; ties go to the atom that comes first.
- ``sorted``: all entries, largest first; ``none``: all entries, as the atoms come, for local
  inversion with a fixed assignment. Both have a fixed number of entries, those without an atom are
  0.

*Averaging* ones are smooth functions of all entries :math:`G_i` of the :math:`n` atoms:

- ``mean``, ``sum``; ``moment2``, ``moment3``, ``moment4``: central moments,
  :math:`\frac1n \sum_i (G_i - \bar G)^k`.
- ``smooth_max``: :math:`T \log \frac1n \sum_i e^{G_i/T}` at a temperature T, between mean and
  maximum, below the maximum by at most :math:`T \log n`; ``smooth_min``: the same upside down
  (mellowmax; Asadi and Littman, ICML 2017).

A group without atoms gives zeros.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import masked_max, masked_min
from jaxrecon.structures.neighbors import Neighbors

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
EXTREMES = ("max", "min")
SELECTING = (*EXTREMES, "sorted", "none")
PER_ATOM = ("sorted", "none")


class Pool(NamedTuple):
    """One pooling.

    Attributes:
        kind: its name, one of ``POOLINGS``.
        max_atoms: entries that ``sorted`` and ``none`` hand on, at least as many as a group has
            atoms.
        temperature: of ``smooth_max`` and ``smooth_min``, in units of the feature.
    """

    kind: str
    max_atoms: int = 1
    temperature: float = 1.0

    @property
    def rows(self) -> int:
        """How many numbers it makes of each feature."""
        return self.max_atoms if self.kind in PER_ATOM else 1

    def names(self, group: str) -> list[str]:
        """What each of them is: ``max``, ``sorted3`` or, of one central element, ``max[O]``."""
        label = f"[{group}]" if group else ""
        if self.kind not in PER_ATOM:
            return [self.kind + label]
        word = "atom" if self.kind == "none" else self.kind
        return [f"{word}{entry}{label}" for entry in range(self.max_atoms)]


class Selection(NamedTuple):
    """Which atom each pooled number comes from.

    Attributes:
        atom: its row.
        present: whether there is one.
    """

    atom: Int[Array, "s f"]
    present: Bool[Array, "s f"]


def pooled(pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]) -> Float[Array, "s f"]:
    """Each feature over the atoms of a group, in the rows of the pooling.

    >>> import jax.numpy as jnp
    >>> rows, everybody = jnp.array([[1.0, 5.0], [2.0, 3.0]]), jnp.array([True, True])
    >>> pooled(Pool("max"), rows, everybody).tolist()
    [[2.0, 5.0]]
    >>> pooled(Pool("sorted", max_atoms=3), rows, everybody).tolist()
    [[2.0, 5.0], [1.0, 3.0], [0.0, 0.0]]
    """
    if pool.kind in EXTREMES:
        # The same as the entry of the selected, in a third of the time.
        extreme = masked_max(rows, group) if pool.kind == "max" else masked_min(rows, group)
        return jnp.where(group.any(), extreme, 0.0)[None]
    if pool.kind in PER_ATOM:
        selected, present = selection(pool, rows, group)
        return jnp.where(present, jnp.take_along_axis(rows, selected, axis=0), 0.0)
    return _averaged(pool, rows, group)[None]


def selection(pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]) -> Selection:
    """What a selecting pooling hands on."""
    n, features = rows.shape
    if pool.kind in EXTREMES:
        sign = 1.0 if pool.kind == "max" else -1.0
        selected = jnp.argmax(jnp.where(group[:, None], sign * rows, -jnp.inf), axis=0)[None]
        return Selection(selected, jnp.broadcast_to(group.any(), selected.shape))
    # The atoms of the group first; then, for sorted, the largest first.
    keys = -rows if pool.kind == "sorted" else jnp.zeros_like(rows)
    keys = jnp.where(group[:, None], keys, jnp.inf)
    order = jnp.argsort(keys, axis=0, stable=True)
    places = jnp.minimum(jnp.arange(pool.max_atoms), n - 1)
    present = jnp.arange(pool.max_atoms) < group.sum()
    return Selection(order[places], jnp.broadcast_to(present[:, None], (pool.max_atoms, features)))


def selected_atoms(
    pools: Sequence[Pool], rows: Float[Array, "n f"], groups: Bool[Array, "g n"]
) -> Selection:
    """What selecting poolings hand on, pool by pool, then group and entry, in shape ``(p, f)``."""
    chosen = [jax.vmap(partial(selection, pool, rows))(groups) for pool in pools]
    parts = zip(*chosen, strict=True)
    return Selection(
        *(jnp.concatenate([each.reshape(-1, rows.shape[1]) for each in part]) for part in parts)
    )


def weights(pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]) -> Float[Array, "n f"]:
    """Derivative of each pooled feature by the entry of each atom, for an averaging pooling."""
    return jax.grad(lambda entries: _averaged(pool, entries, group).sum())(rows)


def deviations(
    pool: Pool,
    rows: Float[Array, "n f"],
    target: Float[Array, " f"],
    group: Bool[Array, " n"],
) -> tuple[Float[Array, "n f"], Bool[Array, "n f"]]:
    r"""How far each entry is from the target of an extreme, and which entries that target binds.

    A largest value is :math:`M` if and only if the selected has it and no atom exceeds it: the
    selected is bound, and so is every atom beyond the target. Summing the squares of these entries
    keeps the solutions that the selected atoms alone have, and makes descent smooth where atoms
    tie, as they do all over symmetric structures.

    Returns:
        ``rows - target`` and a mask of the bound entries.
    """
    selected, present = selection(pool, rows, group)
    difference = rows - target[None, :]
    beyond = (difference > 0) if pool.kind == "max" else (difference < 0)
    wins = (selected == jnp.arange(rows.shape[0])[:, None]) & present
    return difference, (beyond | wins) & group[:, None]


def jacobian(
    pools: Sequence[Pool],
    rows: Float[Array, "n f"],
    by_vectors: Float[Array, "n f m 3"],
    groups: Bool[Array, "g n"],
    neighbors: Neighbors,
    *,
    strain: bool = False,
) -> Float[Array, "q x 3"]:
    """Derivatives of the pooled numbers by the positions, in 1/Angstrom: pool by pool, all groups.

    Args:
        pools: the poolings.
        rows: of the descriptor.
        by_vectors: their derivatives by the vectors to the neighbours.
        groups: atoms that are pooled together, one group a row.
        neighbors: what each atom sees.
        strain: whether three rows with the derivatives by the strain follow those by the n atoms.
    """
    features = rows.shape[1]
    selecting = [pool for pool in pools if pool.kind in SELECTING]
    blocks = {}
    if selecting:
        # All in one gather: with one for each pooling the derivatives are computed anew for each.
        chosen = selected_atoms(selecting, rows, groups)
        selected = chosen.atom.ravel()
        feature = jnp.tile(jnp.arange(features), len(chosen.atom))
        derivatives = by_positions(
            by_vectors[selected, feature], selected, neighbors, strain=strain
        )
        derivatives = jnp.where(chosen.present.ravel()[:, None, None], derivatives, 0.0)
        ends = np.cumsum([len(groups) * pool.rows * features for pool in selecting])[:-1]
        blocks = dict(zip(selecting, jnp.split(derivatives, ends), strict=True))
    averaging = [pool for pool in pools if pool.kind not in SELECTING]
    if averaging:
        entries = entries_by_positions(by_vectors, neighbors, strain=strain)
        # All in one product as well: it has to read the entries, which are many.
        shares = [jax.vmap(partial(weights, pool, rows))(groups) for pool in averaging]
        derivatives = jnp.einsum(
            "gif,ifnx->gfnx", jnp.concatenate(shares), entries, precision=Precision.HIGHEST
        )
        parts = derivatives.reshape(len(averaging), -1, *derivatives.shape[2:])
        blocks |= dict(zip(averaging, parts, strict=True))
    return jnp.concatenate([blocks[pool] for pool in pools])


def entries_by_positions(
    by_vectors: Float[Array, "n f m 3"], neighbors: Neighbors, *, strain: bool = False
) -> Float[Array, "n f x 3"]:
    """Derivatives of every entry of the rows, as :func:`by_positions` gives them."""
    n, f, m, _ = by_vectors.shape
    centre = jnp.repeat(jnp.arange(n), f)
    derivatives = by_positions(by_vectors.reshape(n * f, m, 3), centre, neighbors, strain=strain)
    return derivatives.reshape(n, f, *derivatives.shape[1:])


def by_positions(
    jacobian: Float[Array, "r m 3"],
    centre: Int[Array, " r"],
    neighbors: Neighbors,
    *,
    strain: bool = False,
) -> Float[Array, "r x 3"]:
    r"""Derivatives of some entries by the positions, from those by the neighbour vectors.

    A strain :math:`\epsilon` takes every vector v to :math:`v (1 + \epsilon)`, hence the derivative
    :math:`\sum_m v_m \otimes \partial G/\partial v_m`, here its symmetric part.

    Args:
        jacobian: by the vectors to the neighbours of each entry's central atom.
        centre: that atom.
        neighbors: what each atom sees.
        strain: whether three rows with the derivatives by the strain follow those by the n atoms.
    """
    source = neighbors.source
    n = jacobian.shape[1] if source is None else source.shape[0]
    ends = jacobian
    if source is not None:
        hot = nn.one_hot(source[centre], n, dtype=jacobian.dtype)
        ends = jnp.einsum("rmx,rmn->rnx", jacobian, hot, precision=Precision.HIGHEST)
    # A vector ends at the neighbour and starts at the centre: moving the centre turns the sign.
    start = nn.one_hot(centre, n, dtype=jacobian.dtype)
    derivatives = ends - start[:, :, None] * jacobian.sum(1)[:, None, :]
    if not strain:
        return derivatives
    vectors = jnp.where(neighbors.mask[:, :, None], neighbors.vectors, 0.0)
    by_strain = jnp.einsum("rmx,rmy->rxy", vectors[centre], jacobian, precision=Precision.HIGHEST)
    return jnp.concatenate([derivatives, (by_strain + by_strain.transpose(0, 2, 1)) / 2.0], axis=1)


def _averaged(
    pool: Pool, rows: Float[Array, "n f"], group: Bool[Array, " n"]
) -> Float[Array, " f"]:
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
    # Of nobody, everybody counts: the logarithm of zero has no slope.
    logarithm = jax.nn.logsumexp(scaled, axis=0, b=(inside | ~group.any()) / count)
    return jnp.where(group.any(), sign * pool.temperature * logarithm, 0.0)
