"""Judge: energies of given structures by any calculator, to see what they are worth."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from jaxrecon.potentials.calculators import calculator as calculators_of
from jaxrecon.potentials.labels import FAILED, LabelStore, Work, digest, label_piece
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.versions import versions

WORDS = ("judging", "energies")
"""For the progress bar."""
BEFORE = "_before"
"""Ending of the names of what a structure said of itself when it came."""


@dataclass(frozen=True)
class Judgement(Sequence[Atoms]):
    """Structures with what a calculator says of them.

    :func:`~jaxrecon.potentials.judge.judge` asks it, and has an example.

    Energy (eV) and forces (eV/Angstrom) are those of each structure's calculator, ``info`` has
    ``e_form`` in eV/atom, ``judged_by`` and all that it had; energies that came with it are in
    ``energy_before`` and ``e_form_before``. One that could not be computed has ``info["reason"]``
    instead.

    Attributes:
        structures: in order.
        metadata: settings, energies of the reference crystals, versions and failures, as plain
            data for JSON.
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
        """Why structures have no energy, by their position."""
        return {
            number: atoms.info["reason"]
            for number, atoms in enumerate(self.structures)
            if atoms.calc is None
        }

    def __str__(self) -> str:
        energies = [atoms.info["e_form"] for atoms in self.structures if atoms.calc is not None]
        spread = ""
        if energies:
            low, mean, high = np.min(energies), np.mean(energies), np.max(energies)
            spread = f", E_form {low:.3f} to {high:.3f} eV/atom, {mean:.3f} on average"
        name = self.metadata["calculator"]["calculator"]
        return f"{len(energies)} of {len(self)} structures judged by {name}{spread}"


def judge(
    structures: Sequence[Atoms],
    calculator: str,
    *,
    bulk: Mapping[str, float] | None = None,
    jobs: int | None = None,
    store: LabelStore | None = None,
    progress: bool | ProgressFn = False,
) -> Judgement:
    """Energies, forces and energies of formation of structures as they are, without relaxation.

    A structure that repeats along all three axes is a crystal, any other one a free cluster,
    whatever its cell. One at which the calculator fails is counted and skipped.

    Args:
        structures: positions and cells in Angstrom.
        calculator: a name, for :func:`~jaxrecon.potentials.calculators.calculator`.
        bulk: energies of reference crystals in eV/atom that are not to be computed.
        jobs: processes; None for what joblib is set to.
        store: where each energy is kept as soon as it is there, and those of before are found.
        progress: True shows a progress bar; a function is called with the structures and the
            energies since its last call.

    Returns:
        Copies of the structures, in order, with energies in eV and forces in eV/Angstrom.

    Raises:
        ValueError: if there is no such calculator, or it can't compute a reference crystal.
        OSError: if an energy can't be kept.

    >>> from jaxrecon.datasets import prototypes
    >>> cube = judge([prototypes.load("cube")], "emt")[0]
    >>> round(cube.info["e_form"], 2)
    1.72
    """
    calculators = calculators_of(calculator)
    started = time.perf_counter()
    description = {
        "task": "judge",
        "structures": [len(structures), digest(structures)],
        "calculator": calculators.settings,
        "bulk": dict(bulk or {}),
        "versions": {**versions(), **calculators.versions},
    }
    symbols = {symbol for atoms in structures for symbol in atoms.symbols}
    names = [f"structure-{number}" for number in range(len(structures))]
    with reporter(progress, len(names), *WORDS) as report:
        work = Work(description, store, jobs)
        report(sum(name in work.done for name in names), 0)
        references = work.bulk_energies(symbols, calculators, bulk)
        calls = [
            (name, atoms, calculator, references, {"kind": "judged", "number": number})
            for number, (name, atoms) in enumerate(zip(names, structures, strict=True))
        ]
        work(label_piece, calls, lambda _: report(1, 1))
    judged = [
        _judged(atoms, work.done[name][0], calculator)
        for atoms, name in zip(structures, names, strict=True)
    ]
    metadata = {
        "calculator": calculators.settings,
        "bulk_energies": references,
        "seconds": time.perf_counter() - started,
        "versions": description["versions"],
    }
    found = Judgement(judged, metadata)
    metadata["failures"] = {str(number): reason for number, reason in found.failures.items()}
    return found


def _judged(original: Atoms, found: Atoms, calculator: str) -> Atoms:
    """The original with what was found, and what it said before under other names."""
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
    energy, forces = float(found.get_potential_energy()), found.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info["e_form"] = float(found.info["e_form"])
    return atoms
