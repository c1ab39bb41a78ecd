"""Standard output and error that never end the work: where printing fails, the work goes on.

A report says what has been done. A terminal that lacks a character, a closed pipe or a full disk
must not undo it, nor look like an error in the input.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DESCRIPTORS = ("stdin", "stdout", "stderr")
"""Names of the standard streams, in the order of their file descriptors."""


class Unfailing:
    r"""A text stream whose ``write`` and ``flush`` raise nothing; all else is another stream's.

    Characters that the encoding lacks are written as escapes like ``\u2082``.

    Attributes:
        error: the first error of the stream, after which what is written is dropped; None for none.

    Args:
        stream: the stream to write to.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Write a text, and return its number of characters."""
        if self.error is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._attempt(text.encode(encoding, "backslashreplace").decode(encoding))
            # A closed stream raises a ValueError.
            except (OSError, ValueError) as error:
                self.error = error
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is still in a buffer."""
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.error = error

    def discard(self) -> None:
        """Drop what a failed stream has in its buffer: at exit Python would fail with it again."""
        if self.error is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _attempt(self, text: str) -> None:
        """Write a text that can be encoded."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self.error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unfailing() -> Iterator[tuple[Unfailing, Unfailing]]:
    """Replace standard output and error by streams that raise nothing.

    Yields:
        Standard output and standard error.
    """
    before = sys.stdout, sys.stderr
    # Python has no stream for a descriptor that was closed when it started.
    with open(os.devnull, "w", encoding="utf-8") as null:
        out, err = (Unfailing(null if stream is None else stream) for stream in before)
        for name, stream in (("stdout", out), ("stderr", err)):
            setattr(sys, name, stream)
        try:
            yield out, err
        finally:
            for stream in (out, err):
                stream.flush()
                stream.discard()
            sys.stdout, sys.stderr = before


def open_missing() -> None:
    """Connect standard streams that are closed, as under cron, with the null device.

    Otherwise the next file that is opened gets the number of the closed stream, and libraries that
    print to it write into that file.
    """
    for descriptor, _ in enumerate(DESCRIPTORS):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    for descriptor, name in enumerate(DESCRIPTORS):
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
