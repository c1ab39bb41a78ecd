"""The contract of every registered generator, surrogate and scaling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learning import CONFIG, FINGERPRINT, labelled

from jaxrecon import Fingerprint, featurize, load_model, save_model
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.examples import Examples
from jaxrecon.models.folder import _arrays
from jaxrecon.models.generators.base import Generator
from jaxrecon.models.registry import GENERATORS, SCALINGS, SURROGATES, Registry
from jaxrecon.models.scalings.base import Scaling
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.models.training import train
from jaxrecon.pytrees import register_dataclass

pytestmark = pytest.mark.contract

PROBE = 2.6
"""A value of the property between those of the training examples, in eV/atom."""


@lru_cache
def examples() -> Examples:
    whole = labelled()
    fingerprints = featurize(whole.structures, FINGERPRINT)
    return Examples(
        FINGERPRINT,
        fingerprints,
        whole.formation_energies,
        training=np.arange(48),
        validation=np.arange(48, 60),
        structures=whole.structures,
    )


@lru_cache
def generator(name: str) -> Generator:
    return GENERATORS[name].fit(examples(), CONFIG)


@lru_cache
def surrogate(name: str) -> Surrogate:
    return SURROGATES[name].fit(examples(), CONFIG)


@lru_cache
def model(config: TrainConfig) -> DesignModel:
    return train(labelled(), config)


def same(some: Any, others: Any) -> bool:
    """Whether two trees have the same arrays, bit for bit, and the same static fields."""
    pairs = zip(jax.tree.leaves(some), jax.tree.leaves(others), strict=True)
    return jax.tree.structure(some) == jax.tree.structure(others) and all(
        np.asarray(one).tobytes() == np.asarray(other).tobytes() for one, other in pairs
    )


@pytest.mark.parametrize("registry", [GENERATORS, SURROGATES, SCALINGS])
def test_registries_name_subclasses_of_their_base(registry):
    base = {id(GENERATORS): Generator, id(SURROGATES): Surrogate, id(SCALINGS): Scaling}
    assert len(registry) > 0
    assert all(issubclass(registry[name], base[id(registry)]) for name in registry)
    assert "none" not in registry
    with pytest.raises(KeyError):
        registry["none"]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_is_a_pytree_that_draws_fingerprints(name):
    fitted, value = generator(name), jnp.float32(PROBE)
    keys = jax.random.split(jax.random.key(0), 5)
    draw = jax.jit(jax.vmap(lambda model, key, value: model.sample(key, value), (None, 0, None)))
    drawn = draw(fitted, keys, value)
    assert drawn.shape == (5, FINGERPRINT.size)
    assert drawn.dtype == np.float32
    assert np.isfinite(drawn).all()
    assert len(np.unique(np.asarray(drawn), axis=0)) == 5
    with jax.enable_x64(True):
        exact = jax.jit(fitted.sample)(keys[2], jnp.float64(PROBE))
        assert exact.dtype == np.float64
    by_value = jax.jit(jax.jacfwd(lambda value: fitted.sample(keys[0], value)))(value)
    assert np.isfinite(by_value).all()


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_a_pytree_that_predicts(name):
    fitted, count = surrogate(name), 5
    rows = jnp.asarray(examples().fingerprints[:count], jnp.float32)
    predict = jax.jit(jax.vmap(lambda model, row: model(row), (None, 0)))
    means, deviations = predict(fitted, rows)
    assert means.shape == deviations.shape == (count,)
    assert means.dtype == deviations.dtype == np.float32
    assert np.isfinite(means).all()
    assert (deviations >= 0.0).all()
    with jax.enable_x64(True):
        mean, deviation = jax.jit(fitted)(jnp.asarray(examples().fingerprints[1]))
        assert mean.dtype == deviation.dtype == np.float64
    np.testing.assert_allclose(means[1], mean, rtol=1e-3)
    # A search follows the gradients of both, also at a training example.
    for part in (0, 1):
        gradient = jax.jit(jax.grad(lambda row, part=part: fitted(row)[part]))(rows[0])
        assert gradient.shape == rows[0].shape
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", SCALINGS)
def test_a_scaling_is_a_pytree_that_goes_both_ways(name):
    fitted = SCALINGS[name].fit(FINGERPRINT, examples().fingerprints)
    rows = jnp.asarray(examples().fingerprints[:5], jnp.float32)
    scaled = jax.jit(jax.vmap(lambda model, row: model.forward(row), (None, 0)))(fitted, rows)
    assert scaled.shape == (5, fitted.size)
    back = jax.jit(jax.vmap(lambda model, row: model.backward(row), (None, 0)))(fitted, scaled)
    assert back.shape == rows.shape
    assert back.dtype == np.float32
    scale = np.abs(rows).max()
    assert np.abs(back - rows).mean() < 0.05 * scale
    assert np.isfinite(jax.jit(jax.jacfwd(fitted.forward))(rows[0])).all()
    restored = SCALINGS[name].restore(_arrays(fitted), FINGERPRINT)
    assert same(restored, fitted)
    assert same(SCALINGS[name].fit(FINGERPRINT, examples().fingerprints), fitted)
    with jax.enable_x64(True):
        exact = jax.jit(lambda row: fitted.backward(fitted.forward(row)))
        assert exact(jnp.asarray(rows[0], float)).dtype == np.float64


CASES = [
    *[("generator", name) for name in GENERATORS],
    *[("surrogate", name) for name in SURROGATES],
    *[("scaling", name) for name in SCALINGS],
]


@pytest.mark.parametrize(("part", "name"), CASES)
def test_a_model_is_saved_and_read(part, name, tmp_path):
    whole = model(CONFIG.replace(**{part: name}))
    save_model(whole, tmp_path / "model")
    found = load_model(tmp_path / "model")
    assert getattr(found.config, part) == name
    assert same(found.generator, whole.generator)
    assert same(found.surrogate, whole.surrogate)
    assert found.sample(PROBE, 3).tobytes() == whole.sample(PROBE, 3).tobytes()
    fingerprints = whole.training.fingerprints
    for own, other in zip(found.predict(fingerprints), whole.predict(fingerprints), strict=True):
        assert own.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", GENERATORS)
def test_the_seed_decides_a_generator(name):
    assert same(GENERATORS[name].fit(examples(), CONFIG), generator(name))
    other = GENERATORS[name].fit(examples(), CONFIG.replace(seed=1))
    assert not same(other, generator(name))


@pytest.mark.parametrize("name", SURROGATES)
def test_the_seed_decides_a_surrogate(name):
    """Another seed need not give another one: a Gaussian process has no random numbers."""
    assert same(SURROGATES[name].fit(examples(), CONFIG), surrogate(name))


@pytest.mark.parametrize(("part", "name"), CASES)
def test_a_set_that_nothing_can_be_learned_from_is_refused(part, name):
    config, whole = CONFIG.replace(**{part: name}), labelled()
    for energies, message in [
        (np.full(60, 1.5), "expected formation energies that differ"),
        (np.where(np.arange(60) == 7, np.nan, whole.formation_energies), "got nan for 1 of them"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(replace(whole, formation_energies=energies), config)


def test_examples_that_nothing_can_be_learned_from_are_refused():
    whole = examples()
    for changes, message in [
        ({"values": np.where(np.arange(60) == 3, np.inf, whole.values)}, "the first at index 3"),
        ({"fingerprints": whole.fingerprints * np.nan}, "expected finite fingerprints and values"),
        ({"values": np.ones(60)}, "expected values that differ, got 1.0 for all"),
        ({"training": np.zeros(0, int)}, "expected at least one training example, got none"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(whole, **changes)


@register_dataclass
@dataclass(frozen=True, eq=False)
class Nearest(Generator):
    """A generator in a few lines: random training examples with a value near the wanted one."""

    fingerprints: Any
    values: Any

    @classmethod
    def fit(cls, examples, config, *, folder=None, report=None):
        training = examples.training
        return cls(examples.fingerprints[training], examples.values[training])

    def sample(self, key, value):
        distances = jnp.abs(jnp.asarray(self.values, value.dtype) - value)
        index = jax.random.categorical(key, -20.0 * distances)
        return jnp.asarray(self.fingerprints, value.dtype)[index]

    @classmethod
    def restore(cls, arrays, fingerprint: Fingerprint, config: TrainConfig):
        return cls(**arrays)


def test_a_generator_of_the_users_own(tmp_path):
    name = f"{__name__}:{Nearest.__name__}"
    assert GENERATORS[name] is Nearest
    whole = train(labelled(), CONFIG.replace(generator=name))
    save_model(whole, tmp_path / "model")
    found = load_model(tmp_path / "model")
    drawn = found.sample(PROBE, 4)
    assert drawn.tobytes() == whole.sample(PROBE, 4).tobytes()
    differences = np.abs(drawn[:, None] - whole.training.fingerprints[None]).max(axis=2)
    assert differences.min(axis=1) == pytest.approx(0.0, abs=1e-5)


def test_names_import_nothing():
    homes = Registry({"missing": "jaxrecon.not_there:Nothing"})
    assert list(homes) == ["missing"]
    assert "missing" in homes
    assert len(homes) == 1
    assert "jaxrecon.not_there:Nothing" in homes
    assert "jaxrecon.not_there Nothing:" not in homes
    for name in ("missing", "jaxrecon.not_there:Nothing", "json:Nothing"):
        with pytest.raises(ValueError, match=f"can be imported, got {name} "):
            homes[name]
