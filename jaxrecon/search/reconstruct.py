"""reconstruct: from fingerprints to structures in one call."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.pooling import EXTREMES
from jaxrecon.runtime import distributed
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.search.arguments import Cell, Symbols, Targets, problems_of
from jaxrecon.search.compiled import Population, compiled_hop, device_mesh, targets_in_memory
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.guidance import Guidance
from jaxrecon.search.moves import move_weights
from jaxrecon.search.problems import Problem, on_device
from jaxrecon.search.results import Reconstruction, Result, ResultCode
from jaxrecon.search.store import Store, description
from jaxrecon.search.target_state import TargetState

WatchFn = Callable[[int, Float[np.ndarray, " replicas"]], None]
"""Told which target has done a hop, and the residual of each of its replicas after it."""


def reconstruct(
    targets: Targets,
    fingerprint: Fingerprint | Sequence[Fingerprint],
    *,
    symbols: Symbols | None = None,
    atoms: int | Sequence[int] | None = None,
    cell: Cell | Sequence[Cell] = None,
    positions: Sequence[np.ndarray | None] | None = None,
    guidance: Guidance | None = None,
    config: ReconstructConfig | None = None,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    store: Store | None = None,
    progress: bool | ProgressFn = False,
    watch: WatchFn | None = None,
    **settings: Any,
) -> Reconstruction:
    r"""Find positions whose fingerprint is the target: :math:`\arg\min_x |R(x) - R^*|`.

    Algorithm 1 of Fung et al., arXiv 2207.13227, with all replicas of all trials at once and a
    second-order end: see :class:`~jaxrecon.search.config.ReconstructConfig`. The answer for a
    target depends on ``seed`` and its index, not on which other targets are there, nor on the
    number of
    processes: under :func:`jax.distributed.initialize` each takes its share of the targets, and
    all return all results. A store is one file or server that all of them reach.

    Args:
        targets: fingerprints, shape ``(targets, p)`` or ``(p,)``, without a unit; or a list of
            vectors.
        fingerprint: what they are fingerprints with; or a list with one for each target, whose
            elements may differ: one program serves all elements.
        symbols: formula of all structures, like ``"Pt10"``; or a list with one for each target,
            each a formula or the symbols of the atoms in order. None if that is unknown.
        atoms: how many there are where the symbols are unknown, in all targets or in each: the
            composition is that which :func:`~jaxrecon.search.compositions.candidates` finds in the
            fingerprint; where several are possible they are searched for in turn until one
            converges, ``hops`` each, and the result counts the work on all.
        cell: None for free structures; lattice vectors as rows in Angstrom, shape ``(3, 3)``, or
            lengths, or lengths and angles, of all structures; ``"unknown"``, if the cell is to be
            found as well; or a list with a ``(3, 3)`` array, None or ``"unknown"`` for each target.
        positions: None, or a list with positions in Angstrom for each target, shape ``(n, 3)`` in
            the order of its symbols, or None: atoms stay where they are given, those with NaN are
            found.
        guidance: properties that the structures are to have as well, or instead: what is minimised
            then, and the residual of a result, is that of :mod:`jaxrecon.search.guidance`.
        config: settings of the search.
        seed: of the random numbers.
        indices: of the targets for the random numbers, if they are rows of a larger set; else
            0, 1, 2, ...
        store: where each result is kept as soon as it is there, and those of before are found.
        progress: True shows a progress bar; a function is called after every hop of a target with
            the number of targets that ended and of fingerprint evaluations since its last call.
        watch: called after every hop of a target with its position and the residuals of all its
            replicas, which :func:`~jaxrecon.plotting.residuals.residual_curves` draws. Each process
            reports the targets that it searches for.
        **settings: changes to ``config``, by name: ``replicas=32, hops=50``.

    Returns:
        One :class:`~jaxrecon.search.results.Result` a target, in order: atoms, residual (computed
        in float64), result code, work done and seconds.

    Raises:
        ValueError: if a length, composition, cell or setting does not fit, or a number is not
            finite; nothing has been compiled by then.
        OSError: if a result can't be kept.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize, reconstruct
    >>> water = molecule("H2O")
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> result = reconstruct(featurize(water, fingerprint), fingerprint, symbols="H2O", hops=5)[0]
    >>> result.code.name, round(float(result.atoms.get_distance(0, 2)), 3)
    ('CONVERGED', 0.969)
    """
    config = (config or ReconstructConfig()).replace(**settings)
    move_weights(config)  # raises before anything compiles
    alternatives = problems_of(
        targets, fingerprint, symbols, cell, positions, indices, atoms, guidance
    )
    kinds = {kind for problems in alternatives for kind in problems[0].fingerprint.poolings}
    config = config.resolved(smooth=not kinds & set(EXTREMES))
    started = time.perf_counter()
    outcome: dict[int, Result] = {}
    if store is not None or jax.process_count() > 1:
        outcome = distributed.begin(store, description(alternatives, config, seed))

    with reporter(progress, len(alternatives)) as report:
        report(len(outcome), 0)
        first = [problems[0] for problems in alternatives if problems[0].index not in outcome]
        own = distributed.own_items(_groups(first))
        mine = [alternatives[problem.index] for group in own for problem in group]
        everywhere = distributed.on_all_processes(
            lambda: _work(mine, config, seed, store, report, watch)
        )
        for process, found in enumerate(everywhere):
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
    """Those that share a compiled program."""
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
    """The results of some targets, by index: of the first of its problems that converges."""
    outcome: dict[int, Result] = {}
    met: dict[int, Result] = {}
    last = {problems[0].index: problems[-1] for problems in alternatives}

    def keep(problem: Problem, result: Result) -> bool:
        index = problem.index
        met[index] = result if index not in met else met[index].continued(result)
        ended = result.code is ResultCode.CONVERGED or problem is last[index]
        if ended:
            outcome[index] = met[index]
            if store is not None:
                store.commit(index, met[index])
        return ended

    for turn in range(max(map(len, alternatives), default=0)):
        left = [each[turn] for each in alternatives if len(each) > turn]
        for group in _groups([problem for problem in left if problem.index not in outcome]):
            _search(group, config, seed, keep, report, watch)
    return outcome


_fold_in = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
"""Keys of many targets from one key and their identities, by one small program."""


def _search(
    problems: list[Problem],
    config: ReconstructConfig,
    seed: int,
    keep: Callable[[Problem, Result], bool],
    report: ProgressFn,
    watch: WatchFn | None = None,
) -> None:
    """Work through problems of one group; one that ends leaves its place in the batch to the next.

    ``keep`` takes its result, and says whether the target has ended with it.
    """
    first = problems[0]
    fingerprint = first.program
    mesh = device_mesh(config.replicas, len(problems))
    program = compiled_hop(fingerprint, config.compiled, mesh)
    # On all devices at once: else each hop would hand it on from the first.
    everywhere = NamedSharding(mesh, PartitionSpec())
    guidance = jax.device_put(first.guidance, everywhere)
    weights = jax.device_put(move_weights(config), everywhere)
    hop_evaluations = sum(config.evaluations_per_hop.values())
    waiting = problems[::-1]

    def next_state() -> TargetState:
        return TargetState(waiting.pop() if waiting else first, config)

    width = targets_in_memory(fingerprint, first.padded_size, first.bounds, config.replicas, mesh)
    rows = mesh.shape["targets"]
    width = min(width, rows << (-(-len(problems) // rows) - 1).bit_length())
    states = [next_state() for _ in range(width)]
    for spare in states[len(problems) :]:
        spare.done = True
    coordinates = np.zeros((width, config.replicas, first.rows, 3), np.float32)
    residuals = np.full((width, config.replicas), np.inf, np.float32)
    root = jax.random.key(seed)

    while not all(state.done for state in states):
        identities = np.asarray([state.problem.identity for state in states])
        keys = _fold_in(root, identities)
        tasks = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *[state.problem.task(np.float32) for state in states]
        )
        populations = Population(
            coordinates=on_device(coordinates, np.float32),
            residuals=on_device(residuals, np.float32),
            hops=on_device([state.hops for state in states], np.int32),
        )
        found = jax.device_get(program(keys, tasks, populations, guidance, weights))
        coordinates, residuals = (np.array(array) for array in found)
        endings = []
        for number, state in enumerate(states):
            if state.done:
                continue
            if watch is not None:
                watch(state.problem.index, residuals[number].copy())
            state.look_at(coordinates[number], residuals[number])
            ended = False
            if state.complete:
                ended = keep(state.problem, state.result())
                state.done = not waiting
                if waiting:
                    states[number] = next_state()
                    residuals[number] = np.inf
            endings.append(ended)
        # Only now, as it is here that Ctrl-C may end the run: all that ended is kept.
        for ended in endings:
            report(int(ended), hop_evaluations)
