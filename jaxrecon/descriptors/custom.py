"""Custom: descriptors by a function of the user, whose derivatives JAX takes."""

import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.checks import checked_elements, checked_r_cut
from jaxrecon.descriptors.cutoffs import CutoffName, check_cutoff
from jaxrecon.descriptors.environment import Environment, environment, weighted_channel
from jaxrecon.descriptors.feature import Feature

RowFn = Callable[[Environment], Float[Array, " f"]]
"""A pure function that maps the environment of an atom to its row of numbers."""

ROUND_OFF = 1e-3
"""Largest change of a row, relative to its largest number, that is taken for round-off."""


@dataclass(frozen=True)
class Custom(Descriptor):
    """A descriptor by a function of the environment of an atom.

    The function gets an :class:`~jaxrecon.descriptors.environment.Environment` with the distances
    ``r`` and unit vectors ``direction`` of the neighbours, their cutoff function ``cutoff``, and
    their atomic numbers in ``channel[:, 0]``. It returns a row of numbers, as many for any
    environment. Weight every neighbour by its cutoff function, which is 0 for padding. The row must
    not change with a rotation or with the order of the neighbours; this is checked.

    Define the function once at the top level of a module. Compiled programs belong to the function
    object, so that a new object for every call would compile everything again; and only a function
    that can be imported is found again from files.

    Attributes:
        function: the function.
        elements: chemical symbols of the elements that structures may have, in any order; they are
            sorted by atomic number.
        r_cut: cutoff in Angstrom.
        cutoff: ``"cosine"`` or ``"tanh3"``; see :mod:`jaxrecon.descriptors.cutoffs`.
        nonnegative: whether all numbers of the row are never negative. Say so if it is true:
            generated fingerprints then have no negative numbers.

    Raises:
        ValueError: if a setting is out of range, the function does not return a row of numbers, or
            the row changes with a rotation, with the order of the neighbours or with padding.

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
        """The numbers of the row, named by the function and their index."""
        size = _checked_size(self.function, self.cutoff, self.r_cut)
        name = _name(self.function)
        return tuple(
            Feature(f"{name} {index}", nonnegative=self.nonnegative) for index in range(size)
        )

    @property
    def fixed_length(self) -> bool:
        """True, since the function gives as many numbers for any elements."""
        return True

    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """The indices of all features, for any elements."""
        return jnp.arange(self.size)

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m 1"]:
        """The atomic numbers of the neighbours, as weights in a single channel."""
        return weighted_channel(species, mask, elements, dtype=dtype)

    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """Call the function with the environment of one atom; see :meth:`Descriptor.row`."""
        return _row(self.function, self.cutoff, self.r_cut, vectors, channel)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data for JSON, with the function as ``"module:name"``."""
        return {**super().to_dict(), "function": _address(self.function)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Custom":
        """Make a descriptor from the settings that :meth:`to_dict` gave, importing its function.

        Args:
            settings: values by name, without the name of the family.

        Returns:
            The descriptor.

        Raises:
            ValueError: if the function can't be imported, or a setting is unknown or out of range.
        """
        function = settings.get("function")
        return super().from_dict({**settings, "function": _imported(function)})


def _address(function: RowFn) -> str:
    """Where a function can be imported from, as ``module:name``.

    A callable instance of a dataclass can't be imported. Its name has the values of its fields, so
    that different instances have different names.
    """
    name = repr(function) if is_dataclass(function) else _qualified_name(function)
    return f"{getattr(function, '__module__', type(function).__module__)}:{name}"


def _qualified_name(function: RowFn) -> str:
    """The name of a function within its module, or of the class of a callable."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _imported(address: Any) -> Any:
    """Import the object ``module:name``.

    Raises:
        ValueError: if there is no such module or name.
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
    """Call a function with the environment of one atom and check the shape of its result."""
    # Put padding at a distance from the atom: a function that divides by the distance is finite
    # there, and so are its derivatives.
    aside = jnp.asarray([[0.5 * r_cut, 0.0, 0.0]], vectors.dtype)
    vectors = jnp.where(channel != 0, vectors, aside)
    row = function(environment(vectors, channel, cutoff=cutoff, r_cut=r_cut))
    shape = getattr(row, "shape", None)
    if shape is None or len(shape) != 1 or not len(row):
        raise ValueError(
            f"expected {_name(function)} to give a row of numbers, shape (f,), got "
            f"{type(row).__name__ if shape is None else f'shape {tuple(shape)}'}"
        )
    return row.astype(vectors.dtype)


def _name(function: RowFn) -> str:
    """The name of a function, or of the class of a callable, for names and messages."""
    return getattr(function, "__name__", type(function).__name__)


@lru_cache(maxsize=256)
def _checked_size(function: RowFn, cutoff: str, r_cut: float) -> int:
    """Check that a function gives invariant rows of a fixed length, and return this length."""
    # An environment of five neighbours well within the cutoff.
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(5, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vectors = r_cut * rng.uniform(0.2, 0.8, size=(5, 1)) * direction
    numbers = np.array([1.0, 6.0, 1.0, 8.0, 6.0])
    # A random rotation, without a reflection.
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)

    def row(vectors: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        compiled = jax.jit(partial(_row, function, cutoff, r_cut))
        # A descriptor may be made while a search is traced: compute its row at once even then.
        with jax.ensure_compile_time_eval():
            return np.asarray(compiled(jnp.float32(vectors), jnp.float32(numbers[:, None])))

    # Compare the same environment after a rotation, in the opposite order and with padding.
    first = row(vectors, numbers)
    second = row(
        np.append((vectors @ rotation)[::-1], np.zeros((2, 3)), 0),
        np.append(numbers[::-1], [0, 0]),
    )
    if first.shape != second.shape:
        raise ValueError(
            f"expected {_name(function)} to give as many numbers for any neighbours, "
            f"got {len(first)} for 5 and {len(second)} for 7"
        )
    difference = np.abs(first - second)
    if not (difference <= ROUND_OFF * np.abs(first).max()).all():
        worst = difference.argmax()
        raise ValueError(
            f"expected {_name(function)} to give numbers that a rotation, the order of the "
            f"neighbours and padding do not change, got {first[worst]:g} and "
            f"{second[worst]:g} for number {worst}"
        )
    return len(first)
