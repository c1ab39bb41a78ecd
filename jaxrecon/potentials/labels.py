"""Labels: structures with energies and forces, kept in a database piece by piece."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from jaxrecon.potentials.calculators import Calculators, calculator
from jaxrecon.potentials.energies import Label, formation_energy, label, relaxed_bulk
from jaxrecon.runtime.parallel import unordered
from jaxrecon.runtime.run_store import Row, RunStore

FAILED = "failed"
"""Kind of a structure that has no label; ``info["reason"]`` says why."""

Piece = tuple[str, list[Atoms]]
"""Its name, and structures that belong together: one at least."""


class LabelStore(RunStore[str, list[Atoms]]):
    """Labelled structures of one run in an ASE database, committed piece by piece.

    Energy and forces are those of the structure's calculator, numbers and words of its ``info`` are
    keys of its row. See :class:`~jaxrecon.runtime.run_store.RunStore` for the arguments and what is
    promised.
    """

    PIECE = "piece"

    def _rows(self, value: list[Atoms]) -> list[Row]:
        rows = []
        for atoms in value:
            pairs = dict(atoms.info)
            # A reason may be any text, which is no word to select by.
            reason = pairs.pop("reason", None)
            rows.append(Row(atoms, pairs, {} if reason is None else {"reason": reason}))
        return rows

    def _value(self, rows: list[Row]) -> list[Atoms]:
        structures = []
        for atoms, pairs, data in rows:
            atoms.info = {**pairs, **data}
            if atoms.info["kind"] != FAILED:
                # Whoever has changed a row by hand hears of it now.
                atoms.calc.get_property("energy", atoms, allow_calculation=False)
            structures.append(atoms)
        return structures


def labelled(atoms: Atoms, known: Label, **info: Any) -> Atoms:
    """A copy of a structure with its label, and nothing else that it had."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=info)
    copy.calc = SinglePointCalculator(copy, energy=known.energy, forces=known.forces)
    return copy


def failed(atoms: Atoms, error: Exception, **info: Any) -> Atoms:
    """A copy of a structure that could not be labelled, and why."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    about = {**info, "kind": FAILED, "reason": said}
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=about)


def label_piece(
    name: str, atoms: Atoms, calculators: str, bulk: Mapping[str, float], info: dict[str, Any]
) -> Piece:
    """A structure with its label and ``e_form`` in eV/atom, or with the reason why it has none.

    Args:
        name: of the piece.
        atoms: the structure.
        calculators: name of the calculator.
        bulk: energies of the elements in eV/atom.
        info: what else is to be known of it.
    """
    try:
        known = label(atoms, calculator(calculators))
        e_form = formation_energy(known.energy, atoms.symbols, bulk)
        return name, [labelled(atoms, known, **info, e_form=e_form)]
    # Every calculator has its own way to fail, and one structure is not worth all others.
    except Exception as error:
        return name, [failed(atoms, error, **info)]


def bulk_piece(name: str, symbol: str, calculators: str) -> Piece:
    """The reference crystal of an element; raises if it can't be had, as all hangs on it."""
    atoms, energy = relaxed_bulk(symbol, calculator(calculators))
    return name, [labelled(atoms, Label(energy, np.zeros((len(atoms), 3))), kind="bulk")]


class Work:
    """Pieces of a run: those that are kept already, and how the others are made.

    Attributes:
        done: what there is, by name.

    Args:
        description: all that decides the results, as plain data.
        store: where each piece is kept as soon as it is there; None for nowhere.
        jobs: processes, for :func:`~jaxrecon.runtime.parallel.unordered`.
    """

    def __init__(
        self, description: dict[str, Any], store: LabelStore | None, jobs: int | None
    ) -> None:
        self.done: dict[str, list[Atoms]] = {} if store is None else store.begin(description)
        self._store, self._jobs = store, jobs

    def __call__(
        self,
        function: Callable[..., Piece],
        calls: Iterable[tuple[Any, ...]],
        ended: Callable[[list[Atoms]], None] | None = None,
    ) -> None:
        """Make those pieces that are not there.

        Args:
            function: makes one.
            calls: its arguments, of which the first is the name of the piece.
            ended: called with each piece, once it is committed; what it raises ends the work.
        """
        missing = [call for call in calls if call[0] not in self.done]
        if not missing:
            return
        # Closed at once if it is not wanted any more: it would go on until somebody forgets it.
        with closing(unordered(function, missing, self._jobs)) as pieces:
            for name, structures in pieces:
                if self._store is not None:
                    self._store.commit(name, structures)
                self.done[name] = structures
                if ended is not None:
                    ended(structures)

    def bulk_energies(
        self, symbols: Iterable[str], calculators: Calculators, known: Mapping[str, float] | None
    ) -> dict[str, float]:
        """Energies of the reference crystals in eV/atom, but for those that are known."""
        energies = dict(known or {})
        wanted = sorted(set(symbols) - set(energies))
        self(bulk_piece, [(f"bulk-{each}", each, calculators.name) for each in wanted])
        for each in wanted:
            [crystal] = self.done[f"bulk-{each}"]
            energies[each] = float(crystal.get_potential_energy()) / len(crystal)
        return energies


def digest(structures: Sequence[Atoms]) -> str:
    """Of elements, positions and cells, to tell whether structures are the same ones."""
    numbers = hashlib.sha256()
    for atoms in structures:
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            numbers.update(np.ascontiguousarray(array).tobytes())
    return numbers.hexdigest()
