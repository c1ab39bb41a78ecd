"""The sets of the recovery benchmark: what is to be found, and what is known of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
import recovery_clusters
import recovery_dscribe
import recovery_hydrocarbons
import yaml
from ase import Atoms
from ase.data import chemical_symbols

from jaxrecon import Fingerprint, featurize
from jaxrecon.cli.arguments import parse_rows
from jaxrecon.datasets import prototypes
from jaxrecon.descriptors.io import read_fingerprints
from jaxrecon.descriptors.registry import PRESETS
from jaxrecon.search.arguments import UNKNOWN
from jaxrecon.structures.formulas import elements_of

FREE, CRYSTAL, PUBLISHED = "default", "crystal", "fung2022"
"""Presets, unless another one is asked for; shapes of the paper have its own."""


@dataclass(frozen=True, eq=False)
class Target:
    """One fingerprint to be inverted.

    Attributes:
        row: where it stands in its set.
        name: what it is called in the tables.
        values: the numbers.
        fingerprint: what they were made with; its elements are those of the structure.
        symbols: of the atoms; their order means nothing.
        cell: vectors as rows in Angstrom; None for a free structure, "unknown" if it is wanted.
        truth: the structure behind it, if that is known.
        kind: targets of one kind cost about as much by hop.
    """

    row: int
    name: str
    values: np.ndarray
    fingerprint: Fingerprint
    symbols: tuple[str, ...]
    cell: np.ndarray | str | None
    truth: Atoms | None
    kind: str


class Source(NamedTuple):
    """A set: its file, how many rows of it are taken, and how they are read.

    Attributes:
        file: in the folder of data; None if it is made here.
        targets: evenly spaced rows that are taken unless told otherwise; None for all.
        count: rows that there are.
        read: names and structures of some rows, by the path of the file; None if it has
            fingerprints and no structures.
        preset: the only one that describes the numbers of the set; None if any does.
    """

    file: str | None
    targets: int | None
    count: int
    read: Callable[[Path | None, Sequence[int]], list[tuple[str, Atoms]]] | None
    preset: str | None = None


def targets_of(
    name: str,
    data: Path | None,
    *,
    preset: str | None,
    rows: str | None,
    count: int | None,
    cell_known: bool = True,
) -> list[Target]:
    """The chosen targets of a set.

    Args:
        name: of the set.
        data: folder with the files.
        preset: of the fingerprint; None for ``FREE``, ``CRYSTAL`` or ``PUBLISHED``.
        rows: like ``"0-29"``.
        count: so many evenly spaced rows, if no rows are named.
        cell_known: whether the search is told the cells of crystals.

    Raises:
        ValueError: if there is no folder, the rows can't be read, or numbers that were made
            elsewhere are wanted with another fingerprint.
    """
    source = SETS[name]
    if source.preset is not None and preset not in (None, source.preset):
        raise ValueError(f"expected --fingerprint {source.preset}, as published, got {preset}")
    if source.file is not None and data is None:
        raise ValueError(f"expected --data DIR with {source.file}, got none")
    path = None if source.file is None or data is None else data / source.file
    if rows is not None:
        chosen = parse_rows(rows, source.count)
    else:
        chosen = spread(source.count, count or source.targets)
    if source.read is None:
        return _published(path, chosen)
    named = source.read(path, chosen)
    free = PUBLISHED if name == "prototypes" else FREE
    structures = [atoms for _, atoms in named]
    if source.preset == recovery_dscribe.PRESET:
        made = recovery_dscribe.vectors(structures)
    else:
        presets = [preset or (CRYSTAL if atoms.pbc.all() else free) for atoms in structures]
        made = fingerprints_of(structures, presets)
    targets = list(_known(chosen, named, made, by_size=name == "clusters"))
    if cell_known:
        return targets
    return [target if target.cell is None else replace(target, cell=UNKNOWN) for target in targets]


def spread(count: int, wanted: int | None) -> list[int]:
    """So many rows, evenly spaced from the first to the last; all if there are no more.

    >>> spread(1000, 4)
    [0, 333, 666, 999]
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return np.linspace(0, count - 1, wanted).round().astype(int).tolist()


def preset_with_changes(text: str, elements: Sequence[str]) -> Fingerprint:
    """A preset, and changes of it, as in ``"soap,n_max=4,poolings=mean+moment2"``.

    Elements are left out where the preset has one length for all: so all share programs.

    >>> preset_with_changes("default,r_cut=8,poolings=mean", ["Pt"]).size
    19
    """
    name, *changes = text.split(",")
    settings: dict[str, Any] = {}
    for change in changes:
        key, _, value = change.partition("=")
        if key == "poolings":
            settings[key] = tuple(value.split("+"))
        elif "+" in value:
            settings[key] = tuple(map(yaml.safe_load, value.split("+")))
        else:
            settings[key] = yaml.safe_load(value)
    needed = name not in PRESETS or PRESETS[name].needs_elements
    return Fingerprint.preset(name, tuple(elements) if needed else None, **settings)


