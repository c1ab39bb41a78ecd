"""Models of labelled sets: what is learned, kept, drawn and refused."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from jaxrecon import Fingerprint, featurize
from jaxrecon.datasets.labelled import LabelledSet, split_by_trajectory
from jaxrecon.models import design_model
from jaxrecon.models.config import FitConfig, TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.scalings.principal_axes import SCALINGS
from jaxrecon.models.surrogates import gradient_kernel
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.models.training import train

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = FitConfig(layers=1, hidden=6, learning_rate=1e-2, epochs=3, batch=20)
CONFIG = TrainConfig(
    fingerprint="default",
    poolings=("max", "min"),
    generator_fit=SMALL,
    surrogate_fit=SMALL,
    latent=2,
    members=2,
)
CONFIGS = {
    "default": CONFIG.replace(surrogate="gaussian_process"),
    "fung2022": CONFIG.replace(surrogate="network", scaling="minmax", split="random"),
}
FINGERPRINT = Fingerprint.preset("default", ["Pt"], poolings=("max", "min"))


def labelled(count: int = 60) -> LabelledSet:
    """Triples of clusters that tell their size."""
    random = np.random.default_rng(0)
    lengths = 2.2 + random.uniform(size=count)
    places = np.array([[0, 0, 0], [1, 0, 0], [0.2, 1, 0], [0.3, 0.2, 1]])
    structures = [
        Atoms("Pt4", length * places + 0.1 * random.normal(size=(4, 3))) for length in lengths
    ]
    return LabelledSet.of(
        structures, formation_energies=lengths, trajectories=np.arange(count) // 3
    )


@lru_cache
def learned(name: str) -> DesignModel:
    return train(labelled(), CONFIGS[name])


@pytest.fixture(params=list(CONFIGS))
def model(request, quick_compile) -> DesignModel:
    return learned(request.param)


def test_what_is_learned(model):
    every = labelled()
    rows, values = featurize(every.structures, FINGERPRINT), every.formation_energies
    if model.config.split == "trajectory":
        kept, aside = split_by_trajectory(every, 0.2, 0)
        assert not set(every.trajectories[kept]) & set(every.trajectories[aside])
    else:
        order = np.random.default_rng(0).permutation(60)
        kept, aside = np.sort(order[12:]), np.sort(order[:12])
    assert (model.symbols, model.fingerprint) == ("Pt4", FINGERPRINT)
    np.testing.assert_allclose(model.training.fingerprints, rows, rtol=1e-12)
    assert model.range == (values.min(), values.max())
    surrogate = model.surrogate
    if model.config.surrogate == "gaussian_process":
        process = GaussianProcess.fit(FINGERPRINT, rows, values)
        np.testing.assert_allclose(surrogate.weights, process.weights, rtol=1e-6)
        assert surrogate.caution == pytest.approx(max(model.validation["ratio"], 1.0), rel=1e-6)
        # What it was judged by, before it had all rows.
        surrogate = GaussianProcess.fit(FINGERPRINT, rows[kept], values[kept])
    means, deviations = replace(model, surrogate=surrogate).predict(rows[aside])
    errors = means - values[aside]
    found = model.validation
    assert found["rows"] == 12
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert found["bias"] == pytest.approx(errors.mean(), rel=1e-4)
    assert found["ratio"] == pytest.approx(np.sqrt(np.mean((errors / deviations) ** 2)), rel=1e-5)
    correlation = np.corrcoef(np.abs(errors), deviations)[0, 1]
    assert found["correlation"] == pytest.approx(correlation, rel=1e-4)
    assert found["deviation"] == pytest.approx(np.quantile(deviations, 0.95), rel=1e-5)
    if model.config.surrogate == "gaussian_process":
        assert found["mae"] < 0.5 * np.std(values)
    # Nothing of the rows that are kept aside.
    units = model.generator.centre, model.generator.width
    np.testing.assert_allclose(units, [values[kept].mean(), values[kept].std()])
    scaling = SCALINGS[model.config.scaling].fit(FINGERPRINT, rows[kept])
    for own, again in zip(
        jax.tree.leaves(model.generator.scaling), jax.tree.leaves(scaling), strict=True
    ):
        np.testing.assert_allclose(own, again)


def test_predictions_are_those_of_the_surrogate(model, x64):
    rows = np.tile(model.training.fingerprints, (2, 1))
    means, deviations = model.predict(rows)
    for number in (0, 119):
        mean, deviation = model.surrogate(jnp.asarray(rows[number]))
        assert means[number] == pytest.approx(float(mean), rel=1e-9)
        assert deviations[number] == pytest.approx(float(deviation), rel=1e-7)


def test_samples(model):
    drawn = model.sample(2.7, 70, seed=1)
    assert drawn.shape == (70, FINGERPRINT.size)
    assert drawn.dtype == np.float64
    np.testing.assert_allclose(model.sample(2.7, 3, seed=1), drawn[:3], rtol=1e-5, atol=1e-6)
    assert len(np.unique(drawn[:, 0])) == 70
    assert not np.isclose(model.sample(2.7, 1, seed=2)[0], drawn[0]).all()
    each = model.sample([2.4, 2.7], 2, seed=1)
    np.testing.assert_allclose(each[1], drawn[1], rtol=1e-5, atol=1e-6)
    assert not np.isclose(each[0], drawn[0]).all()
    if model.config.scaling == "principal":
        half = FINGERPRINT.size // 2
        assert drawn.min() >= 0.0
        assert (drawn[:, :half] >= drawn[:, half:]).all()
    with pytest.raises(ValueError, match=re.escape("expected one value or 3, got shape (2,)")):
        model.sample([2.4, 2.7], 3)


def test_samples_that_the_surrogate_does_not_agree_with_are_drawn_again(model, monkeypatch):
    def missed(drawn: np.ndarray) -> np.ndarray:
        means, deviations = model.predict(drawn)
        return np.maximum(np.abs(means - 2.6), deviations)

    plain = missed(model.sample(2.6, 40))
    limit = float(np.quantile(plain, 0.4))
    again = model.sample(2.6, 40, agree=limit)
    within = plain <= limit
    np.testing.assert_allclose(missed(again)[within], plain[within], rtol=1e-3)
    assert (missed(again) <= limit).mean() > within.mean() + 0.3
    # Nothing is good enough here: the best of all tries is taken.
    monkeypatch.setattr(design_model, "TRIES", 1)
    np.testing.assert_allclose(missed(model.sample(2.6, 40, agree=0.0)), plain, rtol=1e-6)
    monkeypatch.setattr(design_model, "TRIES", 4)
    best = missed(model.sample(2.6, 40, agree=0.0))
    assert (best <= plain + 1e-6).all()
    assert best.mean() < plain.mean()


def test_targets_beyond_the_training_data(model):
    low, high = model.range
    message = f"expected a property between {low:.3f} and {high:.3f} eV/atom, .*, got 9.5"
    with pytest.warns(UserWarning, match=message):
        assert model.sample([low, 9.5], 2).shape[0] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample([low, high], 2)


def test_there_and_back(model, tmp_path):
    folder = tmp_path / "model"
    model.save(folder)
    model.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    found = DesignModel.load(folder)
    assert (found.config, found.fingerprint, found.symbols) == (
        model.config,
        model.fingerprint,
        model.symbols,
    )
    assert (found.validation, found.versions) == (model.validation, model.versions)
    assert found.sample(2.5, 5).tobytes() == model.sample(2.5, 5).tobytes()
    rows = model.training.fingerprints
    assert found.predict(rows)[0].tobytes() == model.predict(rows)[0].tobytes()
    assert found.predict(rows)[1].tobytes() == model.predict(rows)[1].tobytes()
    assert found.training.fingerprints.tobytes() == rows.tobytes()
    assert len(found.training.structures) == 60
    about = json.loads((folder / "model.json").read_text())
    other = "minmax" if model.config.scaling == "principal" else "principal"
    for changes, message in [
        ({"version": 1}, "expected version 2 of the format in .*, got 1"),
        ({"symbols": None}, r"without \['symbols'\]"),
        ({"config": {"scaling": other}}, "with other arrays than its settings ask for"),
        ({"config": {"scalin": other}}, r"expected settings among .*got \['scalin'\]"),
    ]:
        changed = {**about, **changes, "config": about["config"] | changes.get("config", {})}
        text = json.dumps({key: value for key, value in changed.items() if value is not None})
        (folder / "model.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            DesignModel.load(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"with an unreadable model.json"):
        DesignModel.load(folder)


@pytest.mark.slow
def test_forces_are_learned_from(tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_kernel, "SOME", 10)
    every = labelled()
    forces = [np.random.default_rng(i).normal(size=(4, 3)) for i in range(60)]
    every = replace(every, forces=[each - each.mean(axis=0) for each in forces])
    config = CONFIGS["default"].replace(poolings=("mean", "moment2"))
    model, without = train(every, config), train(every, config.replace(forces=False))
    assert model.surrogate.pull.shape == model.surrogate.points.shape
    assert without.surrogate.pull is None
    rows = model.training.fingerprints
    assert np.abs(model.predict(rows)[0] - without.predict(rows)[0]).max() > 1e-3
    # The noise in them is told from what they say of the energies.
    assert model.validation["mae"] < 0.1
    model.save(tmp_path / "model")
    found = DesignModel.load(tmp_path / "model")
    assert found.predict(rows)[0].tobytes() == model.predict(rows)[0].tobytes()
    forces[3][1, 2] = np.nan
    assert train(replace(every, forces=forces), config).surrogate.pull is None


def test_what_is_no_model(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"none, which has no model.json"):
        DesignModel.load(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters").touch()
    with pytest.raises(FileExistsError, match="expected a model or nothing in the place"):
        model.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "letters").exists()


def test_fingerprints_alone():
    whole = labelled()
    rows = featurize(whole.structures, FINGERPRINT)
    alone = LabelledSet.of(fingerprints=rows, formation_energies=whole.formation_energies)
    model = train(alone, CONFIGS["default"], symbols="Pt4")
    assert model.training.structures is None
    assert model.sample(2.5, 2).shape == (2, FINGERPRINT.size)
    with pytest.raises(ValueError, match="expected the formula of fingerprints without structures"):
        train(alone, CONFIGS["default"])
    with pytest.raises(ValueError, match=r"expected fingerprints of 190 numbers.*, got 46"):
        train(
            alone,
            CONFIGS["default"].replace(fingerprint="fung2022", poolings=("mean",)),
            symbols="Pt4",
        )


def changed(**changes) -> LabelledSet:
    return replace(labelled(), **changes)


@pytest.mark.parametrize(
    ("some", "message"),
    [
        (lambda: labelled(49), "expected at least 50 rows to learn from, got 49"),
        (
            lambda: changed(formation_energies=np.where(np.arange(60) < 58, 1.5, np.nan)),
            "expected formation energies of all 60 rows, got nan in 2 of them, first in row 58",
        ),
        (
            lambda: changed(formation_energies=np.full(60, 1.5)),
            "expected formation energies that differ, got 1.5 in all rows",
        ),
        (
            lambda: changed(structures=[*labelled().structures[:59], Atoms("Pt3Cu")]),
            "expected structures of one composition, got ['CuPt3', 'Pt4']",
        ),
    ],
)
def test_what_nothing_can_be_learned_from(some, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(some(), CONFIG)


def test_the_formula_has_to_fit():
    with pytest.raises(ValueError, match="expected structures of Pt5, got Pt4"):
        train(labelled(), CONFIG, symbols="Pt5")


@pytest.mark.slow
def test_training_goes_on_where_it_was(tmp_path, monkeypatch):
    config, calls = CONFIGS["fung2022"], []

    def stop(epochs: int, rows: int) -> None:
        calls.append(epochs)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(labelled(), config, store=tmp_path / "store", progress=stop)
    assert calls == [0, 3, 0]  # the surrogate is still to come
    calls = []
    found = train(
        labelled(),
        config,
        store=tmp_path / "store",
        progress=lambda epochs, rows: calls.append(epochs),
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
            train(data, settings, store=tmp_path / "store")
