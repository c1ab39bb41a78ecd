"""Models as folders: settings in JSON, arrays by Orbax, the training rows as a labelled set."""

import json
import os
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxrecon.datasets.labelled_npz import read_npz, write_npz
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models import checkpoints
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.generators.autoencoder import Autoencoder, Generator
from jaxrecon.models.scalings.principal_axes import MinMax, PrincipalAxes, Scaling
from jaxrecon.models.surrogates.ensemble import Ensemble, regressor_of
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.runtime.files import write_json
from jaxrecon.search.guidance import Predictor

if TYPE_CHECKING:
    from jaxrecon.models.design_model import DesignModel

VERSION = 2
"""Of the format; a change that an older jaxrecon would misread raises it."""

ABOUT = "model.json"
PLAIN = ("symbols", "validation", "versions")


def write_model(folder: Path, model: "DesignModel") -> None:
    """Write a model; a folder that is there is replaced by a whole one.

    Args:
        folder: to be.
        model: to write.

    Raises:
        FileExistsError: if there is something in the place that is no model.
        OSError: if it can't be written.
    """
    real = Path(os.path.realpath(folder))
    if real.exists() and not (real / ABOUT).is_file():
        raise FileExistsError(f"expected a model or nothing in the place, got {folder}")
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


def read_model(folder: Path) -> dict[str, Any]:
    """What a model is made of, by the names of its attributes.

    Args:
        folder: that :func:`write_model` has written.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is something else, or incomplete.
    """
    expected = f"expected a folder of a model that jaxrecon wrote, got {folder}"
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(f"{expected}, which has no {ABOUT}")
    try:
        about = json.loads((folder / ABOUT).read_text())
    except ValueError as error:
        raise ValueError(f"{expected} with an unreadable {ABOUT} ({error})") from error
    named = {"version", "fingerprint", "config", *PLAIN}
    if not isinstance(about, dict):
        raise ValueError(f"{expected} with {type(about).__name__} and no names in {ABOUT}")
    if not named <= set(about):
        raise ValueError(f"{expected} without {sorted(named - set(about))} in {ABOUT}")
    if about["version"] != VERSION:
        raise ValueError(
            f"expected version {VERSION} of the format in {folder}, got {about['version']}"
        )
    try:
        fingerprint = Fingerprint.from_dict(about["fingerprint"])
        config = TrainConfig.from_dict(about["config"])
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{expected} with other settings in {ABOUT} ({error})") from error
    arrays = checkpoints.latest(folder / "arrays")
    if arrays is None:
        raise FileNotFoundError(f"{expected} without arrays")
    try:
        generator = _generator(config, fingerprint, arrays["generator"])
        surrogate = _surrogate(config, fingerprint, arrays["surrogate"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{expected} with other arrays than its settings ask for") from error
    return {
        "fingerprint": fingerprint,
        "config": config,
        "generator": generator,
        "surrogate": surrogate,
        "training": read_npz(folder / "training.npz"),
        **{name: about[name] for name in PLAIN},
    }


def _arrays(model: Any) -> dict[str, Any]:
    """The arrays of a model, and of the models in it, by their names."""
    return {
        each.name: _arrays(value) if is_dataclass(value) else value
        for each in fields(model)
        if not each.metadata.get("static")
        for value in [getattr(model, each.name)]
    }


def _scaling(config: TrainConfig, fingerprint: Fingerprint, arrays: dict[str, Any]) -> Scaling:
    if config.scaling == "minmax":
        return MinMax(**arrays)
    return PrincipalAxes(coordinates=Coordinates.of(fingerprint), **arrays)


def _generator(config: TrainConfig, fingerprint: Fingerprint, arrays: dict[str, Any]) -> Generator:
    scaling = _scaling(config, fingerprint, arrays["scaling"])
    return Generator(Autoencoder.of(config, scaling.size), **{**arrays, "scaling": scaling})


def _surrogate(config: TrainConfig, fingerprint: Fingerprint, arrays: dict[str, Any]) -> Predictor:
    if config.surrogate == "gaussian_process":
        return GaussianProcess(coordinates=Coordinates.of(fingerprint), **arrays)
    scaling = _scaling(config, fingerprint, arrays["scaling"])
    return Ensemble(regressor_of(config, scaling.size), **{**arrays, "scaling": scaling})
