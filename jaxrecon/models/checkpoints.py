"""Checkpoints: trees of arrays on disk, written by Orbax, complete whenever the process ends."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxrecon.runtime.files import write_json

BEGUN = "training.json"
"""Name of the file that says what a folder of checkpoints belongs to."""


def begin(folder: str | os.PathLike[str], own: dict[str, Any]) -> None:
    """Write down what a training begins with, or check that it is the one in the folder.

    Args:
        folder: folder of the checkpoints, which is made if it does not exist.
        own: everything that decides the result, as plain data for JSON.

    Raises:
        ValueError: if the folder belongs to another training; the message names what differs.
        OSError: if the file can't be written.
    """
    folder = Path(folder)
    path = folder / BEGUN
    if path.exists():
        try:
            found = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"expected how training was begun in {path}, got none") from error
        if differing := [name for name, value in own.items() if found.get(name) != value]:
            raise ValueError(
                f"expected {folder} to be of the same training, got one with another "
                f"{' and '.join(differing)}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, own)


def save(folder: str | os.PathLike[str], step: int, tree: Any) -> None:
    """Write a tree of arrays, which replaces that of an earlier step.

    Args:
        folder: folder of the checkpoints, which is made if it does not exist.
        step: number of the step, larger than those of all earlier checkpoints.
        tree: nested dictionaries, lists or tuples of arrays.

    Raises:
        OSError: if the checkpoint can't be written.
    """
    with _manager(folder) as manager:
        # NumPy arrays don't depend on devices: a run may continue on other ones.
        arrays = jax.tree.map(np.asarray, jax.device_get(tree))
        manager.save(step, args=ocp.args.StandardSave(arrays))


def latest(folder: str | os.PathLike[str], like: Any = None) -> Any | None:
    """Read the tree of the latest step.

    Args:
        folder: folder of the checkpoints.
        like: tree of the same structure, with arrays of the same shapes and types. With None, the
            result is nested dictionaries, in which keys of digits become numbers.

    Returns:
        The tree; None if there is no checkpoint.

    Raises:
        ValueError: if the checkpoint has another structure, or can't be read.
    """
    if not Path(folder).is_dir():
        return None
    with _manager(folder) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        forms = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        try:
            tree = manager.restore(step, args=ocp.args.StandardRestore(forms))
        # Orbax and tensorstore raise different exceptions for what does not fit.
        except Exception as error:
            raise ValueError(
                f"expected a checkpoint of this model in {folder}, got {type(error).__name__}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        return _with_numbers(tree) if like is None else tree


def _with_numbers(tree: Any) -> Any:
    """Turn keys of digits into numbers again, which Orbax has made strings."""
    if not isinstance(tree, dict):
        return tree
    return {int(key) if key.isdigit() else key: _with_numbers(value) for key, value in tree.items()}


def _manager(folder: str | os.PathLike[str]) -> ocp.CheckpointManager:
    """Return Orbax's manager of a folder that holds one checkpoint."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(Path(folder).absolute(), options=options)
