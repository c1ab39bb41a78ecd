"""Elements and compositions from structures, formulas, lists and fingerprints."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.data import atomic_numbers
from ase.db import connect
from hypothesis import given
from hypothesis import strategies as st
from strategies import random_cluster, random_crystal

from jaxrecon import (
    ACSF,
    Fingerprint,
    ReconstructConfig,
    ResultCode,
    Store,
    featurize,
    reconstruct,
)
from jaxrecon.search.compositions import candidates
from jaxrecon.structures.formulas import composition_of, elements_of

ORGANIC = Fingerprint.preset("default", ["H", "C", "N", "O", "S"])
METAL = Fingerprint.preset("default", ["H", "O", "Pt"])
# A descriptor with few functions compiles quickly.
FEW = ACSF(
    elements=("H", "O"),
    r_cut=8.0,
    g2_eta=(1.0,),
    g2_r_s=(1.0, 2.0, 3.0, 4.0, 5.0),
    g5_zeta=(1, 4),
    g5_eta=(0.05,),
)
EXTREMES = Fingerprint(FEW)
MEANS = Fingerprint(FEW, poolings=("max", "min", "mean"), per_element=True)
CONFIG = ReconstructConfig(replicas=16, hops=8, refine_steps=15, candidates=8)
WATER = molecule("H2O")


def test_elements_of_structures() -> None:
    assert elements_of([molecule("H2O"), Atoms("PtC"), Atoms()]) == ("H", "C", "O", "Pt")
    assert elements_of(iter([Atoms("PtO")])) == ("O", "Pt")
    assert elements_of([]) == ()


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ("Pt3", ("Pt", "Pt", "Pt")),
        ("TiO2", ("Ti", "O", "O")),
        ("H2OH", ("H", "H", "O", "H")),
        ("Pt(CO)2", ("Pt", "C", "O", "C", "O")),
        (["Pt", "O"], ("Pt", "O")),
        (("O", "O"), ("O", "O")),
        ([78, 8], ("Pt", "O")),
        (list(np.array([78, 8])), ("Pt", "O")),
    ],
)
def test_compositions(symbols: str | list, expected: tuple[str, ...], unchecked: None) -> None:
    assert composition_of(symbols) == expected


@pytest.mark.parametrize(
    "symbols",
    ["", "Pt0", "Xx2", "pt2", "X", "Pt-2", "Pt 2", [], [0], [200], [-1], ["Pt10"], ["Q"]],
    ids=str,
)
def test_refused_compositions(symbols: str | list) -> None:
    with pytest.raises(ValueError, match="expected a chemical formula like 'Pt10' or 'TiO2', got"):
        composition_of(symbols)


def sorted_symbols(atoms: Atoms) -> tuple[str, ...]:
    return tuple(sorted(atoms.symbols, key=atomic_numbers.__getitem__))


def found(atoms: Atoms, fingerprint: Fingerprint, **options: Any) -> list[tuple[str, ...]]:
    """The candidates for the fingerprint of a structure."""
    return candidates(featurize(atoms, fingerprint)[0], fingerprint, len(atoms), **options)


def assert_exact(truths: list[Atoms], fingerprint: Fingerprint) -> None:
    """Check that the composition is the only candidate, also from float32."""
    for values, truth in zip(featurize(truths, fingerprint), truths, strict=True):
        expected = [sorted_symbols(truth)]
        assert candidates(values, fingerprint, len(truth)) == expected
        single = values.astype(np.float32).astype(np.float64)
        assert candidates(single, fingerprint, len(truth)) == expected


@pytest.mark.slow
def test_molecules_of_up_to_five_elements() -> None:
    truths = [molecule(name) for name in g2.names]
    truths = [truth for truth in truths if len(truth) > 1 and set(truth.symbols) <= {*"HCNOS"}]
    assert len(truths) > 90
    assert_exact(truths, ORGANIC)


@pytest.mark.slow
def test_clusters_and_crystals() -> None:
    """With all images, pairs across the faces of a cell count for both of their atoms too."""
    fingerprint = Fingerprint.preset("default", ["H", "O", "Pt"], r_cut=10.0)
    sizes = [2 + seed % 11 for seed in range(60)]
    assert_exact([random_cluster(seed, size) for seed, size in enumerate(sizes)], METAL)
    assert_exact([random_crystal(seed, 1 + seed % 6) for seed in range(24)], fingerprint)
    salt = bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1)
    assert_exact([salt], Fingerprint.preset("crystal", ["Na", "Cl", "K"]))


@given(
    counts=st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(lambda n: sum(n) > 0),
    strengths=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=6, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_exactly_those_that_fit_are_listed(
    counts: list[int], strengths: list[float], seed: int
) -> None:
    """Targets are made from counts and sums over pairs; some elements have no pairs."""
    rng, elements = np.random.default_rng(seed), METAL.descriptor.elements
    between = np.zeros((3, 3))
    between[np.triu_indices(3)] = strengths
    between = np.maximum(between, between.T) * (np.outer(counts, counts) > 0)
    target = np.zeros(METAL.size)
    for a, b in product(range(3), repeat=2):
        indices = METAL.find(f"mean[{elements[a]}] G2[{elements[b]}]")
        sums = between[a, b] * np.random.default_rng([seed, a * b, a + b]).uniform(1, 9, 11)
        assert len(indices) == 11
        target[indices] = sums / max(counts[a], 1)
    target *= 1.0 + 1e-7 * rng.normal(size=target.shape)
    atoms = sum(counts)
    # By definition, the elements are those that are seen, and pairs count for both of their atoms.
    seen = [bool(row.any()) for row in between]
    expected = []
    for guess in product(range(atoms + 1), repeat=3):
        if sum(guess) != atoms or (any(seen) and [n > 0 for n in guess] != seen):
            continue
        agrees = [
            between[a, b] == 0 or guess[a] * counts[b] == guess[b] * counts[a]
            for a, b in product(range(3), repeat=2)
        ]
        if all(agrees):
            expected.append(guess)
    if not expected:
        # An element without pairs is not seen, and the others cannot make up for its atoms.
        assert not all(seen[a] or counts[a] == 0 for a in range(3))
        return
    answers = candidates(target, METAL, atoms, most=1000)
    got = [tuple(Counter(answer)[element] for element in elements) for answer in answers]
    assert sorted(got) == expected
    assert len(candidates(target, METAL, atoms, most=len(expected))) == len(expected)
    if len(expected) > 1:
        with pytest.raises(ValueError, match=f"or at most {len(expected) - 1} compositions of"):
            candidates(target, METAL, atoms, most=len(expected) - 1)


@pytest.fixture(scope="module")
def ethanol() -> np.ndarray:
    return featurize(molecule("CH3CH2OH"), ORGANIC)[0]


@given(noise=st.floats(1e-7, 3e-3), seed=st.integers(0, 2**32 - 1))
def test_a_fingerprint_of_no_structure(ethanol: np.ndarray, noise: float, seed: int) -> None:
    """The best fit comes first for fingerprints like those of a generator."""
    values = ethanol * (1.0 + noise * np.random.default_rng(seed).normal(size=ethanol.shape))
    assert candidates(values, ORGANIC, 9)[0] == tuple("HHHHHHCCO")


@pytest.mark.parametrize(
    ("halfway", "hydrogens"), [(0.97, [5, 6]), (1.03, [6, 5]), (0.8, [5]), (1.2, [6])]
)
def test_between_two_compositions(halfway: float, hydrogens: list[int]) -> None:
    """Both are listed, the nearer one first; a much worse fit is not."""
    truth = Atoms("H5O5", random_cluster(3, 10, ("H",)).positions)
    values = featurize(truth, MEANS)[0]
    values[MEANS.find("mean[O] G2[H]")] *= halfway * math.sqrt(6 / 4)
    possible = candidates(values, MEANS, 10)
    assert [Counter(symbols)["H"] for symbols in possible] == hydrogens


@pytest.mark.parametrize("lost", [0.0, 1e-300, 1e-9])
def test_pairs_that_are_seen_from_one_side_only(lost: float) -> None:
    """They give no ratio, and all compositions with both elements fit."""
    values = featurize(WATER, MEANS)[0]
    values[MEANS.find("mean[O] G2[H]")] *= lost
    possible = candidates(values, MEANS, 5)
    assert [Counter(symbols)["H"] for symbols in possible] == [1, 2, 3, 4]


def test_numbers_of_all_elements_are_no_pairs(unchecked: None) -> None:
    """Functions that count all neighbours give no ratio, and the others fewer."""
    fingerprint = Fingerprint.preset("universal", "HO", poolings=("mean",), per_element=True)
    assert tuple("HHO") in found(WATER, fingerprint)
    with pytest.raises(ValueError, match=r"whole number of atoms or a range of them, got 3\.0"):
        candidates(featurize(WATER, MEANS)[0], MEANS, 3.0)


def test_parts_that_do_not_see_each_other() -> None:
    """The ratios within each part are known, but not the sizes of the parts."""
    apart = WATER + Atoms("N2S", [(40, 0, 0), (41.1, 0, 0), (40, 1.5, 0)])
    values = featurize(apart, ORGANIC)[0]
    assert candidates(values, ORGANIC, 6) == [tuple("HHNNOS")]
    twice = [Counter(symbols) for symbols in candidates(values, ORGANIC, 12)]
    assert sorted(counts["O"] for counts in twice) == [1, 2, 3]
    for counts in twice:
        small, large = counts["O"], 4 - counts["O"]
        assert counts == {"H": 2 * small, "O": small, "N": 2 * large, "S": large}
    with pytest.raises(ValueError, match="of 300 atoms of H, N, O, S that fit, got more than 32"):
        candidates(values, ORGANIC, 300)


def test_an_atom_far_from_all_others() -> None:
    """It counts where others of its element have neighbours; otherwise it leaves no trace."""
    assert found(WATER + Atoms("H", [(50, 0, 0)]), MEANS) == [tuple("HHHO")]
    assert found(WATER + Atoms("O", [(50, 0, 0)]), MEANS) == [tuple("HHOO")]
    lost = found(WATER + Atoms("S", [(50, 0, 0)]), ORGANIC)
    assert all(set(symbols) == {"H", "O"} for symbols in lost)


def test_atoms_without_neighbors() -> None:
    """They may be of any element of the fingerprint."""
    assert found(Atoms("O"), MEANS) == [("O",), ("H",)]
    assert found(Atoms("Pt"), Fingerprint.preset("default", ["Pt"])) == [("Pt",)]
    assert found(Atoms("O2", [(0, 0, 0), (50, 0, 0)]), MEANS) == [
        tuple("OO"),
        tuple("HO"),
        tuple("HH"),
    ]


@pytest.mark.parametrize(
    "fingerprint",
    [
        EXTREMES,
        Fingerprint(FEW, poolings=("mean",)),
        Fingerprint(FEW, poolings=("sum",), per_element=True),
    ],
    ids=["extremes", "mean over all", "sums"],
)
def test_without_means_by_element_all_are_possible(fingerprint: Fingerprint) -> None:
    values = featurize(WATER, fingerprint)[0]
    assert candidates(values, fingerprint, 3) == [tuple("HOO"), tuple("HHO")]
    assert len(candidates(values, fingerprint, 33)) == 32
    message = "'mean' per element, or at most 32 compositions of 34 atoms of H, O that fit, got 33"
    with pytest.raises(ValueError, match=message):
        candidates(values, fingerprint, 34)
    assert found(molecule("O2"), fingerprint) == [tuple("OO")]


def test_weighted_functions_name_no_elements() -> None:
    fingerprint = Fingerprint.preset("gastegger2018", ["H", "O"])
    assert found(molecule("O2"), fingerprint) == [tuple("OO"), tuple("HO"), tuple("HH")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atoms": 1}, "expected at least 2 atoms, .* has H, O, got 1, in target 0"),
        ({"atoms": 0}, "expected atoms >= 1, got 0, in target 0"),
        ({"atoms": [3, 3]}, "expected one number of atoms or 1, got 2"),
        ({"atoms": 40}, "or at most 32 compositions of 40 atoms .* got 39, in target 0"),
        ({}, "expected symbols, or the number of atoms, got neither"),
        ({"atoms": 3, "symbols": "H2O"}, "expected symbols or atoms, got both"),
        ({"atoms": 3, "positions": [np.zeros((3, 3))]}, "expected symbols where positions are"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(featurize(WATER, EXTREMES), EXTREMES, **changes)


@pytest.mark.slow
def test_structures_of_unknown_composition(tmp_path: Path) -> None:
    """Where several are possible, each one gets all hops, and the work on all of them counts."""
    peroxyl = Atoms("HO2", [(0.9, 0.3, 0), (0, 0, 0), (-0.4, 1.2, 0)])
    truths = [peroxyl, WATER, molecule("H2O2")]
    values = featurize(truths, EXTREMES)
    values[2] += 0.3
    store, reports = Store(tmp_path / "found.db"), []
    run = reconstruct(
        values,
        EXTREMES,
        atoms=[3, 3, 4],
        config=CONFIG,
        store=store,
        progress=lambda *done: reports.append(done),
    )
    assert [len(result.atoms) for result in run] == [3, 3, 4]
    radical, water, nothing = run
    assert radical.code is water.code is ResultCode.CONVERGED
    assert radical.atoms.get_chemical_formula() == "HO2"
    # HO2 is searched for first, also where the structure is water.
    assert water.atoms.get_chemical_formula() == "H2O"
    assert radical.hops < CONFIG.hops < water.hops < 2 * CONFIG.hops
    assert (nothing.code, nothing.hops) == (ResultCode.STALLED, 3 * CONFIG.hops)
    single = [
        reconstruct(values[2], EXTREMES, symbols=formula, config=CONFIG, indices=[2])[0]
        for formula in ("HO3", "H2O2", "H3O")
    ]
    best = min(single, key=lambda result: result.residual)
    assert nothing.residual == best.residual
    assert nothing.atoms.get_chemical_formula() == best.atoms.get_chemical_formula()
    for result in run:
        expected = {kind: n * result.hops for kind, n in CONFIG.evaluations_per_hop.items()}
        assert result.evaluations == expected
    work = sum(sum(result.evaluations.values()) for result in run)
    assert tuple(np.sum(reports, axis=0)) == (3, work)
    with connect(tmp_path / "found.db") as database:
        assert sorted((row.target, row.hops) for row in database.select()) == [
            (number, result.hops) for number, result in enumerate(run)
        ]
    again = reconstruct(
        values,
        EXTREMES,
        atoms=[3, 3, 4],
        config=CONFIG,
        store=Store(tmp_path / "found.db", resume=True),
    )
    assert [result.seconds for result in again] == [result.seconds for result in run]


@pytest.mark.slow
def test_means_by_element_need_one_search() -> None:
    [water] = reconstruct(featurize(WATER, MEANS), MEANS, atoms=3, config=CONFIG)
    assert water.code is ResultCode.CONVERGED
    assert water.atoms.get_chemical_formula() == "H2O"
    assert water.hops < CONFIG.hops
