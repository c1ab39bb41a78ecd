"""reconstruct: from fingerprints to structures in one call."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from jaxtyping import Array

from jaxrecon.bounds import bounds_of, bounds_within
from jaxrecon.compositions import composition_of
from jaxrecon.config import ReconstructConfig
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.hopping import Task
from jaxrecon.progress import ProgressFn, reporter
from jaxrecon.results import Reconstruction, Result, ResultCode
from jaxrecon.search import (
    Population,
    compiled_hop,
    compiled_polish,
    replica_mesh,
    slots_in_memory,
)
from jaxrecon.structures import Bounds, checked_cell


def reconstruct(
    targets: np.ndarray | Sequence[Sequence[float]],
    fingerprint: Fingerprint,
    *,
    symbols: str | Sequence[str | Sequence[str]],
    cell: Any = None,
    config: ReconstructConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    progress: bool | ProgressFn = False,
    **settings: Any,
) -> Reconstruction:
    r"""Find positions whose fingerprint is the target: :math:`\arg\min_x |R(x) - R^*|`.

    Algorithm 1 of Fung et al., arXiv 2207.13227, with all replicas of all trials at once and a
    second-order end: see :class:`~jaxrecon.config.ReconstructConfig`. The answer for a target
    depends on ``seed`` and its index, not on which other targets are there.

    Args:
        targets: fingerprints, shape ``(targets, p)`` or ``(p,)``, without a unit.
        fingerprint: what they are fingerprints with.
        symbols: formula of all structures, like ``"Pt10"``; or a list with one for each target,
            each a formula or the symbols of the atoms in order.
        cell: None for free structures; lattice vectors as rows in Angstrom, shape ``(3, 3)``, or
            lengths, or lengths and angles, of all structures; or a list with a ``(3, 3)`` array or
            None for each target.
        config: settings of the search.
        seed: of the random numbers.
        indices: of the targets for the random numbers, if they are rows of a larger set; else
            0, 1, 2, ...
        progress: True shows a progress bar; a function is called after every hop of a target with
            the number of targets that ended and of fingerprint evaluations since its last call.
        **settings: changes to ``config``, by name: ``replicas=32, hops=50``.

    Returns:
        One :class:`~jaxrecon.results.Result` a target, in order: atoms, residual (computed in
        float64), result code, work done and seconds.

    Raises:
        ValueError: if a length, composition, cell or setting does not fit, or a number is not
            finite; nothing has been compiled by then.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize, reconstruct
    >>> water = molecule("H2O")
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> result = reconstruct(featurize(water, fingerprint), fingerprint, symbols="H2O", hops=5)[0]
    >>> result.code.name, round(float(result.atoms.get_distance(0, 2)), 3)
    ('CONVERGED', 0.969)
    """
    config = (config or ReconstructConfig()).replace(**settings)
    problems = _problems(np.asarray(targets, dtype=np.float64), fingerprint, symbols, cell, indices)
    outcome: list[Result | None] = [None] * len(problems)
    started = time.perf_counter()

    with reporter(progress, len(problems)) as report:
        for group in _groups(problems).values():
            _search(group, fingerprint, config, seed, outcome, report)
    return Reconstruction(
        results=[result for result in outcome if result is not None],
        fingerprint=fingerprint,
        config=config,
        seed=seed,
        seconds=time.perf_counter() - started,
    )


_fold_in = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
"""Keys of many targets from one key and their identities, by one small program."""


@dataclass(frozen=True)
class _Problem:
    index: int
    identity: int
    target: np.ndarray
    symbols: tuple[str, ...]
    cell: np.ndarray | None
    bounds: Bounds

    def task(self, dtype: type) -> Task:
        return Task(
            target=_copied(self.target, dtype),
            species=_copied([atomic_numbers[symbol] for symbol in self.symbols], np.int32),
            cell=None if self.cell is None else _copied(self.cell, dtype),
            bounds=self.bounds,
        )


def _copied(values: Any, dtype: type) -> Array:
    """An array on the device. ``jnp.asarray`` would compile a program for every shape and type."""
    return jax.device_put(np.asarray(values, dtype))


@dataclass
class _Slot:
    """A place in the batch: the target that has it now, and the best found for it.

    ``searched`` is the lowest residual of the float32 search; ``positions`` and ``residual`` are
    what the float64 polish made of it. ``overflow`` says that in the last hop no replica had
    a finite residual, because there were more neighbours than room for them.
    """

    problem: _Problem
    searched: float = np.inf
    positions: np.ndarray | None = None
    residual: float = np.inf
    hops: int = 0
    overflow: bool = False
    started: float = field(default_factory=time.perf_counter)
    done: bool = False


def _problems(
    targets: np.ndarray, fingerprint: Fingerprint, symbols: Any, cell: Any, indices: Any
) -> list[_Problem]:
    """Check the input and pair every target with its composition and cell."""
    if targets.ndim == 1:
        targets = targets[None]
    if targets.ndim != 2 or targets.shape[1] != fingerprint.size:
        raise ValueError(
            f"expected fingerprints of length {fingerprint.size} "
            f"({', '.join(fingerprint.descriptor.elements)}), got shape {targets.shape}"
        )
    bad = np.argwhere(~np.isfinite(targets))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"expected finite numbers, got {targets[row, column]} in target {row}, "
            f"feature {column} ({fingerprint.names[column]})"
        )
    count = len(targets)
    formulas = [symbols] * count if isinstance(symbols, str) else list(symbols)
    if len(formulas) != count:
        raise ValueError(f"expected one formula or {count}, one a target, got {len(formulas)}")
    cells = [cell] * count if cell is None or _is_one_cell(cell) else list(cell)
    if len(cells) != count:
        raise ValueError(f"expected one cell or {count}, one a target, got {len(cells)}")
    identities = list(range(count) if indices is None else indices)
    if len(identities) != count:
        raise ValueError(f"expected {count} indices, one a target, got {len(identities)}")
    problems = []
    for index, (identity, target, formula, box) in enumerate(
        zip(identities, targets, formulas, cells, strict=True)
    ):
        composition = composition_of(formula)
        foreign = sorted(set(composition) - set(fingerprint.descriptor.elements))
        if foreign:
            raise ValueError(
                f"expected elements among {fingerprint.descriptor.elements}, got {foreign}"
            )
        box = None if box is None else checked_cell(box)
        elements = len(set(composition))
        bounds = Bounds(capacity=len(composition), elements=elements)
        if box is not None and fingerprint.images == "all":
            r_cut = fingerprint.descriptor.r_cut
            bounds = bounds_within(box, r_cut, len(composition), elements=elements)
        problems.append(_Problem(index, identity, target, composition, box, bounds))
    return problems


def _is_one_cell(cell: Any) -> bool:
    try:
        shape = np.shape(cell)
        listed = shape != () and any(item is None for item in cell)
        return shape in {(), (3,), (6,), (3, 3)} and not listed
    except ValueError:
        return False


def _groups(
    problems: list[_Problem],
) -> dict[tuple[int, bool, Bounds], list[_Problem]]:
    """Problems that one compiled program serves: as many atoms, one kind of space."""
    groups: dict[tuple[int, bool, Bounds], list[_Problem]] = {}
    for problem in problems:
        key = (len(problem.symbols), problem.cell is None, problem.bounds)
        groups.setdefault(key, []).append(problem)
    return groups


def _search(
    problems: list[_Problem],
    fingerprint: Fingerprint,
    config: ReconstructConfig,
    seed: int,
    outcome: list[Result | None],
    report: ProgressFn,
) -> None:
    """Work through the problems; a target that ends leaves its slot to the next one."""
    atoms = len(problems[0].symbols)
    mesh = replica_mesh(config.replicas)
    program = compiled_hop(fingerprint, config, mesh)
    hop_evaluations = sum(config.evaluations_per_hop.values())
    waiting = problems[::-1]

    def next_slot() -> _Slot:
        return _Slot(waiting.pop() if waiting else problems[0])

    width = slots_in_memory(fingerprint, atoms, problems[0].bounds, config.replicas, mesh)
    width = min(width, 1 << (len(problems) - 1).bit_length())
    slots = [next_slot() for _ in range(width)]
    for spare in slots[len(problems) :]:
        spare.done = True
    positions = np.zeros((width, config.replicas, atoms, 3), np.float32)
    residuals = np.zeros((width, config.replicas), np.float32)
    root = jax.random.key(seed)

    while not all(slot.done for slot in slots):
        identities = np.asarray([slot.problem.identity for slot in slots])
        keys = _fold_in(root, identities)
        tasks = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *[slot.problem.task(np.float32) for slot in slots]
        )
        populations = Population(
            positions=_copied(positions, np.float32),
            residuals=_copied(residuals, np.float32),
            hops=_copied([slot.hops for slot in slots], np.int32),
        )
        positions, residuals = jax.device_get(program(keys, tasks, populations))
        for number, slot in enumerate(slots):
            if slot.done:
                continue
            slot.hops += 1
            winner = np.argmin(residuals[number])
            if not np.isfinite(residuals[number]).any():
                roomy = _with_room(slot.problem, positions[number, 0], fingerprint)
                slot.overflow = roomy is not slot.problem
            if residuals[number, winner] < slot.searched:
                slot.searched = float(residuals[number, winner])
                _polish(slot, positions[number, winner], fingerprint, config)
            report(0, hop_evaluations)
            if slot.residual <= config.tolerance or slot.hops == config.hops:
                outcome[slot.problem.index] = _result(slot, config)
                report(1, 0)
                slot.done = not waiting
                if waiting:
                    slots[number] = next_slot()


def _with_room(problem: _Problem, positions: np.ndarray, fingerprint: Fingerprint) -> _Problem:
    """The problem with bounds that hold all neighbours there are: itself where its own do."""
    if problem.cell is None or fingerprint.images == "minimum" or not np.isfinite(positions).all():
        return problem
    own, r_cut = problem.bounds, fingerprint.descriptor.r_cut
    needed = bounds_of([_atoms(problem, positions)], r_cut, elements=own.elements)
    if needed.capacity <= own.capacity and needed.bin_capacity <= own.bin_capacity:
        return problem
    return replace(problem, bounds=needed)


def _polish(
    slot: _Slot, start: np.ndarray, fingerprint: Fingerprint, config: ReconstructConfig
) -> None:
    """Refine a structure in float64, judge it there, and keep it if it is the best."""
    problem = slot.problem
    with jax.enable_x64(True):
        polish = compiled_polish(fingerprint, config.polish_steps)
        while True:
            begin = _copied(start, np.float64)
            positions, residual = jax.device_get(polish(problem.task(np.float64), begin))
            roomy = _with_room(problem, positions, fingerprint)
            if roomy is problem:
                break
            problem = roomy
    if residual < slot.residual:
        slot.positions, slot.residual = positions, float(residual)


def _atoms(problem: _Problem, positions: np.ndarray) -> Atoms:
    return Atoms(problem.symbols, positions, cell=problem.cell, pbc=problem.cell is not None)


def _result(slot: _Slot, config: ReconstructConfig) -> Result:
    count = len(slot.problem.symbols)
    positions = np.full((count, 3), np.nan) if slot.positions is None else slot.positions
    atoms = _atoms(slot.problem, positions)
    if slot.positions is not None and slot.problem.cell is not None:
        atoms.wrap()
    return Result(
        atoms=atoms,
        residual=slot.residual,
        code=ResultCode.of(slot.residual, config.tolerance, overflow=slot.overflow),
        hops=slot.hops,
        evaluations={kind: slot.hops * count for kind, count in config.evaluations_per_hop.items()},
        seconds=time.perf_counter() - slot.started,
    )
