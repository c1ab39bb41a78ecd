"""jaxrecon: atomic structures from their structural fingerprints, exactly.

The public names are imported on first use, so that ``import jaxrecon`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxrecon import datasets, matching
    from jaxrecon.batching import batch, batches, featurize
    from jaxrecon.config import ReconstructConfig
    from jaxrecon.descriptors.acsf import ACSF
    from jaxrecon.devices import use_all_cores
    from jaxrecon.fingerprint import Fingerprint
    from jaxrecon.inverse import reconstruct
    from jaxrecon.results import Reconstruction, Result, ResultCode
    from jaxrecon.store import Store
    from jaxrecon.structures import Structure, from_ase, to_ase

__all__ = [
    "ACSF",
    "Fingerprint",
    "ReconstructConfig",
    "Reconstruction",
    "Result",
    "ResultCode",
    "Store",
    "Structure",
    "batch",
    "batches",
    "datasets",
    "featurize",
    "from_ase",
    "matching",
    "reconstruct",
    "to_ase",
    "use_all_cores",
]

_HOME = {
    "ACSF": "descriptors.acsf",
    "Fingerprint": "fingerprint",
    "ReconstructConfig": "config",
    "Reconstruction": "results",
    "Result": "results",
    "ResultCode": "results",
    "Store": "store",
    "Structure": "structures",
    "datasets": "datasets",
    "featurize": "batching",
    "batch": "batching",
    "batches": "batching",
    "from_ase": "structures",
    "matching": "matching",
    "reconstruct": "inverse",
    "to_ase": "structures",
    "use_all_cores": "devices",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxrecon' has no attribute {name!r}")
    module = import_module(f"jaxrecon.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
