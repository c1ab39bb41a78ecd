"""Progress of long runs: a bar with rate and remaining time, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressFn = Callable[[int, int], None]
"""Called with the targets that ended and the evaluations done since the last call.

Evaluations are of fingerprints where structures are searched for, of energies in data sets.
"""


@contextmanager
def reporter(
    progress: bool | ProgressFn,
    total: int,
    doing: str = "reconstructing",
    evaluations: str = "evaluations",
) -> Iterator[ProgressFn]:
    """The function to report to: the caller's own, a progress bar, or one that does nothing.

    The bar appears at the first report, so that what is wrong with the input is said without one.

    Args:
        progress: the function, or whether there is a bar.
        total: how many targets there are.
        doing: what the bar says is done.
        evaluations: what the bar calls that of which it shows the rate.
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
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    evaluations = 0
    display = Progress(*columns, console=Console(stderr=True))
    task = display.add_task(doing, total=total, rate="starting")

    def report(targets: int, new_evaluations: int) -> None:
        nonlocal evaluations
        evaluations += new_evaluations
        elapsed = display.tasks[task].elapsed or 0.0
        if evaluations and elapsed > 0:
            rate = evaluations / elapsed
            display.update(task, rate=f"{rate:,.{0 if rate >= 10.0 else 2}f} {what}/s")
        display.update(task, advance=targets)
        display.start()

    try:
        yield report
    finally:
        if display.live.is_started:
            display.stop()
