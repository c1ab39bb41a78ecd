r"""Expansion of the density around an atom in radial functions and spherical harmonics.

.. math:: c^s_{nlm} = \sum_{j \in s} w(r_j)\, I_{nl}(r_j)\, Y_{lm}(\hat{\mathbf r}_j)

for each channel s of neighbours (usually an element), with the radial integrals of
:mod:`~jaxrecon.descriptors.soap.radial` and a weight w of the distance: a cutoff function, which
ends the density smoothly, times a radial scaling.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.harmonics import gradients, solid_harmonics
from jaxrecon.descriptors.soap.radial import Basis, radial_integrals
from jaxrecon.numerics import einsum, safe_norm

ScalingName = Literal["pow", "poly", "exp"]


@dataclass(frozen=True)
class Scaling:
    r"""A weight of neighbours that depends on their distance.

    - ``"pow"``: :math:`c / (d + (r/r_0)^m)`; with c = d the radial scaling of Willatt et al., Phys.
      Chem. Chem. Phys. 20, 29661 (2018), of rate c, scale :math:`r_0` and exponent m.
    - ``"poly"``: :math:`c\,(1 + 2 (r/r_0)^3 - 3 (r/r_0)^2)^m` up to :math:`r_0`, then 0; Caro,
      Phys. Rev. B 100, 024112 (2019).
    - ``"exp"``: :math:`c / (d + e^{-r/r_0})`, as in DScribe.

    Attributes:
        kind: name of the function.
        r_0: distance in Angstrom.
        c: numerator, without a unit.
        d: addend of the denominator, without a unit; not used by ``"poly"``.
        m: exponent, without a unit; not used by ``"exp"``.

    Raises:
        ValueError: if a value is out of range.
    """

    kind: ScalingName
    r_0: float
    c: float = 1.0
    d: float = 1.0
    m: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("pow", "poly", "exp"):
            raise ValueError(f"expected a scaling 'pow', 'poly' or 'exp', got {self.kind!r}")
        for name in ("r_0", "c", "d", "m"):
            value = float(getattr(self, name))
            least = 0.0 if name == "d" else 1e-12
            if not least <= value < np.inf:
                bound = ">= 0" if name == "d" else "> 0"
                raise ValueError(f"expected {name} {bound} of a scaling, got {value}")
            object.__setattr__(self, name, value)

    def __call__(self, r: Float[Array, "..."]) -> Float[Array, "..."]:
        """Compute the weight at distances in Angstrom."""
        ratio = r / self.r_0
        if self.kind == "exp":
            return self.c / (self.d + jnp.exp(-ratio))
        if self.kind == "pow":
            return self.c / (self.d + _power(ratio, self.m))
        inside = jnp.minimum(ratio, 1.0)
        return self.c * _power((1.0 + 2.0 * inside) * (1.0 - inside) ** 2, self.m)


@dataclass(frozen=True)
class Density:
    """How the density around an atom is made and expanded.

    Attributes:
        basis: the radial basis.
        cutoff_width: width in Angstrom over which neighbours fade out before ``basis.reach``; 0 for
            a sharp end.
        scaling: weight of neighbours by their distance; None for 1.
        center_weight: weight of the central atom itself.
        amplitude: the largest value of the Gaussian of an atom.
    """

    basis: Basis
    cutoff_width: float
    scaling: Scaling | None
    center_weight: float
    amplitude: float = 1.0

    def weight(self, r: Float[Array, "..."]) -> Float[Array, "..."]:
        """Compute the weight of neighbours at distances in Angstrom."""
        reach, width = self.basis.reach, self.cutoff_width
        weight = jnp.where(r < reach, jnp.ones_like(r), 0.0)
        if width:
            # Where the argument is limited the derivative is 0, as it has to be.
            angle = jnp.clip((r - (reach - width)) / width, 0.0, 1.0)
            weight *= 0.5 * (1.0 + jnp.cos(jnp.pi * angle))
        if self.scaling is not None:
            weight *= self.scaling(r)
        # Only the central atom itself is at no distance.
        return self.amplitude * jnp.where(r > 0, weight, self.center_weight)

    def radial(self, r: Float[Array, "..."]) -> Float[Array, "n l ..."]:
        """Compute the radial functions at distances in Angstrom, weight included."""
        # An integral at a distance beyond its range would be meaningless, times a weight of zero.
        reached = jnp.minimum(r, self.basis.reach)
        return self.weight(r)[None, None] * radial_integrals(self.basis, reached)


def coefficients(
    density: Density, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
) -> Float[Array, "k s n"]:
    """Expand the density around one atom.

    Args:
        density: the density and its expansion.
        vectors: vectors from the atom to its neighbours in Angstrom.
        channel: weight of each neighbour in each channel; 0 in all of them for padding.

    Returns:
        The coefficients :math:`c^s_{nlm}`, the harmonics (l, m) along the first axis, in
        Angstrom^(3/2).
    """
    radial, harmonics = _factors(density, vectors, channel)
    # One product over the neighbours for each degree.
    weighted = [
        einsum("js,nj,kj->ksn", channel, radial[:, l], harmonics[l**2 : (l + 1) ** 2])
        for l in range(density.basis.l_max + 1)
    ]
    return jnp.concatenate(weighted)


class Contributions(NamedTuple):
    r"""Derivatives of what each neighbour adds to the coefficients of a channel of its weight 1.

    That of the coefficient (n, l, m) by the coordinate x of neighbour j is ``along[l, n, jx]
    harmonics[lm, jx] + radial[l, n, jx] gradients[lm, jx]``: the coordinates of all neighbours are
    along one axis. The many products never have to be written.

    Attributes:
        along: derivatives of the radial functions along the vectors.
        radial: the radial functions, once for each coordinate.
        harmonics: the solid harmonics, once for each coordinate.
        gradients: their derivatives.
    """

    along: Float[Array, "l n jx"]
    radial: Float[Array, "l n jx"]
    harmonics: Float[Array, "k jx"]
    gradients: Float[Array, "k jx"]

    def of_radial(
        self, along: Float[Array, "l jx"], radial: Float[Array, "l jx"]
    ) -> Float[Array, "k j 3"]:
        """The derivatives of all coefficients of one radial function.

        Args:
            along: those of :attr:`along` for the function.
            radial: those of :attr:`radial`.
        """
        count = len(along)
        degree = np.repeat(np.arange(count), 2 * np.arange(count) + 1)
        flat = along[degree] * self.harmonics + radial[degree] * self.gradients
        return flat.reshape(len(degree), -1, 3)

    def summed(self, factors: Float[Array, "k b"]) -> Float[Array, "l b n jx"]:
        """The derivatives, times factors that are summed over the harmonics of each degree.

        Args:
            factors: one for each harmonic and column.
        """
        count = len(self.along)
        one, two = (
            jnp.stack(
                [
                    einsum("mb,mj->bj", factors[l**2 : (l + 1) ** 2], each[l**2 : (l + 1) ** 2])
                    for l in range(count)
                ]
            )
            for each in (self.harmonics, self.gradients)
        )

        def of_degree(degree: tuple[Array, ...]) -> Array:
            along, radial, one, two = degree
            return along[None] * one[:, None] + radial[None] * two[:, None]

        # In a loop over degrees, what the products are made of is computed once, before it.
        return jax.lax.map(of_degree, (self.along, self.radial, one, two))


def coefficients_with_jacobian(
    density: Density, vectors: Float[Array, "m 3"], channel: Float[Array, "m s"]
) -> tuple[Float[Array, "k s n"], Contributions]:
    """Expand the density around one atom, and differentiate the contribution of each neighbour.

    Args:
        density: as for :func:`coefficients`.
        vectors: as for :func:`coefficients`.
        channel: as for :func:`coefficients`.

    Returns:
        The coefficients; and the derivatives by the vectors of all neighbours, in Angstrom^(1/2).
    """
    l_max, radius = density.basis.l_max, density.basis.radius
    present = jnp.any(channel != 0, axis=1)
    vectors = jnp.where(present[:, None], vectors, 0.0)
    r = safe_norm(vectors, axis=1)
    radial, by_r = jax.jvp(density.radial, (r,), (jnp.ones_like(r),))
    scaled = vectors.T / radius
    harmonics, turned = solid_harmonics(scaled, l_max), gradients(scaled, l_max) / radius
    values = [
        einsum("js,nj,kj->ksn", channel, radial[:, l], harmonics[l**2 : (l + 1) ** 2])
        for l in range(l_max + 1)
    ]
    direction = (vectors / jnp.where(r > 0, r, 1.0)[:, None]).ravel()

    def of_degree(degree: tuple[Array, Array]) -> tuple[Array, Array]:
        radial, by_r = (jnp.repeat(each, 3, axis=1) for each in degree)
        return by_r * direction[None], radial

    # In a loop over degrees, radial functions are computed once, before it, and not for each x.
    along, thrice = jax.lax.map(
        of_degree, tuple(jnp.swapaxes(each, 0, 1) for each in (radial, by_r))
    )
    return jnp.concatenate(values), Contributions(
        along,
        thrice,
        jnp.repeat(harmonics, 3, axis=1),
        jnp.moveaxis(turned, 0, -1).reshape(len(harmonics), -1),
    )


def _factors(density: Density, vectors: Array, channel: Array) -> tuple[Array, Array]:
    """The radial functions and the solid harmonics of all neighbours, which come last."""
    # Padding may hold any vector, and must not have a derivative that is not finite.
    vectors = jnp.where(jnp.any(channel != 0, axis=1)[:, None], vectors, 0.0)
    radial = density.radial(safe_norm(vectors, axis=1))
    return radial, solid_harmonics(vectors.T / density.basis.radius, density.basis.l_max)


def _power(base: Array, exponent: float) -> Array:
    """A power of a number that is not negative, whose derivative at 0 is finite."""
    if exponent == int(exponent):
        return base ** int(exponent)
    safe = jnp.where(base > 0, base, 1.0)
    return jnp.where(base > 0, safe**exponent, 0.0)
