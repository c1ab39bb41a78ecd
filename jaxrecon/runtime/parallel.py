"""Many independent calls, which joblib spreads over processes or its configured backend.

Processes are started afresh, never forked. JAX runs threads, and a forked process inherits the
locks that they hold but not the threads: it hangs when it uses JAX. The same holds for process
pools of your own. Once JAX has computed anything, use
``multiprocessing.get_context("spawn").Pool()`` or ``concurrent.futures.ProcessPoolExecutor`` with
``mp_context=multiprocessing.get_context("spawn")``; ``fork`` is the default on Linux before Python
3.14.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

POLL = 0.5
"""Time between two checks whether the parent process still runs, in seconds."""


def unordered(
    function: Callable[..., T], calls: Iterable[tuple[Any, ...]], jobs: int | None = None
) -> Generator[T, None, None]:
    """Call a function with many arguments, and yield the results in the order of completion.

    The backend of :class:`joblib.parallel_config` does the work: by default processes of this
    machine, with Dask or Ray those of others too.

    Args:
        function: a function of a module, so that other processes can import it.
        calls: the arguments of each call, taken when a process is ready for them.
        jobs: number of processes; None for joblib's setting, which is 1 by default.

    Yields:
        The results.

    Raises:
        ValueError: if ``jobs`` is below 1, or the backend is ``"multiprocessing"``, which forks.
        OSError: if a process dies.
    """
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool

    if jobs is not None and jobs < 1:
        raise ValueError(f"expected at least 1 job, got {jobs}")
    backend, _ = joblib.parallel.get_active_backend()
    if isinstance(backend, joblib.parallel.BACKENDS["multiprocessing"]):
        raise ValueError(
            "expected a backend of joblib that starts processes afresh, like 'loky', got "
            "'multiprocessing', whose forked processes hang once JAX has run"
        )
    with _deaf_children():
        spread = joblib.Parallel(
            n_jobs=jobs, return_as="generator_unordered", initializer=_end_with_parent
        )
        results = spread(joblib.delayed(function)(*arguments) for arguments in calls)
    try:
        # `yield from` would close joblib's generator itself, and joblib would warn.
        yield from (result for result in results)
    except BrokenProcessPool as error:
        message = " ".join(str(error).split()).partition(". ")[0]
        raise OSError(
            "expected all processes to survive, got one that died, possibly out of memory; "
            f"committed results are safe, and --resume continues from them ({message})"
        ) from error
    finally:
        # If the caller stops early, running calls are stopped now and not when they end.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def end_processes() -> None:
    """End the processes that joblib keeps for further calls, and remove what it keeps for them.

    Python does so when it ends. A program that ends by ``os._exit`` calls this first, or joblib
    warns of leaked semaphores and folders.
    """
    if "joblib" not in sys.modules:
        return
    from multiprocessing.util import _run_finalizers  # type: ignore[attr-defined]

    from joblib.executor import MemmappingExecutor
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(reuse=True)
    if isinstance(executor, MemmappingExecutor):
        executor.terminate(kill_workers=True)
    else:  # joblib had none, and this one has started no process
        executor.shutdown()
    # Threads of queues may hold the last semaphores a little longer; Python has no public call.
    _run_finalizers(0)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all of them.

    Only the parent process answers it. The setting is inherited: until a child could make it
    itself, Ctrl-C would end the child and the whole pool with it.
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
    """End this process when its parent ends, which may be killed at any time."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
