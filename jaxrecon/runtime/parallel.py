"""Parallel: many independent calls, spread by joblib over processes or whatever it is set to."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

POLL = 0.5
"""Seconds between two looks whether the process that wants the results still lives."""


def unordered(
    function: Callable[..., T], calls: Iterable[tuple[Any, ...]], jobs: int | None = None
) -> Generator[T, None, None]:
    """What a function returns for many arguments, each as soon as it is there.

    Inside :class:`joblib.parallel_config` its backend does the work: processes of this machine by
    default, Dask's or Ray's on others.

    Args:
        function: of a module, so that other processes find it.
        calls: its arguments, call by call; taken as there are processes for them.
        jobs: processes; None for what joblib is set to, which is 1 unless told.

    Raises:
        ValueError: if there can't be so many processes.
        OSError: if a process dies.
    """
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool

    if jobs is not None and jobs < 1:
        raise ValueError(f"expected at least 1 job, got {jobs}")
    with _deaf_children():
        spread = joblib.Parallel(
            n_jobs=jobs, return_as="generator_unordered", initializer=_end_with_parent
        )
        results = spread(joblib.delayed(function)(*arguments) for arguments in calls)
    try:
        # Handed on one by one, as `yield from` would close them in its own way, with a warning.
        yield from (result for result in results)
    except BrokenProcessPool as error:
        said = " ".join(str(error).split()).partition(". ")[0]
        raise OSError(
            "expected the processes to live, got one that died, of a lack of memory maybe; what "
            f"was committed is kept, and --resume goes on from there ({said})"
        ) from error
    finally:
        # Where the caller has had enough, what runs is stopped now and not at its end.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C, which reaches all of a terminal.

    Only the one that talks to it answers. Before they could ask for that themselves they would die
    of it, and take down all others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """End this process when the one that started it does: it may have been killed already."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
