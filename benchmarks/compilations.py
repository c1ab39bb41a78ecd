"""When JAX traced and compiled, so that the time of a search can be told without it."""

import time

import jax

PREFIX = "/jax/core/compile/"
"""Of the events that JAX reports: tracing, lowering, and compiling or reading from the cache."""


class Compilations:
    """Stretches of wall time in which this process traced or compiled, from now on."""

    def __init__(self) -> None:
        self._stretches: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, seconds: float, **_: object) -> None:
        if event.startswith(PREFIX):
            now = time.perf_counter()
            self._stretches.append((now - seconds, now))

    def within(self, start: float, end: float) -> float:
        """Seconds of it between two times of `time.perf_counter`.

        Stretches may lie in one another, as what is traced may call what is not yet: every moment
        counts once.
        """
        total, reached = 0.0, start
        for first, last in sorted(self._stretches):
            first, last = max(first, reached), min(last, end)
            if last > first:
                total += last - first
                reached = last
        return total
