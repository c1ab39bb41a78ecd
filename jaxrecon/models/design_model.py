"""DesignModel: a generator of fingerprints and a surrogate of the property, fitted to one set."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.generators.base import Generator
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.models.surrogates.local import LocalSurrogate, OfAtoms
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.structures.formulas import composition_of

MAX_DRAWS = 20
"""Largest number of times that a sample is drawn until the surrogate agrees with it."""

BATCH = 64
"""Number of fingerprints that are drawn or predicted together."""


@dataclass(frozen=True, eq=False, repr=False)
class DesignModel:
    """A generator of fingerprints, a surrogate of the property, and the data of both.

    :func:`~jaxrecon.models.training.train` makes a model and shows an example.
    :func:`~jaxrecon.models.folder.save_model` and :func:`~jaxrecon.models.folder.load_model` write
    and read it.

    Attributes:
        fingerprint: parameters of the fingerprints.
        config: settings of both models.
        generator: draws fingerprints for a value of the property.
        surrogate: predicts the property of a fingerprint, in eV/atom.
        training: the labelled set with the fingerprints of all its structures, validation examples
            included.
        symbols: chemical formula of all structures; None if they have several.
        validation: error of the surrogate on the validation examples, in eV/atom: their number
            ``examples``; ``mae`` and ``bias``, mean absolute and mean error; ``calibration``, root
            mean square of error over predicted deviation, 1 if the deviations are right;
            ``correlation`` of the absolute error with the deviation; ``deviation``, the largest one
            but for 5 % of the examples. ``calibration`` and ``correlation`` are None where the
            surrogate predicts no deviation.
        versions: versions of the packages on which the numbers depend.
    """

    fingerprint: Fingerprint
    config: TrainConfig
    generator: Generator
    surrogate: Surrogate
    training: LabelledSet
    symbols: str | None
    validation: dict[str, float | int | None]
    versions: dict[str, str]

    def __repr__(self) -> str:
        return f"<DesignModel of {len(self.training)} {self.formula}: {self.config.surrogate}>"

    @property
    def formula(self) -> str:
        """The formula of all structures, or which elements they have, for a reader."""
        elements = self.fingerprint.descriptor.elements
        return self.symbols or f"structures of {len(elements)} elements"

    @property
    def crystals(self) -> bool:
        """Whether the structures are crystals."""
        structures = self.training.structures or [Atoms()]
        return bool(structures[0].pbc.all())

    @property
    def sizes(self) -> range:
        """From the smallest to the largest number of atoms of a structure of the labelled set."""
        if self.symbols is not None:
            count = len(composition_of(self.symbols))
            return range(count, count + 1)
        counts = [len(atoms) for atoms in self.training.structures or ()]
        return range(min(counts), max(counts) + 1)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value of the property in the labelled set, in eV/atom."""
        values = self.training.formation_energies
        return float(values.min()), float(values.max())

    def sample(
        self,
        value: float | Sequence[float] | np.ndarray,
        count: int,
        seed: int = 0,
        *,
        agree: float | None = None,
        adjust: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Float[np.ndarray, "count p"]:
        """Draw fingerprints that structures with a value of the property may have.

        Sample i depends on the seed, i and its value, but not on the number of samples.

        Args:
            value: wanted value of the property in eV/atom, for all samples or for each of them.
                A value outside :attr:`range` causes a warning.
            count: number of samples.
            seed: seed of the random numbers.
            agree: largest difference between the surrogate's prediction and the wanted value, and
                largest predicted deviation, in eV/atom. A sample that exceeds it is drawn again, up
                to :data:`MAX_DRAWS` times in all, and the best draw is taken. None takes all
                samples as they are drawn.
            adjust: function of drawn fingerprints that gives possible ones near them, before the
                surrogate judges them; None for none.

        Returns:
            One fingerprint per sample, without a unit.

        Raises:
            ValueError: if there are neither one nor ``count`` values.
        """
        seed = checked_seed(seed)
        values = np.asarray(value, np.float64)
        if values.ndim and values.shape != (count,):
            raise ValueError(f"expected one value or {count}, got shape {values.shape}")
        self.warn_outside(*values.ravel())
        values = np.broadcast_to(values, (count,))
        possible = adjust or np.asarray
        if agree is None:
            return possible(self._draw(seed, 0, np.arange(count), values))
        # Draw all samples, then again those that the surrogate disagrees with. The best draw of
        # each sample is remembered.
        samples = np.empty((count, self.fingerprint.size))
        misses, pending = np.full(count, np.inf), np.arange(count)
        for attempt in range(MAX_DRAWS):
            drawn = possible(self._draw(seed, attempt, pending, values[pending]))
            means, deviations = self.predict(drawn)
            missed = np.maximum(np.abs(means - values[pending]), deviations)
            better = missed < misses[pending]
            samples[pending[better]] = drawn[better]
            misses[pending[better]] = missed[better]
            pending = np.flatnonzero(misses > agree)
            if not len(pending):
                break
        return samples

    def predict(
        self, fingerprints: Float[np.ndarray, "n p"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Predict the property of fingerprints with the surrogate, in float64.

        A surrogate of energies of atoms predicts better for structures, by
        :meth:`predict_structures`: of a fingerprint it does not know the atoms.

        Args:
            fingerprints: one row per structure, without a unit.

        Returns:
            The property and the standard deviation of its error, both in eV/atom.
        """
        with jax.enable_x64(True):
            padded = jnp.asarray(_padded(fingerprints, 1.0), jnp.float64)
            means, deviations = _predicted(self.surrogate, padded)
            count = len(fingerprints)
            return np.asarray(means)[:count], np.asarray(deviations)[:count]

    def predict_structures(
        self,
        structures: Sequence[Atoms],
        fingerprints: Float[np.ndarray, "n p"] | None = None,
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], list[OfAtoms] | None]:
        """Predict the property of structures with the surrogate, in float64.

        Args:
            structures: structures of the model's elements; for a surrogate of energies of atoms of
                any sizes.
            fingerprints: their fingerprints; None computes them where they are needed.

        Returns:
            The property and the standard deviation of its error, both in eV/atom; and what is
            predicted of the atoms of each structure, None if the surrogate does not know atoms.
        """
        if isinstance(self.surrogate, LocalSurrogate):
            return self.surrogate.predict(structures)
        if fingerprints is None:
            fingerprints = featurize(structures, self.fingerprint)
        return *self.predict(fingerprints), None

    def warn_outside(self, *values: float) -> None:
        """Warn of values of the property outside :attr:`range`.

        Args:
            *values: wanted values in eV/atom.
        """
        low, high = self.range
        outside = [value for value in values if not low <= value <= high]
        if outside:
            warnings.warn(
                f"expected a property between {low:.3f} and {high:.3f} eV/atom, the range of the "
                f"training data, got {outside[0]:g}",
                stacklevel=3,
            )

    def _draw(
        self, seed: int, attempt: int, numbers: Int[np.ndarray, " n"], values: np.ndarray
    ) -> Float[np.ndarray, "n p"]:
        """Draw the samples with these numbers; each attempt has other random numbers.

        One program of one length draws all blocks: others would round differently, and the samples
        would depend on how many there are.
        """
        key = jax.random.fold_in(jax.random.key(seed), attempt)
        blocks = [np.empty((0, self.fingerprint.size))]
        for start in range(0, len(numbers), BATCH):
            block = slice(start, start + BATCH)
            which = jnp.asarray(_padded(numbers[block], 0))
            wanted = jnp.asarray(_padded(values[block], 0.0), jnp.float32)
            drawn = _drawn(self.generator, key, which, wanted)
            blocks.append(np.asarray(drawn, np.float64)[: len(numbers[block])])
        return np.concatenate(blocks)


@jax.jit
def _drawn(
    generator: Generator, key: PRNGKeyArray, numbers: Int[Array, " n"], values: Float[Array, " n"]
) -> Float[Array, "n p"]:
    """Draw one fingerprint per number and value."""

    def draw(sample: tuple[Int[Array, ""], Float[Array, ""]]) -> Float[Array, " p"]:
        number, value = sample
        return generator.sample(jax.random.fold_in(key, number), value)

    return jax.lax.map(draw, (numbers, values), batch_size=BATCH)


@jax.jit
def _predicted(
    surrogate: Surrogate, fingerprints: Float[Array, "n p"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Predict the property of each fingerprint."""
    return jax.lax.map(surrogate, fingerprints, batch_size=BATCH)


def _padded(rows: np.ndarray, value: float) -> np.ndarray:
    """Pad the first axis to one of few lengths, so that few programs are compiled."""
    length = BATCH * (1 << (-(-len(rows) // BATCH) - 1).bit_length())
    missing = [(0, length - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows, missing, constant_values=value)
