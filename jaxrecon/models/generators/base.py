"""Generator: the interface of everything that draws fingerprints for a wanted property."""

import os
from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.examples import Examples
from jaxrecon.runtime.progress import ProgressFn


class Generator(ABC):
    """A fitted model that draws fingerprints of structures with a wanted value of the property.

    To add a generator, write a frozen dataclass that inherits from this class, register it as a
    pytree with ``jaxrecon.pytrees.register_dataclass``, and add one line to
    :data:`jaxrecon.models.registry.GENERATORS`. It has to define :meth:`fit`, :meth:`sample` and
    :meth:`restore`; the settings that it needs are read from
    :class:`~jaxrecon.models.config.TrainConfig`.

    Its fields are of two kinds. Arrays, nested dictionaries of arrays and a fitted
    :class:`~jaxrecon.models.scalings.base.Scaling` change in training and are saved with the model
    under their names. Settings, like the sizes of a network, are hashable, are marked with
    ``field(metadata={"static": True})`` and are not saved: :meth:`restore` derives them from the
    settings of the model. The contract test in ``tests/test_model_registries.py`` runs on every
    registered generator.
    """

    @classmethod
    @abstractmethod
    def fit(
        cls,
        examples: Examples,
        config: TrainConfig,
        *,
        folder: str | os.PathLike[str] | None = None,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "Generator":
        """Fit the generator. The same seed and examples give the same generator.

        Args:
            examples: data to fit to; ``examples.validation`` is for early stopping alone.
            config: settings, among them the seed.
            folder: folder of its own for checkpoints, from which an interrupted fit continues;
                None for no checkpoints.
            report: called with the epochs and training examples done since the last call.

        Returns:
            The fitted generator.

        Raises:
            ValueError: if nothing can be learned from the examples, or the folder belongs to
                another fit.
        """

    @abstractmethod
    def sample(self, key: PRNGKeyArray, value: Float[Array, ""]) -> Float[Array, " p"]:
        """Draw one fingerprint: a pure function that ``jit`` and ``vmap`` take.

        Args:
            key: random key.
            value: wanted value of the property, in its unit.

        Returns:
            A fingerprint without a unit, in the precision of ``value``.
        """

    @classmethod
    @abstractmethod
    def restore(
        cls, arrays: dict[str, Any], fingerprint: Fingerprint, config: TrainConfig
    ) -> "Generator":
        """Make a fitted generator from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name; fields of a scaling are nested.
            fingerprint: parameters of the fingerprints.
            config: settings that it was fitted with.

        Returns:
            The generator that was saved.
        """

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """Number of epochs that :meth:`fit` reports: 0 unless a subclass says otherwise.

        Args:
            config: settings of the fit.
        """
        return 0
