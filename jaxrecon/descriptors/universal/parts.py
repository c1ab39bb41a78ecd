"""Parts of a universal row: functions of a neighbour, and the channels in which they are summed."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.descriptors.acsf.radial import RadialGaussian
from jaxrecon.descriptors.feature import Feature
from jaxrecon.descriptors.universal.densities import Basis, functions, numbers, numbers_jacobian
from jaxrecon.numerics import einsum

ALL, OWN = "1", "own"
"""The channels in which all neighbours count, and those of the central atom's element alone."""


class Part(NamedTuple):
    """Functions of one neighbour, and the channels in which they are summed.

    Attributes:
        basis: the functions.
        channels: names of the channels: :data:`ALL` and properties, or :data:`OWN` alone.
        centered: whether to have G2 times the weights of the central atom.
    """

    basis: Basis
    channels: tuple[str, ...]
    centered: bool = False

    def features(self) -> tuple[Feature, ...]:
        """What :meth:`numbers` makes: G2; those times weights of the centre; three-body numbers."""
        names, basis = self.channels, self.basis
        pairs = [(a, b) for a in range(len(names)) for b in range(a, len(names))]
        two_body = [self._counting(name, r_s) for name in names for r_s in basis.r_s]
        centered = [
            Feature(f"G2[{names[a]},{names[b]}] r_s={r_s:g}")
            for a, b in pairs
            if a > 0 and self.centered
            for r_s in basis.r_s
        ]
        # Sums of squares are not negative.
        three_body = [
            Feature(f"P[{names[a]},{names[b]}] eta={eta:g} l={l}", nonnegative=a == b)
            for a, b in pairs
            for eta in basis.widths
            for l in range(1, basis.l_max + 1)
        ]
        return (*two_body, *centered, *three_body)

    @property
    def has_fewer_numbers(self) -> bool:
        """Whether there are fewer numbers than sums of which they are made."""
        return len(self.features()) < len(self.channels) * self.basis.size

    def weights(
        self, weights: Float[Array, "m s"], center: Float[Array, " s"]
    ) -> Float[Array, "m c"]:
        """The weights of neighbours in the channels of this part.

        Args:
            weights: of each neighbour 1, properties, and the angle on the circle of elements; 0 of
                absent ones.
            center: those of the central atom.

        Returns:
            The weights.
        """
        if self.channels != (OWN,):
            return weights[:, : len(self.channels)]
        # Atoms of one element have one angle.
        return jnp.where(weights[:, -1] == center[-1], weights[:, 0], 0.0)[:, None]

    def sums(
        self, vectors: Float[Array, "m 3"], weight: Float[Array, "m c"]
    ) -> tuple[Float[Array, "c k"], Float[Array, "k m 3"], Float[Array, "m 3"]]:
        """The functions summed in each channel, their derivatives by each vector, and the vectors.

        Vectors without weight in the first channel are zeros. Compiled programs leave out what
        nobody uses.
        """
        present = jnp.where(weight[:, :1] != 0, vectors, 0.0)
        values, slopes = functions(self.basis, present)
        return einsum("js,kj->sk", weight, values), slopes, present

    def numbers(self, sums: Float[Array, "c k"], center: Float[Array, " s"]) -> Float[Array, " f"]:
        """The numbers of these sums, in the order of :meth:`features`."""
        return numbers(self.basis, sums, center[: len(self.channels)], self.centered)

    def jacobian(
        self, sums: Float[Array, "c k"], by: Float[Array, "c k x 3"], center: Float[Array, " s"]
    ) -> Float[Array, "f x 3"]:
        """The derivatives of :meth:`numbers`, where those of the sums are known."""
        own = center[: len(self.channels)]
        return numbers_jacobian(self.basis, sums, by, own, self.centered)

    def _counting(self, channel: str, r_s: float) -> Feature:
        """A G2 in a channel; with the weight 1 it counts all neighbours."""
        name, function = f"G2[{channel}] r_s={r_s:g}", None
        if channel == ALL:
            function = RadialGaussian(self.basis.eta, r_s, "cosine", self.basis.r_cut)
        counts = channel in (ALL, OWN)
        return Feature(name, nonnegative=counts, radial=function, peak=r_s)
