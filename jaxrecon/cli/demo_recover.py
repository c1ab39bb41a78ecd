"""The first part of the demonstration: structures to numbers and back, in three representations."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms
from ase.build import molecule

from jaxrecon import images
from jaxrecon.datasets import clusters, prototypes
from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.plotting.reconstructions import Pair
from jaxrecon.runtime import tables
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.reconstruct import reconstruct
from jaxrecon.structures import matching
from jaxrecon.structures.formulas import elements_of

COLUMNS = {
    "structure": "<",
    "atoms": ">",
    "read from": "<",
    "numbers": ">",
    "stated error/A": ">",
    "true error/A": ">",
}
"""Alignment of the columns in the table."""


@dataclass(frozen=True, eq=False)
class Recovered:
    """A structure and what was read of it from numbers alone.

    Attributes:
        pair: the two structures, their residual and the RMSD of the atoms in Angstrom.
        source: what the numbers were, in words.
        size: how many numbers.
        position_error: how far an atom may be from its place, in Angstrom, as the result states.
        seconds: time of the search or the reading, compiling included.
        details: settings and results as plain data.
    """

    pair: Pair
    source: str
    size: int
    position_error: float
    seconds: float
    details: dict[str, Any]

    @property
    def cells(self) -> list[str]:
        """The entry of each column."""
        return [
            self.pair.name,
            str(len(self.pair.truth)),
            self.source,
            f"{self.size:,}",
            f"{self.position_error:.0e}",
            f"{self.pair.rmsd:.0e}",
        ]


def recover(seed: int, progress: bool) -> list[Recovered]:
    """Turn four structures into numbers, and find them again from these.

    Two clusters are found from symmetry functions and a molecule from SOAP, by searches from random
    positions that know the formula; a crystal is read from its images, which also have its elements
    and cell.

    Args:
        seed: seed of the searches.
        progress: whether to show progress bars.

    Returns:
        The structures with what was found.
    """

    def searched(name: str, atoms: Atoms, preset: str, source: str, replicas: int) -> Recovered:
        return _searched(name, atoms, preset, source, replicas, seed, progress)

    # Clusters of one size and element share their compiled programs.
    cluster = clusters.relaxed("Pt10", seed)
    return [
        searched("ring of 10 Pt", prototypes.load("decagon"), "fung2022", FUNCTIONS, 64),
        searched("relaxed Pt10", cluster, "fung2022", FUNCTIONS, 64),
        searched("benzene", molecule("C6H6"), "soap", "SOAP", 16),
        _read("perovskite", prototypes.load("methylammonium_lead_bromide")),
    ]


FUNCTIONS = "symmetry functions"
"""The published fingerprint in words."""


def _searched(
    name: str,
    truth: Atoms,
    preset: str,
    source: str,
    replicas: int,
    seed: int,
    progress: bool,
) -> Recovered:
    """Find a structure by its fingerprint and its formula."""
    fingerprint = Fingerprint.preset(preset, elements_of([truth]))
    values = featurize(truth, fingerprint)
    run = reconstruct(
        values,
        fingerprint,
        symbols=truth.get_chemical_formula(),
        config=ReconstructConfig(replicas=replicas),
        seed=seed,
        progress=progress,
    )
    found = run[0]
    pair = Pair(name, truth, found.atoms, found.residual, matching.rmsd(truth, found.atoms))
    return Recovered(
        pair, source, values.size, float(found.position_error), run.seconds, run.to_dict()
    )


def _read(name: str, truth: Atoms) -> Recovered:
    """Read a crystal from its images alone."""
    started = time.perf_counter()
    image = images.encode(truth)
    found = images.decode(image)
    seconds = time.perf_counter() - started
    info = found.info
    pair = Pair(name, truth, found, info["residual"], matching.rmsd(truth, found))
    return Recovered(pair, "images", image.size, info["position_error"], seconds, dict(info))


def text(recovered: Sequence[Recovered]) -> str:
    """The table for a terminal."""
    return tables.text(COLUMNS, [each.cells for each in recovered])


def html(recovered: Sequence[Recovered]) -> str:
    """The table for a page."""
    columns = {name.replace("/A", " (Å)"): side for name, side in COLUMNS.items()}
    return tables.html(columns, [each.cells for each in recovered])
