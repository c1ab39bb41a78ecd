r"""Universal rows: of one length for all elements, from which elements can be read too.

A neighbour counts in a few channels, with the weights 1 and properties of its element: the place in
the periodic table. G2 and three-body functions of these channels are in
:mod:`~jaxrecon.descriptors.universal.densities`. G2 times the weights of the central atom tell
which elements are at which distance of each other. In one more channel the neighbours of the
central atom's own element count alone.

The first numbers depend on the central atom alone. With the angle :math:`\phi` of its element on a
circle of all elements they are :math:`\cos k\phi` and :math:`\sin k\phi` for k from 1 to K. Their
means over the atoms are the trigonometric moments of the composition, and no other composition has
the same up to K elements: a nonnegative measure at up to K points is the only one with its moments
0 to K (Caratheodory, Rend. Circ. Mat. Palermo 32, 193, 1911).
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.blocks import in_blocks
from jaxrecon.descriptors.center import CenterValues
from jaxrecon.descriptors.checks import checked_elements, checked_r_cut
from jaxrecon.descriptors.derivatives import ByPositions
from jaxrecon.descriptors.feature import Feature
from jaxrecon.descriptors.universal.densities import Basis
from jaxrecon.descriptors.universal.elements import (
    ANGLES,
    PETTIFOR,
    PROPERTIES,
    WEIGHTS,
    is_property,
    weights,
)
from jaxrecon.descriptors.universal.parts import ALL, OWN, Part
from jaxrecon.numerics import einsum
from jaxrecon.structures.neighbors import Neighbors, with_centers


@dataclass(frozen=True)
class Universal(Descriptor):
    """A row of one length for atoms of any elements.

    Attributes:
        elements: chemical symbols of the elements that structures may have, in any order; they are
            sorted by atomic number. They do not change the numbers. By default those from H to Lr.
        r_cut: cutoff in Angstrom.
        properties: names of the properties that are weights besides 1, as
            :data:`~jaxrecon.descriptors.universal.elements.PROPERTIES` says. They decide how well
            a search goes: group and period alone hardly tell C, N and O apart, and of 8 molecules
            of 13 to 16 atoms none was found in ten hops; with the multiples 16 of 16 were.
        moments: largest multiple K of the angle: compositions of up to K elements can be read.
        eta: exponent of all G2 in 1/Angstrom^2.
        r_s: their centres in Angstrom.
        centered: whether to have G2 times the weights of the central atom.
        widths: exponents of the radial factors of three-body functions in 1/Angstrom^2.
        l_max: largest degree of their Legendre polynomials. Higher degrees give a search many more
            local minima.
        decay: factor of the numbers of each degree relative to those of the degree below.
        own_r_s: centres in Angstrom of further G2, which count the neighbours of the central atom's
            own element. Where there is but one element, all channels say the same, and these
            functions have to tell the structure.
        own_widths: exponents of further three-body functions of such neighbours.
        own_l_max: largest degree of the Legendre polynomials of these.

    Raises:
        ValueError: if an element has no weights, or a setting is out of range.

    >>> Universal(elements=("O", "Ti")).size == Universal(elements=("H",)).size
    True
    """

    family: ClassVar[str] = "universal"

    elements: tuple[str, ...] = PETTIFOR
    r_cut: float = 6.0
    properties: tuple[str, ...] = ("group", "period", "cos10", "sin10")
    moments: int = 6
    eta: float = 0.5
    r_s: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
    centered: bool = True
    widths: tuple[float, ...] = (0.1,)
    l_max: int = 1
    decay: float = 1.0
    own_r_s: tuple[float, ...] = ()
    own_widths: tuple[float, ...] = ()
    own_l_max: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", checked_elements(self.elements))
        object.__setattr__(self, "r_cut", checked_r_cut(self.r_cut))
        if strange := [symbol for symbol in self.elements if symbol not in WEIGHTS]:
            raise ValueError(
                f"expected elements from H to Lr, which have weights, got {', '.join(strange)}: "
                "use a preset with channels for elements, like 'crystal'"
            )
        names = tuple(self.properties)
        if len(set(names)) < len(names) or not all(map(is_property, names)):
            raise ValueError(
                f"expected different properties among {PROPERTIES}, or cos and sin with a number "
                f"from 1 to 99, got {names}"
            )
        for name, least, most in (("moments", 0, 51), ("l_max", 1, 12), ("own_l_max", 1, 12)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or not least <= value <= most:
                raise ValueError(f"expected {name} from {least} to {most}, got {value!r}")
            object.__setattr__(self, name, int(value))
        object.__setattr__(self, "properties", tuple(self.properties))
        for name in ("r_s", "widths", "own_r_s", "own_widths"):
            numbers = tuple(float(value) for value in getattr(self, name))
            if not all(0.0 <= value < np.inf for value in numbers):
                raise ValueError(f"expected {name} >= 0, got {numbers}")
            if not numbers and not name.startswith("own"):
                raise ValueError(f"expected at least one of {name}, got none")
            object.__setattr__(self, name, numbers)
        if not 0.0 <= self.eta < np.inf:
            raise ValueError(f"expected eta >= 0, got {self.eta}")
        if not 0.0 < self.decay <= 1.0:
            raise ValueError(f"expected decay above 0 and up to 1, got {self.decay}")
        object.__setattr__(self, "eta", float(self.eta))
        object.__setattr__(self, "decay", float(self.decay))

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The moments of the centre, then the numbers of each part."""
        circle = [
            Feature(f"{name} {k}") for k in range(1, self.moments + 1) for name in ("cos", "sin")
        ]
        return (*circle, *(feature for part in self.parts for feature in part.features()))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The functions in all channels, and those of neighbours of the centre's own element."""
        basis = Basis(self.eta, self.r_s, self.widths, self.l_max, self.r_cut, self.decay)
        whole = Part(basis, (ALL, *self.properties), self.centered)
        if not self.own_r_s and not self.own_widths:
            return (whole,)
        basis = basis._replace(r_s=self.own_r_s, widths=self.own_widths, l_max=self.own_l_max)
        return whole, Part(basis, (OWN,))

    @property
    def fixed_length(self) -> bool:
        """True."""
        return True

    @property
    def center_is_neighbor(self) -> bool:
        """True: the element of the central atom counts."""
        return True

    @property
    def center_values(self) -> CenterValues | None:
        """The moments of each element on the circle."""
        if not self.moments:
            return None
        angles = np.asarray([ANGLES[symbol] for symbol in self.elements])
        multiples = np.arange(1, self.moments + 1)[None] * angles[:, None]
        values = np.stack([np.cos(multiples), np.sin(multiples)], axis=2)
        return CenterValues(np.arange(2 * self.moments), values.reshape(len(angles), -1))

    def columns(self, elements: Int[Array, " e"]) -> Int[Array, " f"]:
        """All features, whatever the elements; see :meth:`Descriptor.columns`."""
        return jnp.arange(self.size)

    def channels(
        self,
        species: Int[Array, " m"],
        mask: Bool[Array, " m"],
        elements: Int[Array, " e"],
        dtype: jnp.dtype,
    ) -> Float[Array, "m s"]:
        """The weights 1 and properties, and the angle on the circle; see the base class."""
        table = jnp.asarray(weights(self.properties), dtype)
        counts = jnp.zeros(len(table), bool).at[elements].set(True)
        known = (counts[species] & mask)[:, None]
        return jnp.where(known, table[species], 0.0)

    def row(self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]) -> Float[Array, " f"]:
        """The row of one central atom; see :meth:`Descriptor.row`."""
        center = channel[-1]
        found = []
        for part in self.parts:
            weight = part.weights(channel[:-1], center)
            sums, _, _ = part.sums(vectors[:-1], weight)
            found.append(part.numbers(sums, center))
        return self._whole(center, jnp.concatenate(found))

    def row_with_jacobian(
        self, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
    ) -> tuple[Float[Array, " f"], Float[Array, "f m 3"]]:
        """The row and its derivatives in closed form; see :meth:`Descriptor.row_with_jacobian`."""
        center = channel[-1]
        found, jacobians = [], []
        for part in self.parts:
            weight = part.weights(channel[:-1], center)
            sums, slopes, _ = part.sums(vectors[:-1], weight)
            by = weight.T[:, None, :, None] * slopes[None]
            # The central atom stays at the vector zero.
            by = jnp.pad(by, [(0, 0), (0, 0), (0, 1), (0, 0)])
            found.append(part.numbers(sums, center))
            jacobians.append(part.jacobian(sums, by, center))
        return (
            self._whole(center, jnp.concatenate(found)),
            self._whole(None, jnp.concatenate(jacobians)),
        )

    @partial(jax.jit, static_argnums=0, static_argnames="strain")
    def with_derivatives(
        self, neighbors: Neighbors, elements: Int[Array, " e"], *, strain: bool = False
    ) -> tuple[Float[Array, "n f"], ByPositions]:
        """The rows and their derivatives by the positions; see :meth:`Descriptor.with_derivatives`.

        The derivatives of the functions, or of the numbers where these are fewer, are summed over
        the images of an atom, which have one weight.
        """
        found = with_centers(neighbors)
        n, dtype = len(found.vectors), found.vectors.dtype
        source = neighbors.source
        if source is None:
            source = jnp.broadcast_to(jnp.arange(n)[None], (n, n))
        everywhere = self.channels(found.species[:, -1], found.mask[:, -1], elements, dtype)

        def of_atom(atom: tuple[Array, ...]) -> tuple[Array, Array]:
            vectors, species, mask, source, index = atom
            weights = self.channels(species, mask, elements, dtype)
            center = everywhere[index]
            images = nn.one_hot(source, n, dtype=dtype) * mask[:, None].astype(dtype)
            start = nn.one_hot(index, n, dtype=dtype)[None, None, :, None]

            def by_positions(slopes: Array, present: Array, weight: Array, at: Array) -> Array:
                """By all atoms, of which ``at`` are the weights, from derivatives by vectors."""
                ends = einsum("ja,kjx->kax", images, slopes)
                by = at.T[:, None, :, None] * ends[None]
                # The central atom moves all vectors the other way.
                by -= start * einsum("js,kjx->skx", weight, slopes)[:, :, None]
                if strain:
                    sheared = einsum("js,jx,kjy->skxy", weight, present, slopes)
                    sheared = (sheared + jnp.swapaxes(sheared, 2, 3)) / 2.0
                    by = jnp.concatenate([by, sheared], axis=2)
                return by

            numbers, jacobians = [], []
            for part in self.parts:
                weight, at = part.weights(weights, center), part.weights(everywhere, center)
                sums, slopes, present = part.sums(vectors, weight)
                if part.has_fewer_numbers:
                    by = part.jacobian(sums, weight.T[:, None, :, None] * slopes[None], center)
                    weight, at = jnp.ones_like(weight), jnp.ones_like(at)
                    jacobian = by_positions(by, present, weight, at)[0]
                else:
                    by = by_positions(slopes, present, weight, at)
                    jacobian = part.jacobian(sums, by, center)
                numbers.append(part.numbers(sums, center))
                jacobians.append(jacobian)
            return (
                self._whole(center, jnp.concatenate(numbers)),
                self._whole(None, jnp.concatenate(jacobians)),
            )

        atoms = (
            neighbors.vectors,
            neighbors.species,
            neighbors.mask,
            source,
            jnp.arange(n),
        )
        rows, derivatives = in_blocks(of_atom, atoms, 3 * self.size * (n + 3 * strain))
        return rows, ByPositions(derivatives)

    def _whole(self, center: Array | None, rest: Float[Array, "g ..."]) -> Float[Array, "f ..."]:
        """Put the moments of a central atom, or zeros for their derivatives, before the rest."""
        count = 2 * self.moments
        if center is None:
            return jnp.concatenate([jnp.zeros((count, *rest.shape[1:]), rest.dtype), rest])
        angles = center[-1] * jnp.arange(1, self.moments + 1, dtype=rest.dtype)
        moments = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        return jnp.concatenate([center[0] * moments.ravel(), rest])
