"""Structures in the forms in which users have them: ASE's, pymatgen's, or in files."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers

from jaxrecon.runtime.messages import shortened
from jaxrecon.structures.io import ISOTOPES, read_structures
from jaxrecon.structures.structure import Structure, to_ase

Structures = Atoms | Structure | str | os.PathLike[str] | Sequence[Any]
"""One structure or several: of ASE, pymatgen or jaxrecon, or the names of files of structures."""

FORMS = "ASE Atoms, pymatgen Structures or names of files"


def as_structures(structures: Structures) -> list[Atoms]:
    """Bring structures into the form of ASE.

    Args:
        structures: one structure of ASE, of pymatgen (periodic or a molecule) or of jaxrecon, the
            name of a file or folder for :func:`~jaxrecon.structures.io.read_structures`, or several
            of these.

    Returns:
        The structures in order; those of ASE are the same objects.

    Raises:
        ValueError: if it is something else, a structure of pymatgen has sites that several elements
            share, or a file can't be read.
        FileNotFoundError: if a file does not exist.

    >>> from pymatgen.core import Lattice, Structure
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"],
    ...                                  [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> [str(atoms.symbols) for atoms in as_structures([salt, Atoms("Pt3")])]
    ['Na4Cl4', 'Pt3']
    """
    if isinstance(structures, Atoms | Structure) or _is_of_pymatgen(structures):
        return [as_atoms(structures)]
    if isinstance(structures, str | os.PathLike):
        return read_structures(structures)
    if not isinstance(structures, Iterable) or isinstance(structures, dict | bytes):
        raise ValueError(f"expected structures as {FORMS}, got {_described(structures)}")
    found: list[Atoms] = []
    for item in structures:
        if isinstance(item, str | os.PathLike):
            found += read_structures(item)
        else:
            found.append(as_atoms(item))
    return found


def as_atoms(structure: Any) -> Atoms:
    """Bring one structure into the form of ASE.

    Args:
        structure: a structure of ASE, pymatgen or jaxrecon.

    Returns:
        The structure; one of ASE is the same object.

    Raises:
        ValueError: as :func:`as_structures`, or if it is the name of a file, which may have several
            structures.
    """
    if isinstance(structure, Atoms):
        return structure
    if _is_of_pymatgen(structure):
        return _from_pymatgen(structure)
    if isinstance(structure, Structure) and structure.species.ndim == 1:
        return to_ase(structure)
    if isinstance(structure, str | os.PathLike):
        raise ValueError(
            f"expected one structure, got the name of a file, {os.fspath(structure)!r}: read it by "
            "jaxrecon.structures.io.read_structures"
        )
    raise ValueError(
        f"expected a structure as ASE Atoms or of pymatgen, got {_described(structure)}"
    )


def _is_of_pymatgen(structure: object) -> bool:
    """Whether it is a structure or a molecule of pymatgen, which is not imported for that."""
    module = type(structure).__module__
    return module.partition(".")[0] == "pymatgen" and hasattr(structure, "sites")


def _from_pymatgen(structure: Any) -> Atoms:
    """Convert a structure or a molecule of pymatgen, all of whose sites must have one element."""
    if not structure.is_ordered:
        site = next(site for site in structure if not site.is_ordered)
        raise ValueError(
            f"expected full occupancies, got {site.species_string}: order the structure first, for "
            "instance by pymatgen's OrderDisorderedStructureTransformation"
        )
    symbols = [site.specie.symbol for site in structure]
    numbers = [ISOTOPES.get(symbol, atomic_numbers.get(symbol, 0)) for symbol in symbols]
    if not all(numbers):
        raise ValueError(
            f"expected a structure of chemical elements, got {symbols[numbers.index(0)]!r}"
        )
    periodic = hasattr(structure, "lattice")
    return Atoms(
        numbers,
        structure.cart_coords,
        cell=structure.lattice.matrix if periodic else None,
        pbc=structure.lattice.pbc if periodic else False,
    )


def as_pymatgen(crystal: Atoms) -> Any:
    """Convert a crystal of ASE to a Structure of pymatgen; atoms stay where they are.

    Args:
        crystal: a structure that is periodic along three axes; positions and cell in Angstrom.

    Returns:
        The Structure, in the same units and order.
    """
    from pymatgen.core.structure import Structure

    places = crystal.get_scaled_positions(wrap=False)
    return Structure(crystal.cell.array, crystal.symbols, places)


def _described(item: object) -> str:
    """Type and text of an object, for messages."""
    return f"{type(item).__name__} {shortened(repr(item), 60)}"
