"""Work on what comes next on threads of their own, while the present is worked on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Sequence[T], begin: Callable[[T], R], together: int) -> Iterator[tuple[T, R]]:
    """Yield items in order, each with how it begins; those that follow are begun meanwhile.

    XLA compiles without holding Python's lock, so a program can be compiled while another one runs.
    Without other threads, and for a single item, it is begun on the calling one.

    Args:
        items: what is worked on, one after the other.
        begin: function of one item.
        together: largest number of items that are begun at the same time; 0 for no other threads.

    Yields:
        Each item, and what the function returned for it.

    >>> list(ahead([1, 2, 3], lambda item: 10 * item, together=2))
    [(1, 10), (2, 20), (3, 30)]
    """
    if len(items) < 2 or together < 1:
        for item in items:
            yield item, begin(item)
        return
    pool = ThreadPoolExecutor(together, thread_name_prefix="jaxrecon-ahead")
    try:
        begun: list[Future[R] | None] = [pool.submit(begin, item) for item in items[:together]]
        for number, item in enumerate(items):
            future = begun[number]
            assert future is not None, "each item is yielded once"
            result = future.result()
            # What has been yielded is let go.
            begun[number] = None
            if len(begun) < len(items):
                begun.append(pool.submit(begin, items[len(begun)]))
            yield item, result
    finally:
        # After an error or an interruption nothing waits for what is not needed any more.
        pool.shutdown(wait=False, cancel_futures=True)
