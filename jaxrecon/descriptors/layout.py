"""What the numbers of a fingerprint are, and one structure in the channels that it needs."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int

from jaxrecon.structures.neighbors import Neighbors


class Number(NamedTuple):
    """What one number of a fingerprint is.

    Attributes:
        pooling: name of the pooling.
        center: the element whose atoms are pooled; ``""`` for all atoms.
        entry: the place among those that the pooling makes of one feature, from 0.
        feature: the index of the feature in the row of the descriptor.
    """

    pooling: str
    center: str
    entry: int
    feature: int


class View(NamedTuple):
    """One structure as its atoms see it, in the channels that it needs.

    Attributes:
        neighbors: what each atom sees.
        groups: the atoms that are pooled together, one group a row.
        elements: atomic numbers of the channels, ascending; 0 for one to spare.
        columns: where the pooled numbers stand in the fingerprint; beyond its end for a spare one;
            None if there are channels for all its elements.
    """

    neighbors: Neighbors
    groups: Bool[Array, "g n"]
    elements: Int[Array, " e"]
    columns: Int[Array, " q"] | None


def find(names: Sequence[str], words: str) -> Int[np.ndarray, " found"]:
    """Indices of the names that have all of some words; see :meth:`Fingerprint.find`.

    Args:
        names: to search.
        words: separated by blanks; ``*`` stands for anything, and two elements may come in
            either order.
    """
    patterns = []
    for word in words.split():
        turned = re.sub(r"\[([^],]*),([^],]*)\]", r"[\2,\1]", word)
        either = {re.escape(text).replace(r"\*", ".*") for text in (word, turned)}
        patterns.append(re.compile("|".join(sorted(either))))
    found = [
        all(any(map(pattern.fullmatch, name.split())) for pattern in patterns) for name in names
    ]
    return np.flatnonzero(found)
