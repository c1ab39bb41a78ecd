"""The sets of the recovery benchmark."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from recovering import module

from jaxrecon import Fingerprint, featurize
from jaxrecon.structures.formulas import elements_of

# Which targets.


def test_rows_are_evenly_spaced() -> None:
    spread = module("recovery_sets").spread
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, None) == [0, 1, 2] == spread(3, 5)
    assert spread(500, 100)[:3] == [0, 5, 10]


@pytest.mark.parametrize("preset", ["crystal", "gastegger2018"])
def test_structures_computed_together_have_the_numbers_of_each_alone(preset: str) -> None:
    structures = [molecule("H2O"), molecule("CO2"), molecule("H2")]
    made = module("recovery_sets").fingerprints_of(structures, [preset] * 3)
    for atoms, (own, values) in zip(structures, made, strict=True):
        assert own == Fingerprint.preset(preset, elements_of([atoms]))
        np.testing.assert_allclose(values, featurize(atoms, own)[0], rtol=1e-12, atol=1e-12)


def test_the_preset_may_change_from_one_structure_to_the_next() -> None:
    made = list(
        module("recovery_sets").fingerprints_of(
            [molecule("H2"), bulk("Pt"), molecule("H2")], ["fung2022", "crystal", "fung2022"]
        )
    )
    assert [len(values) for _, values in made] == [380, made[1][0].size, 380]
    assert made[1][0] == Fingerprint.preset("crystal", ["Pt"])
    np.testing.assert_array_equal(made[0][1], made[2][1])


def test_sets_say_what_is_missing() -> None:
    targets_of = module("recovery_sets").targets_of
    with pytest.raises(ValueError, match=r"expected --data DIR with mp_200\.extxyz, got none"):
        targets_of("mp_200", None, preset=None, rows=None, count=None)
    with pytest.raises(ValueError, match="expected --fingerprint fung2022, as published"):
        targets_of("pt10_fps300", Path(), preset="crystal", rows="0", count=None)
    with pytest.raises(ValueError, match="expected --fingerprint average_dscribe, as published"):
        targets_of("qm7_dscribe", Path(), preset="soap", rows="0", count=None)
    with pytest.raises(ValueError, match="expected --rows among 0-11"):
        targets_of("prototypes", None, preset=None, rows="12", count=None)


@pytest.mark.parametrize(
    "name", ["pt10_pbe1000", "qm7_500", "perov5_200", "mp_200", "carbon24_val"]
)
def test_files_have_the_rows_that_the_sets_say(data: Path, name: str) -> None:
    sets = module("recovery_sets")
    last = sets.SETS[name].count - 1
    (found,) = sets.targets_of(name, data, preset=None, rows=str(last), count=None)
    assert found.row == last
    assert (found.kind == "crystal") == (name in ("perov5_200", "mp_200", "carbon24_val"))
    with pytest.raises(IndexError):
        sets.SETS[name].read(data / sets.SETS[name].file, [last + 1])
    np.testing.assert_allclose(
        found.values, featurize(found.truth, found.fingerprint)[0], atol=1e-12
    )


def test_the_cell_may_be_kept_back(data: Path) -> None:
    targets_of = module("recovery_sets").targets_of
    told, kept = (
        targets_of("perov5_200", data, preset=None, rows=None, count=2, cell_known=known)
        for known in (True, False)
    )
    assert [target.row for target in kept] == [0, 199]
    assert [target.cell for target in kept] == ["unknown"] * 2
    np.testing.assert_array_equal(told[0].cell, told[0].truth.cell.array)
    np.testing.assert_array_equal(told[0].values, kept[0].values)
    free = targets_of("pt10_pbe1000", data, preset=None, rows="5", count=None, cell_known=False)
    assert free[0].cell is None


def test_published_fingerprints(data: Path) -> None:
    found = module("recovery_sets").targets_of(
        "pt10_fps300", data, preset=None, rows=None, count=None
    )
    assert len(found) == 300
    assert found[7].truth is None
    assert found[7].symbols == ("Pt",) * 10
    first = (data / "pt10_fps300_x.csv").read_text().splitlines()[7].split(",")
    np.testing.assert_array_equal(found[7].values, np.array(first, float))


def test_vectors_of_dscribe_are_those_of_the_preset() -> None:
    """Of structures with the same elements and with others, in their order."""
    structures = [molecule("H2O"), molecule("CH4"), molecule("H2O2"), molecule("CH3OH")]
    made = module("recovery_dscribe").vectors(structures)
    for atoms, (fingerprint, values) in zip(structures, made, strict=True):
        assert fingerprint == Fingerprint.preset("average_dscribe", elements_of([atoms]))
        expected = featurize(atoms, fingerprint, dtype=np.float64)[0]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_clusters_are_two_different_compact_minima() -> None:
    clusters = module("recovery_clusters")
    made = clusters.compact("Cu", 13)
    lowest, other = made.values()
    assert next(iter(made)) == "icosahedron"
    assert lowest.info["energy"] < other.info["energy"]
    assert {len(lowest), len(other)} == {13}
    assert clusters.matching.rmsd(lowest, other) > clusters.SAME
    for atoms in (lowest, other):
        atoms.calc = clusters.EMT()
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= clusters.FORCE
        assert not atoms.pbc.any()


def test_a_shape_is_cut_to_size() -> None:
    clusters = module("recovery_clusters")
    whole = clusters._cut("icosahedron", "Cu", 13)
    assert len(whole) == 13
    # The atom in the middle, which is bound best, stays.
    less = clusters._cut("icosahedron", "Cu", 12)
    centre = np.linalg.norm(less.positions - whole.positions.mean(axis=0), axis=1)
    assert len(less) == 12
    assert centre.min() < 1e-6
