"""Models of local energies: the contract of all of them, and oracles of each."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Exponentiation
from sklearn.linear_model import Ridge

from jaxrecon import SOAP
from jaxrecon.models.local import inputs
from jaxrecon.models.local.base import LocalModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.deep_kernel import DeepKernel
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.linear import LinearModel
from jaxrecon.models.local.network import NetworkModel
from jaxrecon.models.local.sparse_kernel import SparseKernel
from jaxrecon.models.registry import LOCAL_MODELS
from jaxrecon.potentials.ase_calculator import PotentialCalculator
from jaxrecon.potentials.single_points import single_points

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("strict_types")]

DESCRIPTOR = SOAP(("Cu", "Ag"), r_cut=4.0, n_max=3, l_max=2, compression="mu1nu1")
QUICK = LocalConfig(points=40, inducing=10, hidden=16, layers=2, features=4, epochs=100, batch=8)


@lru_cache
def structures() -> tuple[Atoms, ...]:
    """Rattled crystals and free clusters of copper and silver, with energies of their atoms."""
    made = []
    for seed in range(12):
        atoms = bulk("Cu", "fcc", a=3.7 + 0.02 * seed, cubic=True)
        if seed % 3 == 0:
            atoms = Atoms(atoms.numbers, atoms.positions)
        atoms.rattle(0.15, seed=seed)
        atoms.symbols[: seed % 4] = "Ag"
        atoms.calc = EMT()
        made.append(atoms)
    return tuple(made)


@lru_cache
def data(dtype: type = np.float64, totals: bool = False) -> Environments:
    items = structures()
    return Environments.of(
        items,
        DESCRIPTOR,
        energies=None if totals else [atoms.get_potential_energies() for atoms in items],
        totals=[atoms.get_potential_energy() for atoms in items],
        forces=[atoms.get_forces() for atoms in items],
        trajectories=[seed // 2 for seed in range(len(items))],
        dtype=dtype,
    )


@lru_cache
def fitted(name: str) -> LocalModel:
    return LOCAL_MODELS[name].fit(data(np.float32), QUICK)


def whitened_oracle() -> tuple[np.ndarray, np.ndarray]:
    """Predictions of scikit-learn's process with all environments of copper, and ours."""
    whole = data()
    copper = whole.sample(np.flatnonzero(whole.species == 29))
    config = LocalConfig(points=len(copper), zeta=3, sigma=0.02)
    ours = SparseKernel.fit(copper, config).predict(copper)
    rows = copper.rows / np.linalg.norm(copper.rows, axis=1, keepdims=True)
    energies = copper.energies
    kernel = ConstantKernel(energies.var(), "fixed") * Exponentiation(DotProduct(0.0, "fixed"), 3)
    process = GaussianProcessRegressor(kernel, alpha=0.02**2, optimizer=None)
    process.fit(rows, energies - energies.mean())
    return process.predict(rows) + energies.mean(), ours


def test_a_kernel_with_all_points_is_the_process_of_scikit_learn() -> None:
    expected, ours = whitened_oracle()
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_few_points_solve_the_published_equation() -> None:
    whole, config = data(), LocalConfig(points=8, zeta=2, sigma=0.05)
    model = SparseKernel.fit(whole, config)
    features = model.features
    with jax.enable_x64(True):
        across, own = (
            np.asarray(features.kernel(jnp.asarray(rows), jnp.asarray(kinds)))
            for rows, kinds in ((whole.rows, whole.kinds), (features.points, features.kinds))
        )
    assert 7 <= len(own) <= 9
    rest = whole.energies - model.offsets[whole.kinds]
    matrix = own + across.T @ across / config.sigma**2
    expected = np.linalg.solve(matrix, across.T @ rest / config.sigma**2)
    # The coefficients of near points are not determined well, what they predict is.
    np.testing.assert_allclose(across @ model.weights, across @ expected, atol=1e-7)


def test_a_linear_model_is_a_ridge_regression() -> None:
    whole = data()
    copper = whole.sample(np.flatnonzero(whole.species == 29))
    config = LocalConfig(sigma=0.1)
    model = LinearModel.fit(copper, config)
    with jax.enable_x64(True):
        rows, kinds = jnp.asarray(copper.rows), jnp.asarray(copper.kinds)
        features = np.asarray(model.features(rows, kinds))
    ridge = Ridge(alpha=config.sigma**2, fit_intercept=False, tol=1e-14)
    ridge.fit(features, copper.energies - copper.energies.mean())
    expected = ridge.predict(features) + copper.energies.mean()
    np.testing.assert_allclose(model.predict(copper), expected, atol=1e-8)


@pytest.mark.parametrize("name", list(LOCAL_MODELS))
def test_energies_add_up_and_grow_with_the_cell(name: str) -> None:
    model = fitted(name)
    crystal = structures()[1]
    double = crystal * (2, 1, 1)
    one, two = single_points([crystal, double], model.potential())
    assert two.energy == pytest.approx(2.0 * one.energy, rel=1e-5)
    assert one.energy == pytest.approx(one.energies.sum(), rel=1e-6)
    expected = model.predict(Environments.of([crystal], DESCRIPTOR))
    np.testing.assert_allclose(one.energies, expected, atol=2e-4)


@pytest.mark.parametrize("name", list(LOCAL_MODELS))
def test_it_learns(name: str) -> None:
    whole = data(np.float32)
    errors = fitted(name).predict(whole) - whole.energies
    rest = whole.energies - fitted(name).offsets[whole.kinds]
    assert np.abs(errors).mean() < 0.6 * np.abs(rest).mean()


