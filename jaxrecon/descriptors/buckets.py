"""Buckets: structures sorted by work and padded to few shapes, each of which takes one program."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from ase import Atoms

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.bounds import MANY, bounds_of, is_wide, most_neighbors
from jaxrecon.structures.structure import Bounds, completed_cell

MOST_PROGRAMS = 4
"""Largest number of buckets, for each of which a program is compiled."""

WORTH_COMPILING = 50
"""Number of structures for which another bucket is worth the seconds that compiling it takes."""

PER_CALL = 16
"""Largest number of structures that a device gets in one call."""

WORKING_SET = 2**17
"""Number of pairs of neighbours that a device works on at once and that fit into its cache."""

LONG = 2**16
"""Numbers of a fingerprint above which a device gives those of a structure's elements alone."""


@dataclass(frozen=True)
class Bucket:
    """Structures that are padded to one shape.

    Attributes:
        members: indices of the structures.
        size: padded number of atoms.
        bounds: static sizes for all of them.
    """

    members: list[int]
    size: int
    bounds: Bounds | None


def kind_of(atoms: Atoms, fingerprint: Fingerprint) -> str:
    """How the neighbours of a structure are found.

    Args:
        atoms: the structure.
        fingerprint: the fingerprint to compute.

    Returns:
        ``"pairs"``: among all pairs of atoms of a free structure. ``"minimum"``: among the nearest
        images. ``"images"``: among all periodic images. ``"bins"``: by a cell list, for many atoms.
    """
    # A cell list finds all images. These are the minimum images if the cell is wide enough.
    if len(atoms) > MANY and (
        fingerprint.images == "all"
        or not atoms.pbc.any()
        or is_wide(completed_cell(atoms), atoms.pbc, fingerprint.descriptor.r_cut)
    ):
        return "bins"
    if not atoms.pbc.any():
        return "pairs"
    return "images" if fingerprint.images == "all" else "minimum"


