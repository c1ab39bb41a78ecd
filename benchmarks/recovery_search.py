"""The search of the recovery benchmark: every target judged as soon as it ends."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compilations import Compilations
from costs import Costs
from recovery_report import Trial
from recovery_sets import Target

from jaxrecon import ReconstructConfig, reconstruct
from jaxrecon.runtime.progress import reporter
from jaxrecon.search.arguments import SIZES
from jaxrecon.search.compositions import candidates
from jaxrecon.search.results import Result
from jaxrecon.search.stoichiometry import reads_compositions
from jaxrecon.search.store import Store
from jaxrecon.structures.compare import match


class Watch(Store):
    """Hands over every result as soon as it is there, and keeps none.

    Args:
        ended: called with the position of the target in the run, what was found, and the seconds
            without those to compile.
        compilations: of this process.
    """

    def __init__(
        self, ended: Callable[[int, Result, float], None], compilations: Compilations
    ) -> None:
        self._ended, self._compilations = ended, compilations

    def begin(self, description: dict[str, Any]) -> dict[int, Result]:
        """Nothing is there yet."""
        return {}

    def commit(self, index: int, result: Result) -> None:
        """Hand a result over."""
        now = time.perf_counter()
        compiling = self._compilations.within(now - result.seconds, now)
        self._ended(index, result, result.seconds - compiling)


def searched(
    targets: Sequence[Target],
    configs: Mapping[str, ReconstructConfig],
    costs: Mapping[str, Costs],
    seed: int,
    keep: Callable[[list[Trial]], None],
    *,
    composition_known: bool = True,
) -> list[Trial]:
    """Search for all targets.

    Args:
        targets: in any order.
        configs: settings of the search by kind of target.
        costs: of its evaluations by kind of target.
        seed: of the random numbers.
        keep: called with all trials so far when a target has ended.
        composition_known: whether the search is told it, or the number of atoms alone, or not even
            that where the fingerprint tells it.

    Returns:
        One trial a target, by row.
    """
    trials: list[Trial] = []
    compilations = Compilations()
    parts = [
        (some, own)
        for kind, config in configs.items()
        for some, own in told_apart(
            [target for target in targets if target.kind == kind], config, composition_known
        )
    ]
    with reporter(True, len(targets)) as report:
        for some, config in parts:

            def ended(
                index: int, result: Result, seconds: float, some: list[Target] = some
            ) -> None:
                trials.append(tried(some[index], result, seconds, costs[some[index].kind]))
                keep(trials)

            told: dict[str, Any] = {"symbols": [target.symbols for target in some]}
            if not composition_known:
                told = {"atoms": [sizes_of(target) for target in some]}
            reconstruct(
                [target.values for target in some],
                [target.fingerprint for target in some],
                **told,
                cell=[target.cell for target in some],
                config=config,
                seed=seed,
                indices=[target.row for target in some],
                store=Watch(ended, compilations),
                progress=report,
            )
    return by_row(trials)


def sizes_of(target: Target) -> int | range:
    """What the search is told of the number of atoms, if it is not told the composition."""
    return SIZES if reads_compositions(target.fingerprint) else len(target.symbols)


def told_apart(
    targets: list[Target], config: ReconstructConfig, composition_known: bool
) -> list[tuple[list[Target], ReconstructConfig]]:
    """Targets with the hops that each of their compositions may have.

    Where numbers of atoms are tried in turn, they share the hops of a target evenly.
    """
    groups: dict[int, list[Target]] = {}
    for target in targets:
        count, sizes = 1, sizes_of(target)
        if not composition_known and isinstance(sizes, range):
            count = len(candidates(target.values, target.fingerprint, sizes))
        groups.setdefault(count, []).append(target)
    return [
        (some, config.replace(hops=max(1, config.hops // count))) for count, some in groups.items()
    ]


def tried(target: Target, result: Result, seconds: float, cost: Costs) -> Trial:
    """What came of a target."""
    known = None if target.truth is None else match(target.truth, result.atoms)
    return Trial(target, result, cost.of(result.evaluations), seconds, known)


def by_row(trials: Sequence[Trial]) -> list[Trial]:
    """In the order of the set."""
    return sorted(trials, key=lambda trial: trial.target.row)
