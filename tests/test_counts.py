"""The benchmark's count of the necessary work, against loops over every pair and triple."""

import ast
import importlib.util
from collections import Counter
from itertools import combinations, combinations_with_replacement
from pathlib import Path

import pytest

from jaxrecon import Fingerprint

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SPEC = importlib.util.spec_from_file_location("counts", BENCHMARKS / "counts.py")
counts = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(counts)

W, F, C, A, H = 2, 140, 14, 10, 5
"""Poolings, G2 and their centres, angular and radial factors of G5: fung2022."""
SIGNS, SQUARINGS = 2, 6


def problem(symbols: list[str], preset: str = "fung2022") -> "counts.Problem":
    fingerprint = Fingerprint.preset(preset, set(symbols))
    return counts.Problem.of(fingerprint, symbols, [len(symbols) - 1] * len(symbols))


def pairs_and_triples(symbols: list[str]) -> tuple[list, list]:
    """All pairs, and all triples: a centre and two others."""
    atoms = range(len(symbols))
    pairs = list(combinations(atoms, 2))
    return pairs, [(i, *jk) for i in atoms for jk in combinations(set(atoms) - {i}, 2)]


def value_by_loops(symbols: list[str]) -> Counter:
    """One operation after the other, as a program would do them."""
    work = Counter()
    pairs, triples = pairs_and_triples(symbols)
    for _ in pairs:
        work["exp"] += 2  # root and cosine
        work["fma"] += 3 + 3 + 3 + 2  # vector, square, direction, cutoff
        work["fma"] += C + C  # offsets, squared
        for _ in range(F):
            work["exp"] += 1
            work["fma"] += 1 + 1 + 1  # exponent, to the one atom, to the other
        for _ in range(H):
            work["exp"] += 1
            work["fma"] += 1 + 1
    for _ in triples:
        work["fma"] += 3 + H
        for _ in range(SIGNS):
            work["fma"] += 1
            power = 1
            while power < 64:
                power *= 2
                work["fma"] += 1
        for _ in range(A):
            for _ in range(H):
                work["fma"] += 1
    kinds = sorted(set(symbols))
    features = len(kinds) * F + len(list(combinations_with_replacement(kinds, 2))) * A * H
    for _ in range(W * len(symbols)):
        work["fma"] += features
    return work


def wins(symbols: list[str], winner: int) -> Counter:
    """If one atom wins everything: entries with neighbours, with pairs, with ends of pairs."""
    found = Counter()
    others = [kind for i, kind in enumerate(symbols) if i != winner]
    kinds = sorted(set(symbols))
    for kind in kinds:
        found["pairs"] += W * F * others.count(kind)
    for two in combinations_with_replacement(kinds, 2):
        inside = [jk for jk in combinations(others, 2) if tuple(sorted(jk)) == two]
        found["triples"] += W * A * H * len(inside)
        found["ends"] += W * A * H * sum(kind in two for kind in others)
    return found


@pytest.mark.parametrize("symbols", [["Pt"] * 2, ["Pt"] * 5, list("HHHO"), list("CCHHO")])
def test_value(symbols: list[str]) -> None:
    work, found = value_by_loops(symbols), counts.value(problem(symbols))
    assert (found.exponentials, found.multiply_adds) == (work["exp"], work["fma"])
    assert found.bytes == 4 * (3 * len(symbols) + Fingerprint.preset("fung2022", symbols).size)


@pytest.mark.parametrize("symbols", [["Pt"] * 5, list("HHHO"), list("CCHHO")])
def test_derivatives(symbols: list[str]) -> None:
    n, q = len(symbols), problem(symbols)
    pairs, triples = pairs_and_triples(symbols)
    average = sum((wins(symbols, i) for i in range(n)), Counter())
    assert all(count % n == 0 for count in average.values())
    average = Counter({key: count // n for key, count in average.items()})

    work = counts.gradient(q).multiply_adds - counts.value(q).multiply_adds
    back = SIGNS * (2 * SQUARINGS + 1) + 2 * H + 6
    expected = 2 * q.numbers + 3 * average["pairs"] + 2 * average["triples"]
    assert work == expected + back * len(triples) + (4 * H + 27) * len(pairs)

    work = counts.jacobian(q).multiply_adds - counts.value(q).multiply_adds
    expected = 8 * average["pairs"] + 9 * average["triples"] + 14 * average["ends"]
    assert work == expected + 2 * A * len(triples) + (1 + C + 2 * H) * len(pairs)
    for count in (counts.gradient, counts.jacobian, counts.step):
        assert count(q).exponentials == counts.value(q).exponentials + len(pairs)


def test_step_multiplies_the_entries_that_are_not_zero() -> None:
    q = problem(["Pt"] * 4)
    products = sum(1 for _ in range(q.numbers) for _ in combinations_with_replacement(range(12), 2))
    work = counts.step(q).multiply_adds - counts.jacobian(q).multiply_adds
    assert work == products + q.numbers * (12 + 2) + 12**3 // 6 + 12**2
    # Of five atoms, G2 of oxygen depends on oxygen and the centre: 6 numbers of 15.
    mixed = problem(list("HHHHO"))
    dense = mixed.numbers * (15 * 16 // 2 + 15 + 2) + 15**3 // 6 + 15**2
    sparse = counts.step(mixed).multiply_adds - counts.jacobian(mixed).multiply_adds
    saved = W * F + W * A * H  # G2 of O, G5 of O,O
    assert dense - sparse == saved * (15 * 16 // 2 + 15 - 6 * 7 // 2 - 6)


def test_a_crystal_counts_every_image_from_both_sides_once() -> None:
    fingerprint = Fingerprint.preset("crystal", ["Pt"])
    fcc = counts.Problem.of(fingerprint, ["Pt"], [12])
    assert (fcc.atoms, fcc.pairs, fcc.triples) == (1, 6, 66)


@pytest.mark.parametrize(
    ("zetas", "expected"), [([1], 0), ([1, 2, 4, 16, 64], 6), ([1, 4, 16], 4), ([1, 3], 2)]
)
def test_powers(zetas: list[int], expected: int) -> None:
    assert counts.powers(zetas) == expected


def test_floor_is_the_longer_of_computing_and_moving() -> None:
    machine = counts.Machine(exponentials=1e6, multiply_adds=1e7, bytes=1e6)
    assert counts.floor(counts.Counts(3, 20, 4), machine) == pytest.approx(5.0)
    assert counts.floor(counts.Counts(3, 20, 6), machine) == pytest.approx(6.0)
    assert machine.exponential == 10


def test_the_benchmarks_text_has_the_counts() -> None:
    text = ast.get_docstring(ast.parse((BENCHMARKS / "speed.py").read_text()))
    pt10 = problem(["Pt"] * 10)
    assert f"({pt10.pairs} pairs, {pt10.triples} triples" in text
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in counts.table(pt10) if line.strip() not in lines] == []
