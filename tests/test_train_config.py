"""The settings of generators and surrogates: presets, plain data, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jaxrecon.models.config import FitConfig, TrainConfig

ROOT = Path(__file__).parents[1]


def test_the_published_settings():
    config = TrainConfig.preset("fung2022")
    assert (config.fingerprint, config.poolings) == ("fung2022", ("max", "min"))
    assert (config.scaling, config.surrogate) == ("minmax", "network")
    assert config.generator_fit == FitConfig(3, 128, 1e-3, 2000, 64)
    assert config.surrogate_fit == FitConfig(5, 256, 5e-4, 2000, 256)
    assert (config.latent, config.beta, config.validation, config.members) == (25, 0.75, 0.2, 1)
    assert TrainConfig.preset("default") == TrainConfig()
    assert TrainConfig().split == "trajectory"
    with pytest.raises(ValueError, match=r"expected a preset among .*'fung2022'.*, got 'fung'"):
        TrainConfig.preset("fung")


@pytest.mark.parametrize("name", ["default", "fung2022", "universal"])
def test_settings_survive_json(name):
    config = TrainConfig.preset(name).replace(seed=3, latent=7)
    config = config.replace(generator_fit=replace(config.generator_fit, epochs=5))
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)
    assert TrainConfig.from_dict({}) == TrainConfig()


def test_some_settings_of_a_fit_leave_the_others():
    default = TrainConfig()
    found = TrainConfig.from_dict({"generator_fit": {"epochs": 7}, "local_fit": {"points": 300}})
    assert found.generator_fit == replace(default.generator_fit, epochs=7)
    assert found.local_fit == replace(default.local_fit, points=300)
    assert found.surrogate_fit == default.surrogate_fit


def test_unknown_settings_are_named():
    with pytest.raises(ValueError, match=r"expected settings among \[.*'beta'.*got \['betta'\]"):
        TrainConfig().replace(betta=1.0)
    with pytest.raises(ValueError, match=r"expected settings among \[.*'beta'.*got \['betta'\]"):
        TrainConfig.from_dict({"betta": 1.0})
    with pytest.raises(ValueError, match=r"settings among \['batch'.*got \['width'\]"):
        TrainConfig.from_dict({"generator_fit": {"width": 3}})


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *[
            (name, value, "a whole number >= 1")
            for name in ("latent", "members")
            for value in (0, 1.5)
        ],
        *[("beta", value, "a number >= 0") for value in (-1.0, NAN)],
        *[("validation", value, r"a fraction in \(0, 1\)") for value in (0.0, 1.0, NAN)],
        ("poolings", (), "at least one name"),
        ("scaling", "none", r"among \('minmax', 'principal'\) or module:class"),
        ("generator", "gan", r"among \('autoencoder',\) or module:class"),
        ("surrogate", "mlp", r"among \('network', 'gaussian_process', .*\) or module:class"),
        ("split", "none", r"among \('trajectory', 'random'\)"),
    ],
)
def test_values_out_of_range(name, value, expected, unchecked):
    with pytest.raises(ValueError, match=f"expected {name} to be {expected}, got "):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *[
            (name, value, "a whole number >= 1")
            for name in ("layers", "hidden", "epochs", "batch")
            for value in (0, 2.5)
        ],
        *[("learning_rate", value, "a number > 0") for value in (0.0, NAN)],
    ],
)
def test_fits_out_of_range(name, value, expected, unchecked):
    with pytest.raises(ValueError, match=f"expected {name} to be {expected}, got "):
        replace(TrainConfig().generator_fit, **{name: value})


def test_it_does_not_need_jax():
    code = (
        "import sys, jaxrecon.models.config; print([m for m in ('jax', 'ase') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
