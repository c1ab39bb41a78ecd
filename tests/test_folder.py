"""Models on disk: the same numbers after reading, and refusal of anything that is not a model."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learning import CONFIGS, learned

from jaxrecon import Fingerprint, load_model, save_model


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_model_is_the_same_after_reading(name, tmp_path):
    model, folder = learned(name), tmp_path / "model"
    save_model(model, folder)
    save_model(model, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    found = load_model(folder)
    assert (found.config, found.fingerprint, found.symbols) == (
        model.config,
        model.fingerprint,
        model.symbols,
    )
    assert (found.validation, found.versions) == (model.validation, model.versions)
    assert found.sample(2.5, 5).tobytes() == model.sample(2.5, 5).tobytes()
    fingerprints = model.training.fingerprints
    assert found.predict(fingerprints)[0].tobytes() == model.predict(fingerprints)[0].tobytes()
    assert found.predict(fingerprints)[1].tobytes() == model.predict(fingerprints)[1].tobytes()
    assert found.training.fingerprints.tobytes() == fingerprints.tobytes()
    assert len(found.training.structures) == 60


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_damaged_model_is_refused(name, tmp_path):
    model, folder = learned(name), tmp_path / "model"
    save_model(model, folder)
    about = json.loads((folder / "model.json").read_text())
    other = "minmax" if model.config.scaling == "principal" else "principal"
    mean = Fingerprint.preset("default", ["Pt"], poolings=("mean",))
    for changes, message in [
        ({"version": 1}, "expected version 4 of the format in .*, got 1"),
        ({"symbols": None}, r"without \['symbols'\]"),
        ({"symbols": 3}, "with damaged symbols in model.json"),
        ({"validation": []}, "with damaged validation in model.json"),
        ({"validation": {"mae": "0.1"}}, "with damaged validation in model.json"),
        ({"versions": {"jax": 0.1}}, "with damaged versions in model.json"),
        ({"config": {"scaling": other}}, "with other arrays than its settings ask for"),
        ({"config": {"latent": 3}}, "with other arrays than its settings ask for"),
        ({"fingerprint": mean.to_dict()}, "with other arrays than its settings ask for"),
        ({"config": {"surrogate": "mlp"}}, "expected surrogate to be among"),
        ({"config": {"scalin": other}}, r"expected settings among .*got \['scalin'\]"),
    ]:
        changed = {**about, **changes, "config": about["config"] | changes.get("config", {})}
        text = json.dumps({key: value for key, value in changed.items() if value is not None})
        (folder / "model.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            load_model(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"with an unreadable model.json"):
        load_model(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A complete model of the current version, so that damage is met behind the first checks."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(learned("default"), folder)
    assert load_model(folder).symbols == "Pt4"
    return folder


@settings(max_examples=15)
@given(
    where=st.floats(0.0, 1.0, exclude_max=True),
    word=st.sampled_from(["null", "-1", "1e999", "0.5", '"odd"', "[]", "{}", "true", "99", ""]),
)
@example(where=0.02, word="2")
def test_any_change_of_a_value_is_harmless_or_refused(where, word, saved):
    """Whatever stands for one of the values, there is a model or an exception with a message."""
    whole = (saved / "model.json").read_text()
    values = list(re.finditer(r'(?<=: )[^\s,{\[]+|(?<=\s)"[^"]*"(?=,?\n)', whole))
    value = values[int(where * len(values))]
    try:
        (saved / "model.json").write_text(whole[: value.start()] + word + whole[value.end() :])
        with contextlib.suppress(ValueError):
            load_model(saved)
    finally:
        (saved / "model.json").write_text(whole)


def test_a_folder_of_something_else_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none, which has no model.json"):
        load_model(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters").touch()
    with pytest.raises(FileExistsError, match="expected a model or nothing in the place"):
        save_model(learned("default"), tmp_path / "mine")
    assert (tmp_path / "mine" / "letters").exists()
