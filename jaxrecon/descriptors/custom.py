"""Custom: a user's own function as a family of descriptors, of which JAX takes the derivatives."""

import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.base import Descriptor, Feature
from jaxrecon.descriptors.checks import checked_elements, checked_r_cut
from jaxrecon.descriptors.cutoffs import CutoffName, check_cutoff
from jaxrecon.descriptors.environment import Environment, environment, weighted_channel

RowFn = Callable[[Environment], Float[Array, " f"]]
"""A pure function from the environment of one atom to its row of numbers, of fixed length."""

ROUND_OFF = 1e-3
"""Largest change of a row, relative to its largest number, that counts as round-off of float32."""


@dataclass(frozen=True)
class Custom(Descriptor):
    """A descriptor by a pure function: hashable, so static under ``jit``.

    The function gets an :class:`~jaxrecon.descriptors.environment.Environment`: the distances ``r``
    and unit vectors ``direction`` of the neighbours, their smooth ``cutoff``, and their atomic
    numbers in ``channel[:, 0]``. The last two are 0 for padding, which is placed at some distance
    from the atom. Every neighbour has to be weighted by its cutoff. Compiled programs are kept by
    function: define it once, not anew for every call.

    Attributes:
        function: maps the environment of an atom to its row.
        elements: chemical symbols, in any order; stored sorted by atomic number.
        r_cut: cutoff in Angstrom.
        cutoff: ``"cosine"`` or ``"tanh3"``; see :mod:`~jaxrecon.descriptors.cutoffs`.
        nonnegative: whether the function gives no negative numbers. Say so if it is true: what a
            model generates is never negative then.

    Raises:
        ValueError: if a parameter is out of range, the function does not return a row of numbers,
            or the row changes with a rotation, with the order of the neighbours or with padding.

    >>> def coordination(environment):
    ...     return environment.cutoff.sum(keepdims=True)
    >>> Custom(coordination, elements=("O", "H"), r_cut=3.0).names
    ('coordination 0',)
    """

    family: ClassVar[str] = "custom"

    function: RowFn
    elements: tuple[str, ...]
    r_cut: float = 6.0
    cutoff: CutoffName = "cosine"
    nonnegative: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", checked_elements(self.elements))
        object.__setattr__(self, "r_cut", checked_r_cut(self.r_cut))
        check_cutoff(self.cutoff)
        if not callable(self.function) or not isinstance(self.function, Hashable):
            raise ValueError(
                f"expected a hashable function of the environment of an atom, got {self.function!r}"
            )
        _checked_size(self.function, self.cutoff, self.r_cut)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """One for each number of the row: the name of the function and the place in the row."""
        size = _checked_size(self.function, self.cutoff, self.r_cut)
        name = _name(self.function)
        return tuple(
            Feature(f"{name} {place}", nonnegative=self.nonnegative) for place in range(size)
        )

    @property
    def fixed_length(self) -> bool:
        """True: the function decides alone."""
        return True

    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """All features, whatever the elements are."""
        return jnp.arange(self.size)

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m 1"]:
        """One channel that has the atomic numbers."""
        return weighted_channel(species, mask, elements, dtype=dtype)

    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """What the function makes of the environment of one atom."""
        return _row(self.function, self.cutoff, self.r_cut, vectors, channel)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data; the function as ``module:name``."""
        return {**super().to_dict(), "function": _address(self.function)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Custom":
        """The inverse of :meth:`to_dict`: imports the function.

        Args:
            settings: values by name.

        Raises:
            ValueError: if the function can't be imported, or a setting is unknown or out of range.
        """
        function = settings.get("function")
        return super().from_dict({**settings, "function": _imported(function)})


def _address(function: RowFn) -> str:
    """Where a function can be imported from, as ``module:name``.

    An instance of a dataclass that can be called is given with its fields, so that two that differ
    are told apart; it can't be imported.
    """
    name = repr(function) if is_dataclass(function) else _qualified_name(function)
    return f"{getattr(function, '__module__', type(function).__module__)}:{name}"


def _qualified_name(function: RowFn) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _imported(address: Any) -> Any:
    """The object at ``module:name``.

    Raises:
        ValueError: if there is none.
    """
    module, _, names = str(address).partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"expected the descriptor's function in a module that can be imported, as module:name, "
            f"got {address!r} ({type(error).__name__}: {error})"
        ) from error
    return found


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
    if not (off <= ROUND_OFF * np.abs(one).max()).all():
        raise ValueError(
            f"expected {_name(function)} to give numbers that a rotation, the order of the "
            f"neighbours and padding do not change, got {one[off.argmax()]:g} and "
            f"{other[off.argmax()]:g} for number {off.argmax()}"
        )
    return len(one)
