"""Descriptor rows by a function of one's own, of which JAX takes the derivatives."""

from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Local
from jaxrecon.descriptors.cutoffs import CutoffName
from jaxrecon.descriptors.environment import Environment, environment
from jaxrecon.structures.neighbors import Neighbors

RowFn = Callable[[Environment], Float[Array, " f"]]
"""A pure function from what one atom sees to its row of numbers, of any fixed length."""

ALIKE = 1e-3
"""Change of a row, in units of its largest number, that is taken for round-off of float32."""


@dataclass(frozen=True)
class Custom(Local):
    """A descriptor by a pure function: hashable, so static under ``jit``.

    The function sees the distances ``r`` and unit vectors ``direction`` of the neighbours, their
    smooth ``cutoff`` and, in ``channel[:, 0]``, their atomic numbers; the last two are 0 for
    padding, which is at a distance of its own. Each neighbour has to count by its cutoff. Programs
    are kept by function: define it once, not anew for every call.

    Attributes:
        function: from what one atom sees to its row.
        elements: chemical symbols, in any order; stored sorted by atomic number.
        r_cut: cutoff in Angstrom.
        cutoff: ``"cosine"`` or ``"tanh3"``; see :mod:`~jaxrecon.descriptors.cutoffs`.

    Raises:
        ValueError: if a parameter is out of range, the function gives no row of numbers, or one
            that a rotation, the order of the neighbours or padding changes.

    >>> def coordination(seen):
    ...     return seen.cutoff.sum(keepdims=True)
    >>> Custom(coordination, elements=("O", "H"), r_cut=3.0).names
    ('coordination 0',)
    """

    function: RowFn
    elements: tuple[str, ...]
    r_cut: float = 6.0
    cutoff: CutoffName = "cosine"
    weighted: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        self._check_environment()
        if not callable(self.function) or not isinstance(self.function, Hashable):
            raise ValueError(
                f"expected a hashable function of what an atom sees, got {self.function!r}"
            )
        _checked_size(self.function, self.cutoff, self.r_cut)

    @property
    def size(self) -> int:
        """How many features there are."""
        return _checked_size(self.function, self.cutoff, self.r_cut)

    @property
    def name(self) -> str:
        """What the function is called."""
        return _name(self.function)

    @property
    def names(self) -> tuple[str, ...]:
        """What each feature is: the name of the function, and its place in the row."""
        return tuple(f"{self.name} {place}" for place in range(self.size))

    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """Where the features for some elements stand among all: they are the same for all.

        Args:
            elements: atomic numbers, ascending.
        """
        return jnp.arange(self.size)

    @partial(jax.jit, static_argnums=0)
    def __call__(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> Float[Array, "n f"]:
        """Descriptor rows without a unit, one for each central atom.

        Args:
            neighbors: what each atom sees.
            elements: atomic numbers of neighbours that count; None for those of the set.
        """
        return self._over_atoms(self._row, neighbors, elements)

    @partial(jax.jit, static_argnums=0)
    def with_jacobian(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
        """Rows and their derivatives with respect to the neighbour vectors, in 1/Angstrom.

        JAX takes them, forward or in reverse, whichever needs fewer passes.

        Args:
            neighbors: what each atom sees.
            elements: as for :meth:`__call__`.
        """

        def one(vectors: Array, channel: Array) -> tuple[Array, Array]:
            derivative = jax.jacrev if self.size < vectors.size else jax.jacfwd
            return self._row(vectors, channel), derivative(self._row)(vectors, channel)

        return self._over_atoms(one, neighbors, elements)

    def to_dict(self) -> dict[str, Any]:
        """The parameters as plain data; of the function, its name."""
        return {"descriptor": "custom", **asdict(self), "function": self.name}

    def _row(self, vectors: Array, channel: Array) -> Array:
        return _row(self.function, self.cutoff, self.r_cut, vectors, channel)


def _row(function: RowFn, cutoff: str, r_cut: float, vectors: Array, channel: Array) -> Array:
    # Padding is apart from the centre: what divides by a distance is finite, and so is its slope.
    apart = jnp.asarray([[0.5 * r_cut, 0.0, 0.0]], vectors.dtype)
    vectors = jnp.where(channel != 0, vectors, apart)
    made = function(environment(vectors, channel, cutoff=cutoff, r_cut=r_cut))
    shape = getattr(made, "shape", None)
    if shape is None or len(shape) != 1 or not len(made):
        raise ValueError(
            f"expected {_name(function)} to give a row of numbers, shape (f,), got "
            f"{type(made).__name__ if shape is None else f'shape {tuple(shape)}'}"
        )
    return made.astype(vectors.dtype)


def _name(function: RowFn) -> str:
    return getattr(function, "__name__", type(function).__name__)


@lru_cache(maxsize=256)
def _checked_size(function: RowFn, cutoff: str, r_cut: float) -> int:
    """The length of the row of an atom with five neighbours, seen in two ways."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(5, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vectors = r_cut * rng.uniform(0.2, 0.8, size=(5, 1)) * direction
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    numbers = np.array([1.0, 6.0, 1.0, 8.0, 6.0])

    def row(vectors: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        made = jax.jit(partial(_row, function, cutoff, r_cut))
        # A search that is being compiled makes descriptors of fewer elements.
        with jax.ensure_compile_time_eval():
            return np.asarray(made(jnp.float32(vectors), jnp.float32(numbers[:, None])))

    one = row(vectors, numbers)
    other = row(
        np.append((vectors @ turn)[::-1], np.zeros((2, 3)), 0), np.append(numbers[::-1], [0, 0])
    )
    if one.shape != other.shape:
        raise ValueError(
            f"expected {_name(function)} to give as many numbers whatever the neighbours, "
            f"got {len(one)} for 5 and {len(other)} for 7"
        )
    off = np.abs(one - other)
    if not (off <= ALIKE * np.abs(one).max()).all():
        raise ValueError(
            f"expected {_name(function)} to give numbers that a rotation, the order of the "
            f"neighbours and padding do not change, got {one[off.argmax()]:g} and "
            f"{other[off.argmax()]:g} for number {off.argmax()}"
        )
    return len(one)
