"""Fingerprints, clusters and targets for the tests of the inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from strategies import random_cluster

from jaxrecon import ACSF, Fingerprint, ReconstructConfig, featurize


def fingerprint_of(*elements: str, **changes: Any) -> Fingerprint:
    descriptor = ACSF(
        elements=elements,
        r_cut=8.0,
        g2_eta=(1.0,),
        g2_r_s=(1.0, 2.0, 3.0, 4.0, 5.0),
        g5_zeta=(1, 4),
        g5_eta=(0.05,),
    )
    return Fingerprint(descriptor, **changes)


PLATINUM = fingerprint_of("Pt")
# One for nearly all tests: a program is compiled for each config, fingerprint and shape.
CONFIG = ReconstructConfig(replicas=16, hops=12, refine_steps=15, candidates=8)


def compact(atoms: int) -> Atoms:
    """A cluster in which every atom has neighbours."""
    positions = np.array([(0, 0, 0), (2.6, 0, 0), (1.2, 2.3, 0), (1.4, 0.8, 2.2), (-1.1, 1.9, 1.6)])
    return Atoms(f"Pt{atoms}", positions[:atoms])


def impossible(count: int, seed: int = 0) -> np.ndarray:
    """Targets near those of structures, on which all hops are spent."""
    near = featurize([random_cluster(number, 3, ("Pt",)) for number in range(count)], PLATINUM)
    return near + np.random.default_rng(seed).normal(size=near.shape) * 0.3
