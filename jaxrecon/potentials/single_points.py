"""Energies, forces and stress of many structures by a potential in JAX, in few programs."""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from jaxrecon.descriptors.buckets import MOST_PROGRAMS, WORTH_COMPILING, Bucket, split_by_work
from jaxrecon.potentials.potential import Potential, Prediction, kept_with_potential
from jaxrecon.runtime.devices import memory_of
from jaxrecon.runtime.memory import check_memory
from jaxrecon.structures.bounds import MANY, bounds_of, most_neighbors
from jaxrecon.structures.inputs import Structures, as_structures
from jaxrecon.structures.structure import Bounds, Structure, completed_cell, padded_arrays

WORKING_SET = 2**26
"""Bytes that structures computed side by side may take on a device without memory of its own."""

SHARE = 8
"""Part of the memory of a device, as a divisor, that structures computed side by side may take."""

MOST_PER_CALL = 256
"""Largest number of structures that a device gets in one call."""

SLACK = 1e-5
"""Relative slack of the cutoff when sizes are found, as float32 may put a neighbour inside it."""


class SinglePoint(NamedTuple):
    """What a potential says of one structure.

    Attributes:
        energy: total energy in eV: the sum of the energies of the atoms, in float64.
        energies: energy of each atom in eV.
        forces: in eV/Angstrom, one row per atom.
        stress: xx, yy, zz, yz, xz and xy in eV/Angstrom^3 with the sign of ASE; None unless the
            structure repeats along all three axes.
    """

    energy: float
    energies: Float[np.ndarray, " n"]
    forces: Float[np.ndarray, "n 3"]
    stress: Float[np.ndarray, " 6"] | None


def single_points(
    structures: Structures,
    potential: Potential,
    *,
    parameters: Any = None,
    bounds: Bounds | None = None,
    dtype: type[np.floating] | None = None,
) -> list[SinglePoint]:
    """Compute energies, forces and stress of structures on all local devices.

    Structures of different sizes, compositions and periodicity may be mixed: free ones, and ones
    with cells of any shape, also narrower than the cutoff. They are padded to at most four shapes,
    and a program is compiled for each.

    Args:
        structures: as for :func:`jaxrecon.featurize`; positions and cells in Angstrom.
        potential: the potential.
        parameters: a pytree like ``potential.parameters``; None for these.
        bounds: static sizes for all structures; None to find those that each shape needs.
        dtype: ``numpy.float64`` or ``numpy.float32``; None for the precision of the potential.

    Returns:
        One result for each structure, in the given order.

    Raises:
        ValueError: if a structure has no atoms, an element that the potential lacks, positions that
            are not finite or a singular cell; or if the given bounds are too small, or the data
            type is another one.
        MemoryError: if a structure does not fit into the memory.

    >>> from ase.build import bulk
    >>> from jaxrecon.potentials.tersoff import Tersoff
    >>> found = single_points([bulk("C"), bulk("Si"), Atoms("C")], Tersoff())
    >>> [round(point.energy, 2) for point in found]
    [-14.74, -9.26, 0.0]
    """
    items = as_structures(structures)
    for number, atoms in enumerate(items):
        try:
            check_structure(atoms, potential)
        except ValueError as error:
            raise ValueError(f"{error} (structure {number})") from error
    found = dict(
        each_single_point(items, potential, parameters=parameters, bounds=bounds, dtype=dtype)
    )
    return [found[number] for number in range(len(items))]


def check_structure(atoms: Atoms, potential: Potential) -> None:
    """Check that a potential can compute a structure.

    Args:
        atoms: the structure.
        potential: the potential.

    Raises:
        ValueError: if it has no atoms, an element that the potential lacks, positions that are not
            finite or a singular cell.
    """
    if not len(atoms):
        raise ValueError("expected at least one atom, got none")
    potential.check_elements(atoms.symbols)
    if not np.isfinite(atoms.positions).all():
        raise ValueError("expected finite positions, got others")
    if atoms.pbc.any():
        completed_cell(atoms)


def each_single_point(
    items: Sequence[Atoms],
    potential: Potential,
    *,
    parameters: Any = None,
    bounds: Bounds | None = None,
    dtype: type[np.floating] | None = None,
) -> Iterator[tuple[int, SinglePoint]]:
    """Compute structures that :func:`check_structure` has passed, and yield results as they come.

    Args:
        items: the structures.
        potential: as for :func:`single_points`.
        parameters: as for :func:`single_points`.
        bounds: as for :func:`single_points`.
        dtype: as for :func:`single_points`.

    Yields:
        The index of a structure and its result, call by call; the order is not that of the items.

    Raises:
        ValueError: if the given bounds are too small for a structure, or the data type is another
            one.
        MemoryError: if a structure does not fit into the memory.
    """
    precision = np.dtype(potential.dtype if dtype is None else dtype)
    if precision not in (np.float32, np.float64):
        raise ValueError(f"expected dtype float32 or float64, got {precision}")
    if parameters is None:
        potential = potential.restricted({symbol for atoms in items for symbol in atoms.symbols})
        parameters = potential.parameters
    running: deque[tuple[list[int], Prediction]] = deque()
    for bucket in _buckets(items, potential, bounds):
        devices = min(len(jax.local_devices()), len(bucket.members))
        width = _per_device(bucket, potential, devices) * devices
        for start in range(0, len(bucket.members), width):
            members = bucket.members[start : start + width]
            # Fill the last call up with copies of a structure, whose results are discarded.
            chunk = [items[i] for i in members + members[:1] * (width - len(members))]
            with jax.enable_x64(precision == np.float64):
                arrays = _arrays(chunk, bucket)
                shapes = width, bucket.size, np.dtype(precision)
                program = _compiled(potential, bucket.bounds, devices, shapes)
                running.append((members, program(parameters, arrays)))
            # The next call runs while the results of the one before are fetched.
            if len(running) > 1:
                yield from _fetched(items, *running.popleft())
    while running:
        yield from _fetched(items, *running.popleft())


