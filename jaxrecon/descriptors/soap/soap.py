r"""SOAP: smooth overlap of atomic positions, the power spectrum of the density around each atom.

Source: Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013). The density of the neighbours of
each element, and of the central atom itself, is expanded in radial functions and spherical
harmonics (:mod:`~jaxrecon.descriptors.soap.expansion`). The products of these coefficients that a
rotation does not change are the row of the atom (:mod:`~jaxrecon.descriptors.soap.spectrum`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.checks import checked_elements, checked_r_cut
from jaxrecon.descriptors.derivatives import ByPositions
from jaxrecon.descriptors.environment import element_channels
from jaxrecon.descriptors.feature import Feature
from jaxrecon.descriptors.gram import GramEntry
from jaxrecon.descriptors.harmonics import MAX_DEGREE
from jaxrecon.descriptors.soap import rows
from jaxrecon.descriptors.soap.expansion import Density, Scaling
from jaxrecon.descriptors.soap.radial import BASES, Basis, BasisName
from jaxrecon.descriptors.soap.rows import Recipe
from jaxrecon.descriptors.soap.spectrum import (
    COMPRESSIONS,
    CONVENTIONS,
    Compression,
    Convention,
    Entries,
)
from jaxrecon.numerics import einsum
from jaxrecon.structures.neighbors import Neighbors, with_centers

Weights = Mapping[str, float | Sequence[float]] | tuple[tuple[str, float | tuple[float, ...]], ...]
"""Weights of elements, as a dictionary or as pairs."""


@dataclass(frozen=True)
class SOAP(Descriptor):
    """The power spectrum of the density around each atom.

    Attributes:
        elements: chemical symbols of the elements that structures may have, in any order; they are
            sorted by atomic number.
        r_cut: cutoff in Angstrom: atoms within it are neighbours.
        n_max: number of radial functions.
        l_max: largest degree of the spherical harmonics.
        sigma: width of the Gaussian of each atom in Angstrom.
        basis: the radial functions: ``"gto"`` and ``"polynomial"`` as in DScribe, ``"featomic"``;
            see :class:`~jaxrecon.descriptors.soap.radial.Basis`.
        radius: radius of the radial functions in Angstrom; None for the cutoff.
        cutoff_width: width in Angstrom over which neighbours fade out before the cutoff (shifted
            cosine). 0 for none, as in DScribe: the numbers then jump where an atom passes the
            cutoff.
        scaling: weight of neighbours by their distance; None for 1.
        center_weight: weight of the central atom in its own density.
        convention: which products are numbers of the row, their order and their factors:
            ``"dscribe"``, ``"featomic"`` or ``"quippy"``; see
            :func:`~jaxrecon.descriptors.soap.spectrum.entries`.
        compression: ``"none"``: all pairs of elements; ``"mu2"``: no elements; ``"mu1nu1"``: each
            element with all together; ``"crossover"``: each element with itself. The names are
            those of DScribe; Darby et al., npj Comput. Mater. 8, 166 (2022).
        weights: weight of each element in the density, as a dictionary; None for 1. With
            ``"mu2"`` an element may have several: the density is then that of as many alchemical
            elements, and the number of features does not depend on the real ones (Willatt et al.,
            Phys. Chem. Chem. Phys. 20, 29661, 2018).
        normalize: whether each row is divided by its length.

    Raises:
        ValueError: if a setting is out of range.

    >>> SOAP(elements=("O", "H"), r_cut=4.0, n_max=4, l_max=3).size
    144
    """

    family: ClassVar[str] = "soap"

    elements: tuple[str, ...]
    r_cut: float = 6.0
    n_max: int = 6
    l_max: int = 4
    sigma: float = 0.5
    basis: BasisName = "gto"
    radius: float | None = None
    cutoff_width: float = 1.0
    scaling: Scaling | None = None
    center_weight: float = 1.0
    convention: Convention = "dscribe"
    compression: Compression = "none"
    weights: Weights | None = None
    normalize: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", checked_elements(self.elements))
        object.__setattr__(self, "r_cut", checked_r_cut(self.r_cut))
        for name, choices in (
            ("basis", BASES),
            ("convention", CONVENTIONS),
            ("compression", COMPRESSIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"expected {name} among {choices}, got {getattr(self, name)!r}")
        for name, least, most in (("n_max", 1, 40), ("l_max", 0, MAX_DEGREE)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or not least <= value <= most:
                raise ValueError(f"expected {name} from {least} to {most}, got {value!r}")
            object.__setattr__(self, name, int(value))
        if not 0.05 <= self.sigma < np.inf:
            raise ValueError(f"expected sigma >= 0.05 Angstrom, got {self.sigma}")
        if self.radius is not None and not 1.0 < self.radius < np.inf:
            raise ValueError(f"expected radius > 1 Angstrom, got {self.radius}")
        if not 0 <= self.cutoff_width <= self.r_cut:
            raise ValueError(
                f"expected cutoff_width between 0 and r_cut {self.r_cut}, got {self.cutoff_width}"
            )
        if not 0 <= self.center_weight < np.inf:
            raise ValueError(f"expected center_weight >= 0, got {self.center_weight}")
        if self.weights is not None:
            object.__setattr__(self, "weights", self._checked_weights(dict(self.weights)))

    @property
    def density(self) -> Density:
        """How the density is made and expanded."""
        radius = self.r_cut if self.radius is None else self.radius
        basis = Basis(self.basis, self.n_max, self.l_max, radius, self.sigma, self.r_cut)
        # DScribe's Gaussians have the peak 1, those of featomic the integral 1 of their square.
        amplitude = (np.pi * self.sigma**2) ** -0.75 if self.convention == "featomic" else 1.0
        return Density(basis, self.cutoff_width, self.scaling, self.center_weight, amplitude)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The products of the power spectrum."""
        if self.compression == "mu2":
            kinds = range(self._weight_table.shape[1])
            symbols: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
                (f"all{kind or ''}", ()) for kind in kinds
            )
        else:
            symbols = tuple((symbol, (symbol,)) for symbol in self.elements)
        mixed, features = self.compression == "mu1nu1", []
        for first, second, n, other_n, l, factor in zip(*self._entries(len(symbols)), strict=True):
            name, needed = symbols[first]
            other, other_needed = ("all", ()) if mixed else symbols[second]
            square = first == second and n == other_n and not mixed
            gram = None
            if not mixed:
                # Of one element with itself alone there is a smaller matrix for each element.
                own = (int(l), int(first)) if self.compression == "crossover" else (int(l),)
                at = int(first * self.n_max + n), int(second * self.n_max + other_n)
                gram = GramEntry(own, *at, float(factor))
            features.append(
                Feature(
                    f"p[{name},{other}] n={n} n'={other_n} l={l}",
                    needed if needed == other_needed else (*needed, *other_needed),
                    nonnegative=bool(square and factor > 0),
                    gram=gram,
                )
            )
        return tuple(features)

    @property
    def center_is_neighbor(self) -> bool:
        """True: an atom is part of the density around it."""
        return True

    @property
    def order_only(self) -> bool:
        """True, unless elements have weights."""
        return self.weights is None

    @property
    def fixed_length(self) -> bool:
        """True if the row has no channels of elements."""
        return self.compression == "mu2"

    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """Find the places of the features for some elements; see :meth:`Descriptor.columns`."""
        if self.compression == "mu2":
            return jnp.arange(self.size)
        place, known = self.places(elements)
        own = self._entries(len(elements))
        one, two, n, other_n, l = (jnp.asarray(array, int) for array in own[:-1])
        first, second = place[one], place[two]
        if self.compression == "mu1nu1":
            return jnp.where(known[one], self._table[first, two, n, other_n, l], self.size)
        # The first factor is that of the element with the smaller atomic number.
        exchanged = first > second
        whole = self._table[
            jnp.where(exchanged, second, first),
            jnp.where(exchanged, first, second),
            jnp.where(exchanged, other_n, n),
            jnp.where(exchanged, n, other_n),
            l,
        ]
        return jnp.where(known[one] & known[two], whole, self.size)

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m s"]:
        """Weights in a channel for each element, or in a single one; see the base class."""
        channel = element_channels(species, mask, elements, dtype=dtype)
        if self.weights is None and self.compression != "mu2":
            return channel
        place, known = self.places(elements)
        weights = jnp.where(known[:, None], jnp.asarray(self._weight_table, dtype)[place], 0.0)
        if self.compression == "mu2":
            return einsum("me,ek->mk", channel, weights)
        return channel * weights[:, 0][None]

    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """The power spectrum of one central atom; see :meth:`Descriptor.row`."""
        return rows.row(self._recipe, vectors, channel)

    def row_with_jacobian(
        self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
    ) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
        """The row and its derivatives in closed form; see :meth:`Descriptor.row_with_jacobian`."""
        return rows.row_with_jacobian(self._recipe, vectors, channel)

    @partial(jax.jit, static_argnums=0, static_argnames="strain")
    def with_derivatives(
        self, neighbors: Neighbors, elements: Int[Array, " e"], *, strain: bool = False
    ) -> tuple[Float[Array, "n f"], ByPositions]:
        """The rows and their derivatives by the positions; see :meth:`Descriptor.with_derivatives`.

        The derivatives of the coefficients are summed over the images of an atom before they turn
        into those of the many products.
        """
        found = with_centers(neighbors)

        def channels(species: Int[Array, " m"], mask: Bool[Array, " m"]) -> Float[Array, "m s"]:
            return self.channels(species, mask, elements, found.vectors.dtype)

        values, derivatives = rows.with_derivatives(
            self._recipe, found, neighbors.source, channels, strain=strain
        )
        return values, ByPositions(derivatives)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "SOAP":
        """Make a descriptor from the settings that :meth:`to_dict` gave.

        Args:
            settings: values by name, without the name of the family.

        Returns:
            The descriptor.

        Raises:
            ValueError: if a name is not a setting, or a value is out of range.
        """
        scaling = settings.get("scaling")
        if isinstance(scaling, Mapping):
            try:
                scaling = Scaling(**scaling)
            except TypeError as error:
                raise ValueError(f"expected a scaling's settings, got {scaling}") from error
        weights = settings.get("weights")
        if weights is not None:
            weights = tuple(
                (symbol, tuple(weight) if isinstance(weight, list) else weight)
                for symbol, weight in weights
            )
        return super().from_dict({**settings, "scaling": scaling, "weights": weights})

    def _checked_weights(self, weights: dict[str, Any]) -> Weights:
        """Weights as pairs, sorted, with one tuple of as many numbers for each element."""
        table = {symbol: np.atleast_1d(weight) for symbol, weight in weights.items()}
        counts = {value.shape for value in table.values()}
        finite = all(np.isfinite(value).all() for value in table.values())
        if not set(self.elements) <= set(table) or not finite:
            raise ValueError(f"expected weights of all elements {self.elements}, got {weights}")
        if len(counts) > 1 or (self.compression != "mu2" and counts != {(1,)}):
            raise ValueError(
                "expected one weight of each element, or with compression 'mu2' as many of each, "
                f"got {weights}"
            )
        return tuple((symbol, tuple(map(float, table[symbol]))) for symbol in sorted(table))

    @property
    def _weight_table(self) -> Float[np.ndarray, "s k"]:
        """The weights of all elements."""
        if self.weights is None:
            return np.ones((len(self.elements), 1))
        by_symbol = dict(self.weights)
        return np.asarray([by_symbol[symbol] for symbol in self.elements])

    @property
    def _recipe(self) -> Recipe:
        """What the rows are computed from."""
        return Recipe(self.density, self.convention, self.compression, self.normalize)

    def _entries(self, channels: int) -> Entries:
        """The products for a number of channels."""
        return self._recipe.entries(channels)

    @property
    def _table(self) -> Int[Array, "s t n n l"]:
        """Index of each product among the features."""
        count, n_max = len(self.elements), self.n_max
        own = self._entries(count)
        shape = (count, 1 if self.compression == "mu1nu1" else count, n_max, n_max, self.l_max + 1)
        table = np.full(shape, len(own.l), dtype=int)
        table[own.first, own.second, own.n, own.other_n, own.l] = np.arange(len(own.l))
        return jnp.asarray(table, int)
