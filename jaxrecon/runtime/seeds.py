"""Seeds of random numbers: one range for every function and verb that takes one."""

import operator

MAX_SEED = 2**32 - 1
"""Largest seed: JAX's keys have 32 bits without 64-bit mode, and would drop all higher ones."""


def checked_seed(seed: object) -> int:
    """A seed as a plain integer.

    Raises:
        ValueError: if it is not a whole number from 0 to 4294967295.

    >>> import numpy as np
    >>> checked_seed(np.int64(3))
    3
    """
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number <= MAX_SEED:
        raise ValueError(f"expected a seed from 0 to {MAX_SEED}, got {seed!r}")
    return number
