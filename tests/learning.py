"""A small labelled set of clusters whose energy is their size, and models that are fitted to it."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np
from ase import Atoms

from jaxrecon import Fingerprint
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.training import train

SMALL = FitConfig(layers=1, hidden=6, learning_rate=1e-2, epochs=3, batch=20)
CONFIG = TrainConfig(
    fingerprint="default",
    poolings=("max", "min"),
    generator_fit=SMALL,
    surrogate_fit=SMALL,
    latent=2,
    members=2,
    local_fit=LocalConfig(points=12, zeta=2, layers=1, hidden=6, epochs=3),
)
CONFIGS = {
    "default": CONFIG.replace(surrogate="gaussian_process"),
    "fung2022": CONFIG.replace(surrogate="network", scaling="minmax", split="random"),
}
FINGERPRINT = Fingerprint.preset("default", ["Pt"], poolings=("max", "min"))


def labelled(count: int = 60) -> LabelledSet:
    """Clusters, three of them in each trajectory."""
    random = np.random.default_rng(0)
    lengths = 2.2 + random.uniform(size=count)
    places = np.array([[0, 0, 0], [1, 0, 0], [0.2, 1, 0], [0.3, 0.2, 1]])
    structures = [
        Atoms("Pt4", length * places + 0.1 * random.normal(size=(4, 3))) for length in lengths
    ]
    return LabelledSet.of(
        structures, formation_energies=lengths, trajectories=np.arange(count) // 3
    )


@lru_cache
def learned(name: str) -> DesignModel:
    # Here and not in tests that read this: the first one trains for all.
    with jax.numpy_dtype_promotion("strict"):
        return train(labelled(), CONFIGS[name])
