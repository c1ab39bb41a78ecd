"""A small set with energies by effective medium theory, and a model that is trained on it."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np
from ase import Atoms
from labelling import energy_of

from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.config import GenerateConfig
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.training import train
from jaxrecon.search.config import ReconstructConfig

LEARNING = TrainConfig(
    fingerprint="default", scaling="principal", generator_fit=FitConfig(1, 8, 1e-2, 2, 50)
)
SEARCH = ReconstructConfig(hops=1, replicas=4, refine_steps=10, polish_steps=3)
MAKING = GenerateConfig(search=SEARCH)
BULK = -0.5
"""Energy in eV/atom from which formation energies are counted."""


@lru_cache
def labelled() -> LabelledSet:
    structures = [random_cluster("Pt4", seed) for seed in range(60)]
    energies = np.array([energy_of(atoms) for atoms in structures])
    return LabelledSet.of(structures, energies=energies, formation_energies=energies / 4 - BULK)


@lru_cache
def trained() -> DesignModel:
    # Here and not in tests that read this: the first one trains for all.
    with jax.numpy_dtype_promotion("strict"):
        return train(labelled(), LEARNING)


def e_form(atoms: Atoms) -> float:
    return energy_of(atoms) / 4 - BULK
