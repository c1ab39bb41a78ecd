"""Fingerprints of many ASE structures: padded batches of a few shapes, spread over the devices."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import jax
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.bounds import MANY, bounds_of, is_wide, most_neighbors
from jaxrecon.structures.structure import Bounds, Structure, completed_cell, padded, padded_arrays

PROGRAMS = 4
"""Shapes, each compiled once, that a batch of structures is sorted into at most."""

WORTH_COMPILING = 50
"""Structures for which another shape is worth the seconds that it takes to compile."""

PER_CALL = 16
"""Structures that one device is given in one call at most."""

WORKING_SET = 2**17
"""Pairs of neighbours that one device works on at once: more would leave its cache."""


@dataclass(frozen=True)
class _Bucket:
    """Structures that are padded to one shape."""

    members: list[int]
    size: int
    bounds: Bounds | None


def featurize(
    structures: Atoms | Sequence[Atoms],
    fingerprint: Fingerprint,
    *,
    bounds: Bounds | None = None,
    dtype: type = np.float64,
) -> Float[np.ndarray, "structures p"]:
    """Fingerprints of ASE structures, spread over all local devices.

    Sizes, compositions and kinds of periodicity may mix. The structures are padded to at most four
    shapes, for each of which one program is compiled and kept for calls to come.

    Args:
        structures: free ones, or ones periodic along one, two or three axes.
        fingerprint: what to compute.
        bounds: what the atoms of all structures may see; None for what each shape needs.
        dtype: ``numpy.float64``, or ``numpy.float32`` for twice the speed and 6 digits.

    Returns:
        One row a structure, in order, without a unit. What each column is
        :attr:`~jaxrecon.descriptors.fingerprint.Fingerprint.names` says.

    Raises:
        ValueError: if a structure has no atoms, an element that the fingerprint has no channel
            for, more atoms than ``max_atoms``, or a singular or left-handed cell; or if the bounds
            leave out a neighbour.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint
    >>> featurize([molecule("H2O"), molecule("H2")], Fingerprint.preset("fung2022", "HO")).shape
    (2, 860)
    """
    items = [structures] if isinstance(structures, Atoms) else list(structures)
    _check(items, fingerprint)
    values: np.ndarray = np.empty((len(items), fingerprint.size), dtype)
    running: list[tuple[list[int], Array]] = []
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        for bucket in _buckets(items, fingerprint, bounds):
            used = min(len(jax.local_devices()), len(bucket.members))
            each = min(PER_CALL, 1 << (math.ceil(len(bucket.members) / used) - 1).bit_length())
            program = _compiled(fingerprint, bucket.bounds, min(each, _together(bucket)), used)
            width = each * used
            for some in _chunks(bucket.members, width):
                filled = some + some[:1] * (width - len(some))
                chunk = [items[i] for i in filled]
                # In NumPy still: the program splits it over the devices as it takes it.
                running.append((some, program(padded_arrays(chunk, bucket.size, bucket.bounds))))
        for some, result in running:
            values[some] = np.asarray(result)[: len(some)]
    left_out = np.flatnonzero(np.isnan(values[:, :1]).any(axis=1))
    if len(left_out):
        number = left_out[0]
        needed = _bounds([items[number]], fingerprint, "images", len(items[number]))
        raise ValueError(
            f"expected bounds of at least {needed} for structure {number}, got {bounds}"
        )
    return values


def batch(
    structures: Sequence[Atoms], fingerprint: Fingerprint, *, size: int | None = None
) -> Structure:
    """ASE structures as one padded batch with bounds, ready for ``jit``, ``vmap`` and ``grad``.

    Args:
        structures: all free, or all periodic along some axes.
        fingerprint: what will be computed.
        size: atoms to pad to; None for those of the largest.

    Returns:
        Arrays whose first axis is that of the structures, in order; positions in Angstrom.

    Raises:
        ValueError: as :func:`featurize`, or if free and periodic structures are mixed.

    >>> import jax
    >>> from ase.build import bulk
    >>> from jaxrecon import Fingerprint
    >>> fingerprint = Fingerprint.preset("crystal", ["Na", "Cl"])
    >>> crystals = batch([bulk("NaCl", "rocksalt", a=a) for a in (5.5, 5.7)], fingerprint)
    >>> jax.jit(jax.vmap(fingerprint))(crystals).shape
    (2, 184)
    """
    items = list(structures)
    if not items:
        raise ValueError("expected at least one structure, got none")
    _check(items, fingerprint)
    size = size or max(len(atoms) for atoms in items)
    # In a batch with narrow cells, the minimum image is the same as a cell list for the wide ones.
    kinds = {_kind(atoms, fingerprint) for atoms in items}
    kind = next(each for each in ("minimum", "bins", "images", "pairs") if each in kinds)
    return padded(items, size, _bounds(items, fingerprint, kind, size))


def batches(
    structures: Sequence[Atoms], fingerprint: Fingerprint
) -> list[tuple[Int[np.ndarray, " some"], Structure]]:
    """ASE structures of any kind as at most four padded batches, with their places in the list.

    Args:
        structures: sizes, compositions and kinds of periodicity may mix.
        fingerprint: what will be computed.

    Returns:
        Of each batch the places of its structures, and the batch as :func:`batch` makes it.

    Raises:
        ValueError: as :func:`featurize`.

    >>> from ase.build import bulk, molecule
    >>> from jaxrecon import Fingerprint
    >>> mixed = [molecule("H2O"), bulk("Pt"), molecule("H2")]
    >>> fingerprint = Fingerprint.preset("crystal", ["H", "O", "Pt"])
    >>> [where.tolist() for where, _ in batches(mixed, fingerprint)]
    [[2, 0], [1]]
    """
    items = list(structures)
    _check(items, fingerprint)
    return [
        (np.array(some.members), padded([items[i] for i in some.members], some.size, some.bounds))
        for some in _buckets(items, fingerprint, None)
    ]


def _check(items: Sequence[Atoms], fingerprint: Fingerprint) -> None:
    allowed = np.zeros(len(chemical_symbols), bool)
    allowed[list(fingerprint.descriptor.species)] = True
    for number, atoms in enumerate(items):
        numbers = atoms.numbers
        if not len(numbers):
            raise ValueError(f"expected at least one atom in structure {number}, got none")
        if not allowed[numbers].all():
            foreign = sorted({chemical_symbols[z] for z in numbers[~allowed[numbers]]})
            raise ValueError(
                f"expected elements among {fingerprint.descriptor.elements} in structure {number}, "
                f"got {foreign}"
            )
        if not np.isfinite(atoms.positions).all():
            raise ValueError(f"expected finite positions in structure {number}, got others")
        if fingerprint.per_atom and fingerprint.max_atoms is not None:
            most = np.bincount(numbers).max() if fingerprint.per_element else len(numbers)
            if most > fingerprint.max_atoms:
                raise ValueError(
                    f"expected max_atoms >= {most} for structure {number}, "
                    f"got {fingerprint.max_atoms}"
                )
        if atoms.pbc.any():
            try:
                completed_cell(atoms)
            except ValueError as error:
                raise ValueError(f"{error} (structure {number})") from error


def _kind(atoms: Atoms, fingerprint: Fingerprint) -> str:
    """How the neighbours are found: among ``pairs``, ``images`` or ``bins``."""
    if len(atoms) > MANY and (
        fingerprint.images == "all"
        or not atoms.pbc.any()
        or is_wide(completed_cell(atoms), atoms.pbc, fingerprint.descriptor.r_cut)
    ):
        return "bins"
    if not atoms.pbc.any():
        return "pairs"
    return "images" if fingerprint.images == "all" else "minimum"


def _buckets(
    items: Sequence[Atoms], fingerprint: Fingerprint, bounds: Bounds | None
) -> list[_Bucket]:
    kinds: dict[str, list[int]] = {}
    for number, atoms in enumerate(items):
        kinds.setdefault(_kind(atoms, fingerprint), []).append(number)
    buckets = []
    for kind, members in kinds.items():
        r_cut = fingerprint.descriptor.r_cut
        sizes = np.array([len(items[i]) for i in members])
        seen = sizes
        if kind in ("images", "bins"):
            seen = np.array([most_neighbors(items[i], r_cut) for i in members])
        parts = min(PROGRAMS // len(kinds), 1 + len(members) // WORTH_COMPILING)
        for some in _split(sizes, seen, parts):
            chosen = [items[members[i]] for i in some]
            size = _rounded(int(sizes[some].max()))
            if bounds is None:
                own = _bounds(chosen, fingerprint, kind, size, int(seen[some].max()))
            else:
                own = bounds if kind in ("images", "bins") else replace(bounds, bins=None)
            buckets.append(_Bucket([members[i] for i in some], size, own))
    return buckets


def _bounds(
    items: Sequence[Atoms], fingerprint: Fingerprint, kind: str, size: int, most: int | None = None
) -> Bounds | None:
    """Bounds for structures whose neighbours are all found in one way."""
    elements = _most_elements(items, fingerprint)
    if kind in ("images", "bins"):
        r_cut = fingerprint.descriptor.r_cut
        return bounds_of(items, r_cut, size=size, elements=elements, most=most)
    return None if elements is None else Bounds(capacity=size, elements=elements)


def _split(sizes: np.ndarray, seen: np.ndarray, parts: int) -> Iterator[np.ndarray]:
    """Cut structures, sorted by their work, where the padded work of all parts is least.

    The work of a structure is its atoms times the square of their neighbours.
    """
    order = np.argsort(sizes * seen.astype(float) ** 2, kind="stable")
    cuts = np.unique(np.linspace(0, len(order), 17).astype(int))
    last = len(cuts) - 1
    # The largest of every stretch between two cuts, and of every row of stretches.
    widest = [
        np.maximum.accumulate(
            [[each[order[s:e]].max() for each in (sizes, seen)] for s, e in pairwise(cuts[start:])]
        )
        for start in range(last)
    ]

    def work(start: int, end: int) -> float:
        atoms, neighbors = widest[start][end - start - 1]
        return float(cuts[end] - cuts[start]) * atoms * float(neighbors) ** 2

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
    """Different elements in one structure at most; None if that is not worth a thought."""
    every = len(fingerprint.descriptor.species)
    if every == 1 or (fingerprint.descriptor.fixed_length and not fingerprint.per_element):
        return None
    most = max(len(set(atoms.numbers.tolist())) for atoms in items)
    return most if most < every else None


def _rounded(atoms: int) -> int:
    """A number of atoms to pad to, so that batches to come find a program that fits."""
    steps = [(32, 2), (64, 8), (math.inf, 64)]
    step = next(step for limit, step in steps if atoms <= limit)
    return step * math.ceil(atoms / step)


def _together(bucket: _Bucket) -> int:
    neighbors = bucket.size if bucket.bounds is None else bucket.bounds.capacity
    room = max(1, WORKING_SET // (bucket.size * neighbors**2))
    return min(PER_CALL, 1 << (room.bit_length() - 1))


def _chunks(members: list[int], length: int) -> Iterator[list[int]]:
    for start in range(0, len(members), length):
        yield members[start : start + length]


@lru_cache(maxsize=64)
def _compiled(
    fingerprint: Fingerprint, bounds: Bounds | None, together: int, devices: int
) -> Callable[[dict[str, np.ndarray]], Array]:
    mesh = Mesh(np.asarray(jax.local_devices()[:devices]), ("structures",))
    split = PartitionSpec("structures")

    def one(arrays: dict[str, Array]) -> Array:
        return fingerprint(Structure(**arrays, bounds=bounds))

    def local(some: dict[str, Array]) -> Array:
        return jax.lax.map(one, some, batch_size=together)

    return jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    )
