"""The parameters of symmetry functions: order of the features, elements, and refused values."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import atomic_numbers
from reference import acsf_rows
from rows import PLAIN
from strategies import random_cluster

from jaxrecon import ACSF
from jaxrecon.structures.neighbors import Neighbors, neighbors
from jaxrecon.structures.structure import from_ase


def test_two_body_before_three_body_and_kinds_side_by_side() -> None:
    kinds = [name.split()[0] for name in replace(PLAIN, elements=("O", "Pt")).names]
    runs = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]
    expected = [f"G{g}[{element}]" for element in ("O", "Pt") for g in (1, 2, 3)]
    expected += [f"G{g}[{pair}]" for pair in ("O,O", "O,Pt", "Pt,Pt") for g in (4, 5)]
    assert runs == expected


ELEMENTS = ("H", "C", "O", "Pt")


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_some_elements(weighted: bool) -> None:
    """They are the features of a set for these elements, and ignore the atoms of others."""
    config = replace(
        PLAIN, elements=ELEMENTS, weighted=weighted, g4_zeta=(1,), g5_lam=(-1,), g5_eta=(0.1,)
    )
    atoms = random_cluster(5, 8, ELEMENTS)
    assert set(atoms.symbols) == set(ELEMENTS)

    @jax.jit
    def spread(elements: jax.Array, environments: Neighbors) -> tuple[jax.Array, ...]:
        columns = config.columns(elements)
        rows = config(environments, elements)
        same, jacobian = config.with_jacobian(environments, elements)
        whole = jnp.zeros((len(atoms), config.size)).at[:, columns].set(rows, mode="drop")
        return whole, rows, same, jacobian, columns

    with jax.enable_x64(True):
        environments = neighbors(from_ase(atoms))
        for numbers in [(1, 8, 0), (6, 78, 0), (8, 0, 0), (1, 6, 78), (6, 8, 78), (1, 9, 78)]:
            elements = [symbol for symbol in ELEMENTS if atomic_numbers[symbol] in numbers]
            alone = replace(config, elements=tuple(elements))
            arrays = spread(jnp.asarray(numbers), environments)
            whole, rows, same, jacobian, columns = map(np.asarray, arrays)
            expected = np.zeros((len(atoms), config.size))
            expected[:, [config.names.index(name) for name in alone.names]] = acsf_rows(
                alone, atoms
            )
            np.testing.assert_allclose(whole, expected, rtol=1e-9, atol=1e-12, err_msg=str(numbers))
            np.testing.assert_allclose(same, rows, rtol=1e-12, atol=1e-12)
            used = columns[columns < config.size]
            assert len(set(used.tolist())) == len(used) == alone.size
            # Atoms of other elements have derivatives of 0.
            ignored = [symbol not in elements for symbol in atoms.symbols]
            assert not jacobian[:, :, ignored].any()
            assert jacobian[:, :, np.logical_not(ignored)].any()


def test_places_of_elements() -> None:
    place, known = PLAIN.places(jnp.array([1, 8, 78, 0, 2, 9, 79]))
    assert known.tolist() == [True, True, True, False, False, False, False]
    assert place[:3].tolist() == [0, 1, 2]


def test_elements_are_sorted_by_atomic_number_and_once_each() -> None:
    config = ACSF(elements=("Pt", "H", "O", "H"))
    assert config.elements == ("H", "O", "Pt")
    assert config.species == (1, 8, 78)
    assert config == ACSF(elements=("O", "Pt", "H"))
    assert hash(config) == hash(ACSF(elements=("O", "Pt", "H")))


RANGES = {
    **{f"g{g}_eta": (0.0, np.inf) for g in (2, 4, 5)},
    **{f"g{g}_r_s": (0.0, np.inf) for g in (2, 4, 5)},
    **{f"g{g}_zeta": (1.0, np.inf) for g in (4, 5)},
    **{f"g{g}_lam": (-1.0, 1.0) for g in (4, 5)},
    "g3_kappa": (0.0, np.inf),
}


@pytest.mark.parametrize("name", RANGES)
def test_numbers_out_of_range(name: str) -> None:
    low, high = RANGES[name]
    accepted = (low, min(high, 1e3))
    others = {"g3_kappa": (1,), "g4_zeta": (1,), "g4_eta": (0.1,)}
    config = ACSF(elements=("Pt",), **{**others, name: tuple(map(int, accepted))})
    assert getattr(config, name) == accepted
    assert all(type(value) is float for value in getattr(config, name))
    for wrong in (low - 1e-6, high * (1 + 1e-6), float("nan")):
        message = rf"expected {name} between {low} and {high}, got \({low}, {wrong}\)"
        with pytest.raises(ValueError, match=message):
            ACSF(elements=("Pt",), **{**others, name: (low, wrong)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": ("Pt", "Xx")}, r"expected elements as chemical symbols, got \('Pt', 'Xx'\)"),
        ({"elements": ("X",)}, r"expected elements as chemical symbols, got \('X',\)"),
        ({"elements": ()}, r"expected elements as chemical symbols, got \(\)"),
        ({"r_cut": 0.0}, "expected r_cut > 0 Angstrom, got 0.0"),
        ({"r_cut": -1.0}, "expected r_cut > 0 Angstrom, got -1.0"),
        ({"r_cut": float("nan")}, "expected r_cut > 0 Angstrom, got nan"),
        ({"r_cut": float("inf")}, "expected r_cut > 0 Angstrom, got inf"),
        ({"cutoff": "cos"}, r"expected cutoff among \('cosine', 'tanh3'\), got 'cos'"),
        ({"g2_eta": (), "g5_eta": ()}, "expected parameters of at least one function, got none"),
        ({"g2_r_s": (), "g5_zeta": ()}, "expected parameters of at least one function, got none"),
        ({"g2_r_s": (), "g5_lam": ()}, "expected parameters of at least one function, got none"),
        ({"g2_r_s": (), "g5_r_s": ()}, "expected parameters of at least one function, got none"),
    ],
)
def test_parameters_out_of_range(changes: dict[str, object], message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        ACSF(**{"elements": ("Pt",), **changes})


@pytest.mark.parametrize("only", [{"g1": True}, {"g3_kappa": (1.0,)}])
def test_one_function_is_enough(only: dict[str, object]) -> None:
    assert ACSF(elements=("Pt",), g2_eta=(), g5_eta=(), **only).size == 1
