"""Gauss-Newton models of a fingerprint's residual, and the attribution of the residual to atoms."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.descriptors import pooling
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.pooling import EXTREMES, SELECTING
from jaxrecon.descriptors.view import View
from jaxrecon.search.guidance import AtomRows, Guidance
from jaxrecon.search.levenberg_marquardt import Linearization, NormalEquations
from jaxrecon.structures.structure import Structure


def normal_equations(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    *,
    strain_length: float | None = None,
    linear: bool = False,
    weights: Float[Array, " p"] | None = None,
) -> NormalEquations:
    """Model of the squared residual :math:`|R(x) - R^*|^2` of the pooled numbers.

    This is the cheapest model. Its residual is infinite where the bounds leave out a neighbour, so
    that no such point is ever the best one.

    Args:
        fingerprint: the fingerprint R.
        structure: the structure x.
        target: the target R*, without a unit.
        strain_length: length in Angstrom that a strain of 1 counts as, if the cell is unknown: nine
            unknowns for the strain follow those of the positions. None for a known cell.
        linear: whether to add the numbers and their derivatives to the model.
        weights: factors of the differences of the numbers; None for 1.

    Returns:
        The model in the positions and the strain, in Angstrom; its residual is the mean absolute
        residual, weighted too.
    """
    view = fingerprint.view(structure)
    value, jacobian = fingerprint.pooled_with_jacobian(view, strain=strain_length is not None)
    wanted, absent = _split(fingerprint, view, target)
    difference = value - wanted
    if weights is not None:
        own, others = _split(fingerprint, view, weights)
        difference, absent = own * difference, others * absent
        jacobian = own[:, None, None] * jacobian
    flat = _unknowns(jacobian, strain_length)
    return NormalEquations(
        gram=jnp.einsum("qx,qy->xy", flat, flat, precision=Precision.HIGHEST),
        gradient=_product(difference, flat),
        squared=jnp.sum(difference**2) + jnp.sum(absent**2),
        residual=_residual(view, difference, absent),
        linear=Linearization(-difference, jacobian) if linear else None,
    )


def bound_equations(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    *,
    strain_length: float | None = None,
    linear: bool = False,
) -> NormalEquations:
    r"""Model of all conditions that the target sets for the rows of all atoms.

    A largest or smallest value in the target binds several entries of the rows, and the differences
    :math:`G_{if} - R^*_f` of all these are squared; see
    :func:`jaxrecon.descriptors.pooling.deviations`. They vanish exactly where :math:`R(x) = R^*`,
    and stay smooth where atoms tie, which suits the last steps towards a symmetric structure. The
    model costs about twice as much as :func:`normal_equations`.

    Args:
        fingerprint: the fingerprint R.
        structure: the structure x.
        target: the target R*, without a unit.
        strain_length: as for :func:`normal_equations`.
        linear: as for :func:`normal_equations`; the derivatives are those of the pooled numbers.

    Returns:
        The model in the positions and the strain, in Angstrom; its residual is the mean absolute
        residual of the pooled numbers.
    """
    view = fingerprint.view(structure)
    # Derivatives of all entries of all rows, as any of them may be bound.
    rows, by_entries = fingerprint.descriptor.with_derivatives(
        view.neighbors, view.elements, strain=strain_length is not None
    )
    entries = by_entries.entries()
    flat = _unknowns(entries.reshape(rows.size, -1, 3), strain_length)
    wanted, absent = _split(fingerprint, view, target)
    difference = fingerprint.pooled(view, rows) - wanted
    # Extremes add weights and deviations to the entries that they bind, and all of these are
    # multiplied with the derivatives once, at the end. Other poolings add products of their own.
    weight, force, squared = jnp.zeros_like(rows), jnp.zeros_like(rows), jnp.sum(absent**2)
    gram = jnp.zeros((flat.shape[1],) * 2, rows.dtype)
    gradient = jnp.zeros(flat.shape[1], rows.dtype)
    groups = view.groups
    pooled = pooling.jacobian(fingerprint.pools, rows, by_entries, groups) if linear else None
    for pool, pool_target, pool_difference in zip(
        fingerprint.pools,
        _blocks(fingerprint, view, wanted),
        _blocks(fingerprint, view, difference),
        strict=True,
    ):
        if pool.kind in EXTREMES:
            deviations = jax.vmap(partial(pooling.deviations, pool, rows))
            deviation, bound = deviations(pool_target[:, 0], view.groups)
            weight += bound.sum(0, dtype=rows.dtype)
            force += jnp.where(bound, deviation, 0.0).sum(0)
            squared += jnp.sum(jnp.where(bound, deviation**2, 0.0))
        else:
            derivatives = pooling.jacobian([pool], rows, by_entries, view.groups)
            derivatives = _unknowns(derivatives, strain_length)
            gram += _product(derivatives.T, derivatives)
            gradient += _product(pool_difference.ravel(), derivatives)
            squared += jnp.sum(pool_difference**2)
    return NormalEquations(
        gram=gram + _product(flat.T, weight.reshape(-1, 1) * flat),
        gradient=gradient + _product(force.ravel(), flat),
        squared=squared,
        residual=_residual(view, difference, absent),
        linear=Linearization(-difference, pooled) if pooled is not None else None,
    )


def guided_equations(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    *,
    guidance: Guidance,
    strain_length: float | None = None,
) -> NormalEquations:
    """Model of the sum of squares that a guided search minimises.

    Args:
        fingerprint: the fingerprint R.
        structure: the structure x.
        target: the target R*, without a unit.
        guidance: the wanted properties and the weights.
        strain_length: as for :func:`normal_equations`.

    Returns:
        The model in the positions and the strain, in Angstrom; its residual is the root of the sum
        of squares, in the property's unit.
    """
    view, strain = fingerprint.view(structure), strain_length is not None
    atoms, entries = None, None
    if guidance.needs_atoms:
        rows, by_entries = fingerprint.descriptor.with_derivatives(
            view.neighbors, view.elements, strain=strain
        )
        value = fingerprint.pooled(view, rows)
        jacobian = pooling.jacobian(fingerprint.pools, rows, by_entries, view.groups)
        atoms, entries = AtomRows.of(fingerprint, structure, rows), by_entries.entries()
    else:
        value, jacobian = fingerprint.pooled_with_jacobian(view, strain=strain)
    derivatives = _unknowns(jacobian, strain_length)
    # Predictors need all numbers: those of absent elements are 0.
    if view.columns is not None:
        whole = jnp.zeros((fingerprint.size, 1 + derivatives.shape[1]), value.dtype)
        both = jnp.concatenate([value[:, None], derivatives], axis=1)
        both = whole.at[view.columns].set(both, mode="drop")
        value, derivatives = both[:, 0], both[:, 1:]
    # There are few penalties and many numbers: derivatives in reverse mode are the cheaper ones.
    penalties, pull_back = jax.vjp(
        lambda value, rows: guidance.penalties(
            value, None if atoms is None else atoms._replace(rows=rows)
        ),
        value,
        None if atoms is None else atoms.rows,
    )
    by_value, by_rows = jax.vmap(pull_back)(jnp.eye(len(penalties), dtype=penalties.dtype))
    steep = _product(by_value, derivatives)
    if entries is not None:
        pulled = jnp.einsum("kif,ifnx->knx", by_rows, entries, precision=Precision.HIGHEST)
        steep += _unknowns(pulled, strain_length)
    scales = guidance.scales(value.dtype)
    distances = scales * (value - target)
    flat = jnp.concatenate([steep, scales[:, None] * derivatives])
    terms = jnp.concatenate([penalties, distances])
    squared = jnp.sum(terms**2)
    overflow = view.neighbors.overflow
    return NormalEquations(
        gram=_product(flat.T, flat),
        gradient=_product(terms, flat),
        squared=squared,
        residual=jnp.where(overflow, jnp.inf, jnp.sqrt(squared)),
    )


def attribution(
    fingerprint: Fingerprint,
    structure: Structure,
    target: Float[Array, " p"],
    weights: Float[Array, " p"] | None = None,
) -> Float[Array, " n"]:
    """How much of the residual each atom is responsible for.

    This is the sum of ``|R - target|`` over all numbers, each weighed by the contribution of the
    atom to the number. An extreme is due to its selected atom alone. An average is due to all
    atoms, by its derivative with respect to their entries.

    Args:
        fingerprint: the fingerprint R.
        structure: the structure.
        target: the target, without a unit.
        weights: factors of the differences of the numbers; None for 1.

    Returns:
        The attribution of each atom, without a unit.
    """
    view = fingerprint.view(structure)
    rows = fingerprint.rows(view)
    error = jnp.abs(fingerprint.pooled(view, rows) - _split(fingerprint, view, target)[0])
    if weights is not None:
        error *= _split(fingerprint, view, weights)[0]
    total = jnp.zeros(len(rows), rows.dtype)
    for pool, pool_error in zip(fingerprint.pools, _blocks(fingerprint, view, error), strict=True):
        if pool.kind in SELECTING:
            selected, present = jax.vmap(partial(pooling.selection, pool, rows))(view.groups)
            total = total.at[selected].add(jnp.where(present, pool_error, 0.0))
        else:
            shares = jax.vmap(partial(pooling.weights, pool, rows))(view.groups)
            total += jnp.sum(jnp.abs(shares) * pool_error, axis=(0, 2))
    return total


def _split(
    fingerprint: Fingerprint, view: View, target: Float[Array, " p"]
) -> tuple[Float[Array, " q"], Float[Array, " p"]]:
    """Split the target into the numbers of a view and the rest, where R is always 0."""
    if view.columns is None:
        return target, jnp.zeros_like(target)
    wanted = target.at[view.columns].get(mode="fill", fill_value=0.0)
    return wanted, target.at[view.columns].set(0.0, mode="drop")


def _blocks(
    fingerprint: Fingerprint, view: View, numbers: Float[Array, " q"]
) -> list[Float[Array, "g s f"]]:
    """Split the numbers of a view into one array for each pooling."""
    groups, rows = len(view.groups), sum(pool.size for pool in fingerprint.pools)
    features = len(numbers) // (groups * rows)
    blocks, start = [], 0
    for pool in fingerprint.pools:
        end = start + groups * pool.size * features
        blocks.append(numbers[start:end].reshape(groups, pool.size, features))
        start = end
    return blocks


def _residual(
    view: View, difference: Float[Array, " q"], absent: Float[Array, " p"]
) -> Float[Array, ""]:
    """Mean absolute residual over all numbers; infinite where a neighbour is left out."""
    mean = (jnp.sum(jnp.abs(difference)) + jnp.sum(jnp.abs(absent))) / len(absent)
    return jnp.where(view.neighbors.overflow, jnp.inf, mean)


def _unknowns(
    derivatives: Float[Array, "q x 3"], strain_length: float | None
) -> Float[Array, "q d"]:
    """Jacobian as a matrix, one column for each unknown, all in 1/Angstrom."""
    if strain_length is not None:
        derivatives = derivatives.at[:, -3:].divide(strain_length)
    return derivatives.reshape(len(derivatives), -1)


def _product(left: Float[Array, "*a b"], right: Float[Array, "b c"]) -> Float[Array, "*a c"]:
    """Matrix product at full precision: accelerators would round float32 factors to 10 bits."""
    return jnp.matmul(left, right, precision=Precision.HIGHEST)
