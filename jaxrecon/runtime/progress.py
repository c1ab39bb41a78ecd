"""Progress of long runs, with rate and remaining time, on stderr: a bar, or lines in a file."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

ProgressFn = Callable[[int, int], None]
"""Function that is called with the numbers of targets and evaluations since its last call.

Targets are finished pieces of work. Evaluations are of fingerprints in a search and of energies in
a data set.
"""

INTERVAL = 30.0
"""Seconds between two lines in a file, at least; a bar moves with every report."""


@contextmanager
def reporter(
    progress: bool | ProgressFn,
    total: int,
    doing: str = "reconstructing",
    evaluations: str = "evaluations",
) -> Iterator[ProgressFn]:
    """Provide the function to report progress to.

    A bar appears at the first report, so that an error in the input is reported without one. Where
    stderr is a file, as in a queue of jobs, there are lines instead.

    Args:
        progress: the caller's own function; or whether to show a bar.
        total: number of targets.
        doing: name of the activity in the bar.
        evaluations: name of the evaluations in the bar, which shows their rate.

    Yields:
        The caller's function, one that draws the bar, or one that does nothing.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda targets, evaluations: None
    else:
        with _bar(total, doing, evaluations) as report:
            yield report


@contextmanager
def _bar(total: int, doing: str, what: str) -> Iterator[ProgressFn]:
    """Draw a progress bar while the context lasts."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("passed,"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("left"),
    )
    evaluations, printed, unsaid = 0, time.monotonic(), False
    console = Console(stderr=True)
    # The rate of the whole run tells the time left: pieces may end in bursts.
    display = Progress(*columns, console=console, speed_estimate_period=math.inf)
    drawn = console.is_terminal or console.is_jupyter
    task = display.add_task(doing, total=total, rate="starting")

    def report(targets: int, new_evaluations: int) -> None:
        nonlocal evaluations, unsaid
        evaluations += new_evaluations
        elapsed = display.tasks[task].elapsed or 0.0
        if evaluations and elapsed > 0:
            rate = evaluations / elapsed
            display.update(task, rate=f"{rate:,.{0 if rate >= 10.0 else 2}f} {what}/s")
        display.update(task, advance=targets)
        if drawn:
            display.start()
            return
        unsaid = True
        if time.monotonic() - printed >= INTERVAL:
            line()

    def line() -> None:
        nonlocal printed, unsaid
        printed, unsaid, state = time.monotonic(), False, display.tasks[task]
        done, passed = state.completed, state.elapsed or 0.0
        left = f", {_clock(passed / done * (total - done))} left" if done else ""
        print(
            f"{doing} {done:.0f}/{total}, {state.fields['rate']}, {_clock(passed)} passed{left}",
            file=sys.stderr,
            flush=True,
        )

    try:
        yield report
    finally:
        if display.live.is_started:
            display.stop()
        if unsaid and (evaluations or display.tasks[task].completed):
            line()


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
