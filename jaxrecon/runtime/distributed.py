"""Hosts: the processes of one run under ``jax.distributed``, each with a share of the targets.

They meet before the search and after it; in between none waits for another.
"""

import hashlib
import itertools
import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from jaxrecon.runtime.run_store import K, RunStore, V

T = TypeVar("T")

LONGEST = 30 * 24 * 3_600_000
"""Milliseconds to wait for other processes: a month. One that dies is noticed at once."""

_meetings = itertools.count()


def meet(**processes: Any) -> None:
    """Wait for the other processes, before JAX computes anything.

    Args:
        **processes: arguments of :func:`jax.distributed.initialize`; none for what SLURM or Open
            MPI have set.

    Raises:
        ValueError: if none are given and nothing is set.
        OSError: if they do not come.
    """
    try:
        jax.distributed.initialize(**processes)
    except ValueError as error:
        raise ValueError(f"expected processes of SLURM or Open MPI, got none ({error})") from error
    except RuntimeError as error:
        raise OSError(f"expected the processes to meet, got {error}") from error


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    return jax.process_index() == 0


def share(groups: Iterable[Sequence[T]]) -> list[list[T]]:
    """What this process does of each group: all are dealt one by one, on from group to group."""
    processes, turn = jax.process_count(), jax.process_index()
    shares = []
    for group in groups:
        shares.append(list(group[turn::processes]))
        turn = (turn - len(group)) % processes
    return shares


def together(action: Callable[[], T]) -> list[T]:
    """What an action gives in each process, for all of them; it may take any time.

    Raises:
        ValueError: if it does so in any process.
        OSError: the same.
    """
    if jax.process_count() == 1:
        return [action()]
    answers: list[T] = []
    failure = None
    try:
        answers = [action()]
    except (ValueError, OSError) as error:
        failure = error
    everywhere = _gathered((answers, failure))
    for _, failure in everywhere:
        if failure is not None:
            raise failure
    return [answer for answers, _ in everywhere for answer in answers]


def begin(store: RunStore[K, V] | None, description: dict[str, Any]) -> dict[K, V]:
    """What there is of the run: the first process begins it, and the others join.

    Args:
        store: where results are kept, if anywhere; every process has one of the same address.
        description: all that decides the results.

    Raises:
        ValueError: if the processes do not have the same description, and what
            :meth:`Store.begin <jaxrecon.runtime.run_store.RunStore.begin>` raises.
        OSError: what :meth:`Store.begin <jaxrecon.runtime.run_store.RunStore.begin>` raises.
    """
    text = json.dumps(description, sort_keys=True)
    # Nobody creates a file here before all have asked whether there is one in the way.
    digests = set(together(lambda: hashlib.sha256(text.encode()).hexdigest()))
    if len(digests) > 1:
        raise ValueError(f"expected the same call in all processes, got {len(digests)} that differ")
    if store is None:
        return {}
    done, *_ = together(lambda: store.begin(description) if is_first() else {})
    together(lambda: None if is_first() else store.join(description))
    return done


def _gathered(value: T) -> list[T]:
    from jax._src import distributed
    from jax.experimental.multihost_utils import process_allgather

    # A collective of CPUs fails where the others come more than half an hour later.
    client = distributed.global_state.client
    assert client is not None, "there are several processes"
    client.wait_at_barrier(f"jaxrecon-{next(_meetings)}", LONGEST)
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = process_allgather(np.asarray([len(data)], np.uint32))[:, 0]
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = data
    everything = process_allgather(padded)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(everything, sizes, strict=True)]
