"""What the sections of the GPU benchmark share: sizes, time, memory, programs, and the report."""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxrecon.runtime.devices import memory_of
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.memory import available_memory

FRACTION = 0.8
"""Largest fraction of the memory of the device that one program may take."""

SHORTEST = 5.0
"""Seconds without which no section starts."""


class Sizes(NamedTuple):
    """Sizes and times of all measurements.

    Attributes:
        minutes: wall time of the whole benchmark.
        batches: numbers of structures computed at once, ascending.
        seconds: measured time of each figure.
        longest_call: seconds that a call may take, as predicted from the batch before.
        search_seconds: time of each search.
        targets: number of targets of each search; None for all.
        replicas: replicas of a target in a search.
        starts: structures polished to find the floor of the residual.
        atoms: numbers of atoms for the growth of memory, ascending.
        equations: sizes of the systems of linear equations.
        systems: names of the structures whose rates are measured.
        presets: fingerprints whose precision is measured.
    """

    minutes: float = 8.0
    batches: tuple[int, ...] = (64, 1024, 8192, 65536)
    seconds: float = 0.3
    longest_call: float = 3.0
    search_seconds: float = 60.0
    targets: int | None = None
    replicas: int = 64
    starts: int = 256
    atoms: tuple[int, ...] = (2, 16, 64, 256, 1024, 4096)
    equations: tuple[int, ...] = (30, 120)
    systems: tuple[str, ...] = ("Pt10", "Pt40", "molecule", "perovskite", "SOAP")
    presets: tuple[str, ...] = ("fung2022", "default", "crystal", "soap")


REHEARSAL = Sizes(
    minutes=2.0,
    batches=(4, 16),
    seconds=0.02,
    longest_call=0.3,
    search_seconds=5.0,
    targets=4,
    replicas=8,
    starts=16,
    atoms=(2, 8),
    equations=(12, 30),
    systems=("Pt10", "SOAP"),
    presets=("fung2022",),
)


class Section(NamedTuple):
    """A part of the benchmark.

    Attributes:
        measure: called with the run and the report of the section, which it fills.
        minutes: wall time that it may take.
    """

    measure: Callable[["Run", dict[str, Any]], None]
    minutes: float


@dataclass
class Run:
    """One run of the benchmark.

    Attributes:
        path: file of the report.
        sizes: sizes and times.
        data: folder with the published data.
        report: all results so far.
        ends: time at which the run shall be over, of `time.perf_counter`.
        section_ends: the same for the current section.
    """

    path: Path
    sizes: Sizes
    data: Path | None
    report: dict[str, Any]
    ends: float
    section_ends: float = field(default=0.0)

    @property
    def left(self) -> float:
        """Seconds that the current section has left."""
        return self.section_ends - time.perf_counter()

    @property
    def sections(self) -> dict[str, Any]:
        """Reports of the sections by name."""
        return self.report.setdefault("sections", {})

    def say(self, text: str) -> None:
        """Print a line and write the report as it is."""
        print(text, flush=True)
        self.save()

    def save(self) -> None:
        """Write the report as it is."""
        write_json(self.path, self.report)

    def attempt(self, name: str, section: Section) -> None:
        """Run a section; its failure is written down, and the run goes on."""
        found = self.sections[name] = {}
        began = time.perf_counter()
        if self.ends - began < SHORTEST:
            found["error"] = "skipped: no time left"
            self.say(f"\n{name}: {found['error']}")
            return
        scale = self.sizes.minutes / Sizes().minutes
        self.section_ends = min(self.ends, began + 60.0 * scale * section.minutes)
        self.say(f"\n{name} ({self.left:.0f} s)")
        try:
            section.measure(self, found)
        except Exception as error:
            found["error"] = short(error)
            found["traceback"] = traceback.format_exc()[-4000:]
            print(f"  failed: {found['error']}", flush=True)
        found["wall_seconds"] = time.perf_counter() - began
        self.save()

    def compiled(self, jobs: Sequence[tuple[Any, Callable[[], Any]]]) -> Iterator[tuple[Any, Any]]:
        """Compile programs side by side, as many at a time as there are cores.

        While one of them is in use, nothing compiles: that would disturb what is measured. The next
        ones are not begun when the section has no time left.

        Args:
            jobs: a key and a function that lowers the program, for each.

        Yields:
            The key, and the seconds and the compiled program; or the key and the error.
        """
        width = os.cpu_count() or 1
        for start in range(0, len(jobs), width):
            yield from self._together(jobs[start : start + width])

    def _together(self, jobs: Sequence[tuple[Any, Callable[[], Any]]]) -> list[tuple[Any, Any]]:
        """Keys and outcomes of a few programs, compiled side by side."""
        if self.left <= 0:
            return [(key, OutOfTime("no time left to compile it")) for key, _ in jobs]
        pool = ThreadPoolExecutor(len(jobs))
        futures: list[tuple[Any, Future | Exception]] = []
        for key, lower in jobs:
            try:
                began = time.perf_counter()
                lowered = lower()
                traced = time.perf_counter() - began
                futures.append((key, pool.submit(_compiled, lowered, traced)))
            except Exception as error:
                futures.append((key, error))
        done: list[tuple[Any, Any]] = []
        for key, future in futures:
            try:
                if isinstance(future, Exception):
                    raise future
                timeout = max(0.0, self.ends - time.perf_counter())
                done.append((key, future.result(timeout=timeout)))
            except OutOfTime:
                done.append((key, OutOfTime("not compiled in time")))
            except Exception as error:
                done.append((key, error))
        pool.shutdown(wait=False, cancel_futures=True)
        return done


def _compiled(lowered: Any, traced: float) -> tuple[float, Any]:
    """Seconds to trace and compile, and the program."""
    began = time.perf_counter()
    program = lowered.compile()
    return traced + time.perf_counter() - began, program


def short(error: BaseException) -> str:
    """The kind of an error and the beginning of its message, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def bytes_of(program: Any) -> int | None:
    """Memory that a compiled program takes with its arguments and results; None if unknown."""
    try:
        stats = program.memory_analysis()
        names = ("argument", "output", "temp")
        return sum(int(getattr(stats, f"{name}_size_in_bytes")) for name in names)
    except (AttributeError, NotImplementedError, TypeError):
        return None


def memory_limit() -> float:
    """Bytes that a program may take."""
    memory = memory_of(jax.devices()[0]) or available_memory() or 2**33
    return FRACTION * memory


def peak_memory() -> int | None:
    """Largest memory in use so far on the device, in bytes; None where it is not reported."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def megabytes(size: float | None) -> str:
    """A size in MB."""
    return "? MB" if size is None else f"{size / 1e6:,.0f} MB"
