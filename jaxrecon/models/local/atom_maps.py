"""Maps of the environments of atoms: a plane on which similar environments are close.

Source: Gardner, Faure Beaulieu and Deringer, Digital Discovery 2, 651 (2023), figures 6 and 7, who
draw the space of SOAP and that of the last hidden layer of a network.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene
from ase.data import atomic_numbers, reference_states
from ase.neighborlist import natural_cutoffs, neighbor_list
from jaxtyping import Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.local.environments import Environments, rows_of
from jaxrecon.runtime.versions import version_of

MOST = 30_000
"""Largest number of atoms on a map by default."""

AXES = 50
"""Principal components that UMAP gets at most: it is slow with hundreds of numbers."""

NEIGHBORS, LEAST = 15, 5
"""Neighbours of each atom that UMAP looks at, and the smallest number of atoms that it takes."""

BOND = 1.2
"""Largest length of a bond in units of the sum of the covalent radii."""

ZETA = 4
"""Exponent of the similarity, as in the kernel of C-GAP-17."""

FINE = 0.02
"""Radius of the finest clusters that BIRCH makes, as a fraction of the width of the map."""


class AtomMap(NamedTuple):
    """Points of atoms on a plane.

    Attributes:
        points: one point per atom.
        clusters: number of the cluster of each atom, the largest cluster first.
    """

    points: Float[np.ndarray, "n 2"]
    clusters: Int[np.ndarray, " n"]


def check_umap() -> None:
    """Raise unless UMAP is installed; to be called before the work.

    Raises:
        ValueError: if it is not.
    """
    if version_of("umap-learn") is None:
        raise ValueError('expected the package umap-learn, got none: pip install "jaxrecon[umap]"')


def umap_points(values: Float[np.ndarray, "n f"], seed: int) -> Float[np.ndarray, "n 2"]:
    """Project vectors onto a plane by UMAP.

    Args:
        values: at least :data:`LEAST` vectors.
        seed: seed of the random numbers.

    Returns:
        One point per vector.
    """
    import umap

    reducer = umap.UMAP(
        n_neighbors=min(NEIGHBORS, len(values) - 1), init="pca", random_state=seed, n_jobs=1
    )
    return np.asarray(reducer.fit_transform(values), np.float64)


def drawn(environments: Environments, most: int, seed: int) -> Environments:
    """Draw whole structures at random, up to a number of atoms; at least one structure.

    Args:
        environments: the environments.
        most: largest number of atoms.
        seed: seed of the choice.

    Returns:
        All environments if there are no more, else those of the structures that were drawn.
    """
    if len(environments.rows) <= most:
        return environments
    sizes = np.bincount(environments.owner)
    order = np.random.default_rng(seed).permutation(len(sizes))
    count = max(1, int((np.cumsum(sizes[order]) <= most).sum()))
    return environments.select(np.sort(order[:count]))


def atom_map(values: Float[np.ndarray, "n f"], *, clusters: int = 7, seed: int = 0) -> AtomMap:
    """Project vectors of atoms onto a plane by UMAP, and find clusters there by BIRCH.

    Sources: McInnes, Healy and Melville, arXiv 1802.03426; Zhang, Ramakrishnan and Livny, SIGMOD
    1996.

    Args:
        values: one vector per atom.
        clusters: number of clusters.
        seed: seed of the projection.

    Returns:
        The map.

    Raises:
        ValueError: if there are too few atoms for UMAP, or it is not installed.
    """
    check_umap()
    if len(values) < max(LEAST, clusters):
        raise ValueError(
            f"expected at least {max(LEAST, clusters)} atoms for a map, got {len(values)}"
        )
    from sklearn.cluster import Birch
    from sklearn.decomposition import PCA

    axes = min(AXES, *values.shape)
    if axes < values.shape[1]:
        values = PCA(axes, svd_solver="covariance_eigh").fit_transform(values)
    points = umap_points(values, seed)
    fine = FINE * float(np.ptp(points, axis=0).max())
    found = Birch(threshold=max(fine, 1e-9), n_clusters=clusters).fit_predict(points)
    # The largest cluster gets the number 0.
    order = np.argsort(-np.bincount(found), kind="stable")
    return AtomMap(points, np.argsort(order, kind="stable")[found])


def coordinations(structures: Sequence[Atoms]) -> Int[np.ndarray, " n"]:
    """Count the bonds of all atoms, of at most 1.2 times the sum of the covalent radii.

    Args:
        structures: structures with positions in Angstrom.

    Returns:
        One number per atom, structure by structure.

    >>> coordinations([bulk("C"), bulk("Cu")]).tolist()
    [4, 4, 12]
    """
    counts = [
        np.bincount(
            neighbor_list("i", atoms, natural_cutoffs(atoms, mult=BOND)), minlength=len(atoms)
        )
        for atoms in structures
    ]
    return np.concatenate(counts)


def reference_crystals(elements: Sequence[str]) -> dict[str, Atoms]:
    """Make the crystals that environments are compared with.

    Args:
        elements: chemical symbols.

    Returns:
        By name, diamond and graphite for carbon, and for other elements the crystal that ASE knows
        as their reference state, if it can make it.

    >>> list(reference_crystals(["C", "Pt"]))
    ['diamond', 'graphite', 'Pt fcc']
    """
    found: dict[str, Atoms] = {}
    for symbol in elements:
        if symbol == "C":
            layer = graphene(a=2.46)
            layer.cell[2, 2], layer.pbc = 6.70, True
            second = layer.copy()
            second.positions += np.array([[1 / 3, 2 / 3, 0.5]]) @ layer.cell
            found["diamond"], found["graphite"] = bulk("C"), layer + second
            continue
        state = reference_states[atomic_numbers[symbol]] or {}
        try:
            found[f"{symbol} {state['symmetry']}"] = bulk(symbol)
        # ASE has no crystal of some elements, and asks for more than the symbol for others.
        except (KeyError, ValueError, RuntimeError):
            continue
    return found


def similarities(
    rows: Float[np.ndarray, "n f"], descriptor: Descriptor, references: Mapping[str, Atoms]
) -> dict[str, Float[np.ndarray, " n"]]:
    r"""Compare environments with those in crystals: the largest :math:`(p \cdot p')^4`.

    Args:
        rows: rows of the atoms.
        descriptor: their descriptor.
        references: crystals by name.

    Returns:
        Numbers from 0 to 1 by the name of the crystal.
    """
    found = {}
    units = _units(rows)
    for name, crystal in references.items():
        own = _units(rows_of([crystal], descriptor))
        found[name] = (units @ own.T).max(axis=1) ** ZETA
    return found


def _units(rows: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f"]:
    """Rows divided by their lengths; rows of zeros stay."""
    rows = np.asarray(rows, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)
