"""Crystals of two elements by substitution into prototypes, for networks to learn from.

As in Noh et al., Matter 1, 1370 (2019), the two elements of every binary prototype of the AFLOW
encyclopedia (Mehl et al., Comput. Mater. Sci. 136, S1 (2017), as pymatgen has it) become the wanted
ones in both ways, and the volume becomes the one that the lengths of bonds let expect (the data-
learned scaling of Chu et al., Sci. Data 5, 180142 (2018)).
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
from ase import Atoms

from jaxrecon.descriptors.checks import element_symbols
from jaxrecon.images.encode import frame_of
from jaxrecon.images.parameters import ImageParameters
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.structures.compare import match
from jaxrecon.structures.formulas import elements_of
from jaxrecon.structures.inputs import Structures, as_pymatgen, as_structures

MOST_ATOMS, LONGEST = 20, 10.0
"""Largest number of atoms and longest edge in Angstrom of a candidate."""

STRAIN, RATTLE = 0.03, 0.05
"""Standard deviations of the entries of a strain, and of coordinates in Angstrom."""

TRIES = 100
"""Largest number of attempts at a variant that fits into the images."""


def candidates(
    elements: str | Sequence[str],
    *,
    known: Structures | None = None,
    prototypes: Structures | None = None,
) -> list[Atoms]:
    """Make crystals of two elements by substitution into prototypes.

    Args:
        elements: the two elements.
        known: crystals that are kept out: candidates that match one loosely, after scaling to one
            volume, are left out. None for none.
        prototypes: crystals whose elements are replaced; those that don't have two elements are
            left out. None for the prototypes of the encyclopedia.

    Returns:
        Primitive cells of at most 20 atoms with edges up to 10 Angstrom that fit into the images,
        positions and cells in Angstrom. ``info`` has the name of the ``prototype`` and the number
        of the candidate, ``trajectory``.

    Raises:
        ValueError: if there are not two elements, or a known crystal or a prototype is no crystal.
    """
    symbols = element_symbols(elements)
    if len(symbols) != 2:
        raise ValueError(f"expected two elements like 'V,O', got {', '.join(symbols)}")
    kept_out = [] if known is None else as_structures(known)
    if not all(atoms.pbc.all() for atoms in kept_out):
        raise ValueError("expected known crystals, periodic along all three axes, got others")
    kept_out = [atoms for atoms in kept_out if set(atoms.symbols) == set(symbols)]
    found: list[Atoms] = []
    for name, prototype in _prototypes() if prototypes is None else _named(prototypes):
        for pair in permutations(symbols):
            atoms = _substituted(prototype, pair)
            if not _fits(atoms, LONGEST) or any(match(one, atoms).loose for one in kept_out):
                continue
            atoms.info = {"prototype": name, "trajectory": len(found)}
            found.append(atoms)
    return found


def variants(atoms: Atoms, count: int, *, seed: int = 0, settings: bool = False) -> list[Atoms]:
    """Make strained and rattled copies of a crystal.

    The entries of a symmetric strain have a standard deviation of 0.03, coordinates one of 0.05
    Angstrom. A copy whose images can't be made is made again.

    Args:
        atoms: the crystal; positions and cell in Angstrom.
        count: number of copies.
        seed: seed of the random numbers; each copy is a function of it and of its number alone.
        settings: whether each copy has its lattice vectors in a random order and direction, a
            random origin, and is the crystal or its mirror image: the same crystal, whose images
            are others.

    Returns:
        The copies, with the ``info`` of the crystal and their number, ``variant``, from 1.

    Raises:
        ValueError: if the seed is negative, or no copy fits into the images.
    """
    checked_seed(seed)
    copies = []
    for number in range(1, count + 1):
        random = np.random.default_rng([seed, number])
        for _ in range(TRIES):
            copy = _disturbed(_resettled(atoms, random) if settings else atoms, random)
            if _fits(copy, ImageParameters().box):
                break
        else:
            raise ValueError(
                "expected a crystal whose strained copies fit into the box of images, got edges "
                f"of {atoms.cell.lengths().round(2).tolist()} Angstrom"
            )
        copy.info |= {"variant": number}
        copies.append(copy)
    return copies


def build(
    elements: str | Sequence[str],
    *,
    known: Structures | None = None,
    prototypes: Structures | None = None,
    copies: int = 12,
    seed: int = 0,
    settings: bool = False,
) -> list[Atoms]:
    """Make candidates and their strained copies.

    Args:
        elements: the two elements, as for :func:`candidates`.
        known: crystals that are kept out, as for :func:`candidates`.
        prototypes: crystals whose elements are replaced, as for :func:`candidates`.
        copies: number of strained copies of each candidate.
        seed: seed of the strains.
        settings: whether copies have other lattice vectors and origins, as for :func:`variants`.

    Returns:
        Each candidate, its ``variant`` 0, followed by its copies.

    Raises:
        ValueError: as for :func:`candidates` and :func:`variants`.
    """
    found = []
    for number, atoms in enumerate(candidates(elements, known=known, prototypes=prototypes)):
        atoms.info["variant"] = 0
        found += [atoms, *variants(atoms, copies, seed=seed + number, settings=settings)]
    return found


def _disturbed(atoms: Atoms, random: np.random.Generator) -> Atoms:
    """A strained and rattled copy."""
    copy = atoms.copy()
    strain = np.eye(3) + STRAIN * np.triu(random.normal(size=(3, 3)))
    copy.set_cell(atoms.cell.array @ (strain + strain.T) / 2.0, scale_atoms=True)
    copy.positions += RATTLE * random.normal(size=copy.positions.shape)
    return copy


def _resettled(atoms: Atoms, random: np.random.Generator) -> Atoms:
    """The crystal or its mirror image with another choice of lattice vectors and origin."""
    order, signs = random.permutation(3), random.choice([-1.0, 1.0], 3)
    # The negative of three left-handed vectors is right-handed.
    signs *= np.sign(np.linalg.det(signs[:, None] * atoms.cell.array[order]))
    fractions = atoms.get_scaled_positions(wrap=False)[:, order] * signs
    fractions = random.choice([-1.0, 1.0]) * fractions + random.random(3)
    copy = atoms.copy()
    copy.set_cell(signs[:, None] * atoms.cell.array[order])
    copy.set_scaled_positions(fractions % 1.0)
    return copy


def _fits(atoms: Atoms, longest: float) -> bool:
    """Whether the images of a crystal can be made, and its edges are not too long."""
    if atoms.cell.lengths().max() > longest:
        return False
    try:
        frame_of(atoms, elements_of([atoms]), ImageParameters())
    except ValueError:
        return False
    return True


def _substituted(prototype: Any, pair: Sequence[str]) -> Atoms:
    """A prototype with other elements, at the volume that these let expect."""
    from pymatgen.analysis.structure_prediction.volume_predictor import DLSVolumePredictor

    structure = prototype.copy()
    structure.replace_species(
        dict(zip(structure.composition.elements, pair, strict=True)), in_place=True
    )
    structure.scale_lattice(DLSVolumePredictor().predict(structure))
    symbols = [site.specie.symbol for site in structure]
    return Atoms(symbols, structure.cart_coords, cell=structure.lattice.matrix, pbc=True)


@lru_cache
def _prototypes() -> list[tuple[str, Any]]:
    """Names and primitive cells of the binary prototypes with few atoms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.analysis.prototypes import matcher

        found = []
        for entry in vars(matcher)["AFLOW_PROTOTYPE_LIBRARY"]:
            found += _usable(str(entry["tags"]["aflow"]), entry["snl"].structure)
    return found


def _named(structures: Structures) -> list[tuple[str, Any]]:
    """Names and primitive cells of crystals with two elements and few atoms."""
    found = []
    for number, atoms in enumerate(as_structures(structures)):
        if not atoms.pbc.all():
            raise ValueError(
                f"expected prototypes that are periodic along all three axes, got structure "
                f"{number}, which is not"
            )
        found += _usable(f"{atoms.symbols} {number}", as_pymatgen(atoms))
    return found


def _usable(name: str, structure: Any) -> list[tuple[str, Any]]:
    """The name and the primitive cell of a crystal; nothing if it can't be a prototype."""
    if len(structure.composition.elements) != 2:
        return []
    primitive = structure.get_primitive_structure()
    primitive.remove_oxidation_states()
    return [(name, primitive)] if len(primitive) <= MOST_ATOMS and primitive.is_ordered else []
