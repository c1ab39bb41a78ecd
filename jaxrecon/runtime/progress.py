"""Progress bar of long runs, with rate and remaining time, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressFn = Callable[[int, int], None]
"""Function that is called with the numbers of targets and evaluations since its last call.

Targets are finished pieces of work. Evaluations are of fingerprints in a search and of energies in
a data set.
"""


@contextmanager
def reporter(
    progress: bool | ProgressFn,
    total: int,
    doing: str = "reconstructing",
    evaluations: str = "evaluations",
) -> Iterator[ProgressFn]:
    """Provide the function to report progress to.

    A bar appears at the first report, so that an error in the input is reported without one.

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
