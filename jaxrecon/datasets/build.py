"""Build: a labelled set of clusters from nothing, with any reference calculator."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.datasets.perturbations import perturbed as perturbed_copy
from jaxrecon.datasets.relaxations import Relaxing, relaxation, relaxations
from jaxrecon.datasets.sampling import distinct
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.potentials.labels import LabelStore, Piece, Work, label_piece
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.formulas import composition_of

WORDS = ("building", "energies")
"""Title and unit of the progress bar."""
PRESET = "default"
"""Fingerprint by which duplicates are found."""
TOLERANCE = 0.005
"""Root mean square difference of two fingerprints below which structures count as the same.

It is relative to the root mean square of all fingerprints. One minimum of Pt10 relaxed to 0.05 and
to 0.005 eV/Angstrom differs by less than that, copies rattled by 0.02 Angstrom differ by 0.012 in
the median.
"""
LOW = 0.25
"""Fraction of the relaxed structures, the lowest ones, that have perturbed copies."""
LEAST_YIELD, ENOUGH = 0.05, 20
"""Structures per piece below which work ends, and pieces that such an estimate needs."""
RELAXED, COPIED = 0, 1
"""Purposes of random numbers: relaxations and copies never have the same seed."""


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

    Random clusters are relaxed, and their minima enter the set with structures on the way there.
    Copies of the lowest quarter are then rattled, distorted and strained, because relaxations say
    nothing about the other directions around a minimum. Of structures with equal fingerprints only
    the first enters. The arguments before ``jobs`` alone decide the set: the number of processes,
    interruptions, and the order in which pieces of work end don't matter.

    Args:
        symbols: formula, like ``"Pt10"``.
        size: number of structures wanted; the set is smaller if no more different ones are found.
        calculator: name for :func:`~jaxrecon.potentials.registry.reference_calculator`.
        seed: seed of the random numbers.
        perturbed: fraction of the structures that are perturbed copies.
        max_e_form: highest formation energy in eV/atom of a structure in the set.
        steps: largest number of steps of a relaxation.
        bulk: energies of reference crystals in eV/atom; those of other elements are computed.
        jobs: number of processes; None for joblib's setting.
        store: database to which every relaxation and every copy is committed as soon as it is
            finished, and from which an interrupted run is resumed.
        progress: True shows a progress bar; a function is called with the numbers of structures
            (negative if some turn out to be duplicates) and of energies since its last call.

    Returns:
        Relaxed structures by trajectory, then copies, with the trajectory of their parent.

    Raises:
        ValueError: if an argument is out of range, no calculator has this name, it can't compute a
            reference crystal, or no structure has a low energy.
        OSError: if a structure can't be written to the store.

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
    seed = checked_seed(seed)
    reference = reference_calculator(calculator)
    settings = Relaxing(steps=steps, max_e_form=max_e_form)
    fingerprint = Fingerprint.preset(PRESET, composition)
    # A store refuses to resume a run whose description differs.
    description = {
        "task": "build",
        "symbols": symbols,
        "size": size,
        "calculator": reference.settings,
        "seed": seed,
        "perturbed": perturbed,
        "relaxing": asdict(settings),
        "bulk": dict(bulk or {}),
        "fingerprint": fingerprint.to_dict(),
        "tolerance": TOLERANCE,
        "low": LOW,
        "versions": {**versions(), **reference.versions},
    }
    copies = round(perturbed * size)
    with reporter(progress, size, *WORDS) as report:
        work = Work(description, store, jobs)
        bulk_energies = work.bulk_energies(composition, calculator, bulk)
        collection = _Collection(work, fingerprint, max_e_form, report)

        def relax(number: int) -> tuple[Any, ...]:
            seeded = _seed(seed, RELAXED, number)
            name = f"trajectory-{number}"
            return name, symbols, number, seeded, calculator, bulk_energies, settings

        relaxed = collection.collect(
            size - copies,
            "trajectories",
            relaxation,
            relax,
            settings.frames,
            relaxations if reference.many else None,
        )
        if not relaxed:
            raise ValueError(
                f"expected structures below {max_e_form} eV/atom, got none: "
                f"{collection.complaint()}"
            )
        parents = sorted(relaxed, key=lambda atoms: atoms.info["e_form"])
        parents = parents[: math.ceil(LOW * len(parents))]

        def copy(number: int) -> tuple[Any, ...]:
            parent = parents[number % len(parents)]
            atoms = perturbed_copy(parent, _seed(seed, COPIED, number))
            about = {"kind": atoms.info["kind"], "trajectory": parent.info["trajectory"]}
            return f"copy-{number}", atoms, calculator, bulk_energies, about

        # If relaxations gave fewer structures than wanted, copies keep their fraction.
        wanted = min(copies, round(len(relaxed) * perturbed / (1.0 - perturbed)))
        structures = relaxed + collection.collect(wanted, "copies", label_piece, copy, 1.0)
    metadata = {**description, "bulk_energies": bulk_energies, **collection.metadata()}
    return _as_set(structures, metadata)


class _Collection:
    """Different structures of low energy, from pieces of work in the order of their numbers."""

    def __init__(
        self, work: Work, fingerprint: Fingerprint, max_e_form: float, report: ProgressFn
    ) -> None:
        self._work, self._fingerprint = work, fingerprint
        self._max_e_form, self._report = max_e_form, report
        self._structures: list[Atoms] = []
        self._fingerprints = np.zeros((0, fingerprint.size))
        self._unit = 0.0
        self._counts: Counter[str] = Counter()
        self._failures: dict[str, str] = {}

    def collect(
        self,
        wanted: int,
        title: str,
        function: Callable[..., Piece],
        call: Callable[[int], tuple[Any, ...]],
        expected: float,
        together: Callable[..., Generator[Piece, None, None]] | None = None,
    ) -> list[Atoms]:
        """Do pieces 0, 1, 2, ... until enough structures are found or pieces give no more.

        The number of pieces in a round depends on the yield of the rounds before, not on the
        processes. The set therefore doesn't depend on them either, and a resumed run repeats
        nothing.

        Args:
            wanted: number of structures.
            title: name under which the pieces are counted.
            function: makes a piece.
            call: returns the arguments of the function for the number of a piece.
            expected: structures that a piece gives, as a first guess.
            together: makes many pieces in place of the function, as for
                :class:`~jaxrecon.potentials.labels.Work`.

        Returns:
            The new structures, at most as many as are wanted.
        """
        before, number, missing = len(self._structures), 0, wanted
        while missing > 0:
            # A low yield asks for many pieces: never for more than have been done already.
            count = min(math.ceil(missing / expected), number or sys.maxsize)
            calls = [call(number + further) for further in range(count)]
            new = self._do(function, calls, together)
            number += len(calls)
            if len(calls) >= ENOUGH and new < LEAST_YIELD * len(calls):
                break
            expected, missing = max(new, 0.5) / len(calls), missing - new
        self._counts[title] = number
        self._cut(before + wanted)
        return self._structures[before:]

    def metadata(self) -> dict[str, Any]:
        """Return how many structures were computed, failed or left out, and why they failed."""
        return {"counts": dict(self._counts), "failures": self._failures}

    def complaint(self) -> str:
        """Say how many structures were computed, and the first reason for a failure."""
        reasons = list(self._failures.values())
        computed = f"{self._counts['structures']} were higher, {self._counts['failed']} failed"
        return f"{computed} ({reasons[0]})" if reasons else computed

    def _do(
        self,
        function: Callable[..., Piece],
        calls: list[tuple[Any, ...]],
        together: Callable[..., Generator[Piece, None, None]] | None,
    ) -> int:
        """Do some pieces, collect the new structures in them, and return their number."""
        # Structures of a resumed run count at once, the others as soon as their piece is finished.
        reported = sum(len(self._low(self._work.done.get(name, []))) for name, *_ in calls)
        self._report(reported, 0)

        def ended(structures: list[Atoms]) -> None:
            nonlocal reported
            low = len(self._low(structures))
            reported += low
            self._report(low, 1 + max(atoms.info.get("step", 0) for atoms in structures))

        self._work(function, calls, ended, together)
        # In the order of the calls, in whatever order they have ended.
        found = []
        for name, *_ in calls:
            structures = self._work.done[name]
            reasons = [atoms.info["reason"] for atoms in structures if atoms.calc is None]
            self._failures.update(dict.fromkeys([name] if reasons else [], "; ".join(reasons)))
            found += self._low(structures)
            self._counts["structures"] += len(structures) - len(reasons)
            self._counts["failed"] += len(reasons)
        new = self._different(found)
        self._counts["duplicates"] += len(found) - len(new)
        self._structures += new
        # Duplicates were reported as structures: they are taken back.
        self._report(len(new) - reported, 0)
        return len(new)

    def _low(self, structures: list[Atoms]) -> list[Atoms]:
        """Return the structures that have a low energy."""
        return [
            atoms
            for atoms in structures
            if atoms.calc is not None and atoms.info["e_form"] <= self._max_e_form
        ]

    def _different(self, found: list[Atoms]) -> list[Atoms]:
        """Return the structures that are like none before them, collected or found."""
        if not found:
            return []
        known = len(self._fingerprints)
        values = np.concatenate([self._fingerprints, featurize(found, self._fingerprint)])
        # The first structures set the unit, so that later ones don't change which are the same.
        self._unit = self._unit or float(np.sqrt(np.mean(values**2)))
        new = [row for row in distinct(values, TOLERANCE * self._unit).tolist() if row >= known]
        self._fingerprints = np.concatenate([self._fingerprints, values[new]])
        return [found[row - known] for row in new]

    def _cut(self, size: int) -> None:
        """Leave out structures beyond a number."""
        surplus = max(len(self._structures) - size, 0)
        self._counts["surplus"] += surplus
        if surplus:
            del self._structures[size:]
            self._fingerprints = self._fingerprints[:size]
            self._report(-surplus, 0)


def _seed(seed: int, purpose: int, number: int) -> int:
    """Derive the seed of one piece, which no other piece or purpose has."""
    return int(np.random.SeedSequence([seed, purpose, number]).generate_state(1)[0])


def _as_set(structures: list[Atoms], metadata: dict[str, Any]) -> LabelledSet:
    """Collect the labels of the structures into a set."""
    return LabelledSet.of(
        [Atoms(atoms.numbers, atoms.positions) for atoms in structures],
        energies=[atoms.get_potential_energy() for atoms in structures],
        formation_energies=[atoms.info["e_form"] for atoms in structures],
        trajectories=[atoms.info["trajectory"] for atoms in structures],
        kinds=[atoms.info["kind"] for atoms in structures],
        forces=[atoms.get_forces() for atoms in structures],
        metadata=metadata,
    )
