"""One range of seeds for every function that takes one: none is taken for another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inverting import PLATINUM
from learning import labelled

import jaxrecon
from jaxrecon.datasets.build import build
from jaxrecon.datasets.clusters import random_cluster, relaxed
from jaxrecon.models.config import TrainConfig
from jaxrecon.runtime.seeds import MAX_SEED, checked_seed

SEEDED: dict[str, Callable[[Any], Any]] = {
    "reconstruct": lambda seed: jaxrecon.reconstruct(
        np.ones(PLATINUM.size), PLATINUM, symbols="Pt3", seed=seed
    ),
    "generate": lambda seed: jaxrecon.generate(None, 2.0, 1, seed=seed),
    "design": lambda seed: jaxrecon.design(
        labelled(), 2.0, 1, Path("no"), calculator="emt", seed=seed
    ),
    "build": lambda seed: build("Pt3", 8, seed=seed),
    "relaxed": lambda seed: relaxed("Pt3", seed=seed),
    "random_cluster": lambda seed: random_cluster("Pt3", seed=seed),
    "TrainConfig": lambda seed: TrainConfig(seed=seed),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("seed", [-1, 2**32, 2**40, 2**63, 1.5, None, "0", True])
@pytest.mark.parametrize("name", SEEDED)
def test_what_is_no_seed_is_refused(name: str, seed: object) -> None:
    with pytest.raises(ValueError, match=r"expected a seed from 0 to 4294967295, got"):
        SEEDED[name](seed)


def test_seeds_are_whole_numbers_of_any_type() -> None:
    assert [checked_seed(seed) for seed in (0, np.uint8(7), MAX_SEED)] == [0, 7, MAX_SEED]
