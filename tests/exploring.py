"""Clusters of different sizes, with what searches and judges say of structures."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

PROPERTIES = ("residual", "result_code", "e_form", "accepted")


def cluster(size: int, seed: int = 0) -> Atoms:
    """A spiral with some noise, no two of which are the same, in a box that means nothing."""
    turns = np.arange(size)
    spiral = np.stack([2.0 * np.cos(turns), 2.0 * np.sin(turns), 1.3 * turns], axis=1)
    noise = np.random.default_rng(seed).normal(scale=0.2, size=spiral.shape)
    return Atoms(f"CuPt{size - 1}", spiral + noise, cell=[20.0, 20.0, 20.0])


def clusters() -> list[Atoms]:
    frames = [cluster(3 + number, number) for number in range(5)]
    for number, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0 * len(atoms))
        atoms.info["residual"] = 10.0 ** (number - 8)
        atoms.info["result_code"] = "converged" if number < 2 else "stalled"
        atoms.info["accepted"] = number % 2 == 0
        if number != 1:
            atoms.info["e_form"] = 2.0 + 0.1 * number
    return frames
