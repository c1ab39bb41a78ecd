"""Progress of long runs: a bar with rate and remaining time, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressFn = Callable[[int, int], None]
"""Called with the targets that ended and the fingerprint evaluations done since the last call."""


@contextmanager
def reporter(progress: bool | ProgressFn, total: int) -> Iterator[ProgressFn]:
    """The function to report to: the caller's own, a progress bar, or one that does nothing."""
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
    with Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task("reconstructing", total=total, rate="compiling")

        def report(targets: int, new_evaluations: int) -> None:
            nonlocal evaluations
            evaluations += new_evaluations
            elapsed = display.tasks[task].elapsed or 0.0
            rate = f"{evaluations / elapsed:,.0f} evaluations/s" if elapsed > 0 else ""
            display.update(task, advance=targets, rate=rate)

        yield report
