"""Free clusters made on the spot: random atoms relaxed under a potential that comes with ASE."""

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from jaxrecon.compositions import composition_of


def relaxed(symbols: str, seed: int = 0, *, steps: int = 200) -> Atoms:
    """A compact cluster: random positions relaxed under effective medium theory by FIRE.

    Source of the potential: Jacobsen, Stoltze and Norskov, Surf. Sci. 366, 394 (1996), in ASE; it
    knows H, C, N, O, Al, Ni, Cu, Pd, Ag, Pt and Au, and is meant for the metals.

    Args:
        symbols: formula, like ``"Pt10"``.
        seed: of the random start.
        steps: relaxation steps at most.

    Raises:
        ValueError: if the formula can't be read, or the potential does not know an element.

    >>> cluster = relaxed("Pt4", seed=1)
    >>> cluster.get_chemical_formula(), bool(2.4 < cluster.get_distance(0, 1) < 2.8)
    ('Pt4', True)
    """
    from ase.calculators.emt import EMT, parameters
    from ase.optimize import FIRE

    composition = composition_of(symbols)
    foreign = sorted(set(composition) - set(parameters))
    if foreign:
        raise ValueError(f"expected elements among {sorted(parameters)}, got {foreign}")
    atoms = Atoms(composition, positions=_spread(composition, np.random.default_rng(seed)))
    atoms.calc = EMT()
    FIRE(atoms, logfile=None).run(fmax=0.02, steps=steps)
    atoms.calc = None
    atoms.positions -= atoms.positions.mean(axis=0)
    return atoms


def _spread(composition: tuple[str, ...], random: np.random.Generator) -> np.ndarray:
    """Each atom at the candidate site that is farthest from those placed already, in a cube."""
    radii = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in composition])
    edge = (np.sum(4.0 / 3.0 * np.pi * radii**3) / 0.6) ** (1.0 / 3.0)
    placed = edge * random.random((1, 3))
    for _ in composition[1:]:
        sites = edge * random.random((20, 3))
        distances = np.linalg.norm(sites[:, None] - placed[None], axis=-1).min(axis=1)
        placed = np.concatenate([placed, sites[[distances.argmax()]]])
    return placed
