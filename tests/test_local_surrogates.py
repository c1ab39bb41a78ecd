"""Surrogates that give each atom an energy, and searches that they guide."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from designing import LEARNING, e_form, labelled

import jaxrecon
from jaxrecon import ACSF, Fingerprint, featurize, from_ase, generate, load_model, save_model
from jaxrecon.datasets.clusters import random_cluster
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.rigidities import with_rigidities
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.surrogates import local
from jaxrecon.models.training import train
from jaxrecon.pytrees import register_dataclass
from jaxrecon.search.gauss_newton import guided_equations
from jaxrecon.search.guidance import AtomRows, Guidance, Prediction
from jaxrecon.structures.bounds import bounds_of

pytestmark = pytest.mark.usefixtures("strict_types")

SMALL = ACSF(("Pt",), 4.0, g2_eta=(0.5,), g2_r_s=(0.5, 1.5), g5_zeta=(2,), g5_eta=(0.1,))
LOCAL = LEARNING.replace(
    surrogate="local_gpr", local_fit=LocalConfig(points=40, zeta=2, sigma_total=0.02)
)


@lru_cache
def trained() -> DesignModel:
    with jax.numpy_dtype_promotion("strict"):
        return train(labelled(), LOCAL)


@register_dataclass
@dataclasses.dataclass(frozen=True)
class Square:
    """A predictor of rows: sums over the atoms of squares, and of sines."""

    def of_atoms(self, atoms: AtomRows) -> Prediction:
        rows = jnp.where(atoms.mask[:, None], atoms.rows, 0.0)
        kinds = jnp.where(atoms.mask, atoms.kinds, 0).astype(rows.dtype)
        return jnp.sum(rows**2) + jnp.sum(kinds), jnp.sum(jnp.sin(rows))


@pytest.mark.parametrize("space", ["free", "periodic"])
def test_equations_of_atoms_are_those_of_automatic_derivatives(space: str, x64: None) -> None:
    fingerprint = Fingerprint(SMALL, ("mean", "moment2"))
    atoms = random_cluster("Pt4", 0) if space == "free" else bulk("Pt") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    bounds = bounds_of([atoms], SMALL.r_cut)
    structure = from_ase(atoms, len(atoms) + 1, bounds)
    target = jnp.asarray(np.random.default_rng(0).random(fingerprint.size))
    widths = np.random.default_rng(1).random(fingerprint.size) + 0.5
    guidance = Guidance.towards(Square(), 0.3, widths=widths, trust=2.0, pull=0.7)

    def terms_of(positions: jax.Array) -> jax.Array:
        moved = dataclasses.replace(structure, positions=positions)
        view = fingerprint.view(moved)
        rows = fingerprint.rows(view)
        mean, deviation = Square().of_atoms(AtomRows.of(fingerprint, moved, rows))
        distances = 0.7 * (fingerprint(moved) - target) / widths / fingerprint.size**0.5
        return jnp.concatenate([jnp.stack([mean - 0.3, 2.0 * deviation]), distances])

    equations = jax.jit(
        lambda structure: guided_equations(fingerprint, structure, target, guidance=guidance)
    )(structure)
    terms = jax.jit(terms_of)(structure.positions)
    jacobian = np.asarray(jax.jit(jax.jacrev(terms_of))(structure.positions))
    jacobian = jacobian.reshape(len(terms), -1)
    scale = np.abs(jacobian.T @ jacobian).max()
    np.testing.assert_allclose(equations.squared, terms @ terms, rtol=1e-9)
    np.testing.assert_allclose(equations.gram / scale, jacobian.T @ jacobian / scale, atol=1e-9)
    np.testing.assert_allclose(equations.gradient, terms @ jacobian, atol=1e-9 * scale)


def test_predictions_are_those_of_the_local_model() -> None:
    model = trained()
    clusters = [random_cluster("Pt4", 100), random_cluster("Pt7", 101)]
    means, deviations, each = model.predict_structures(clusters)
    descriptor = model.fingerprint.descriptor
    seen = Environments.of(clusters, descriptor, dtype=np.float64)
    surrogate = model.surrogate
    sizes = np.array([4, 7])
    np.testing.assert_allclose(means, surrogate.model.totals(seen) / sizes, rtol=1e-9)
    rigidity = surrogate.rigidity
    expected = np.hypot(rigidity.total_deviations(seen) / sizes, surrogate.floor)
    np.testing.assert_allclose(deviations, expected, rtol=1e-6)
    assert each is not None
    found = np.concatenate([part.rigidities for part in each])
    np.testing.assert_allclose(found, rigidity.local(seen), rtol=1e-6)
    found = np.concatenate([part.energies for part in each])
    np.testing.assert_allclose(found, surrogate.model.predict(seen), rtol=1e-9)
    # Similar sizes share a program.
    programs = local._predicted._cache_size()
    model.predict_structures([random_cluster("Pt4", 100), random_cluster("Pt8", 102)])
    assert local._predicted._cache_size() == programs
    # A search in float32 sees the same.
    with jax.enable_x64(False):
        rows = AtomRows(
            jnp.asarray(seen.rows[:4], jnp.float32), jnp.zeros(4, int), jnp.ones(4, bool)
        )
        mean, deviation = jax.jit(surrogate.of_atoms)(rows)
    assert float(mean) == pytest.approx(means[0], abs=1e-3)
    assert float(deviation) == pytest.approx(deviations[0], rel=0.02)


def test_deviations_agree_with_errors_of_new_structures() -> None:
    model = trained()
    clusters = [random_cluster("Pt4", seed) for seed in range(200, 240)]
    means, deviations, _ = model.predict_structures(clusters)
    errors = means - [e_form(atoms) for atoms in clusters]
    spread = labelled().formation_energies.std()
    assert np.abs(errors).mean() < 0.5 * spread
    assert 0.3 < np.sqrt(np.mean((errors / deviations) ** 2)) < 3.0


def test_generation_reports_rigidities_and_is_guided(tmp_path: Path) -> None:
    model = trained()
    save_model(model, tmp_path / "model")
    model = load_model(tmp_path / "model")
    wanted = float(np.quantile(labelled().formation_energies, 0.4))
    search = {"hops": 2, "replicas": 8, "refine_steps": 15, "polish_steps": 5, "tolerance": 1e-3}
    config = jaxrecon.GenerateConfig(
        sampled=False, trust=0.0, search=jaxrecon.ReconstructConfig(**search)
    )
    made = generate(model, wanted, 2, config=config)
    for atoms in made:
        assert atoms.info["predicted"] == pytest.approx(wanted, abs=2e-3)
        assert atoms.info["rigidity"] == atoms.arrays["local_rigidities"].min()
        local = atoms.arrays["local_energies"]
        assert local.mean() == pytest.approx(atoms.info["predicted"])
    smallest = [atoms.info["rigidity"] for atoms in made]
    assert made.summary["rigidity"] == pytest.approx(np.median(smallest))
    assert made.summary["deviation"] == pytest.approx(
        np.mean([atoms.info["deviation"] for atoms in made])
    )
    jaxrecon.structures.io.write_structures(tmp_path / "made.extxyz", list(made))
    again = with_rigidities(model, tmp_path / "made.extxyz")
    assert again[0].info["deviation"] == pytest.approx(made[0].info["deviation"], rel=1e-4)
    whole = model.predict(featurize([made[0]], model.fingerprint))[0]
    assert np.isfinite(whole).all()


def test_structures_of_another_size_are_made() -> None:
    model = trained()
    wanted = float(np.quantile(labelled().formation_energies, 0.4))
    search = {"hops": 2, "replicas": 8, "refine_steps": 15, "polish_steps": 5, "tolerance": 1e-3}
    config = jaxrecon.GenerateConfig(
        sampled=False, trust=0.0, search=jaxrecon.ReconstructConfig(**search)
    )
    made = generate(model, wanted, 1, symbols="Pt6", config=config)
    assert len(made[0]) == 6
    assert made[0].info["predicted"] == pytest.approx(wanted, abs=5e-3)
    with pytest.raises(ValueError, match="expected Pt4 for fingerprints, got Pt6"):
        generate(model, wanted, 1, symbols="Pt6")
    with pytest.raises(ValueError, match="elements of Pt4, got Au4"):
        generate(model, wanted, 1, symbols="Au4", config=config)


def test_what_a_local_surrogate_can_not_do_is_refused() -> None:
    model = trained()
    with pytest.raises(ValueError, match=r"expected structures of Pt, .* got Cu"):
        with_rigidities(model, Atoms("Cu"))
    with pytest.raises(ValueError, match="finite positions of structure 0"):
        with_rigidities(model, Atoms("Pt", [[np.nan, 0, 0]]))
    bare = LabelledSet.of(
        fingerprints=featurize(labelled().structures, model.fingerprint),
        formation_energies=labelled().formation_energies,
    )
    with pytest.raises(ValueError, match="structures to learn energies of atoms from"):
        train(bare, LOCAL, fingerprint=model.fingerprint, symbols="Pt4")
