"""Fitting: epochs by hand, the best epoch, padding, members, and continuation after a kill."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrecon.models import checkpoints, epochs, fitting
from jaxrecon.models.config import FitConfig
from jaxrecon.models.fitting import fit

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Line:
    """A straight line, optionally with random noise in its loss."""

    noise: float = 0.0

    def init(self, key):
        return {"slope": jax.random.normal(key, (2,))}

    def loss(self, weights, key, item):
        inputs, value = item
        drawn = self.noise * jax.random.normal(key, ())
        return (weights["slope"] @ inputs - value + drawn) ** 2


def items(count: int = 12, seed: int = 0):
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(count, 2)).astype(np.float32)
    noise = 0.1 * random.normal(size=count)
    return jnp.asarray(inputs), jnp.asarray(inputs @ [2.0, -1.0] + noise, jnp.float32)


def numbers(*rows) -> np.ndarray:
    return np.array(rows)


ONE = FitConfig(layers=1, hidden=1, learning_rate=0.05, epochs=7, batch=100)


def test_epochs_of_one_batch_are_steps_of_adam():
    """With one batch the order of the examples does not matter: optax by hand gives the same."""
    data, training, validation = items(), np.arange(8), np.arange(8, 12)
    found = fit(Line(), data, training[None], validation[None], ONE, seed=3)
    weights = Line().init(jax.random.fold_in(jax.random.key(3), 0))
    optimiser = optax.adam(0.05)
    moments, losses = optimiser.init(weights), []

    def mean(weights, rows):
        return jnp.mean((data[0][rows] @ weights["slope"] - data[1][rows]) ** 2)

    best, least = None, np.inf
    for _ in range(7):
        value, gradient = jax.value_and_grad(mean)(weights, training)
        updates, moments = optimiser.update(gradient, moments)
        weights = optax.apply_updates(weights, updates)
        validated = float(mean(weights, validation))
        losses.append([float(value), validated])
        if validated < least:
            best, least = weights, validated
    np.testing.assert_allclose(found.losses[0], losses, rtol=1e-5)
    np.testing.assert_allclose(found.weights["slope"][0], best["slope"], rtol=1e-5)
    assert found.epochs[0] == np.argmin([validated for _, validated in losses])


def test_one_program_for_all_epochs():
    training, validation = numbers([0, 1, 2]), numbers([3, 4])
    before = epochs.advance._cache_size()
    fit(Line(), items(), training, validation, FitConfig(1, 1, 0.05, 2 * fitting.CHUNK + 1, 2))
    assert epochs.advance._cache_size() == before + 1


def test_one_program_for_all_splits_of_as_many_examples():
    config = FitConfig(1, 1, 0.05, 3, 3)
    before = epochs.advance._cache_size()
    fit(Line(), items(13), numbers(np.arange(9)), numbers(np.arange(9, 13)), config, decay=True)
    fit(Line(), items(13), numbers(np.arange(5)), numbers(np.arange(5, 13)), config, decay=True)
    assert epochs.advance._cache_size() == before + 1


def test_the_best_epoch_is_chosen():
    """Validation examples are on another line: their loss becomes larger again on the way."""
    inputs = jnp.tile(jnp.asarray([[1.0, 0.0]]), (4, 1))
    data = inputs, jnp.asarray([5.0, 5.0, 2.0, 2.0])
    config = FitConfig(1, 1, 0.05, 120, 2)
    found = fit(Line(), data, numbers([0, 1]), numbers([2, 3]), config)
    validated = found.losses[0, :, 1]
    assert 0 < found.epochs[0] == np.argmin(validated) < 119
    assert validated[-1] > 1.0 > validated.min()
    assert float(found.weights["slope"][0, 0] - 2.0) ** 2 == pytest.approx(
        validated.min(), rel=1e-4
    )
    assert found.losses[0, -1, 0] < found.losses[0, found.epochs[0], 0]


def test_every_example_counts_once_in_an_epoch():
    """Without learning, the training loss is the mean over examples, whatever the batches are."""
    data, rows = items(10), np.arange(10)
    weights = Line().init(jax.random.fold_in(jax.random.key(0), 0))["slope"]
    expected = np.mean((data[0] @ weights - data[1]) ** 2)
    for batch in (3, 50):
        config = FitConfig(1, 1, 1e-12, 3, batch)
        found = fit(Line(), data, rows[None], rows[None], config)
        np.testing.assert_allclose(found.losses[0], expected, rtol=1e-5)


@pytest.mark.parametrize("decay", [False, True])
def test_padding_changes_nothing(decay):
    """Batches of padding neither move the weights nor count, nor is their learning rate."""
    data, config = items(), FitConfig(1, 1, 0.05, 5, 4)
    training, validation = np.arange(4), np.arange(8, 12)
    plain = fit(Line(), data, training[None], validation[None], config, decay=decay)
    none = np.full(5, -1)
    filled = numbers([*none, *training]), numbers([*validation, *none])
    filled = fit(Line(), data, *filled, config, decay=decay)
    np.testing.assert_allclose(filled.losses, plain.losses, rtol=1e-5)
    np.testing.assert_allclose(filled.weights["slope"], plain.weights["slope"], rtol=1e-5)


def test_members_have_their_own_examples_and_random_numbers():
    data, config = items(), FitConfig(1, 1, 0.05, 4, 3)
    training, validation = numbers([0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]), numbers(*[[8, 9]] * 3)
    whole = fit(Line(0.3), data, training, validation, config, seed=1)
    alone = fit(Line(0.3), data, training[:1], validation[:1], config, seed=1)
    np.testing.assert_allclose(whole.weights["slope"][0], alone.weights["slope"][0], rtol=1e-5)
    assert len(np.unique(np.round(whole.weights["slope"][:, 0], 6))) == 3
    other = fit(Line(0.3), data, training[:1], validation[:1], config, seed=2)
    assert other.weights["slope"][0, 0] != alone.weights["slope"][0, 0]


def test_epochs_are_validated_by_the_same_draws():
    """Otherwise the least loss would be that of lucky draws."""
    data, rows = items(), np.arange(12)
    found = fit(Line(5.0), data, rows[None], rows[None], FitConfig(1, 1, 1e-12, 5, 4))
    assert np.ptp(found.losses[0, :, 1]) < 1e-4
    assert np.ptp(found.losses[0, :, 0]) > 1.0


def test_validation_takes_no_more_memory_than_a_block(monkeypatch):
    """Block by block it gives the same losses as all at once, one of which may not fit."""
    sizes, summed = [], epochs._summed_loss

    def counted(loss, items, indices, *others):
        sizes.append(len(indices))
        return summed(loss, items, indices, *others)

    monkeypatch.setattr(epochs, "_summed_loss", counted)
    data, training = items(60), numbers([0, 1, 2], [3, 4, 5])
    validation = numbers(np.arange(6, 56), [*range(10, 40), *[-1] * 20])
    config = FitConfig(1, 1, 0.02, 6, 3)
    whole = fit(Line(), data, training, validation, config)
    assert max(sizes) == fitting.MIN_VALIDATION_LOSSES // 4
    sizes.clear()
    monkeypatch.setattr(fitting, "MIN_VALIDATION_LOSSES", 32)
    cut = fit(Line(), data, training, validation, config)
    assert max(sizes) == 8
    np.testing.assert_allclose(cut.losses, whole.losses, rtol=1e-5)
    slopes = cut.weights["slope"][1] @ data[0][10:40].T - data[1][10:40]
    np.testing.assert_allclose(cut.losses[1, :, 1].min(), np.mean(slopes**2), rtol=1e-5)


def test_a_loss_that_is_never_finite_is_refused():
    inputs, values = items()
    data = inputs, values.at[11].set(jnp.inf)
    with pytest.raises(ValueError, match="validation losses that are finite, got none of member 1"):
        fit(Line(), data, numbers([0, 1], [0, 1]), numbers([9, 10], [10, 11]), ONE)


def test_progress_and_chunks(monkeypatch):
    monkeypatch.setattr(fitting, "CHUNK", 3)
    data, reports = items(), []
    training, validation = numbers([0, 1, -1], [2, 3, 4]), numbers([5], [5])
    chunked = fit(
        Line(), data, training, validation, ONE, report=lambda *report: reports.append(report)
    )
    assert reports == [(0, 0), (3, 15), (3, 15), (1, 5)]
    monkeypatch.setattr(fitting, "CHUNK", 50)
    whole = fit(Line(), data, training, validation, ONE)
    assert whole.losses.tobytes() == chunked.losses.tobytes()


KILLED = """
    import os, sys
    sys.path.insert(0, "tests")
    from jaxrecon.models import fitting
    from test_fitting import CHUNKED, Line, items
    fitting.CHUNK = 2
    chunks = iter(range(3))
    def report(epochs, rows):
        if next(chunks, None) is None:
            os.kill(os.getpid(), 9)
    fitting.fit(Line(0.3), items(), *CHUNKED, folder=sys.argv[1], report=report)
