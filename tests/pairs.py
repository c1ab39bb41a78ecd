"""The shortest potential in JAX, Lennard-Jones, and ASE's, which nobody here wrote."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones as OfASE
from jaxtyping import Array

from jaxrecon.numerics import safe_norm
from jaxrecon.potentials.in_jax import PotentialReference
from jaxrecon.potentials.potential import Potential
from jaxrecon.potentials.single_points import SinglePoint
from jaxrecon.structures.neighbors import Neighbors

SIGMA, EPSILON, ONSET, R_CUT = 2.3, 0.4, 3.0, 5.0


class LennardJones(Potential):
    """Pairs of atoms of any element, with a smooth cutoff as in ASE."""

    elements = ("H", "O", "Na", "Pt")
    r_cut = R_CUT

    def __init__(self) -> None:
        self.parameters = {"sigma": np.array(SIGMA), "epsilon": np.array(EPSILON)}
        self.traced = 0

    def atomic_energies(self, parameters: Any, neighbors: Neighbors) -> Array:
        self.traced += 1
        dtype = neighbors.vectors.dtype
        sigma, epsilon = (jnp.asarray(parameters[name], dtype) for name in ("sigma", "epsilon"))
        r = jnp.maximum(safe_norm(neighbors.vectors), 0.1)
        sixth = (sigma / r) ** 6
        outer, inner = R_CUT**2, ONSET**2
        smooth = (outer - r**2) ** 2 * (outer + 2 * r**2 - 3 * inner) / (outer - inner) ** 3
        pairs = 4.0 * epsilon * (sixth**2 - sixth) * jnp.where(r < ONSET, 1.0, smooth)
        return 0.5 * jnp.sum(jnp.where(neighbors.mask, pairs, 0.0), axis=1)


class PairReference(PotentialReference):
    """The same by a name."""

    name = "pairs"

    def load(self) -> Potential:
        return LennardJones()


def by_ase(atoms: Atoms) -> SinglePoint:
    """Energy, forces and stress as ASE computes them."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.calc = OfASE(sigma=SIGMA, epsilon=EPSILON, rc=R_CUT, ro=ONSET, smooth=True)
    return SinglePoint(
        copy.get_potential_energy(),
        copy.get_potential_energies(),
        copy.get_forces(),
        copy.get_stress() if atoms.pbc.all() else None,
    )
