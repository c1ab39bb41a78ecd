r"""ACSF: atom-centred symmetry functions, with channels of elements or weighted by atomic numbers.

The two-body functions G1 to G3 are in :mod:`~jaxrecon.descriptors.acsf.radial`, the three-body
functions G4 and G5 in :mod:`~jaxrecon.descriptors.acsf.angular`.

With several elements each sum is split into channels: one for each element of the neighbour in a
two-body function, and one for each unordered pair of elements in a three-body function, elements
sorted by atomic number (Behler, J. Chem. Phys. 134, 074106, 2011). Weighted functions (wACSF) have
a single channel, in which a neighbour has the weight :math:`Z_j` and a pair :math:`Z_j Z_k`, so
that their number does not grow with that of the elements (Gastegger et al., J. Chem. Phys. 148,
241709, 2018).
"""

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations_with_replacement
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.acsf import (
    angular,
    one_channel,
    positions,
    radial,
    selected_jacobian,
    three_body,
)
from jaxrecon.descriptors.acsf.angular import Angular
from jaxrecon.descriptors.acsf.one_channel import Functions
from jaxrecon.descriptors.acsf.radial import Radial
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.checks import checked_elements, checked_r_cut
from jaxrecon.descriptors.cutoffs import CutoffName, check_cutoff
from jaxrecon.descriptors.derivatives import ByPositions, RowDerivatives
from jaxrecon.descriptors.environment import element_channels, weighted_channel
from jaxrecon.descriptors.feature import Feature
from jaxrecon.structures.neighbors import Neighbors

CHANNEL = "Z"
"""Name of the single channel of weighted functions."""


