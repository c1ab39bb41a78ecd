"""Progress of long runs: a bar with rate and remaining time, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressFn = Callable[[int, int], None]
"""Called with the targets that ended and the fingerprint evaluations done since the last call."""


@contextmanager
def reporter(progress: bool | ProgressFn, total: int) -> Iterator[ProgressFn]:
    """The function to report to: the caller's own, a progress bar, or one that does nothing.

    The bar appears at the first report, so that what is wrong with the input is said without one.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda targets, evaluations: None
    else:
        with _bar(total) as report:
            yield report


@contextmanager
def _bar(total: int) -> Iterator[ProgressFn]:
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
        TextColumn("reconstructing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    evaluations = 0
    display = Progress(*columns, console=Console(stderr=True))
    task = display.add_task("reconstructing", total=total, rate="compiling")

    def report(targets: int, new_evaluations: int) -> None:
        nonlocal evaluations
        evaluations += new_evaluations
        elapsed = display.tasks[task].elapsed or 0.0
        if evaluations and elapsed > 0:
            display.update(task, rate=f"{evaluations / elapsed:,.0f} evaluations/s")
        display.update(task, advance=targets)
        display.start()

    try:
        yield report
    finally:
        if display.live.is_started:
            display.stop()
