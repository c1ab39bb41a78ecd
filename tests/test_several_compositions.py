"""Models of several compositions: what is drawn, what is allowed, and crystals that come of it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jaxrecon import Fingerprint, featurize
from jaxrecon.datasets.labelled import LabelledSet
from jaxrecon.inverse_design.compositions import Allowed
from jaxrecon.inverse_design.config import GenerateConfig
from jaxrecon.inverse_design.generation import generate
from jaxrecon.inverse_design.scoring import shortest_distance
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.folder import load_model, save_model
from jaxrecon.models.generators.base import Generator
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.models.training import train
from jaxrecon.search.config import ReconstructConfig
from jaxrecon.search.stoichiometry import nearest_composition, with_composition
from jaxrecon.structures.collection import Collection
from jaxrecon.structures.formulas import elements_of

LEARNING = TrainConfig(fingerprint="universal", generator_fit=FitConfig(1, 8, 1e-2, 2, 50))
METALS, ANIONS = ("Na", "K", "Rb"), ("F", "Cl", "Br")


def crystal(metal: str, anion: str, length: float, kind: str = "rocksalt") -> Atoms:
    return bulk(metal + anion, kind, a=length)


@lru_cache
def salts() -> LabelledSet:
    random = np.random.default_rng(0)
    structures = []
    for number in range(60):
        pair = METALS[number % 3], ANIONS[number // 3 % 3]
        if number % 4 == 3:
            # Fluorite: three atoms.
            atoms = bulk("Ca" + pair[1] + "2", "fluorite", a=random.uniform(5.4, 7.0))
        else:
            atoms = crystal(*pair, random.uniform(4.8, 6.8))
        structures.append(atoms)
    volumes = np.array([atoms.get_volume() / len(atoms) for atoms in structures])
    return LabelledSet.of(structures, columns={"space": volumes / 10.0}).with_property("space")


class Nothing(Generator, Surrogate):
    """Stands for a generator and a surrogate that are not asked."""

    @classmethod
    def fit(cls, *args: Any, **settings: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def restore(cls, *args: Any) -> Any:
        raise NotImplementedError

    def sample(self, *args: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *args: Any) -> Any:
        raise NotImplementedError


@lru_cache
def model() -> DesignModel:
    """A model without its networks."""
    fingerprint = Fingerprint.preset("universal", elements_of(salts().structures or []))
    known = replace(salts(), fingerprints=featurize(salts().structures or [], fingerprint))
    return DesignModel(fingerprint, LEARNING, Nothing(), Nothing(), known, None, {}, {})


def drawn() -> np.ndarray:
    """Fingerprints near those of the training set, as a generator draws them."""
    known = model().training.fingerprints
    assert known is not None
    return known[:12] + 0.05 * np.random.default_rng(1).normal(size=known[:12].shape)


def test_the_nearest_composition_is_that_of_a_fingerprint_with_noise() -> None:
    fingerprint = Fingerprint.preset("universal", ["Na", "Cl", "Ca", "F"])
    exact = featurize(bulk("CaF2", "fluorite", a=5.5), fingerprint)[0]
    noisy = exact + 0.05 * np.random.default_rng(0).normal(size=exact.shape)
    formula, misfit = nearest_composition(noisy, fingerprint, 3)
    assert sorted(formula) == ["Ca", "F", "F"]
    assert 0.01 < misfit < 0.2
    assert np.allclose(with_composition(exact, fingerprint, formula), exact, atol=1e-12)
    changed = with_composition(noisy, fingerprint, formula)
    moved = changed != noisy
    known = fingerprint.descriptor.center_values
    assert known is not None
    assert np.allclose(changed[moved], exact[moved], atol=1e-12)
    assert moved.sum() == 2 * len(known.features)


def test_drawn_fingerprints_get_allowed_compositions() -> None:
    allowed = Allowed.of(model(), exclude=["Br"], atoms=range(2, 4))
    adjusted = allowed.adjusted(drawn())
    formulas = allowed.compositions(adjusted)
    assert {len(formula) for formula in formulas} <= {2, 3}
    assert not any("Br" in formula for formula in formulas)
    fingerprint = model().fingerprint
    for vector, formula in zip(adjusted, formulas, strict=True):
        assert np.allclose(with_composition(vector, fingerprint, formula), vector, atol=1e-9)
    only = Allowed.of(model(), symbols="KCl")
    assert only.compositions(only.adjusted(drawn())) == [("K", "Cl")] * 12
    pair = Allowed.of(model(), elements=["Na", "Cl"], atoms=2)
    assert {frozenset(formula) for formula in pair.compositions(pair.adjusted(drawn()))} <= {
        frozenset(some) for some in (("Na",), ("Cl",), ("Na", "Cl"))
    }


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"elements": ["Na", "Xe"]}, "expected elements of the training set .*, got Xe"),
        ({"exclude": ["Fe"]}, "expected elements of the training set .*, got Fe"),
        ({"elements": ["Na"], "exclude": ["Na"]}, "expected elements that are not excluded"),
        ({"exclude": ["Na", "K", "Rb", "F", "Cl", "Br", "Ca"]}, "at least one element"),
        ({"atoms": 7}, "expected 2-3 atoms, as in the training set, got 7"),
        ({"atoms": range(3, 3)}, "expected 2-3 atoms, as in the training set, got no"),
        ({"symbols": "NaCl", "exclude": ["Cl"]}, r"NaCl of allowed elements, got \['Cl'\]"),
        ({"symbols": "CaF2", "atoms": 2}, "expected CaF2 with 2 atoms, got others"),
        ({"elements": ["Quartz"]}, "expected a chemical formula"),
    ],
)
def test_conditions_that_nothing_can_meet_are_refused(
    conditions: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Allowed.of(model(), **conditions)


def test_models_of_one_composition_have_no_choice() -> None:
    with pytest.raises(ValueError, match="a formula where no fingerprints are drawn"):
        generate(model(), 2.0, 1, sampled=False)
    single = replace(model(), symbols="NaCl")
    with pytest.raises(ValueError, match="numbers of atoms, as the model makes NaCl alone"):
        generate(single, 2.0, 1, atoms=2)


def test_what_can_not_be_learned_from_several_compositions_is_refused() -> None:
    with pytest.raises(ValueError, match="learn with the preset 'universal'"):
        train(salts(), LEARNING.replace(fingerprint="bonds"))
    with pytest.raises(ValueError, match="a surrogate of the whole fingerprint"):
        train(salts(), LEARNING.replace(surrogate="local_gpr"))
    free = Atoms("NaCl", [(0, 0, 0), (0, 0, 2.4)])
    mixed = replace(salts(), structures=[*(salts().structures or [])[:-1], free])
    with pytest.raises(ValueError, match="free structures alone or crystals alone, got both"):
        train(mixed, LEARNING)


def test_a_property_is_a_column_of_numbers() -> None:
    labelled = LabelledSet.of(
        [Atoms("H"), Atoms("He")], energies=[1.0, 2.0], columns={"word": np.array(["a", "b"])}
    )
    with pytest.raises(ValueError, match=r"name of a number .*'gap': the set has none"):
        labelled.with_property("gap")
    with pytest.raises(ValueError, match="'word': the set has none"):
        labelled.with_property("word")
    gaps = LabelledSet.of([Atoms("H")] * 3, columns={"gap": np.array([0.1, np.nan, np.nan])})
    with pytest.raises(ValueError, match=r"'gap' of every .* none of 2, the first at index 1"):
        gaps.with_property("gap")


def test_a_collection_finds_crystals_in_any_cell() -> None:
    salt = crystal("Na", "Cl", 5.6)
    library = Collection([crystal("K", "Cl", 6.3), salt])
    turned = salt.repeat((2, 1, 1))
    turned.rotate(30.0, (1, 2, 3), rotate_cell=True)
    assert library.find(turned) == 1
    assert library.find(crystal("Na", "Cl", 3.4, "cesiumchloride")) is None
    assert library.find(crystal("Na", "Br", 5.6)) is None


def test_the_shortest_distance_of_a_crystal_counts_images() -> None:
    cesium = Atoms("Cs", cell=[3.0, 8.0, 8.0], pbc=True)
    assert shortest_distance(cesium) == pytest.approx(3.0 / (2 * 2.44))
    assert shortest_distance(Atoms("Cs", cell=[30.0, 30.0, 30.0], pbc=True)) == np.inf


@pytest.mark.slow
def test_crystals_of_any_composition_are_made(tmp_path: Any) -> None:
    with jax.numpy_dtype_promotion("strict"):
        save_model(train(salts(), LEARNING), tmp_path / "salts")
    restored = load_model(tmp_path / "salts")
    assert restored.symbols is None
    assert (restored.crystals, restored.sizes) == (True, range(2, 4))
    search = ReconstructConfig(hops=2, replicas=4, refine_steps=15, polish_steps=3, tolerance=0.04)
    config = GenerateConfig(search=search)
    made = generate(restored, (1.5, 2.5), 3, exclude=["K"], seed=2, config=config)
    for atoms in made:
        assert atoms.pbc.all()
        assert "K" not in atoms.symbols
        assert np.isfinite(atoms.info["predicted"])
    # A prediction is that of the structure that is returned.
    values = featurize(list(made), restored.fingerprint)
    again = restored.predict(values)[0]
    assert np.allclose(again, [atoms.info["predicted"] for atoms in made], atol=1e-6)
    # What comes again, or is known, is not accepted.
    assert not any(atoms.info["accepted"] for atoms in made if atoms.info["duplicate"])
