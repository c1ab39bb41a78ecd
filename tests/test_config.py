"""The settings of the search: defaults, changes and refused values."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxrecon import ReconstructConfig

ROOT = Path(__file__).parents[1]


def test_a_config_is_a_frozen_hashable_value() -> None:
    config = ReconstructConfig()
    assert config == ReconstructConfig()
    assert hash(config) == hash(ReconstructConfig())
    assert config != ReconstructConfig(hops=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hops = 3  # type: ignore[misc]


def test_integers_of_numpy_are_whole_numbers(unchecked: None) -> None:
    config = ReconstructConfig().replace(hops=np.int64(5))
    assert (config.hops, type(config.hops)) == (5, int)


def test_changes_make_a_copy() -> None:
    config = ReconstructConfig()
    changed = config.replace(hops=3, tolerance=1e-4)
    assert (changed.hops, changed.tolerance) == (3, 1e-4)
    assert dataclasses.replace(changed, hops=config.hops, tolerance=config.tolerance) == config
    assert config == ReconstructConfig()
    assert config.replace() == config


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected settings among \[.*'hops'.*got \['hop', 'x'\]"):
        ReconstructConfig().replace(x=1, hop=3)


def test_round_trip_through_json() -> None:
    config = ReconstructConfig(hops=3, shake_range=(0.1, 0.2))
    plain = json.loads(json.dumps(config.to_dict()))
    plain["shake_range"] = tuple(plain["shake_range"])
    assert ReconstructConfig(**plain) == config
    assert set(plain) == {field.name for field in dataclasses.fields(ReconstructConfig)}


def test_shake_range_from_a_file_is_a_list(unchecked: None) -> None:
    config = ReconstructConfig(shake_range=[0.1, 0.2])
    assert config.shake_range == (0.1, 0.2)
    assert hash(config) == hash(ReconstructConfig(shake_range=(0.1, 0.2)))


def test_algorithm_of_the_paper() -> None:
    config = ReconstructConfig.fung2022()
    assert (config.replicas, config.hops) == (10, 5)
    assert config.adam_steps > 0


@pytest.mark.parametrize("adam_steps", [0, 7])
def test_evaluations_of_a_hop(adam_steps: int) -> None:
    config = ReconstructConfig(replicas=3, adam_steps=adam_steps, refine_steps=5, candidates=11)
    assert config.evaluations_per_hop == {
        "values": 3 * (11 + 2),
        "gradients": 3 * adam_steps,
        "jacobians": 3 * (5 + 1),
    }


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *[
            (name, value, "a whole number >= 1")
            for name in ("hops", "restart_after", "solutions", "refine_steps", "candidates")
            for value in (0, -1, 2.5)
        ],
        *[
            (name, value, "a whole number >= 0")
            for name in ("replicas", "adam_steps", "polish_steps")
            for value in (-1, 2.5)
        ],
        *[
            (name, value, "a number > 0")
            for name in ("tolerance", "learning_rate", "max_step")
            for value in (0.0, -1.0, NAN)
        ],
        *[("min_distance", value, r"a number in \[0, 1\)") for value in (-0.1, 1.0, NAN)],
        *[
            (name, value, r"a fraction in \[0, 1\]")
            for name in ("inversion", "point_groups")
            for value in (-0.1, 1.1, NAN)
        ],
        *[("parents", value, r"a fraction in \(0, 1\]") for value in (0.0, 1.1, -0.5, NAN)],
        *[
            ("moves", {"swap": value}, "finite weights >= 0 by name")
            for value in (-0.1, NAN, INFINITE)
        ],
        *[
            ("shake_range", value, "0 < low <= high in Angstrom")
            for value in ((0.0, 1.0), (0.2, 0.1), (-1.0, 1.0), (NAN, 1.0))
        ],
    ],
)
def test_values_out_of_range(name: str, value: object, expected: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=f"expected {name} to be {expected}, got "):
        ReconstructConfig(**{name: value})
    with pytest.raises(ValueError, match=f"expected {name} to be {expected}, got "):
        ReconstructConfig().replace(**{name: value})


def test_the_default_number_of_replicas_depends_on_the_fingerprint() -> None:
    config = ReconstructConfig(hops=7)
    assert config.resolved(smooth=True) == config.replace(replicas=16)
    assert config.resolved(smooth=False) == config.replace(replicas=64)
    assert config.replace(replicas=5).resolved(smooth=True).replicas == 5


def test_programs_do_not_depend_on_settings_of_the_loop_around_them() -> None:
    config = ReconstructConfig(candidates=5, min_distance=0.5)
    changed = config.replace(hops=3, restart_after=2, patience=3, tolerance=1e-3, solutions=4)
    assert changed.compiled == config.compiled == config
    assert config.replace(candidates=6).compiled != config.compiled


def test_weights_of_moves_are_not_compiled_and_are_stored_in_one_order() -> None:
    config = ReconstructConfig(moves={"swap": 0.5, "fresh": 0})
    assert config.compiled == ReconstructConfig()
    assert config == ReconstructConfig(moves={"fresh": 0, "swap": 0.5})
    assert config.to_dict()["moves"] == {"fresh": 0, "swap": 0.5}
    assert ReconstructConfig(**config.to_dict()) == config
    with pytest.raises(ValueError, match="expected moves to be finite weights >= 0 by name, got"):
        ReconstructConfig(moves={"swap": -1.0})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replicas", 1),
        ("adam_steps", 0),
        ("polish_steps", 0),
        ("parents", 1.0),
        ("shake_range", (0.1, 0.1)),
    ],
)
def test_ranges_include_their_limits(name: str, value: object) -> None:
    assert getattr(ReconstructConfig(**{name: value}), name) == value


def test_the_module_does_not_import_jax() -> None:
    """So the command line shows the defaults without delay."""
    code = (
        "import sys, jaxrecon.search.config; print([m for m in ('jax', 'ase') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
