"""Fingerprints of many ASE structures, in a few padded shapes and spread over all devices.

JAX compiles a program for every shape of arrays, which takes seconds. Structures of different sizes
are therefore sorted into a few buckets, in each of which all are padded to one shape.
"""

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
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Bounds, Structure, completed_cell, padded, padded_arrays

MOST_PROGRAMS = 4
"""Largest number of buckets, for each of which a program is compiled."""

WORTH_COMPILING = 50
"""Number of structures for which another bucket is worth the seconds that compiling it takes."""

PER_CALL = 16
"""Largest number of structures that a device gets in one call."""

WORKING_SET = 2**17
"""Number of pairs of neighbours that a device works on at once and that fit into its cache."""


@dataclass(frozen=True)
class _Bucket:
    """Structures that are padded to one shape.

    Attributes:
        members: indices of the structures.
        size: padded number of atoms.
        bounds: static sizes for all of them.
    """

    members: list[int]
    size: int
    bounds: Bounds | None


def featurize(
    structures: Structures,
    fingerprint: Fingerprint,
    *,
    bounds: Bounds | None = None,
    dtype: type = np.float64,
) -> Float[np.ndarray, "structures p"]:
    """Compute the fingerprints of ASE structures on all local devices.

    Structures of different sizes, compositions and periodicity may be mixed. They are padded to at
    most four shapes. A program is compiled for each shape, which takes seconds, and is used again
    in later calls with structures of similar size.

    Args:
        structures: one structure or several, free or periodic along one, two or three axes: of ASE
            or of pymatgen, or the names of files that ASE can read.
        fingerprint: the fingerprint to compute.
        bounds: static sizes for all structures; None to find those that each shape needs.
        dtype: ``numpy.float64``, or ``numpy.float32`` for twice the speed and 6 digits.

    Returns:
        One row of numbers, without a unit, for each structure, in the given order. The columns are
        named in :attr:`~jaxrecon.descriptors.fingerprint.Fingerprint.names`.

    Raises:
        ValueError: if a structure has no atoms, an element that the fingerprint does not have,
            positions that are not finite, more atoms than ``max_atoms``, or a singular cell; or if
            the given bounds are too small for a structure; or if it is no structure.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint
    >>> featurize([molecule("H2O"), molecule("H2")], Fingerprint.preset("fung2022", "HO")).shape
    (2, 860)
    """
    items = as_structures(structures)
    _check(items, fingerprint)
    values: np.ndarray = np.empty((len(items), fingerprint.size), dtype)
    running: list[tuple[list[int], Array]] = []
    with jax.enable_x64(np.dtype(dtype) == np.float64):
        for bucket in _buckets(items, fingerprint, bounds):
            # Give every device the same number of structures in a call: a power of two, so that few
            # different programs are compiled.
            devices = min(len(jax.local_devices()), len(bucket.members))
            count = math.ceil(len(bucket.members) / devices)
            per_device = min(PER_CALL, 1 << (count - 1).bit_length())
            at_once = min(per_device, _fitting_into_cache(bucket))
            program = _compiled(fingerprint, bucket.bounds, at_once, devices)
            width = per_device * devices
            for members in _chunks(bucket.members, width):
                # Fill the last call up with copies of a structure, whose results are discarded.
                filled = members + members[:1] * (width - len(members))
                chunk = [items[i] for i in filled]
                # The arrays are still NumPy's: the program sends each device its part of them. It
                # runs in the background while the next arrays are prepared.
                arrays = padded_arrays(chunk, bucket.size, bucket.bounds)
                running.append((members, program(arrays)))
        for members, result in running:
            values[members] = np.asarray(result)[: len(members)]
    # A fingerprint is NaN if static sizes were too small. Only given bounds can be.
    overflowed = np.flatnonzero(np.isnan(values[:, :1]).any(axis=1))
    if len(overflowed):
        number = overflowed[0]
        needed = _bounds([items[number]], fingerprint, "images", len(items[number]))
        raise ValueError(
            f"expected bounds of at least {needed} for structure {number}, got {bounds}"
        )
    return values


