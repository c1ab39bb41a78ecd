"""Section of the GPU benchmark: searches in a given time, and where their time goes."""

import time
from collections.abc import Callable
from typing import Any

import costs
import numpy as np
from compilations import Compilations
from gpu_run import Run, peak_memory
from recovery_report import CERTIFIED
from recovery_search import Watch
from recovery_sets import targets_of

from jaxrecon import ReconstructConfig, reconstruct
from jaxrecon.search.results import Result

OFTEN = 5.0
"""Seconds after which the figures of a search are written again."""


class TimeUpError(Exception):
    """A search has used its time."""


class Clock:
    """Follows a search: where its time goes, and when it is up.

    Attributes:
        programs: seconds in the programs that make the hops.
        rest: seconds between them: polishing, results, preparation of the next hop.
        hops: hops of single targets.

    Args:
        limit: seconds of the search, without those to compile.
        ends: when it must end, of `time.perf_counter`.
        write: called every few seconds.
    """

    def __init__(self, limit: float, ends: float, write: Callable[[], None]) -> None:
        self.compilations = Compilations()
        self.began = self.since = time.perf_counter()
        self.limit, self.ends, self.write = limit, ends, write
        self.written = self.began
        self.programs = self.rest = 0.0
        self.updating = False
        self.hops = 0

    @property
    def compiling(self) -> float:
        """Seconds in which programs were traced and compiled."""
        return self.compilations.within(self.began, time.perf_counter())

    def watch(self, _: int, __: np.ndarray) -> None:
        """Called for each target when a hop of all has ended."""
        if not self.updating:
            self.programs += self._spent()
            self.updating = True

    def report(self, _: int, evaluations: int) -> None:
        """Called for each target when all have been updated after a hop."""
        self.rest += self._spent()
        self.updating = False
        self.hops += evaluations > 0
        now = time.perf_counter()
        if now - self.written > OFTEN:
            self.written = now
            self.write()
        if now - self.began - self.compiling > self.limit or now > self.ends:
            raise TimeUpError

    def _spent(self) -> float:
        """Seconds since the last call, without those to compile."""
        since, self.since = self.since, time.perf_counter()
        return self.since - since - self.compilations.within(since, self.since)


def search(run: Run, found: dict[str, Any], name: str) -> None:
    """Search for the targets of a set, all at once, until the time is up.

    Raises:
        ValueError: if the folder of the published data is not named.
    """
    targets = targets_of(name, run.data, preset=None, rows=None, count=run.sizes.targets or 10**9)
    one = costs.representative(targets)
    config = ReconstructConfig(replicas=0 if run.sizes.targets is None else run.sizes.replicas)
    config = config.resolved(smooth=costs.is_smooth(one))
    cost = costs.measured(one, config, len(targets), run.sizes.seconds)
    per_second = cost.details["per_second"]
    run.say(
        f"  {len(targets)} targets; bare, {cost.details['at_once']} at once: "
        + ", ".join(f"{row} {rate:,.0f} /s" for row, rate in per_second.items())
    )
    certified: list[float] = []

    def ended(_: int, result: Result, seconds: float) -> None:
        if result.residual <= CERTIFIED:
            certified.append(seconds)

    def write() -> None:
        found.update(figures_of(clock, config, cost, len(targets), len(certified)))
        run.save()

    clock = Clock(run.sizes.search_seconds, time.perf_counter() + run.left, write)
    try:
        reconstruct(
            [target.values for target in targets],
            [target.fingerprint for target in targets],
            symbols=[target.symbols for target in targets],
            cell=[target.cell for target in targets],
            config=config,
            indices=[target.row for target in targets],
            store=Watch(ended, clock.compilations),
            progress=clock.report,
            watch=clock.watch,
        )
    except TimeUpError:
        found["stopped"] = "time is up"
    write()
    run.say(
        f"  {len(certified)} of {len(targets)} certified; {clock.programs:.1f} s in programs, "
        f"{clock.rest:.1f} s between, {clock.compiling:.1f} s to compile; "
        f"{found['evaluations_per_target']:,.0f} evaluations a target, "
        f"{found['per_second']:,.0f} /s, {100 * found['of_bare']:.1f} % of the bare kernel "
        f"({100 * found['of_bare_in_programs']:.1f} % within programs)"
    )


def figures_of(
    clock: Clock, config: ReconstructConfig, cost: costs.Costs, targets: int, certified: int
) -> dict[str, Any]:
    """What a search has done so far, and at which rate.

    Evaluations of each kind count as much as they cost, in loss-and-gradient evaluations.
    """
    work = {kind: clock.hops * count for kind, count in config.evaluations_per_hop.items()}
    equivalent, bare = cost.of(work), cost.details["per_second"][costs.GRADIENT]
    searching, within = max(clock.programs + clock.rest, 1e-9), max(clock.programs, 1e-9)
    return {
        "targets": targets,
        "certified": certified,
        "hops": clock.hops,
        "evaluations": work,
        "equivalent_evaluations": equivalent,
        "evaluations_per_target": equivalent / targets,
        "seconds_in_programs": clock.programs,
        "seconds_between": clock.rest,
        "seconds_compiling": clock.compiling,
        "per_second": equivalent / searching,
        "of_bare": equivalent / searching / bare,
        "of_bare_in_programs": equivalent / within / bare,
        "bare": dict(cost.details),
        "peak_bytes_of_process": peak_memory(),
    }
