"""Descriptor: the interface of a family of local descriptors, and what it gets for free."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.environment import element_channels
from jaxrecon.structures.neighbors import Neighbors

BLOCK = 64
"""Number of central atoms whose rows are computed together: it bounds the memory of large cells."""

Rows = TypeVar("Rows")
D = TypeVar("D", bound="Descriptor")

RadialFunction = Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]]
"""Values of a function at distances in Angstrom, cutoff included."""


class Feature(NamedTuple):
    """What the rest of the program may know about one number of a row.

    The defaults claim nothing, and the program works with them. Each claim makes something better:
    see the attributes.

    Attributes:
        name: a unique name for people, like ``"G2[O] eta=4 r_s=1"``; code never parses it.
        neighbors: elements without which the feature is 0: it needs a neighbour of each of them.
            From these the inverse learns which elements are present.
        nonnegative: whether the feature is never negative. Generators then draw no negative one.
        radial: the function g if the feature is the sum of g(r) over the neighbours of the one
            element in :attr:`neighbors`, and g is never negative. From the means of such features
            the inverse learns the composition and the volume of an unknown cell.
        peak: the distance in Angstrom around which :attr:`radial` is large.
    """

    name: str
    neighbors: tuple[str, ...] = ()
    nonnegative: bool = False
    radial: RadialFunction | None = None
    peak: float = 0.0


class Descriptor(ABC):
    r"""A family of local descriptors: a row of numbers for the environment of each atom.

    To add a family, write a frozen dataclass that inherits from this class and register it in
    :data:`jaxrecon.descriptors.registry.DESCRIPTORS`. The dataclass holds the settings, among them
    :attr:`elements` and :attr:`r_cut`; it is hashable, so that it can be static under ``jit``. It
    has to define :attr:`family`, :attr:`features`, :meth:`row` and :meth:`columns`:

    - :meth:`row` is the mathematics for one central atom, as a pure function of the vectors to its
      neighbours. It must not change when the environment is rotated or its neighbours are permuted,
      and a neighbour must fade out smoothly at the cutoff. Its gradient has to be finite for
      coincident atoms, collinear triplets and atoms without neighbours.
    - :attr:`features` names the numbers of the row and says what is known about them.
    - :meth:`columns` says where the features of some of the elements are among all features.

    Everything else has a default. Override :meth:`row_with_jacobian` with a closed form where that
    is faster than JAX's derivative, and :meth:`channels` where the neighbours of an element are not
    simply counted in a channel of their own. The contract test, ``tests/test_descriptors.py``, runs
    on every registered family.

    Attributes:
        family: name of the family, by which files refer to it.
        elements: chemical symbols, sorted by atomic number.
        r_cut: cutoff in Angstrom: atoms beyond it are not neighbours.
    """

    family: ClassVar[str]
    elements: tuple[str, ...]
    r_cut: float

    # What a family defines.

    @property
    @abstractmethod
    def features(self) -> tuple[Feature, ...]:
        """The numbers of a row, in order."""

    @abstractmethod
    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """The row of one central atom.

        Args:
            vectors: vectors to its neighbours in Angstrom. Where ``channel`` is 0 throughout, the
                vector belongs to no neighbour and may have any value.
            channel: how much each neighbour counts in each channel; see :meth:`channels`.

        Returns:
            The features for these channels, without a unit.
        """

    @abstractmethod
    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """Where the features for some elements are among the features for all.

        This is also how features permute when elements do: if the atoms of ``elements[i]`` turn
        into those of the i-th element of the set, features move to the columns given here.

        Args:
            elements: atomic numbers in any order, as given to :meth:`__call__`.

        Returns:
            One column for each feature of these elements; ``size`` for one that does not exist.
        """

    # What a family may override.

    @property
    def order_only(self) -> bool:
        """Whether the row depends on the order of the elements and not on which elements they are.

        If so, one compiled program serves all elements.
        """
        return False

    @property
    def fixed_length(self) -> bool:
        """Whether the row has the same features whatever the elements are."""
        return False

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m s"]:
        """How much each neighbour counts in each channel: by default 1 in that of its element.

        Args:
            species: atomic numbers of the neighbours.
            mask: false for padding.
            elements: atomic numbers that have channels.
            dtype: data type of the result.

        Returns:
            Weights, 0 throughout for padding and for elements without a channel.
        """
        return element_channels(species, mask, elements, dtype=dtype)

    def row_with_jacobian(
        self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
    ) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
        """The row of one central atom and its derivatives by the vectors, in 1/Angstrom.

        By default JAX takes the derivatives, forwards or backwards, whichever needs fewer passes.

        Args:
            vectors: as for :meth:`row`.
            channel: as for :meth:`row`.
        """
        derivative = jax.jacrev if self.size < vectors.size else jax.jacfwd
        return self.row(vectors, channel), derivative(self.row)(vectors, channel)

    def selects(self, neighbors: Neighbors) -> bool:
        """Whether :meth:`selected_jacobian` costs less here than :meth:`with_jacobian`."""
        return False

    def selected_jacobian(
        self,
        neighbors: Neighbors,
        atom: Int[Array, "p f"],
        elements: Int[Array, " e"] | None = None,
    ) -> Float[Array, "p f n 3"]:
        """Derivatives of single entries of the rows by the positions, in 1/Angstrom.

        Only called where :meth:`selects` is true.

        Args:
            neighbors: what each atom sees; neighbour m is atom m.
            atom: for each entry the atom whose feature f is meant; n for none, which gives 0.
            elements: as for :meth:`__call__`.
        """
        raise NotImplementedError

    # What a family gets.

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def size(self) -> int:
        """The number of features in a row."""
        return len(self.features)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the elements, ascending."""
        return tuple(atomic_numbers[symbol] for symbol in self.elements)

    @partial(jax.jit, static_argnums=0)
    def __call__(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> Float[Array, "n f"]:
        """The rows of all central atoms, without a unit.

        Args:
            neighbors: what each atom sees.
            elements: atomic numbers that have channels; None for those of the set.
        """
        return self._over_atoms(self.row, neighbors, elements)

    @partial(jax.jit, static_argnums=0)
    def with_jacobian(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
        """The rows and their derivatives by the vectors to the neighbours, in 1/Angstrom.

        Args:
            neighbors: what each atom sees.
            elements: as for :meth:`__call__`.
        """
        return self._over_atoms(self.row_with_jacobian, neighbors, elements)

    def places(self, elements: Int[Array, " e"]) -> tuple[Int[Array, " e"], Bool[Array, " e"]]:
        """The index of each atomic number among the elements, and whether it is one of them."""
        species = jnp.asarray(self.species)
        place = jnp.searchsorted(species, elements).clip(0, len(species) - 1)
        return place, species[place] == elements

    def with_elements(self: D, elements: Iterable[str]) -> D:
        """The same descriptor for other elements.

        Args:
            elements: chemical symbols in any order.
        """
        return replace(self, elements=tuple(elements))  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data for JSON, with the name of the family."""
        return {"family": self.family, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[D], settings: Mapping[str, Any]) -> D:
        """The inverse of :meth:`to_dict`, without the name of the family.

        Args:
            settings: values by name; lists stand for tuples.

        Raises:
            ValueError: if a name is not a setting of the family, or a value is out of range.
        """
        own = [setting.name for setting in fields(cls) if setting.init]  # type: ignore[arg-type]
        if unknown := sorted(set(settings) - set(own)):
            raise ValueError(f"expected settings among {sorted(own)}, got {unknown}")
        return cls(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in settings.items()
            }
        )

    def _over_atoms(
        self,
        function: Callable[[Array, Array], Rows],
        neighbors: Neighbors,
        elements: Int[Array, " e"] | None,
    ) -> Rows:
        """Apply a function of one environment to all atoms; block after block if they are many."""
        chosen = jnp.asarray(self.species) if elements is None else elements

        def of_atom(atom: tuple[Array, Array, Array]) -> Rows:
            vectors, species, mask = atom
            return function(vectors, self.channels(species, mask, chosen, vectors.dtype))

        atoms = (neighbors.vectors, neighbors.species, neighbors.mask)
        if len(neighbors.vectors) <= BLOCK:
            return jax.vmap(of_atom)(atoms)
        return jax.lax.map(jax.checkpoint(of_atom), atoms, batch_size=BLOCK)


@dataclass(frozen=True)
class Preset:
    """How to make a named fingerprint for any elements.

    Attributes:
        descriptor: makes the descriptor from chemical symbols. Its further arguments all have
            defaults, which the user of the preset may change.
        settings: the settings of the fingerprint, beside the descriptor, that differ from their
            defaults.
    """

    descriptor: Callable[..., Descriptor]
    settings: Mapping[str, Any] = field(default_factory=dict)


def checked_elements(elements: Iterable[str]) -> tuple[str, ...]:
    """Chemical symbols without repetition, sorted by atomic number.

    Raises:
        ValueError: if one is no chemical symbol, or there is none.
    """
    symbols = tuple(elements)
    if not symbols or any(atomic_numbers.get(symbol, 0) == 0 for symbol in symbols):
        raise ValueError(f"expected elements as chemical symbols, got {symbols!r}")
    return tuple(sorted(set(symbols), key=lambda symbol: atomic_numbers[symbol]))


def checked_r_cut(r_cut: float) -> float:
    """A cutoff in Angstrom.

    Raises:
        ValueError: if it is not positive and finite.
    """
    if not 0 < r_cut < np.inf:
        raise ValueError(f"expected r_cut > 0 Angstrom, got {r_cut}")
    return float(r_cut)
