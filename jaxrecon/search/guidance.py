r"""Guidance: a search for structures with wanted properties, besides or instead of a fingerprint.

.. math:: \min_x\ \sum_k h_k(\mu_k(R(x)))^2 + \sum_k (t\,\sigma_k(R(x)))^2
          + \frac{s^2}{P} \sum_p \left(\frac{R_p(x) - R^*_p}{w_p}\right)^2

Here :math:`\mu_k` is a predicted property and :math:`\sigma_k` the standard deviation of its error,
both at the fingerprint R(x) of an actual structure x; :math:`h_k` is the distance of the property
from its wanted range; t, s and w are *trust*, *pull* and *widths*. The search of Fung et al., arXiv
2207.13227, minimises a distance like the last sum alone, for a target :math:`R^*` that a generator
drew for the property; no term then keeps the property while R(x) differs from :math:`R^*`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.pytrees import register_dataclass
from jaxrecon.structures.structure import Structure

Prediction = tuple[Float[Array, ""], Float[Array, ""]]
"""A predicted property and the standard deviation of its error, both in the property's unit."""


@runtime_checkable
class Predictor(Protocol):
    """A pytree and pure function of one fingerprint, for use under ``jit``, ``vmap`` and ``grad``.

    Its arrays may be NumPy arrays in float64; it computes in the precision of the fingerprint.
    """

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """Predict the property of the structure that has this fingerprint."""
        ...


class AtomRows(NamedTuple):
    """The atoms of a structure as models of local energies see them.

    Attributes:
        rows: row of each atom, without a unit, in the columns of the descriptor.
        kinds: index of the element of each atom among those of the descriptor.
        mask: false for padding.
    """

    rows: Float[Array, "*s n f"]
    kinds: Int[Array, "*s n"]
    mask: Bool[Array, "*s n"]

    @classmethod
    def of(
        cls, fingerprint: Fingerprint, structure: Structure, rows: Float[Array, "n f"]
    ) -> "AtomRows":
        """Add the elements of the atoms to their rows.

        Args:
            fingerprint: the fingerprint whose descriptor has the rows.
            structure: the structure, with all elements of the descriptor.
            rows: rows of its atoms.

        Returns:
            The atoms.
        """
        species = jnp.asarray(fingerprint.descriptor.species, structure.species.dtype)
        place = jnp.searchsorted(species, structure.species)
        return cls(rows, jnp.clip(place, 0, len(species) - 1).astype(int), structure.mask)


@runtime_checkable
class AtomsPredictor(Protocol):
    """A predictor that needs the rows of all atoms: a pytree, like :class:`Predictor`."""

    def of_atoms(self, atoms: AtomRows) -> Prediction:
        """Predict the property of the structure that has these atoms."""
        ...