def buckets_of(
    items: Sequence[Atoms], fingerprint: Fingerprint, bounds: Bounds | None
) -> list[Bucket]:
    """Sort structures into few buckets with similar work in each.

    Args:
        items: the structures.
        fingerprint: the fingerprint to compute.
        bounds: static sizes for all structures; None to find those that each bucket needs.

    Returns:
        At most :data:`MOST_PROGRAMS` buckets; for a fingerprint longer than :data:`LONG`, as many
        for each power of two up to which structures have different elements.
    """
    # Each way to find neighbours has a program of its own. The numbers that are computed of a long
    # fingerprint grow with the elements of a structure: few of these must not wait for many.
    long = fingerprint.size > LONG
    kinds: dict[tuple[str, int], list[int]] = {}
    for number, atoms in enumerate(items):
        elements = (len(set(atoms.numbers.tolist())) - 1).bit_length() if long else 0
        kinds.setdefault((kind_of(atoms, fingerprint), elements), []).append(number)
    kinds_alone = {kind for kind, _ in kinds}
    buckets = []
    for (kind, _), members in kinds.items():
        r_cut = fingerprint.descriptor.r_cut
        sizes = np.array([len(items[i]) for i in members])
        most = sizes
        if kind in ("images", "bins"):
            most = np.array([most_neighbors(items[i], r_cut) for i in members])
        # Split by the work of a structure, into as many parts as are worth a program each.
        parts = min(MOST_PROGRAMS // len(kinds_alone), 1 + len(members) // WORTH_COMPILING)
        for part in split_by_work(sizes, most, parts):
            chosen = [items[members[i]] for i in part]
            size = _rounded(int(sizes[part].max()))
            if bounds is None:
                own = common_bounds(chosen, fingerprint, kind, size, int(most[part].max()))
            else:
                # Bins in the given bounds would turn the minimum image into all images.
                own = bounds if kind in ("images", "bins") else replace(bounds, bins=None)
            buckets.append(Bucket([members[i] for i in part], size, own))
    return buckets


def common_bounds(
    items: Sequence[Atoms], fingerprint: Fingerprint, kind: str, size: int, most: int | None = None
) -> Bounds | None:
    """Bounds for structures whose neighbours are found in the same way.

    Args:
        items: the structures.
        fingerprint: the fingerprint to compute.
        kind: how neighbours are found, from :func:`kind_of`.
        size: padded number of atoms.
        most: largest number of neighbours; None to find it.

    Returns:
        The bounds; None if none are needed.
    """
    elements = _most_elements(items, fingerprint)
    if kind in ("images", "bins"):
        r_cut = fingerprint.descriptor.r_cut
        return bounds_of(items, r_cut, size=size, elements=elements, most=most)
    return None if elements is None else Bounds(capacity=size, elements=elements)


def split_by_work(sizes: np.ndarray, most: np.ndarray, parts: int) -> Iterator[np.ndarray]:
    """Split structures into parts of similar work, so that the padded work of all is smallest.

    The work of a structure is its number of atoms times the square of their number of neighbours.
    Padding makes the work of each structure of a part that of the largest numbers in it.

    Args:
        sizes: number of atoms of each structure.
        most: largest number of neighbours of an atom of each structure.
        parts: largest number of parts.

    Yields:
        The indices of the structures of each part.
    """
    # Sort by work, and cut only between sixteen stretches: the search below is quadratic in these.
    order = np.argsort(sizes * most.astype(float) ** 2, kind="stable")
    cuts = np.unique(np.linspace(0, len(order), 17).astype(int))
    last = len(cuts) - 1
    # widest[i][j] has the largest numbers of atoms and neighbours from cut i to cut i + j + 1.
    widest = [
        np.maximum.accumulate(
            [
                [numbers[order[first:end]].max() for numbers in (sizes, most)]
                for first, end in pairwise(cuts[start:])
            ]
        )
        for start in range(last)
    ]

    def work(start: int, end: int) -> float:
        """The padded work of all structures between two cuts."""
        atoms, neighbors = widest[start][end - start - 1]
        return float(cuts[end] - cuts[start]) * atoms * float(neighbors) ** 2

    # Dynamic programming: best[end] is the smallest work of the structures up to a cut, and where
    # to cut for it. Each round allows one part more, which begins at some cut in between.
    best = {end: (work(0, end), [0, end]) for end in range(1, last + 1)}
    for _ in range(parts - 1):
        longer = dict(best)
        for end in range(2, last + 1):
            for middle in range(1, end):
                total = best[middle][0] + work(middle, end)
                if total < longer[end][0]:
                    longer[end] = (total, [*best[middle][1], end])
        best = longer
    for start, end in pairwise(best[last][1]):
        yield order[cuts[start] : cuts[end]]


def _most_elements(items: Sequence[Atoms], fingerprint: Fingerprint) -> int | None:
    """Largest number of different elements in a structure; None if all channels are needed."""
    channels = len(fingerprint.descriptor.species)
    if channels == 1 or (fingerprint.descriptor.fixed_length and not fingerprint.per_element):
        return None
    most = max(len(set(atoms.numbers.tolist())) for atoms in items)
    return most if most < channels else None


def numbers_in(fingerprint: Fingerprint, bucket: Bucket) -> int:
    """Number of the numbers that a device computes for each structure of a bucket.

    Args:
        fingerprint: the fingerprint to compute.
        bucket: the bucket.
    """
    if bucket.bounds is None or bucket.bounds.elements is None:
        return fingerprint.size
    return fingerprint.restricted(fingerprint.descriptor.elements[: bucket.bounds.elements]).size


def _rounded(atoms: int) -> int:
    """Round a number of atoms up, so that later calls with similar sizes use the same program."""
    steps = [(32, 2), (64, 8), (math.inf, 64)]
    step = next(step for limit, step in steps if atoms <= limit)
    return step * math.ceil(atoms / step)


def fitting_into_cache(bucket: Bucket) -> int:
    """Number of structures, a power of two, that a device computes at once.

    Args:
        bucket: the bucket.
    """
    neighbors = bucket.size if bucket.bounds is None else bucket.bounds.capacity
    number = max(1, WORKING_SET // (bucket.size * neighbors**2))
    return min(PER_CALL, 1 << (number.bit_length() - 1))
