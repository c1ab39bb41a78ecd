"""Universal rows against sums over pairs, published tables and pymatgen; compositions from them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule, niggli_reduce
from ase.data import atomic_numbers, covalent_radii
from commands import run
from families import rows_of
from scipy.special import eval_legendre
from strategies import random_cluster, random_crystal

from jaxrecon import Fingerprint, featurize, reconstruct
from jaxrecon.cli.arguments import parse_atoms
from jaxrecon.descriptors.universal.elements import ANGLES, PETTIFOR, WEIGHTS, weights
from jaxrecon.descriptors.universal.universal import Universal
from jaxrecon.search.arguments import problems_of
from jaxrecon.search.compositions import candidates
from jaxrecon.search.initialize import VOLUME_RANGE
from jaxrecon.search.volume import expected_volume
from jaxrecon.structures.primitive import primitive

UNIVERSAL = Fingerprint.preset("universal")


def by_number(symbols: Any) -> tuple[str, ...]:
    return tuple(sorted(symbols, key=atomic_numbers.__getitem__))


# Elements.


def test_the_order_and_the_weights_are_those_of_pymatgen() -> None:
    from pymatgen.core import Element

    known = [Element(symbol) for symbol in PETTIFOR]
    numbers = [element.mendeleev_no for element in known]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 103
    for element in known:
        group, period, radius = WEIGHTS[element.symbol]
        assert period == pytest.approx((element.row - 4) / 3)
        assert radius == pytest.approx((covalent_radii[element.Z] - 1.45) / 0.8)
        # pymatgen puts the f block into group 3, where it has steps from 3 to 4 here.
        steps = (group + 1.0) / 2.0 * 17.0 + 1.0 - element.group
        assert 0.0 <= steps < (1.0 if element.is_lanthanoid or element.is_actinoid else 1e-9)
    assert len(set(WEIGHTS.values())) == 103
    table = np.array(list(WEIGHTS.values()))
    assert np.abs(table).max() < 1.6


def test_multiples_of_the_angle_are_weights_too() -> None:
    table = weights(("radius", "cos10", "sin3"))
    for symbol in ("H", "Ti", "U"):
        angle, row = ANGLES[symbol], table[atomic_numbers[symbol]]
        wanted = [1.0, WEIGHTS[symbol][2], np.cos(10 * angle), np.sin(3 * angle), angle]
        np.testing.assert_allclose(row, wanted)
    # With the default all elements are well apart.
    chosen = weights(UNIVERSAL.descriptor.properties)[[atomic_numbers[s] for s in PETTIFOR]]
    gaps = np.linalg.norm(chosen[:, None, :-1] - chosen[None, :, :-1], axis=2)
    assert gaps[np.triu_indices(len(gaps), 1)].min() > 0.15


# Numbers of a row.


def test_the_numbers_are_sums_over_neighbours_and_over_pairs() -> None:
    """At distances where the softened direction differs from the direction by a known factor."""
    atoms = random_cluster(3, 6, ("H", "O", "Pt"))
    atoms.symbols = ["Pt", "H", "Pt", "O", "H", "Pt"]
    atoms.positions *= 0.4
    settings = {
        "properties": ("group", "period"),
        "moments": 2,
        "eta": 0.5,
        "r_s": (1.0, 3.0),
        "widths": (0.02, 0.1),
        "l_max": 4,
        "decay": 0.5,
        "own_r_s": (2.0, 2.5, 4.0),
        "own_widths": (0.05,),
        "own_l_max": 2,
    }
    descriptor = Universal(("H", "O", "Pt"), r_cut=5.0, **settings)
    row = rows_of(descriptor, atoms)[0]
    vectors = np.delete(atoms.positions - atoms.positions[0], 0, axis=0)
    r = np.linalg.norm(vectors, axis=1)
    assert (r < 5.0).sum() == 5
    cutoff = np.where(r < 5.0, 0.5 * (np.cos(np.pi * r / 5.0) + 1.0), 0.0)
    weights = np.array([(1.0, *WEIGHTS[symbol][:2]) for symbol in atoms.symbols])
    angle = ANGLES[atoms[0].symbol]
    expected = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    radial = np.array(
        [
            [np.sum(w * np.exp(-0.5 * (r - r_s) ** 2) * cutoff) for r_s in (1, 3)]
            for w in weights[1:].T
        ]
    )
    expected += list(radial.ravel())
    for a, b in ((1, 1), (1, 2), (2, 2)):
        expected += list(0.5 * (weights[0, a] * radial[b] + weights[0, b] * radial[a]))
    cosines = (vectors @ vectors.T) / np.outer(r, r)
    shortened = r / np.sqrt(r**2 + 0.25)
    for a in range(3):
        for b in range(a, 3):
            for eta in (0.02, 0.1):
                u = np.exp(-eta * r**2) * cutoff
                for l in range(1, 5):
                    factors = [weights[1:, c] * u * shortened**l for c in (a, b)]
                    expected.append(
                        0.5 ** (l - 1) * factors[0] @ eval_legendre(l, cosines) @ factors[1]
                    )
    own = np.array([symbol == "Pt" for symbol in atoms.symbols[1:]], float)
    expected += [np.sum(own * np.exp(-0.5 * (r - r_s) ** 2) * cutoff) for r_s in (2.0, 2.5, 4.0)]
    for l in (1, 2):
        factor = own * np.exp(-0.05 * r**2) * cutoff * shortened**l
        expected.append(0.5 ** (l - 1) * factor @ eval_legendre(l, cosines) @ factor)
    np.testing.assert_allclose(row, expected, atol=1e-10)


def test_the_preset_has_one_length_and_fits_any_elements() -> None:
    assert UNIVERSAL.size <= 256
    assert set(UNIVERSAL.descriptor.elements) == set(PETTIFOR)
    structures = [bulk("NaCl", "rocksalt", a=5.6), molecule("CH3CHO"), bulk("U", "fcc", a=4.5)]
    values = featurize(structures, UNIVERSAL)
    assert values.shape == (3, UNIVERSAL.size)
    for atoms, value in zip(structures, values, strict=True):
        own = Fingerprint.preset("universal", set(atoms.symbols))
        np.testing.assert_allclose(featurize(atoms, own)[0], value, atol=1e-5)


def test_the_choice_of_the_cell_changes_nothing() -> None:
    crystal = random_crystal(4, 3, ("H", "O", "Pt"))
    skewed = make_supercell(crystal, [[1, 2, 0], [0, 1, 0], [1, 0, 1]])
    reduced = skewed.copy()
    niggli_reduce(reduced)
    large = make_supercell(crystal, [[2, 0, 0], [1, 1, 0], [0, 0, 1]])
    one, *others = featurize([crystal, skewed, reduced, large], UNIVERSAL, dtype=np.float64)
    for other in others:
        np.testing.assert_allclose(other, one, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "structure", "a"),
    [("NaCl", "rocksalt", 5.6), ("Cu", "fcc", 3.6), ("GaAs", "zincblende", 5.65)],
)
def test_the_volume_is_in_the_range_of_random_cells(name: str, structure: str, a: float) -> None:
    crystal = bulk(name, structure, a=a)
    symbols = crystal.get_chemical_symbols()
    volume = expected_volume(featurize(crystal, UNIVERSAL)[0], UNIVERSAL, symbols)
    low, high = VOLUME_RANGE
    assert low * volume < crystal.get_volume() < high * volume


# Compositions.


def numbers_of(symbols: Any, noise: float = 0.0) -> np.ndarray:
    """A fingerprint with the numbers of a composition, rounded to float32, and zeros."""
    known = UNIVERSAL.descriptor.center_values
    assert known is not None
    rows = known.values[[UNIVERSAL.descriptor.elements.index(symbol) for symbol in symbols]]
    values = np.zeros(UNIVERSAL.size)
    values[known.features] = rows.mean(axis=0)
    values[UNIVERSAL.descriptor.size + known.features] = rows.var(axis=0)
    values += noise * np.random.default_rng(0).normal(size=values.shape)
    return values.astype(np.float32).astype(float)


def test_random_compositions_are_read_exactly() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        elements = rng.choice(PETTIFOR, size=rng.integers(1, 7), replace=False)
        symbols = [*elements, *rng.choice(elements, size=rng.integers(0, 15))]
        values = numbers_of(symbols)
        assert candidates(values, UNIVERSAL, len(symbols)) == [by_number(symbols)]
        several = candidates(values, UNIVERSAL, range(2, 21))
        reduced = np.gcd.reduce(list(Counter(symbols).values()))
        sizes = [n for n in range(2, 21) if n % (len(symbols) // reduced) == 0]
        assert [len(each) for each in several] == sizes
        assert len(symbols) == 1 or by_number(symbols) in several


def test_noise_leaves_similar_elements() -> None:
    """With an error of 1 % in all numbers the elements are off by a place on the circle at most."""
    place = {symbol: number for number, symbol in enumerate(PETTIFOR)}
    [best, *_] = candidates(numbers_of(["Sr", "Ti", "O", "O", "O"], noise=0.01), UNIVERSAL, 5)
    wanted = sorted(place[symbol] for symbol in ("Sr", "Ti", "O", "O", "O"))
    found = sorted(place[symbol] for symbol in best)
    assert np.abs(np.subtract(wanted, found)).max() <= 1


def test_a_target_without_a_formula_has_a_problem_for_each_number_of_atoms() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.6)
    values = featurize([salt, salt], UNIVERSAL)
    for atoms, sizes in (
        (None, range(2, 21, 2)),
        (range(3, 9), (4, 6, 8)),
        ([4, range(2, 4)], (4,)),
    ):
        first, *_ = problems_of(values, UNIVERSAL, None, "unknown", None, None, atoms)
        assert [len(problem.symbols) for problem in first] == list(sizes)
        assert all(set(problem.symbols) == {"Na", "Cl"} for problem in first)
    volumes = [problem.volume / len(problem.symbols) for problem in first]
    assert volumes == pytest.approx([salt.get_volume() / 2], rel=0.15)


def test_targets_of_different_elements_share_a_program() -> None:
    groups = set()
    for name in ("NaCl", "MgO", "AgBr"):
        salt = bulk(name, "rocksalt", a=5.6)
        values = featurize(salt, UNIVERSAL)
        [[problem]] = problems_of(values, UNIVERSAL, [name], [salt.cell.array], None, None)
        groups.add(problem.group)
        task = problem.task(np.float32)
        assert set(np.asarray(task.species)) == set(salt.numbers)
    assert len(groups) == 1


def test_the_primitive_cell_of_a_supercell() -> None:
    perovskite = Atoms(
        "SrTiO3",
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=[3.9] * 3,
        pbc=True,
    )
    large = make_supercell(perovskite, [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
    found = primitive(large)
    assert len(large) == 10
    assert found.get_chemical_formula() == perovskite.get_chemical_formula()
    assert found.cell.lengths() == pytest.approx([3.9] * 3)
    values = featurize([perovskite, found], UNIVERSAL, dtype=np.float64)
    np.testing.assert_allclose(values[1], values[0], atol=1e-9)
    assert primitive(perovskite) is perovskite
    assert primitive(molecule("H2O")) == molecule("H2O")


@pytest.mark.slow
@pytest.mark.usefixtures("command_line")
def test_everything_is_found_from_the_shell() -> None:
    """Elements, numbers of atoms, cells and positions, from the numbers alone."""
    salt = bulk("CsCl", "cesiumchloride", a=4.12)
    ase.io.write("salt.extxyz", salt)
    assert run("fingerprint salt.extxyz -o salt.npz --preset universal") == 0
    assert run("reconstruct salt.npz -o found.extxyz --symbols unknown --cell unknown") == 0
    found = ase.io.read("found.extxyz")
    assert found.get_chemical_formula() == "ClCs"
    assert found.get_volume() == pytest.approx(4.12**3, rel=1e-3)


# Bad input.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ("O", "Rf")}, "expected elements from H to Lr, .* got Rf: use a preset"),
        ({"properties": ("group", "mass")}, "expected different properties .* got .*mass"),
        ({"properties": ("group", "group")}, "expected different properties among"),
        ({"properties": ("cos0",)}, "expected different properties among"),
        ({"moments": 60}, "expected moments from 0 to 51, got 60"),
        ({"l_max": 0}, "expected l_max from 1 to 12, got 0"),
        ({"r_s": ()}, "expected at least one of r_s, got none"),
        ({"widths": (-1.0,)}, r"expected widths >= 0, got \(-1.0,\)"),
        ({"own_r_s": (float("inf"),)}, r"expected own_r_s >= 0, got \(inf,\)"),
        ({"own_widths": (-0.1,)}, r"expected own_widths >= 0, got \(-0.1,\)"),
        ({"own_l_max": 13}, "expected own_l_max from 1 to 12, got 13"),
        ({"eta": float("nan")}, "expected eta >= 0, got nan"),
        ({"decay": 0.0}, "expected decay above 0 and up to 1, got 0"),
        ({"r_cut": 0.0}, "expected r_cut > 0 Angstrom, got 0"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Universal(**{"elements": ("H",), **changes})


def test_what_a_fingerprint_does_not_tell_is_asked_for() -> None:
    with pytest.raises(ValueError, match="expected elements like 'H,O' for preset 'crystal', got"):
        Fingerprint.preset("crystal")
    crystal = Fingerprint.preset("crystal", "NaCl")
    values = featurize(bulk("NaCl", "rocksalt", a=5.6), crystal)
    with pytest.raises(ValueError, match="expected symbols, or the number of atoms, got neither"):
        reconstruct(values, crystal)
    with pytest.raises(ValueError, match="expected one number of atoms for a fingerprint"):
        reconstruct(values, crystal, atoms=range(2, 4))
    with pytest.raises(ValueError, match="expected atoms >= 1, got range"):
        reconstruct(numbers_of("H"), UNIVERSAL, atoms=range(3, 3))


@pytest.mark.parametrize("text", ["0", "5-2", "a", "-3", "2-", "1.5"])
def test_numbers_of_atoms_that_can_not_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="expected --atoms like 5 or 2-20, from 1 on, got"):
        parse_atoms(text)


@pytest.mark.usefixtures("command_line")
def test_refusals_of_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    ase.io.write("salt.extxyz", bulk("NaCl", "rocksalt", a=5.6))
    assert run("fingerprint salt.extxyz -o salt.npz --preset universal") == 0
    for options, message in (
        ("--symbols NaCl --atoms 2", "expected --symbols or --atoms, got both"),
        ("--atoms 9-3", "expected --atoms like 5 or 2-20"),
    ):
        assert run(f"reconstruct salt.npz -o found.extxyz {options}") == 2
        assert message in capsys.readouterr().err
    np.savetxt("numbers.csv", np.zeros((1, 380)), delimiter=",")
    assert run("reconstruct numbers.csv -o found.extxyz --atoms 10") == 2
    assert "expected --elements, or --symbols with a formula" in capsys.readouterr().err
