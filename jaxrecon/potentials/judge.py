"""Judge: energies of given structures by a reference calculator."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from jaxrecon.potentials.labels import FAILED, LabelStore, Work, digest, label_piece
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.inputs import Structures, as_structures

WORDS = ("judging", "energies")
"""Title and unit of the progress bar."""
BEFORE = "_before"
"""Suffix of the names in ``info`` under which labels that a structure came with are kept."""


@dataclass(frozen=True)
class Judgement(Sequence[Atoms]):
    """The result of :func:`~jaxrecon.potentials.judge.judge`: structures with their energies.

    Energy (eV) and forces (eV/Angstrom) are the results of each structure's calculator, and so are
    the ``energies`` of its atoms (eV) if the reference calculator has them. Its ``info`` has
    ``e_form`` in eV/atom, ``judged_by``, and everything that it had before; energies that the
    structure came with are in ``energy_before`` and ``e_form_before``. A structure that could not
    be computed has ``info["reason"]`` instead.

    Attributes:
        structures: copies of the structures, in order.
        metadata: settings, energies of the reference crystals, versions and failures, as plain data
            for JSON.
    """

    structures: list[Atoms]
    metadata: dict[str, Any]

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        return self.structures[index]

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def failures(self) -> dict[int, str]:
        """Reasons why structures have no energy, by position."""
        return {
            number: atoms.info["reason"]
            for number, atoms in enumerate(self.structures)
            if atoms.calc is None
        }

    def __str__(self) -> str:
        energies = [atoms.info["e_form"] for atoms in self.structures if atoms.calc is not None]
        summary = ""
        if energies:
            low, mean, high = np.min(energies), np.mean(energies), np.max(energies)
            summary = f", E_form {low:.3f} to {high:.3f} eV/atom, {mean:.3f} on average"
        name = self.metadata["calculator"]["calculator"]
        return f"{len(energies)} of {len(self)} structures judged by {name}{summary}"


def judge(
    structures: Structures,
    calculator: str,
    *,
    bulk: Mapping[str, float] | None = None,
    jobs: int | None = None,
    store: LabelStore | None = None,
    progress: bool | ProgressFn = False,
) -> Judgement:
    """Compute energies, forces and formation energies of structures without relaxing them.

    A structure that is periodic along all three axes is a crystal; any other one is a free cluster,
    whatever its cell. Structures at which the calculator fails are recorded with the reason.

    Args:
        structures: as for :func:`jaxrecon.featurize`; positions and cells in Angstrom.
        calculator: name for :func:`~jaxrecon.potentials.registry.reference_calculator`.
        bulk: energies of reference crystals in eV/atom; those of other elements are computed.
        jobs: number of processes; None for joblib's setting.
        store: database to which every energy is committed as soon as it is computed, and from which
            an interrupted run is resumed.
        progress: True shows a progress bar; a function is called with the numbers of structures and
            of energies since its last call.

    Returns:
        Copies of the structures, in order, with energies in eV and forces in eV/Angstrom.

    Raises:
        ValueError: if no calculator has this name, or it can't compute a reference crystal.
        OSError: if an energy can't be written to the store.

    >>> judged = judge([Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]])], "emt")
    >>> round(judged[0].info["e_form"], 2)
    1.6
    """
    reference, structures = reference_calculator(calculator), as_structures(structures)
    started = time.perf_counter()
    # A store refuses to resume a run whose description differs.
    description = {
        "task": "judge",
        "structures": [len(structures), digest(structures)],
        "calculator": reference.settings,
        "bulk": dict(bulk or {}),
        "versions": {**versions(), **reference.versions},
    }
    symbols = {symbol for atoms in structures for symbol in atoms.symbols}
    names = [f"structure-{number}" for number in range(len(structures))]
    with reporter(progress, len(names), *WORDS) as report:
        work = Work(description, store, jobs)
        # Structures of a resumed run count as done, but cost no energy.
        report(sum(name in work.done for name in names), 0)
        bulk_energies = work.bulk_energies(symbols, calculator, bulk)
        calls = [
            (name, atoms, calculator, bulk_energies, {"kind": "judged", "number": number})
            for number, (name, atoms) in enumerate(zip(names, structures, strict=True))
        ]
        work(label_piece, calls, lambda _: report(1, 1))
    judged = [
        _judged(atoms, work.done[name][0], calculator)
        for atoms, name in zip(structures, names, strict=True)
    ]
    metadata = {
        "calculator": reference.settings,
        "bulk_energies": bulk_energies,
        "seconds": time.perf_counter() - started,
        "versions": description["versions"],
    }
    judgement = Judgement(judged, metadata)
    metadata["failures"] = {str(number): reason for number, reason in judgement.failures.items()}
    return judgement


def _judged(original: Atoms, found: Atoms, calculator: str) -> Atoms:
    """Copy the original with the new label, and its former labels under other names."""
    atoms = original.copy()
    atoms.info.pop("reason", None)
    atoms.info["judged_by"] = calculator
    if original.calc is not None and "energy" in original.calc.results:
        atoms.info[f"energy{BEFORE}"] = float(original.calc.results["energy"])
    if "e_form" in atoms.info:
        atoms.info[f"e_form{BEFORE}"] = atoms.info.pop("e_form")
    if found.info["kind"] == FAILED:
        atoms.info["reason"] = found.info["reason"]
        return atoms
    known = {"energy": float(found.get_potential_energy()), "forces": found.get_forces()}
    if "energies" in found.calc.results:
        known["energies"] = found.calc.results["energies"]
    atoms.calc = SinglePointCalculator(atoms, **known)
    atoms.info["e_form"] = float(found.info["e_form"])
    return atoms
