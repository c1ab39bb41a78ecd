"""Compact clusters of one element, made here: minima of effective medium theory in ASE.

For Pt and Cu and each size the starts are the icosahedron, decahedron and octahedron of ase.cluster
(the smallest that has enough atoms, from which the least bound ones are taken away one by one) and
random compact clusters. All are relaxed. Kept are the lowest minimum, and the lowest other one of
a random start: the first is mostly symmetric, the second hardly ever.
"""

from itertools import count, islice

from ase import Atoms
from ase.calculators.emt import EMT
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.optimize import FIRE

from jaxrecon.datasets import clusters
from jaxrecon.structures import matching

ELEMENTS = ("Pt", "Cu")
SIZES = (13, 20, 38, 55)
STARTS = 6
"""Random ones of each element and size, with seeds 0, 1, ...; more if all lead to one minimum."""

FORCE = 2e-3
"""Largest force in a minimum, eV/Angstrom."""

SAME = 0.05
"""Angstrom: minima that are nearer are one."""

SHAPES = {
    "icosahedron": [(Icosahedron, (shells,)) for shells in (2, 3)],
    "decahedron": [(Decahedron, sizes) for sizes in ((2, 2, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0))],
    "octahedron": [(Octahedron, sizes) for sizes in ((3, 1), (4, 0), (4, 1), (5, 2))],
}
"""Arguments for ase.cluster."""


def compact(element: str, size: int) -> dict[str, Atoms]:
    """Two minima of so many atoms, by the start that led to them: the lowest, and a random one."""
    symbols, seeds = f"{element}{size}", count()
    minima = {name: _relaxed(_cut(name, element, size)) for name in SHAPES}
    others: list[str] = []
    while not others:
        for seed in islice(seeds, STARTS):
            minima[f"random {seed}"] = _relaxed(clusters.relaxed(symbols, seed))
        order = sorted(minima, key=lambda name: minima[name].info["energy"])
        lowest = minima[order[0]]
        others = [
            name
            for name in order
            if name.startswith("random") and matching.rmsd(lowest, minima[name]) > SAME
        ]
    return {name: minima[name] for name in (order[0], others[0])}


def _cut(name: str, element: str, size: int) -> Atoms:
    """The smallest of these shapes with enough atoms, less those that are bound least."""
    made = (Atoms(make(element, *sizes)) for make, sizes in SHAPES[name])
    atoms = min((each for each in made if len(each) >= size), key=len)
    atoms.pbc = False
    while len(atoms) > size:
        atoms.calc = EMT()
        del atoms[int(atoms.get_potential_energies().argmax())]
    return atoms


def _relaxed(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = EMT()
    FIRE(atoms, logfile=None).run(fmax=FORCE, steps=1000)
    atoms.info["energy"] = float(atoms.get_potential_energy())
    atoms.calc = None
    atoms.set_cell(None)
    return atoms
