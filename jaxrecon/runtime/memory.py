"""Available memory, and the refusal of arrays that do not fit into it."""

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Root of the files in which Linux reports memory; tests have their own."""

ALWAYS = 2**26
"""Bytes of an array that is made without a look at the memory."""

RESERVE = 2**30
"""Bytes left for programs, buffers and libraries beside a large array."""


def available_memory() -> int | None:
    """The memory in bytes that this process can take without pushing others out of it.

    On Linux it is the smallest of what the machine has available (``MemAvailable``) and what the
    control groups of the process, versions 1 and 2, have left of their limits. Cached files that
    the kernel may drop count as available.

    Returns:
        The memory; None where it is unknown, as on other systems.

    >>> memory = available_memory()
    >>> memory is None or memory >= 0
    True
    """
    amounts = [*_of_machine(), *_of_groups()]
    return max(0, min(amounts)) if amounts else None


def check_memory(size: int, content: str, remedy: str) -> None:
    """Raise unless an array fits into the available memory, before it is made.

    Args:
        size: size of the array in bytes.
        content: what it holds.
        remedy: how to need less.

    Raises:
        MemoryError: if it does not fit; the message has both sizes.

    >>> check_memory(2**62, "fingerprints", "take fewer")  # doctest: +SKIP
    Traceback (most recent call last):
    MemoryError: expected memory for fingerprints (4294967296.0 GiB), got 20.1 GiB: take fewer
    """
    if size <= ALWAYS:
        return
    available = available_memory()
    if available is not None and size + RESERVE > available:
        left = max(0, available - RESERVE)
        raise MemoryError(
            f"expected memory for {content} ({_gib(size)}), got {_gib(left)}: {remedy}"
        )


def _gib(size: int) -> str:
    """A size in GiB with one decimal."""
    return f"{size / 2**30:.1f} GiB"


def _of_machine() -> Iterator[int]:
    """The available memory of the machine, if it is known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (ROOT / "proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        if "MemAvailable" in fields:
            yield int(fields["MemAvailable"].split()[0]) * 1024


def _of_groups() -> Iterator[int]:
    """What each control group of this process, and each group around it, has left of its limit."""
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = ROOT / "sys/fs/cgroup"
    for line in lines:
        number, controllers, place = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            # Beside groups of version 1, those of version 2 have a directory of their own.
            bases = [mount, mount / "unified"]
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            bases = [mount / "memory"]
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        for base in bases:
            # In a container the place may be that on the host; its own group is then the base.
            group = base / place.strip("/")
            for directory in (group, *group.parents):
                yield from _of_group(directory, *names)
                if directory == base:
                    break


def _of_group(directory: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    """What a control group has left of its limit, if it has one."""
    with contextlib.suppress(OSError, ValueError):
        # The limit is "max" or close to 2**63 where there is none.
        most = int((directory / limit).read_text())
        if most < 2**63 - mmap.PAGESIZE:
            left = most - int((directory / usage).read_text())
            # The list of numbers may be missing; then nothing counts as dropped.
            with contextlib.suppress(OSError, ValueError):
                rows = (directory / "memory.stat").read_text().splitlines()
                left += sum(int(row.split()[1]) for row in rows if row.startswith(f"{cached} "))
            yield left
