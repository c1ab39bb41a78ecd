"""Gauss-Newton models of a fingerprint's residual, and which atom is to attribution for it."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.descriptors import pooling
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.layout import View
from jaxrecon.descriptors.pooling import EXTREMES, SELECTING
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.levenberg_marquardt import NormalEquations
from jaxrecon.structures.structure import Structure


def normal_equations(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    *,
    strain_length: float | None = None,
) -> NormalEquations:
    """Model of the squared residual :math:`|R(x) - R^*|^2`: the cheap one.

    The residual is infinite where a neighbour is missing: no such point is ever the best one.

    Args:
        fingerprint: R.
        structure: x.
        target: R*.
        strain_length: Angstrom that a strain of 1 counts as: the strain is unknown as well, in
            nine numbers below the positions. None for a cell that stays.
    """
    view = fingerprint.view(structure)
    value, jacobian = fingerprint.pooled_with_jacobian(view, strain=strain_length is not None)
    wanted, absent = _split(fingerprint, view, target)
    difference = value - wanted
    flat = _unknowns(jacobian, strain_length)
    return NormalEquations(
        gram=jnp.einsum("qx,qy->xy", flat, flat, precision=Precision.HIGHEST),
        gradient=_product(difference, flat),
        squared=jnp.sum(difference**2) + jnp.sum(absent**2),
        residual=_residual(view, difference, absent),
    )


def bound_equations(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    *,
    strain_length: float | None = None,
) -> NormalEquations:
    r"""Model of all that the target demands of all atoms: for the last steps.

    For a largest or smallest value, squared are the differences :math:`G_{if} - R^*_f` of all
    entries that the target binds, see :func:`jaxrecon.descriptors.pooling.deviations`: zero exactly
    where :math:`R(x) = R^*`, and smooth where atoms tie. It costs about twice as much as
    :func:`normal_equations`, whose arguments it takes.
    """
    view = fingerprint.view(structure)
    neighbors, strain = view.neighbors, strain_length is not None
    rows, by_vectors = fingerprint.descriptor.with_jacobian(neighbors, view.elements)
    entries = pooling.entries_by_positions(by_vectors, neighbors, strain=strain)
    flat = _unknowns(entries.reshape(rows.size, -1, 3), strain_length)
    wanted, absent = _split(fingerprint, view, target)
    difference = fingerprint.pooled(view, rows) - wanted
    weight, force, squared = jnp.zeros_like(rows), jnp.zeros_like(rows), jnp.sum(absent**2)
    gram = jnp.zeros((flat.shape[1],) * 2, rows.dtype)
    gradient = jnp.zeros(flat.shape[1], rows.dtype)
    for pool, goal, off in zip(
        fingerprint.pools,
        _blocks(fingerprint, view, wanted),
        _blocks(fingerprint, view, difference),
        strict=True,
    ):
        if pool.kind in EXTREMES:
            demand = jax.vmap(partial(pooling.deviations, pool, rows))
            deviation, bound = demand(goal[:, 0], view.groups)
            weight += bound.sum(0)
            force += jnp.where(bound, deviation, 0.0).sum(0)
            squared += jnp.sum(jnp.where(bound, deviation**2, 0.0))
        else:
            derivatives = pooling.jacobian(
                [pool], rows, by_vectors, view.groups, neighbors, strain=strain
            )
            derivatives = _unknowns(derivatives, strain_length)
            gram += _product(derivatives.T, derivatives)
            gradient += _product(off.ravel(), derivatives)
            squared += jnp.sum(off**2)
    return NormalEquations(
        gram=gram + _product(flat.T, weight.reshape(-1, 1) * flat),
        gradient=gradient + _product(force.ravel(), flat),
        squared=squared,
        residual=_residual(view, difference, absent),
    )


def guided_equations(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    *,
    guidance: Guidance,
    strain_length: float | None = None,
) -> NormalEquations:
    """Model of what a guided search minimises; the residual is the root of that.

    The derivatives of predictors are taken backwards, as they are few and the unknowns many.

    Args:
        fingerprint: R.
        structure: x.
        target: R*.
        guidance: what is wanted.
        strain_length: as for :func:`normal_equations`.
    """
    view = fingerprint.view(structure)
    value, jacobian = fingerprint.pooled_with_jacobian(view, strain=strain_length is not None)
    derivatives = _unknowns(jacobian, strain_length)
    if view.columns is not None:
        whole = jnp.zeros((fingerprint.size, 1 + derivatives.shape[1]), value.dtype)
        both = jnp.concatenate([value[:, None], derivatives], axis=1)
        both = whole.at[view.columns].set(both, mode="drop")
        value, derivatives = both[:, 0], both[:, 1:]
    told, pull_back = jax.vjp(guidance.told, value)
    (by_value,) = jax.vmap(pull_back)(jnp.eye(len(told), dtype=told.dtype))
    scales = guidance.scales(value.dtype)
    off = scales * (value - target)
    flat = jnp.concatenate([_product(by_value, derivatives), scales[:, None] * derivatives])
    wrong = jnp.concatenate([told, off])
    squared = jnp.sum(wrong**2)
    overflow = view.neighbors.overflow
    return NormalEquations(
        gram=_product(flat.T, flat),
        gradient=_product(wrong, flat),
        squared=squared,
        residual=jnp.where(overflow, jnp.inf, jnp.sqrt(squared)),
    )


def attribution(
    fingerprint: Fingerprint, structure: Structure, target: Float[Array, " p"]
) -> Float[Array, " n"]:
    """For each atom the sum of ``|R - target|`` over the features, by its share in each.

    In an extreme the selected has the whole share; in an average an atom has the weight of its
    entry.
    """
    view = fingerprint.view(structure)
    rows = fingerprint.rows(view)
    error = jnp.abs(fingerprint.pooled(view, rows) - _split(fingerprint, view, target)[0])
    total = jnp.zeros(len(rows), rows.dtype)
    for pool, off in zip(fingerprint.pools, _blocks(fingerprint, view, error), strict=True):
        if pool.kind in SELECTING:
            selected, present = jax.vmap(partial(pooling.selection, pool, rows))(view.groups)
            total = total.at[selected].add(jnp.where(present, off, 0.0))
        else:
            share = jax.vmap(partial(pooling.weights, pool, rows))(view.groups)
            total += jnp.sum(jnp.abs(share) * off, axis=(0, 2))
    return total


def _split(
    fingerprint: Fingerprint, view: View, target: Float[Array, " p"]
) -> tuple[Float[Array, " q"], Float[Array, " p"]]:
    """The target for the numbers of a view; and the rest of it, where R is 0 whatever the atoms."""
    if view.columns is None:
        return target, jnp.zeros_like(target)
    wanted = target.at[view.columns].get(mode="fill", fill_value=0.0)
    return wanted, target.at[view.columns].set(0.0, mode="drop")


def _blocks(
    fingerprint: Fingerprint, view: View, numbers: Float[Array, " q"]
) -> list[Float[Array, "g s f"]]:
    """The numbers of a view, pooling by pooling."""
    groups, rows = len(view.groups), sum(pool.rows for pool in fingerprint.pools)
    features = len(numbers) // (groups * rows)
    blocks, start = [], 0
    for pool in fingerprint.pools:
        end = start + groups * pool.rows * features
        blocks.append(numbers[start:end].reshape(groups, pool.rows, features))
        start = end
    return blocks


def _residual(
    view: View, difference: Float[Array, " q"], absent: Float[Array, " p"]
) -> Float[Array, ""]:
    mean = (jnp.sum(jnp.abs(difference)) + jnp.sum(jnp.abs(absent))) / len(absent)
    return jnp.where(view.neighbors.overflow, jnp.inf, mean)


def _unknowns(
    derivatives: Float[Array, "q x 3"], strain_length: float | None
) -> Float[Array, "q d"]:
    """Slopes by the unknowns in a row, all in 1/Angstrom."""
    if strain_length is not None:
        derivatives = derivatives.at[:, -3:].divide(strain_length)
    return derivatives.reshape(len(derivatives), -1)


def _product(left: Float[Array, "*a b"], right: Float[Array, "b c"]) -> Float[Array, "*a c"]:
    """Matrix product at full precision: accelerators round float32 products to 10 bits else."""
    return jnp.matmul(left, right, precision=Precision.HIGHEST)