@register_dataclass
@dataclass(frozen=True, eq=False)
class Guidance:
    """The wanted properties of a structure, and how they and its fingerprint are weighed.

    Attributes:
        predictors: one predictor for each property; one that has ``of_atoms`` gets the rows of all
            atoms instead of the fingerprint.
        low: lower end of the wanted range of each property; minus infinity for none.
        high: upper end of the wanted range; infinity for none.
        trust: weight t of the uncertainty: a standard deviation costs as much as a miss this many
            times as large. A large weight keeps the search where predictions are certain.
        pull: weight s of the fingerprint: one width of difference in each number costs as much as
            missing the property by this much, in its unit. 0 where there is no target.
        widths: the unit w in which each number of the fingerprint is compared with the target;
            infinite for numbers that are not compared.
        columns: which numbers of the whole fingerprint the search computes; None for all. The
            others are 0.
    """

    predictors: tuple[Predictor | AtomsPredictor, ...]
    low: Float[np.ndarray | Array, " k"]
    high: Float[np.ndarray | Array, " k"]
    trust: Float[np.ndarray | Array, ""]
    pull: Float[np.ndarray | Array, ""]
    widths: Float[np.ndarray | Array, " p"]
    columns: Int[np.ndarray | Array, " q"] | None = field(default=None)

    @classmethod
    def towards(
        cls,
        predictors: Predictor | AtomsPredictor | Sequence[Predictor | AtomsPredictor],
        wanted: float | tuple[float, float] | Sequence[tuple[float, float]],
        *,
        widths: Float[np.ndarray, " p"],
        trust: float = 1.0,
        pull: float = 0.0,
    ) -> "Guidance":
        """Guidance towards a value or a range of one property, or ranges of several properties.

        Args:
            predictors: one predictor, or one for each property.
            wanted: the wanted value of the one property; or its range (low, high), with infinity
                for no limit; or such a range for each property.
            widths: typical differences of each number of the fingerprint; numbers with width 0 are
                not compared. Too small a width lets its number outweigh all others: see
                :func:`jaxrecon.inverse_design.generated.widths_of`.
            trust: weight of the uncertainty: a standard deviation costs as much as a miss this many
                times as large.
            pull: weight of the fingerprint: one width of difference in each number costs as much as
                missing the property by this much, in its unit.

        Returns:
            The guidance.

        Raises:
            ValueError: if a range is NaN or reversed, a weight is negative or not finite, or the
                numbers of predictors and ranges differ.
        """
        several = tuple(predictors) if isinstance(predictors, Sequence) else (predictors,)
        # A value is a range with two equal ends. An odd number of ends does not make ranges: the
        # checks below refuse it.
        ranges = np.asarray(wanted, np.float64)
        if ranges.ndim == 0:
            ranges = np.array([[ranges, ranges]])
        ranges = ranges.reshape(-1, 2) if ranges.size % 2 == 0 else np.full((0, 2), np.nan)
        if len(ranges) != len(several):
            raise ValueError(
                f"expected a range for each of {len(several)} properties, got {wanted}"
            )
        if np.isnan(ranges).any() or (ranges[:, 0] > ranges[:, 1]).any():
            raise ValueError(f"expected ranges from low to high, got {wanted}")
        for name, value in (("trust", trust), ("pull", pull)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"expected a finite {name} >= 0, got {value}")
        widths = np.asarray(widths, np.float64)
        return cls(
            predictors=several,
            low=ranges[:, 0],
            high=ranges[:, 1],
            trust=np.asarray(trust, np.float64),
            pull=np.asarray(pull, np.float64),
            widths=np.where(widths > 0.0, widths, np.inf),
        )

    @property
    def needs_atoms(self) -> bool:
        """Whether a predictor needs the rows of all atoms."""
        return any(isinstance(predictor, AtomsPredictor) for predictor in self.predictors)

    def penalties(
        self, fingerprint: Float[Array, " q"], atoms: AtomRows | None = None
    ) -> Float[Array, " m"]:
        """The terms of the objective that depend on predictions, before they are squared.

        Args:
            fingerprint: the numbers of R(x) that the search computes, without a unit.
            atoms: the atoms of x, if a predictor needs them.

        Returns:
            The distance of each property from its wanted range, then trust times each standard
            deviation; in the property's unit.
        """
        # Predictors take the whole fingerprint, with zeros for elements that are absent.
        dtype, columns = fingerprint.dtype, self.columns
        if columns is not None:
            whole = jnp.zeros(len(self.widths), dtype)
            fingerprint = whole.at[jnp.asarray(columns)].set(fingerprint)
        predictions = []
        for predictor in self.predictors:
            if isinstance(predictor, AtomsPredictor):
                assert atoms is not None, "the search gives the atoms where they are needed"
                predictions.append(predictor.of_atoms(atoms))
            else:
                predictions.append(predictor(fingerprint))
        means, deviations = (jnp.stack(values) for values in zip(*predictions, strict=True))
        # Above the range the distance is positive, below it negative, inside it 0.
        high, low = jnp.asarray(self.high, dtype), jnp.asarray(self.low, dtype)
        outside = jnp.maximum(means - high, 0.0) - jnp.maximum(low - means, 0.0)
        return jnp.concatenate([outside, jnp.asarray(self.trust, dtype) * deviations])

    def scales(self, dtype: jnp.dtype) -> Float[Array, " q"]:
        r"""Factors of the differences from the target: :math:`s / (w_p \sqrt P)`."""
        widths = jnp.asarray(self.widths, dtype)
        scales = jnp.asarray(self.pull, dtype) / (widths * len(widths) ** 0.5)
        return scales if self.columns is None else scales[jnp.asarray(self.columns)]

    def objective(
        self,
        fingerprint: Float[Array, " q"],
        target: Float[Array, " q"],
        atoms: AtomRows | None = None,
    ) -> Float[Array, ""]:
        """The square root of the sum that the search minimises.

        Args:
            fingerprint: the numbers of R(x) that the search computes, without a unit.
            target: the same numbers of the target.
            atoms: the atoms of x, if a predictor needs them.

        Returns:
            The root, in the property's unit.
        """
        distances = self.scales(fingerprint.dtype) * (fingerprint - target)
        return jnp.sqrt(jnp.sum(self.penalties(fingerprint, atoms) ** 2) + jnp.sum(distances**2))
