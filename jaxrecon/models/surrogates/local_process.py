"""A surrogate that gives each atom an energy by a sparse Gaussian process."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.examples import Examples
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.linear import LinearModel
from jaxrecon.models.local.projected_kernel import ProjectedKernel, fit_projected
from jaxrecon.models.surrogates.local import LocalSurrogate
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn

WITH_FORCES = 1000
"""Largest number of examples whose forces are learned."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class LocalProcess(LocalSurrogate):
    """A sparse Gaussian process of local energies."""

    @classmethod
    def settings(cls, examples: Examples, config: TrainConfig) -> LocalConfig:
        """The settings, with forces if there are few enough of them; see the base class."""
        forces = (
            config.forces
            and examples.gradients is not None
            and bool(np.isfinite(examples.gradients).all())
            and len(examples.training) <= WITH_FORCES
        )
        return replace(super().settings(examples, config), forces=forces)

    @classmethod
    def fit_model(
        cls, environments: Environments, config: LocalConfig, report: ProgressFn
    ) -> LinearModel:
        """Fit the process; see the base class."""
        return fit_projected(environments, config)

    def refit(
        self, examples: Examples, config: TrainConfig, calibration: float
    ) -> "LocalSurrogate":
        """Learn from the validation examples too; see the base class."""
        whole = super().refit(examples, config, calibration)
        every = np.arange(len(examples.values))
        model, found = self._learned(examples, every, config, lambda epochs, examples: None)
        return replace(whole, model=model, held=found.rigidity)

    @classmethod
    def restore_model(
        cls, arrays: dict[str, Any], descriptor: Descriptor, config: LocalConfig
    ) -> LinearModel:
        """Make the fitted process from the arrays that were saved; see the base class."""
        features = ProjectedKernel(**arrays["features"], zeta=config.zeta)
        return LinearModel(descriptor, arrays["offsets"], features, arrays["weights"])
