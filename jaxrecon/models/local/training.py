"""Training of models of local energies, by name."""

from jaxrecon.models.local.base import LocalModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.registry import LOCAL_MODELS
from jaxrecon.runtime.progress import ProgressFn


def train_local(
    environments: Environments,
    model: str = "kernel",
    config: LocalConfig | None = None,
    *,
    report: ProgressFn = lambda epochs, examples: None,
) -> LocalModel:
    """Fit a model that gives each atom an energy.

    Args:
        environments: what to learn from: local energies, total energies, and forces.
        model: ``"linear"``; ``"kernel"``, a sparse Gaussian process; ``"network"``; or
            ``"deep_kernel"``, a Gaussian process of what a network makes of a row.
        config: settings; None for the default ones.
        report: called with the epochs and examples done since the last call.

    Returns:
        The fitted model, for structures of any size.

    Raises:
        ValueError: if there is no model of this name, or nothing can be learned from the data.

    >>> from ase.build import bulk
    >>> from jaxrecon import SOAP
    >>> crystals = [bulk("Cu", a=a) for a in (3.5, 3.6, 3.7)]
    >>> soap = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2)
    >>> data = Environments.of(crystals, soap, totals=[-3.4, -3.5, -3.4])
    >>> train_local(data, "linear").totals(data).round(2).tolist()
    [-3.4, -3.5, -3.4]
    """
    if model not in LOCAL_MODELS:
        raise ValueError(f"expected a model among {tuple(LOCAL_MODELS)}, got {model!r}")
    return LOCAL_MODELS[model].fit(environments, config, report=report)
