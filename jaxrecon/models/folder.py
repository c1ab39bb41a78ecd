"""Models as folders: settings in JSON, arrays by Orbax, and the labelled set of the fit."""

import json
import os
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxrecon.datasets.labelled_npz import read_npz, write_npz
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models import checkpoints
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.design_model import DesignModel
from jaxrecon.models.generators.base import Generator
from jaxrecon.models.registry import GENERATORS, SURROGATES
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.runtime.files import write_json

VERSION = 4
"""Version of the format, to be raised by changes that older versions of jaxrecon would misread."""

ABOUT = "model.json"
"""Name of the file of settings, by which a folder is recognised as a model."""

PLAIN = ("symbols", "validation", "versions")
"""Attributes of a model that are stored in that file as they are."""


def save_model(model: DesignModel, folder: str | os.PathLike[str]) -> None:
    """Write a model to a folder of its own; an existing model is replaced by a complete one.

    Args:
        model: model to write.
        folder: folder to write.

    Raises:
        FileExistsError: if something exists in that place that is not a model.
        OSError: if the folder can't be written.

    >>> import jaxrecon
    >>> model = jaxrecon.train(jaxrecon.datasets.load("pt10_pbe"))  # doctest: +SKIP
    >>> save_model(model, "model")  # doctest: +SKIP
    """
    check_place(folder)
    real = Path(os.path.realpath(folder))
    # A draft in the same directory is moved into place at the end.
    with tempfile.TemporaryDirectory(dir=real.parent, prefix=".jaxrecon-") as directory:
        draft = Path(directory) / "model"
        draft.mkdir()
        arrays = {"generator": _arrays(model.generator), "surrogate": _arrays(model.surrogate)}
        checkpoints.save(draft / "arrays", 0, arrays)
        write_npz(draft / "training.npz", model.training)
        about = {
            "version": VERSION,
            "fingerprint": model.fingerprint.to_dict(),
            "config": model.config.to_dict(),
            **{name: getattr(model, name) for name in PLAIN},
        }
        write_json(draft / ABOUT, about)
        if real.exists():
            os.replace(real, Path(directory) / "replaced")
        os.replace(draft, real)


def check_place(folder: str | os.PathLike[str]) -> None:
    """Check that a model may be written to a place: before it is trained for long.

    Args:
        folder: folder to write a model to.

    Raises:
        FileExistsError: if something exists in that place that is not a model.
    """
    real = Path(os.path.realpath(folder))
    if real.exists() and not (real / ABOUT).is_file():
        raise FileExistsError(f"expected a model or nothing in the place, got {folder}")


def load_model(folder: str | os.PathLike[str]) -> DesignModel:
    """Read a model from its folder.

    Args:
        folder: folder that :func:`save_model` wrote.

    Returns:
        The model: the same samples and predictions, bit for bit.

    Raises:
        FileNotFoundError: if there is no model in the folder.
        ValueError: if the folder is damaged or incomplete, has another version of the format, or a
            class of the user's own can't be imported.

    >>> model = load_model("model")  # doctest: +SKIP
    """
    folder = Path(folder)
    expected = f"expected a folder of a model that jaxrecon wrote, got {folder}"
    about = _about(folder, expected)
    try:
        fingerprint = Fingerprint.from_dict(about["fingerprint"])
        config = TrainConfig.from_dict(about["config"])
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{expected} with other settings in {ABOUT} ({error})") from error
    arrays = checkpoints.latest(folder / "arrays")
    if arrays is None:
        raise FileNotFoundError(f"{expected} without arrays")
    # The settings name the classes and decide how their arrays are used.
    generator_kind, surrogate_kind = GENERATORS[config.generator], SURROGATES[config.surrogate]
    try:
        generator = generator_kind.restore(arrays["generator"], fingerprint, config)
        surrogate = surrogate_kind.restore(arrays["surrogate"], fingerprint, config)
        fits = _shapes_fit(generator, surrogate, fingerprint)
    # Each library complains in its own way of arrays that are missing or have another shape.
    except Exception as error:
        raise ValueError(f"{expected} with other arrays than its settings ask for") from error
    if not fits:
        raise ValueError(f"{expected} with other arrays than its settings ask for")
    return DesignModel(
        fingerprint=fingerprint,
        config=config,
        generator=generator,
        surrogate=surrogate,
        training=read_npz(folder / "training.npz"),
        **{name: about[name] for name in PLAIN},
    )


def _about(folder: Path, expected: str) -> dict[str, Any]:
    """Read the file of settings and check that it is complete and of this version."""
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(f"{expected}, which has no {ABOUT}")
    try:
        about = json.loads((folder / ABOUT).read_text())
    except ValueError as error:
        raise ValueError(f"{expected} with an unreadable {ABOUT} ({error})") from error
    if not isinstance(about, dict):
        raise ValueError(f"{expected} with {type(about).__name__} and no names in {ABOUT}")
    if missing := sorted({"version", "fingerprint", "config", *PLAIN} - set(about)):
        raise ValueError(f"{expected} without {missing} in {ABOUT}")
    if about["version"] != VERSION:
        raise ValueError(
            f"expected version {VERSION} of the format in {folder}, got {about['version']}"
        )
    numbers, words = about["validation"], about["versions"]
    well_formed = {
        "symbols": isinstance(about["symbols"], str | None),
        "validation": isinstance(numbers, dict)
        and all(isinstance(value, int | float | None) for value in numbers.values()),
        "versions": isinstance(words, dict)
        and all(isinstance(value, str) for value in words.values()),
    }
    if damaged := [name for name in PLAIN if not well_formed[name]]:
        raise ValueError(f"{expected} with damaged {' and '.join(damaged)} in {ABOUT}")
    return about


def _shapes_fit(generator: Generator, surrogate: Surrogate, fingerprint: Fingerprint) -> bool:
    """Return whether both models have the size of the fingerprint, without computing anything."""
    key, number = jax.eval_shape(lambda: (jax.random.key(0), jnp.float32(0.0)))
    sample = jax.eval_shape(generator.sample, key, number)
    mean, deviation = jax.eval_shape(surrogate, sample)
    return sample.shape == (fingerprint.size,) and mean.shape == deviation.shape == ()


def _arrays(model: Any) -> dict[str, Any]:
    """Collect the arrays of a dataclass, and of dataclasses in it, by the names of their fields."""
    return {
        field.name: _arrays(value) if is_dataclass(value) else value
        for field in fields(model)
        if not field.metadata.get("static")
        for value in [getattr(model, field.name)]
    }
