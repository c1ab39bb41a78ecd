"""Furthest points and distinct rows against brute force in NumPy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxrecon.datasets import sampling
from jaxrecon.datasets.sampling import distinct, furthest_points

# Sums of squares of small integers are exact in any order: ties are ties on both sides. One shape,
# one program.
TABLES = arrays(np.float64, (12, 3), elements=st.integers(-4, 4).map(float))


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    """Small blocks suffice for small tables, which would take seconds with large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BLOCK", 16)
        yield


def brute_force_furthest(values: np.ndarray, count: int, first: int | None) -> list[int]:
    """All distances to all chosen rows, at every step."""
    if first is None:
        first = int(np.argmax(((values - values.mean(axis=0)) ** 2).sum(axis=1)))
    chosen = [first]
    while len(chosen) < count:
        squares = ((values[:, None] - values[chosen][None]) ** 2).sum(axis=-1).min(axis=1)
        squares[chosen] = -1.0
        chosen.append(int(np.argmax(squares)))
    return chosen


def brute_force_distinct(values: np.ndarray, tolerance: float) -> list[int]:
    selected: list[int] = []
    for row, value in enumerate(values):
        if all(np.sqrt(np.mean((value - values[other]) ** 2)) >= tolerance for other in selected):
            selected.append(row)
    return selected


@settings(max_examples=60)
@given(values=TABLES, first=st.integers(0, 11))
def test_furthest_points_of_tables_full_of_ties(values, first):
    assert furthest_points(values, 12, first).tolist() == brute_force_furthest(values, 12, first)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("first", [None, 17])
def test_furthest_points_of_random_rows(dtype, first):
    values = np.random.default_rng(0).normal(size=(200, 7)).astype(dtype)
    assert furthest_points(values, 60, first).tolist() == brute_force_furthest(values, 60, first)


def test_furthest_points_begin_far_from_the_mean():
    values = np.array([[0.0], [0.1], [-0.2], [9.0], [0.3]])
    assert furthest_points(values, 1).tolist() == [3]


def test_furthest_points_see_digits_that_float32_has_not():
    values = np.array([[0.0], [1.0], [1.0 + 1e-9], [0.5]]) + 100.0
    assert furthest_points(values, 2, first=0).tolist() == [0, 2]


def test_the_choice_of_fewer_is_the_beginning_of_the_choice_of_more():
    values = np.random.default_rng(1).normal(size=(100, 3))
    assert furthest_points(values, 9).tolist() == furthest_points(values, 40)[:9].tolist()


def test_copies_are_taken_once_each():
    assert sorted(furthest_points(np.ones((6, 2)), 6).tolist()) == list(range(6))


@settings(max_examples=60)
@given(values=TABLES, tolerance=st.sampled_from([0.5, 1.5, 2.2, 3.9]))
def test_distinct_rows_of_small_tables(values, tolerance):
    assert distinct(values, tolerance).tolist() == brute_force_distinct(values, tolerance)


@pytest.mark.parametrize("block", [7, 64, 2048])
@pytest.mark.parametrize("away", [0.0, 1e6])
def test_distinct_rows_whatever_the_blocks(monkeypatch, block, away):
    monkeypatch.setattr(sampling, "BLOCK", block)
    random = np.random.default_rng(2)
    values = random.normal(size=(150, 5))
    near = values[random.integers(0, 150, 100)] + 1e-4 * random.normal(size=(100, 5))
    values = away + random.permutation(np.concatenate([values, near]))
    selected = distinct(values, 1e-3)
    assert selected.tolist() == brute_force_distinct(values, 1e-3)
    assert len(selected) == 150


def test_a_chain_of_near_rows_loses_every_other_one():
    # The second is near the first and goes; the third is near the second alone and stays.
    assert distinct(np.array([[0.0], [0.9], [1.8], [2.7], [3.6]]), 1.0).tolist() == [0, 2, 4]


def test_places_without_a_row_cover_none(monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK", 4)
    # Two of the first four are selected. The last is at the mean, where empty places are zero.
    assert distinct(np.array([[-1.0], [1.0], [-1.0], [1.0], [0.0]]), 0.1).tolist() == [0, 1, 4]


def test_whole_numbers_are_numbers(unchecked):
    values = np.array([[0], [3], [1]])
    assert furthest_points(values, 2, 0).tolist() == [0, 1]
    assert distinct(values, 1.5).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: furthest_points(v, 0), "expected count among 1-4, got 0"),
        (lambda v: furthest_points(v, 5), "expected count among 1-4, got 5"),
        (lambda v: furthest_points(v, 1, 4), "expected first among 0-3, got 4"),
        (lambda v: furthest_points(v[:0], 1), "at least one row of numbers, got shape (0, 2)"),
        (lambda v: distinct(v, 0.0), "expected tolerance > 0, got 0.0"),
        (lambda v: distinct(v, np.nan), "expected tolerance > 0, got nan"),
        (lambda v: distinct(v * np.inf, 1.0), "finite numbers, got inf in row 0, column 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(np.ones((4, 2)))