@dataclass(frozen=True)
class ACSF(Descriptor):
    """A set of atom-centred symmetry functions.

    The features of a row are ordered by number of bodies, two before three; then by channel; then
    by function: G1, G2 (``g2_eta``, ``g2_r_s``) and G3, or G4 and G5 (``zeta``, ``lam``, ``eta``,
    ``r_s``), where the last parameter changes fastest. Every combination of the parameters of a
    function is a feature. The defaults are the parameters of Fung et al., arXiv 2207.13227.

    Attributes:
        elements: chemical symbols of the elements that structures may have, in any order; they are
            sorted by atomic number.
        r_cut: cutoff in Angstrom.
        g1: whether to include G1, the sum of the cutoff function.
        g2_eta: exponents of the Gaussians of G2 in 1/Angstrom^2.
        g2_r_s: centres of the Gaussians of G2 in Angstrom.
        g3_kappa: wave numbers of G3 in 1/Angstrom.
        g4_zeta: as ``g5_zeta``, for G4, which also depends on the distance of the two neighbours.
        g4_lam: as ``g5_lam``.
        g4_eta: as ``g5_eta``.
        g4_r_s: as ``g5_r_s``.
        g5_zeta: exponents of the angular part, at least 1, without a unit.
        g5_lam: signs of the cosine, between -1 and 1, without a unit.
        g5_eta: radial exponents in 1/Angstrom^2.
        g5_r_s: radial centres in Angstrom.
        cutoff: ``"cosine"`` or ``"tanh3"``; see :mod:`jaxrecon.descriptors.cutoffs`.
        weighted: whether to use a single channel weighted by atomic numbers.

    Raises:
        ValueError: if a parameter is out of range, or the set has no function.

    >>> ACSF(elements=("O", "H")).elements
    ('H', 'O')
    """

    family: ClassVar[str] = "acsf"

    elements: tuple[str, ...]
    r_cut: float = 20.0
    g1: bool = False
    g2_eta: tuple[float, ...] = (0.01, 0.06, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 3.5, 5.0)
    g2_r_s: tuple[float, ...] = (0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10)
    g3_kappa: tuple[float, ...] = ()
    g4_zeta: tuple[float, ...] = ()
    g4_lam: tuple[float, ...] = (-1, 1)
    g4_eta: tuple[float, ...] = ()
    g4_r_s: tuple[float, ...] = (0,)
    g5_zeta: tuple[float, ...] = (1, 2, 4, 16, 64)
    g5_lam: tuple[float, ...] = (-1, 1)
    g5_eta: tuple[float, ...] = (0.06, 0.1, 0.2, 0.4, 1.0)
    g5_r_s: tuple[float, ...] = (0,)
    cutoff: CutoffName = "cosine"
    weighted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", checked_elements(self.elements))
        object.__setattr__(self, "r_cut", checked_r_cut(self.r_cut))
        check_cutoff(self.cutoff)
        # Check the parameters g2_eta to g5_r_s, and turn them into floats, so that equal sets have
        # equal JSON.
        limits = {"eta": (0.0, np.inf), "r_s": (0.0, np.inf), "kappa": (0.0, np.inf)}
        limits |= {"zeta": (1.0, np.inf), "lam": (-1.0, 1.0)}
        for name in self.__dataclass_fields__:
            kind, _, parameter = name.partition("_")
            if kind not in ("g2", "g3", "g4", "g5"):
                continue
            low, high = limits[parameter]
            numbers = tuple(float(value) for value in getattr(self, name))
            if not all(low <= value <= high and value < np.inf for value in numbers):
                raise ValueError(f"expected {name} between {low} and {high}, got {numbers}")
            object.__setattr__(self, name, numbers)
        if not self.size:
            raise ValueError("expected parameters of at least one function, got none")

    @property
    def radial(self) -> Radial:
        """The two-body functions of each channel."""
        return Radial(self.g1, self.g2_eta, self.g2_r_s, self.g3_kappa)

    @property
    def angular(self) -> tuple[Angular, ...]:
        """The three-body functions of each pair of channels; only kinds with a function."""
        kinds = [
            Angular("G4", self.g4_zeta, self.g4_lam, self.g4_eta, self.g4_r_s, *self._cutoff),
            Angular("G5", self.g5_zeta, self.g5_lam, self.g5_eta, self.g5_r_s, *self._cutoff),
        ]
        return tuple(kind for kind in kinds if kind.size)

    @property
    def _cutoff(self) -> tuple[str, float]:
        """Name and radius of the cutoff function."""
        return self.cutoff, self.r_cut

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The functions of each channel, then those of each unordered pair of channels."""
        if self.weighted:
            two_body = self.radial.features(CHANNEL, (), *self._cutoff)
            pairs = [(CHANNEL, CHANNEL)]
        else:
            two_body = [
                feature
                for element in self.elements
                for feature in self.radial.features(element, (element,), *self._cutoff)
            ]
            pairs = list(combinations_with_replacement(self.elements, 2))
        three_body = [
            Feature(name, () if self.weighted else (first, second), nonnegative=True)
            for first, second in pairs
            for kind in self.angular
            for name in kind.names(f"{first},{second}")
        ]
        return (*two_body, *three_body)

    @property
    def order_only(self) -> bool:
        """True, unless functions are weighted by atomic numbers."""
        return not self.weighted

    @property
    def fixed_length(self) -> bool:
        """True if functions are weighted by atomic numbers."""
        return self.weighted

    @property
    def size(self) -> int:
        """The number of features in a row."""
        channels = 1 if self.weighted else len(self.elements)
        pairs = channels * (channels + 1) // 2
        return channels * self.radial.size + pairs * sum(kind.size for kind in self.angular)

    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """Find the places of the features for some elements; see :meth:`Descriptor.columns`."""
        two_body = self.radial.size
        three_body = sum(kind.size for kind in self.angular)
        if self.weighted:
            return jnp.arange(two_body + three_body)
        # Number the pairs (a, b) of all elements, a <= b: those with smaller a come first.
        count = len(self.species)
        place, known = self.places(elements)
        first, second = np.asarray(angular.pairs_of(len(elements))).T
        a = jnp.minimum(place[first], place[second])
        b = jnp.maximum(place[first], place[second])
        pair = a * count - a * (a - 1) // 2 + (b - a)
        # The functions of a channel, and those of a pair of channels, stand side by side.
        radial_columns = place[:, None] * two_body + jnp.arange(two_body)[None, :]
        angular_columns = (
            count * two_body + pair[:, None] * three_body + jnp.arange(three_body)[None, :]
        )
        absent = self.size
        return jnp.concatenate(
            [
                jnp.where(known[:, None], radial_columns, absent).ravel(),
                jnp.where((known[first] & known[second])[:, None], angular_columns, absent).ravel(),
            ]
        )

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m s"]:
        """Weights in one channel for each element, or in a single one; see the base class."""
        channels = weighted_channel if self.weighted else element_channels
        return channels(species, mask, elements, dtype=dtype)

    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """The symmetry functions of one central atom; see :meth:`Descriptor.row`."""
        # A single channel with few neighbours: loops are faster than matrix products.
        if channel.shape[1] == 1 and len(vectors) <= one_channel.MOST_NEIGHBORS:
            lane = (vectors[..., None], channel[:, 0, None])
            return one_channel.rows(self._functions, *lane)[:, 0]
        env = self._functions.environment(vectors, channel)
        many = len(vectors) >= three_body.FEWEST
        parts = [
            (three_body if many and kind.kind == "G5" else angular).values(kind, env)
            for kind in self.angular
        ]
        return _concatenated(radial.values(self.radial, env), parts)

    def row_with_jacobian(
        self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
    ) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
        """The row and its derivatives in closed form; see :meth:`Descriptor.row_with_jacobian`.

        This costs about as much as one pass in reverse mode; forward mode needs ``3 m`` passes.
        """
        env = self._functions.environment(vectors, channel)
        two_body, two_body_jacobian = radial.values_and_jacobian(self.radial, env)
        parts = [angular.values_and_jacobian(kind, env) for kind in self.angular]
        return (
            _concatenated(two_body, [values for values, _ in parts]),
            _concatenated(two_body_jacobian, [jacobian for _, jacobian in parts]),
        )

    def with_derivatives(
        self, neighbors: Neighbors, elements: Int[Array, " e"], *, strain: bool = False
    ) -> tuple[Float[Array, "n f"], RowDerivatives]:
        """The rows and their derivatives by the positions; see :meth:`Descriptor.with_derivatives`.

        Images of an atom are summed early, unless there are functions G4.
        """
        if neighbors.center is None or any(kind.kind == "G4" for kind in self.angular):
            return super().with_derivatives(neighbors, elements, strain=strain)
        rows, derivatives = self._early(neighbors, elements, strain)
        return rows, ByPositions(derivatives)

    @partial(jax.jit, static_argnums=(0, 3))
    def _early(
        self, neighbors: Neighbors, elements: Int[Array, " e"], strain: bool
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f x 3"]]:
        """The rows and their derivatives by the positions, with early sums over images."""
        numbers = elements.astype(neighbors.species.dtype)
        channels = partial(self.channels, elements=numbers, dtype=neighbors.vectors.dtype)
        return positions.with_derivatives(self._functions, neighbors, channels, strain=strain)

    def selects(self, neighbors: Neighbors) -> bool:
        """True for few atoms without periodic images, all of which are neighbours of each other."""
        return neighbors.source is None and len(neighbors.mask) <= one_channel.MOST_NEIGHBORS

    @partial(jax.jit, static_argnums=0)
    def selected_jacobian(
        self,
        neighbors: Neighbors,
        atom: Int[Array, "p f"],
        elements: Int[Array, " e"] | None = None,
    ) -> Float[Array, "p f n 3"]:
        """Derivatives of selected entries; see :meth:`Descriptor.selected_jacobian`."""
        # The atoms become lanes. As neighbour m is atom m for every central atom, they share the
        # weights in channels.
        vectors = jnp.moveaxis(neighbors.vectors, 0, -1)
        species = neighbors.species.dtype
        numbers = jnp.asarray(self.species if elements is None else elements, species)
        everywhere = jnp.ones(len(vectors), bool)
        channel = self.channels(neighbors.species[0], everywhere, numbers, vectors.dtype)
        present = neighbors.mask.T.astype(vectors.dtype)
        geometry = (vectors[..., None], present[..., None], channel[..., None])
        derivatives = selected_jacobian.selected_jacobian(
            self._functions, *geometry, atom[..., None]
        )
        return derivatives.reshape(*atom.shape, -1, 3)

    @property
    def _functions(self) -> Functions:
        """The functions as the modules that compute them take them."""
        return Functions(self.radial, self.angular, self.cutoff, self.r_cut)


def _concatenated(two_body: Array, three_body: list[Array]) -> Array:
    """Make one axis of features from blocks ``(channels, functions, ...)`` of all kinds."""
    rest = two_body.shape[2:]
    blocks = [two_body.reshape(-1, *rest)]
    if three_body:
        # G4 and G5 of a pair of channels stand side by side.
        blocks.append(jnp.concatenate(three_body, axis=1).reshape(-1, *rest))
    return jnp.concatenate(blocks)