def bounds_for(items: Sequence[Atoms], r_cut: float, size: int, most: int | None = None) -> Bounds:
    """Static sizes for structures that are padded to one shape.

    Args:
        items: the structures.
        r_cut: cutoff in Angstrom.
        size: padded number of atoms.
        most: largest number of neighbours of an atom; None to find it.

    Returns:
        The bounds; capacities are rounded, so that similar structures share a program.
    """
    reach = r_cut * (1.0 + SLACK)
    if most is None:
        most = max(most_neighbors(atoms, reach) for atoms in items)
    capacity = rounded(max(most, 1))
    if not any(atoms.pbc.any() for atoms in items):
        capacity = min(capacity, max(size - 1, 1))
    return replace(bounds_of(items, reach, size=size, most=most), capacity=capacity)


def rounded(number: int) -> int:
    """Round a number of atoms or neighbours up, by an eighth at most where there are many.

    >>> [rounded(number) for number in (1, 9, 33, 200)]
    [2, 10, 36, 208]
    """
    step = max(2, 2 ** (number.bit_length() - 4))
    return step * math.ceil(number / step)


def _buckets(
    items: Sequence[Atoms], potential: Potential, bounds: Bounds | None
) -> Iterator[Bucket]:
    """Sort structures into few buckets of similar work, as fingerprints are."""
    # Free and periodic structures share programs only where a cell list spans both.
    kinds: dict[object, list[int]] = {}
    for number, atoms in enumerate(items):
        kind = "many" if len(atoms) > MANY else bool(atoms.pbc.any())
        kinds.setdefault(kind, []).append(number)
    reach = potential.r_cut * (1.0 + SLACK)
    for members in kinds.values():
        sizes = np.array([len(items[i]) for i in members])
        most = np.array([most_neighbors(items[i], reach) for i in members])
        parts = min(MOST_PROGRAMS // len(kinds), 1 + len(members) // WORTH_COMPILING)
        for part in split_by_work(sizes, most, max(parts, 1)):
            chosen = [members[i] for i in part]
            size = rounded(int(sizes[part].max()))
            own = bounds
            if bounds is None:
                largest = int(most[part].max())
                own = bounds_for([items[i] for i in chosen], potential.r_cut, size, largest)
            yield Bucket(chosen, size, own)


def _per_device(bucket: Bucket, potential: Potential, devices: int) -> int:
    """Number of structures, a power of two, that a device computes side by side."""
    assert bucket.bounds is not None
    capacity = bucket.bounds.capacity
    each = bucket.size * capacity * potential.edge_bytes(capacity)
    memory = memory_of(jax.local_devices()[0])
    if memory is None:
        where = f" on each of {devices} devices" if devices > 1 else ""
        content = f"a structure of {bucket.size} atoms with {capacity} neighbours each{where}"
        check_memory(each * devices, content, "use fewer atoms or devices")
    room = WORKING_SET if memory is None else memory // SHARE
    count = min(max(1, room // each), MOST_PER_CALL, math.ceil(len(bucket.members) / devices))
    # Fewer structures than fit are filled up, so that few different programs are compiled.
    power = 1 << (count.bit_length() - 1)
    return power if power == count or 2 * power * each > room else 2 * power


def _arrays(chunk: Sequence[Atoms], bucket: Bucket) -> dict[str, np.ndarray]:
    """The arrays of structures, which all have a cell, be it one that does not repeat."""
    arrays = padded_arrays(chunk, bucket.size, bucket.bounds)
    if "cell" not in arrays:
        dtype = arrays["positions"].dtype
        arrays["cell"] = np.tile(np.eye(3, dtype=dtype), (len(chunk), 1, 1))
        arrays["pbc"] = np.zeros((len(chunk), 3), bool)
    return arrays


def _fetched(
    items: Sequence[Atoms], members: list[int], found: Prediction
) -> Iterator[tuple[int, SinglePoint]]:
    """Wait for the results of a call and take the padding away."""
    prediction: Prediction = jax.device_get(found)
    for number, energies, forces, stress, overflow in zip(
        members, *(np.asarray(array) for array in prediction[1:]), strict=False
    ):
        atoms = items[number]
        if overflow:
            raise ValueError(f"expected bounds that hold structure {number}, got too small ones")
        own = energies[: len(atoms)].astype(np.float64)
        voigt = full_3x3_to_voigt_6_stress(stress.astype(np.float64))
        yield (
            number,
            SinglePoint(
                energy=float(own.sum()),
                energies=own,
                forces=forces[: len(atoms)].astype(np.float64),
                stress=voigt if atoms.pbc.all() else None,
            ),
        )


@kept_with_potential(64)
def _compiled(
    potential: Potential, bounds: Bounds | None, devices: int, shapes: Hashable
) -> Callable[[Any, dict[str, np.ndarray]], Prediction]:
    """A program for arrays of structures of some shapes, which it spreads over devices."""
    mesh = Mesh(np.asarray(jax.local_devices()[:devices]), ("structures",))
    split = PartitionSpec("structures")

    def on_device(parameters: Any, arrays: dict[str, Any]) -> Prediction:
        def predict(arrays: dict[str, Any]) -> Prediction:
            return potential.predict(Structure(**arrays, bounds=bounds), parameters)

        return jax.vmap(predict)(arrays)

    specs = (PartitionSpec(), split)
    return jax.jit(
        jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)
    )
