"""jaxrecon: atomic structures from their structural fingerprints, exactly.

The public names are imported on first use, so that ``import jaxrecon`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxrecon import datasets
    from jaxrecon.descriptors.acsf.acsf import ACSF
    from jaxrecon.descriptors.custom import Custom
    from jaxrecon.descriptors.featurize import batch, batches, featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.inverse_design.closed_loop import Design, design
    from jaxrecon.inverse_design.config import GenerateConfig
    from jaxrecon.inverse_design.generated import Generated
    from jaxrecon.inverse_design.generation import generate
    from jaxrecon.models.config import FitConfig, TrainConfig
    from jaxrecon.models.design_model import DesignModel
    from jaxrecon.models.training import train
    from jaxrecon.potentials.judge import Judgement, judge
    from jaxrecon.runtime.devices import use_all_cores
    from jaxrecon.search.config import ReconstructConfig
    from jaxrecon.search.reconstruct import reconstruct
    from jaxrecon.search.results import Reconstruction, Result, ResultCode
    from jaxrecon.search.store import Store
    from jaxrecon.structures import matching
    from jaxrecon.structures.structure import Structure, from_ase, to_ase

__all__ = [
    "ACSF",
    "Custom",
    "Design",
    "DesignModel",
    "Fingerprint",
    "FitConfig",
    "GenerateConfig",
    "Generated",
    "Judgement",
    "ReconstructConfig",
    "Reconstruction",
    "Result",
    "ResultCode",
    "Store",
    "Structure",
    "TrainConfig",
    "batch",
    "batches",
    "datasets",
    "design",
    "featurize",
    "from_ase",
    "generate",
    "judge",
    "matching",
    "reconstruct",
    "to_ase",
    "train",
    "use_all_cores",
]

_HOME = {
    "ACSF": "descriptors.acsf.acsf",
    "Custom": "descriptors.custom",
    "Design": "inverse_design.closed_loop",
    "DesignModel": "models.design_model",
    "Fingerprint": "descriptors.fingerprint",
    "FitConfig": "models.config",
    "GenerateConfig": "inverse_design.config",
    "Generated": "inverse_design.generated",
    "Judgement": "potentials.judge",
    "ReconstructConfig": "search.config",
    "Reconstruction": "search.results",
    "Result": "search.results",
    "ResultCode": "search.results",
    "Store": "search.store",
    "Structure": "structures.structure",
    "TrainConfig": "models.config",
    "batch": "descriptors.featurize",
    "batches": "descriptors.featurize",
    "datasets": "datasets",
    "design": "inverse_design.closed_loop",
    "featurize": "descriptors.featurize",
    "from_ase": "structures.structure",
    "generate": "inverse_design.generation",
    "judge": "potentials.judge",
    "matching": "structures.matching",
    "reconstruct": "search.reconstruct",
    "to_ase": "structures.structure",
    "train": "models.training",
    "use_all_cores": "runtime.devices",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxrecon' has no attribute {name!r}")
    module = import_module(f"jaxrecon.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
