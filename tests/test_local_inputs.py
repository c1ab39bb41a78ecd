"""Models of local energies: what they refuse, and in which precision they compute."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from copper import rattled

from jaxrecon import SOAP
from jaxrecon.models.local.base import LocalModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.linear import LinearModel
from jaxrecon.models.local.network import NetworkModel
from jaxrecon.models.local.sparse_kernel import SparseKernel
from jaxrecon.models.local.uncertainty import LocalRigidity
from jaxrecon.models.registry import LOCAL_MODELS
from jaxrecon.potentials.single_points import single_points
from jaxrecon.structures.structure import from_ase

pytestmark = pytest.mark.usefixtures("strict_types")

COPPER, SILVER, BOTH = (
    SOAP(elements, r_cut=4.0, n_max=3, l_max=2) for elements in (("Cu",), ("Ag",), ("Cu", "Ag"))
)
QUICK = LocalConfig(points=10, inducing=5, hidden=8, layers=1, features=3, epochs=2, batch=8)


def crystals(symbol: str = "Cu", a: float = 3.6, count: int = 6) -> list[Atoms]:
    made = [rattled(a + 0.02 * seed, 0.1, seed, symbol) for seed in range(count)]
    for atoms in made:
        atoms.get_forces()
    return made


@pytest.fixture(scope="module")
def data() -> Environments:
    return Environments.of(crystals(), COPPER)


def test_a_kernel_of_many_points_keeps_its_digits_with_float32_rows() -> None:
    whole = Environments.of(crystals(count=40), COPPER)
    model = SparseKernel.fit(whole, LocalConfig(points=150, sigma=1e-4))
    expected = model.predict(replace(whole, rows=whole.rows.astype(np.float64)))
    assert whole.rows.dtype == np.float32
    np.testing.assert_allclose(model.predict(whole), expected, atol=1e-9)
    # It is also what the potential gives, which computes rows in float64.
    points = single_points(crystals(count=40), model.potential())
    found = np.concatenate([point.energies for point in points])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_model_survives_pickling_and_compiles_its_potential_once(data: Environments) -> None:
    model = SparseKernel.fit(data, QUICK)
    assert model.potential() is model.potential()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(data), model.predict(data))
    assert again.potential().parameters is again


def test_large_energies_of_free_atoms_keep_their_digits(data: Environments) -> None:
    # All-electron energies: float32 would round them to 4 meV.
    assert data.energies is not None
    shifted = replace(data, energies=data.energies - 45_000.0)
    found, expected = (LinearModel.fit(part, QUICK).predict(part) for part in (shifted, data))
    np.testing.assert_allclose(found + 45_000.0, expected, atol=1e-6)


def test_the_potential_of_a_kernel_refuses_float32(data: Environments) -> None:
    kernel, linear = (kind.fit(data, QUICK).potential() for kind in (SparseKernel, LinearModel))
    with pytest.raises(ValueError, match="expected dtype float64 for the potential of a SparseK"):
        single_points(crystals(count=1), kernel, dtype=np.float32)
    single_points(crystals(count=1), linear, dtype=np.float32)


def test_an_unknown_element_is_not_taken_for_the_first_one(data: Environments) -> None:
    potential = LinearModel.fit(data, QUICK).potential()
    with pytest.raises(ValueError, match="expected elements among Cu, got Ag"):
        potential.predict(from_ase(Atoms("CuAg", [[0, 0, 0], [0, 0, 2.5]])))


@lru_cache
def environments(symbol: str, descriptor: SOAP) -> Environments:
    return Environments.of(crystals(symbol, count=2), descriptor)


@pytest.mark.parametrize("name", list(LOCAL_MODELS))
def test_elements_that_were_not_learned_are_refused_by_name(name: str) -> None:
    for descriptor, other in ((COPPER, SILVER), (BOTH, BOTH)):
        model = LOCAL_MODELS[name].fit(environments("Cu", descriptor), QUICK)
        assert model.elements == ("Cu",)
        with pytest.raises(ValueError, match="has learned, Cu, got Ag"):
            model.predict(environments("Ag", other))
        with pytest.raises(ValueError, match="expected elements among Cu, got Ag"):
            single_points(crystals("Ag", count=1), model.potential())


def test_rows_of_another_descriptor_are_refused(data: Environments) -> None:
    model = LinearModel.fit(data, QUICK)
    other = Environments.of(crystals(), replace(COPPER, sigma=0.3))
    with pytest.raises(ValueError, match="expected environments of the model's descriptor"):
        model.predict(other)
    with pytest.raises(ValueError, match="expected environments of the model's descriptor"):
        LocalRigidity.of(model, data, QUICK).local(other)
    assert model.predict(data.sample(np.zeros(0, int))).shape == (0,)


@pytest.mark.parametrize("kind", [LinearModel, SparseKernel, NetworkModel])
def test_totals_of_another_theory_are_learned_without_the_local_energies(
    kind: type[LocalModel], data: Environments
) -> None:
    assert data.totals is not None
    shifted = replace(data, totals=data.totals - 1000.0)
    alone = replace(shifted, energies=None)
    config = replace(QUICK, targets="total")
    found, expected = (kind.fit(part, config).totals(data) for part in (shifted, alone))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "descriptor", "message"),
    [
        ({"members": 3}, COPPER, "expected as many members as start has, 1, got members=3"),
        ({}, BOTH, "expected environments of the descriptor of start"),
    ],
)
def test_a_network_begins_with_its_like(
    changes: dict[str, Any], descriptor: SOAP, message: str, data: Environments
) -> None:
    start = NetworkModel.fit(data, QUICK)
    with pytest.raises(ValueError, match=message):
        NetworkModel.fit(
            Environments.of(crystals(), descriptor), replace(QUICK, **changes), start=start
        )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"energies": [np.full(4, np.inf)] * 6}, "finite energies, got 24 others"),
        ({"trajectories": [0, 1]}, "trajectories of all 6 structures"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Environments.of(crystals(), COPPER, **labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: Environments.of([], COPPER), "at least one structure, got none"),
        (
            lambda _: Environments.of(crystals(), COPPER, dtype=np.float16),
            "dtype float32 or float64",
        ),
        (lambda data: data.select(np.array([3, 1])), "ascending indices of structures"),
        (lambda data: data.select(np.array([1, 1])), "ascending indices of structures"),
        (lambda data: data.select(np.array([-1])), "ascending indices of structures"),
        (lambda data: data.select(np.array([6])), "below 6"),
        (lambda data: replace(data, energies=None).sample(np.arange(2)), "with local energies"),
        (lambda _: LocalConfig(sigma=np.inf), "sigma to be a number > 0"),
    ],
)
def test_environments_that_are_not_there_are_refused(
    call: Callable[[Environments], Any], message: str, data: Environments
) -> None:
    with pytest.raises(ValueError, match=message):
        call(data)
    assert len(data.select(np.array([], int))) == 0
