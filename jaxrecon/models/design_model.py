"""DesignModel: what was learned of a labelled set, and fingerprints that have a wanted property."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.folder import read_model, write_model
from jaxrecon.models.generators.autoencoder import Generator
from jaxrecon.search.guidance import Predictor

TRIES = 20
"""How often a sample is drawn that the surrogate shall agree with."""

TOGETHER = 64
"""Fingerprints that are drawn or judged at once."""


@dataclass(frozen=True, eq=False, repr=False)
class DesignModel:
    """A generator of fingerprints, a surrogate of the property, and what they were fitted to.

    :func:`~jaxrecon.models.training.train` makes it, and has an example.

    Attributes:
        fingerprint: what both are about.
        config: how they were fitted.
        generator: of fingerprints for a value of the property.
        surrogate: of the property, in eV/atom.
        training: all rows they know of, with their fingerprints and, where they are known, the
            structures. Networks are fitted to those that are not kept aside; a Gaussian process is,
            once its error is known, fitted to all.
        symbols: formula of all structures.
        validation: of the surrogate on the ``rows`` that were kept aside, in eV/atom: ``mae`` and
            ``bias``; ``ratio``, the root mean square of error over deviation (1 if deviations are
            true); ``correlation`` of the size of the error with the deviation; ``deviation``, which
            95 % of the rows do not exceed. None where deviations are 0.
        versions: of the packages that decide the numbers.
    """

    fingerprint: Fingerprint
    config: TrainConfig
    generator: Generator
    surrogate: Predictor
    training: LabelledSet
    symbols: str
    validation: dict[str, float | int | None]
    versions: dict[str, str]

    def __repr__(self) -> str:
        return f"<DesignModel of {len(self.training)} {self.symbols}: {self.config.surrogate}>"

    @property
    def range(self) -> tuple[float, float]:
        """Least and largest property of the training rows, in eV/atom."""
        values = self.training.formation_energies
        return float(values.min()), float(values.max())

    def sample(
        self,
        value: float | Sequence[float] | np.ndarray,
        count: int,
        seed: int = 0,
        *,
        agree: float | None = None,
    ) -> Float[np.ndarray, "count p"]:
        """Fingerprints that structures with a property may have, without a unit.

        Sample i depends on the seed, its number and its value, not on how many there are.

        Args:
            value: of the property, in eV/atom: one for all samples, or one each. Beyond
                :attr:`range` there is a warning.
            count: of samples.
            seed: of the random numbers.
            agree: by how much the surrogate's prediction may be off, and how unsure it may be, in
                eV/atom: samples that exceed it are drawn again, up to 20 times; then the one that
                exceeded it least is taken. None for all as they are drawn.

        Raises:
            ValueError: if there is another number of values.
        """
        values = np.asarray(value, np.float64)
        if values.ndim and values.shape != (count,):
            raise ValueError(f"expected one value or {count}, got shape {values.shape}")
        self.warn_outside(*values.ravel())
        values = np.broadcast_to(values, (count,))
        if agree is None:
            return self._draw(seed, 0, np.arange(count), values)
        samples = np.empty((count, self.fingerprint.size))
        misses, pending = np.full(count, np.inf), np.arange(count)
        for attempt in range(TRIES):
            drawn = self._draw(seed, attempt, pending, values[pending])
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
        """The property that the surrogate predicts, and the standard deviation of its error.

        Args:
            fingerprints: one row each, without a unit.

        Returns:
            Both in eV/atom, computed in float64.
        """
        with jax.enable_x64(True):
            rows = jnp.asarray(_padded(fingerprints, 1.0), jnp.float64)
            means, deviations = _predicted(self.surrogate, rows)
            count = len(fingerprints)
            return np.asarray(means)[:count], np.asarray(deviations)[:count]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model to a folder; a model that is there is replaced by a whole one.

        Args:
            folder: that of the model alone.

        Raises:
            FileExistsError: if there is something in the place that is no model.
            OSError: if it can't be written.
        """
        write_model(Path(folder), self)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "DesignModel":
        """Read a model from its folder.

        Args:
            folder: what :meth:`save` has written.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is something else, or incomplete.
        """
        return cls(**read_model(Path(folder)))

    def warn_outside(self, *values: float) -> None:
        """Warn of values of the property, in eV/atom, that the training rows do not reach.

        Args:
            *values: those that are wanted.
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
        key = jax.random.fold_in(jax.random.key(seed), attempt)
        lanes = jnp.asarray(_padded(numbers, 0)), jnp.asarray(_padded(values, 0.0), jnp.float32)
        drawn = _drawn(self.generator, key, *lanes)
        return np.asarray(drawn, np.float64)[: len(numbers)]


@jax.jit
def _drawn(
    generator: Generator, key: PRNGKeyArray, numbers: Int[Array, " n"], values: Float[Array, " n"]
) -> Float[Array, "n p"]:
    def one(lane: tuple[Int[Array, ""], Float[Array, ""]]) -> Float[Array, " p"]:
        number, value = lane
        return generator.sample(jax.random.fold_in(key, number), value)

    return jax.lax.map(one, (numbers, values), batch_size=TOGETHER)


@jax.jit
def _predicted(
    surrogate: Predictor, rows: Float[Array, "n p"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    return jax.lax.map(surrogate, rows, batch_size=TOGETHER)


def _padded(rows: np.ndarray, value: float) -> np.ndarray:
    """Rows filled up, so that few lengths are ever compiled for."""
    lanes = TOGETHER * (1 << (-(-len(rows) // TOGETHER) - 1).bit_length())
    missing = [(0, lanes - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows, missing, constant_values=value)
