"""The interface of descriptor families: what a new family defines, and what it inherits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from ase.data import atomic_numbers
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.blocks import in_blocks
from jaxrecon.descriptors.center import CenterValues
from jaxrecon.descriptors.checks import Elements, element_symbols
from jaxrecon.descriptors.derivatives import ByVectors, RowDerivatives
from jaxrecon.descriptors.environment import element_channels
from jaxrecon.descriptors.feature import Feature
from jaxrecon.structures.neighbors import Neighbors, with_centers

Rows = TypeVar("Rows")
D = TypeVar("D", bound="Descriptor")


class Descriptor(ABC):
    r"""A family of descriptors, which compute a row of numbers for the environment of each atom.

    To add a family:

    1. Write a frozen dataclass that inherits from this class. Its fields are the settings, among
       them :attr:`elements` and :attr:`r_cut`. They have to be hashable, since descriptors are
       static arguments of compiled functions. :meth:`from_dict` turns lists into tuples; a family
       with other settings overrides it, and :meth:`to_dict`.
    2. Define :attr:`family`, :attr:`features`, :meth:`row` and :meth:`columns`.
    3. Add the class to :data:`jaxrecon.descriptors.registry.DESCRIPTORS`, and examples to the
       contract test, ``tests/test_descriptors.py``, which every registered family has to pass.

    Everything else has a default. Override :meth:`row_with_jacobian` with a closed form if that is
    faster than JAX's derivatives, and :meth:`channels` if the neighbours of each element are not
    simply counted in a channel of their own; :class:`~jaxrecon.ACSF` does both. Override
    :attr:`center_is_neighbor` if the row needs the central atom itself, and
    :meth:`with_derivatives` if it can sum over the images of an atom early;
    :class:`~jaxrecon.SOAP` does both. With :meth:`selects` and :meth:`selected_jacobian` a family
    saves derivatives that no pooling needs. A row may also belong to the whole structure, the same
    for all atoms: :class:`~jaxrecon.descriptors.soap.inner.InnerSOAP` shows what that takes.

    Attributes:
        family: name of the family in files.
        elements: chemical symbols of the elements that structures may have, sorted by atomic
            number; see :func:`jaxrecon.descriptors.checks.checked_elements`.
        r_cut: cutoff in Angstrom: atoms within it are neighbours.

    A whole family, smooth numbers of neighbours of each element, without checks of its settings:

    >>> from dataclasses import dataclass
    >>> from jaxrecon.descriptors.cutoffs import cosine
    >>> from jaxrecon.numerics import safe_norm
    >>> @dataclass(frozen=True)
    ... class Coordination(Descriptor):
    ...     family: ClassVar[str] = "coordination"
    ...     elements: tuple[str, ...]
    ...     r_cut: float = 3.0
    ...
    ...     @property
    ...     def features(self):
    ...         return tuple(Feature(f"number[{symbol}]", (symbol,)) for symbol in self.elements)
    ...
    ...     def row(self, vectors, channel):
    ...         value, _ = cosine(safe_norm(vectors), self.r_cut)
    ...         return jnp.sum(value[:, None] * channel, axis=0)
    ...
    ...     def columns(self, elements):
    ...         place, known = self.places(elements)
    ...         return jnp.where(known, place, self.size)
    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize
    >>> fingerprint = Fingerprint(Coordination(("H", "O")), ("max",), per_element=True)
    >>> fingerprint.names
    ('max[H] number[H]', 'max[H] number[O]', 'max[O] number[H]', 'max[O] number[O]')
    >>> featurize(molecule("H2O"), fingerprint)[0].round(2).tolist()
    [0.49, 0.76, 1.53, 0.0]
    """

    family: ClassVar[str]
    elements: tuple[str, ...]
    r_cut: float

    # Methods and properties that a family has to define.

    @property
    @abstractmethod
    def features(self) -> tuple[Feature, ...]:
        """What is known about the numbers of a row, in their order."""

    @abstractmethod
    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """Compute the row of one central atom.

        The result must not change when the environment is rotated or reflected, or when its
        neighbours are permuted, and the contribution of a neighbour has to vanish smoothly at the
        cutoff. The derivatives have to be finite for coincident atoms, for collinear triplets and
        for an atom without neighbours.

        Args:
            vectors: vectors from the atom to its neighbours in Angstrom. Some are padding: their
                weights are 0 in all channels, and they may have any value.
            channel: weight of each neighbour in each channel, as :meth:`channels` gives them.

        Returns:
            The features for these channels, without a unit. Their number depends on the number of
            channels, and is :attr:`size` for those of all elements.
        """

    @abstractmethod
    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """Find the places of the features for some elements in a row for all elements.

        A structure with few elements is computed in their channels alone, and its numbers are then
        put at their places in the whole row. The same places say how features permute when the
        elements of a structure are exchanged.

        Args:
            elements: atomic numbers of the channels, in any order. Numbers that are not among
                :attr:`elements` stand for channels that are not needed.

        Returns:
            For each feature that :meth:`row` gives for these channels, its index among
            :attr:`features`; :attr:`size` for a feature that is not among them.
        """

    # Methods and properties that a family may override.

    @property
    def order_only(self) -> bool:
        """Whether only the order of the elements matters, and not their atomic numbers.

        The row is then the same if all elements are replaced by others in the same order, and one
        compiled program serves all elements.
        """
        return False

    @property
    def fixed_length(self) -> bool:
        """Whether the row has the same number of features for any elements."""
        return False

    @property
    def center_values(self) -> CenterValues | None:
        """The features that depend on the central element alone; None if there are none."""
        return None

    @property
    def center_is_neighbor(self) -> bool:
        """Whether the central atom is the last of its neighbours, at the vector zero."""
        return False

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m s"]:
        """Compute the weights of neighbours in channels: by default 1 in the one of their element.

        Args:
            species: atomic numbers of the neighbours.
            mask: false for padding.
            elements: atomic numbers of the elements that count; atoms of others are ignored.
            dtype: data type of the result.

        Returns:
            The weights; 0 in all channels for padding and for atoms that are ignored.
        """
        return element_channels(species, mask, elements, dtype=dtype)

    def row_with_jacobian(
        self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
    ) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
        """Compute the row of one central atom and its derivatives by the vectors.

        By default these are JAX's derivatives, in the mode that needs fewer passes.

        Args:
            vectors: as for :meth:`row`.
            channel: as for :meth:`row`.

        Returns:
            The row, without a unit, and its derivatives in 1/Angstrom.
        """
        derivative = jax.jacrev if self.size < vectors.size else jax.jacfwd
        return self.row(vectors, channel), derivative(self.row)(vectors, channel)

    def selects(self, neighbors: Neighbors) -> bool:
        """Whether :meth:`selected_jacobian` is faster than :meth:`with_jacobian`.

        Args:
            neighbors: the environments of all atoms, of which only the shapes count.
        """
        return False

    def selected_jacobian(
        self,
        neighbors: Neighbors,
        atom: Int[Array, "p f"],
        elements: Int[Array, " e"] | None = None,
    ) -> Float[Array, "p f n 3"]:
        """Compute the derivatives of selected entries of the rows by the positions.

        Poolings that take the largest and smallest values need no others. It is only called where
        :meth:`selects` is true.

        Args:
            neighbors: the environments of all atoms; neighbour m is atom m.
            atom: index of the atom whose feature f is selected, p times for each feature; n for no
                atom, with derivatives of 0.
            elements: as for :meth:`__call__`.

        Returns:
            The derivatives by the positions of all n atoms in 1/Angstrom.
        """
        raise NotImplementedError

    def with_derivatives(
        self, neighbors: Neighbors, elements: Int[Array, " e"], *, strain: bool = False
    ) -> tuple[Float[Array, "n f"], RowDerivatives]:
        """Compute the rows of all atoms and their derivatives by the positions.

        A family may override this where it can sum over the images of an atom early.

        Args:
            neighbors: the environments of the atoms.
            elements: as for :meth:`__call__`.
            strain: whether to add the derivatives by the strain of space.

        Returns:
            The rows, without a unit, and their derivatives in 1/Angstrom.
        """
        rows, by_vectors = self.with_jacobian(neighbors, elements)
        return rows, ByVectors(by_vectors, neighbors, strain)

    # Methods and properties that a family inherits.

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
        """Compute the rows of all atoms.

        Args:
            neighbors: the environments of the atoms.
            elements: atomic numbers of the elements that have channels, in any order; None for all
                elements of the descriptor. Atoms of other elements are ignored.

        Returns:
            One row for each atom, without a unit.
        """
        return self._over_atoms(self.row, neighbors, elements)

    @partial(jax.jit, static_argnums=0)
    def with_jacobian(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
        """Compute the rows of all atoms and their derivatives by the vectors to the neighbours.

        Args:
            neighbors: the environments of the atoms.
            elements: as for :meth:`__call__`.

        Returns:
            The rows, without a unit, and their derivatives in 1/Angstrom.
        """
        coordinates = 3 * neighbors.mask.shape[1]
        rows, jacobian = self._over_atoms(self.row_with_jacobian, neighbors, elements, coordinates)
        # The vector from an atom to itself does not change.
        return rows, jacobian[:, :, :-1] if self.center_is_neighbor else jacobian

    def places(self, elements: Int[Array, " e"]) -> tuple[Int[Array, " e"], Bool[Array, " e"]]:
        """Find atomic numbers among the elements of the descriptor.

        Args:
            elements: atomic numbers.

        Returns:
            The index of each number among :attr:`elements`, arbitrary for a number that is not one
            of them; and whether it is one of them.
        """
        species = jnp.asarray(self.species, elements.dtype)
        place = jnp.searchsorted(species, elements).clip(0, len(species) - 1).astype(int)
        return place, species[place] == elements

    def with_elements(self: D, elements: Elements) -> D:
        """Make a descriptor with the same settings for other elements.

        Args:
            elements: chemical symbols in any order, or a text like ``"NaCl"``.

        Returns:
            The descriptor.
        """
        return replace(self, elements=element_symbols(elements))  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data for JSON, and the name of the family under ``"family"``."""
        return {"family": self.family, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[D], settings: Mapping[str, Any]) -> D:
        """Make a descriptor of this family from the settings that :meth:`to_dict` gave.

        Args:
            settings: values by name, without the name of the family. Lists are turned into tuples;
                a setting that is missing has its default value.

        Returns:
            The descriptor.

        Raises:
            ValueError: if a name is not a setting of the family, or a value is out of range.
        """
        own = [setting.name for setting in fields(cls) if setting.init]  # type: ignore[arg-type]
        if unknown := sorted(set(settings) - set(own)):
            raise ValueError(f"expected settings among {sorted(own)}, got {unknown}")
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        return cls(**values)

    def _over_atoms(
        self,
        function: Callable[[Array, Array], Rows],
        neighbors: Neighbors,
        elements: Int[Array, " e"] | None,
        per_feature: int = 1,
    ) -> Rows:
        """Apply a function of one environment, with so many numbers a feature, to all atoms."""
        if self.center_is_neighbor:
            neighbors = with_centers(neighbors)
        species = neighbors.species.dtype
        numbers = jnp.asarray(self.species if elements is None else elements, species)

        def apply(atom: tuple[Array, ...]) -> Rows:
            vectors, species, mask = atom
            return function(vectors, self.channels(species, mask, numbers, vectors.dtype))

        features = jax.eval_shape(self.columns, numbers).shape[0]
        atoms = (neighbors.vectors, neighbors.species, neighbors.mask)
        return in_blocks(apply, atoms, features * per_feature)
