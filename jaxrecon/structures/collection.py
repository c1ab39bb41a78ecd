"""Structures of any compositions, in which duplicates of a structure are found."""

from collections.abc import Iterable, Sequence

from ase import Atoms

from jaxrecon.structures.compare import match
from jaxrecon.structures.duplicates import TOLERANCE, Library


class Collection:
    """Structures of any compositions, in which duplicates of a structure are found.

    Free structures are compared as in :class:`~jaxrecon.structures.duplicates.Library`. Crystals
    are compared with those of the same reduced formula: they are the same if they match loosely
    (:mod:`jaxrecon.structures.compare`), so whatever counts as new is clearly another structure.

    Args:
        structures: the first structures; positions and cells in Angstrom.

    >>> pair = Atoms("Pt2", [(0, 0, 0), (0, 0, 2.5)])
    >>> library = Collection([Atoms("PtCu", pair.positions), pair])
    >>> library.find(pair), library.find(Atoms("Pt3", [(0, 0, 0), (2, 0, 0), (4, 0, 0)]))
    (1, None)
    """

    def __init__(self, structures: Iterable[Atoms] = ()) -> None:
        self._crystals: dict[str, list[tuple[int, Atoms]]] = {}
        self._count = 0
        # Libraries of many structures are made at once: each one that is added copies them all.
        groups: dict[tuple[int, ...], list[tuple[int, Atoms]]] = {}
        for atoms in structures:
            if atoms.pbc.any():
                self.add(atoms)
            else:
                groups.setdefault(_composition(atoms), []).append((self._count, atoms))
                self._count += 1
        self._libraries = {
            key: (Library([atoms for _, atoms in some]), [number for number, _ in some])
            for key, some in groups.items()
        }

    def add(self, atoms: Atoms) -> None:
        """Append a structure.

        Args:
            atoms: the structure, free or a crystal; positions and cell in Angstrom.
        """
        if atoms.pbc.any():
            self._crystals.setdefault(_reduced(atoms), []).append((self._count, atoms))
        else:
            library, places = self._libraries.setdefault(_composition(atoms), (Library(), []))
            library.add(atoms)
            places.append(self._count)
        self._count += 1

    def find(self, atoms: Atoms, tolerance: float = TOLERANCE) -> int | None:
        """Find a structure that is the same.

        Args:
            atoms: the structure to look for; positions and cell in Angstrom.
            tolerance: largest deviation of free structures in Angstrom.

        Returns:
            The number of that structure, in the order in which they were added; None for none.
        """
        if atoms.pbc.any():
            near = self._crystals.get(_reduced(atoms), [])
            return next((number for number, other in near if match(other, atoms).loose), None)
        library, places = self._libraries.get(_composition(atoms), (Library(), []))
        same = library.find(atoms, tolerance)
        return None if same is None else places[same]


def duplicates(structures: Sequence[Atoms], tolerance: float = TOLERANCE) -> list[int | None]:
    """Find the structures that are the same as an earlier one.

    Args:
        structures: structures of any compositions; positions and cells in Angstrom.
        tolerance: largest deviation of free structures in Angstrom.

    Returns:
        For each structure the index of an earlier one that is the same, None if it is new.

    >>> pair, longer = (Atoms("Pt2", [(0, 0, 0), (0, 0, z)]) for z in (2.5, 3.0))
    >>> duplicates([pair, longer, pair.copy()])
    [None, None, 0]
    """
    library = Collection()
    numbers: list[int] = []
    found: list[int | None] = []
    for number, atoms in enumerate(structures):
        same = library.find(atoms, tolerance)
        found.append(None if same is None else numbers[same])
        if same is None:
            library.add(atoms)
            numbers.append(number)
    return found


def _composition(atoms: Atoms) -> tuple[int, ...]:
    """The atomic numbers, sorted."""
    return tuple(sorted(atoms.numbers.tolist()))


def _reduced(atoms: Atoms) -> str:
    """The reduced formula."""
    return str(atoms.symbols.formula.reduce()[0].convert("hill"))
