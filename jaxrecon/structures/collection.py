"""Structures of any compositions, in which duplicates of a structure are found."""

from collections.abc import Iterable

from ase import Atoms

from jaxrecon.structures.compare import match
from jaxrecon.structures.duplicates import Library


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
        self._libraries: dict[tuple[int, ...], tuple[Library, list[int]]] = {}
        self._crystals: dict[str, list[tuple[int, Atoms]]] = {}
        self._count = 0
        for atoms in structures:
            self.add(atoms)

    def add(self, atoms: Atoms) -> None:
        """Append a structure.

        Args:
            atoms: the structure, free or a crystal; positions and cell in Angstrom.
        """
        if atoms.pbc.any():
            self._crystals.setdefault(_reduced(atoms), []).append((self._count, atoms))
        else:
            key = tuple(sorted(atoms.numbers.tolist()))
            library, places = self._libraries.setdefault(key, (Library(), []))
            library.add(atoms)
            places.append(self._count)
        self._count += 1

    def find(self, atoms: Atoms) -> int | None:
        """Find a structure that is the same.

        Args:
            atoms: the structure to look for; positions and cell in Angstrom.

        Returns:
            The number of that structure, in the order in which they were added; None for none.
        """
        if atoms.pbc.any():
            near = self._crystals.get(_reduced(atoms), [])
            return next((number for number, other in near if match(other, atoms).loose), None)
        key = tuple(sorted(atoms.numbers.tolist()))
        if key not in self._libraries:
            return None
        library, places = self._libraries[key]
        same = library.find(atoms)
        return None if same is None else places[same]


def _reduced(atoms: Atoms) -> str:
    """The reduced formula."""
    return str(atoms.symbols.formula.reduce()[0].convert("hill"))
