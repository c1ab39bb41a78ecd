"""Degenerate structures: different structures that have one fingerprint."""

from typing import Any

from ase import Atoms

from jaxrecon.descriptors.featurize import featurize
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.search.arguments import UNKNOWN
from jaxrecon.search.noise import Noise
from jaxrecon.search.reconstruct import reconstruct
from jaxrecon.search.solutions import SAME_RMSD, Solution, deviation
from jaxrecon.structures.inputs import as_atoms
from jaxrecon.structures.structure import is_periodic


def degenerate_structures(
    structure: Atoms,
    fingerprint: Fingerprint,
    *,
    count: int = 1,
    cell_known: bool = True,
    noise: Noise | None = None,
    seed: int = 0,
    progress: bool | ProgressFn = False,
    **settings: Any,
) -> list[Atoms]:
    """Search for other structures that have the fingerprint of a given one.

    A fingerprint that several structures share can't tell a model which of them it sees, whatever
    the model: Pozdnyakov et al., Phys. Rev. Lett. 125, 166001 (2020). The search knows the
    composition, and the cell unless told otherwise. That it finds nothing is no proof: a larger
    budget may find more.

    Args:
        structure: the structure, free or a crystal; positions in Angstrom.
        fingerprint: the fingerprint.
        count: number of other structures after which the search ends.
        cell_known: whether the search for a crystal is told its cell.
        noise: standard deviation of the errors of the numbers, one for all or one for each. The
            others are then those whose fingerprints differ by no more than such errors leave.
        seed: seed of the random numbers.
        progress: as for :func:`jaxrecon.reconstruct`.
        **settings: changes to the settings of the search, by name; ``hops`` is its budget.

    Returns:
        The other structures, each with the ``residual`` of its fingerprint and its ``rmsd`` from
        the given one in Angstrom in ``info``. They differ from it and from each other by an RMSD of
        more than 0.05 Angstrom, mirror images and other cells of one crystal being the same.

    Raises:
        ValueError: if a setting or noise is out of range, or the structure has only some periodic
            axes.

    >>> from ase.build import molecule
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> degenerate_structures(molecule("H2O"), fingerprint, hops=5)  # doctest: +SKIP
    []
    """
    if count < 1:
        raise ValueError(f"expected count >= 1 other structures, got {count}")
    structure = as_atoms(structure)
    cell = None
    if is_periodic(structure):
        cell = structure.cell.array if cell_known else UNKNOWN
    result = reconstruct(
        featurize(structure, fingerprint),
        fingerprint,
        symbols=[structure.get_chemical_symbols()],
        cell=cell,
        noise=noise,
        seed=seed,
        progress=progress,
        **{**settings, "solutions": count + 1},
    )
    (first,), (tolerance,) = result, result.tolerances
    found = []
    for solution in [Solution(first.atoms, first.residual), *first.others]:
        atoms, residual = solution.atoms, solution.residual
        distance = deviation(structure, atoms)
        if residual <= tolerance and distance > SAME_RMSD:
            atoms.info.update(residual=residual, rmsd=distance)
            found.append(atoms)
    return found[:count]
