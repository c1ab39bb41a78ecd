"""Build: a set of labelled clusters from nothing, by any calculator."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.datasets.perturbations import perturbed as perturbed_copy
from jaxrecon.datasets.relaxations import Relaxing, relaxation
from jaxrecon.datasets.sampling import distinct
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.potentials.calculators import calculator as calculators_of
from jaxrecon.potentials.labels import LabelStore, Piece, Work, label_piece
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.formulas import composition_of

WORDS = ("building", "energies")
"""For the progress bar."""
PRESET = "default"
TOLERANCE = 0.005
"""Root mean square difference of two fingerprints, by that of all of them from zero, below which
structures are the same.

One minimum of Pt10 relaxed to 0.05 and to 0.005 eV/Angstrom differs by less than that, copies
rattled by 0.02 Angstrom by 0.012 in the median.
"""
LOW = 0.25
"""Part of the relaxed structures, the lowest ones, of which copies are perturbed."""
LEAST_YIELD, ENOUGH = 0.05, 20
"""Structures that pieces have to give on average, and of how many pieces that is to be believed."""
RELAXED, COPIED = 0, 1
"""What random numbers are drawn for."""


def build(
    symbols: str,
    size: int,
    *,
    calculator: str = "emt",
    seed: int = 0,
    perturbed: float = 0.3,
    max_e_form: float = Relaxing.max_e_form,
    steps: int = Relaxing.steps,
    bulk: Mapping[str, float] | None = None,
    jobs: int | None = None,
    store: LabelStore | None = None,
    progress: bool | ProgressFn = False,
) -> LabelledSet:
    """Make clusters, from compact to dissociated, with energies and forces.

    Random clusters are relaxed, and their minima kept with structures on the way there. Then copies
    of the lowest quarter are rattled, distorted and strained, as relaxations hold nothing of what
    is near a minimum in any other direction. Of structures whose fingerprints agree the first one
    is kept. The set depends on what is named before ``jobs`` alone, whatever the processes, the
    interruptions, and the order in which pieces end.

    Args:
        symbols: formula, like ``"Pt10"``.
        size: structures that are wanted; there are fewer if no more different ones turn up.
        calculator: a name, for :func:`~jaxrecon.potentials.calculators.calculator`.
        seed: of the random numbers.
        perturbed: part of the structures that are perturbed copies.
        max_e_form: energy of formation in eV/atom up to which structures are kept.
        steps: of a relaxation at most.
        bulk: energies of reference crystals in eV/atom that are not to be computed.
        jobs: processes; None for what joblib is set to.
        store: where each relaxation and each copy is kept as soon as it is there, and those of
            before are found.
        progress: True shows a progress bar; a function is called with the structures (less than
            none, where they turn out to be duplicates) and the energies since its last call.

    Returns:
        Relaxed structures by trajectory, then copies, with the trajectory of their parent.

    Raises:
        ValueError: if an argument is out of range, there is no such calculator, it can't compute
            a reference crystal, or there is no structure of low energy.
        OSError: if a structure can't be kept.

    >>> clusters = build("Pt3", 8, seed=1)
    >>> len(clusters), clusters.kinds[0]
    (8, 'minimum')
    """
    composition = composition_of(symbols)
    if size < 1:
        raise ValueError(f"expected size >= 1, got {size}")
    if not 0.0 <= perturbed < 1.0:
        raise ValueError(f"expected perturbed >= 0 and < 1, got {perturbed}")
    if steps < 1 or not math.isfinite(max_e_form):
        raise ValueError(f"expected steps >= 1 and finite max_e_form, got {steps}, {max_e_form}")
    calculators = calculators_of(calculator)
    how = Relaxing(steps=steps, max_e_form=max_e_form)
    fingerprint = Fingerprint.preset(PRESET, composition)
    description = {
        "task": "build",
        "symbols": symbols,
        "size": size,
        "calculator": calculators.settings,
        "seed": seed,
        "perturbed": perturbed,
        "relaxing": asdict(how),
        "bulk": dict(bulk or {}),
        "fingerprint": fingerprint.to_dict(),
        "tolerance": TOLERANCE,
        "low": LOW,
        "versions": {**versions(), **calculators.versions},
    }
    copies = round(perturbed * size)
    with reporter(progress, size, *WORDS) as report:
        work = Work(description, store, jobs)
        references = work.bulk_energies(composition, calculators, bulk)
        collected = _Collected(work, fingerprint, max_e_form, report)

        def relax(number: int) -> tuple[Any, ...]:
            seeded = _seed(seed, RELAXED, number)
            name = f"trajectory-{number}"
            return name, symbols, number, seeded, calculator, references, how

        relaxed = collected.until(size - copies, "trajectories", relaxation, relax, how.frames)
        if not relaxed:
            raise ValueError(
                f"expected structures below {max_e_form} eV/atom, got none: {collected.complaint()}"
            )
        parents = sorted(relaxed, key=lambda atoms: atoms.info["e_form"])
        parents = parents[: math.ceil(LOW * len(parents))]

        def copy(number: int) -> tuple[Any, ...]:
            parent = parents[number % len(parents)]
            atoms = perturbed_copy(parent, _seed(seed, COPIED, number))
            about = {"kind": atoms.info["kind"], "trajectory": parent.info["trajectory"]}
            return f"copy-{number}", atoms, calculator, references, about

        # Where relaxations have no more to give, copies do not take their place.
        share = min(copies, round(len(relaxed) * perturbed / (1.0 - perturbed)))
        structures = relaxed + collected.until(share, "copies", label_piece, copy, 1.0)
    return _as_set(structures, {**description, "bulk_energies": references, **collected.metadata()})


class _Collected:
    """Different structures of low energy among those that pieces of work give, in their order."""

    def __init__(
        self, work: Work, fingerprint: Fingerprint, max_e_form: float, report: ProgressFn
    ) -> None:
        self._work, self._fingerprint = work, fingerprint
        self._max_e_form, self._report = max_e_form, report
        self._kept: list[Atoms] = []
        self._values = np.zeros((0, fingerprint.size))
        self._unit = 0.0
        self._counts: Counter[str] = Counter()
        self._failures: dict[str, str] = {}

    def until(
        self,
        wanted: int,
        what: str,
        function: Callable[..., Piece],
        call: Callable[[int], tuple[Any, ...]],
        each: float,
    ) -> list[Atoms]:
        """As many as are wanted, or as pieces 0, 1, 2, ... give before they give no more.

        How many pieces are done before the next look depends on what those before have given, and
        not on the processes: so does the set, and a run that is resumed does nothing twice.

        Args:
            wanted: number of structures.
            what: name of such pieces, to count them by.
            function: makes a piece.
            call: its arguments, by the number of the piece.
            each: structures that a piece is expected to give.
        """
        before, number, missing = len(self._kept), 0, wanted
        while missing > 0:
            # Where little is found, no more than has been done already is risked at a time.
            count = min(math.ceil(missing / each), number or sys.maxsize)
            calls = [call(number + further) for further in range(count)]
            new = self._run(function, calls)
            number += len(calls)
            if len(calls) >= ENOUGH and new < LEAST_YIELD * len(calls):
                break
            each, missing = max(new, 0.5) / len(calls), missing - new
        self._counts[what] = number
        self._cut(before + wanted)
        return self._kept[before:]

    def metadata(self) -> dict[str, Any]:
        """What has become of all that was computed."""
        return {"counts": dict(self._counts), "failures": self._failures}

    def complaint(self) -> str:
        """How many structures were computed, and the first reason why some were not."""
        reasons = list(self._failures.values())
        computed = f"{self._counts['structures']} were higher, {self._counts['failed']} failed"
        return f"{computed} ({reasons[0]})" if reasons else computed

    def _run(self, function: Callable[..., Piece], calls: list[tuple[Any, ...]]) -> int:
        """Do some pieces, keep what is new in them, and say how many structures that are."""
        told = sum(len(self._low(self._work.done.get(name, []))) for name, *_ in calls)
        self._report(told, 0)

        def ended(structures: list[Atoms]) -> None:
            nonlocal told
            low = len(self._low(structures))
            told += low
            self._report(low, 1 + max(atoms.info.get("step", 0) for atoms in structures))

        self._work(function, calls, ended)
        found = []
        for name, *_ in calls:
            structures = self._work.done[name]
            reasons = [atoms.info["reason"] for atoms in structures if atoms.calc is None]
            self._failures.update(dict.fromkeys([name] if reasons else [], "; ".join(reasons)))
            found += self._low(structures)
            self._counts["structures"] += len(structures) - len(reasons)
            self._counts["failed"] += len(reasons)
        kept = self._different(found)
        self._counts["duplicates"] += len(found) - len(kept)
        self._kept += kept
        self._report(len(kept) - told, 0)
        return len(kept)

    def _low(self, structures: list[Atoms]) -> list[Atoms]:
        return [
            atoms
            for atoms in structures
            if atoms.calc is not None and atoms.info["e_form"] <= self._max_e_form
        ]

    def _different(self, found: list[Atoms]) -> list[Atoms]:
        """Those that are like none before, of these and of those that are kept."""
        if not found:
            return []
        known = len(self._values)
        values = np.concatenate([self._values, featurize(found, self._fingerprint)])
        # By the first structures, so that those that come later do not change what is the same.
        self._unit = self._unit or float(np.sqrt(np.mean(values**2)))
        new = [row for row in distinct(values, TOLERANCE * self._unit).tolist() if row >= known]
        self._values = np.concatenate([self._values, values[new]])
        return [found[row - known] for row in new]

    def _cut(self, size: int) -> None:
        surplus = max(len(self._kept) - size, 0)
        self._counts["surplus"] += surplus
        if surplus:
            del self._kept[size:]
            self._values = self._values[:size]
            self._report(-surplus, 0)


def _seed(seed: int, purpose: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, purpose, number]).generate_state(1)[0])


def _as_set(structures: list[Atoms], metadata: dict[str, Any]) -> LabelledSet:
    return LabelledSet.of(
        [Atoms(atoms.numbers, atoms.positions) for atoms in structures],
        energies=[atoms.get_potential_energy() for atoms in structures],
        formation_energies=[atoms.info["e_form"] for atoms in structures],
        trajectories=[atoms.info["trajectory"] for atoms in structures],
        kinds=[atoms.info["kind"] for atoms in structures],
        forces=[atoms.get_forces() for atoms in structures],
        metadata=metadata,
    )
