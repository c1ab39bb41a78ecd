"""The labelled sets that come with the package; ``data/README.md`` is their datasheet."""

from pathlib import Path

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.datasets.labelled_npz import read_npz

DATA = Path(__file__).parent / "data"
"""Folder of the embedded sets."""


def load(name: str = "pt10") -> LabelledSet:
    """Load a set that comes with the package.

    Args:
        name: ``"pt10"``, 10,161 clusters of ten platinum atoms with the energies and forces of a
            potential, corrected to PBE; or ``"pt10_pbe"``, the 300 clusters with PBE energies and
            forces from which the correction was learned. Their datasheet is ``data/README.md``.

    Returns:
        Positions in Angstrom, energies in eV and eV/atom, forces in eV/Angstrom.

    Raises:
        ValueError: if no embedded set has this name.

    >>> load("pt10_pbe")
    <LabelledSet of 300 structures>
    """
    if name not in names():
        raise ValueError(f"expected a set among {names()}, got {name!r}")
    return read_npz(DATA / f"{name}.npz")


def names() -> list[str]:
    """Return the names of the embedded sets, in alphabetical order."""
    return sorted(path.stem for path in DATA.glob("*.npz"))
