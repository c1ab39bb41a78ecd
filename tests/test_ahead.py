"""What comes next is begun on other threads: order, errors, and programs that are found."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from inverting import CONFIG, PLATINUM, impossible

from jaxrecon.runtime.ahead import ahead
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.batches import Batch
from jaxrecon.search.polishing import polished


def test_items_come_in_order_with_what_was_begun() -> None:
    begun: set[int] = set()
    threads: set[str] = set()

    def begin(item: int) -> int:
        threads.add(threading.current_thread().name)
        begun.add(item)
        return -item

    for number, (item, result) in enumerate(ahead(range(20), begin, together=3)):
        assert (item, result) == (number, -number)
        # Only a few are begun before they are needed.
        assert max(begun) <= number + 3
    assert all(name.startswith("jaxrecon-ahead") for name in threads)
    assert list(ahead([], begin, together=3)) == []
    threads.clear()
    assert list(ahead([3], begin, together=3)) == [(3, -3)]
    assert list(ahead([4, 5], begin, together=0)) == [(4, -4), (5, -5)]
    assert threads == {threading.current_thread().name}


def test_an_error_is_raised_where_the_item_is_due() -> None:
    def begin(item: int) -> None:
        if item == 2:
            raise ValueError("two")

    items = ahead([1, 2, 3], begin, together=2)
    assert next(items) == (1, None)
    with pytest.raises(ValueError, match="two"):
        next(items)


def test_after_the_first_hop_nothing_is_left_to_compile() -> None:
    [[problem]] = problems_of(impossible(1), PLATINUM, "Pt3", None, None, None)
    # No other test has compiled anything for these settings.
    config = CONFIG.replace(max_step=1.4321)
    batch = Batch.of([problem], config)
    with ThreadPoolExecutor() as pool:
        coordinates, residuals, _ = pool.submit(batch.begin, 5).result()
    compiled: list[str] = []

    def count(event: str, duration: float, **settings: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        batch.hop(5, [problem], [1], coordinates, residuals, batch.shared)
        polished(problem, config, coordinates[0, 0])
        assert compiled == []
        # The listener works.
        jax.jit(lambda x: x * 1.2345)(np.float32(1.0))
        assert len(compiled) == 1
    finally:
        jax.monitoring.clear_event_listeners()
