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
from jaxrecon.search.results import Result
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
        composition_known: whether the search is told it, or the number of atoms alone.

    Returns:
        One trial a target, by row.
    """
    trials: list[Trial] = []
    compilations = Compilations()
    with reporter(True, len(targets)) as report:
        for kind, config in configs.items():
            some = [target for target in targets if target.kind == kind]

            def ended(
                index: int, result: Result, seconds: float, some: list[Target] = some
            ) -> None:
                trials.append(tried(some[index], result, seconds, costs[some[index].kind]))
                keep(trials)

            told: dict[str, Any] = {"symbols": [target.symbols for target in some]}
            if not composition_known:
                told = {"atoms": [len(target.symbols) for target in some]}
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


def tried(target: Target, result: Result, seconds: float, cost: Costs) -> Trial:
    """What came of a target."""
    known = None if target.truth is None else match(target.truth, result.atoms)
    return Trial(target, result, cost.of(result.evaluations), seconds, known)


def by_row(trials: Sequence[Trial]) -> list[Trial]:
    """In the order of the set."""
    return sorted(trials, key=lambda trial: trial.target.row)
