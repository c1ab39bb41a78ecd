"""Quench: melted, quenched and annealed structures with energies of atoms, by any potential in JAX.

The protocol is that of Gardner, Faure Beaulieu and Deringer, Digital Discovery 2, 651 (2023).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
from ase import Atoms, units

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.potentials.base import Label
from jaxrecon.potentials.dynamics import Ensemble, Langevin
from jaxrecon.potentials.energies import formation_energy
from jaxrecon.potentials.in_jax import PotentialReference
from jaxrecon.potentials.labels import LabelStore, Piece, Work, failed, labelled
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.potentials.single_points import rounded
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.bounds import CROWDING, bounds_within
from jaxrecon.structures.formulas import composition_of
from jaxrecon.structures.structure import Bounds, padded

GRAMS = units._amu * 1e3 / 1e-24
"""One atomic mass unit per cubic Angstrom in g/cm3."""

LARGEST = 1e3
"""Force component in eV/Angstrom above which a trajectory counts as exploded."""

JITTER = 0.1
"""Standard deviation of the first positions, in units of the distance of sites."""


@dataclass(frozen=True)
class Quenching:
    """Settings of the trajectories, each of which has a density and a temperature of its own.

    Attributes:
        density: lowest and highest density in g/cm3.
        melt: temperature of the liquid in K.
        cold: temperature in K to which the liquid is quenched.
        anneal: lowest and highest temperature in K at which the solid is annealed.
        timestep: in fs.
        friction: of the Langevin integrator in 1/fs.
        interval: steps from a snapshot to the next one.
        stages: number of snapshots while melted, quenched and annealed.
        together: trajectories that are computed side by side.

    Raises:
        ValueError: if a range or a number is not positive.
    """

    density: tuple[float, float] = (1.0, 3.5)
    melt: float = 9000.0
    cold: float = 300.0
    anneal: tuple[float, float] = (2000.0, 4000.0)
    timestep: float = 1.0
    friction: float = 0.01
    interval: int = 250
    stages: tuple[int, int, int] = (8, 8, 40)
    together: int = 8

    def __post_init__(self) -> None:
        for name in ("density", "anneal"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high < math.inf:
                raise ValueError(f"expected {name} as two positive numbers, got {low}, {high}")
        for name in ("melt", "cold", "timestep", "friction"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} as a positive number, got {getattr(self, name)}")
        if self.interval < 1 or min(self.stages) < 0 or sum(self.stages) < 1 or self.together < 1:
            raise ValueError("expected at least one step, snapshot and trajectory, got fewer")


class _Stretch(NamedTuple):
    """The way from a snapshot to the next one: its kind, and temperatures of the trajectories."""

    kind: str
    first: Any
    last: Any


def quench(
    symbols: str,
    size: int,
    *,
    calculator: str = "tersoff",
    seed: int = 0,
    settings: Quenching | None = None,
    bulk: Mapping[str, float] | None = None,
    store: LabelStore | None = None,
    progress: bool | ProgressFn = False,
) -> LabelledSet:
    """Make periodic structures by molecular dynamics: melted, quenched and annealed.

    A trajectory begins with atoms at random sites of a cube, at a density of its own. It is melted,
    quenched, and annealed at a temperature of its own; snapshots are taken at equal intervals.
    Trajectories are computed side by side on one device, and the arguments before ``bulk`` decide
    them.

    Args:
        symbols: formula of the cell, like ``"C200"``.
        size: number of snapshots.
        calculator: name of a calculator whose potential runs in JAX.
        seed: seed of the random numbers.
        settings: settings of the trajectories; None for the default ones.
        bulk: energies of reference crystals in eV/atom; those of other elements are computed.
        store: database to which every trajectory is committed when it is finished, and from which
            an interrupted run is resumed.
        progress: True shows a progress bar; a function is called with the numbers of snapshots and
            of energies since its last call.

    Returns:
        The snapshots by trajectory, with energies, energies of the atoms and forces; the columns
        ``density`` (g/cm3) and ``temperature`` (K) are those of a snapshot.

    Raises:
        ValueError: if an argument is out of range, the calculator has no potential in JAX or lacks
            an element, or no trajectory succeeds.
        OSError: if a trajectory can't be written to the store.

    >>> few = Quenching(stages=(1, 0, 1), interval=5, together=1)
    >>> made = quench("C8", 2, settings=few, bulk={"C": -7.4})
    >>> made.kinds, made.local_energies[0].shape
    (['melt', 'anneal'], (8,))
    """
    composition, settings = composition_of(symbols), settings or Quenching()
    if size < 1:
        raise ValueError(f"expected size >= 1, got {size}")
    seed = checked_seed(seed)
    reference = reference_calculator(calculator)
    if not isinstance(reference, PotentialReference):
        raise ValueError(
            f"expected a calculator in JAX for molecular dynamics, like tersoff, got {calculator}"
        )
    reference.potential.check_elements(composition)
    description = {
        "task": "quench",
        "symbols": symbols,
        "size": size,
        "calculator": reference.settings,
        "seed": seed,
        "quenching": asdict(settings),
        "bulk": dict(bulk or {}),
        "versions": {**versions(), **reference.versions},
    }
    frames = sum(settings.stages)
    trajectories = math.ceil(size / frames)
    with reporter(progress, trajectories * frames, "quenching", "energies") as report:
        work = Work(description, store, None)
        bulk_energies = work.bulk_energies(composition, calculator, bulk)
        names = [f"trajectory-{number}" for number in range(trajectories)]
        report(frames * sum(name in work.done for name in names), 0)
        for start in range(0, trajectories, settings.together):
            # A group is made as a whole: a trajectory depends on the last digits, and these on the
            # number of trajectories side by side.
            group = names[start : start + settings.together]
            if any(name not in work.done for name in group):
                numbers = range(start, start + settings.together)
                new = sum(name not in work.done for name in group)
                made = _trajectories(
                    composition, numbers, reference, seed, settings, bulk_energies, new, report
                )
                work.keep(piece for piece in made if piece[0] not in work.done)
    structures = [atoms for name in names for atoms in work.done[name]]
    failures = {
        f"trajectory-{atoms.info['trajectory']}": atoms.info["reason"]
        for atoms in structures
        if atoms.calc is None
    }
    structures = [atoms for atoms in structures if atoms.calc is not None][:size]
    if not structures:
        reason = next(iter(failures.values()))
        raise ValueError(f"expected trajectories that do not explode, got none: {reason}")
    return LabelledSet.of(
        [Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True) for atoms in structures],
        energies=[atoms.get_potential_energy() for atoms in structures],
        formation_energies=[atoms.info["e_form"] for atoms in structures],
        trajectories=[atoms.info["trajectory"] for atoms in structures],
        kinds=[atoms.info["kind"] for atoms in structures],
        forces=[atoms.get_forces() for atoms in structures],
        local_energies=[atoms.calc.results["energies"] for atoms in structures],
        columns={
            name: np.array([atoms.info[name] for atoms in structures])
            for name in ("density", "temperature")
        },
        metadata={**description, "bulk_energies": bulk_energies, "failures": failures},
    )


def _trajectories(
    composition: tuple[str, ...],
    numbers: range,
    reference: PotentialReference,
    seed: int,
    settings: Quenching,
    bulk: Mapping[str, float],
    wanted: int,
    report: ProgressFn,
) -> Iterator[Piece]:
    """Compute trajectories side by side, and yield the snapshots of each as a piece of work."""
    starts = [_start(composition, settings, seed, number) for number in numbers]
    potential = reference.potential.restricted(composition)
    anneal = np.array([atoms.info["anneal"] for atoms in starts])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.asarray(numbers))
    snapshots: list[list[Atoms]] = [[] for _ in numbers]
    with jax.enable_x64(potential.dtype == np.float64):
        batch = padded(starts, len(composition), _bounds(starts, potential.r_cut))
        ensemble = Ensemble(batch)
        engine = Langevin(potential, timestep=settings.timestep, friction=settings.friction)
        for kind, first, last in _stretches(settings, anneal):
            ensemble = engine.run(ensemble, keys, settings.interval, (first, last))
            assert ensemble.prediction is not None
            energies, forces, positions = (
                np.asarray(array, np.float64)
                for array in (
                    ensemble.prediction.energies,
                    ensemble.prediction.forces,
                    ensemble.structures.positions,
                )
            )
            temperatures = np.broadcast_to(last, len(starts))
            for place, (number, start) in enumerate(zip(numbers, starts, strict=True)):
                atoms = Atoms(start.numbers, positions[place], cell=start.cell, pbc=True)
                known = Label(float(energies[place].sum()), forces[place], energies[place])
                about = {
                    "kind": kind,
                    "trajectory": number,
                    "density": start.info["density"],
                    "temperature": float(temperatures[place]),
                }
                snapshots[place].append(_snapshot(atoms, known, bulk, about))
            report(wanted, len(starts) * settings.interval)
    for number, found in zip(numbers, snapshots, strict=True):
        # A trajectory that has exploded has no further snapshots.
        wrong = [place for place, atoms in enumerate(found) if atoms.calc is None]
        yield f"trajectory-{number}", found[: wrong[0] + 1] if wrong else found


def _stretches(settings: Quenching, anneal: np.ndarray) -> Iterator[_Stretch]:
    """The stretches of all trajectories in order."""
    melted, quenched, annealed = settings.stages
    for _ in range(melted):
        yield _Stretch("melt", settings.melt, settings.melt)
    falling = np.linspace(settings.melt, settings.cold, quenched + 1).tolist()
    for first, last in pairwise(falling):
        yield _Stretch("quench", first, last)
    for _ in range(annealed):
        yield _Stretch("anneal", anneal, anneal)


def _snapshot(
    atoms: Atoms, known: Label, bulk: Mapping[str, float], about: dict[str, Any]
) -> Atoms:
    """A structure with its label, or with the reason why it has none."""
    largest = np.abs(known.forces).max()
    if not (np.isfinite(known.energy) and largest < LARGEST):
        atoms.positions = np.nan_to_num(atoms.positions)
        error = ValueError(f"expected forces below {LARGEST:g} eV/A, got {largest:g}")
        return failed(atoms, error, **about)
    e_form = formation_energy(known.energy, atoms.symbols, bulk)
    return labelled(atoms, known, **about, e_form=e_form)


def _start(composition: tuple[str, ...], settings: Quenching, seed: int, number: int) -> Atoms:
    """Atoms at random sites of a cube, with density and temperature of the trajectory."""
    random = np.random.default_rng([seed, number])
    atoms = Atoms(random.permutation(composition), pbc=True)
    density = float(random.uniform(*settings.density))
    edge = float(np.cbrt(atoms.get_masses().sum() * GRAMS / density))
    along = math.ceil(len(atoms) ** (1.0 / 3.0) - 1e-9)
    sites = np.array(list(np.ndindex(along, along, along)))
    chosen = random.choice(len(sites), len(atoms), replace=False)
    jitter = JITTER * random.normal(size=(len(atoms), 3))
    atoms.set_cell([edge] * 3)
    atoms.positions = (sites[chosen] + jitter) * edge / along
    atoms.info = {"density": density, "anneal": float(random.uniform(*settings.anneal))}
    return atoms


def _bounds(starts: list[Atoms], r_cut: float) -> Bounds:
    """Bounds that hold moving atoms in each of the cells, among all pairs."""
    # The denser atoms are, the more there are around one; where these are more, bounds grow.
    volume = min(atoms.get_volume() / len(atoms) for atoms in starts)
    capacity = rounded(math.ceil(CROWDING * 4.0 / 3.0 * math.pi * r_cut**3 / volume) + 2)
    pairs = [bounds_within(atoms.cell.array, r_cut, 1) for atoms in starts]
    counts = np.max([bounds.counts for bounds in pairs], axis=0)
    first, second, third = (int(count) for count in counts)
    return Bounds(capacity, (first, second, third))
