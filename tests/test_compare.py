"""Comparisons of molecules and crystals that are equal, nearly equal or different."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.spacegroup import crystal

from jaxrecon.structures import compare


def test_a_moved_and_mirrored_molecule_matches_and_another_does_not() -> None:
    match = compare.match
    truth = molecule("CH3CH2OH")
    moved = truth[::-1]
    moved.rotate(40, (1, 2, 3))
    moved.positions = moved.positions * [1, -1, 1] + 3.0
    assert match(truth, moved).tight
    assert match(truth, moved).rmsd < 1e-6
    shaken = truth.copy()
    shaken.rattle(0.1, seed=1)
    assert not match(truth, shaken).loose
    near = truth.copy()
    near.rattle(0.01, seed=1)
    assert match(truth, near).tight
    assert match(truth, molecule("CH3OCH3")) == match(truth, shaken)._replace(
        rmsd=match(truth, molecule("CH3OCH3")).rmsd
    )


def test_other_elements_or_no_positions_do_not_match() -> None:
    assert compare.match(molecule("H2O"), molecule("SH2")) == compare.NONE
    lost = molecule("H2O")
    lost.positions[1] = np.nan
    assert compare.match(molecule("H2O"), lost) == compare.NONE


def quartz() -> Atoms:
    """A chiral crystal in a primitive cell."""
    sites = [(0.4697, 0.0, 1 / 3), (0.4135, 0.2669, 0.7858)]
    cell = (4.916, 4.916, 5.405, 90, 90, 120)
    return crystal(("Si", "O"), sites, spacegroup=152, cellpar=cell)


def test_the_mirror_image_of_a_chiral_crystal_matches() -> None:
    image = quartz()[::-1]
    image.positions = 0.3 - image.positions
    image.wrap()
    found = compare.match(quartz(), image)
    assert (found.loose, found.tight) == (True, True)
    assert found.rms == pytest.approx(0.0, abs=1e-6)


def test_a_crystal_matches_tightly_loosely_or_not_at_all() -> None:
    match = compare.match
    truth = quartz()
    exact, off, wrong = truth[::-1], truth.copy(), truth.copy()
    exact.positions += 1.0
    assert match(truth, exact).tight
    off.rattle(0.3, seed=0)
    found = match(truth, off)
    assert (found.loose, found.tight) == (True, False)
    assert 0.02 < found.rms < 0.5
    assert found.rmsd > 0.05
    wrong.symbols = "O3Si6"
    assert not match(truth, wrong).loose
