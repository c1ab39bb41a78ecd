"""Layout of a fingerprint: what its numbers are and where they stand."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.pooling import Pool


class PooledFeature(NamedTuple):
    """One number of a fingerprint: a feature of the descriptor, pooled over a group of atoms.

    Attributes:
        pooling: name of the pooling.
        center: symbol of the element whose atoms are pooled; ``""`` where all atoms are.
        entry: index of the number among those that the pooling makes of the feature.
        feature: index of the feature in a row of the descriptor.
    """

    pooling: str
    center: str
    entry: int
    feature: int


def columns(
    descriptor: Descriptor,
    pools: Sequence[Pool],
    elements: Int[Array, " e"],
    *,
    per_element: bool,
) -> Int[Array, " q"]:
    """Find the places of the numbers for some elements in the fingerprint for all elements.

    Args:
        descriptor: the descriptor for all elements.
        pools: the poolings of the fingerprint.
        elements: atomic numbers of the channels.
        per_element: whether the atoms of each element are pooled separately.

    Returns:
        The index of each number in the whole fingerprint; the size of that for a number that is not
        part of it.
    """
    features = descriptor.size
    column = descriptor.columns(elements)
    # With one group for each element, the elements also decide which group a number is of.
    groups, group, known = 1, jnp.zeros(1, int), jnp.ones(1, bool)
    if per_element:
        groups = len(descriptor.elements)
        group, known = descriptor.places(elements)
    size = sum(pool.size for pool in pools) * groups * features
    # The numbers of each pooling follow those of the one before; see Fingerprint.features.
    start, places = 0, []
    for pool in pools:
        row = group[:, None] * pool.size + jnp.arange(pool.size)[None, :]
        present = known[:, None, None] & (column < features)[None, None, :]
        place = start + row[:, :, None] * features + column[None, None, :]
        places.append(jnp.where(present, place, size).ravel())
        start += groups * pool.size * features
    return jnp.concatenate(places)


def find(names: Sequence[str], words: str) -> Int[np.ndarray, " found"]:
    """Find the names that contain all of some words.

    It is the search of :meth:`jaxrecon.descriptors.fingerprint.Fingerprint.find`.

    Args:
        names: the names to search, of words separated by blanks.
        words: words separated by blanks, in any order. ``*`` stands for any text, and the two
            elements of a pair may come in either order.

    Returns:
        The indices of these names.
    """
    patterns = []
    for word in words.split():
        # A name has the elements of a pair in one order: also search for the other one.
        swapped = re.sub(r"\[([^],]*),([^],]*)\]", r"[\2,\1]", word)
        either = {re.escape(text).replace(r"\*", ".*") for text in (word, swapped)}
        patterns.append(re.compile("|".join(sorted(either))))
    found = [
        all(any(map(pattern.fullmatch, name.split())) for pattern in patterns) for name in names
    ]
    return np.flatnonzero(found)
