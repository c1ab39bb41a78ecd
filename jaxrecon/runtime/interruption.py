"""Ctrl-C during long work: the first ends it after the piece that is done, the second at once."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from jaxrecon.runtime.progress import ProgressFn

NOTICE = "stopping after this hop; again to stop at once"
INTERRUPTED = 130
"""Exit code of a process that Ctrl-C has ended."""


def leave(*_: object) -> None:
    """End this process at Ctrl-C, without an exception.

    JAX swallows one that is raised in its callbacks, and crashes when Python is taken down while
    it compiles. All that is lost is a draft, in the moment in which it is written, and what was
    done on pieces that are not in a store.
    """
    # The progress bar, if there is one, has hidden the cursor of the terminal.
    os.write(2, b"\x1b[?25h\n" if sys.stderr.isatty() else b"")
    as_json = "--json" in sys.argv
    os.write(1 if as_json else 2, f"{said('interrupted', as_json=as_json)}\n".encode())
    os._exit(INTERRUPTED)


def said(message: str, *, as_json: bool) -> str:
    """The line that says what is wrong: on stdout for a program that reads it, else on stderr.

    Args:
        message: what is wrong.
        as_json: whether a program reads it.
    """
    message = " ".join(message.split())
    return json.dumps({"error": message}) if as_json else f"jaxrecon: error: {message}"


def interruptible(progress: ProgressFn, notice: str = NOTICE) -> AbstractContextManager[ProgressFn]:
    """:func:`stoppable`, but only in a process of the command line.

    Called from Python, it is the caller who decides what Ctrl-C does.

    Args:
        progress: what to report to.
        notice: what to say at the first Ctrl-C.
    """
    own_process = signal.getsignal(signal.SIGINT) is leave
    return stoppable(progress, leave, notice) if own_process else nullcontext(progress)


@contextmanager
def stoppable(
    progress: ProgressFn, leave: Callable[[], None], notice: str = NOTICE
) -> Iterator[ProgressFn]:
    """A function to report to that raises ``KeyboardInterrupt`` after a Ctrl-C.

    Python runs the handler of a signal only between its own instructions, and a hop or a
    compilation is one of them. So a thread waits for signals: the answer is there at once. It
    raises nothing, as JAX swallows exceptions in its callbacks and crashes when it is taken down
    while it compiles.

    Args:
        progress: what to report to.
        leave: what to do at the second Ctrl-C: end the process. It is called in that thread.
        notice: what to say at the first.

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
            # Over the progress bar, if there is one, which is drawn again below.
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            os.write(2, f"{clear}jaxrecon: {notice}\n".encode())

    def report(targets: int, evaluations: int) -> None:
        progress(targets, evaluations)
        if stop.is_set():
            raise KeyboardInterrupt

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
