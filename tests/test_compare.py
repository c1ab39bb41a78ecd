"""Comparisons of molecules and crystals that are equal, nearly equal or different."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell, molecule
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
    assert not match(truth, molecule("CH3OCH3")).loose


def test_pairs_that_can_not_be_compared_say_why() -> None:
    lost, bare = molecule("H2O"), Atoms("Pt", pbc=True)
    lost.positions[1] = np.nan
    flat = Atoms("Pt", pbc=(1, 1, 0), cell=np.ones((3, 3)))
    salt, oxide = bulk("NaCl", "rocksalt", a=5.64), bulk("MgO", "rocksalt", a=4.2)
    pairs = [
        (molecule("SH2"), molecule("H2O"), "H2S and H2O"),
        (lost, molecule("H2O"), "positions or cells that are not finite"),
        (salt, oxide, "NaCl and MgO"),
        (molecule("H2O"), salt, "0 and 3 periodic axes"),
        (bare, bulk("Pt"), "a singular cell"),
        (flat, fcc111("Pt", (1, 1, 1)), "a singular cell"),
        (molecule("H2O"), molecule("H2O"), None),
    ]
    found, truth, reasons = zip(*pairs, strict=True)
    matches = compare.compare(found, truth)
    assert [match.reason for match in matches] == list(reasons)
    assert [match.tight for match in matches] == [False] * 6 + [True]
    table = compare.text(matches, truth).splitlines()
    assert len(table) == len(pairs) + 2
    assert table[3].split()[:4] == ["2", "MgO", "-", "-"]
    assert table[3].endswith("- (NaCl and MgO)")
    assert compare.summary(matches)["not_compared"] == 6
    equal = compare.Match(0.0, 0.0, True, True, volume=-1e-9, lengths=0.0)
    assert compare.text([equal], [salt]).splitlines()[1].split()[4] == "+0.00"
    with pytest.raises(ValueError, match="expected as many structures, got 7 and 1"):
        compare.compare(found, truth[:1])


def test_a_tight_match_scales_nothing_and_a_loose_one_does() -> None:
    """Rock salt with cells of 6.77 and 5.64 Angstrom is not one crystal."""
    truth, large = (bulk("NaCl", "rocksalt", a=a) for a in (5.64, 6.77))
    found = compare.match(truth, large)
    assert (found.loose, found.tight) == (True, False)
    assert found.volume == pytest.approx((6.77 / 5.64) ** 3 - 1)
    assert found.lengths == pytest.approx(6.77 / 5.64 - 1)
    assert found.rms == pytest.approx(0.0, abs=1e-6)
    sheared = truth.copy()
    # The same volume, other lengths.
    sheared.set_cell(truth.cell.array * [1.06, 1 / 1.06, 1.0], scale_atoms=True)
    found = compare.match(truth, sheared)
    assert abs(found.volume) < 1e-9 < 0.02 < found.lengths
    assert not found.tight
    near = truth.copy()
    near.set_cell(truth.cell.array * 1.001, scale_atoms=True)
    assert compare.match(truth, near).tight


def test_one_crystal_in_several_cells_is_one_crystal() -> None:
    primitive, conventional = (bulk("NaCl", "rocksalt", a=5.64, cubic=c) for c in (False, True))
    skew = make_supercell(primitive, [[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    for truth, found in [(primitive, conventional), (conventional, primitive), (primitive, skew)]:
        match = compare.match(truth, found)
        assert match.tight
        assert match.rmsd < 1e-5
        assert match.volume == pytest.approx(0.0, abs=1e-9)
        assert match.lengths < 1e-6
    moved = conventional.copy()
    moved.positions[0] += 0.4
    assert not compare.match(primitive, moved).tight


@pytest.mark.parametrize("pbc", [(True, True, False), (False, False, True)])
def test_slabs_and_wires(pbc: tuple[bool, bool, bool]) -> None:
    truth = Atoms("OH2", [(0, 0, 0.1), (0.76, 0, -0.48), (-0.76, 0, -0.48)], cell=[5, 5.5, 20])
    truth.pbc = pbc
    # Other vacuum, another origin, another order, turned about an axis.
    same = truth[::-1]
    same.set_cell(np.where(np.array(pbc)[:, None], same.cell.array, 1.7 * same.cell.array))
    same.positions = same.positions * [-1, -1, 1] + [1.0, 2.0, 7.0]
    same.wrap()
    match = compare.match(truth, same)
    assert match.tight
    assert match.rmsd < 1e-6
    near, off = truth.copy(), truth.copy()
    near.rattle(0.01, seed=0)
    off.rattle(0.1, seed=0)
    assert compare.match(truth, near).tight
    assert 0.001 < compare.match(truth, near).rmsd < 0.03
    assert not compare.match(truth, off).loose
    stretched = truth.copy()
    stretched.set_cell(truth.cell.array * np.where(pbc, 1.1, 1.0)[:, None])
    assert not compare.match(truth, stretched).tight


def test_figures_of_a_set_count_what_is_missed() -> None:
    salt, oxide = bulk("NaCl", "rocksalt", a=5.64), bulk("MgO", "rocksalt", a=4.2)
    wrong = oxide.copy()
    wrong.positions[1] += 1.5
    matches = compare.compare([salt, wrong, salt], [salt, oxide, oxide])
    rms = [0.5 if match.rms is None else match.rms for match in matches]
    assert rms[0] == pytest.approx(0.0, abs=1e-9)
    assert rms[2] == 0.5
    assert compare.corrected_rms(matches) == pytest.approx(np.mean(rms))
    assert compare.corrected_rms(compare.compare([molecule("H2O")], [molecule("H2O")])) is None
    assert compare.matched_by_any([salt, oxide], [salt, wrong.copy()])[0]
    assert compare.matched_by_any([salt, oxide], [salt]) == [True, False]


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
