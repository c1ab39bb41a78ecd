"""Surrogate: the interface of everything that predicts the property of a fingerprint."""

import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.examples import Examples
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.search.guidance import Prediction


class Surrogate(ABC):
    """A fitted model that predicts the property of a fingerprint and how uncertain that is.

    It is a :class:`~jaxrecon.search.guidance.Predictor`: a search can be guided by it. To add a
    surrogate, write a frozen dataclass that inherits from this class, register it as a pytree with
    ``jaxrecon.pytrees.register_dataclass``, and add one line to
    :data:`jaxrecon.models.registry.SURROGATES`. It has to define :meth:`fit`, :meth:`__call__` and
    :meth:`restore`; the settings that it needs are read from
    :class:`~jaxrecon.models.config.TrainConfig`.

    Its fields are of two kinds. Arrays, nested dictionaries of arrays and a fitted
    :class:`~jaxrecon.models.scalings.base.Scaling` change in training and are saved with the model
    under their names. Settings are hashable, are marked with ``field(metadata={"static": True})``
    and are not saved: :meth:`restore` derives them from the settings of the model. The contract
    test in ``tests/test_model_registries.py`` runs on every registered surrogate.
    """

    inflated: ClassVar[bool] = False
    """Whether :meth:`refit` multiplies the deviations by a calibration that is larger than 1."""

    @classmethod
    @abstractmethod
    def fit(
        cls,
        examples: Examples,
        config: TrainConfig,
        *,
        folder: str | os.PathLike[str] | None = None,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "Surrogate":
        """Fit the surrogate. The same seed and examples give the same surrogate.

        Args:
            examples: data to fit to; ``examples.validation`` is for early stopping alone.
            config: settings, among them the seed.
            folder: folder of its own for checkpoints, from which an interrupted fit continues;
                None for no checkpoints.
            report: called with the epochs and training examples done since the last call.

        Returns:
            The fitted surrogate.

        Raises:
            ValueError: if nothing can be learned from the examples, or the folder belongs to
                another fit.
        """

    @abstractmethod
    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """Predict the property: a pure function that ``jit``, ``vmap`` and ``grad`` take.

        Args:
            fingerprint: numbers without a unit.

        Returns:
            The property and the standard deviation of its error, in its unit and in the precision
            of the fingerprint. A surrogate that can't tell the deviation returns 0.
        """

    @classmethod
    @abstractmethod
    def restore(
        cls, arrays: dict[str, Any], fingerprint: Fingerprint, config: TrainConfig
    ) -> "Surrogate":
        """Make a fitted surrogate from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name; fields of a scaling are nested.
            fingerprint: parameters of the fingerprints.
            config: settings that it was fitted with.

        Returns:
            The surrogate that was saved.
        """

    def refit(self, examples: Examples, config: TrainConfig, calibration: float) -> "Surrogate":
        """Fit to the validation examples too, after the error on them is known.

        By default the surrogate stays as it is: early stopping needs a validation set.

        Args:
            examples: the data that it was fitted to.
            config: settings that it was fitted with.
            calibration: root mean square of error over predicted deviation on the validation
                examples; 1 where the deviations are right or unknown.

        Returns:
            The surrogate to use.
        """
        return self

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """Number of epochs that :meth:`fit` reports: 0 unless a subclass says otherwise.

        Args:
            config: settings of the fit.
        """
        return 0
