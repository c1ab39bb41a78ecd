"""The processes of one run under ``jax.distributed``, each of which searches for some targets.

They wait for each other before the search and after it, and not in between.
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
"""Longest time to wait for other processes, in milliseconds: a month.

JAX notices at once if one of them dies.
"""

_barriers = itertools.count()
"""Numbers for the names of barriers, each of which JAX takes once."""


def connect(**processes: Any) -> None:
    """Connect to the other processes of the run, before JAX computes anything.

    Args:
        **processes: arguments of :func:`jax.distributed.initialize`; none to take those that SLURM
            or Open MPI have set.

    Raises:
        ValueError: if there are no arguments and neither SLURM nor Open MPI have set any.
        OSError: if the other processes do not connect.
    """
    try:
        jax.distributed.initialize(**processes)
    except ValueError as error:
        raise ValueError(f"expected processes of SLURM or Open MPI, got none ({error})") from error
    except RuntimeError as error:
        raise OSError(f"expected the processes to meet, got {error}") from error


def is_first() -> bool:
    """Whether this is the first process: the one that prints and writes files."""
    return jax.process_index() == 0


def own_items(groups: Iterable[Sequence[T]]) -> list[list[T]]:
    """The items of each group that this process works on.

    Items are dealt to the processes one by one, and dealing continues from group to group.

    Args:
        groups: the items of all processes.

    Returns:
        For each group, the items of this process.
    """
    processes, turn = jax.process_count(), jax.process_index()
    own = []
    for group in groups:
        own.append(list(group[turn::processes]))
        turn = (turn - len(group)) % processes
    return own


def on_all_processes(action: Callable[[], T]) -> list[T]:
    """Call a function in every process, and gather the results in all of them.

    Args:
        action: the function. It may take any time, and may differ between processes.

    Returns:
        The result of each process, in their order.

    Raises:
        ValueError: if the function raises it in any process.
        OSError: if the function raises it in any process.
    """
    if jax.process_count() == 1:
        return [action()]
    results: list[T] = []
    failure = None
    # A failure is sent to the others too: they would wait for this process for ever.
    try:
        results = [action()]
    except (ValueError, OSError) as error:
        failure = error
    gathered = _gather((results, failure))
    for _, failure in gathered:
        if failure is not None:
            raise failure
    return [result for results, _ in gathered for result in results]


def begin(store: RunStore[K, V] | None, description: dict[str, Any]) -> dict[K, V]:
    """Begin a run in the first process and join it in the others.

    Args:
        store: the store of the results, if any, with the same address in every process.
        description: all settings that decide the results.

    Returns:
        The results that the store has already, by key.

    Raises:
        ValueError: if the processes have different descriptions, or as
            :meth:`RunStore.begin <jaxrecon.runtime.run_store.RunStore.begin>`.
        OSError: as :meth:`RunStore.begin <jaxrecon.runtime.run_store.RunStore.begin>`.
    """
    text = json.dumps(description, sort_keys=True)
    # All processes wait here, so that none creates the file before all have checked that there is
    # none.
    digests = set(on_all_processes(lambda: hashlib.sha256(text.encode()).hexdigest()))
    if len(digests) > 1:
        raise ValueError(f"expected the same call in all processes, got {len(digests)} that differ")
    if store is None:
        return {}
    done, *_ = on_all_processes(lambda: store.begin(description) if is_first() else {})
    on_all_processes(lambda: None if is_first() else store.join(description))
    return done


def _gather(value: T) -> list[T]:
    """The values of all processes, in their order."""
    from jax._src import distributed
    from jax.experimental.multihost_utils import process_allgather

    # Wait first: a collective of CPUs fails if a process comes more than half an hour later.
    client = distributed.global_state.client
    assert client is not None, "there are several processes"
    client.wait_at_barrier(f"jaxrecon-{next(_barriers)}", LONGEST)
    # Collectives take arrays of one shape: send pickled bytes, padded to the longest.
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = process_allgather(np.asarray([len(data)], np.uint32))[:, 0]
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = data
    rows = process_allgather(padded)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]
