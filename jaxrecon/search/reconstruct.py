"""Reconstruct structures from their fingerprints in one call."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime import distributed
from jaxrecon.runtime.ahead import ahead
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.search.arguments import Cell, SizesOfTarget, Symbols, Targets, problems_of
from jaxrecon.search.batches import Batch
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.moves import move_weights
from jaxrecon.search.noise import Noise
from jaxrecon.search.problems import Problem
from jaxrecon.search.results import Reconstruction, Result
from jaxrecon.search.store import Store, description
from jaxrecon.search.target_state import TargetState

WatchFn = Callable[[int, Float[np.ndarray, " replicas"]], None]
"""Function of the position of a target among the targets and the residuals of its replicas."""

MOST_AHEAD = 4
"""Largest number of groups of targets that are begun at the same time on a CPU."""

CORES_AHEAD = 4
"""Number of cores for each of them."""


def reconstruct(
    targets: Targets,
    fingerprint: Fingerprint | Sequence[Fingerprint],
    *,
    symbols: Symbols | None = None,
    atoms: SizesOfTarget | Sequence[SizesOfTarget] | None = None,
    cell: Cell | Sequence[Cell] = None,
    positions: Sequence[np.ndarray | None] | None = None,
    guidance: Guidance | None = None,
    noise: Noise | None = None,
    config: ReconstructConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    store: Store | None = None,
    progress: bool | ProgressFn = False,
    watch: WatchFn | None = None,
    **settings: Any,
) -> Reconstruction:
    r"""Find structures whose fingerprints are the targets: :math:`\arg\min_x |R(x) - R^*|`.

    The search for each target is a basin hopping of many replicas at once. In every hop, a replica
    makes a random move away from a good structure and descends from there by Levenberg-Marquardt
    steps on the squared residual. It follows algorithm 1 of Fung et al., arXiv 2207.13227, which
    descends by Adam; :class:`~jaxrecon.search.config.ReconstructConfig` has the settings of both.

    The random numbers of a target depend on ``seed`` and its index alone. On the same processor and
    versions, its result is the same bit for bit whatever the other targets, the number of processes
    or an interruption, if equally many devices divide its replicas. With more or fewer devices (or,
    on accelerators, targets in a batch) XLA rounds differently, and the search may then find
    another structure; :mod:`jaxrecon.search.compiled` says why.

    Under :func:`jax.distributed.initialize`, each process searches for some of the targets and all
    return all results; a store must then be a file or server that all of them reach.

    Args:
        targets: target fingerprints without a unit: an array of shape ``(targets, p)`` or ``(p,)``,
            or a list of vectors.
        fingerprint: the settings that the targets were made with, or a list with the settings of
            each target. Their elements may differ: one compiled program serves all elements.
        symbols: composition of all structures, as a formula like ``"Pt10"``, or a list with the
            composition of each, as a formula or as the symbols of the atoms in order. None if the
            compositions are unknown.
        atoms: number of atoms in every structure, or a list with the number in each, where the
            compositions are unknown: :func:`~jaxrecon.search.compositions.candidates` finds them in
            the fingerprint. The preset ``"universal"`` tells the numbers of atoms too: up to a
            factor, which is tried. For it ``atoms`` may be a range, like ``range(4, 13)``, for all
            or for each; 2 to 20 where neither ``symbols`` nor ``atoms`` are given. Where several
            are possible, the search tries them in turn, with ``hops`` hops for each, until one
            converges; the result counts the work on all. Where their numbers of atoms differ,
            structures are in their primitive cells if these reach the target as well.
        cell: None for free structures. Otherwise the cell of all structures: lattice vectors as
            rows in Angstrom, shape ``(3, 3)``, or three lengths, or three lengths and three angles
            in degrees, or ASE's cell; or ``"unknown"`` if the cell is to be found as well. Or a
            list with a ``(3, 3)`` array, None or ``"unknown"`` for each target.
        positions: known positions: a list with an array of shape ``(n, 3)`` in Angstrom for each
            target, in the order of its symbols, or None. These atoms stay in place, in a crystal as
            images in the cell; rows of NaN are atoms that are to be found.
        guidance: properties that the structures shall have, besides or instead of the fingerprint.
            The search then minimises the objective of :mod:`jaxrecon.search.guidance`, which the
            results give as residual.
        noise: standard deviation of the errors of the numbers, where they are not exact: one for
            all, one for each number, or an array of shape ``(targets, p)``. The search then looks
            for the least squares, weighted by the standard deviations; a target has converged if
            its residual is what such errors leave, and the position error is that which they cause;
            see :mod:`jaxrecon.search.noise`.
        config: settings of the search; None for the defaults.
        seed: seed of the random numbers.
        indices: index of each target for the random numbers, such as its row in a larger set;
            0, 1, 2, ... by default.
        store: database that takes each result as soon as it is found, and has those of an earlier,
            interrupted run, which are not searched for again.
        progress: True to show a progress bar; or a function that is called after every hop with the
            numbers of targets that ended and of fingerprint evaluations since its last call.
        watch: function that is called after every hop of a target with the position of the target
            among ``targets`` and the residuals of all its replicas, weighted as in
            :mod:`jaxrecon.search.scaling`;
            :func:`~jaxrecon.plotting.residuals.residual_curves` draws them. Each process calls it
            for its own targets.
        **settings: changes to ``config``, by name: ``replicas=32, hops=50``.

    Returns:
        One :class:`~jaxrecon.search.results.Result` for each target, in order: structure, residual
        (computed in float64), result code, evaluations and seconds.

    Raises:
        ValueError: if a length, composition, cell or setting does not fit, or a number is not
            finite. It is raised before anything compiles.
        OSError: if the store cannot be written.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize, reconstruct
    >>> water = molecule("H2O")
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> result = reconstruct(featurize(water, fingerprint), fingerprint, symbols="H2O", hops=5)[0]
    >>> result.code.name, round(float(result.atoms.get_distance(0, 2)), 3)
    ('CONVERGED', 0.969)
    """
    config = (config or ReconstructConfig()).replace(**settings)
    # Check all arguments before anything compiles.
    seed = checked_seed(seed)
    move_weights(config)
    alternatives = problems_of(
        targets, fingerprint, symbols, cell, positions, indices, atoms, guidance, noise
    )
    smooth = {problems[0].smooth for problems in alternatives}
    if len(smooth) == 1:
        config = config.resolved(smooth=smooth.pop())
    started = time.perf_counter()
    outcome: dict[int, Result] = {}
    if store is not None or jax.process_count() > 1:
        outcome = distributed.begin(store, description(alternatives, config, seed))

    with reporter(progress, len(alternatives)) as report:
        report(len(outcome), 0)
        # Divide the targets that are left among the processes. Dividing every group of equal
        # programs gives all processes about the same work.
        first = [problems[0] for problems in alternatives if problems[0].index not in outcome]
        own = distributed.own_items(_groups(first))
        assigned = [alternatives[problem.index] for group in own for problem in group]
        by_process = distributed.on_all_processes(
            lambda: _work(assigned, config, seed, store, report, watch)
        )
        # Take the results of all processes; report the work of the others, unreported so far.
        for process, found in enumerate(by_process):
            outcome.update(found)
            if process != jax.process_index():
                work = sum(sum(result.evaluations.values()) for result in found.values())
                report(len(found), work)
    return Reconstruction(
        results=[outcome[index] for index in range(len(alternatives))],
        fingerprints=[problems[0].fingerprint for problems in alternatives],
        config=config,
        seed=seed,
        seconds=time.perf_counter() - started,
    )


def _groups(problems: list[Problem]) -> list[list[Problem]]:
    """Group the problems that share a compiled program."""
    groups: dict[Any, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.group, []).append(problem)
    return list(groups.values())


def _work(
    alternatives: list[list[Problem]],
    config: ReconstructConfig,
    seed: int,
    store: Store | None,
    report: ProgressFn,
    watch: WatchFn | None,
) -> dict[int, Result]:
    """Search for some targets and return their results by index.

    The problems of a target, its possible compositions, are searched in turn until one converges.
    """
    outcome: dict[int, Result] = {}
    so_far: dict[int, Result] = {}
    last = {problems[0].index: problems[-1] for problems in alternatives}

    def finish(problem: Problem, result: Result) -> bool:
        """Take the result of one problem; commit its target and return True if that has ended."""
        index = problem.index
        so_far[index] = so_far[index].continued(result) if index in so_far else result
        ended = result.code.solved or problem is last[index]
        if ended:
            outcome[index] = so_far[index]
            if store is not None:
                store.commit(index, outcome[index])
        return ended

    for turn in range(max(map(len, alternatives), default=0)):
        current = [problems[turn] for problems in alternatives if len(problems) > turn]
        left = [problem for problem in current if problem.index not in outcome]
        # Where fingerprints of both kinds are mixed, each has its own number of replicas.
        batches = [
            Batch.of(group, config.resolved(smooth=group[0].smooth)) for group in _groups(left)
        ]
        # XLA compiles on several cores by itself: on two, other threads win no time. On
        # accelerators two batches fit into the memory, each of which takes a third.
        spare = min(MOST_AHEAD, (os.cpu_count() or 1) // CORES_AHEAD)
        together = spare if jax.default_backend() == "cpu" else 1
        for batch, begun in ahead(batches, lambda batch: batch.begin(seed), together):
            _search(batch, begun, seed, finish, report, watch)
    return outcome


def _search(
    batch: Batch,
    begun: tuple[np.ndarray, np.ndarray, float],
    seed: int,
    finish: Callable[[Problem, Result], bool],
    report: ProgressFn,
    watch: WatchFn | None = None,
) -> None:
    """Search for the problems of a batch, after its first hop.

    A problem that ends leaves its place in the batch to the next one. ``finish`` takes its result
    and says whether its target has ended.
    """
    problems, config, shared = batch.problems, batch.config, batch.shared
    hop_evaluations = sum(config.evaluations_per_hop.values())
    waiting = problems[::-1]

    def next_state() -> TargetState:
        return TargetState(waiting.pop() if waiting else problems[0], config)

    states = [next_state() for _ in range(batch.width)]
    coordinates, residuals, seconds = begun
    for number, state in enumerate(states):
        state.spare = number >= len(problems)
        state.started -= seconds
    while True:
        # Update each target. If it ends, the next one takes its place, with a new population.
        endings = []
        for number, state in enumerate(states):
            if state.spare:
                continue
            if watch is not None:
                watch(state.problem.index, residuals[number].copy())
            state.update(coordinates[number], residuals[number])
            ended = False
            if state.complete:
                ended = finish(state.problem, state.result())
                state.spare = not waiting
                if waiting:
                    states[number] = next_state()
                    residuals[number] = np.inf
            endings.append(ended)
        # Report last: a report may raise KeyboardInterrupt, and by now all results are stored.
        for ended in endings:
            report(int(ended), hop_evaluations)
        if all(state.spare for state in states):
            return
        # One hop of all targets in the batch.
        present, hops = [state.problem for state in states], [state.hops for state in states]
        coordinates, residuals = batch.hop(seed, present, hops, coordinates, residuals, shared)
