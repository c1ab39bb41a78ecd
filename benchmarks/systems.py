"""The structures of the speed benchmark, and the steps of the search as functions of positions."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from counts import Problem

from jaxrecon import ACSF, Fingerprint, Structure, batch
from jaxrecon.search.gauss_newton import normal_equations
from jaxrecon.search.levenberg_marquardt import Refinement, levenberg_marquardt
from jaxrecon.search.objectives import mean_absolute_residual

VARIANTS = 64
"""Different structures of each system; larger batches repeat them."""

LM_STEPS = 10
"""Levenberg-Marquardt steps of a call, after a model at the start: one more evaluation."""

GPU_BYTES = 2**34
"""Memory on a GPU for the largest arrays: all rows differentiated by neighbours and positions."""


class System(NamedTuple):
    """Variants of one composition.

    Attributes:
        symbols: of the atoms.
        structures: all variants, as one batch.
        target: the fingerprint of one.
        problem: what decides the work of the first; None if it is not counted, as of SOAP.
        together: structures that a CPU core is fastest with.
    """

    name: str
    fingerprint: Fingerprint
    symbols: tuple[str, ...]
    structures: Structure
    target: jax.Array
    problem: Problem | None
    together: int

    @property
    def block(self) -> int:
        """Structures that a device computes together."""
        if jax.devices()[0].platform == "cpu":
            return self.together
        atoms, bounds = self.structures.positions.shape[1], self.structures.bounds
        neighbors = atoms if bounds is None else bounds.capacity
        numbers = atoms * self.fingerprint.descriptor.size * (neighbors + atoms) * 3
        return max(1, GPU_BYTES // (4 * numbers))

    def positions(self, count: int) -> np.ndarray:
        """Positions of so many structures in Angstrom."""
        variants = np.asarray(self.structures.positions)
        return np.resize(variants, (count, *variants.shape[1:]))

    def kernels(self) -> dict[str, tuple[Callable, int]]:
        """Functions of one set of positions, and the evaluations that a call of one counts for."""
        template = jax.tree.map(lambda leaf: leaf[0], self.structures)

        def structure(positions: jax.Array) -> Structure:
            return replace(template, positions=positions)

        refinement = levenberg_marquardt(
            lambda x: normal_equations(self.fingerprint, structure(x), self.target), max_step=2.0
        )
        return kernels(self.fingerprint, structure, self.target, refinement)


def kernels(
    fingerprint: Fingerprint,
    structure: Callable[[jax.Array], Structure],
    target: jax.Array,
    refinement: Refinement,
) -> dict[str, tuple[Callable, int]]:
    """The steps of a search as functions of one set of positions.

    Args:
        fingerprint: what is inverted.
        structure: with these positions.
        target: the numbers wanted.
        refinement: of the positions.

    Returns:
        By row of the benchmark, a function and the evaluations that a call of it counts for.
    """

    def loss(positions: jax.Array) -> jax.Array:
        return mean_absolute_residual(fingerprint(structure(positions)), target)

    def steps(positions: jax.Array) -> jax.Array:
        state, _ = jax.lax.scan(
            lambda state, _: (refinement.step(state), None),
            refinement.init(positions),
            length=LM_STEPS,
        )
        return state.best_positions, state.best_residual

    return {
        "fingerprint": (lambda x: fingerprint(structure(x)), 1),
        "loss and gradient": (jax.value_and_grad(loss), 1),
        "fingerprint and Jacobian": (lambda x: fingerprint.with_jacobian(structure(x)), 1),
        "Levenberg-Marquardt step": (steps, LM_STEPS + 1),
    }


def random_atoms(symbols: str, box: float) -> list[Atoms]:
    """Free clusters with the atoms anywhere in a box of so many Angstrom."""
    rng, count = np.random.default_rng(0), len(Atoms(symbols))
    return [Atoms(symbols, rng.uniform(0, box, (count, 3))) for _ in range(VARIANTS)]


def rattled(perfect: Atoms) -> list[Atoms]:
    """Crystals whose atoms are a little off their places."""
    variants = [perfect.copy() for _ in range(VARIANTS)]
    for seed, atoms in enumerate(variants):
        atoms.rattle(0.05, seed=seed)
    return variants


def perovskite() -> Atoms:
    """Cubic strontium titanate, five atoms."""
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal(("Sr", "Ti", "O"), sites, spacegroup=221, cellpar=[3.9, 3.9, 3.9, 90, 90, 90])


def mixed_perovskite() -> Atoms:
    """Four times that, with calcium for half of the strontium: 20 atoms of four elements."""
    atoms = make_supercell(perovskite(), [[1, 1, 0], [1, -1, 0], [0, 0, 2]])
    atoms.symbols[np.flatnonzero(atoms.symbols == "Sr")[::2]] = "Ca"
    return atoms


SYSTEMS: dict[str, tuple[str, int, Callable[[], list[Atoms]]]] = {
    "Pt10": ("fung2022", 64, lambda: random_atoms("Pt10", 8.0)),
    "Pt40": ("fung2022", 8, lambda: random_atoms("Pt40", 8.0 * 4 ** (1 / 3))),
    "molecule": ("fung2022", 4, lambda: random_atoms("C4H9NO2", 5.5)),
    "smooth": ("default", 8, lambda: random_atoms("C4H9NO2", 5.5)),
    "perovskite": ("crystal", 4, lambda: rattled(perovskite())),
    "mixed": ("crystal", 1, lambda: rattled(mixed_perovskite())),
    "carbon": ("crystal", 4, lambda: rattled(bulk("C") * (3, 1, 1))),
}
"""By name: a preset, how many a CPU core computes together (as measured), and the structures. Pt40
is as dense as Pt10; the molecule has the composition of a large one of QM7, and "smooth" is the
same with another preset; the crystals see all images within 6 Angstrom, six carbon atoms about 160
of them."""


def system(name: str) -> System:
    preset, together, make = SYSTEMS[name]
    return system_of(name, preset, make(), together)


def system_of(name: str, preset: str, variants: list[Atoms], together: int) -> System:
    """A system of these variants, all of one composition; the last one is the target."""
    symbols = variants[0].get_chemical_symbols()
    fingerprint = Fingerprint.preset(preset, sorted(set(symbols)))
    structures = batch(variants, fingerprint)
    centres = neighbor_list("i", variants[0], fingerprint.descriptor.r_cut)
    seen = np.bincount(centres, minlength=len(symbols)).tolist()
    target = jax.jit(fingerprint)(jax.tree.map(lambda leaf: leaf[-1], structures))
    counted = isinstance(fingerprint.descriptor, ACSF)
    problem = Problem.of(fingerprint, symbols, seen) if counted else None
    return System(name, fingerprint, tuple(symbols), structures, target, problem, together)
