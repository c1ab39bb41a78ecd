"""Training: which examples a model learns from, its errors, refusals, and interruptions."""

from __future__ import annotations

import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms
from learning import CONFIG, CONFIGS, FINGERPRINT, labelled, learned

from jaxrecon import featurize
from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.models.examples import Examples
from jaxrecon.models.registry import SCALINGS
from jaxrecon.models.surrogates import gradient_kernel
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.models.training import total_epochs, train

pytestmark = pytest.mark.usefixtures("strict_types")


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_model_and_its_validation(name):
    model, whole = learned(name), labelled()
    fingerprints, values = featurize(whole.structures, FINGERPRINT), whole.formation_energies
    if model.config.split == "trajectory":
        training, validation = split_by_trajectory(whole, 0.2, 0)
        assert not set(whole.trajectories[training]) & set(whole.trajectories[validation])
    else:
        order = np.random.default_rng(0).permutation(60)
        training, validation = np.sort(order[12:]), np.sort(order[:12])
    assert (model.symbols, model.fingerprint) == ("Pt4", FINGERPRINT)
    np.testing.assert_allclose(model.training.fingerprints, fingerprints, rtol=1e-12)
    assert model.range == (values.min(), values.max())
    surrogate, found = model.surrogate, model.validation
    if model.config.surrogate == "gaussian_process":
        # The model has a process that knows all examples, but was validated before that.
        process = GaussianProcess.fit(Examples.of(FINGERPRINT, fingerprints, values))
        np.testing.assert_allclose(surrogate.weights, process.weights, rtol=1e-6)
        assert surrogate.inflation == pytest.approx(max(found["calibration"], 1.0), rel=1e-6)
        examples = Examples.of(FINGERPRINT, fingerprints[training], values[training])
        surrogate = GaussianProcess.fit(examples)
    means, deviations = replace(model, surrogate=surrogate).predict(fingerprints[validation])
    errors = means - values[validation]
    assert found["examples"] == 12
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert found["bias"] == pytest.approx(errors.mean(), rel=1e-4)
    calibration = np.sqrt(np.mean((errors / deviations) ** 2))
    assert found["calibration"] == pytest.approx(calibration, rel=1e-5)
    correlation = np.corrcoef(np.abs(errors), deviations)[0, 1]
    assert found["correlation"] == pytest.approx(correlation, rel=1e-4)
    # The limit is that of the deviations that the model states.
    inflation = 1.0
    if model.config.surrogate == "gaussian_process":
        inflation = max(calibration, 1.0)
    limit = inflation * np.quantile(deviations, 0.95)
    assert found["deviation"] == pytest.approx(limit, rel=1e-5)
    if model.config.surrogate == "gaussian_process":
        assert found["mae"] < 0.5 * np.std(values)
    # The generator's units and scaling know nothing of the validation examples.
    units = model.generator.centre, model.generator.width
    np.testing.assert_allclose(units, [values[training].mean(), values[training].std()])
    scaling = SCALINGS[model.config.scaling].fit(FINGERPRINT, fingerprints[training])
    for own, expected in zip(
        jax.tree.leaves(model.generator.scaling), jax.tree.leaves(scaling), strict=True
    ):
        np.testing.assert_allclose(own, expected)


def test_epochs_of_a_training():
    assert total_epochs(CONFIGS["fung2022"]) == 6
    assert total_epochs(CONFIGS["default"]) == 3


@pytest.mark.slow
def test_a_model_learns_from_forces(monkeypatch):
    monkeypatch.setattr(gradient_kernel, "NOISE_STRUCTURES", 10)
    whole = labelled()
    forces = [np.random.default_rng(i).normal(size=(4, 3)) for i in range(60)]
    whole = replace(whole, forces=[array - array.mean(axis=0) for array in forces])
    config = CONFIGS["default"].replace(poolings=("mean", "moment2"))
    model, without = train(whole, config), train(whole, config.replace(forces=False))
    assert model.surrogate.gradient_weights.shape == model.surrogate.inputs.shape
    assert without.surrogate.gradient_weights is None
    fingerprints = model.training.fingerprints
    difference = model.predict(fingerprints)[0] - without.predict(fingerprints)[0]
    assert np.abs(difference).max() > 1e-3
    # The random forces contradict the energies: they are recognised as noise.
    assert model.validation["mae"] < 0.1
    forces[3][1, 2] = np.nan
    with pytest.warns(UserWarning, match="forces of all 60 examples .* got none of 1: energies"):
        unknown = train(replace(whole, forces=forces), config)
    assert unknown.surrogate.gradient_weights is None


def test_fingerprints_alone():
    whole = labelled()
    fingerprints = featurize(whole.structures, FINGERPRINT)
    alone = LabelledSet.of(fingerprints=fingerprints, formation_energies=whole.formation_energies)
    model = train(alone, CONFIGS["default"], symbols="Pt4")
    assert model.training.structures is None
    assert model.sample(2.5, 2).shape == (2, FINGERPRINT.size)
    with pytest.raises(ValueError, match="expected the formula of fingerprints without structures"):
        train(alone, CONFIGS["default"])
    other = CONFIGS["default"].replace(fingerprint="fung2022", poolings=("mean",))
    with pytest.raises(ValueError, match=r"expected fingerprints of 190 numbers.*, got 46"):
        train(alone, other, symbols="Pt4")


def changed(**changes) -> LabelledSet:
    return replace(labelled(), **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: labelled(49), "expected at least 50 examples to learn from, got 49"),
        (
            lambda: changed(formation_energies=np.where(np.arange(60) < 58, 1.5, np.nan)),
            "expected formation energies of all 60 examples, got nan for 2 of them, the first at "
            "index 58",
        ),
        (
            lambda: changed(formation_energies=np.full(60, 1.5)),
            "expected formation energies that differ, got 1.5 for all",
        ),
        (
            lambda: changed(structures=[*labelled().structures[:59], Atoms("Pt3Cu")]),
            "expected structures of one composition for a fingerprint that does not tell it",
        ),
    ],
)
def test_a_set_that_nothing_can_be_learned_from_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(make(), CONFIG)


def test_another_formula_is_refused():
    with pytest.raises(ValueError, match="expected structures of Pt5, got Pt4"):
        train(labelled(), CONFIG, symbols="Pt5")


@pytest.mark.slow
def test_an_interrupted_training_continues(tmp_path):
    config, calls = CONFIGS["fung2022"], []

    def stop(epochs: int, examples: int) -> None:
        calls.append(epochs)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(labelled(), config, folder=tmp_path / "training", progress=stop)
    assert calls == [0, 3, 0]  # the generator is complete, the surrogate has not begun
    calls = []
    found = train(
        labelled(),
        config,
        folder=tmp_path / "training",
        progress=lambda epochs, examples: calls.append(epochs),
    )
    assert calls == [3, 0, 3]
    whole = learned("fung2022")
    assert found.sample(2.5, 3).tobytes() == whole.sample(2.5, 3).tobytes()
    assert found.validation == whole.validation
    more = changed(formation_energies=labelled().formation_energies + 0.1)
    for data, settings, name in [
        (labelled(), config.replace(beta=0.1), "config"),
        (more, config, "data"),
        (more, config.replace(poolings=("mean",)), "config and fingerprint and data"),
    ]:
        with pytest.raises(ValueError, match=f"got one with another {name}$"):
            train(data, settings, folder=tmp_path / "training")
