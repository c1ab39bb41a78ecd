"""Fingerprints of many ASE structures, in a few padded shapes and spread over all devices.

JAX compiles a program for every shape of arrays, which takes seconds. Structures of different sizes
are therefore sorted into a few :mod:`~jaxrecon.descriptors.buckets`, and padded to one shape in
each.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.buckets import (
    LONG,
    PER_CALL,
    buckets_of,
    common_bounds,
    fitting_into_cache,
    kind_of,
    numbers_in,
)
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.descriptors.pooling import pooled
from jaxrecon.runtime.memory import check_memory
from jaxrecon.runtime.programs import programs_kept
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Bounds, Structure, completed_cell, padded, padded_arrays

IN_FLIGHT = 2**28
"""Bytes of results of calls that run, or have ended, before the first of them is fetched."""

Found = tuple[Float[Array, "b q"], Int[Array, "b q"] | None]
"""Numbers of several structures, and their columns; None where they are whole fingerprints."""


def featurize(
    structures: Structures,
    fingerprint: Fingerprint,
    *,
    bounds: Bounds | None = None,
    dtype: type = np.float64,
) -> Float[np.ndarray, "structures p"]:
    """Compute the fingerprints of ASE structures on all local devices.

    Structures of different sizes, compositions and periodicity may be mixed. They are padded to at
    few shapes, at most four unless the fingerprint is very long. A program is compiled for each
    shape, which takes seconds, and is used again in later calls with structures of similar size.

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
            the given bounds are too small for a structure; or if it is no structure; or if a
            descriptor of your own gives a number that is not finite.
        MemoryError: if the result does not fit into the available memory. It is raised before
            anything is computed.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint
    >>> featurize([molecule("H2O"), molecule("H2")], Fingerprint.preset("fung2022", "HO")).shape
    (2, 860)
    """
    items = as_structures(structures)
    _check(items, fingerprint)
    size, number_bytes = fingerprint.size, np.dtype(dtype).itemsize
    check_memory(
        len(items) * size * number_bytes,
        f"{len(items)} fingerprints of {size} numbers",
        "use weighted elements (--preset gastegger2018), or fewer structures at a time with their "
        "--elements alone",
    )
    # Zeros that are never written take no memory.
    values: np.ndarray = np.zeros((len(items), size), dtype)
    strange = np.zeros(len(items), bool)
    running: deque[tuple[list[int], Found]] = deque()
    in_flight = 0

    def fetch() -> int:
        """Write the result of the oldest call, and return its bytes on the device."""
        members, found = running.popleft()
        numbers, places = jax.device_get(found)
        strange[members] = ~np.isfinite(numbers[: len(members)]).all(axis=1)
        if places is None:
            values[members] = numbers[: len(members)]
        else:
            for row, own, columns in zip(members, numbers, places, strict=False):
                # Numbers of padded channels have no column.
                inside = columns < size
                values[row, columns[inside]] = own[inside]
        return sum(array.nbytes for array in jax.tree.leaves(found))

    with jax.enable_x64(np.dtype(dtype) == np.float64):
        for bucket in buckets_of(items, fingerprint, bounds):
            # Give every device the same number of structures in a call: a power of two, so that few
            # different programs are compiled.
            devices = min(len(jax.local_devices()), len(bucket.members))
            count = math.ceil(len(bucket.members) / devices)
            per_device = min(PER_CALL, 1 << (count - 1).bit_length())
            if fingerprint.size > LONG:
                most = IN_FLIGHT // (4 * number_bytes * devices * numbers_in(fingerprint, bucket))
                per_device = min(per_device, 1 << max(0, most.bit_length() - 1))
            at_once = min(per_device, fitting_into_cache(bucket))
            width = per_device * devices
            shapes = width, bucket.size, number_bytes
            program = _compiled(fingerprint, bucket.bounds, at_once, devices, shapes)
            for members in _chunks(bucket.members, width):
                # Fill the last call up with copies of a structure, whose results are discarded.
                filled = members + members[:1] * (width - len(members))
                chunk = [items[i] for i in filled]
                # The arrays are still NumPy's: the program sends each device its part of them. It
                # runs in the background while the next arrays are prepared.
                arrays = padded_arrays(chunk, bucket.size, bucket.bounds)
                running.append((members, program(arrays)))
                in_flight += sum(array.nbytes for array in jax.tree.leaves(running[-1][1]))
                while in_flight > IN_FLIGHT and len(running) > 1:
                    in_flight -= fetch()
        while running:
            fetch()
    if strange.any():
        number = int(np.flatnonzero(strange)[0])
        first = int(np.flatnonzero(~np.isfinite(values[number]))[0])
        # A fingerprint is NaN if static sizes were too small. Only given bounds can be.
        if bounds is None:
            raise ValueError(
                f"expected finite numbers, got {values[number, first]} in structure {number}, "
                f"feature {first} ({fingerprint.names[first]})"
            )
        needed = common_bounds([items[number]], fingerprint, "images", len(items[number]))
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
    kinds = {kind_of(atoms, fingerprint) for atoms in items}
    kind = next(kind for kind in ("minimum", "bins", "images", "pairs") if kind in kinds)
    return padded(items, size, common_bounds(items, fingerprint, kind, size))


def batches(
    structures: Structures, fingerprint: Fingerprint
) -> list[tuple[Int[np.ndarray, " b"], Structure]]:
    """Make a few padded batches of ASE structures of any kind, as :func:`featurize` does.

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
    for bucket in buckets_of(items, fingerprint, None):
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


def _chunks(members: list[int], length: int) -> Iterator[list[int]]:
    """Cut a list into pieces of a length; the last one may be shorter."""
    for start in range(0, len(members), length):
        yield members[start : start + length]


@programs_kept()
def _compiled(
    fingerprint: Fingerprint, bounds: Bounds | None, at_once: int, devices: int, shapes: Hashable
) -> Callable[[dict[str, np.ndarray]], Found]:
    """A program for arrays of structures of some shapes, which it spreads over devices."""
    mesh = Mesh(np.asarray(jax.local_devices()[:devices]), ("structures",))
    split = PartitionSpec("structures")

    def of_structure(arrays: dict[str, Array]) -> tuple[Array, Array | None]:
        structure = Structure(**arrays, bounds=bounds)
        if fingerprint.size <= LONG:
            return fingerprint(structure), None
        # The zeros of a long fingerprint, almost all of it, are never on the device.
        view = fingerprint.view(structure)
        rows = fingerprint.rows(view)
        # One group of atoms after the other: together they need a copy of the rows for each group.
        blocks = [
            jax.lax.map(partial(pooled, pool, rows), view.groups).ravel()
            for pool in fingerprint.pools
        ]
        numbers = jnp.concatenate(blocks)
        return jnp.where(view.neighbors.overflow, jnp.nan, numbers), view.columns

    def on_device(arrays: dict[str, Array]) -> tuple[Array, Array | None]:
        return jax.lax.map(of_structure, arrays, batch_size=at_once)

    return jax.jit(
        jax.shard_map(on_device, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    )
