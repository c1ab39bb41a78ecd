"""Models of images as folders: settings in JSON, arrays by Orbax."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxrecon.descriptors.checks import element_symbols
from jaxrecon.images.config import ImageConfig
from jaxrecon.images.materials import Materials
from jaxrecon.images.materials_network import MaterialsNetwork
from jaxrecon.images.training import PARTS, ImageModel, autoencoders
from jaxrecon.models import checkpoints
from jaxrecon.runtime.files import write_json
from jaxrecon.runtime.versions import versions

VERSION = 2
"""Version of the format, to be raised by changes that older versions of jaxrecon would misread."""

ABOUT = "images.json"
"""Name of the file of settings, by which a folder is recognised as a model of images."""


def save_images(model: ImageModel | Materials, folder: str | os.PathLike[str]) -> None:
    """Write a model to a folder of its own; an existing model is replaced by a complete one.

    Args:
        model: autoencoders of images, or a generator with its autoencoders.
        folder: the folder to write.

    Raises:
        FileExistsError: if something exists in that place that is no model of images.
        OSError: if the folder can't be written.
    """
    real = Path(os.path.realpath(folder))
    if real.exists() and not (real / ABOUT).is_file():
        raise FileExistsError(f"expected a model of images or nothing in the place, got {folder}")
    coder = model.model if isinstance(model, Materials) else model
    arrays: dict[str, Any] = {"weights": coder.weights, "losses": coder.losses}
    about: dict[str, Any] = {
        "version": VERSION,
        "elements": list(coder.elements),
        "config": coder.config.to_dict(),
        "generator": None,
        "versions": versions(),
    }
    if isinstance(model, Materials):
        arrays["generator"] = {"weights": model.weights, "losses": model.losses}
        about["generator"] = {**asdict(model.network), "epochs": len(model.losses)}
    with tempfile.TemporaryDirectory(dir=real.parent, prefix=".jaxrecon-") as directory:
        draft = Path(directory) / "model"
        draft.mkdir()
        checkpoints.save(draft / "arrays", 0, arrays)
        write_json(draft / ABOUT, about)
        if real.exists():
            os.replace(real, Path(directory) / "replaced")
        os.replace(draft, real)


def load_images(folder: str | os.PathLike[str]) -> ImageModel | Materials:
    """Read a model that :func:`save_images` wrote.

    Args:
        folder: the folder.

    Returns:
        The model: the same codes and images, bit for bit; with its generator if it has one.

    Raises:
        FileNotFoundError: if there is no such model in the folder.
        ValueError: if the folder is damaged or has another version of the format.
    """
    folder = Path(folder)
    expected = f"expected a folder of a model of images that jaxrecon wrote, got {folder}"
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(f"{expected}, which has no {ABOUT}")
    try:
        about = json.loads((folder / ABOUT).read_text())
        if about["version"] != VERSION:
            raise ValueError(f"version {about['version']} of the format, not {VERSION}")
        elements, config = (
            element_symbols(about["elements"]),
            ImageConfig.from_dict(about["config"]),
        )
        key = jax.random.key(0)
        forms: dict[str, Any] = {
            "weights": {
                part: jax.eval_shape(network.init, key)
                for part, network in autoencoders(config).items()
            },
            "losses": {part: _losses(getattr(config, f"{part}_epochs")) for part in PARTS},
        }
        network = None
        if about.get("generator") is not None:
            settings = dict(about["generator"])
            losses = _losses(settings.pop("epochs"))
            network = MaterialsNetwork(**settings)
            weights = jax.eval_shape(network.init, key)
            forms["generator"] = {"weights": weights, "losses": losses}
        arrays = checkpoints.latest(folder / "arrays", forms)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{expected} that is damaged ({error})") from error
    if arrays is None:
        raise FileNotFoundError(f"{expected} without arrays")
    model = ImageModel(elements, config, arrays["weights"], arrays["losses"])
    if network is None:
        return model
    return Materials(model, network, **arrays["generator"])


def _losses(epochs: int) -> jax.ShapeDtypeStruct:
    """The form of the losses of a fit."""
    return jax.ShapeDtypeStruct((epochs, 2), jnp.float32)
