"""Hydrocarbons and alcohols of 20 to 30 atoms, made here: many like atoms, few elements.

Carbon skeletons grow atom by atom at random places; a third of them closes a ring of five or six,
and a third gets a hydroxyl group. RDKit (``pip install rdkit``) adds hydrogen atoms and makes a
conformer by distance geometry (Riniker & Landrum, J. Chem. Inf. Model. 55, 2562, 2015), which is
relaxed with the force field MMFF94. Molecule i is the same whatever others are made.
"""

import random
from collections.abc import Sequence
from typing import Any

from ase import Atoms

COUNT = 60
"""Number of molecules."""

SMALLEST, LARGEST = 20, 30
"""Numbers of atoms."""

RINGS = (5, 6)
"""Sizes of rings that are closed."""


def hydrocarbons(rows: Sequence[int]) -> list[tuple[str, Atoms]]:
    """Names and structures of some molecules.

    Args:
        rows: their numbers from 0.

    Raises:
        SystemExit: if RDKit is not installed.
    """
    return [_molecule(row) for row in rows]


def _molecule(row: int) -> tuple[str, Atoms]:
    try:
        from rdkit import Chem
        from rdkit.Chem import AllChem
    except ImportError:
        raise SystemExit("expected RDKit for this set, got none: pip install rdkit") from None
    draws = random.Random(row)
    while True:
        molecule = Chem.AddHs(_skeleton(Chem, draws, row))
        if not SMALLEST <= molecule.GetNumAtoms() <= LARGEST:
            continue
        if AllChem.EmbedMolecule(molecule, randomSeed=row) == 0:
            AllChem.MMFFOptimizeMolecule(molecule, maxIters=2000)
            symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
            atoms = Atoms(symbols, molecule.GetConformer().GetPositions())
            return Chem.MolToSmiles(Chem.RemoveHs(molecule)), atoms


def _skeleton(chem: Any, draws: random.Random, row: int) -> Any:
    """Carbon atoms, each bound to one before it, perhaps with a ring and an oxygen atom."""
    grown, bonds = chem.RWMol(), {0: 0}
    grown.AddAtom(chem.Atom("C"))
    for new in range(1, draws.randint(6, 10)):
        # A chain is as likely as a branch: half of the atoms are bound to the last one.
        old = new - 1 if draws.random() < 0.5 else draws.choice([c for c in bonds if bonds[c] < 4])
        _bind(grown, bonds, old, grown.AddAtom(chem.Atom("C")), chem)
    if row % 3 == 1:
        paths = chem.GetDistanceMatrix(grown)
        free = [c for c in bonds if bonds[c] < 4]
        ends = [(a, b) for a in free for b in free if a < b and paths[a][b] + 1 in RINGS]
        if ends:
            _bind(grown, bonds, *draws.choice(ends), chem)
    if row % 3 == 2:
        carbon = draws.choice([c for c in bonds if bonds[c] < 4])
        _bind(grown, bonds, carbon, grown.AddAtom(chem.Atom("O")), chem)
    molecule = grown.GetMol()
    chem.SanitizeMol(molecule)
    return molecule


def _bind(grown: Any, bonds: dict[int, int], old: int, new: int, chem: Any) -> None:
    grown.AddBond(old, new, chem.BondType.SINGLE)
    for end in (old, new):
        bonds[end] = bonds.get(end, 0) + 1
