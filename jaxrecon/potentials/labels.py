"""Labels of many structures: pieces of work on several processes, each committed to a database."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from jaxrecon.potentials.base import Label
from jaxrecon.potentials.energies import formation_energy, label, relaxed_bulk
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.parallel import unordered
from jaxrecon.runtime.run_store import Row, RunStore

FAILED = "failed"
"""``info["kind"]`` of a structure without a label; ``info["reason"]`` has the cause."""

Piece = tuple[str, list[Atoms]]
"""A piece of work: its name, and the structures that it made, at least one."""


class LabelStore(RunStore[str, list[Atoms]]):
    """Labelled structures of one run in an ASE database, committed piece by piece.

    Energy and forces are stored as those of each structure's calculator; numbers and words in its
    ``info`` are key-value pairs of its row, for ``ase db`` to select by.
    :class:`~jaxrecon.runtime.run_store.RunStore` documents the arguments and the guarantees.
    """

    PIECE = "piece"
    LIMITS = ("size", "relaxing.steps")

    def _rows(self, value: list[Atoms]) -> list[Row]:
        rows = []
        for atoms in value:
            pairs = dict(atoms.info)
            # A reason may be any text, which ASE does not take as a word to select by.
            reason = pairs.pop("reason", None)
            data = {} if reason is None else {"reason": reason}
            # Nor have its databases a column for the energies of atoms.
            if atoms.calc is not None and "energies" in atoms.calc.results:
                data["energies"] = atoms.calc.results["energies"]
            rows.append(Row(atoms, pairs, data))
        return rows

    def _value(self, rows: list[Row]) -> list[Atoms]:
        structures = []
        for atoms, pairs, data in rows:
            energies = data.pop("energies", None)
            atoms.info = {**pairs, **data}
            if atoms.info["kind"] != FAILED:
                # A row whose label was removed by hand raises here, not in the middle of the run.
                atoms.calc.get_property("energy", atoms, allow_calculation=False)
            if energies is not None:
                atoms.calc.results["energies"] = np.asarray(energies, np.float64)
            structures.append(atoms)
        return structures

    def _same(self, key: str, value: list[Atoms], known: dict[str, Any], more: set[str]) -> bool:
        """Whether a piece of a larger set is the same."""
        if key.startswith("bulk-"):
            return True
        # The parents of perturbed copies are the lowest of all relaxed structures.
        if key.startswith("copy-"):
            return False
        unrelaxed = any(atoms.info["kind"] == "unrelaxed" for atoms in value)
        return not (unrelaxed and "relaxing.steps" in more)


def labelled(atoms: Atoms, known: Label, **info: Any) -> Atoms:
    """Copy a structure with its label and nothing else that it carried.

    Args:
        atoms: the structure.
        known: its energy and forces.
        **info: entries for the ``info`` of the copy.

    Returns:
        The copy, with the label as the results of its calculator.
    """
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=info)
    results = {name: value for name, value in known._asdict().items() if value is not None}
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def failed(atoms: Atoms, error: Exception, **info: Any) -> Atoms:
    """Copy a structure that could not be labelled, with the reason.

    Args:
        atoms: the structure.
        error: the exception that was raised.
        **info: entries for the ``info`` of the copy.

    Returns:
        The copy, without a calculator, its ``kind`` ``"failed"``.
    """
    # One line, as messages and tables need it.
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    about = {**info, "kind": FAILED, "reason": reason}
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=about)


def label_piece(
    name: str, atoms: Atoms, calculator: str, bulk: Mapping[str, float], info: dict[str, Any]
) -> Piece:
    """Label one structure, as a piece of work.

    Args:
        name: name of the piece.
        atoms: the structure.
        calculator: name of the reference calculator.
        bulk: energies of the elements in eV/atom.
        info: entries for the ``info`` of the result.

    Returns:
        The name, and the structure with its label and ``e_form`` in eV/atom, or with the reason why
        the calculator failed.
    """
    try:
        known: Label | Exception = label(atoms, reference_calculator(calculator))
    # Calculators raise different exceptions, and one failure must not cost the other structures.
    except Exception as error:
        known = error
    return _labelled_piece(known, name, atoms, bulk, info)


def label_pieces(calls: Sequence[tuple[Any, ...]]) -> Generator[Piece, None, None]:
    """Label many structures by a calculator that computes them together.

    Args:
        calls: arguments of :func:`label_piece`, all with the same calculator, whose ``many`` is
            set.

    Yields:
        The pieces as :func:`label_piece` returns them, in the order in which they are computed.
    """
    reference = reference_calculator(calls[0][2])
    for number, known in reference.label_many([atoms for _, atoms, *_ in calls]):
        name, atoms, _, bulk, info = calls[number]
        yield _labelled_piece(known, name, atoms, bulk, info)


def _labelled_piece(
    known: Label | Exception,
    name: str,
    atoms: Atoms,
    bulk: Mapping[str, float],
    info: dict[str, Any],
) -> Piece:
    """A piece with the label of a structure, or with the reason why it has none."""
    try:
        if isinstance(known, Exception):
            raise known
        e_form = formation_energy(known.energy, atoms.symbols, bulk)
        return name, [labelled(atoms, known, **info, e_form=e_form)]
    except Exception as error:
        return name, [failed(atoms, error, **info)]


def bulk_piece(name: str, symbol: str, calculator: str) -> Piece:
    """Relax the reference crystal of an element, as a piece of work.

    Args:
        name: name of the piece.
        symbol: the element.
        calculator: name of the reference calculator.

    Returns:
        The name, and the crystal with its energy.

    Raises:
        ValueError: if the crystal can't be computed; no formation energy can be had without it.
    """
    atoms, energy = relaxed_bulk(symbol, reference_calculator(calculator))
    return name, [labelled(atoms, Label(energy, np.zeros((len(atoms), 3))), kind="bulk")]


class Work:
    """The pieces of a run: those that a store has already, and the way to make the others.

    Attributes:
        done: structures of the finished pieces, by the name of the piece.

    Args:
        description: everything that decides the results, as plain data.
        store: database to which every piece is committed as soon as it is finished; None for none.
        jobs: number of processes, as for :func:`~jaxrecon.runtime.parallel.unordered`.
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
        together: Callable[[Sequence[tuple[Any, ...]]], Generator[Piece, None, None]] | None = None,
    ) -> None:
        """Make the pieces that are not done yet.

        Args:
            function: makes a piece.
            calls: arguments of the function, piece by piece; the first is the name of the piece.
            ended: called with the structures of each piece once it is committed; an exception that
                it raises ends the work.
            together: makes many pieces in this process, in place of the function, where the
                calculator computes many structures together; None for labels.
        """
        missing = [call for call in calls if call[0] not in self.done]
        if not missing:
            return
        if together is None and function is label_piece:
            together = label_pieces if reference_calculator(missing[0][2]).many else None
        if together is not None:
            made = together(missing)
        else:
            made = unordered(function, missing, self._jobs)
        # Closing stops the processes when `ended` raises; they would go on until the generator is
        # garbage.
        with closing(made) as pieces:
            self.keep(pieces, ended)

    def keep(
        self, pieces: Iterable[Piece], ended: Callable[[list[Atoms]], None] | None = None
    ) -> None:
        """Commit pieces one after the other, as they are made.

        Args:
            pieces: the pieces.
            ended: as above.
        """
        for name, structures in pieces:
            if self._store is not None:
                self._store.commit(name, structures)
            self.done[name] = structures
            if ended is not None:
                ended(structures)

    def bulk_energies(
        self, symbols: Iterable[str], calculator: str, known: Mapping[str, float] | None
    ) -> dict[str, float]:
        """Compute the energies of the reference crystals that are not known yet.

        Args:
            symbols: elements whose energies are needed.
            calculator: name of the reference calculator.
            known: energies in eV/atom that need no calculation.

        Returns:
            Energies in eV/atom by element, the known ones included.
        """
        energies = dict(known or {})
        wanted = sorted(set(symbols) - set(energies))
        self(bulk_piece, [(f"bulk-{symbol}", symbol, calculator) for symbol in wanted])
        for symbol in wanted:
            [crystal] = self.done[f"bulk-{symbol}"]
            energies[symbol] = float(crystal.get_potential_energy()) / len(crystal)
        return energies


def digest(structures: Sequence[Atoms]) -> str:
    """Hash elements, positions, cells and periodicity, to tell whether structures are the same.

    Args:
        structures: in order.

    Returns:
        A SHA-256 digest in hexadecimal; any change of a bit gives another one.
    """
    hashed = hashlib.sha256()
    for atoms in structures:
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()
