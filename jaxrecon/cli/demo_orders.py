"""What the demonstration makes, and the alloys that it learns from."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.config import GenerateConfig
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.potentials.judge import judge
from jaxrecon.search.config import ReconstructConfig

POTENTIAL = "emt"
"""Effective medium theory, which judges everything that is made."""

COPIES = 16
"""Number of distorted copies of each crystal to learn from."""


@dataclass(frozen=True)
class Order:
    """What to make, and how.

    Attributes:
        symbols: formula of the structures.
        targets: wanted formation energies in eV/atom.
        count: number of structures for each.
        learning: settings of the model.
        making: settings of the generation.
        remark: what EMT is to the model, in words.
    """

    symbols: str
    targets: tuple[float, ...]
    count: int
    learning: TrainConfig
    making: GenerateConfig
    remark: str


CLUSTERS = Order(
    symbols="Pt10",
    targets=(1.9, 2.8),
    count=5,
    # It learns from energies alone: forces would reduce its error by a sixth, and quadruple the
    # time.
    learning=TrainConfig(forces=False, generator_fit=FitConfig(3, 128, 1e-3, 200, 64)),
    making=GenerateConfig(),
    remark=(
        "It learned from PBE; EMT has an energy scale of its own, so compare what it says of these "
        "with what it says of known clusters that have the wanted energy."
    ),
)
"""Clusters like those of ``pt10_pbe``."""

CRYSTALS = Order(
    symbols="Cu3Au",
    targets=(0.05, 0.15),
    count=2,
    learning=TrainConfig.preset("universal").replace(
        generator_fit=FitConfig(1, 128, 1e-3, 200, 64)
    ),
    making=GenerateConfig(
        agree=0.03,
        tolerance=0.03,
        search=ReconstructConfig(hops=10, patience=5, tolerance=0.01),
    ),
    remark="It learned from EMT, which therefore says what is true.",
)
"""Crystals of a composition that the model did not learn from, whose cells are found too."""


def alloys(seed: int) -> LabelledSet:
    """Crystals of copper and gold with their energies by effective medium theory.

    Args:
        seed: seed of the distortions.

    Returns:
        Distorted copies of both metals, of CuAu in two structures and of CuAu3, four atoms each;
        formation energies in eV/atom relative to the metals.
    """
    ordered = crystal(
        ["Cu", "Cu", "Au"],
        [(0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.5, 0.5)],
        spacegroup=123,
        cellpar=[3.87, 3.87, 3.87, 90, 90, 90],
    )
    corners = crystal(
        ["Cu", "Au"],
        [(0.0, 0.0, 0.0), (0.5, 0.5, 0.0)],
        spacegroup=221,
        cellpar=[3.98, 3.98, 3.98, 90, 90, 90],
    )
    ideal = [
        bulk("Cu", "fcc", a=3.61, cubic=True),
        bulk("Au", "fcc", a=4.08, cubic=True),
        bulk("CuAu", "cesiumchloride", a=3.07).repeat((2, 1, 1)),
        ordered,
        corners,
    ]
    rng = np.random.default_rng(seed)
    copies = [_distorted(atoms, rng) for atoms in ideal for _ in range(COPIES)]
    judged = judge(copies, POTENTIAL)
    return LabelledSet.of(
        judged.structures, formation_energies=[atoms.info["e_form"] for atoms in judged]
    )


def _distorted(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """A copy with its cell strained and its atoms moved at random."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    strain = np.eye(3) * (1.0 + 0.03 * rng.normal()) + 0.03 * rng.normal(size=(3, 3))
    copy.set_cell(copy.cell.array @ strain, scale_atoms=True)
    copy.rattle(0.1, rng=rng)
    return copy
