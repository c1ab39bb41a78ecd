"""A surrogate that gives each atom an energy by networks."""

from dataclasses import dataclass
from typing import Any

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.inputs import Standard
from jaxrecon.models.local.network import AtomicNetworks, NetworkModel
from jaxrecon.models.surrogates.local import LocalSurrogate
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn


@register_dataclass
@dataclass(frozen=True, eq=False)
class LocalNetwork(LocalSurrogate):
    """Networks of local energies; the deviations are those of the last layer of the first one."""

    @classmethod
    def fit_model(
        cls, environments: Environments, config: LocalConfig, report: ProgressFn
    ) -> NetworkModel:
        """Fit the networks; see the base class."""
        left = config.epochs

        def counted(epochs: int, examples: int) -> None:
            nonlocal left
            left -= epochs
            report(epochs, examples)

        found = NetworkModel.fit(environments, config, report=counted)
        # With many examples there are fewer passes than the settings say.
        report(left, 0)
        return found

    @classmethod
    def restore_model(
        cls, arrays: dict[str, Any], descriptor: Descriptor, config: LocalConfig
    ) -> NetworkModel:
        """Make the fitted networks from the arrays that were saved; see the base class."""
        networks, standard = AtomicNetworks.of(descriptor, config), Standard(**arrays["standard"])
        return NetworkModel(descriptor, arrays["offsets"], networks, arrays["weights"], standard)

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """Number of epochs that :meth:`fit` reports; see the base class."""
        return config.local_fit.epochs
