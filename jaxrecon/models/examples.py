"""Examples: fingerprints with a property, as generators and surrogates are fitted to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.featurize import batch
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.registry import SCALINGS
from jaxrecon.models.scalings.base import Scaling
from jaxrecon.structures.structure import Structure

BATCH = 32
"""Number of structures whose Jacobians are computed together."""

Items = tuple[Float[Array, "n k"], Float[Array, " n"]]
"""Scaled fingerprints and standardised values of the property, in float32."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Fingerprints with values of a property, split into training and validation examples.

    Attributes:
        fingerprint: parameters of the fingerprints.
        fingerprints: one row per example, without a unit.
        values: the property of each example.
        training: indices of the training examples.
        validation: indices of the validation examples; empty if there are none.
        structures: the structures; None where only fingerprints are known.
        gradients: derivatives of the property by the positions, in its unit per Angstrom, one row
            per example: x, y and z of the first atom, then of the second; None where unknown, and
            where there are several compositions.
        scaling_name: name of the scaling for networks, a key of
            :data:`~jaxrecon.models.registry.SCALINGS`.

    Raises:
        ValueError: if a fingerprint or value is not finite, there is no training example, or the
            values of all training examples are equal.
    """

    fingerprint: Fingerprint
    fingerprints: Float[np.ndarray, "n p"]
    values: Float[np.ndarray, " n"]
    training: Int[np.ndarray, " t"]
    validation: Int[np.ndarray, " v"]
    structures: Sequence[Atoms] | None = None
    gradients: Float[np.ndarray, "n x"] | None = None
    scaling_name: str = "principal"

    def __post_init__(self) -> None:
        finite = np.isfinite(self.fingerprints).all(axis=1) & np.isfinite(self.values)
        if not finite.all():
            raise ValueError(
                f"expected finite fingerprints and values, got {(~finite).sum()} of {len(finite)} "
                f"examples with others, the first at index {np.argmin(finite)}"
            )
        values = self.values[self.training]
        if not len(values):
            raise ValueError("expected at least one training example, got none")
        if np.ptp(values) == 0.0:
            raise ValueError(f"expected values that differ, got {values[0]} for all examples")

    @classmethod
    def of(
        cls,
        fingerprint: Fingerprint,
        fingerprints: Float[np.ndarray, "n p"],
        values: Float[np.ndarray, " n"],
        *,
        structures: Sequence[Atoms] | None = None,
        gradients: Float[np.ndarray, "n x"] | None = None,
    ) -> "Examples":
        """Make training examples of all the data, without a validation set.

        Args:
            fingerprint: parameters of the fingerprints.
            fingerprints: one row per example, without a unit.
            values: the property of each example.
            structures: the structures, as for the class.
            gradients: derivatives of the property by the positions, as for the class.

        Returns:
            The examples.

        Raises:
            ValueError: as for the class.
        """
        training, validation = np.arange(len(values)), np.zeros(0, int)
        return cls(fingerprint, fingerprints, values, training, validation, structures, gradients)

    @property
    def centre(self) -> float:
        """Mean of the property over the training examples, in its unit."""
        return float(self.values[self.training].mean())

    @property
    def width(self) -> float:
        """Standard deviation of the property over the training examples, in its unit."""
        return float(self.values[self.training].std())

    @cached_property
    def scaling(self) -> Scaling:
        """Scaling of the fingerprints, fitted to the training examples when it is first used."""
        return SCALINGS[self.scaling_name].fit(self.fingerprint, self.fingerprints[self.training])

    @cached_property
    def items(self) -> Items:
        """All examples as networks see them: scaled fingerprints and standardised values."""
        with jax.enable_x64(True):
            fingerprints = jnp.asarray(self.fingerprints, jnp.float64)
            scaled = np.asarray(jax.vmap(self.scaling.forward)(fingerprints))
        standardised = (self.values - self.centre) / self.width
        return jnp.float32(scaled), jnp.float32(standardised)

    @cached_property
    def jacobians(self) -> Float[np.ndarray, "n p x"]:
        """Derivatives of the fingerprints by the positions, computed when they are first used."""
        assert self.structures is not None, "fingerprints alone have no derivatives"
        return fingerprint_jacobians(self.structures, self.fingerprint)


def fingerprint_jacobians(
    structures: Sequence[Atoms], fingerprint: Fingerprint
) -> Float[np.ndarray, "n p x"]:
    """Compute the derivatives of fingerprints by the positions, in 1/Angstrom.

    Args:
        structures: structures with the same number of atoms.
        fingerprint: parameters of the fingerprints.

    Returns:
        One Jacobian per structure. Its columns are x, y and z of the first atom, then of the
        second, and so on.
    """
    found = _jacobians(batch(structures, fingerprint), fingerprint)
    return np.asarray(found, np.float64).reshape(len(structures), fingerprint.size, -1)


@partial(jax.jit, static_argnames="fingerprint")
def _jacobians(structures: Structure, fingerprint: Fingerprint) -> Float[Array, "n p ..."]:
    """Compute the derivatives of each fingerprint by the positions of all atoms."""
    return jax.lax.map(
        lambda structure: fingerprint.with_jacobian(structure)[1], structures, batch_size=BATCH
    )
