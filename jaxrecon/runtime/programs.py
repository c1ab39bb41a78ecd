"""Compiled programs in memory: the last ones are kept, older ones are let go."""

import gc
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

A = ParamSpec("A")
P = TypeVar("P")

PROGRAMS = 24
"""Number of programs of one kind that are kept.

A search for 100 molecules of QM7 needs 11, one for 200 different crystals 41, one after the other.
"""


def programs_kept(most: int = PROGRAMS) -> Callable[[Callable[A, P]], Callable[A, P]]:
    """Decorate a function that makes a compiled program, so that those used last are kept.

    A program of XLA takes 10 to 20 MB and, on a CPU, 100 to 300 of the 65,530 pieces of memory that
    Linux gives a process: with a few hundred programs it ends in a crash. ``functools.lru_cache``
    forgets programs without freeing them, as they are in circles of references, which Python's
    garbage collector looks for when it sees fit. Here the older half goes at once and is collected:
    a collection takes some tenths of a second.

    Args:
        most: largest number of programs. Each call with new arguments makes one, so arguments have
            to differ where what is compiled does, by the shapes of arrays too.

    Returns:
        The decorator. The function that it makes takes hashable arguments.
    """

    def decorate(make: Callable[A, P]) -> Callable[A, P]:
        kept: dict[object, P] = {}  # those used last stand last
        lock = threading.Lock()

        @wraps(make)
        def made(*args: A.args, **settings: A.kwargs) -> P:
            key = (args, tuple(settings.items()))
            with lock:
                program = kept.pop(key) if key in kept else make(*args, **settings)
                kept[key] = program
                if len(kept) > most:
                    for old in list(kept)[: -(-most // 2)]:
                        del kept[old]
                    gc.collect()
                return program

        return made

    return decorate
