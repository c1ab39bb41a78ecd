"""Scaling: the interface of a map between fingerprints and the numbers that networks see."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint


class Scaling(ABC):
    """A map between fingerprints and the scaled numbers that networks are fitted to.

    To add a scaling, write a frozen dataclass that inherits from this class, register it as a
    pytree with ``jaxrecon.pytrees.register_dataclass``, and add one line to
    :data:`jaxrecon.models.registry.SCALINGS`. Fields that are arrays may be NumPy's in float64 and
    are saved with a model under their names; other fields are marked as ``static``. The contract
    test in ``tests/test_model_registries.py`` runs on every registered scaling.
    """

    @classmethod
    @abstractmethod
    def fit(cls, fingerprint: Fingerprint, fingerprints: Float[np.ndarray, "n p"]) -> "Scaling":
        """Fit the scaling to training examples.

        Args:
            fingerprint: parameters of the fingerprints.
            fingerprints: one row per training example, without a unit.

        Returns:
            The fitted scaling.

        Raises:
            ValueError: if no scaling can be fitted to these fingerprints.
        """

    @classmethod
    @abstractmethod
    def restore(cls, arrays: dict[str, Any], fingerprint: Fingerprint) -> "Scaling":
        """Make a fitted scaling from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name.
            fingerprint: parameters of the fingerprints.

        Returns:
            The scaling that was saved.
        """

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of scaled numbers."""

    @abstractmethod
    def forward(self, fingerprint: Float[Array, " p"]) -> Float[Array, " k"]:
        """Scale one fingerprint, in its own precision.

        Args:
            fingerprint: numbers without a unit.

        Returns:
            The scaled numbers.
        """

    @abstractmethod
    def backward(self, scaled: Float[Array, " k"]) -> Float[Array, " p"]:
        """Undo the scaling, in the precision of the scaled numbers.

        Args:
            scaled: any scaled numbers.

        Returns:
            The fingerprint that they stand for.
        """
