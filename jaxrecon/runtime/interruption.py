"""Ctrl-C during long work: the first ends it after the current piece, the second at once."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from jaxrecon.runtime.messages import LONGEST_LINE, shortened
from jaxrecon.runtime.progress import ProgressFn

NOTICE = "stopping after this hop; press Ctrl-C again to stop at once"
"""Message at the first Ctrl-C."""

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C has ended."""


def leave(*_: object) -> None:
    """End this process at Ctrl-C, without an exception.

    JAX swallows an exception that is raised in its callbacks, and crashes when Python shuts down
    while it compiles. Ending at once loses no more than a draft that is being written, and results
    that are not in a store.
    """
    # A progress bar has hidden the cursor of the terminal: show it again.
    _write(2, "\x1b[?25h\n" if sys.stderr.isatty() else "")
    as_json = "--json" in sys.argv
    _write(1 if as_json else 2, f"{error_line('interrupted', as_json=as_json)}\n")
    os._exit(INTERRUPTED)


def error_line(message: str, *, as_json: bool, longest: int | None = LONGEST_LINE) -> str:
    """The line that reports an error.

    Args:
        message: the error.
        as_json: whether the line is a JSON object for programs, else text for people.
        longest: largest number of characters; the middle of a longer message is left out. None for
            any number.

    Returns:
        One line, without its end.
    """
    prefix = "jaxrecon: error: "
    message = " ".join(message.split())
    if longest is not None:
        message = shortened(message, longest - len(prefix))
    return json.dumps({"error": message}) if as_json else prefix + message


def _write(descriptor: int, text: str) -> None:
    """Write to a standard stream, whatever has become of it."""
    with suppress(OSError):
        os.write(descriptor, text.encode())


def interruptible(progress: ProgressFn, notice: str = NOTICE) -> AbstractContextManager[ProgressFn]:
    """Apply :func:`stoppable` if this is a process of the command line.

    In other programs the caller decides what Ctrl-C does.

    Args:
        progress: the function to report to.
        notice: the message at the first Ctrl-C.

    Returns:
        A context whose value is the function to report to instead.
    """
    own_process = signal.getsignal(signal.SIGINT) is leave
    return stoppable(progress, leave, notice) if own_process else nullcontext(progress)


@contextmanager
def stoppable(
    progress: ProgressFn, leave: Callable[[], None], notice: str = NOTICE
) -> Iterator[ProgressFn]:
    """Make a progress function raise ``KeyboardInterrupt`` at the first report after a Ctrl-C.

    Python runs signal handlers only between its own instructions, and a hop or a compilation is a
    single instruction. So a thread waits for signals and answers at once. The thread raises
    nothing, as JAX swallows exceptions in its callbacks and crashes when it is stopped while it
    compiles.

    Args:
        progress: the function to report to.
        leave: called in that thread at the second Ctrl-C; it should end the process.
        notice: the message at the first Ctrl-C.

    Yields:
        The function to report to instead.

    Raises:
        ValueError: if this is not the main thread.
    """
    stop = threading.Event()
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def watch() -> None:
        while number := receiver.recv(1):
            if number[0] != signal.SIGINT:
                continue
            if stop.is_set():
                leave()
            stop.set()
            # Overwrite a progress bar, which is drawn again below.
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            _write(2, f"{clear}jaxrecon: {notice}\n")

    def report(targets: int, evaluations: int) -> None:
        progress(targets, evaluations)
        if stop.is_set():
            raise KeyboardInterrupt

    # Python's own handler does nothing: the wake-up descriptor tells the thread of each signal.
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield report
    finally:
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGINT, handler)
        sender.close()
        watcher.join()
        receiver.close()
