"""The smallest cell of a crystal."""

import numpy as np
from ase import Atoms

from jaxrecon.structures.inputs import as_pymatgen

TOLERANCE = 0.05
"""Largest distance in Angstrom of an atom and the image of another that count as the same."""


def primitive(atoms: Atoms) -> Atoms:
    """Find the primitive cell of a crystal, with the shortest lattice vectors.

    Its lattice has all translations that map every atom onto one of its element, to 0.05 Angstrom.
    They are found by pymatgen.

    Args:
        atoms: a structure; positions and cell in Angstrom.

    Returns:
        The same structure in its primitive cell; the structure itself where it is not periodic, or
        where its cell is the smallest.

    >>> from ase.build import bulk
    >>> len(primitive(bulk("NaCl", "rocksalt", a=5.6, cubic=True)))
    2
    """
    if not atoms.pbc.all() or len(atoms) == 1 or not np.isfinite(atoms.positions).all():
        return atoms
    from ase.geometry import minkowski_reduce

    small = as_pymatgen(atoms).get_primitive_structure(tolerance=TOLERANCE)
    if len(small) == len(atoms):
        return atoms
    cell = np.asarray(minkowski_reduce(np.array(small.lattice.matrix))[0])
    if np.linalg.det(cell) < 0.0:
        cell = -cell
    symbols = [site.specie.symbol for site in small]
    found = Atoms(symbols, small.cart_coords, cell=cell, pbc=True)
    found.info = dict(atoms.info)
    return found