def fingerprints_of(
    structures: Sequence[Atoms], presets: Sequence[str]
) -> list[tuple[Fingerprint, np.ndarray]]:
    """Each structure's fingerprint with channels for its own elements alone, and its value.

    Unweighted functions tell elements apart and no more: structures of as many elements are
    computed together, with names in the same order, as a program for each set would take longer.
    """
    owns, renamed = [], []
    together: dict[Fingerprint, list[int]] = {}
    for number, (atoms, preset) in enumerate(zip(structures, presets, strict=True)):
        own = preset_with_changes(preset, elements_of([atoms]))
        kinds = own.descriptor.elements
        names = chemical_symbols[1 : len(kinds) + 1] if own.descriptor.order_only else kinds
        other = atoms.copy()
        other.symbols = [names[kinds.index(symbol)] for symbol in atoms.symbols]
        owns.append(own)
        renamed.append(other)
        together.setdefault(preset_with_changes(preset, tuple(names)), []).append(number)
    values: list[np.ndarray] = [np.empty(0)] * len(owns)
    for fingerprint, numbers in together.items():
        found = featurize([renamed[number] for number in numbers], fingerprint)
        for number, row in zip(numbers, found, strict=True):
            values[number] = row
    return list(zip(owns, values, strict=True))


def _known(
    rows: Sequence[int],
    named: list[tuple[str, Atoms]],
    made: list[tuple[Fingerprint, np.ndarray]],
    *,
    by_size: bool,
) -> Iterator[Target]:
    for row, (name, atoms), (fingerprint, values) in zip(rows, named, made, strict=True):
        repeats = bool(atoms.pbc.all())
        kind = "crystal" if repeats else "free"
        yield Target(
            row=row,
            name=name,
            values=values,
            fingerprint=fingerprint,
            symbols=tuple(atoms.symbols),
            cell=atoms.cell.array if repeats else None,
            truth=atoms,
            kind=f"{len(atoms)} atoms" if by_size else kind,
        )


def _published(path: Path | None, rows: Sequence[int]) -> list[Target]:
    fingerprint = Fingerprint.preset(PUBLISHED, ["Pt"])
    values = read_fingerprints(str(path)).values
    return [
        Target(row, "Pt10", values[row], fingerprint, ("Pt",) * 10, None, None, "free")
        for row in rows
    ]


def _frames(path: Path | None, rows: Sequence[int]) -> list[tuple[str, Atoms]]:
    frames = ase.io.read(path, index=":")
    return [(frames[row].get_chemical_formula(mode="metal"), frames[row]) for row in rows]


LARGEST = 16
"""Most atoms of the carbon crystals that are taken."""


def _small_frames(path: Path | None, rows: Sequence[int]) -> list[tuple[str, Atoms]]:
    """Rows of the file without its larger structures."""
    frames = [atoms for atoms in ase.io.read(path, index=":") if len(atoms) <= LARGEST]
    return [(f"C{len(frames[row])}", frames[row]) for row in rows]


def _prototypes(_: Path | None, rows: Sequence[int]) -> list[tuple[str, Atoms]]:
    names = [list(prototypes.PROTOTYPES)[row] for row in rows]
    return [(name, prototypes.load(name)) for name in names]


CLUSTERS = [
    (element, size, which)
    for size in recovery_clusters.SIZES
    for element in recovery_clusters.ELEMENTS
    for which in (0, 1)
]
"""Rows of the set of clusters: which of the two minima of so many atoms."""


def _clusters(_: Path | None, rows: Sequence[int]) -> list[tuple[str, Atoms]]:
    made: dict[tuple[str, int], list[tuple[str, Atoms]]] = {}
    named = []
    for element, size, which in (CLUSTERS[row] for row in rows):
        if (element, size) not in made:
            made[element, size] = list(recovery_clusters.compact(element, size).items())
        start, atoms = made[element, size][which]
        named.append((f"{element}{size} {start}", atoms))
    return named


SETS = {
    "prototypes": Source(None, None, len(prototypes.PROTOTYPES), _prototypes),
    "pt10_fps300": Source("pt10_fps300_x.csv", None, 300, None, PUBLISHED),
    "pt10_pbe1000": Source("pt10_pbe1000.extxyz", 60, 1000, _frames),
    "qm7_500": Source("qm7_500.extxyz", 100, 500, _frames),
    "qm7_dscribe": Source("qm7_500.extxyz", 100, 500, _frames, recovery_dscribe.PRESET),
    "perov5_200": Source("perov5_200.extxyz", None, 200, _frames),
    "mp_200": Source("mp_200.extxyz", None, 200, _frames),
    "carbon24_val": Source("carbon24_val.extxyz", 60, 1941, _small_frames),
    "clusters": Source(None, None, len(CLUSTERS), _clusters),
    "hydrocarbons": Source(
        None,
        None,
        recovery_hydrocarbons.COUNT,
        lambda _, rows: recovery_hydrocarbons.hydrocarbons(rows),
    ),
}
"""By name."""
