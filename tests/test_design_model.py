"""Models: samples and predictions, whatever the generator and the surrogate are."""

from __future__ import annotations

import re
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from learning import CONFIGS, FINGERPRINT, learned

from jaxrecon.models import design_model
from jaxrecon.models.design_model import DesignModel


@pytest.fixture(params=list(CONFIGS))
def model(request) -> DesignModel:
    return learned(request.param)


def test_predictions_are_those_of_the_surrogate(model, x64):
    fingerprints = np.tile(model.training.fingerprints, (2, 1))
    means, deviations = model.predict(fingerprints)
    for number in (0, 119):
        mean, deviation = model.surrogate(jnp.asarray(fingerprints[number]))
        assert means[number] == pytest.approx(float(mean), rel=1e-9)
        assert deviations[number] == pytest.approx(float(deviation), rel=1e-7)


def test_samples(model):
    drawn = model.sample(2.7, 70, seed=1)
    assert drawn.shape == (70, FINGERPRINT.size)
    assert drawn.dtype == np.float64
    assert len(np.unique(drawn[:, 0])) == 70
    # To the last bit: a run that resumes with more samples has the earlier ones.
    for count in (3, 64, 200):
        more = model.sample(2.7, count, seed=1)
        both = min(count, 70)
        np.testing.assert_array_equal(more[:both], drawn[:both])
    assert not np.isclose(model.sample(2.7, 1, seed=2)[0], drawn[0]).all()
    pair = model.sample([2.4, 2.7], 2, seed=1)
    np.testing.assert_allclose(pair[1], drawn[1], rtol=1e-5, atol=1e-6)
    assert not np.isclose(pair[0], drawn[0]).all()
    if model.config.scaling == "principal":
        half = FINGERPRINT.size // 2
        assert drawn.min() >= 0.0
        assert (drawn[:, :half] >= drawn[:, half:]).all()
    with pytest.raises(ValueError, match=re.escape("expected one value or 3, got shape (2,)")):
        model.sample([2.4, 2.7], 3)


def test_one_program_draws_any_number_of_samples(model, monkeypatch):
    lengths = []

    def drawn(generator, key, numbers, values):
        lengths.append((len(numbers), len(values)))
        return jnp.zeros((len(numbers), FINGERPRINT.size))

    monkeypatch.setattr(design_model, "_drawn", drawn)
    assert [len(model.sample(2.7, count)) for count in (1, 64, 200)] == [1, 64, 200]
    assert lengths == [(design_model.BATCH,) * 2] * 6


def test_samples_that_the_surrogate_disagrees_with_are_drawn_again(model, monkeypatch):
    def missed(drawn: np.ndarray) -> np.ndarray:
        means, deviations = model.predict(drawn)
        return np.maximum(np.abs(means - 2.6), deviations)

    plain = missed(model.sample(2.6, 40))
    limit = float(np.quantile(plain, 0.4))
    again = model.sample(2.6, 40, agree=limit)
    within = plain <= limit
    np.testing.assert_allclose(missed(again)[within], plain[within], rtol=1e-3)
    assert (missed(again) <= limit).mean() > within.mean() + 0.3
    # No sample is good enough for a limit of 0: the best of all draws is taken.
    monkeypatch.setattr(design_model, "MAX_DRAWS", 1)
    np.testing.assert_allclose(missed(model.sample(2.6, 40, agree=0.0)), plain, rtol=1e-6)
    monkeypatch.setattr(design_model, "MAX_DRAWS", 4)
    best = missed(model.sample(2.6, 40, agree=0.0))
    assert (best <= plain + 1e-6).all()
    assert best.mean() < plain.mean()


def test_targets_outside_the_training_data_are_warned_of(model):
    low, high = model.range
    message = f"expected a property between {low:.3f} and {high:.3f} eV/atom, .*, got 9.5"
    with pytest.warns(UserWarning, match=message):
        assert model.sample([low, 9.5], 2).shape[0] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample([low, high], 2)
