"""Rattle and relax: a family tree of new structures around each given one, by any potential.

Source: Gardner et al., arXiv 2506.10956, in the form of its program augment-atoms 0.1.0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from ase import Atoms, units

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.potentials.base import Label, ReferenceCalculator
from jaxrecon.potentials.energies import formation_energy
from jaxrecon.potentials.labels import LabelStore, Work, digest, failed, labelled
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.runtime.progress import ProgressFn, reporter
from jaxrecon.runtime.seeds import checked_seed
from jaxrecon.runtime.versions import versions
from jaxrecon.structures.inputs import Structures, as_structures

PATIENCE = 20
"""Rounds without a new structure after which the set is left smaller."""

STOP = 0.25
"""Largest probability with which a relaxation stops early."""


@dataclass(frozen=True)
class Rattling:
    """Settings of the new structures.

    Attributes:
        sigma: smallest and largest standard deviation of a rattle in Angstrom.
        cell: standard deviation of the entries of the strain of a crystal.
        temperature: in K, for the choice of parents and the end of relaxations.
        low: weight with which parents of low energy are chosen; later generations have the rest.
        steps: largest number of steps of a relaxation.
        force: largest force in eV/Angstrom of a new structure.
        apart: smallest distance of two atoms in Angstrom.

    Raises:
        ValueError: if a number is out of range.
    """

    sigma: tuple[float, float] = (0.05, 0.5)
    cell: float = 0.03
    temperature: float = 300.0
    low: float = 0.5
    steps: int = 20
    force: float = 30.0
    apart: float = 0.5

    def __post_init__(self) -> None:
        smallest, largest = self.sigma
        if not 0.0 < smallest <= largest < math.inf:
            raise ValueError(f"expected sigma as two positive numbers, got {self.sigma}")
        for name in ("cell", "steps", "apart"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"expected {name} >= 0, got {getattr(self, name)}")
        for name in ("temperature", "force"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"expected {name} as a positive number, got {getattr(self, name)}")
        if not 0.0 <= self.low <= 1.0:
            raise ValueError(f"expected low from 0 to 1, got {self.low}")


def rattle_relax(
    structures: Structures,
    size: int,
    *,
    calculator: str = "tersoff",
    seed: int = 0,
    settings: Rattling | None = None,
    bulk: Mapping[str, float] | None = None,
    store: LabelStore | None = None,
    progress: bool | ProgressFn = False,
) -> LabelledSet:
    r"""Make new structures around given ones, as a family tree of each.

    In each round every tree gets a child, all of which are computed together. A parent is chosen
    with the probability :math:`\beta e^{-E_i / kT} / \sum_j e^{-E_j / kT} + (1 - \beta) G_i /
    \sum_j G_j`, E per atom, G the generation. Its atoms are rattled, in a strained cell of the
    first structure. They then move along the forces by :math:`\sigma F / (x |F|)` in step x, until
    the child is kept, which has the probability :math:`\min(1/4, e^{-\Delta E / kT})` in each step.

    Args:
        structures: as for :func:`jaxrecon.featurize`; crystals and free clusters.
        size: number of new structures.
        calculator: name of a calculator that computes many structures together.
        seed: seed of the random numbers.
        settings: settings of the new structures; None for the default ones.
        bulk: energies of reference crystals in eV/atom; those of other elements are computed.
        store: database to which every round is committed when it is finished, and from which an
            interrupted run is resumed.
        progress: True shows a progress bar; a function is called with the numbers of structures and
            of energies since its last call.

    Returns:
        The new structures, with the number of the given structure as their trajectory, and the
        column ``generation``. The set is smaller if too few are found.

    Raises:
        ValueError: if an argument is out of range, the calculator computes one structure after the
            other or can't compute a given structure, or nothing new is found.
        OSError: if a round can't be written to the store.

    >>> from ase.build import bulk
    >>> made = rattle_relax([bulk("C", cubic=True)], 3, bulk={"C": -7.4})
    >>> made.kinds, made.local_energies[0].shape
    (['rattled', 'rattled', 'rattled'], (8,))
    """
    items, settings = as_structures(structures), settings or Rattling()
    if size < 1 or not items:
        raise ValueError(f"expected structures and size >= 1, got {len(items)} and {size}")
    seed = checked_seed(seed)
    reference = reference_calculator(calculator)
    if not reference.many:
        raise ValueError(f"expected a calculator in JAX, like tersoff, got {calculator}")
    description = {
        "task": "rattle-relax",
        "structures": [len(items), digest(items)],
        "size": size,
        "calculator": reference.settings,
        "seed": seed,
        "rattling": asdict(settings),
        "bulk": dict(bulk or {}),
        "versions": {**versions(), **reference.versions},
    }
    symbols = {symbol for atoms in items for symbol in atoms.symbols}
    with reporter(progress, size, "rattling", "energies") as report:
        work = Work(description, store, None)
        bulk_energies = work.bulk_energies(symbols, calculator, bulk)
        trees = [[atoms] for atoms in _labelled(items, reference, bulk_energies)]
        found: list[Atoms] = []
        number = empty = 0
        while len(found) < size and empty < PATIENCE:
            name = f"round-{number}"
            computed = 0
            if name not in work.done:
                random = np.random.default_rng([seed, number])
                children, computed = _round(trees, reference, random, settings, bulk_energies)
                # A piece has at least one structure: a round without any has a rejected one.
                none = [failed(items[0], ValueError("every child was rejected"))]
                work.keep([(name, children or none)])
            new = [atoms for atoms in work.done[name] if atoms.calc is not None]
            for atoms in new:
                trees[int(atoms.info["trajectory"])].append(atoms)
            report(min(len(new), size - len(found)), computed)
            found += new
            number, empty = number + 1, 0 if new else empty + 1
    found = found[:size]
    if not found:
        raise ValueError("expected settings with which children are kept, got none that was")
    return LabelledSet.of(
        [Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc) for atoms in found],
        energies=[atoms.get_potential_energy() for atoms in found],
        formation_energies=[atoms.info["e_form"] for atoms in found],
        trajectories=[atoms.info["trajectory"] for atoms in found],
        kinds=[atoms.info["kind"] for atoms in found],
        forces=[atoms.get_forces() for atoms in found],
        local_energies=[atoms.calc.results["energies"] for atoms in found],
        columns={"generation": np.array([atoms.info["generation"] for atoms in found])},
        metadata={**description, "bulk_energies": bulk_energies},
    )


def _labelled(
    items: Sequence[Atoms], reference: ReferenceCalculator, bulk: Mapping[str, float]
) -> list[Atoms]:
    """The given structures with their labels, the roots of the trees."""
    roots: dict[int, Atoms] = {}
    for number, known in reference.label_many(items):
        if isinstance(known, Exception):
            raise ValueError(f"{known} (structure {number})") from known
        roots[number] = _member(items[number], known, bulk, number, 0)
    return [roots[number] for number in range(len(items))]


def _member(
    atoms: Atoms, known: Label, bulk: Mapping[str, float], tree: int, generation: int
) -> Atoms:
    """A structure with its label and its place in a tree."""
    e_form = formation_energy(known.energy, atoms.symbols, bulk)
    return labelled(
        atoms, known, kind="rattled", trajectory=tree, generation=generation, e_form=e_form
    )


def _round(
    trees: list[list[Atoms]],
    reference: ReferenceCalculator,
    random: np.random.Generator,
    settings: Rattling,
    bulk: Mapping[str, float],
) -> tuple[list[Atoms], int]:
    """One child of each tree, of those that are kept, and how many energies were computed."""
    thermal = settings.temperature * units.kB
    parents = [_parent(tree, thermal, settings.low, random) for tree in trees]
    smallest, largest = (math.log(sigma) for sigma in settings.sigma)
    sigmas = np.exp(random.uniform(smallest, largest, len(trees)))
    children = [
        _rattled(parent, tree[0], sigma, settings.cell, random)
        for parent, tree, sigma in zip(parents, trees, sigmas, strict=True)
    ]
    kept: dict[int, Atoms] = {}
    going, computed = set(range(len(trees))), 0
    for step in range(1, settings.steps + 2):
        # All are computed, also those that are kept already: one program serves all steps.
        computed += len(children)
        chances = random.random(len(trees))
        for number, known in reference.label_many(children):
            if number not in going:
                continue
            if isinstance(known, Exception) or not np.isfinite(known.forces).all():
                going.remove(number)
                continue
            child, parent = children[number], parents[number]
            norms = np.linalg.norm(known.forces, axis=1)
            higher = (known.energy - parent.get_potential_energy()) / len(child)
            chance = min(STOP, math.exp(-max(higher, 0.0) / thermal))
            right = norms.max() < settings.force and _far_enough(child, settings.apart)
            if right and (chances[number] < chance or step > settings.steps):
                generation = parent.info["generation"] + 1
                kept[number] = _member(child, known, bulk, number, generation)
                going.remove(number)
            else:
                along = known.forces / np.maximum(norms, 1e-6)[:, None]
                child.positions += sigmas[number] / step * along
        if not going:
            break
    return [kept[number] for number in sorted(kept)], computed


def _parent(tree: list[Atoms], thermal: float, low: float, random: np.random.Generator) -> Atoms:
    """Choose a structure of a tree: one of low energy, or of a late generation."""
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in tree])
    weights = np.exp(-(energies - energies.min()) / thermal)
    generations = 1.0 + np.array([atoms.info["generation"] for atoms in tree])
    chances = low * weights / weights.sum() + (1.0 - low) * generations / generations.sum()
    return tree[int(random.choice(len(tree), p=chances))]


def _rattled(
    parent: Atoms, root: Atoms, sigma: float, strain: float, random: np.random.Generator
) -> Atoms:
    """A copy of the parent, rattled, in a strained cell of the root."""
    child = Atoms(parent.numbers, parent.positions, cell=parent.cell, pbc=parent.pbc)
    if child.pbc.all():
        entries = random.normal(scale=strain, size=(3, 3))
        child.set_cell(root.cell.array @ (np.eye(3) + 0.5 * (entries + entries.T)), True)
    change = random.normal(scale=sigma, size=child.positions.shape)
    child.positions += change - change.mean(axis=0)
    return child


def _far_enough(atoms: Atoms, least: float) -> bool:
    """Whether no two atoms, images included, are nearer than that."""
    from ase.neighborlist import neighbor_list

    return len(neighbor_list("i", atoms, least)) == 0