def batch(
    structures: Structures, fingerprint: Fingerprint, *, size: int | None = None
) -> Structure:
    """Make one padded batch of ASE structures, for programs of your own with ``vmap`` and ``grad``.

    Args:
        structures: as for :func:`featurize`; all free, or all periodic along some axes.
        fingerprint: the fingerprint that will be computed, which decides on the static sizes.
        size: padded number of atoms; None for that of the largest structure.

    Returns:
        A structure whose arrays have a leading batch axis, in the given order; positions and cells
        in Angstrom.

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
    items = as_structures(structures)
    if not items:
        raise ValueError("expected at least one structure, got none")
    _check(items, fingerprint)
    size = size or max(len(atoms) for atoms in items)
    # All structures of a batch share one way to find neighbours: take one that is right for all.
    # The minimum image is also right for wide cells, for which a cell list would be faster.
    kinds = {_kind(atoms, fingerprint) for atoms in items}
    kind = next(kind for kind in ("minimum", "bins", "images", "pairs") if kind in kinds)
    return padded(items, size, _bounds(items, fingerprint, kind, size))


def batches(
    structures: Structures, fingerprint: Fingerprint
) -> list[tuple[Int[np.ndarray, " b"], Structure]]:
    """Make at most four padded batches of ASE structures of any kind.

    Args:
        structures: as for :func:`featurize`, of any sizes, compositions and periodicity.
        fingerprint: the fingerprint that will be computed, which decides on the static sizes.

    Returns:
        For each batch the indices of its structures, and the batch as :func:`batch` makes it.

    Raises:
        ValueError: as :func:`featurize`.

    >>> from ase.build import bulk, molecule
    >>> from jaxrecon import Fingerprint
    >>> mixed = [molecule("H2O"), bulk("Pt"), molecule("H2")]
    >>> fingerprint = Fingerprint.preset("crystal", ["H", "O", "Pt"])
    >>> [indices.tolist() for indices, _ in batches(mixed, fingerprint)]
    [[2, 0], [1]]
    """
    items = as_structures(structures)
    _check(items, fingerprint)
    result = []
    for bucket in _buckets(items, fingerprint, None):
        members = [items[i] for i in bucket.members]
        result.append((np.array(bucket.members), padded(members, bucket.size, bucket.bounds)))
    return result


def _check(items: Sequence[Atoms], fingerprint: Fingerprint) -> None:
    """Raise a ValueError that names the first structure whose fingerprint can't be computed."""
    allowed = np.zeros(len(chemical_symbols), bool)
    allowed[list(fingerprint.descriptor.species)] = True
    for number, atoms in enumerate(items):
        numbers = atoms.numbers
        if not len(numbers):
            raise ValueError(f"expected at least one atom in structure {number}, got none")
        if not allowed[numbers].all():
            unknown = sorted({chemical_symbols[z] for z in numbers[~allowed[numbers]]})
            raise ValueError(
                f"expected elements among {fingerprint.descriptor.elements} in structure {number}, "
                f"got {unknown}"
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
    """How the neighbours of a structure are found.

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


def _buckets(
    items: Sequence[Atoms], fingerprint: Fingerprint, bounds: Bounds | None
) -> list[_Bucket]:
    """Sort structures into at most ``MOST_PROGRAMS`` buckets with similar work in each."""
    # Each way to find neighbours has a program of its own.
    kinds: dict[str, list[int]] = {}
    for number, atoms in enumerate(items):
        kinds.setdefault(_kind(atoms, fingerprint), []).append(number)
    buckets = []
    for kind, members in kinds.items():
        r_cut = fingerprint.descriptor.r_cut
        sizes = np.array([len(items[i]) for i in members])
        most = sizes
        if kind in ("images", "bins"):
            most = np.array([most_neighbors(items[i], r_cut) for i in members])
        # Split by the work of a structure, into as many parts as are worth a program each.
        parts = min(MOST_PROGRAMS // len(kinds), 1 + len(members) // WORTH_COMPILING)
        for part in _split(sizes, most, parts):
            chosen = [items[members[i]] for i in part]
            size = _rounded(int(sizes[part].max()))
            if bounds is None:
                own = _bounds(chosen, fingerprint, kind, size, int(most[part].max()))
            else:
                # Bins in the given bounds would turn the minimum image into all images.
                own = bounds if kind in ("images", "bins") else replace(bounds, bins=None)
            buckets.append(_Bucket([members[i] for i in part], size, own))
    return buckets


def _bounds(
    items: Sequence[Atoms], fingerprint: Fingerprint, kind: str, size: int, most: int | None = None
) -> Bounds | None:
    """Bounds for structures whose neighbours are found in the same way; None if none are needed."""
    elements = _most_elements(items, fingerprint)
    if kind in ("images", "bins"):
        r_cut = fingerprint.descriptor.r_cut
        return bounds_of(items, r_cut, size=size, elements=elements, most=most)
    return None if elements is None else Bounds(capacity=size, elements=elements)


def _split(sizes: np.ndarray, most: np.ndarray, parts: int) -> Iterator[np.ndarray]:
    """Split structures into parts of similar work, so that the padded work of all is smallest.

    The work of a structure is its number of atoms times the square of their number of neighbours.
    Padding makes the work of each structure of a part that of the largest numbers in it.
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


def _rounded(atoms: int) -> int:
    """Round a number of atoms up, so that later calls with similar sizes use the same program."""
    steps = [(32, 2), (64, 8), (math.inf, 64)]
    step = next(step for limit, step in steps if atoms <= limit)
    return step * math.ceil(atoms / step)


def _fitting_into_cache(bucket: _Bucket) -> int:
    """Number of structures, a power of two, that a device computes at once."""
    neighbors = bucket.size if bucket.bounds is None else bucket.bounds.capacity
    number = max(1, WORKING_SET // (bucket.size * neighbors**2))
    return min(PER_CALL, 1 << (number.bit_length() - 1))


def _chunks(members: list[int], length: int) -> Iterator[list[int]]:
    """Cut a list into pieces of a length; the last one may be shorter."""
    for start in range(0, len(members), length):
        yield members[start : start + length]


@lru_cache(maxsize=64)
def _compiled(
    fingerprint: Fingerprint, bounds: Bounds | None, at_once: int, devices: int
) -> Callable[[dict[str, np.ndarray]], Array]:
    """A program for arrays of structures, which it spreads over devices."""
    mesh = Mesh(np.asarray(jax.local_devices()[:devices]), ("structures",))
    split = PartitionSpec("structures")

    def of_structure(arrays: dict[str, Array]) -> Array:
        return fingerprint(Structure(**arrays, bounds=bounds))

    def on_device(arrays: dict[str, Array]) -> Array:
        return jax.lax.map(of_structure, arrays, batch_size=at_once)

    return jax.jit(
        jax.shard_map(on_device, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    )
