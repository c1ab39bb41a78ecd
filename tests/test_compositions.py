"""Elements and compositions from structures, formulas and lists."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from jaxrecon.compositions import composition_of, elements_of


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
def test_compositions_that_are_none(symbols: str | list) -> None:
    with pytest.raises(ValueError, match="expected a chemical formula like 'Pt10' or 'TiO2', got"):
        composition_of(symbols)
