"""Parallel: many independent calls, spread by joblib over processes or whatever it is set to."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

POLL = 0.5
"""Seconds between two looks whether the process that wants the results still lives."""


def unordered(
    function: Callable[..., T], calls: Iterable[tuple[Any, ...]], jobs: int | None = None
) -> Iterator[T]:
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
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if jobs is not None and jobs < 1:
        raise ValueError(f"expected at least 1 job, got {jobs}")
    results = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(_called)(function, arguments) for arguments in calls
    )
    try:
        yield from results
    except TerminatedWorkerError as error:
        raise OSError(
            "expected the processes to live, got one that died, of a lack of memory maybe; "
            "what was committed is kept, and --resume goes on from there"
        ) from error
    finally:
        # Where the caller has had enough, what runs is stopped now and not at its end.
        results.close()


def _called(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        _end_with(parent.pid)
    return function(*arguments)


_watched = threading.Event()


def _end_with(parent: int) -> None:
    """End this process when the one that started it does: it may have been killed already.

    Ctrl-C reaches all processes of a terminal; only the one that talks to it answers.
    """
    if _watched.is_set():
        return
    _watched.set()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
