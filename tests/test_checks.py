"""Elements in the forms in which they are written."""

from __future__ import annotations

from typing import Any

import pytest
from ase.build import molecule
from commands import run
from pymatgen.core import Element

from jaxrecon import Fingerprint
from jaxrecon.descriptors.checks import checked_elements, element_symbols
from jaxrecon.descriptors.io import read_fingerprints


@pytest.mark.parametrize(
    ("elements", "symbols"),
    [
        ("HO", ("H", "O")),
        ("H2O", ("H", "O")),
        ("H,O", ("H", "O")),
        ("H, O", ("H", "O")),
        (" O  H ", ("O", "H")),
        ("O;H,", ("O", "H")),
        ("NaCl", ("Na", "Cl")),
        ("Na Cl", ("Na", "Cl")),
        ("Co", ("Co",)),
        ("CO", ("C", "O")),
        ("Ca(OH)2", ("Ca", "O", "H")),
        ("H999999999999", ("H",)),
        (["H", "O", "H"], ("H", "O")),
        (["H ", " O"], ("H", "O")),
        ([1, "O"], ("H", "O")),
        ((symbol for symbol in "HO"), ("H", "O")),
        (molecule("H2O"), ("O", "H")),
        ([Element("H"), Element("O")], ("H", "O")),
    ],
)
def test_forms_of_elements(elements: Any, symbols: tuple[str, ...]) -> None:
    assert element_symbols(elements) == symbols


@pytest.mark.parametrize(
    "elements",
    ["", " , ", "Q", "H,Q", "na", "X", "H(", [], ["NaCl"], ["X"], [0], [-1], [119], [True], [None]],
)
def test_what_is_no_element(elements: Any) -> None:
    with pytest.raises(ValueError, match=r"as chemical symbols, got .*: write them like 'H,O' or"):
        element_symbols(elements)


def test_everything_that_takes_elements_takes_a_text() -> None:
    expected = Fingerprint.preset("default", ["Na", "Cl"])
    for elements in ("NaCl", "Cl, Na", "Cl Na"):
        assert Fingerprint.preset("default", elements) == expected
    whole = Fingerprint.preset("default", ["H", "Na", "Cl"])
    assert whole.restricted("NaCl") == expected
    assert whole.descriptor.with_elements("Na Cl") == expected.descriptor
    assert checked_elements("Cl,Na") == ("Na", "Cl")


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("elements", ["H, O", "H,O", "H O", "HO", "H2O"])
def test_elements_on_the_command_line(elements: str) -> None:
    import ase.io

    ase.io.write("water.xyz", molecule("H2O"))
    assert run(f"fingerprint water.xyz -o water.npz --elements '{elements}'") == 0
    fingerprint = read_fingerprints("water.npz").fingerprint
    assert fingerprint is not None
    assert fingerprint.descriptor.elements == ("H", "O")
