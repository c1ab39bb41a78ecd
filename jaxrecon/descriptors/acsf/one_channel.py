"""Symmetry functions of a single channel: rows and their derivatives.

Functions of one element, and weighted functions, have a single channel. Their sums are too small
for matrix products to be efficient. They are computed in loops over lanes instead, which are all
atoms of all structures of a batch.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jaxrecon.descriptors.acsf import radial, triplets
from jaxrecon.descriptors.acsf.angular import Angular
from jaxrecon.descriptors.acsf.radial import Radial
from jaxrecon.descriptors.environment import Environment, environment
from jaxrecon.lanes import join_lanes, over_lanes, split_lanes

MOST_NEIGHBORS = 48
"""Largest number of neighbours for which this is faster than matrix products.

The matrix products are those of :mod:`jaxrecon.descriptors.acsf.angular`.
"""


class Functions(NamedTuple):
    """The symmetry functions of each channel and of each pair of channels.

    Attributes:
        radial: the two-body functions.
        angular: the three-body functions.
        cutoff: name of the cutoff function.
        r_cut: cutoff in Angstrom.
    """

    radial: Radial
    angular: tuple[Angular, ...]
    cutoff: str
    r_cut: float

    @property
    def sizes(self) -> list[int]:
        """Numbers of two-body functions and of each kind of three-body functions."""
        return [self.radial.size, *(kind.size for kind in self.angular)]

    @property
    def size(self) -> int:
        """The number of all functions."""
        return sum(self.sizes)

    def environment(self, vectors: Array, channel: Array) -> Environment:
        """The environments for these vectors in Angstrom and weights in channels."""
        return environment(vectors, channel, cutoff=self.cutoff, r_cut=self.r_cut)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def rows(
    functions: Functions, vectors: Float[Array, "m 3 lanes"], channel: Float[Array, "m lanes"]
) -> Float[Array, "f lanes"]:
    """Compute all functions, with derivatives by the vectors in any mode.

    Reverse mode is a closed form. The weights of neighbours are constants.

    Args:
        functions: the functions.
        vectors: vectors from the atoms to their neighbours in Angstrom.
        channel: weight of each neighbour; 0 for padding.

    Returns:
        The values, without a unit.
    """
    return over_lanes(partial(_rows, functions))(vectors, channel)


@rows.defjvp
def _(
    functions: Functions, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Compute all functions and their derivatives in one direction."""
    values: Array = rows(functions, *primals)
    return values, PUSH.bind(*primals, tangents[0], functions=functions)


PUSH = Primitive("push_symmetry_functions")
"""The derivatives of all functions in one direction, whose transpose is the closed form.

It is a primitive of its own because a function with a custom reverse mode has no forward mode in
JAX, and a function with a custom forward mode has no custom transpose.
"""


def _pushed(vectors: Array, channel: Array, direction: Array, *, functions: Functions) -> Array:
    """Compute the derivatives of all functions in one direction, in all lanes."""
    return over_lanes(partial(_push, functions))(vectors, channel, direction)


def _shaped(vectors: Any, channel: Any, direction: Any, *, functions: Functions) -> Any:
    """The shape and type of the derivatives."""
    return direction.update(shape=(functions.size, direction.shape[-1]))


def _differentiated(
    primals: Sequence[Array], tangents: Sequence[Any], *, functions: Functions
) -> tuple[Array, Any]:
    """Differentiate the derivatives once more, by the vectors and by the direction."""
    vectors, channel, direction = primals
    by_vectors, _, by_direction = tangents
    parts = []
    if not isinstance(by_direction, ad.Zero):
        parts.append(PUSH.bind(vectors, channel, by_direction, functions=functions))
    if not isinstance(by_vectors, ad.Zero):
        along = jax.jvp(
            lambda x: _push(functions, x, channel, direction), (vectors,), (by_vectors,)
        )
        parts.append(along[1])
    return PUSH.bind(*primals, functions=functions), sum(parts[1:], parts[0])


def _transposed(
    cotangent: Any, vectors: Array, channel: Array, direction: Any, *, functions: Functions
) -> tuple[None, None, Any]:
    """Turn weights of all functions into derivatives of their weighted sum by the vectors."""
    if isinstance(cotangent, ad.Zero):
        return None, None, ad.Zero(direction.aval)
    return None, None, over_lanes(partial(_pullback, functions))(vectors, channel, cotangent)


def _batched(
    arrays: Sequence[Array], axes: Sequence[int | None], *, functions: Functions
) -> tuple[Array, int]:
    """Turn a batch into lanes, and the lanes of the derivatives into the batch."""
    size = next(
        array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None
    )
    joined = [
        join_lanes(
            jnp.broadcast_to(array, (size, *array.shape))
            if axis is None
            else jnp.moveaxis(array, axis, 0)
        )
        for array, axis in zip(arrays, axes, strict=True)
    ]
    return split_lanes(PUSH.bind(*joined, functions=functions), size), 0


PUSH.def_impl(jax.jit(_pushed, static_argnames="functions"))
PUSH.def_abstract_eval(_shaped)
ad.primitive_jvps[PUSH] = _differentiated
ad.primitive_transposes[PUSH] = _transposed
batching.primitive_batchers[PUSH] = _batched
mlir.register_lowering(PUSH, mlir.lower_fun(_pushed, multiple_results=False))


def _rows(functions: Functions, vectors: Array, channel: Array) -> Array:
    """Compute all functions in all lanes."""
    env = functions.environment(vectors, channel[:, None])
    parts = [radial.values_over_lanes(functions.radial, env)]
    parts += [triplets.values(kind, env) for kind in functions.angular]
    return jnp.concatenate(parts)


def _push(functions: Functions, vectors: Array, channel: Array, direction: Array) -> Array:
    """Compute the derivatives of all functions where the vectors move in one direction."""
    return jax.jvp(lambda x: _rows(functions, x, channel), (vectors,), (direction,))[1]


def _pullback(functions: Functions, vectors: Array, channel: Array, cotangent: Array) -> Array:
    """Compute the derivatives of the weighted sum of all functions by the vectors."""
    env = functions.environment(vectors, channel[:, None])
    # The weights of the two-body functions come first, then those of each kind of three-body ones.
    sizes = functions.sizes
    weights = jnp.split(cotangent, [sum(sizes[:count]) for count in range(1, len(sizes))])
    by_distance = radial.pullback(functions.radial, env, weights[0])
    derivatives = by_distance[:, None] * env.direction
    for kind, part in zip(functions.angular, weights[1:], strict=True):
        derivatives += triplets.pullback(kind, env, part)
    return derivatives
