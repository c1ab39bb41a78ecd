"""Ctrl-C during a search: the first ends it after the hop, the second at once."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxrecon.progress import ProgressFn

NOTICE = "stopping after this hop; again to stop at once"


@contextmanager
def stoppable(progress: ProgressFn, leave: Callable[[], None]) -> Iterator[ProgressFn]:
    """A function to report to that raises ``KeyboardInterrupt`` after a Ctrl-C.

    Python runs the handler of a signal only between its own instructions, and a hop or a
    compilation is one of them. So a thread waits for signals: the answer is there at once. It
    raises nothing, as JAX swallows exceptions in its callbacks and crashes when it is taken down
    while it compiles.

    Args:
        progress: what to report to.
        leave: what to do at the second Ctrl-C: end the process. It is called in that thread.

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
            os.write(2, f"{clear}jaxrecon: {NOTICE}\n".encode())

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