"""
CHUNKED = (numbers([0, 1, 2, 3, 4, 5]), numbers([8, 9]), FitConfig(1, 1, 0.05, 9, 4))


def test_a_killed_fit_continues_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "CHUNK", 2)
    folder, reports = tmp_path / "line", []
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)], cwd=ROOT, check=False
    )
    assert run.returncode == -9
    resumed = fit(
        Line(0.3), items(), *CHUNKED, folder=folder, report=lambda *report: reports.append(report)
    )
    assert [epochs for epochs, _ in reports] == [6, 2, 1]
    whole = fit(Line(0.3), items(), *CHUNKED)
    assert resumed.losses.tobytes() == whole.losses.tobytes()
    assert (
        np.asarray(resumed.weights["slope"]).tobytes()
        == np.asarray(whole.weights["slope"]).tobytes()
    )
    again = fit(Line(0.3), items(), *CHUNKED, folder=folder)
    assert again.losses.tobytes() == whole.losses.tobytes()


def test_checkpoints(tmp_path):
    tree = {"a": [np.arange(3.0), jnp.ones((2, 2))], "b": {0: np.int32(4), 1: {"c": np.zeros(1)}}}
    assert checkpoints.latest(tmp_path / "none", tree) is None
    checkpoints.save(tmp_path / "steps", 1, jax.tree.map(np.zeros_like, tree))
    checkpoints.save(tmp_path / "steps", 4, tree)
    found = checkpoints.latest(tmp_path / "steps", tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
    bare = checkpoints.latest(tmp_path / "steps")
    assert set(bare) == {"a", "b"}
    np.testing.assert_array_equal(bare["b"][1]["c"], np.zeros(1))
    with pytest.raises(ValueError, match=r"expected a checkpoint of this model in .*steps, got "):
        checkpoints.latest(tmp_path / "steps", {"a": np.zeros(3)})
    (tmp_path / "empty").mkdir()
    assert checkpoints.latest(tmp_path / "empty", tree) is None