@pytest.mark.parametrize("name", list(LOCAL_MODELS))
def test_forces_are_derivatives_of_the_energy(name: str) -> None:
    atoms = structures()[2].copy()
    atoms.calc = PotentialCalculator(fitted(name).potential())
    forces = atoms.get_forces()
    step, atom, axis = 1e-3, 1, 2
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[atom, axis] += sign * step
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=2e-4)


@pytest.mark.parametrize("kind", [LinearModel, SparseKernel])
def test_totals_and_forces_teach_local_energies(kind: type[LocalModel]) -> None:
    whole = data(totals=True)
    settings = LocalConfig(points=40, sigma_total=0.01, sigma_force=0.05)

    def miss(config: LocalConfig) -> tuple[float, float]:
        model = kind.fit(whole, config)
        found = single_points(list(structures()), model.potential())
        forces = np.concatenate([point.forces for point in found])
        totals = (model.totals(whole) - whole.totals) / whole.counts.sum(axis=1)
        return float(np.abs(forces - whole.forces).mean()), float(np.abs(totals).mean())

    without, with_forces = (
        miss(settings),
        miss(LocalConfig(points=40, sigma_total=0.01, sigma_force=0.05, forces=True)),
    )
    assert with_forces[0] < 0.6 * without[0]
    assert without[1] < 0.02


def test_atoms_without_neighbours_count_in_totals() -> None:
    # Their rows are zero, but each has the energy of a free atom.
    alone = SOAP(("Cu",), r_cut=3.0, n_max=2, l_max=1, center_weight=0.0)
    items = [
        Atoms("Cu" * count, [[9.0 * place, 0, 0] for place in range(count)]) for count in (1, 2, 4)
    ]
    items += [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]])]
    totals = np.array([1.0, 2.0, 4.0, 0.5])
    whole = Environments.of(items, alone, totals=totals)
    model = LinearModel.fit(whole, LocalConfig(sigma_total=1e-3))
    np.testing.assert_allclose(model.totals(whole), totals, atol=0.01)


def test_a_network_learns_totals_and_begins_with_what_another_knows() -> None:
    whole, known = data(np.float32, totals=True), fitted("network")
    assert isinstance(known, NetworkModel)
    settings = LocalConfig(hidden=16, layers=2, epochs=40, batch=4, targets="total")
    atoms = whole.counts.sum(axis=1)

    def miss(model: NetworkModel) -> float:
        return float(np.abs((model.totals(whole) - whole.totals) / atoms).mean())

    fresh = NetworkModel.fit(whole, settings)
    once = LocalConfig(hidden=16, layers=2, epochs=2, batch=4, learning_rate=1e-5)
    started = NetworkModel.fit(whole, once, start=known)
    spread = whole.totals - whole.counts @ fresh.offsets
    assert miss(fresh) < 0.7 * float(np.abs(spread / atoms).mean())
    assert miss(started) < miss(NetworkModel.fit(whole, once))


def test_padding_of_structures_teaches_a_network_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, found = data(np.float32, totals=True), []
    config = LocalConfig(hidden=4, layers=1, epochs=3, batch=4)
    for room in (0, 3):
        monkeypatch.setattr(inputs, "rounded", lambda size, room=room: size + room)
        found.append(NetworkModel.fit(whole, config).predict(whole))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_the_same_seed_gives_the_same_members_and_each_is_another() -> None:
    config = LocalConfig(hidden=8, layers=1, epochs=3, members=2, dropout=0.2, seed=3)
    whole = data(np.float32)
    one, other = (NetworkModel.fit(whole, config) for _ in range(2))
    atoms = jnp.asarray(whole.rows), jnp.asarray(whole.kinds, int)
    found = np.asarray(one.members(*atoms))
    np.testing.assert_array_equal(found, np.asarray(other.members(*atoms)))
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_deep_kernel_is_less_sure_where_it_knows_nothing() -> None:
    model = fitted("deep_kernel")
    assert isinstance(model, DeepKernel)
    whole = data(np.float32)
    rows, kinds = jnp.asarray(whole.rows), jnp.asarray(whole.kinds, int)
    _, known = model.distribution(rows, kinds)
    _, strange = model.distribution(rows + 3.0 * rows.std(axis=0)[None], kinds)
    assert np.median(strange) > np.median(known)


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (SparseKernel, {"targets": "local"}, "local energies to learn from, got none"),
        (NetworkModel, {"forces": True}, "a kernel learns forces"),
        (DeepKernel, {}, "local energies alone for a deep kernel"),
    ],
)
def test_what_can_not_be_learned_is_refused(
    kind: type[LocalModel], settings: dict, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        kind.fit(data(totals=True), LocalConfig(**settings))


def test_energies_have_to_fit_the_atoms() -> None:
    with pytest.raises(ValueError, match="expected energies of all 4 atoms in 1 structures, got 2"):
        Environments.of([structures()[0]], DESCRIPTOR, energies=[np.zeros(2)])
    with pytest.raises(ValueError, match="expected finite totals"):
        Environments.of([structures()[0]], DESCRIPTOR, totals=[np.nan])
    with pytest.raises(ValueError, match="sigma to be a number > 0, got 0"):
        LocalConfig(sigma=0)
    with pytest.raises(ValueError, match="settings among"):
        LocalConfig.from_dict({"zetta": 2})
    assert LocalConfig.from_dict(QUICK.to_dict()) == QUICK
